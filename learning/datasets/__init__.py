"""Data sets on disk: which files there are and what their labels mean. No torch here.

A data set is one small module with the constants `LABELS`, `SIZE`, `CROP_SIZE`, `MEAN`, `STD`, `CLASS_WEIGHTS`, `BLOB_RULES`,
`IMAGES` (how images are named), the line `HINT` for a missing folder, and the function `find(root)`; it joins by a line in
`DATASETS`.
"""

from pathlib import Path

from learning.datasets import camvid, minicity
from learning.datasets.base import Dataset
from learning.datasets.base import open_dataset as _open_dataset

DATASETS = {"minicity": minicity, "camvid": camvid}


def open_dataset(name, root):
    """The data set `name` (a key of `DATASETS`) found in the folder `root`.

    Returns:
        learning.datasets.base.Dataset

    Raises:
        InputError: missing folders, images without label, labels without image, an empty split.
    """
    return _open_dataset(name, DATASETS[name], root)


def without_files(name, root):
    """The data set `name` as far as it is known without its files: classes, sizes and colours, but no splits."""
    return Dataset(name, Path(root), {}, "ids", DATASETS[name])
