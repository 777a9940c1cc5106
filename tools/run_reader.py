"""What a run folder says: its options, its log, and the counted pixels of each of its predictions."""

import csv
import json
import math
import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np

from helpers.errors import InputError
from helpers.history import COLUMNS
from helpers.run_folder import RunFolder, read_options
from helpers.scoring import scores
from helpers.scoring.counting import count_all
from learning.data.predictions import find_predictions, labelled_samples


class Counts(NamedTuple):
    """Pixels of each scored image and class.

    Args:
        dataset: key in `learning.data.datasets.DATASETS`.
        names: the n images; classes: names of the C classes.
        tp, fp, fn: int64 (n, C).
    """

    dataset: str
    names: tuple
    classes: tuple
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray


def open_run(path):
    """RunFolder of an existing folder.

    Raises:
        InputError: there is no such folder.
    """
    if not Path(path).is_dir():
        raise InputError(f"there is no run folder {path}; name a folder that baseline.py made with --save_path")
    return RunFolder(Path(path))


def read_about(run):
    """Options and circumstances of a run.

    Returns:
        (dict, dict): option name -> value, and everything else in options.json, such as versions; empty without that file.

    Raises:
        InputError: the file is damaged.
    """
    stored = read_options(run.options)  # names what is wrong with a damaged file
    everything = json.loads(run.options.read_text(encoding="utf-8")) if stored else {}
    return stored, {name: value for name, value in everything.items() if name != "options"}


def read_history(run):
    """The log of a run.

    Returns:
        dict: column of log_epoch.csv -> list of float, nan where there is no number; "epoch" and the known columns only, and {}
        without a log.

    Raises:
        InputError: the file is damaged.
    """
    path = run.path / "log_epoch.csv"
    if not path.is_file():
        return {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        known = [name for name in ("epoch", *COLUMNS) if rows and name in rows[0]]
        return {name: [float(row[name]) for row in rows] for name in known}
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); restore it, or remove it to go without curves") from None


def read_counts(run, split, find):
    """Counted pixels of the predictions of a run, or of its results.json where the predictions are gone.

    The predictions come first because results.json may be of earlier ones.

    Args:
        run: RunFolder; split: "val" or another.
        find: function of the run's folder that returns its `learning.data.datasets.base.Dataset`.

    Returns:
        Counts

    Raises:
        InputError: neither is there, files are damaged, or the data set is not there.
    """
    results = run.results(split)
    if not results.is_dir():
        return _stored_counts(run, split)
    dataset = find(run.path)
    samples = labelled_samples(dataset, split)
    predictions = find_predictions(results, samples)
    confusions, _ = count_all(samples, predictions, dataset, with_instances=False)
    names = tuple(sample.name for sample in samples)
    return Counts(dataset.name, names, dataset.labels.names, *scores.class_counts(confusions, dataset.labels))


def _stored_counts(run, split):
    path = run.path / "results.json"
    if not path.is_file():
        raise InputError(
            f"{run.path} has neither {run.results(split).name} nor results.json; predict first: "
            f"python baseline.py --save_path {shlex.quote(str(run.path))} --predict"
        )
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if report["split"] != split:
            raise InputError(f"{path} is of the {report['split']} images; give --split {report['split']}")
        images = report["images"]
        classes = tuple(next(iter(images.values())))
        parts = [
            np.array([[image[name][part] for name in classes] for image in images.values()], np.int64)
            for part in ("tp", "fp", "fn")
        ]
    except (OSError, ValueError, KeyError, TypeError, StopIteration, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}); write it anew with evaluate.py"
        ) from None
    return Counts(report.get("dataset"), tuple(images), classes, *parts)


def plain(value):
    """str: the value of an option as it is typed."""
    if isinstance(value, list):
        return " ".join(map(plain, value))
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)
