"""Draw Views: the settings they are drawn from, and the named sets of settings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from learning.data.augmentation.effects import EFFECTS
from learning.data.augmentation.view import View, corner_reach
from learning.image_size import fitted_size

SCALE_RANGE = (0.75, 2.0)  # the tutorial's random scaling


@dataclass(frozen=True)
class Zoom:
    """A part of the window, resized to the size of the whole.

    Args:
        probability: of this zoom; the zooms of a set exclude each other.
        area: lowest and highest share of the window's area, drawn uniformly.
        aspect: lowest and highest height / width relative to the window's, drawn log-uniformly.
    """

    probability: float
    area: tuple[float, float]
    aspect: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Augmentation:
    """The settings that Views are drawn from.

    Args:
        train_size: (height, width) of an image at scale 1; one of another shape keeps it, see `learning.image_size`.
        crop_size: (height, width) of the network input.
        scale_range: lowest and highest scale, drawn uniformly.
        flip: probability of a horizontal flip.
        rotation: largest angle in degrees, in both directions; angles are drawn uniformly.
        rotate: probability of a rotation.
        either: whether a view is flipped or rotated, never both.
        jitter: brightness, contrast and saturation are drawn from 1 - jitter .. 1 + jitter, hue from -jitter .. jitter turns.
        effects: (name in `EFFECTS`, probability), in the order in which they change the colors.
        class_crop: probability that a window is placed on a pixel of a class drawn by its rarity; see
            `learning.data.augmentation.class_crop`.
    """

    train_size: tuple[int, int]
    crop_size: tuple[int, int]
    scale_range: tuple[float, float] = SCALE_RANGE
    zooms: tuple[Zoom, ...] = ()
    flip: float = 0.5
    rotation: float = 0.0
    rotate: float = 1.0
    either: bool = False
    jitter: float = 0.3
    effects: tuple[tuple[str, float], ...] = ()
    class_crop: float = 0.0


# One of four square crops of a 512 image in 30 % of the views; the published numbers beside their sides are weights.
_CROP_WEIGHTS = {334: 0.7, 384: 0.8, 448: 0.9, 496: 1.0}
_SQUARE_CROPS = tuple(
    Zoom(0.3 * weight / sum(_CROP_WEIGHTS.values()), area=((side / 512) ** 2, (side / 512) ** 2))
    for side, weight in _CROP_WEIGHTS.items()
)
# A flip or a rotation, one of the two, in 75 % of the views.
_FLIP_OR_ROTATE = {"flip": 0.375, "rotation": 10.0, "rotate": 0.375, "either": True}
_PLAIN = {"scale_range": (1.0, 1.0), "jitter": 0.0}
_HARD_EFFECTS = ("brightness_contrast", "brightness", "hsv", "gamma", "noise", "sharpen")

# Keyword arguments of an Augmentation, other than its sizes.
SETS: dict[str, dict[str, Any]] = {
    "tutorial": {"scale_range": SCALE_RANGE, "jitter": 0.3},
    "base": _PLAIN,
    "hard": {
        **_PLAIN,
        **_FLIP_OR_ROTATE,
        "zooms": _SQUARE_CROPS,
        "effects": tuple((name, 0.15) for name in _HARD_EFFECTS),
    },
    "mask": {**_PLAIN, **_FLIP_OR_ROTATE, "zooms": _SQUARE_CROPS, "effects": (("grid_dropout", 0.75),)},
    "style_noise": {**_PLAIN, "effects": (("noise", 0.5), ("brightness_contrast", 0.5), ("hsv", 0.5))},
    "style_clahe": {**_PLAIN, "effects": (("clahe", 0.5), ("color_jitter", 0.5), ("hsv", 0.5))},
    "style_crop": {**_PLAIN, "zooms": (Zoom(1.0, area=(0.08, 1.0), aspect=(3 / 4, 4 / 3)),)},
}


def draw_view(rng: np.random.Generator, source_size: Sequence[int], augmentation: Augmentation) -> View:
    """Draw how a sample is augmented.

    The window has the size that becomes the crop when the image is scaled to scale x its train size: height =
    round(crop / (scale * train_height / source_height)), at least one pixel. Every offset that keeps the window inside the
    image is equally likely; along an axis where the window is larger than the image, every offset that keeps the image
    inside the window. The corners of a rotated window stay inside the image where it has room for them.

    Args:
        source_size: (height, width) of the image file.
    """
    scale = rng.uniform(*augmentation.scale_range)
    zoom = _draw_zoom(rng, augmentation.zooms)
    angle = _draw_angle(rng, augmentation)
    train_size = fitted_size(source_size, augmentation.train_size)
    height = _window_extent(source_size[0], scale, train_size[0], augmentation.crop_size[0], zoom[0])
    width = _window_extent(source_size[1], scale, train_size[1], augmentation.crop_size[1], zoom[1])
    rows, columns = offset_ranges(source_size, (height, width), augmentation.crop_size, angle)
    top = int(rng.integers(*rows, endpoint=True))
    left = int(rng.integers(*columns, endpoint=True))
    jitter = augmentation.jitter
    brightness, contrast, saturation = map(float, rng.uniform(1 - jitter, 1 + jitter, 3))
    hue = rng.uniform(-jitter, jitter)
    flip = _draw_flip(rng, augmentation, angle)
    view = View(top, left, height, width, flip, brightness, contrast, saturation, hue, angle)
    for name, probability in augmentation.effects:
        if rng.random() < probability:
            view = EFFECTS[name](rng, view)
    return view


def _window_extent(source: int, scale: float, train: int, crop: int, zoom: float) -> int:
    return max(1, round(crop * source / (scale * train) * zoom))


def _draw_zoom(rng: np.random.Generator, zooms: tuple[Zoom, ...]) -> tuple[float, float]:
    """Shares of the window's height and width; nothing is drawn if there are no zooms."""
    if not zooms:
        return 1.0, 1.0
    chosen = rng.random()
    for zoom in zooms:
        if chosen < zoom.probability:
            area = rng.uniform(*zoom.area)
            aspect = math.exp(rng.uniform(math.log(zoom.aspect[0]), math.log(zoom.aspect[1])))
            return min(1.0, math.sqrt(area * aspect)), min(1.0, math.sqrt(area / aspect))
        chosen -= zoom.probability
    return 1.0, 1.0


