"""Submissions: run lengths against a slow decoder, known files, checks before anything is written."""

import csv
import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from tiny import make_camvid, make_minicity, save

from helpers.errors import exit_status
from helpers.images import read_label, write_png
from helpers.labels import CAMVID
from tools import submissions, submit


def write(*words):
    """Exit status of tools.submit."""
    return exit_status("tools.submit", submit.main, list(map(str, words)))


def decode(text, size, row_major=False):
    """bool (H, W): pixel by pixel."""
    height, width = size
    mask, numbers = np.zeros(size, bool), [int(word) for word in text.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        for pixel in range(start - 1, start - 1 + length):
            place = divmod(pixel, width) if row_major else divmod(pixel, height)[::-1]
            mask[place] = True
    return mask


def test_run_lengths_by_hand():
    mask = np.array([[0, 1, 1], [0, 1, 0]], bool)
    assert submissions.run_lengths(mask) == "3 3"  # down the columns: 0 0, 1 1, 1 0
    assert submissions.run_lengths(mask, row_major=True) == "2 2 5 1"
    assert submissions.run_lengths(~mask) == "1 2 6 1"
    assert submissions.run_lengths(np.ones((2, 3), bool)) == "1 6"
    assert submissions.run_lengths(np.zeros((2, 3), bool)) == ""


@pytest.mark.parametrize("row_major", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_run_lengths_round_trip(row_major, share):
    mask = np.random.default_rng(1).random((13, 17)) < share
    assert np.array_equal(decode(submissions.run_lengths(mask, row_major), mask.shape, row_major), mask)


@pytest.fixture
def run(tmp_path):
    """A run folder with predictions of two test images; each has the class numbers 3, 5 and void."""
    data = make_camvid(tmp_path / "data")
    for path in (data / "test").iterdir():
        save(path, np.zeros((4, 6, 3), np.uint8))
    folder = tmp_path / "run"
    (folder / "results_test").mkdir(parents=True)
    stored = {"dataset": "camvid", "dataset_path": str(data)}
    (folder / "options.json").write_text(json.dumps({"options": stored}))
    for index in range(2):
        label = np.full((4, 6), 3, np.uint8)
        label[: index + 1, 2:4] = 5
        label[3, 5] = CAMVID.void_id
        write_png(folder / f"results_test/0001TP_test{index:03d}.png", label)
    return folder


def rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_zip_is_flat_and_always_the_same(run, tmp_path, capsys):
    assert write(run) == 0
    path = run / "submission_test.zip"
    assert "2 test images" in capsys.readouterr().out
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["0001TP_test000.png", "0001TP_test001.png"]
        assert archive.testzip() is None
        for name in archive.namelist():
            assert archive.getinfo(name).date_time == (1980, 1, 1, 0, 0, 0)
            image = Image.open(io.BytesIO(archive.read(name)))
            assert (image.mode, image.size) == ("L", (6, 4))
            assert np.array_equal(np.asarray(image), read_label(run / "results_test" / name))
    (run / "results_test/0001TP_test000.png").touch()
    assert write(run, "--output", tmp_path / "again.zip") == 0
    digests = {hashlib.sha256(each.read_bytes()).digest() for each in (path, tmp_path / "again.zip")}
    assert len(digests) == 1


def test_zip_has_the_benchmarks_names_and_8_bits_for_any_prediction(tmp_path):
    data = make_minicity(tmp_path / "data")
    (data / "leftImg8bit/test/123.png").touch()
    for path in (data / "leftImg8bit/test").iterdir():
        save(path, np.zeros((4, 6, 3), np.uint8))
    folder = tmp_path / "predictions"
    folder.mkdir()
    for name in ("tiny_000000_000019", "tiny_000001_000019_leftImg8bit", "123"):
        Image.fromarray(np.full((4, 6), 33, np.uint16)).save(folder / f"{name}.png")
    words = ("--dataset", "minicity", "--dataset_path", data, "--output", tmp_path / "s.zip")
    assert write(folder, *words) == 0
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        names = ["123.png", "tiny_000000_000019_leftImg8bit.png", "tiny_000001_000019_leftImg8bit.png"]
        assert archive.namelist() == names
        assert Image.open(io.BytesIO(archive.read("123.png"))).mode == "L"


@pytest.mark.parametrize("status", [0, 2])
def test_a_foreign_file_with_a_temporary_name_stays(run, status):
    (run / "submission_test.zip.tmp").write_text("mine")
    if status:
        damage(run, "missing")
    assert write(run) == status
    assert (run / "submission_test.zip.tmp").read_text() == "mine"
    assert not list(run.glob(".*"))


def test_csv_by_hand(run):
    assert write(run, "--format", "csv") == 0
    found = rows(run / "submission_test.csv")
    assert found[0] == ["id", "labels"]
    assert found[1] == ["0001TP_test000", "3 3 5 5 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 11"]
    assert b"\r" not in (run / "submission_test.csv").read_bytes()


def test_csv_at_another_size_and_in_train_ids(run, tmp_path):
    assert write(run, "--format", "csv", "--size", 2, 3, "--train_ids", "--output", tmp_path / "s.csv") == 0
    # Rows 1 and 3, columns 1, 3 and 5 of 4x6; void is 255.
    assert [row[1] for row in rows(tmp_path / "s.csv")[1:]] == ["3 3 3 3 3 255", "3 5 3 3 3 255"]


def test_rle_by_hand_and_back(run):
    assert write(run, "--format", "rle") == 0
    found = rows(run / "submission_test_rle.csv")
    assert found[0] == ["id", "label", "pixels"]
    assert len(found) == 1 + 2 * 11
    text = {(name, int(number)): pixels for name, number, pixels in found[1:]}
    assert text["0001TP_test000", 5] == "9 1 13 1"
    assert text["0001TP_test001", 5] == "9 2 13 2"
    assert text["0001TP_test000", 0] == ""
    for name in ("0001TP_test000", "0001TP_test001"):
        label = read_label(run / f"results_test/{name}.png")
        for number in range(11):
            assert np.array_equal(decode(text[name, number], (4, 6)), label == number)


def test_rle_along_the_rows(run, tmp_path):
    assert write(run, "--format", "rle", "--row_major", "--output", tmp_path / "s.csv") == 0
    assert ["0001TP_test001", "5", "3 2 9 2"] in rows(tmp_path / "s.csv")


def test_nothing_is_overwritten_without_force(run, capsys):
    assert write(run) == 0
    before = (run / "submission_test.zip").read_bytes()
    write_png(run / "results_test/0001TP_test000.png", np.zeros((4, 6), np.uint8))
    assert write(run) == 2
    assert "exists; name another --output, or add --force to replace it" in capsys.readouterr().err
    assert (run / "submission_test.zip").read_bytes() == before
    assert write(run, "--force") == 0
    assert (run / "submission_test.zip").read_bytes() != before


def damage(run, what):
    path = run / "results_test/0001TP_test001.png"
    if what == "missing":
        path.unlink()
    else:
        write_png(path, np.full((4, 6) if what == "value" else (4, 7), 50, np.uint8))


@pytest.mark.parametrize(
    ("what", "message"),
    [("missing", "no prediction for"), ("size", "is 4x7 pixels, but"), ("value", "holds the value 50")],
)
@pytest.mark.parametrize("kind", ["zip", "csv", "rle"])
def test_every_image_has_a_fitting_prediction_before_anything_is_written(run, capsys, what, message, kind):
    damage(run, what)
    assert write(run, "--format", kind) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in run.iterdir()) == ["options.json", "results_test"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--size", 4), "--size is for csv and rle"),
        (("--format", "csv", "--size", 0), "--size 0 0: expected 1 pixel or more"),
        (("--format", "rle", "--size", 0, 5), "--size 0 5: expected 1 pixel or more"),
        (("--row_major",), "--row_major is for --format rle"),
        (("--split", "val"), "has no results_val; predict first"),
        (("--output", "nowhere/s.zip"), "there is no folder nowhere"),
    ],
)
def test_mistakes_are_a_line(run, capsys, words, message):
    assert write(run, *words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
