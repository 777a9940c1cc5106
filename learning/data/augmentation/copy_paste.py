"""Copy-paste: objects of rare classes, rotated and scaled at random, pasted onto images that show little of these classes.

A sample is pasted on before its View is drawn, in pixels of the source image, where the size of an object and the row of its
foot imply a distance: an object is pasted near the row where it stood, on the ground that it belongs to. Images of all sizes
and shapes are trained on at one area, so an object grows with the square root of the area from its image to the canvas.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from helpers.labels import VOID
from learning.data.augmentation.object_bank import Bank, Canvas, Object
from learning.rng import COPYPASTE, generator

SCALE_RANGE = (0.75, 4 / 3)  # drawn log-uniformly
MAX_ANGLE = 10  # degrees
ROW_TOLERANCE = 0.05  # of the image's height, for the foot
_ATTEMPTS = 10  # objects tried until one finds its ground

Grounds = Mapping[int, tuple[int, ...]]  # train id -> train ids it may stand on


@dataclass(frozen=True)
class Paste:
    """One object as it is pasted.

    Args:
        pixels: uint8 (h, w, 3).
        mask: bool (h, w), the pixels that are pasted.
        top, left: position of its first pixel; the object may extend beyond the image.
    """

    train_id: int
    pixels: np.ndarray
    mask: np.ndarray
    top: int
    left: int


@dataclass(frozen=True)
class CopyPaste:
    """Pastes objects on the samples of a run.

    Args:
        grounds: a class that is missing stands on the class it stood on.
        max_objects: largest number of objects per sample.
        seed: of every choice.
    """

    bank: Bank
    grounds: Grounds
    max_objects: int
    seed: int

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, index: int, epoch: int, draw: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Paste 1 .. `max_objects` objects on a sample if it is a canvas.

        Args:
            image: uint8 (3, H, W).
            label: uint8 (H, W) of train ids.
            index: of the sample.
            epoch, draw: key of the random choices.

        Returns:
            new image and label, or those given if nothing is pasted
        """
        if index not in self.bank.canvases:
            return image, label
        rng = generator(self.seed, COPYPASTE, epoch, draw)
        number = int(rng.integers(1, self.max_objects, endpoint=True))
        return paste(image, label, draw_pastes(rng, self.bank, tuple(self.bank.objects), self.grounds, index, number))


def draw_pastes(
    rng: np.random.Generator, bank: Bank, classes: Sequence[int], grounds: Grounds, index: int, number: int
) -> list[Paste]:
    """Draw objects and their positions on a canvas.

    Each is of a random class, so that rare ones are as frequent, and a random object of it that is not from the canvas itself,
    with its own scale, angle and flip. Its foot (the leftmost pixel of its lowest row) falls on a random pixel of the ground it
    may stand on, at most `ROW_TOLERANCE` above or below the row where it stood; if its ground is unknown, on any pixel of these
    rows. An object without such a pixel is replaced by another, up to ten times.

    Args:
        classes: train ids to draw from.
        index: of the canvas.
        number: of objects.

    Returns:
        the farthest (highest foot) first; fewer than `number` if some found no position
    """
    pastes = []
    for _ in range(number):
        for _ in range(_ATTEMPTS):
            drawn = _draw_paste(rng, bank, classes, grounds, index)
            if drawn:
                pastes.append(drawn)
                break
    return sorted(pastes, key=lambda one: one.top + _foot(one.mask)[0])


def _draw_paste(
    rng: np.random.Generator, bank: Bank, classes: Sequence[int], grounds: Grounds, index: int
) -> Paste | None:
    """One object, or None if the one drawn has no position on the canvas."""
    canvas = bank.canvases[index]
    objects = bank.objects[classes[int(rng.integers(len(classes)))]]
    one = objects[int(rng.integers(len(objects)))]
    scale = float(np.exp(rng.uniform(*np.log(SCALE_RANGE))))
    scale *= math.sqrt(math.prod(canvas.size) / math.prod(one.image_size))
    angle = rng.uniform(-MAX_ANGLE, MAX_ANGLE)
    flip = rng.random() < 0.5
    share = rng.random()
    if one.image == index:
        return None
    positions = _positions(canvas, one, grounds)
    if not len(positions):
        return None
    pixels, mask = transform_object(one, scale, angle, flip)
    if not mask.any():
        return None
    position = positions[int(share * len(positions))]
    foot_row, foot_column = _foot(mask)
    top = int(canvas.rows[position]) - foot_row
    left = int(canvas.columns[position]) - foot_column
    return Paste(one.train_id, pixels, mask, top, left)


def _foot(mask: np.ndarray) -> tuple[int, int]:
    """Row and column of the leftmost pixel of the lowest row."""
    row = int(np.flatnonzero(mask.any(1))[-1])
    return row, int(mask[row].argmax())


def _positions(canvas: Canvas, one: Object, grounds: Grounds) -> np.ndarray:
    """Indices of the stored pixels of a canvas that an object may stand on, int64 (n,)."""
    near = np.abs((canvas.rows + 1) / canvas.size[0] - one.foot) <= ROW_TOLERANCE
    ground = grounds.get(one.train_id)
    if not ground and one.ground != VOID:
        ground = (one.ground,)
    return np.flatnonzero(near & np.isin(canvas.classes, ground) if ground else near)


def grounds_of(classes: Sequence[int], rules: Sequence[tuple[int, int]]) -> dict[int, tuple[int, ...]]:
    """The grounds of those classes that have a blob rule (class, ground); all train ids."""
    found = {}
    for train_id in classes:
        grounds = tuple(ground for blob, ground in rules if blob == train_id)
        if grounds:
            found[train_id] = grounds
    return found


def transform_object(one: Object, scale: float, angle: float, flip: bool) -> tuple[np.ndarray, np.ndarray]:
    """Flip an object horizontally, resize it (antialiased) and rotate it.

    Args:
        angle: degrees counterclockwise, after the flip.

    Returns:
        pixels uint8 (h, w, 3) and mask bool (h, w), which may be empty if the object is very small
    """
    height, width = one.mask.shape
    size = max(1, round(width * scale)), max(1, round(height * scale))

    def transform(pixels: np.ndarray) -> np.ndarray:
        image = Image.fromarray(pixels[:, ::-1].copy() if flip else pixels)
        image = image.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(image.rotate(angle, Image.Resampling.BILINEAR, expand=True))

    return transform(one.pixels), transform(one.mask.astype(np.uint8) * 255) > 127


def paste(image: torch.Tensor, label: torch.Tensor, pastes: Sequence[Paste]) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste objects in their order; pixels outside the image are dropped.

    Args:
        image: uint8 (3, H, W).
        label: uint8 (H, W).

    Returns:
        new image and label on the same device
    """
    image = image.clone()
    label = label.clone()
    height, width = label.shape
    for one in pastes:
        rows, columns = one.mask.shape
        top = max(0, one.top)
        left = max(0, one.left)
        bottom = min(height, one.top + rows)
        right = min(width, one.left + columns)
        if top >= bottom or left >= right:
            continue
        inside = (slice(top - one.top, bottom - one.top), slice(left - one.left, right - one.left))
        mask = torch.from_numpy(one.mask[inside].copy()).to(image.device, non_blocking=True)
        pixels = torch.from_numpy(one.pixels[inside].copy()).to(image.device, non_blocking=True)
        window = image[:, top:bottom, left:right]
        window.copy_(torch.where(mask, pixels.permute(2, 0, 1), window))
        label[top:bottom, left:right].masked_fill_(mask, one.train_id)
    return image, label
