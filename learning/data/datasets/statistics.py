"""Statistics of a split, and a check of every file before training: sizes, label values, pixels of each class."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.errors import InputError
from helpers.image_file import ImageHeader, read_image_header
from helpers.images import read_label, read_label_file
from helpers.threads import map_in_threads
from learning.data.datasets.base import Dataset, Finding, Sample
from learning.data.datasets.label_checks import LabelFacts, black_and_white, size_finding
from learning.data.hashes import hash_pixels


@dataclass(frozen=True)
class DatasetStatistics:
    """Sizes and class counts of the N images of a split with C classes.

    Args:
        sizes: int64 (N, 2), height and width of each image.
        pixels: int64 (N, C), labelled pixels of each class in each image; zeros for images without label.
        void: int64 (N,), pixels of no class.
        labels: for the checks across files, of the images with a label.
        label_hashes: of each decoded label map; "" without one.
    """

    sizes: np.ndarray
    pixels: np.ndarray
    void: np.ndarray
    labels: tuple[LabelFacts, ...] = ()
    label_hashes: tuple[str, ...] = ()

    def absent(self, names: Iterable[str]) -> list[str]:
        """The names of the classes without a single pixel; `names` are those of all classes."""
        return [name for name, count in zip(names, self.pixels.sum(0), strict=True) if count == 0]


def dataset_statistics(dataset: Dataset, split: str) -> DatasetStatistics:
    """Check every file of a split and count its classes.

    Label maps are decoded (in threads); of images only the header and the end are read.

    Raises:
        InputError: an unreadable or cut-off file, an image and a label of different sizes, or label values outside the
            class table, with file, value and number of pixels.
    """
    samples = dataset.split(split)
    num_classes = len(dataset.labels.classes)

    def measure(sample: Sample) -> tuple[tuple[int, int], np.ndarray, int, LabelFacts | None, str]:
        header = read_image_header(sample.image)
        pixels = np.zeros(256, np.int64)
        facts = None
        digest = ""
        if sample.label:
            label = read_label_file(sample.label)
            pixels, findings = count_label(label.values, header, sample, dataset, split)
            if findings:
                raise InputError(findings[0].line())
            facts = LabelFacts.of(split, sample, header, label)
            digest = hash_pixels(label.values)
        return header.size, pixels[:num_classes], int(pixels[num_classes:].sum()), facts, digest

    rows = map_in_threads(measure, samples, description=f"checking {split}")
    sizes, pixels, void, facts, hashes = zip(*rows, strict=True)
    labels = tuple(filter(None, facts))
    masks = black_and_white(dataset, labels)
    if masks and not _holds_classes_elsewhere(dataset, split):
        raise InputError(masks[0].line())
    counts = np.array(pixels, np.int64), np.array(void, np.int64)
    return DatasetStatistics(np.array(sizes, np.int64), *counts, labels, hashes)


def _holds_classes_elsewhere(dataset: Dataset, split: str) -> bool:
    """Whether a label map of another split holds other values than 0 and 255."""
    others = (sample.label for name, samples in dataset.splits.items() if name != split for sample in samples)
    return any(label and set(np.unique(read_label(label)).tolist()) - {0, 255} for label in others)


def refuse_unlabeled(dataset: Dataset, split: str, statistics: DatasetStatistics) -> None:
    """Refuse a split, or the part of it that a folder of --extra_data adds, without a single labeled pixel.

    Raises:
        InputError: names the label files.
    """
    samples = dataset.split(split)
    labeled = statistics.pixels.sum(1)  # (N,)
    parts = {f"the {split} images of {dataset.root}": slice(None)}
    first = len(samples)
    for extra in reversed(dataset.extra if split == "train" else ()):
        parts[f"the images of --extra_data {extra.folder}"] = slice(first - extra.num_images, first)
        first -= extra.num_images
    for name, part in parts.items():
        if labeled[part].any():
            continue
        files = [str(sample.label) for sample in samples[part]]
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        raise InputError(
            f"{name} have no labeled pixel: every one is void in {', '.join(files[:3])}{more}; write class numbers into them "
            "(are they empty, all 255, or in another encoding?)"
        )


def count_label(
    label: np.ndarray, header: ImageHeader | None, sample: Sample, dataset: Dataset, split: str
) -> tuple[np.ndarray, list[Finding]]:
    """Count the classes of a label map and check it against its image and the class table.

    Args:
        label: uint8 (H, W), as in the file.
        header: of the image; None skips the check of sizes.

    Returns:
        int64 (256,), pixels of each train id, unknown values counted as void; findings about size and values.
    """
    mismatch = size_finding(split, sample, header, label.shape) if header else None
    findings = [mismatch] if mismatch else []
    train_ids, known = dataset.labels.decoder(dataset.encoding, "train_ids")
    values = np.bincount(label.ravel(), minlength=256)
    assert sample.label is not None
    findings += _unknown_values(values, known, sample.label, dataset, split)
    return np.bincount(train_ids, weights=values, minlength=256).astype(np.int64), findings


def _unknown_values(values: np.ndarray, known: np.ndarray, path: Path, dataset: Dataset, split: str) -> list[Finding]:
    """A finding if a label map holds values that its encoding does not have.

    Args:
        values: int (256,), pixels of each file value.
        known: bool (256,), the file values of the encoding.
    """
    present = np.flatnonzero(values)
    unknown = present[~known[present]]
    if not len(unknown):
        return []
    value = unknown[0]
    highest = int(np.flatnonzero(known[:255])[-1])
    also = f" (and {len(unknown) - 1} more such values)" if len(unknown) > 1 else ""
    what = (
        f"holds the value {value} in {values[value]} pixels{also}, but {dataset.name} labels are "
        f"0 .. {highest}, and 255 for void"
    )
    return [Finding("unknown label values", split, path, what, "convert the labels or choose another --dataset")]
