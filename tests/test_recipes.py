"""Option files in recipes/: each can be trained with, and states its purpose."""

import re
from pathlib import Path

import pytest

import options
from learning.run.command_line import parse
from learning.run.rules import check_combinations

ROOT = Path(options.__file__).parent
RECIPES = sorted((ROOT / "recipes").glob("*.txt"))


def by_name(path):
    return path.name


def documents():
    """Text of the README and of the page that lists the recipes."""
    return (ROOT / "README.md").read_text() + (ROOT / "docs" / "training.md").read_text()


@pytest.mark.parametrize("path", RECIPES, ids=by_name)
def test_options_are_valid(path):
    """The options exist and can be combined. Run folder, data folder and seed are left to the user."""
    found, typed = parse([f"@{path}"])
    check_combinations(found)
    assert not typed & {*options.PER_COMMAND, "dataset_path", "seed"}


@pytest.mark.parametrize("path", RECIPES, ids=by_name)
def test_header_comments(path):
    """Purpose, hardware, duration and score in this order; the documentation lists the recipe."""
    header = [line[2:] for line in path.read_text().splitlines() if line.startswith("# ")]
    fields = [
        line.split(":")[0] for line in header if line.split(":")[0] in ("Purpose", "Hardware", "Duration", "Score")
    ]
    assert fields == ["Purpose", "Hardware", "Duration", "Score"]
    assert f"`{path.stem}`" in documents()


def test_documented_recipes_exist():
    names = set(re.findall(r"recipes/(\w+)\.txt", documents())) - {"NAME"}
    assert names | {"tutorial_r50", "tutorial_r101", "camvid_10min", "minicity_best"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize(
    ("name", "command_line"),
    [
        ("tutorial_r50", "--crop_size 576 1152 --batch_size 8"),
        (
            "tutorial_r101",
            "--model DeepLabv3_resnet101 --train_size 512 1024 --test_size 512 1024 --crop_size 384 768 --batch_size 8",
        ),
    ],
)
def test_tutorial_recipes_are_the_tutorials_command_lines(name, command_line):
    """The recipe spells out SGD's default rates, which are those of the command line."""
    recipe = parse([f"@{ROOT / 'recipes' / name}.txt"])[0].values()
    typed = parse(command_line.split())[0].values()
    assert recipe == typed | {"lr_init": 0.01, "lr_weight_decay": 0.0001}
