"""The plan of the house: imports go one way, names are the tables' keys, the light parts stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import options
from helpers import probabilities
from learning import compute, losses, optim
from learning.datasets import DATASETS
from learning.models import MODELS
from learning.models.norms import NORMS
from learning.views import SETS

ROOT = Path(options.__file__).parent
SOURCES = [path for path in ROOT.glob("**/*.py") if not {".venv", "tests"} & set(path.relative_to(ROOT).parts)]


def imports(path):
    """Names of all modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def belong_to(names, *packages):
    return {name for name in names for package in packages if name == package or name.startswith(package + ".")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    names, folder = imports(path), path.relative_to(ROOT).parts[0]
    programs = ("announce", "baseline", "budget", "build", "evaluate", "options", "prediction", "prepare", "rehearsal")
    programs += ("resume", "minicity", "tools")
    if folder == "helpers":
        assert not belong_to(names, "torch", "torchvision", "learning", *programs)
    if folder == "learning":
        assert not belong_to(names, *programs)
    if "datasets" in path.parts or path.name in ("evaluate.py", "class_weights.py"):
        assert not belong_to(names, "torch", "torchvision")
    if path.name in ("learner.py", "inference.py"):
        assert not belong_to(names, "learning.datasets", "learning.models", "learning.loaders")
    if path.name == "options.py":
        assert names <= {
            "argparse",
            "math",
            "re",
            "helpers.errors",
            "helpers.errors.InputError",
            "helpers.parsing",
            *(f"helpers.parsing.{name}" for name in ("Help", "Parser", "Size", "Switch", "weighted_sum")),
        }


def test_names_in_the_options_are_the_keys_of_the_tables():
    assert tuple(MODELS) == options.MODELS
    assert tuple(NORMS) == options.NORMS
    assert tuple(losses.LOSSES) == options.LOSSES
    assert tuple(DATASETS) == options.DATASETS
    assert tuple(compute.AMP) == options.AMP
    assert tuple(SETS) == options.AUGMENTS
    assert tuple(optim.OPTIMIZERS) == options.OPTIMIZERS
    assert tuple(optim.SCHEDULES) == options.SCHEDULES
    assert probabilities.DTYPES == options.SCORE_TYPES


def test_options_that_are_named_exist():
    known = {action.dest for action in options.build_parser()._actions}
    assert set(options.PER_COMMAND) | set(options.RESUMABLE) | set(options.ARCHITECTURE) <= known


def test_what_checks_the_data_imports_neither_torch_nor_matplotlib():
    code = (
        "import sys, build, evaluate, baseline, prediction; sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_core_requirements_are_exactly_six():
    lines = (ROOT / "requirements.txt").read_text().split()
    assert [line.split(">=")[0] for line in lines] == ["torch", "torchvision", "numpy", "pillow", "matplotlib", "tqdm"]
