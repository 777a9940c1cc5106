"""A run that an earlier version of the program made (commit f9449ce98a14) is resumed and predicted with.

The fixture holds options.json, checkpoint, best weights and log after the first of two epochs of a UNet with EMA and Nesterov
momentum on the four training images of `make_camvid`, and what that version did next: the log after the second epoch, and the
predictions of the best weights. Its weights were initialized to one value a layer, so that the file stays small.
"""

import csv
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from commands import run_baseline
from PIL import Image
from tiny import make_camvid

import options

pytestmark = pytest.mark.usefixtures("full_unet")
FIXTURE = Path(__file__).parents[2] / "fixtures" / "older_run.tar.xz"


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    """(run folder, data set) of the earlier version."""
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "run", make_camvid(folder / "data", (("train", 4), ("val", 2)))


@pytest.fixture(autouse=True)
def _squashed(monkeypatch):
    """That version resized the images of 48x64 to 64x64, which since then keep their shape; all else is as it was."""
    monkeypatch.setattr("learning.image_size.SAME_SHAPE", 64 / 48)


def rows(path):
    with open(path) as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_it_predicts_what_it_did_then(older, tmp_path):
    run, data = older
    output = tmp_path / "predicted"
    weights = ("--weights", run / "best_weights.pth.tar", "--save_path", output)
    shutil.copy(run / "options.json", tmp_path)
    assert run_baseline("--predict", *weights, "--dataset_path", data, "--device", "cpu") == 0
    for path in (run / "expected_results_val").iterdir():
        now, then = (np.asarray(Image.open(folder / path.name)) for folder in (output / "results_val", path.parent))
        assert now.shape == then.shape
        assert (now == then).mean() > 0.99


@pytest.mark.slow
def test_it_is_resumed_as_it_would_have_been_then(older):
    run, data = older
    stored = json.loads((run / "options.json").read_text())["options"]
    assert set(stored) <= set(options.OPTIONS), "no option of an earlier version is unknown"
    words = ("--epochs", 2, "--dataset_path", data, "--device", "cpu", "--cache", "off")
    assert run_baseline("--save_path", run, "--resume", *words) == 0
    expected, found = rows(run / "expected_log_epoch.csv"), rows(run / "log_epoch.csv")
    assert found[0] == expected[0], "the first epoch is not done again"
    assert found[1] == pytest.approx(expected[1], rel=1e-3, abs=1e-3)
    now = json.loads((run / "options.json").read_text())["options"]
    assert now == stored | {"epochs": 2, "weights": str(run / "checkpoint.pth.tar"), "dataset_path": str(data)} | {
        name: now[name] for name in options.PER_COMMAND
    }
