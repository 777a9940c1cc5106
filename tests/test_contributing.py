"""The examples in CONTRIBUTING.md work: applied to a copy of the code, they are trained with, predicted with and run."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import save

import options
from helpers.labels import VOID
from learning import losses

ROOT = Path(options.__file__).parent
SOURCES = ("baseline.py", "evaluate.py", "options.py", "helpers", "learning", "minicity", "tools")
EXAMPLES = ("brier", "objects", "SmallNet")


def code_blocks():
    """(path, code) of each Python block of CONTRIBUTING.md; the first line of a block names its file."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return re.findall(r"```python\n# (\S+\.py)\n(.*?)```", text, re.DOTALL)


NEW_FILES = [(path, code) for path, code in code_blocks() if not (ROOT / path).exists()]
CHANGES = [(path, code) for path, code in code_blocks() if (ROOT / path).exists()]


def value_span(source, name):
    """(start, end) of the value that is assigned to a name at the top level of a module."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = node.value
            return starts[value.lineno - 1] + value.col_offset, starts[value.end_lineno - 1] + value.end_col_offset
    raise AssertionError(f"{name} is not assigned at the top level")


def extended(source, code):
    """The source with the imports of an example, and with its entries at the end of the tables it names."""
    entries = dict(re.findall(r"^(\w+) = [({]\.\.\., (.*)[)}]$", code, re.MULTILINE))
    assert entries, f"no table is extended by {code!r}"
    for name, entry in entries.items():
        _, end = value_span(source, name)
        before, bracket = source[: end - 1].rstrip(), source[end - 1]
        assert bracket in ")}", f"{name} is not written as a tuple or dict"
        comma = "" if before.endswith((",", "(", "{")) else ","
        source = f"{before}{comma} {entry}{source[end - 1 :]}"
    imports = "".join(line for line in code.splitlines(keepends=True) if line.startswith("from "))
    start = ast.parse(source).body[1].lineno - 1  # behind the docstring
    lines = source.splitlines(keepends=True)
    return "".join([*lines[:start], imports, *lines[start:]])


def make_data(root):
    """Light squares on a dark background, with one void row."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for index in range(count):
            mask = np.zeros((64, 64), np.uint8)
            mask[16:48, 8 * index : 8 * index + 32] = 1
            image = np.where(mask[..., None] == 1, 200, 40) + rng.integers(-20, 20, (64, 64, 3))
            mask[0] = 2
            save(root / "images" / split / f"{index}.png", image.astype(np.uint8))
            save(root / "masks" / split / f"{index}.png", mask)
    return root


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Folder of a copy of the code to which all examples were applied, with a data set in data/."""
    root = tmp_path_factory.mktemp("copy")
    for name in SOURCES:
        source = ROOT / name
        if source.is_file():
            shutil.copyfile(source, root / name)
        else:
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__", "leftImg8bit", "gtFine"))
    for path, code in NEW_FILES:
        (root / path).write_text(code)
    for path, code in CHANGES:
        (root / path).write_text(extended((root / path).read_text(), code))
    make_data(root / "data")
    return root


def run(root, *argv):
    """Standard output of a Python program in the copy."""
    result = subprocess.run([sys.executable, *argv], cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_examples_are_complete():
    assert sorted(path for path, _ in NEW_FILES) == [
        "learning/data/datasets/objects.py",
        "learning/losses/brier.py",
        "learning/models/small.py",
        "tools/count.py",
    ]
    assert {path for path, _ in CHANGES} == {
        "learning/data/datasets/__init__.py",
        "learning/losses/__init__.py",
        "learning/models/__init__.py",
        "options.py",
    }


@pytest.mark.slow
def test_new_data_set_model_and_loss_train_and_predict(copy):
    """One call trains an epoch, validates, saves, and predicts the validation images."""
    sizes = ["--train_size", "64", "--crop_size", "64", "--test_size", "64", "--batch_size", "2", "--epochs", "1"]
    where = ["--dataset", "objects", "--dataset_path", "data", "--save_path", "run"]
    parts = ["--model", "SmallNet", "--norm", "group", "--loss", "ce+0.5*brier"]
    machine = ["--num_workers", "0", "--device", "cpu", "--cache", "off", "--seed", "0"]
    output = run(copy, "baseline.py", *where, *sizes, *parts, *machine)
    assert "SmallNet" in output
    assert "ce+0.5*brier" in output
    assert sorted(path.name for path in (copy / "run" / "results_val").iterdir()) == ["0.png", "1.png"]


def test_new_tool_runs(copy):
    output = run(copy, "-m", "tools.count", "--dataset", "objects", "--dataset_path", "data")
    assert output.splitlines() == ["train  4 images", "val    2 images"]


def test_new_data_set_passes_the_check_of_data(copy):
    output = run(copy, "-m", "tools.check", "--dataset", "objects", "--dataset_path", "data")
    assert "error " not in output


def test_new_loss_is_a_sum_and_a_weight():
    """Computed by hand: with equal logits of two classes, every pixel has the error 2 * 0.5^2; void pixels do not count."""
    namespace = {}
    exec(dict(NEW_FILES)["learning/losses/brier.py"], namespace)
    target = torch.tensor([[[0, 1, VOID]]])
    logits = torch.zeros(1, 2, 1, 3, requires_grad=True)
    total, weight = namespace["brier"](logits, target)
    total.backward()
    assert (total.item(), weight.item()) == (1.0, 2.0)
    assert logits.grad[..., 2].eq(0).all()
    assert logits.grad[..., :2].ne(0).all()


def table_of(path, name):
    """The expression that a module assigns to a name."""
    source = path.read_text()
    start, end = value_span(source, name)
    return ast.parse(source[start:end], mode="eval").body


def test_names_in_the_options_are_those_in_the_tables(copy):
    """As tests/test_architecture.py checks for the code itself."""
    files = {"DATASETS": "learning/data/datasets", "LOSSES": "learning/losses", "MODELS": "learning/models"}
    tables = {name: table_of(copy / folder / "__init__.py", name) for name, folder in files.items()}
    keys = {name: [key.value for key in table.keys] for name, table in tables.items()}
    assert sorted(names[-1] for names in keys.values()) == sorted(EXAMPLES)
    for name in files:
        assert run(copy, "-c", f"import options; print(*options.{name})").split() == keys[name]
    pixelwise = ast.literal_eval(table_of(copy / "learning/losses/__init__.py", "PIXELWISE"))
    assert pixelwise == (*losses.PIXELWISE, "brier")