def _draw_angle(rng: np.random.Generator, augmentation: Augmentation) -> float:
    if not augmentation.rotation or rng.random() >= augmentation.rotate:
        return 0.0
    return rng.uniform(-augmentation.rotation, augmentation.rotation)


def _draw_flip(rng: np.random.Generator, augmentation: Augmentation, angle: float) -> bool:
    probability = augmentation.flip
    if augmentation.either and augmentation.rotation:
        probability = 0.0 if angle else probability / (1 - augmentation.rotate)
    return probability > 0 and rng.random() < probability


def offset_ranges(
    source_size: Sequence[int], window: tuple[int, int], crop_size: tuple[int, int], angle: float
) -> list[tuple[int, int]]:
    """Lowest and highest top of a window, then lowest and highest left.

    Args:
        source_size: (height, width) of the image.
        window: (height, width) of the window.
        crop_size: (height, width) of the view.
        angle: rotation in degrees.
    """
    ranges = []
    for source, extent, reach in zip(source_size, window, corner_reach(window, crop_size, angle), strict=True):
        if extent > source:
            ranges.append((source - extent, 0))
            continue
        room = source - extent
        margin = min(math.ceil(reach), room // 2)
        ranges.append((margin, room - margin))
    return ranges


def describe(augmentation: Augmentation) -> str:
    """The settings in one line; a number after a name is its probability."""
    low, high = augmentation.scale_range
    parts = [f"scale {low:g} .. {high:g}" if high > low else f"scale {low:g}"]
    zoom = sum(zoom.probability for zoom in augmentation.zooms)
    if zoom:
        parts.append(f"zoom {zoom:g}")
    moves = []
    if augmentation.flip:
        moves.append(f"flip {augmentation.flip:g}")
    if augmentation.rotation and augmentation.rotate:
        moves.append(f"rotation up to {augmentation.rotation:g} degrees {augmentation.rotate:g}")
    parts += [" or ".join(moves)] if augmentation.either and moves else moves
    if augmentation.jitter:
        parts.append(f"color jitter by {augmentation.jitter:g}")
    parts += [f"{name.replace('_', ' ')} {probability:g}" for name, probability in augmentation.effects]
    if augmentation.class_crop:
        parts.append(f"class crop {augmentation.class_crop:g}")
    return ", ".join(parts)


def needs_padding(augmentation: Augmentation, source_size: Sequence[int]) -> bool:
    """Whether the largest window, rotated, can extend beyond the image, so that crops are padded."""
    scale = augmentation.scale_range[0]
    crop = augmentation.crop_size
    train_size = fitted_size(source_size, augmentation.train_size)
    height = round(crop[0] * source_size[0] / (scale * train_size[0]))
    width = round(crop[1] * source_size[1] / (scale * train_size[1]))
    max_angle = augmentation.rotation if augmentation.rotate else 0.0
    tallest = math.degrees(math.atan2(crop[1], crop[0]))  # the angle at which a rotated rectangle is tallest
    above, _ = corner_reach((height, width), crop, min(max_angle, tallest))
    _, beside = corner_reach((height, width), crop, min(max_angle, 90 - tallest))
    return height + 2 * max(0.0, above) > source_size[0] or width + 2 * max(0.0, beside) > source_size[1]
