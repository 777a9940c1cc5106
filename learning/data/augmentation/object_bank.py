"""A bank of objects of rare classes, cut out of the training images before the first epoch, and of places to paste them.

An object is an instance where a data set has instance maps of the class, otherwise a connected component of the class. Images are
visited in a keyed order, and no more of them than it takes to fill the bank, so its size in memory is bounded.
"""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from helpers.errors import InputError
from helpers.images import read_instances
from helpers.labels import VOID
from learning.data.augmentation.components import components
from learning.rng import OBJECTS, generator

MIN_AREA, MAX_AREA = 0.0005, 0.125  # of its image; the upper limit holds for the bounding box
MAX_OBJECTS, MAX_BYTES = 200, 2**26  # of a class
NUM_PIXELS = 2048  # of a canvas, whose classes are remembered
_MARGIN = 2  # pixels around an object, for resampling


@dataclass(frozen=True)
class Object:
    """One object, cut out.

    Args:
        train_id: its class.
        pixels: uint8 (h, w, 3), with a margin of its surroundings.
        mask: bool (h, w), what belongs to it.
        foot: its lowest row in its image, as a share of the image's height.
        ground: train id of what is under it, VOID where that is unknown.
        image: index of the image that it is from.
        image_height: of that image, in pixels.
    """

    train_id: int
    pixels: np.ndarray
    mask: np.ndarray
    foot: float
    ground: int
    image: int
    image_height: int


@dataclass(frozen=True)
class Canvas:
    """An image to paste on: `size`, its (height, width), and the `rows`, `columns` and `classes` of some random pixels."""

    size: tuple
    rows: np.ndarray
    columns: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class Bank:
    """Objects and canvases.

    Args:
        objects: dict of train id -> list of Object, at least one each.
        canvases: dict of image index -> Canvas.
    """

    objects: dict
    canvases: dict

    def summary(self, names):
        """str: how many objects and canvases there are; `names` by train id."""
        counts = ", ".join(f"{len(found)} {names[train_id]}" for train_id, found in self.objects.items())
        return f"{counts} to paste on {len(self.canvases)} images"


def build_bank(pixels, survey, classes, labels, seed):
    """Cut out the objects of some classes, and look at the images with the fewest pixels of these classes: the canvases.

    Args:
        pixels: `learning.data.cache.Files` or `Decoded` of the training images.
        survey: learning.data.datasets.statistics.DatasetStatistics of them.
        classes: list of train ids.
        labels: helpers.labels.LabelTable.
        seed: of the order in which images are visited, of the choice between equal canvases, and of the pixels that are
            remembered of each.

    Returns:
        Bank

    Raises:
        InputError: there is no object of a class, or a file cannot be read.
    """
    objects = {train_id: [] for train_id in classes}
    room = dict.fromkeys(classes, MAX_BYTES)
    order = generator(seed, OBJECTS).permutation(len(pixels)).tolist()
    for index in tqdm(order, desc="cutting out objects", unit="img", delay=1, leave=False, disable=None):
        wanted = [c for c in classes if survey.pixels[index, c] and len(objects[c]) < MAX_OBJECTS]
        for one in cut_out(pixels, index, wanted, labels) if wanted else ():
            size = one.pixels.nbytes + one.mask.nbytes
            if len(objects[one.train_id]) < MAX_OBJECTS and size <= room[one.train_id]:
                objects[one.train_id].append(one)
                room[one.train_id] -= size
    for train_id, found in objects.items():
        if not found:
            raise InputError(
                f"copy-paste: the training images show no whole object of {labels.names[train_id]} of at least "
                f"{100 * MIN_AREA:g} % of an image; leave the class out"
            )
    chosen = choose_canvases(survey, classes, seed)
    canvases = {
        index: look_at(pixels.label(index).cpu().numpy(), generator(seed, OBJECTS, 1, index))
        for index in tqdm(chosen, desc="looking at canvases", unit="img", delay=1, leave=False, disable=None)
    }
    return Bank(objects, canvases)


def choose_canvases(survey, classes, seed):
    """list of int: the half of the images with the smallest share of these classes, smallest first.

    Between equal shares a keyed order decides: where most images show none of the classes, canvases come from all recordings.
    """
    area = survey.sizes.prod(1)
    share = survey.pixels[:, classes].sum(1) / area
    ties = generator(seed, OBJECTS, 2).permutation(len(share))
    return np.lexsort((ties, share))[: (len(share) + 1) // 2].tolist()


def look_at(label, rng):
    """Canvas of an image whose label is uint8 (H, W): some of its pixels, drawn without regard to their classes."""
    rows, columns = (rng.integers(length, size=NUM_PIXELS).astype(np.int16) for length in label.shape)
    return Canvas(label.shape, rows, columns, label[rows, columns])


def cut_out(pixels, index, classes, labels):
    """Objects of one image, whole ones only: those that its left, right or lower border cuts are left out.

    Args:
        pixels, labels: as for `build_bank`.
        index: of the image.
        classes: list of train ids.

    Returns:
        list of Object, in the order of the classes and of the objects' numbers.
    """
    image, label = pixels.image(index).permute(1, 2, 0).cpu().numpy(), pixels.label(index).cpu().numpy()
    path, rows = pixels.samples[index].instances, [labels.classes[c] for c in classes]
    instances = read_instances(path) if path and any(row.has_instances for row in rows) else None
    found = []
    for train_id, row in zip(classes, rows, strict=True):
        mask = label == train_id
        if instances is not None and row.has_instances:
            # What is numbered otherwise is a group of several, which nobody would paste.
            numbers = np.where(mask & (instances // 1000 == row.id), instances, 0)
        else:
            numbers = components(mask)
        areas = np.bincount(numbers.ravel())
        for number in np.flatnonzero(areas >= max(1, MIN_AREA * label.size)):
            if number:
                found += _cut(image, label, numbers == number, train_id, index)
    return found


def _cut(image, label, mask, train_id, index):
    """list of Object: the object that the mask shows, or none where it is too large or not whole."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    (top, bottom), (left, right) = rows[[0, -1]], columns[[0, -1]]
    height, width = mask.shape
    if left == 0 or right == width - 1 or bottom == height - 1:
        return []
    if (bottom - top + 1) * (right - left + 1) > MAX_AREA * mask.size:
        return []
    window = (
        slice(max(0, top - _MARGIN), bottom + 1 + _MARGIN),
        slice(max(0, left - _MARGIN), right + 1 + _MARGIN),
    )
    under = label[bottom + 1, np.flatnonzero(mask[bottom])]
    under = under[under != train_id]  # another instance of its own class is no ground
    ground = int(np.bincount(under).argmax()) if len(under) else VOID
    foot = (bottom + 1) / height
    return [Object(train_id, image[window].copy(), mask[window].copy(), foot, ground, index, height)]
