"""Data sets on disk: which files there are and what their labels mean. No torch here.

A data set format is one small module with what `DatasetSpec` lists, and a line in `DATASETS`.
"""

from collections.abc import Mapping
from pathlib import Path

from helpers.errors import InputError
from learning.data.datasets import camvid, minicity
from learning.data.datasets.base import Dataset, DatasetSpec, open_valid
from learning.data.datasets.extra import add_training_images
from learning.data.datasets.splits import TRAIN_ON, select_train_and_val

__all__ = ["DATASETS", "add_training_images", "dataset_without_files", "open_dataset", "open_dataset_from_options"]

DATASETS: dict[str, DatasetSpec] = {"minicity": minicity, "camvid": camvid}


def open_dataset(name: str, root: str | Path) -> Dataset:
    """The data set in the folder `root`, in the format `name`, a key of `DATASETS`.

    Raises:
        InputError: missing folders, images without label, labels without image, an empty split.
    """
    return open_valid(name, DATASETS[name], root)


def open_dataset_from_options(stored: Mapping[str, object], source: str | Path) -> Dataset:
    """The data set of a run, with the run's division into training and validation.

    Args:
        stored: the run's options; missing ones have their defaults.
        source: the file they are from, for messages.

    Raises:
        InputError: as `open_dataset`; damaged options.
    """
    name = stored.get("dataset") or "minicity"
    root = stored.get("dataset_path") or f"./{name}"
    train_on = stored.get("train_on", TRAIN_ON[0])
    holdout = stored.get("holdout")
    if (
        isinstance(name, str)
        and name in DATASETS
        and isinstance(root, str)
        and isinstance(train_on, str)
        and train_on in TRAIN_ON
        and isinstance(holdout, str | None)
    ):
        return select_train_and_val(open_dataset(name, root), train_on, holdout)
    raise InputError(
        f"{source} is damaged (dataset {name!r}, dataset_path {root!r}, train_on {train_on!r}, holdout {holdout!r}); "
        "give --dataset and --dataset_path"
    )


def dataset_without_files(name: str, root: str | Path) -> Dataset:
    """A data set without splits: classes, sizes and colors of the format `name`; no file is looked at."""
    return Dataset(name, Path(root), {}, "ids", DATASETS[name])
