"""Option files in recipes/: every one can be trained with, and says what it is for."""

import re
from pathlib import Path

import pytest

import options
from learning.run.command_line import parse
from learning.run.rules import check_combinations

ROOT = Path(options.__file__).parent
RECIPES = sorted((ROOT / "recipes").glob("*.txt"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipe(path):
    """Its options are known and go together; where a run lives and where its data are, it leaves to whoever uses it."""
    found, typed = parse([f"@{path}"])
    check_combinations(found)
    assert not typed & {*options.PER_COMMAND, "dataset_path", "seed"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_head(path):
    """Purpose, hardware, duration, score: the first words of a recipe, and of the README's table."""
    head = [line[2:] for line in path.read_text().splitlines() if line.startswith("# ")]
    parts = [line.split(":")[0] for line in head if line.split(":")[0] in ("Purpose", "Hardware", "Duration", "Score")]
    assert parts == ["Purpose", "Hardware", "Duration", "Score"]
    assert f"`{path.stem}`" in (ROOT / "README.md").read_text()


def test_those_that_are_named_exist():
    names = set(re.findall(r"recipes/(\w+)\.txt", (ROOT / "README.md").read_text())) - {"NAME"}
    assert names | {"tutorial_r50", "tutorial_r101", "camvid_10min", "minicity_best"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tutorial_r50", "--crop_size 576 1152 --batch_size 8"),
        (
            "tutorial_r101",
            "--model DeepLabv3_resnet101 --train_size 512 1024 --test_size 512 1024 --crop_size 384 768 --batch_size 8",
        ),
    ],
)
def test_the_tutorials_recipes_are_its_command_lines(name, words):
    """Rates of SGD, spelled out, are those that it takes where none is typed."""
    recipe, typed = (parse(line)[0].values() for line in ([f"@{ROOT / 'recipes' / name}.txt"], words.split()))
    assert recipe == typed | {"lr_init": 0.01, "lr_weight_decay": 0.0001}
