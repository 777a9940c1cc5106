"""How often each class occurs in a split: counting, and the counts as a table and as CSV."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.images import read_instances
from helpers.labels import LabelTable
from helpers.scoring.scores import INSTANCE_BASE
from helpers.threads import map_in_threads
from learning.data.datasets.base import Dataset
from learning.data.datasets.statistics import dataset_statistics


@dataclass(frozen=True)
class SplitCounts:
    """The contents of one split, by train id; arrays are int64 (C,)."""

    num_images: int
    sizes: list[tuple[int, int]]  # distinct (height, width), sorted
    pixels: np.ndarray
    void: int  # pixels of no class
    images: np.ndarray  # images that contain the class
    instances: np.ndarray | None  # -1 for a class without instances; None if the split has no instance maps

    @property
    def shares(self) -> np.ndarray:
        """Percent of the labeled pixels, float64 (C,)."""
        return 100 * self.pixels / max(1, self.pixels.sum())


def count_split(dataset: Dataset, split: str) -> SplitCounts:
    """Check every file of a split and count its classes."""
    found = dataset_statistics(dataset, split)
    return SplitCounts(
        num_images=len(found.sizes),
        sizes=sorted({(height, width) for height, width in found.sizes.tolist()}),
        pixels=found.pixels.sum(0),
        void=int(found.void.sum()),
        images=(found.pixels > 0).sum(0),
        instances=_count_instances(dataset, split),
    )


def _count_instances(dataset: Dataset, split: str) -> np.ndarray | None:
    paths = [sample.instances for sample in dataset.split(split) if sample.instances]
    if not paths:
        return None
    by_id = np.sum(map_in_threads(_instances_by_label, paths, description=f"counting {split}"), axis=0)
    return np.array([by_id[row.id] if row.has_instances else -1 for row in dataset.labels.classes], np.int64)


def _instances_by_label(path: Path) -> np.ndarray:
    """Number of instances of each label id in an instance map, int64 (256,)."""
    numbers = np.flatnonzero(np.bincount(read_instances(path).ravel()))
    return np.bincount(numbers[numbers >= INSTANCE_BASE] // INSTANCE_BASE, minlength=256)


def format_table(labels: LabelTable, split: str, counts: SplitCounts) -> str:
    """The counts of one split as text, one line per class."""
    lines = [_title(split, counts), f"{'class':<16}{'pixels %':>10}{'images':>9}"]
    if counts.instances is not None:
        lines[-1] += f"{'instances':>11}"
    for index, name in enumerate(labels.names):
        line = f"{name:<16}{counts.shares[index]:>10.3f}{counts.images[index]:>9}"
        if counts.instances is not None:
            number = counts.instances[index]
            line += f"{number if number >= 0 else '-':>11}"
        lines.append(line)
    absent = [name for name, number in zip(labels.names, counts.images, strict=True) if number == 0]
    if absent:
        lines.append(f"no pixel of: {', '.join(absent)}")
    return "\n".join(lines)


def _title(split: str, counts: SplitCounts) -> str:
    sizes = [f"{height}x{width}" for height, width in counts.sizes]
    shown = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes from {sizes[0]} to {sizes[-1]}"
    void = 100 * counts.void / max(1, counts.void + counts.pixels.sum())
    return f"{split}: {counts.num_images} images, {shown}, {void:.1f} % of the pixels void"


def write_csv(path: Path, labels: LabelTable, counts: Mapping[str, SplitCounts]) -> None:
    """Write the counts by split: split, class, pixels, percent, images, instances (empty if unknown)."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("split", "class", "pixels", "percent", "images", "instances"))
        for split, found in counts.items():
            for index, name in enumerate(labels.names):
                number = -1 if found.instances is None else found.instances[index]
                row = (split, name, found.pixels[index], f"{found.shares[index]:.6f}", found.images[index])
                writer.writerow((*row, number if number >= 0 else ""))
