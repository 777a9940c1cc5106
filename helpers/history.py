"""The training history: one value per epoch of every metric, kept in the checkpoint and written to the logs."""

import csv
import io
import math
from collections.abc import Collection, Mapping
from pathlib import Path

from helpers.errors import InputError
from helpers.output import write_text
from helpers.text_files import read_text

History = dict[str, list[float]]

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
LOGS = {"log_epoch.csv": COLUMNS, "log_time.csv": TIME_COLUMNS}


def extend_history(
    history: History,
    trained: Mapping[str, float],
    validated: Mapping[str, float] | None,
    lr: float,
    seconds: float,
    images_per_second: float,
) -> History:
    """A copy of the history with one more epoch.

    Args:
        history: {} before the first epoch.
        trained, validated: loss, acc, macc and miou of the epoch; without validation None, which is logged as NaN.
        lr: learning rate of its last step.
        seconds: duration of the epoch.
        images_per_second: training speed.

    Returns:
        The keys are the values of `COLUMNS` and `TIME_COLUMNS`.
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


def is_history(metrics: object) -> bool:
    """Whether the metrics of a checkpoint are a complete history; some lists are missing in the tutorial's checkpoints."""
    return isinstance(metrics, dict) and set(metrics) >= {*COLUMNS.values(), *TIME_COLUMNS.values()}


def write_logs(folder: Path, history: History) -> None:
    """Write log_epoch.csv and log_time.csv from the whole history, so that an interrupted run never loses or repeats a row."""
    for name, columns in LOGS.items():
        write_text(Path(folder) / name, _csv(history, columns))


def read_log(path: Path) -> History:
    """The known columns of a log_epoch.csv, by their names in it, NaN for missing values; {} without an epoch.

    Raises:
        InputError: the file is damaged.
    """
    return _read_columns(path, ("epoch", "miou"), ("epoch", *COLUMNS))


def read_seconds(path: Path) -> list[float]:
    """The duration of each epoch in a log_time.csv; raises `InputError` for a damaged file."""
    return _read_columns(path, ("seconds",), ("seconds",)).get("seconds", [])


def _read_columns(path: Path, needed: Collection[str], known: Collection[str]) -> History:
    remedy = "restore it, or remove it to go without curves"
    lines = read_text(path, remedy).splitlines()
    try:
        header, *rows = csv.reader(lines, strict=True)
        if missing := [name for name in needed if header.count(name) != 1]:
            raise ValueError(f"its first line has no single column {missing[0]!r}")
        table = {name: [float(row[header.index(name)]) for row in rows] for name in header if name in known}
        if not all(map(math.isfinite, table.get("epoch", ()))):
            raise ValueError("the number of an epoch is not finite")
    except (ValueError, IndexError, csv.Error) as error:
        raise InputError(f"{path} is damaged ({error}); {remedy}") from None
    return table if rows else {}


def _csv(history: History, columns: Mapping[str, str]) -> str:
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["epoch", *columns])
    values = zip(*(history.get(key, ()) for key in columns.values()), strict=True)
    rows.writerows([epoch, *(f"{value:.8g}" for value in row)] for epoch, row in enumerate(values))
    return file.getvalue()
