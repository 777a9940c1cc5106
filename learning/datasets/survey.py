"""A look at every file before anything is trained: sizes, label values, and how often each class occurs."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from helpers.errors import InputError
from helpers.images import read_label, read_size


@dataclass(frozen=True)
class Survey:
    """What a split holds.

    Args:
        sizes: int64 (N, 2), height and width of each image.
        pixels: int64 (N, C), labelled pixels of each class in each image; zeros for images without label.
        void: int64 (N,), pixels of no class.
    """

    sizes: np.ndarray
    pixels: np.ndarray
    void: np.ndarray

    def absent(self, names):
        """list of str: the names of the classes without a single pixel."""
        return [name for name, count in zip(names, self.pixels.sum(0), strict=True) if count == 0]


def survey(dataset, split):
    """Check every file of a split and count its classes.

    Label maps are decoded (in threads); of images only the header and the end are read.

    Args:
        dataset: learning.datasets.base.Dataset.
        split: name of one of its splits.

    Returns:
        Survey

    Raises:
        InputError: an unreadable or cut-off file, an image and a label of different sizes, or label values outside the
            class table, with file, value and number of pixels.
    """
    samples = dataset.split(split)
    train_ids, known = dataset.labels.decoder(dataset.encoding, "train_ids")
    num_classes = len(dataset.labels.classes)

    def look(sample):
        size = read_size(sample.image)
        pixels = np.zeros(256, np.int64)
        if sample.label:
            label = read_label(sample.label)
            if label.shape != size:
                raise InputError(
                    f"{sample.image} is {size[0]}x{size[1]} but its label {sample.label} is "
                    f"{label.shape[0]}x{label.shape[1]}; a label must have its image's size"
                )
            values = np.bincount(label.ravel(), minlength=256)
            _check_values(values, known, sample.label, dataset)
            pixels = np.bincount(train_ids, weights=values, minlength=256).astype(np.int64)
        return size, pixels[:num_classes], pixels[num_classes:].sum()

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        # The bar appears only where the look takes long enough to be wondered at.
        rows = list(
            tqdm(
                threads.map(look, samples),
                total=len(samples),
                desc=f"checking {split}",
                delay=1,
                leave=False,
                disable=None,
            )
        )
    sizes, pixels, void = zip(*rows, strict=True)
    return Survey(np.array(sizes, np.int64), np.array(pixels, np.int64), np.array(void, np.int64))


def _check_values(values, known, path, dataset):
    present = np.flatnonzero(values)
    if dataset.encoding == "ids" and present.tolist() == [0, 255]:
        raise InputError(
            f"{path} holds only 0 and 255, a black-and-white mask, but {dataset.name} labels hold class numbers "
            f"0 .. {len(dataset.labels.rows) - 1}; convert it"
        )
    unknown = present[~known[present]]
    if len(unknown):
        value, most = unknown[0], int(np.flatnonzero(known[:255])[-1])
        also = f" (and {len(unknown) - 1} more such values)" if len(unknown) > 1 else ""
        raise InputError(
            f"{path} holds the value {value} in {values[value]} pixels{also}, but {dataset.name} labels are "
            f"0 .. {most}, and 255 for void; convert the labels or choose another --dataset"
        )
