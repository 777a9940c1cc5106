"""A bank of objects of rare classes, cut out of the training images before the first epoch, and of canvases to paste them on.

An object is an instance if the data set has instance maps of the class, otherwise a connected component of the class. Images
are visited in a random order that depends on the seed alone, and only as many as it takes to fill the bank, so that its memory
is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from helpers.errors import InputError
from helpers.images import read_instances
from helpers.labels import VOID, LabelTable
from learning.data.augmentation.components import components
from learning.data.datasets.statistics import DatasetStatistics
from learning.rng import OBJECTS, generator

if TYPE_CHECKING:
    from learning.data.pixels import Pixels

MIN_AREA = 0.0005  # of its image
MAX_AREA = 0.125  # of its image, for the bounding box
MAX_OBJECTS = 200  # of a class
MAX_BYTES = 2**26  # of a class
NUM_PIXELS = 2048  # of a canvas, whose classes are stored
_MARGIN = 2  # pixels around an object, for resampling


@dataclass(frozen=True)
class Object:
    """One object, cut out.

    Args:
        pixels: uint8 (h, w, 3), with a margin of its surroundings.
        mask: bool (h, w), the pixels of the object.
        foot: its lowest row in its image, as a share of the image's height.
        ground: train id of the class under it, VOID if unknown.
        image: index of its image.
        image_size: (height, width) of that image.
    """

    train_id: int
    pixels: np.ndarray
    mask: np.ndarray
    foot: float
    ground: int
    image: int
    image_size: tuple[int, int]


@dataclass(frozen=True)
class Canvas:
    """An image to paste on: its (height, width), and some random pixels with their train ids."""

    size: tuple[int, int]
    rows: np.ndarray
    columns: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class Bank:
    """Objects by train id, at least one each, and canvases by image index."""

    objects: dict[int, list[Object]]
    canvases: dict[int, Canvas]

    def summary(self, names: Sequence[str]) -> str:
        """Number of objects and canvases; `names` by train id."""
        counts = ", ".join(f"{len(found)} {names[train_id]}" for train_id, found in self.objects.items())
        return f"{counts} to paste on {len(self.canvases)} images"


def build_bank(
    pixels: Pixels, statistics: DatasetStatistics, classes: Sequence[int], labels: LabelTable, seed: int
) -> Bank:
    """Cut out the objects of some classes, and choose the images with the fewest pixels of these classes as canvases.

    Args:
        pixels: of the training images.
        statistics: of the training images.
        classes: train ids.
        seed: of the order of the images, of the choice between equal canvases, and of the pixels stored of each canvas.

    Raises:
        InputError: there is no object of a class.
    """
    objects = _collect_objects(pixels, statistics, classes, labels, seed)
    for train_id, found in objects.items():
        if not found:
            raise InputError(
                f"copy-paste: the training images show no whole object of {labels.names[train_id]} of at least "
                f"{100 * MIN_AREA:g} % of an image; leave the class out"
            )
    canvases = {}
    chosen = choose_canvases(statistics, classes, seed)
    for index in tqdm(chosen, desc="reading canvases", unit="img", delay=1, leave=False, disable=None):
        canvases[index] = make_canvas(pixels.label(index).cpu().numpy(), generator(seed, OBJECTS, 1, index))
    return Bank(objects, canvases)


def _collect_objects(
    pixels: Pixels, statistics: DatasetStatistics, classes: Sequence[int], labels: LabelTable, seed: int
) -> dict[int, list[Object]]:
    """Up to MAX_OBJECTS objects and MAX_BYTES of each class."""
    objects = {train_id: [] for train_id in classes}
    free_bytes = dict.fromkeys(classes, MAX_BYTES)
    order = list(map(int, generator(seed, OBJECTS).permutation(len(pixels))))
    for index in tqdm(order, desc="cutting out objects", unit="img", delay=1, leave=False, disable=None):
        wanted = [c for c in classes if statistics.pixels[index, c] and len(objects[c]) < MAX_OBJECTS]
        if not wanted:
            continue
        for one in cut_objects(pixels, index, wanted, labels):
            size = one.pixels.nbytes + one.mask.nbytes
            if len(objects[one.train_id]) < MAX_OBJECTS and size <= free_bytes[one.train_id]:
                objects[one.train_id].append(one)
                free_bytes[one.train_id] -= size
    return objects


def choose_canvases(statistics: DatasetStatistics, classes: Sequence[int], seed: int) -> list[int]:
    """The half of the images with the smallest share of these classes, smallest first.

    Ties are broken by a seeded random order: if most images show none of the classes, canvases come from all recordings.
    """
    area = statistics.sizes.prod(1)
    share = statistics.pixels[:, classes].sum(1) / area
    ties = generator(seed, OBJECTS, 2).permutation(len(share))
    order = np.lexsort((ties, share))
    return list(map(int, order[: (len(share) + 1) // 2]))


def make_canvas(label: np.ndarray, rng: np.random.Generator) -> Canvas:
    """Canvas of an image with label uint8 (H, W); its pixels are drawn uniformly from all classes."""
    height, width = label.shape
    rows = rng.integers(height, size=NUM_PIXELS).astype(np.int16)
    columns = rng.integers(width, size=NUM_PIXELS).astype(np.int16)
    return Canvas((height, width), rows, columns, label[rows, columns])


def cut_objects(pixels: Pixels, index: int, classes: Sequence[int], labels: LabelTable) -> list[Object]:
    """Whole objects of one image; those that touch its left, right or lower border are left out.

    Args:
        index: of the image.
        classes: train ids.

    Returns:
        objects in the order of the classes and of the objects' numbers
    """
    image = pixels.image(index).permute(1, 2, 0).cpu().numpy()
    label = pixels.label(index).cpu().numpy()
    path = pixels.samples[index].instances
    has_instances = any(labels.classes[train_id].has_instances for train_id in classes)
    instances = read_instances(path) if path and has_instances else None
    found = []
    for train_id in classes:
        row = labels.classes[train_id]
        mask = label == train_id
        if instances is not None and row.has_instances:
            # Other numbers are groups of several objects, which are not pasted.
            numbers = np.where(mask & (instances // 1000 == row.id), instances, 0)
        else:
            numbers = components(mask)
        areas = np.bincount(numbers.ravel())
        areas[0] = 0
        for number in np.flatnonzero(areas >= max(1, MIN_AREA * label.size)):
            one = _cut(image, label, numbers == number, train_id, index)
            if one is not None:
                found.append(one)
    return found


def _cut(image: np.ndarray, label: np.ndarray, mask: np.ndarray, train_id: int, index: int) -> Object | None:
    """The object of a mask, or None if it is too large or not whole."""
    rows = np.flatnonzero(mask.any(1))
    columns = np.flatnonzero(mask.any(0))
    top, bottom = int(rows[0]), int(rows[-1])
    left, right = int(columns[0]), int(columns[-1])
    height, width = mask.shape
    if left == 0 or right == width - 1 or bottom == height - 1:
        return None
    if (bottom - top + 1) * (right - left + 1) > MAX_AREA * mask.size:
        return None
    window = (
        slice(max(0, top - _MARGIN), bottom + 1 + _MARGIN),
        slice(max(0, left - _MARGIN), right + 1 + _MARGIN),
    )
    under = label[bottom + 1, np.flatnonzero(mask[bottom])]
    under = under[under != train_id]  # another instance of its own class is not a ground
    ground = int(np.bincount(under).argmax()) if len(under) else VOID
    foot = (bottom + 1) / height
    return Object(train_id, image[window].copy(), mask[window].copy(), foot, ground, index, (height, width))
