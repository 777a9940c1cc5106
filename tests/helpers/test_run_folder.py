"""The run folder: logs without doubled rows, folders replaced as a whole, time left, the progress bar."""

import csv
import io
import math
import sys

import pytest

from helpers import run_folder
from helpers.errors import InputError
from helpers.history import extend_history, is_history, write_logs
from helpers.output import replacing_folders
from helpers.progress import Clock, duration, epoch_line, progress_bar
from learning.training.metrics import EpochMetrics


def summary(value):
    return dict.fromkeys(("loss", "acc", "macc", "miou"), value)


def history_of(epochs):
    history = {}
    for epoch in range(epochs):
        history = extend_history(history, summary(0.5), summary(epoch / 10), 0.01, 2.0, 4.0)
    return history


def test_the_log_is_the_history_however_often_it_is_written(tmp_path):
    for epochs in (1, 2, 2, 3):
        write_logs(tmp_path, history_of(epochs))
    rows = list(csv.DictReader((tmp_path / "log_epoch.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [float(row["miou"]) for row in rows] == [0.0, 0.1, 0.2]
    assert list(rows[0])[:6] == ["epoch", "train loss", "val loss", "train acc", "val acc", "miou"]
    assert "seconds" not in rows[0]
    assert len((tmp_path / "log_time.csv").read_text().splitlines()) == 4
    assert not list(tmp_path.glob("*.tmp"))


def test_a_history_extends_a_copy():
    first = history_of(1)
    extend_history(first, summary(0.5), summary(0.9), 0.01, 2.0, 4.0)
    assert first["miou"] == [0.0]
    assert is_history(first)
    assert not is_history({"train_loss": [], "train_acc": [], "val_acc": [], "val_loss": [], "miou": []})


def test_results_stay_as_they_are_when_predicting_fails(tmp_path):
    old = tmp_path / "results_val"
    old.mkdir()
    (old / "a.png").write_text("old")

    def fail():
        with replacing_folders(old, tmp_path / "results_color_val") as (ids, _):
            (ids / "a.png").write_text("new")
            raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError):
        fail()
    assert (old / "a.png").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["results_val"]


def test_results_take_the_place_of_those_of_the_same_name(tmp_path):
    old = tmp_path / "results_val"
    (old / "sub").mkdir(parents=True)
    (old / "a.png").write_text("old")
    (old / "sub" / "mine.txt").write_text("mine")
    with replacing_folders(old) as (ids,):
        (ids / "a.png").write_text("new")
    assert (old / "a.png").read_text() == "new"
    assert (old / "sub" / "mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["results_val"]


@pytest.mark.parametrize("renamed", [True, False])
def test_a_kill_in_the_middle_of_the_exchange_loses_nothing(tmp_path, renamed):
    """The old folder was set aside, and the new one has its name already, or not yet."""
    folder, aside = tmp_path / "results_val", tmp_path / ".results_val.old"
    aside.mkdir()
    (aside / "mine.txt").write_text("mine")
    (aside / "a.png").write_text("old")
    if renamed:
        folder.mkdir()
        (folder / "a.png").write_text("newer")
    with replacing_folders(folder) as (ids,):
        assert (folder / "a.png").read_text() == ("newer" if renamed else "old")
        (ids / "a.png").write_text("newest")
    assert (folder / "mine.txt").read_text() == "mine"
    assert (folder / "a.png").read_text() == "newest"
    assert [path.name for path in tmp_path.iterdir()] == ["results_val"]


@pytest.mark.parametrize(("seconds", "words"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")])
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_time_left_follows_from_the_epochs_done(monkeypatch):
    now = iter((100.0, 160.0))
    monkeypatch.setattr(run_folder.time, "monotonic", lambda: next(now))
    clock = Clock(10)
    assert clock.left(0) == "?"
    assert clock.left(2) == "4:00"


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_is_for_terminals_only(monkeypatch, terminal):
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", screen)
    bar, report = progress_bar(4, "epoch 0 train", Clock(2))
    with bar:
        report(2, EpochMetrics(3, "cpu"))
    shown = screen.getvalue()
    assert all(word in shown for word in ("epoch 0 train", "2/4", "loss=nan", "acc=nan", "run left=")) is terminal
    assert bool(shown) is terminal


def test_options_survive_the_file_and_damage_is_named(tmp_path):
    path = tmp_path / "options.json"
    assert run_folder.read_options(path) == {}
    run_folder.write_options(path, {"crop_size": [1, 2], "seed": None, "save_path": "Straße 1"}, {"device": "cpu"})
    assert run_folder.read_options(path) == {"crop_size": [1, 2], "seed": None, "save_path": "Straße 1"}
    path.write_text('{"options": 3}')
    with pytest.raises(InputError, match=r"options\.json is damaged"):
        run_folder.read_options(path)


def test_an_epoch_is_one_line():
    line = epoch_line(history_of(2) | {"val_loss": [0.0, math.nan]}, True, "1:00")
    assert line.startswith("epoch 1: ")
    assert "mIoU 0.1000 (best)" in line
    assert "\n" not in line
