"""Progress of a run on the console: the progress bar, the time left, and a line for each epoch."""

import math
import time
from collections.abc import Callable
from typing import Protocol

from tqdm import tqdm

from helpers.history import History


class RunningMetrics(Protocol):
    """Metrics of the epoch so far; reading them waits for the device."""

    def mean_loss(self) -> float: ...

    def accuracy(self) -> float: ...


class Clock:
    """Estimates the time left of a run.

    Args:
        epochs: number of epochs that are left at the start; a fraction if the last one is shortened.
    """

    def __init__(self, epochs: float) -> None:
        self.epochs = epochs
        self.start = time.monotonic()

    def left(self, done: float) -> str:
        """Time left, such as 1:02:03, after `done` epochs, which may be a fraction; "?" at the start."""
        if done <= 0:
            return "?"
        return duration((time.monotonic() - self.start) / done * (self.epochs - done))


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss, or m:ss below an hour."""
    minutes, seconds = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def epoch_line(history: History, is_best: bool, left: str) -> str:
    """The last epoch of a history in one line.

    Args:
        is_best: whether its validation mIoU is the best so far.
        left: time left.
    """
    last = {name: values[-1] for name, values in history.items()}
    validation = f"val loss {last['val_loss']:.4f} acc {last['val_acc']:.4f} mIoU {last['miou']:.4f}"
    if all(math.isnan(last[name]) for name in ("val_loss", "val_acc", "miou")):
        validation = "not validated"
    return (
        f"epoch {len(history['miou']) - 1}: "
        f"train loss {last['train_loss']:.4f} acc {last['train_acc']:.4f} mIoU {last['train_miou']:.4f} | "
        f"{validation}{' (best)' if is_best else ''} | "
        f"{duration(last['seconds'])}, {last['images_per_second']:.1f} images/s, {left} left"
    )


def progress_bar(
    total: int,
    description: str,
    clock: Clock | None = None,
    epochs_done: float = 0,
    share: float = 1.0,
    unit: str = "img",
) -> tuple[tqdm, Callable[[int, RunningMetrics], None]]:
    """A progress bar on a terminal; prints nothing elsewhere.

    Args:
        total: number of images, or of another unit, which is shown in thousands or millions.
        clock: also show the time left of the run; a full bar then stands for `epochs_done` + `share` epochs.

    Returns:
        The bar, a context manager; and the report function of `train_epoch` and `validate_epoch`. It reads metrics at most
        twice a second, because this waits for the device.
    """
    bar = tqdm(
        total=total,
        desc=description,
        disable=None,
        unit=unit,
        unit_scale=unit != "img",
        leave=False,
        dynamic_ncols=True,
    )
    last_shown = 0.0

    def report(images: int, metrics: RunningMetrics) -> None:
        nonlocal last_shown
        bar.update(images)
        if bar.disable or time.monotonic() - last_shown <= 0.5:
            return
        last_shown = time.monotonic()
        values = {"loss": f"{metrics.mean_loss():.3f}", "acc": f"{metrics.accuracy():.3f}"}
        if clock:
            values["run left"] = clock.left(epochs_done + share * bar.n / max(total, 1))
        bar.set_postfix(values)

    return bar, report
