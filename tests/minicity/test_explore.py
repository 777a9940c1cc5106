"""The tables and figures of minicity.explore."""

import csv

import numpy as np
import pytest

from helpers.errors import InputError, exit_status
from helpers.images import read_size, write_png
from minicity import explore, explore_plots, synthesize

MADE = ["class_distribution.png", "classes.csv", "samples.png"]


def small_minicity(root):
    """Two training images and one validation image whose counts are known."""
    for split, number in (("train", 2), ("val", 1)):
        for folder in ("leftImg8bit", "gtFine"):
            (root / folder / split).mkdir(parents=True)
        for index in range(number):
            name = f"{split}/a_{index:06d}_000019"
            labels = np.full((10, 20), 7, np.uint8)  # road
            labels[0] = 0
            labels[5, :8] = 26  # car
            instances = labels.astype(np.uint16)
            instances[5, :4], instances[5, 4:6] = 26000, 26001  # the last two pixels are a group
            write_png(root / "leftImg8bit" / f"{name}_leftImg8bit.png", np.full((10, 20, 3), 99, np.uint8))
            write_png(root / "gtFine" / f"{name}_gtFine_labelIds.png", labels)
            write_png(root / "gtFine" / f"{name}_gtFine_instanceIds.png", instances)


def small_camvid(root):
    for split in ("train", "val"):
        for folder, pixels in (
            (split, np.zeros((12, 16, 3), np.uint8)),
            (f"{split}annot", np.full((12, 16), 3, np.uint8)),
        ):
            (root / folder).mkdir(parents=True)
            write_png(root / folder / "0001.png", pixels)


def run(*arguments):
    return exit_status("python -m minicity.explore", explore.main, [str(argument) for argument in arguments])


def test_counts_by_hand(tmp_path, capsys):
    small_minicity(tmp_path / "data")
    assert run("--dataset_path", tmp_path / "data") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "train: 2 images, 10x20, 10.0 % of the pixels void"
    rows = {line[:16].strip(): line[16:].split() for line in lines[1:21]}
    assert rows["class"] == ["pixels", "%", "images", "instances"]
    assert rows["road"] == ["95.556", "2", "-"]
    assert rows["car"] == ["4.444", "2", "4"]
    assert rows["bus"] == ["0.000", "0", "0"]
    assert lines[21].startswith("no pixel of: sidewalk, building")
    with open(tmp_path / "data/explore/classes.csv", encoding="utf-8") as file:
        rows = {(row["split"], row["class"]): row for row in csv.DictReader(file)}
    assert len(rows) == 2 * 19
    assert rows["train", "car"]["pixels"] == "16"
    assert rows["val", "car"]["instances"] == "2"
    assert rows["val", "road"]["instances"] == ""


@pytest.mark.slow
def test_drawn_data_set(tmp_path, capsys):
    data = tmp_path / "data"
    options = ("--size", "48", "96", "--num_train", "8", "--num_val", "2", "--num_test", "1", "--num_workers", "1")
    synthesize.main(["--output", str(data), *options])
    (data / "explore").mkdir()
    (data / "explore/mine.txt").write_text("mine")
    (data / "explore/classes.csv").write_text("of an earlier run")
    assert run("--dataset_path", data) == 0
    assert sorted(path.name for path in (data / "explore").iterdir()) == sorted([*MADE, "mine.txt"])
    assert (data / "explore/mine.txt").read_text() == "mine"
    assert (data / "explore/classes.csv").read_text().startswith("split,class,")
    assert min(read_size(data / "explore/samples.png")) > 400
    assert min(read_size(data / "explore/class_distribution.png")) > 400
    printed = capsys.readouterr().out
    assert "train: 8 images, 48x96" in printed
    assert "val: 2 images, 48x96" in printed


def test_camvid_into_a_named_folder(tmp_path, capsys):
    small_camvid(tmp_path / "camvid")
    before = sorted(tmp_path.rglob("*"))
    assert run("--dataset", "camvid", "--dataset_path", tmp_path / "camvid", "--output", tmp_path / "out/deep") == 0
    assert sorted(path.name for path in (tmp_path / "out/deep").iterdir()) == MADE
    printed = capsys.readouterr().out
    assert "instances" not in printed
    assert "Road" in printed
    assert sorted(path for path in tmp_path.rglob("*") if "out" not in path.parts) == before


def test_samples_are_spread_evenly():
    assert explore_plots._evenly_spaced(list(range(60))) == [0, 10, 20, 30, 40, 50]
    assert explore_plots._evenly_spaced(list("abc")) == ["a", "b", "c"]


def test_unknown_data_set_lists_the_formats():
    with pytest.raises(InputError, match=r"minicity.*camvid"):
        explore.main(["--dataset", "kitti"])


def test_missing_data_set_says_how_to_get_one(tmp_path):
    with pytest.raises(InputError, match=r"minicity\.synthesize"):
        explore.main(["--dataset_path", str(tmp_path / "nowhere")])


def test_output_that_cannot_be_made_asks_for_another(tmp_path):
    small_camvid(tmp_path / "camvid")
    (tmp_path / "camvid/explore").write_text("a file in the way")
    with pytest.raises(InputError, match="--output"):
        explore.main(["--dataset", "camvid", "--dataset_path", str(tmp_path / "camvid")])
    assert (tmp_path / "camvid/explore").read_text() == "a file in the way"
