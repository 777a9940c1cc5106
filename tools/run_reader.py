"""Reads a run folder: its log, and the counted pixels of its predictions."""

import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple, TypedDict

import numpy as np

from helpers.errors import InputError
from helpers.history import read_log
from helpers.parsing import Range
from helpers.run_folder import RunFolder
from helpers.scoring import scores
from helpers.scoring.counting import count_all
from helpers.text_files import read_json
from learning.data.datasets.base import Dataset
from learning.data.predictions import find_predictions, labeled_samples

Pixels = Annotated[int, Range("0 or more", at_least=0)]


class _ClassCounts(TypedDict):
    tp: Pixels
    fp: Pixels
    fn: Pixels


class _Scored(TypedDict, total=False):
    dataset: str


class _Report(_Scored):
    """What is read again of results.json: the counts of each class in each image."""

    split: str
    images: dict[str, dict[str, _ClassCounts]]


class Counts(NamedTuple):
    """Pixels of each scored image and class.

    Args:
        dataset: key in `learning.data.datasets.DATASETS`.
        names: of the n images.
        classes: names of the C classes.
        tp, fp, fn: int64 (n, C).
    """

    dataset: str | None
    names: tuple[str, ...]
    classes: tuple[str, ...]
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray


def open_run(path: str) -> RunFolder:
    """The run in an existing folder."""
    if not Path(path).is_dir():
        raise InputError(f"there is no run folder {path}; name a folder that baseline.py made with --save_path")
    return RunFolder(Path(path))


def read_history(run: RunFolder) -> dict[str, list[float]]:
    """The log of a run: "epoch" and the known columns of log_epoch.csv, NaN for missing values; {} without a log."""
    path = run.path / "log_epoch.csv"
    if not path.is_file():
        return {}
    return read_log(path)


def read_counts(run: RunFolder, split: str, find_dataset: Callable[[Path], Dataset]) -> Counts:
    """Counted pixels of the predictions of a run, or of its results.json if the predictions were deleted.

    The predictions take precedence because results.json may belong to earlier ones.

    Args:
        find_dataset: called with the run's folder if its predictions have to be counted.
    """
    results = run.results(split)
    if not results.is_dir():
        return _stored_counts(run, split)
    dataset = find_dataset(run.path)
    samples = labeled_samples(dataset, split)
    predictions = find_predictions(results, samples)
    confusions, _ = count_all(samples, predictions, dataset, with_instances=False)
    names = tuple(sample.name for sample in samples)
    return Counts(dataset.name, names, dataset.labels.names, *scores.class_counts(confusions, dataset.labels))


def _stored_counts(run: RunFolder, split: str) -> Counts:
    path = run.path / "results.json"
    if not path.is_file():
        raise InputError(
            f"{run.path} has neither {run.results(split).name} nor results.json; predict first: "
            f"python baseline.py --save_path {shlex.quote(str(run.path))} --predict"
        )
    remedy = "recreate it with evaluate.py"
    report = read_json(path, _Report, remedy)
    if report["split"] != split:
        raise InputError(f"{path} is of the {report['split']} images; give --split {report['split']}")
    images = report["images"]
    classes = tuple(next(iter(images.values()), ()))
    if not classes or any(set(image) != set(classes) for image in images.values()):
        raise InputError(f"{path} is damaged (it has no counts of the same classes for every image); {remedy}")
    tp, fp, fn = (
        np.array([[image[name][count] for name in classes] for image in images.values()], np.int64)
        for count in ("tp", "fp", "fn")
    )
    return Counts(report.get("dataset"), tuple(images), classes, tp, fp, fn)


def format_value(value: object) -> str:
    """The value of an option as on a command line."""
    if isinstance(value, list):
        return " ".join(map(format_value, value))
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return str(value)
