"""Predictions become label maps, in which pixels of low confidence are void."""

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.errors import InputError
from helpers.images import read_instances, read_label, write_png
from helpers.labels import VOID
from helpers.output import temporary
from helpers.progress import progress_bar
from learning.data.datasets.base import Dataset
from tools.pseudo_label import confidence


@dataclass(frozen=True)
class Thresholds:
    """As for `tools.pseudo_label.confidence.thresholds`."""

    confidence: float
    portion: float | None


@dataclass(frozen=True)
class Made:
    """Number of images written, and a summary by class name."""

    num_kept: int
    summary: dict[str, confidence.Row]


def make(
    predictions: Iterable[tuple[np.ndarray, np.ndarray]],
    images: Sequence[Path],
    data: Dataset,
    limits: Thresholds,
    folder: Path,
) -> Made:
    """Write images and label maps in the data set's format. Memory holds one image and the counts of all.

    Args:
        predictions: uint8 (H, W) of train ids and float (H, W), their probabilities, of each image.
    """
    with temporary(folder / "predictions") as scratch:
        counts = write_levels(predictions, images, len(data.labels.classes), scratch)
        lowest = confidence.thresholds(counts, limits.confidence, limits.portion)
        num_kept = write_labels(data, images, lowest, scratch, folder)
    return Made(num_kept, confidence.summarize(counts, lowest, data.labels.names))


def write_levels(
    predictions: Iterable[tuple[np.ndarray, np.ndarray]], images: Sequence[Path], num_classes: int, folder: Path
) -> np.ndarray:
    """Write classes and levels of confidence as files; returns the counts of all images, int64 (C, levels)."""
    folder.mkdir()
    counts = np.zeros((num_classes, confidence.LEVELS + 1), np.int64)
    bar, _ = progress_bar(len(images), "pseudo labels")
    with bar:
        for path, (classes, probabilities) in zip(images, predictions, strict=True):
            levels = confidence.to_levels(probabilities)
            counts += confidence.count_levels(classes, levels, num_classes)
            write_png(folder / f"{path.stem}.classes.png", classes, compress_level=1)
            write_png(folder / f"{path.stem}.levels.png", levels, compress_level=1)
            bar.update()
    return counts


def write_labels(data: Dataset, images: Sequence[Path], lowest: np.ndarray, predictions: Path, root: Path) -> int:
    """Write the images that have a confident pixel, and their label maps; returns their number.

    Args:
        lowest: int64 (C,), the lowest level of each class that is kept.
        predictions: folder in which `write_levels` wrote.
    """
    values = data.labels.ids if data.encoding == "ids" else np.arange(256, dtype=np.uint8)
    num_kept = 0
    for path in images:
        classes = read_label(predictions / f"{path.stem}.classes.png")
        is_kept = read_instances(predictions / f"{path.stem}.levels.png") >= lowest[classes]
        if not is_kept.any():
            continue
        image, label = (root / part for part in data.spec.sample_paths("train", path.stem, path.suffix, data.encoding))
        if label.exists():
            raise InputError(f"{path} and another image would both be called {image.name}; rename or remove one")
        for parent in (image.parent, label.parent):
            parent.mkdir(parents=True, exist_ok=True)
        write_png(label, values[np.where(is_kept, classes, VOID).astype(np.uint8)])
        link_or_copy(path, image)
        num_kept += 1
    return num_kept


def link_or_copy(source: Path, target: Path) -> None:
    """Give an image a second place: a hard link, else a symbolic link, else a copy."""
    source = source.resolve()
    for link in (os.link, os.symlink):
        try:
            link(source, target)
        except OSError:  # another disk, or a system without such links
            continue
        return
    shutil.copyfile(source, target)
