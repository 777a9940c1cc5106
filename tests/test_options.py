"""Options as frozen dataclasses: the parser, ranges, stored values and defaults follow from their fields."""

import dataclasses
import json
from dataclasses import dataclass

import pytest
from commands import stored_options, train

import options
from helpers.errors import InputError
from helpers.parsing import Range, build_parser, option, options_of
from learning.run import command_line, setup


@dataclass(frozen=True)
class Group:
    """One option of each kind."""

    flag: bool = option(True, "a switch")
    number: int = option(3, "a number", allowed=Range("1 .. 5", at_least=1, at_most=5))
    share: float | None = option(None, "a share", allowed=Range("above 0, below 1", above=0, below=1))
    size: tuple[int, int] | None = option(None, "a size")
    names: tuple[str, ...] | None = option(None, "names", not_empty=True)
    kind: str = option("a", "a kind", choices=("a", "b"))


def parse_group(*argv):
    return build_parser({"group": Group}).parse_typed(argv)


def test_values_have_the_types_of_their_fields():
    typed = parse_group(
        "--no-flag", "--number", "4", "--share", "0.5", "--size", "7", "--names", "x", "y", "--kind", "b"
    )
    assert typed == {"flag": False, "number": 4, "share": 0.5, "size": (7, 7), "names": ("x", "y"), "kind": "b"}
    assert parse_group() == {}, "only what was typed"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("number", 0, "--number 0: expected 1 .. 5"),
        ("number", 6, "--number 6: expected 1 .. 5"),
        ("share", 1.0, "--share 1.0: expected above 0, below 1"),
        ("share", float("nan"), "--share nan"),
        ("names", ("x", ""), "--names is empty"),
    ],
)
def test_a_value_out_of_range_is_refused(name, value, words):
    found = {each.name: each for each in options_of(Group)}
    with pytest.raises(InputError) as error:
        found[name].check(value)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        *(("flag", value) for value in (1, "True", None, [True])),
        *(("number", value) for value in (True, 1.5, "3", [3], None)),
        *(("share", value) for value in ("0.5", True, [0.5])),
        *(("size", value) for value in (7, [7.5, 7], ["7", "7"])),
        *(("names", value) for value in ("x", [1])),
        *(("kind", value) for value in ("c", 0, None)),
    ],
)
def test_stored_values_that_no_command_line_gives_are_refused(name, stored):
    found = {each.name: each for each in options_of(Group)}
    with pytest.raises(InputError, match=f"stored options of the run are damaged: {name} is"):
        found[name].from_stored(stored)


def test_stored_values_come_back_as_they_were():
    values = {"flag": False, "number": 2, "share": 1, "size": [7, 8], "names": ["x"], "kind": "b"}
    found = {each.name: each.from_stored(values[each.name]) for each in options_of(Group)}
    assert found == {**values, "size": (7, 8), "names": ("x",)}


def test_an_option_that_did_not_exist_yet_has_the_value_of_then(monkeypatch):
    """Not the default of today, which may have changed since."""
    older = dataclasses.replace(options.OPTIONS["ema"], older_runs=0.5)
    monkeypatch.setattr(command_line, "OPTIONS", {**options.OPTIONS, "ema": older})
    stored = options.Options().stored()
    del stored["ema"]
    assert command_line.parse(["--resume"], stored)[0].training.ema == 0.5
    assert command_line.parse(["--resume"], stored | {"ema": 0.9})[0].training.ema == 0.9
    assert command_line.parse([])[0].training.ema is None


def test_nothing_changes_options():
    found = options.Options()
    for group in (found, *(getattr(found, title) for title in options.GROUPS)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(group, dataclasses.fields(group)[0].name, None)
    assert found.replaced(epochs=3).training.epochs == 3
    assert found.training.epochs == 200


def test_every_option_belongs_to_one_group():
    names = [field.name for group in options.GROUPS.values() for field in dataclasses.fields(group)]
    assert len(names) == len(set(names)) == len(options.OPTIONS)
    assert set(options.Options().values()) == set(names)


def test_a_setup_has_no_value_left_open(camvid, tmp_path):
    """What depends on data, model and optimizer is filled in before torch is imported."""
    words = ["--dataset", "camvid", "--dataset_path", camvid, "--save_path", tmp_path / "run"]
    found = setup.setup_run([*map(str, words)])
    assert found.typed == {"dataset", "dataset_path", "save_path"}
    filled = (
        "train_size",
        "crop_size",
        "test_size",
        "dataset_mean",
        "dataset_std",
        "lr_init",
        "lr_weight_decay",
        "seed",
    )
    assert all(found.options.values()[name] is not None for name in filled)
    assert found.options.model.output_stride == 8


def test_options_json_is_flat_and_says_what_was_typed(camvid, tmp_path):
    run = tmp_path / "run"
    assert train(run, camvid, "--steps", 1, "--seed", 3) == 0
    about = json.loads((run / "options.json").read_text())
    assert set(about["options"]) == set(options.OPTIONS)
    assert {"steps", "seed", "model"} <= set(about["typed"])
    assert "loss" not in about["typed"]
    assert stored_options(run)["crop_size"] == [64, 64], "tuples are stored as lists"
