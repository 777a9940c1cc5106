"""The optional scores of evaluate.py, through its command line."""

import json

import numpy as np
import pytest
from commands import run_evaluate, snapshot
from tiny import make_camvid

from helpers.images import read_label, write_png
from helpers.probabilities import write_probabilities
from helpers.scoring import bootstrap


@pytest.fixture
def scored(tmp_path):
    """(data set, results folder): predictions that are the labels shifted by a pixel, with a class in place of void."""
    data = make_camvid(tmp_path / "data", (("train", 1), ("val", 4)))
    results = tmp_path / "run" / "results_val"
    results.mkdir(parents=True)
    for path in (data / "valannot").iterdir():
        label = np.roll(read_label(path), 1, axis=1)
        write_png(results / path.name, np.where(label == 11, 0, label).astype(np.uint8))
    return data, results


def evaluate(scored, *arguments):
    data, results = scored
    return run_evaluate("--results", results, "--dataset", "camvid", "--dataset_path", data, *arguments)


def test_optional_scores_are_off_by_default(scored, capsys):
    assert evaluate(scored) == 0
    found = json.loads((scored[1].parent / "results.json").read_text())
    assert not {"boundary", "calibration", "bootstrap"} & set(found)
    assert "boundary" not in capsys.readouterr().out


def test_boundary_and_interval(scored, capsys):
    assert evaluate(scored, "--boundary", "--bootstrap", 200) == 0
    found = json.loads((scored[1].parent / "results.json").read_text())
    printed = capsys.readouterr().out
    assert "boundary IoU, within 2 % of the diagonal" in printed
    values = [value for value in found["boundary"]["class"].values() if value is not None]
    assert found["boundary"]["mean"] == pytest.approx(np.mean(values))
    assert 0.3 < found["boundary"]["mean"] < found["scores"]["mean_class_iou"], "a shift costs most at the contours"
    counts = np.array([[list(of.values()) for of in image.values()] for image in found["images"].values()])  # (n, C, 3)
    mean, _ = bootstrap.interval(counts.transpose(2, 0, 1), 200)
    assert [found["bootstrap"][name] for name in ("value", "low", "high")] == list(mean)
    assert found["bootstrap"]["value"] == found["scores"]["mean_class_iou"]
    assert f"95 % interval {mean.low:.4f} .. {mean.high:.4f} (200 draws of images)" in printed


def test_calibration_reads_the_probabilities_beside_the_results(scored, capsys):
    data, results = scored
    folder = results.with_name("scores_val")
    folder.mkdir()
    for path in (data / "valannot").iterdir():
        classes = read_label(path)[::2, ::2]
        probabilities = np.where(np.arange(11)[:, None, None] == classes, 0.8, 0.02)
        write_probabilities(folder / f"{path.stem}.npy", probabilities, "uint8")
    assert evaluate(scored, "--calibration") == 0
    found = json.loads((results.parent / "results.json").read_text())["calibration"]
    assert sum(found["bins"]["pixels"]) > 0
    # Sampled at every second pixel, the predicted class is the truth's there or a neighbor's.
    pixels = np.array(found["bins"]["pixels"])
    accuracy = np.array(found["bins"]["accuracy"], float)
    assert pixels[pixels > 0].size == 1
    assert found["error"] == pytest.approx(abs(np.nanmax(accuracy) - 204 / 255), abs=1e-6)
    assert "expected calibration error: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--calibration"], "keeps them with baseline.py --predict --save_scores"),
        (["--boundary", "0"], "--boundary 0.0: expected a share"),
        (["--bootstrap", "3"], "--bootstrap 3: expected 100 .. 1000000"),
        (["--blocks"], "--blocks says what --bootstrap draws"),
        (["--bootstrap", "--blocks"], "all of one recording"),
    ],
)
def test_invalid_options_are_one_line(scored, capsys, arguments, message):
    before = snapshot(scored[1].parent)
    assert evaluate(scored, *arguments) == 2
    assert snapshot(scored[1].parent) == before
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1]


def test_probabilities_of_another_table_are_refused(scored, capsys):
    folder = scored[1].with_name("scores_val")
    folder.mkdir()
    for path in scored[1].iterdir():
        write_probabilities(folder / f"{path.stem}.npy", np.full((3, 4, 4), 1 / 3), "uint8")
    assert evaluate(scored, "--calibration") == 2
    assert "holds 3 classes, not the 11 classes of the camvid data set" in capsys.readouterr().err
