"""The run folder: what lies where, its logs, and the progress that people watch."""

import csv
import hashlib
import io
import json
import math
import shlex
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import InputError
from helpers.output import write_text

# Column of log_epoch.csv -> key of the history in a checkpoint. The first five are the tutorial's.
COLUMNS = {
    "train loss": "train_loss",
    "val loss": "val_loss",
    "train acc": "train_acc",
    "val acc": "val_acc",
    "miou": "miou",
    "train miou": "train_miou",
    "macc": "macc",
    "lr": "lr",
}
TIME_COLUMNS = {"seconds": "seconds", "images/s": "images_per_second"}


@dataclass(frozen=True)
class RunFolder:
    """A folder that holds everything needed to understand, resume, predict from or compare a run.

    Args:
        path: Path of the folder; it need not exist yet.
    """

    path: Path

    @property
    def checkpoint(self):
        """Path: the last state of the run."""
        return self.path / "checkpoint.pth.tar"

    @property
    def previous(self):
        """Path: the checkpoint before the last."""
        return self.path / "checkpoint_previous.pth.tar"

    @property
    def nonfinite(self):
        """Path: a step that stopped the run, for --replay."""
        return self.path / "nonfinite.pth.tar"

    @property
    def last(self):
        """Path: the checkpoint to continue from."""
        return self.checkpoint if self.checkpoint.exists() else self.previous

    @property
    def best(self):
        """Path: the weights with the best validation mIoU."""
        return self.path / "best_weights.pth.tar"

    @property
    def options(self):
        """Path: every option of the run and the circumstances."""
        return self.path / "options.json"

    @property
    def images(self):
        """Path: pictures of the training batch and of the first validation batch."""
        return self.path / "images"

    def scores(self, split):
        """Path: the class probabilities of a split."""
        return self.path / f"scores_{split}"

    def results(self, split, color=False):
        """Path: the predictions of a split, as label ids or in color."""
        return self.path / f"results_{'color_' if color else ''}{split}"

    @property
    def holds_run(self):
        """Whether a run can be continued from here; without a checkpoint a folder may be started anew."""
        return self.checkpoint.exists() or self.previous.exists()

    @property
    def continuation(self):
        """str: the options that continue the run."""
        return f"--save_path {shlex.quote(str(self.path))} --resume"

    def create(self):
        """Make the folder and images/.

        Raises:
            InputError: it cannot be made or written.
        """
        try:
            self.images.mkdir(parents=True, exist_ok=True)
            probe = self.path / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"cannot write run folder {self.path}: {error.strerror}; name another --save_path"
            ) from None


def read_options(path):
    """The options of a run.

    Args:
        path: its options.json.

    Returns:
        dict: option name -> value; empty where there is no such file.

    Raises:
        InputError: the file is damaged.
    """
    return read_about(path).get("options", {})


def read_about(path):
    """Everything that options.json says: what `write_options` wrote; arguments and errors as for `read_options`."""
    if not Path(path).is_file():
        return {}
    try:
        about = json.loads(Path(path).read_text(encoding="utf-8"))
        if isinstance(about["options"], dict):
            return about
        reason = "it has no options"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise InputError(f"{path} is damaged ({reason}); restore it, or remove it and type every option of the run")


def write_options(path, options, circumstances):
    """Write options.json: {"options": {...}} beside whatever else explains the run.

    Args:
        options: dict of plain values.
        circumstances: dict of plain values, such as versions and the data's fingerprint.
    """
    write_text(path, json.dumps({"options": options, **circumstances}, indent=2, sort_keys=False) + "\n")


def write_logs(folder, history):
    """Write log_epoch.csv and log_time.csv whole, from the history: no stop can double or lose a row.

    Args:
        folder: the run folder.
        history: dict of lists, one value an epoch, as `extend_history` makes it; {} before the first.
    """
    write_text(Path(folder) / "log_epoch.csv", _csv(history, COLUMNS))
    write_text(Path(folder) / "log_time.csv", _csv(history, TIME_COLUMNS))


