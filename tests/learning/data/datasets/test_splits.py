"""Held-out recordings: the division into training and validation images."""

import csv
import json
from pathlib import Path

import pytest
from commands import run_baseline, run_evaluate, train
from tiny import make_camvid

from helpers.errors import InputError
from learning import checkpoint
from learning.data.datasets import camvid as spec
from learning.data.datasets import open_dataset_from_options
from learning.data.datasets.base import Dataset, Sample
from learning.data.datasets.splits import select_train_and_val


def dataset(**splits):
    """Samples by name only, without files."""
    samples = {split: tuple(Sample(name, Path(f"{name}.png")) for name in names) for split, names in splits.items()}
    return Dataset("camvid", Path("data"), samples, "ids", spec)


def frames(recording, *numbers):
    return [f"{recording}_{number:03d}" for number in numbers]


def names(data, split):
    return [sample.name for sample in data.split(split)]


DATA = dataset(train=frames("B", *range(4)) + frames("A", *range(10, 0, -1)), val=frames("B", *range(4, 10)))


def test_the_tail_of_every_recording_is_held_out_with_a_gap():
    """10 frames of A: 2 are held out, the 3 before them are unused; 4 frames of B are too few."""
    data = select_train_and_val(DATA, holdout="tail")
    assert names(data, "train") == frames("A", 1, 2, 3, 4, 5) + frames("B", 0, 1, 2, 3)
    assert names(data, "val") == frames("A", 9, 10)


def test_the_frames_of_a_recording_in_both_splits_are_joined():
    data = select_train_and_val(DATA, "trainval", "tail")
    assert names(data, "train") == frames("A", 1, 2, 3, 4, 5) + frames("B", 0, 1, 2, 3, 4)
    assert names(data, "val") == frames("A", 9, 10) + frames("B", 8, 9)


def test_a_recording_is_held_out_by_name():
    data = select_train_and_val(DATA, holdout="B")
    assert (names(data, "train"), names(data, "val")) == (frames("A", *range(1, 11)), frames("B", 0, 1, 2, 3))


def test_without_a_holdout_the_data_set_keeps_its_validation_images():
    assert select_train_and_val(DATA) is DATA
    data = select_train_and_val(DATA, "trainval")
    assert names(data, "train") == names(DATA, "train") + names(DATA, "val")
    assert names(data, "val") == names(DATA, "val")


@pytest.mark.parametrize("holdout", ["C", "", "tail"])
def test_holding_out_nothing_or_everything_lists_the_recordings(holdout):
    few = dataset(train=frames("A", 1, 2) + frames("B", 1, 2))
    with pytest.raises(InputError, match=r"holds out (none|all) of the 4 images; .*A \(2\), B \(2\)"):
        select_train_and_val(few, holdout=holdout)


@pytest.mark.parametrize("stored", [{"holdout": 3}, {"train_on": "all"}, {"dataset": ["camvid"]}, {"dataset_path": 1}])
def test_damaged_options_are_named(stored):
    with pytest.raises(InputError, match=r"options\.json is damaged"):
        open_dataset_from_options({"dataset": "camvid"} | stored, "options.json")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """8 training images in two recordings."""
    root = make_camvid(tmp_path_factory.mktemp("holdout") / "data", (("train", 8), ("val", 2)))
    for folder in ("train", "trainannot"):
        for path in sorted((root / folder).iterdir())[5:]:
            path.rename(path.with_name(path.name.replace("0001TP", "0002TP")))
    return root


def test_a_run_with_a_holdout_is_scored_on_its_held_out_images(recordings, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, recordings, "--holdout", "0002TP", "--epochs", 1) == 0
    assert "5 train, 3 val" in capsys.readouterr().out
    assert sorted(path.name for path in (run / "results_val").iterdir()) == [
        f"0002TP_train00{i}.png" for i in (5, 6, 7)
    ]
    assert run_evaluate("--results", run / "results_val") == 0
    assert "trained on" not in capsys.readouterr().err
    with open(run / "log_epoch.csv") as file:
        logged = float(next(csv.DictReader(file))["miou"])
    assert json.loads((run / "results.json").read_text())["scores"]["mean_class_iou"] == pytest.approx(logged, abs=1e-7)
    assert run_baseline("--save_path", run, "--predict", "--device", "cpu") == 0
    assert len(list((run / "results_val").iterdir())) == 3
    assert run_baseline("--save_path", run, "--resume", "--holdout", "tail") == 2
    assert "--holdout tail differs from the run's 0002TP" in capsys.readouterr().err


def test_a_run_on_trainval_predicts_with_its_last_weights(recordings, tmp_path, capsys):
    run = tmp_path / "run"
    arguments = ("--train_on", "trainval", "--epochs", 3, "--seed", 0, "--lr_init", 0.5)
    assert train(run, recordings, *arguments) == 0
    output = capsys.readouterr().out
    assert "10 train, 2 val" in output
    assert "trained on the val images, too" in output
    assert "(best)" not in output
    assert checkpoint.load(run / "best_weights.pth.tar")["epoch"] == 2
    assert run_evaluate("--results", run / "results_val") == 0
    assert "these images were trained on" in capsys.readouterr().err
