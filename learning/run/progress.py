"""Progress bars of training and validation. Their report functions also let the saver act between two batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from helpers.progress import Clock, progress_bar
from learning import distributed
from learning.run.build import Run
from learning.run.saver import CheckpointSaver
from learning.training.metrics import EpochMetrics

Report = Callable[[int, EpochMetrics], None]


@dataclass
class EpochClock:
    """Estimates the time left of a run, and measures the speed of its epochs.

    Args:
        clock: of the epochs that were left at the start.
        done: number of these epochs that are done.
        speed: training images per second in the last epoch; NaN if it had no step left.
    """

    clock: Clock
    done: int = 0
    speed: float = math.nan

    def time_left(self) -> str:
        """Count an epoch as done, and return the time left, such as 1:02:03."""
        self.done += 1
        return self.clock.left(self.done)


def epoch_clock(run: Run, epochs_done: int) -> EpochClock:
    """The clock of a run with some epochs done."""
    return EpochClock(Clock(run.length.total_steps / run.length.steps_per_epoch - epochs_done))


@contextmanager
def training_bar(run: Run, saver: CheckpointSaver, train_metrics: EpochMetrics, clock: EpochClock) -> Iterator[Report]:
    """A bar over the training images of an epoch; yields the report function for `train_epoch`."""
    state = saver.state
    began = time.monotonic()
    num_train = run.length.steps_of(state.epoch) * run.step_size
    num_done = state.step * run.step_size
    num_val = len(run.data.dataset.split("val")) if run.length.validates(state.epoch) else 0
    share = num_train / (num_train + num_val)  # of training in the epoch
    bar, progress = progress_bar(num_train, f"epoch {state.epoch} train", clock.clock, clock.done, share)
    with bar:
        bar.update(num_done)
        yield make_report(progress, lambda: saver.after_step(train_metrics))
    num_images = num_train - num_done
    clock.speed = num_images / (time.monotonic() - began) if num_images > 0 else math.nan


@contextmanager
def validation_bar(run: Run, saver: CheckpointSaver, train_metrics: EpochMetrics) -> Iterator[Report]:
    """A bar over the validation images; yields the report function for `validate_epoch`."""
    num_val = len(run.data.dataset.split("val"))
    bar, progress = progress_bar(num_val, f"epoch {saver.state.epoch} val")
    with bar:
        yield make_report(progress, lambda: saver.after_validation_batch(train_metrics))


def make_report(progress: Report, save: Callable[[], None]) -> Report:
    """A report function that updates the bar, then calls `save`, which may save or stop the run."""

    def report(num_images: int, metrics: EpochMetrics) -> None:
        progress(num_images * distributed.world_size(), metrics)
        save()

    return report