def extend_history(history, trained, validated, lr, seconds, images_per_second):
    """The history with one more epoch.

    Args:
        history: dict of lists, one value an epoch; {} before the first.
        trained, validated: dicts with loss, acc, macc and miou of the epoch; None for an epoch without validation, whose
            figures are nan.
        lr: learning rate of its last step.
        seconds, images_per_second: duration of the epoch, speed of its training.

    Returns:
        dict of lists of float; the keys are the values of `COLUMNS` and `TIME_COLUMNS`.
    """
    validated = validated or dict.fromkeys(("loss", "acc", "macc", "miou"), math.nan)
    row = {
        "train_loss": trained["loss"],
        "val_loss": validated["loss"],
        "train_acc": trained["acc"],
        "val_acc": validated["acc"],
        "miou": validated["miou"],
        "train_miou": trained["miou"],
        "macc": validated["macc"],
        "lr": lr,
        "seconds": seconds,
        "images_per_second": images_per_second,
    }
    return {name: [*history.get(name, []), value] for name, value in row.items()}


def is_history(metrics):
    """Whether the metrics of a checkpoint are a history that can be extended; the tutorial's lack some lists."""
    return isinstance(metrics, dict) and set(metrics) >= {*COLUMNS.values(), *TIME_COLUMNS.values()}


def epoch_line(history, is_best, left):
    """str: the last epoch of a history in one line.

    Args:
        is_best: whether its validation mIoU is the best so far.
        left: time left, in words.
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


def _csv(history, columns):
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["epoch", *columns])
    values = zip(*(history.get(key, ()) for key in columns.values()), strict=True)
    rows.writerows([epoch, *(f"{value:.8g}" for value in row)] for epoch, row in enumerate(values))
    return file.getvalue()


def fingerprint(dataset):
    """str: a short hash of the names and sizes of all files of a data set."""
    digest = hashlib.sha256()
    for split, samples in sorted(dataset.splits.items()):
        for sample in samples:
            for path in filter(None, (sample.image, sample.label)):
                digest.update(f"{split} {path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def source_commit():
    """str: the commit of this program, with "+" where files differ from it; "unknown" outside a checkout."""
    with suppress(OSError, subprocess.SubprocessError):
        words = [
            "git",
            "-C",
            str(Path(__file__).parent),
            "describe",
            "--always",
            "--dirty=+",
            "--abbrev=12",
            "--exclude=*",
        ]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    return "unknown"


class Clock:
    """Time of a run: how long it has taken and how much is left.

    Args:
        epochs: number of epochs that are still to come, a fraction where the last is cut.
    """

    def __init__(self, epochs):
        self.epochs, self.start = epochs, time.monotonic()

    def left(self, done):
        """str: time left, such as 1:02:03, after `done` epochs of those to come (a fraction counts); "?" at the start."""
        if done <= 0:
            return "?"
        return duration((time.monotonic() - self.start) / done * (self.epochs - done))


def duration(seconds):
    """str: seconds as h:mm:ss, or m:ss below an hour."""
    minutes, seconds = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def progress_bar(total, description, clock=None, epochs_done=0, share=1.0, unit="img"):
    """A progress bar of images on a terminal, nothing elsewhere.

    Args:
        total: number of images, or of another unit, which is then shown in thousands or millions.
        description: what is done.
        clock: a `Clock`, to show what is left of the whole run; with it, the bar's end stands for `epochs_done` + `share` epochs.

    Returns:
        (tqdm, function): the bar, a context manager; and what `train_epoch` and `validate_epoch` report to. Metrics are
        read, which waits for the device, at most twice a second.
    """
    from tqdm import tqdm  # here, so that reading a run's options needs no more than Python

    looks = {"unit": unit, "unit_scale": unit != "img", "leave": False, "dynamic_ncols": True}
    bar = tqdm(total=total, desc=description, disable=None, **looks)
    shown = 0.0

    def report(images, metrics):
        nonlocal shown
        bar.update(images)
        if not bar.disable and time.monotonic() - shown > 0.5:
            shown = time.monotonic()
            values = {"loss": f"{metrics.mean_loss():.3f}", "acc": f"{metrics.accuracy():.3f}"}
            if clock:
                values["run left"] = clock.left(epochs_done + share * bar.n / max(total, 1))
            bar.set_postfix(values)

    return bar, report
