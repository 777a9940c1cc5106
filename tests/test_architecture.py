"""The plan of the house: imports go down the rooms, names are the tables' keys, the light parts stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import options
from helpers import probabilities
from learning import device, losses
from learning.data.augmentation.sampling import SETS
from learning.data.datasets import DATASETS
from learning.models import MODELS
from learning.models.norms import NORMS
from learning.training import optim

ROOT = Path(options.__file__).parent
SOURCES = [path for path in ROOT.glob("**/*.py") if not {".venv", "tests"} & set(path.relative_to(ROOT).parts)]
# A room may import from itself and from rooms above it in this list; two rooms of one line know nothing of each other.
FLOORS = (
    ("helpers",),
    ("learning",),
    ("learning.data",),
    ("learning.losses", "learning.models"),
    ("learning.inference",),
    ("learning.training",),
    ("options",),
    ("learning.run",),
    ("baseline", "evaluate", "minicity", "tools"),
)
# Programs that only run another one, for users who type its earlier name.
ALIASES = {"minicity.prepare": "minicity.convert"}
# What checks options and data, and so must not import torch, which alone takes seconds.
TORCH_FREE = ("helpers", "options", "evaluate", "learning.data.datasets", "learning.data.class_weights")
TORCH_FREE += (
    "learning.data.predictions",
    "learning.inference.inputs",
    "learning.run.setup",
    "learning.run.rules",
    "learning.run.command_line",
)


def dotted(path):
    """The module name of a file, such as learning.data.cache; a package is its folder."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {dotted(path): path for path in SOURCES}
PROGRAMS = {name for name, path in MODULES.items() if 'if __name__ == "__main__":' in path.read_text()}


def is_inside(name, package):
    return name == package or name.startswith(f"{package}.")


def room_of(module):
    """(floor, room) of a module: the longest room name that it is inside of; files of learning/ itself are one room."""
    found = [
        (len(room), floor, room) for floor, rooms in enumerate(FLOORS) for room in rooms if is_inside(module, room)
    ]
    _, floor, room = max(found)
    return floor, room


def imported_names(path):
    """Dotted names that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(path):
    """The project's own modules that a file imports."""
    for name in imported_names(path):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        if name:
            yield name


def program_of(module):
    """The program that a module belongs to: itself, or the package whose __main__ is one; None for what programs share."""
    package = module.rpartition(".")[0]
    for name in (module, f"{module}.__main__", f"{package}.__main__"):
        if name in PROGRAMS:
            return name.removesuffix(".__main__")
    return None


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_down_the_rooms(name):
    floor, room = room_of(name)
    above = {other for other in imported_modules(MODULES[name]) if room_of(other)[0] > floor}
    beside = {other for other in imported_modules(MODULES[name]) if room_of(other)[0] == floor}
    if floor < len(FLOORS) - 1:
        beside = {other for other in beside if room_of(other)[1] != room}
    else:  # of programs, none imports another
        allowed = (None, program_of(name), ALIASES.get(name))
        beside = {other for other in beside if program_of(other) not in allowed}
    assert not above, f"{name} imports {sorted(above)}, which stand above it"
    assert not beside, f"{name} imports {sorted(beside)}, which are not its own"


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_an_alias_only_calls_the_other_program(name):
    docstring, *imports, call = ast.parse(MODULES[name].read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(node, ast.Import | ast.ImportFrom) for node in imports)
    assert set(imported_modules(MODULES[name])) == {ALIASES[name], "helpers.errors"}
    run = f"sys.exit(exit_status('python -m {ALIASES[name]}', main, None))"
    assert ast.unparse(call) == f"if __name__ == '__main__':\n    {run}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_what_checks_options_and_data_imports_no_torch(name):
    if any(is_inside(name, room) for room in TORCH_FREE):
        assert not {
            other for other in imported_names(MODULES[name]) if other.partition(".")[0] in ("torch", "torchvision")
        }


def test_names_in_the_options_are_the_keys_of_the_tables():
    assert tuple(MODELS) == options.MODELS
    assert tuple(NORMS) == options.NORMS
    assert tuple(losses.LOSSES) == options.LOSSES
    assert tuple(DATASETS) == options.DATASETS
    assert tuple(device.AMP) == options.AMP
    assert tuple(SETS) == options.AUGMENTS
    assert tuple(optim.OPTIMIZERS) == options.OPTIMIZERS
    assert tuple(optim.SCHEDULES) == options.SCHEDULES
    assert probabilities.DTYPES == options.SCORE_TYPES


def test_options_that_are_named_exist():
    assert set(options.ARCHITECTURE) | set(options.LENGTHS) | set(options.LOSS_PARAMETERS) <= set(options.OPTIONS)


def test_no_program_needs_torch_or_matplotlib_before_its_options_are_checked():
    names = sorted(PROGRAMS)
    code = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
    assert not {{'torch', 'matplotlib'}} & set(sys.modules), name
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_core_requirements_are_exactly_six():
    lines = (ROOT / "requirements.txt").read_text().split()
    assert [line.split(">=")[0] for line in lines] == ["torch", "torchvision", "numpy", "pillow", "matplotlib", "tqdm"]
