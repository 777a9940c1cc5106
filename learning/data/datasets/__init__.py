"""Data sets on disk: which files there are and what their labels mean. No torch here.

A data set is one small module with the constants `LABELS`, `SIZE`, `CROP_SIZE`, `MEAN`, `STD`, `CLASS_WEIGHTS`, `BLOB_RULES`,
`IMAGES` (how images are named), the line `HINT` for a missing folder, and the functions `find(root)` and
`sample_paths(split, name, suffix, encoding)`; it joins by a line in `DATASETS`.
"""

from pathlib import Path

from helpers.errors import InputError
from learning.data.datasets import camvid, extra, minicity
from learning.data.datasets.base import Dataset
from learning.data.datasets.base import open_dataset as _open_dataset
from learning.data.datasets.splits import TRAIN_ON, select

DATASETS = {"minicity": minicity, "camvid": camvid}


def open_dataset(name, root):
    """The data set `name` (a key of `DATASETS`) found in the folder `root`.

    Returns:
        learning.data.datasets.base.Dataset

    Raises:
        InputError: missing folders, images without label, labels without image, an empty split.
    """
    return _open_dataset(name, DATASETS[name], root)


def open_as_stored(stored, source):
    """The data set of a run, divided into training and validation as the run had it.

    Args:
        stored: dict of the run's options; what is missing is as options.py has it.
        source: where they are from, for messages.

    Returns:
        learning.data.datasets.base.Dataset

    Raises:
        InputError: as `open_dataset`; damaged options.
    """
    name, holdout = stored.get("dataset") or "minicity", stored.get("holdout")
    root, train_on = stored.get("dataset_path") or f"./{name}", stored.get("train_on", TRAIN_ON[0])
    known = name in tuple(DATASETS) and train_on in TRAIN_ON and isinstance(holdout, str | None)
    if not known or not isinstance(root, str):
        raise InputError(
            f"{source} is damaged (dataset {name!r}, dataset_path {root!r}, train_on {train_on!r}, holdout {holdout!r}); "
            "give --dataset and --dataset_path"
        )
    return select(open_dataset(name, root), train_on, holdout)


def add_training_images(dataset, folders):
    """The data set with the training images of other folders of the same format behind its own; see `extra.with_extra`."""
    return extra.with_extra(dataset, folders or (), open_dataset)


def without_files(name, root):
    """The data set `name` as far as it is known without its files: classes, sizes and colors, but no splits."""
    return Dataset(name, Path(root), {}, "ids", DATASETS[name])
