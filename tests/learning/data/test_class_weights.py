"""Class weights: formulas by hand, files, and the output of a run."""

import json

import numpy as np
import pytest
from commands import run_baseline, small_run, train
from tiny import make_camvid, make_minicity

from helpers.errors import InputError
from learning.data.class_weights import (
    check_for_dataset,
    compute,
    enet,
    median_frequency,
    published_or_enet,
    resolve_option,
)
from learning.data.datasets import camvid, minicity

PIXELS = np.array([[60, 20, 0, 0], [30, 0, 10, 0], [0, 40, 0, 0]])


def test_enet_by_hand():
    shares = np.array([90, 60, 10, 0]) / 160
    assert enet(PIXELS) == pytest.approx(1 / np.log(1.02 + shares))
    assert enet(PIXELS, c=1.1) == pytest.approx(1 / np.log(1.1 + shares))
    assert enet(np.zeros((2, 3), np.int64)) == pytest.approx(1 / np.log(1.02))


def test_median_frequency_by_hand():
    frequency = np.array([90 / 120, 60 / 120, 10 / 40])
    expected = [0.5 / f for f in frequency] + [1.0]
    assert median_frequency(PIXELS) == pytest.approx(expected)


@pytest.mark.parametrize("scheme", [enet, median_frequency])
def test_no_weight_is_infinite(scheme):
    assert np.isfinite(scheme(PIXELS)).all()
    assert np.isfinite(scheme(np.array([[0, 1, 10**12]]))).all()


def test_weights_of_each_name():
    assert compute("none", minicity, PIXELS) is None
    assert compute("ocnet", minicity, PIXELS).tolist() == list(minicity.CLASS_WEIGHTS)
    assert compute("enet", minicity, PIXELS).tolist() == enet(PIXELS).tolist()
    assert compute("median", minicity, PIXELS).tolist() == median_frequency(PIXELS).tolist()
    assert compute("1,0.5,2", minicity, PIXELS).tolist() == [1, 0.5, 2]
    assert published_or_enet(minicity, PIXELS).tolist() == list(minicity.CLASS_WEIGHTS)
    assert published_or_enet(camvid, PIXELS).tolist() == enet(PIXELS).tolist()


@pytest.mark.parametrize(
    "text", ["1\n0.5\n\n2\n", "road 1\nwall of stone 0.5\nsky\t2", json.dumps([1, 0.5, 2]), " [1, .5e0"]
)
def test_a_file_becomes_its_numbers(tmp_path, text):
    (tmp_path / "w").write_text(text)
    if ".5e0" in text:
        with pytest.raises(InputError, match="expected a JSON list of numbers"):
            resolve_option(str(tmp_path / "w"))
    else:
        assert resolve_option(str(tmp_path / "w")) == "1,0.5,2"
    assert resolve_option("1, 0.5,2") == "1,0.5,2"
    assert resolve_option("enet") == "enet"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n-0.5", "0 or more"),
        ("1\nnan", "0 or more"),
        ("0\n0", "not all of them 0"),
        ("1\ntwo", "one number a line"),
        ("[1, [2]]", "JSON list"),
        ("", "not all of them 0"),
    ],
)
def test_a_file_without_weights_is_refused(tmp_path, text, message):
    (tmp_path / "w").write_text(text)
    with pytest.raises(InputError, match=message):
        resolve_option(str(tmp_path / "w"))


def test_weights_of_another_data_set_are_refused():
    with pytest.raises(InputError, match="Cityscapes"):
        check_for_dataset("ocnet", camvid, 11)
    with pytest.raises(InputError, match="got 3 numbers, expected one for each of the 11 classes"):
        check_for_dataset("1,2,3", camvid, 11)
    for text in ("none", "enet", "median", ",".join("1" * 11)):
        check_for_dataset(text, camvid, 11)
    check_for_dataset("ocnet", minicity, 19)


# ---------------------------------------------------------------------------------------------- the command line


def test_a_run_prints_its_weights_and_stores_those_of_a_file(tmp_path, capsys):
    data, run, file = make_camvid(tmp_path / "data"), tmp_path / "run", tmp_path / "weights.txt"
    file.write_text("\n".join(str(1 + i / 4) for i in range(11)))
    arguments = ("--epochs", 1, "--loss", "ce+0.5*dice", "--class_weights", file, "--label_smoothing", 0.1, "--seed", 1)
    assert train(run, data, *arguments) == 0
    output = capsys.readouterr().out
    assert "training  ce+0.5*dice" in output
    assert "weights   ce Sky 1, Building 1.25, Pole 1.5" in output
    stored = json.loads((run / "options.json").read_text())
    assert "1,1.25,1.5" in json.dumps(stored)
    resumed = small_run(run, data, "--resume", "--epochs", 2)
    assert run_baseline(*resumed, "--loss", "ce+0.5*dice", "--class_weights", file) == 0
    file.unlink()
    assert run_baseline(*resumed) == 0, "the file is not needed again"
    assert run_baseline(*resumed, "--class_weights", "enet") == 2
    assert "--class_weights enet differs" in capsys.readouterr().err


def test_standard_weights_of_minicity(tmp_path, capsys):
    data = make_minicity(tmp_path / "data")
    arguments = ("--loss", "weighted_ce+focal", "--class_weights", "ocnet", "--dry_run")
    assert train(tmp_path / "run", data, *arguments, name="minicity") == 0
    output = capsys.readouterr().out
    assert "weights   weighted_ce road 0.837, sidewalk 0.918" in output
    assert "focal road 0.837" in output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--loss", "dice", "--class_weights", "enet"), "--class_weights is for ce, focal and ohem"),
        (("--loss", "weighted_ce", "--class_weights", "enet"), "weighted_ce has the data set's own"),
        (("--loss", "focal", "--label_smoothing", 0.1), "--label_smoothing is for ce and weighted_ce"),
        (("--class_weights", "ocnet"), "Cityscapes"),
        (("--class_weights", "no/such/file"), "none, ocnet, enet, median, or a file of numbers (No such file"),
        (("--class_weights", "1,2"), "got 2 numbers"),
        (("--class_weights", ""), "--class_weights is empty"),
        (("--loss", "ce+"), "--loss ce+: a name is missing"),
        (("--loss", "ce+ce"), "--loss ce+ce: ce is named twice"),
        (("--loss", "0*ce"), "'0' is not a factor above 0"),
        (("--loss", "x*ce+dice"), "'x' is not a factor above 0"),
        (("--loss", "ce+dise"), "there is no dise; known are ce, weighted_ce, focal"),
        (("--ohem_fraction", 0), "--ohem_fraction 0.0: expected a number above 0"),
    ],
)
def test_errors_are_one_line_before_anything_is_written(tmp_path, capsys, arguments, expected):
    data = make_camvid(tmp_path / "data")
    assert train(tmp_path / "run", data, *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert expected in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()
