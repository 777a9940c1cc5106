"""Copy-paste: objects of rare classes, turned and scaled at random, onto images that show little of these classes.

It happens to a sample before its View is drawn, in pixels of the source image, where the size of an object and the row of its
foot mean a distance: an object is pasted near the row where it stood, on the ground that it belongs to.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from helpers.labels import VOID
from learning.rng import COPYPASTE, generator

SCALE_RANGE = (0.75, 4 / 3)  # drawn so that an object grows and shrinks alike
MAX_ANGLE = 10  # degrees
ROW_TOLERANCE = 0.05  # of the image's height, for the foot
_ATTEMPTS = 10  # objects that are tried until one finds its ground


@dataclass(frozen=True)
class Paste:
    """One object as it is pasted.

    Args:
        train_id: its class.
        pixels: uint8 (h, w, 3).
        mask: bool (h, w), what is pasted.
        top, left: where its first pixel goes; it may leave the image.
    """

    train_id: int
    pixels: np.ndarray
    mask: np.ndarray
    top: int
    left: int


@dataclass(frozen=True)
class CopyPaste:
    """What is pasted on the samples of a run.

    Args:
        bank: learning.data.augmentation.object_bank.Bank.
        grounds: dict of train id -> tuple of train ids it may stand on; a class that is not there stands on what it stood on.
        most: largest number of objects a sample.
        seed: of every choice.
    """

    bank: object
    grounds: dict
    most: int
    seed: int

    def __call__(self, image, label, index, epoch, draw):
        """Paste 1 .. `most` objects on a sample, if it is a canvas.

        Args:
            image: uint8 tensor (3, H, W).
            label: uint8 tensor (H, W) of train ids.
            index, epoch, draw: which sample, and the key of this showing.

        Returns:
            (image, label): new tensors, or those given where nothing is pasted.
        """
        if index not in self.bank.canvases:
            return image, label
        rng = generator(self.seed, COPYPASTE, epoch, draw)
        number = int(rng.integers(1, self.most, endpoint=True))
        return paste(image, label, draw_pastes(rng, self.bank, tuple(self.bank.objects), self.grounds, index, number))


def draw_pastes(rng, bank, classes, grounds, index, number):
    """Draw objects and their places on a canvas.

    Each is of a random class, so that rare ones come as often, and a random object of it that is not from the canvas itself,
    with a scale, an angle and a mirror image of its own. Its foot (the leftmost pixel of its lowest row) falls on a random
    pixel of the ground it may stand on, at most `ROW_TOLERANCE` above or below where it stood; where its ground is not known,
    on any pixel of these rows. An object without such a pixel gives way to another, ten times at most.

    Args:
        rng: numpy.random.Generator.
        bank: learning.data.augmentation.object_bank.Bank.
        classes: tuple of train ids to draw from.
        grounds: as for `CopyPaste`.
        index: of the canvas.
        number: how many objects.

    Returns:
        list of Paste, the farthest (highest foot) first; fewer than `number` where some found no place.
    """
    canvas = bank.canvases[index]
    placed = []
    for _ in range(number):
        for _ in range(_ATTEMPTS):
            objects = bank.objects[classes[rng.integers(len(classes))]]
            one = objects[rng.integers(len(objects))]
            scale = float(np.exp(rng.uniform(*np.log(SCALE_RANGE)))) * canvas.size[0] / one.image_height
            angle, mirrored, share = rng.uniform(-MAX_ANGLE, MAX_ANGLE), rng.random() < 0.5, rng.random()
            fits = () if one.image == index else _places(canvas, one, grounds)
            if not len(fits):
                continue
            pixels, mask = turn(one, scale, angle, mirrored)
            if not mask.any():
                continue
            place = fits[int(share * len(fits))]
            foot_row = int(np.flatnonzero(mask.any(1))[-1])
            foot_column = int(mask[foot_row].argmax())
            row, column = int(canvas.rows[place]), int(canvas.columns[place])
            placed.append((row, Paste(one.train_id, pixels, mask, row - foot_row, column - foot_column)))
            break
    return [each for _, each in sorted(placed, key=lambda pair: pair[0])]


def _places(canvas, one, grounds):
    """int64 (n,): which of the remembered pixels of a canvas an object may stand on."""
    near = np.abs((canvas.rows + 1) / canvas.size[0] - one.foot) <= ROW_TOLERANCE
    ground = grounds.get(one.train_id) or ((one.ground,) if one.ground != VOID else ())
    return np.flatnonzero(near & np.isin(canvas.classes, ground) if ground else near)


def grounds_of(classes, rules):
    """The grounds of some classes by the blob rules.

    Args:
        classes: list of train ids.
        rules: list of (class, ground), train ids.

    Returns:
        dict of train id -> tuple of train ids, for those of the classes that have a rule.
    """
    found = {train_id: tuple(ground for blob, ground in rules if blob == train_id) for train_id in classes}
    return {train_id: grounds for train_id, grounds in found.items() if grounds}


def turn(one, scale, angle, mirrored):
    """Resize (antialiased), mirror and rotate an object.

    Args:
        one: learning.data.augmentation.object_bank.Object.
        scale: factor of its size.
        angle: degrees, counter-clockwise.
        mirrored: whether left and right change places, before the rotation.

    Returns:
        (uint8 (h, w, 3), bool (h, w)): pixels and mask, which may be empty where the object is very small.
    """
    height, width = one.mask.shape
    size = max(1, round(width * scale)), max(1, round(height * scale))
    turned = []
    for pixels in (one.pixels, one.mask.astype(np.uint8) * 255):
        picture = Image.fromarray(pixels[:, ::-1].copy() if mirrored else pixels)
        picture = picture.resize(size, Image.Resampling.BILINEAR)
        turned.append(np.asarray(picture.rotate(angle, Image.Resampling.BILINEAR, expand=True)))
    return turned[0], turned[1] > 127


def paste(image, label, pastes):
    """Paste objects in their order; what falls outside is dropped.

    Args:
        image: uint8 tensor (3, H, W).
        label: uint8 tensor (H, W).
        pastes: list of Paste.

    Returns:
        (uint8 tensor (3, H, W), uint8 tensor (H, W)): new tensors on the same device.
    """
    image, label = image.clone(), label.clone()
    height, width = label.shape
    for each in pastes:
        rows, columns = each.mask.shape
        top, left = max(0, each.top), max(0, each.left)
        bottom, right = min(height, each.top + rows), min(width, each.left + columns)
        if top >= bottom or left >= right:
            continue
        inside = (slice(top - each.top, bottom - each.top), slice(left - each.left, right - each.left))
        mask = torch.from_numpy(each.mask[inside].copy()).to(image.device, non_blocking=True)
        pixels = torch.from_numpy(each.pixels[inside].copy()).to(image.device, non_blocking=True)
        window = image[:, top:bottom, left:right]
        window.copy_(torch.where(mask, pixels.permute(2, 0, 1), window))
        label[top:bottom, left:right].masked_fill_(mask, each.train_id)
    return image, label
