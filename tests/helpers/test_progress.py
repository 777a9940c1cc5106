"""Time left, the progress bar, and the line of an epoch."""

import io
import math
import sys

import pytest

from helpers import progress
from learning.training.metrics import EpochMetrics
from tests.helpers.test_history import history_of


@pytest.mark.parametrize(("seconds", "expected"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")])
def test_durations(seconds, expected):
    assert progress.duration(seconds) == expected


def test_time_left_is_extrapolated_from_the_epochs_done(monkeypatch):
    now = iter((100.0, 160.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    clock = progress.Clock(10)
    assert clock.left(0) == "?"
    assert clock.left(2) == "4:00"


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_is_shown_on_terminals_only(monkeypatch, terminal):
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", screen)
    bar, report = progress.progress_bar(4, "epoch 0 train", progress.Clock(2))
    with bar:
        report(2, EpochMetrics(3, "cpu"))
    shown = screen.getvalue()
    assert all(word in shown for word in ("epoch 0 train", "2/4", "loss=nan", "acc=nan", "run left=")) is terminal
    assert bool(shown) is terminal


def test_an_epoch_is_one_line():
    line = progress.epoch_line(history_of(2) | {"val_loss": [0.0, math.nan]}, True, "1:00")
    assert line.startswith("epoch 1: ")
    assert "mIoU 0.1000 (best)" in line
    assert "\n" not in line
