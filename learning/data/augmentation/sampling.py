"""Draw Views: the settings they are drawn from, and the sets that have a name."""

import math
from dataclasses import dataclass

from learning.data.augmentation.transforms import View, tilt

SCALE_RANGE = (0.75, 2.0)  # the tutorial's random scaling


@dataclass(frozen=True)
class Zoom:
    """A part of the window, shown at the size of the whole.

    Args:
        probability: of this zoom; those of one set exclude each other.
        area: lowest and highest share of the window's area, drawn uniformly.
        aspect: lowest and highest height / width over that of the window, drawn uniformly in its logarithm.
    """

    probability: float
    area: tuple
    aspect: tuple = (1.0, 1.0)


@dataclass(frozen=True)
class Augmentation:
    """What Views are drawn from.

    Args:
        train_size: (height, width) of the image at scale 1.
        crop_size: (height, width) of what the network sees.
        scale_range: lowest and highest scale, drawn uniformly.
        zooms: sequence of `Zoom`.
        flip: probability of a mirrored view.
        rotation: largest angle in degrees, to either side; angles are drawn uniformly.
        rotate: probability of a rotated view.
        either: whether a view is mirrored or rotated, never both.
        jitter: brightness, contrast and saturation are drawn from 1 - jitter .. 1 + jitter, hue from -jitter .. jitter turns.
        effects: sequence of (name in `EFFECTS`, probability), in the order in which they change the colors.
        class_crop: probability that a window is placed on a pixel of a class drawn by its rarity; see `learning.data.augmentation.class_crop`.
    """

    train_size: tuple
    crop_size: tuple
    scale_range: tuple = SCALE_RANGE
    zooms: tuple = ()
    flip: float = 0.5
    rotation: float = 0.0
    rotate: float = 1.0
    either: bool = False
    jitter: float = 0.3
    effects: tuple = ()
    class_crop: float = 0.0


def _brightness_contrast(rng, look):
    gain, shift = rng.uniform(0.8, 1.2), rng.uniform(-0.2, 0.2)
    look["brightness"] *= gain
    look["shift"] = look["shift"] * gain + shift


def _brightness(rng, look):
    look["shift"] += rng.uniform(-0.2, 0.2)


def _hsv(rng, look):
    look["hue"] += rng.uniform(-20, 20) / 180
    look["saturation"] *= rng.uniform(0.7, 1.3)
    look["shift"] += rng.uniform(-20, 20) / 255


def _gamma(rng, look):
    look["gamma"] *= rng.uniform(0.8, 1.2)


def _noise(rng, look):
    look["noise"] = math.sqrt(rng.uniform(0, 25)) / 255
    look["noise_seed"] = int(rng.integers(2**63))


def _sharpen(rng, look):
    look["sharpen"], look["lightness"] = rng.uniform(0.2, 0.5), rng.uniform(0.5, 1.0)


def _clahe(rng, look):
    look["clahe"] = rng.uniform(1, 4)


def _color_jitter(rng, look):
    for name in ("brightness", "contrast", "saturation"):
        look[name] *= rng.uniform(0.8, 1.2)
    look["hue"] += rng.uniform(-0.2, 0.2)


def _grid_dropout(rng, look):
    look["holes"] = (6, *rng.random(2).tolist())


# What becomes of a look, a dict of those fields of a View that are about colors. Magnitudes that no source of the sets gives are
# the defaults of albumentations: brightness and contrast 0.2, HSV 20 of 180, 30 % and 20 of 255, gamma 0.8 .. 1.2, sharpen alpha
# 0.2 .. 0.5 and lightness 0.5 .. 1, CLAHE's clip limit 1 .. 4 on 8x8 tiles, holes of half a cell's side. Its HSV shift adds 30 of
# 255 to the saturation, which is about 30 % of that of a street; here it is a factor, and the hue turns in YIQ, so that both are
# part of one affine map.
EFFECTS = {
    "brightness_contrast": _brightness_contrast,
    "brightness": _brightness,
    "hsv": _hsv,
    "gamma": _gamma,
    "noise": _noise,
    "sharpen": _sharpen,
    "clahe": _clahe,
    "color_jitter": _color_jitter,
    "grid_dropout": _grid_dropout,
}

# One of four square crops of a 512 image in 30 % of the views; the numbers that were published beside their sides are weights.
_CROPS = {334: 0.7, 384: 0.8, 448: 0.9, 496: 1.0}
_SQUARE_CROPS = tuple(
    Zoom(0.3 * weight / sum(_CROPS.values()), area=((side / 512) ** 2,) * 2) for side, weight in _CROPS.items()
)
# Mirrored or rotated, one of the two in 75 % of the views.
_FLIP_OR_ROTATE = {"flip": 0.375, "rotation": 10.0, "rotate": 0.375, "either": True}
_PLAIN = {"scale_range": (1.0, 1.0), "jitter": 0.0}

# Name -> settings of an Augmentation, other than its sizes.
SETS = {
    "tutorial": {"scale_range": SCALE_RANGE, "jitter": 0.3},
    "base": _PLAIN,
    "hard": _PLAIN
    | _FLIP_OR_ROTATE
    | {
        "zooms": _SQUARE_CROPS,
        "effects": tuple(
            (name, 0.15) for name in ("brightness_contrast", "brightness", "hsv", "gamma", "noise", "sharpen")
        ),
    },
    "mask": _PLAIN | _FLIP_OR_ROTATE | {"zooms": _SQUARE_CROPS, "effects": (("grid_dropout", 0.75),)},
    "style_noise": _PLAIN | {"effects": (("noise", 0.5), ("brightness_contrast", 0.5), ("hsv", 0.5))},
    "style_clahe": _PLAIN | {"effects": (("clahe", 0.5), ("color_jitter", 0.5), ("hsv", 0.5))},
    "style_crop": _PLAIN | {"zooms": (Zoom(1.0, area=(0.08, 1.0), aspect=(3 / 4, 4 / 3)),)},
}


def draw_view(rng, source_size, augmentation):
    """Draw how a sample is seen.

    The window has the size that becomes the crop when the image is scaled to scale x train_size: height =
    round(crop / (scale * train_height / source_height)), at least one pixel. Every offset that keeps the window inside the
    image is equally likely; along an axis where the window is larger than the image, every offset that keeps the image
    inside the window. A rotated window stays as far from the edges as its corners reach, where the image has room for that.

    Args:
        rng: numpy.random.Generator.
        source_size: (height, width) of the image file.
        augmentation: Augmentation.

    Returns:
        View
    """
    scale = rng.uniform(*augmentation.scale_range)
    parts = _draw_zoom(rng, augmentation.zooms)
    angle = _draw_angle(rng, augmentation)
    window = [
        max(1, round(crop * source / (scale * train) * part))
        for source, train, crop, part in zip(
            source_size, augmentation.train_size, augmentation.crop_size, parts, strict=True
        )
    ]
    ranges = offset_ranges(source_size, window, augmentation.crop_size, angle)
    offset = [int(rng.integers(low, high, endpoint=True)) for low, high in ranges]
    jitter = augmentation.jitter
    brightness, contrast, saturation = rng.uniform(1 - jitter, 1 + jitter, 3).tolist()
    look = {
        "brightness": brightness,
        "contrast": contrast,
        "saturation": saturation,
        "hue": rng.uniform(-jitter, jitter),
    }
    look |= {"shift": 0.0, "gamma": 1.0}
    flip = _draw_flip(rng, augmentation, angle)
    for name, probability in augmentation.effects:
        if rng.random() < probability:
            EFFECTS[name](rng, look)
    return View(*offset, *window, flip, rotation=angle, **look)


def _draw_zoom(rng, zooms):
    """(share of the window's height, share of its width); nothing is drawn where there are no zooms."""
    chosen = rng.random() if zooms else 1.0
    for zoom in zooms:
        if chosen < zoom.probability:
            area, aspect = rng.uniform(*zoom.area), math.exp(rng.uniform(*map(math.log, zoom.aspect)))
            return min(1.0, math.sqrt(area * aspect)), min(1.0, math.sqrt(area / aspect))
        chosen -= zoom.probability
    return 1.0, 1.0


def _draw_angle(rng, augmentation):
    if not augmentation.rotation or rng.random() >= augmentation.rotate:
        return 0.0
    return rng.uniform(-augmentation.rotation, augmentation.rotation)


def _draw_flip(rng, augmentation, angle):
    probability = augmentation.flip
    if augmentation.either and augmentation.rotation:
        probability = 0.0 if angle else probability / (1 - augmentation.rotate)
    return probability > 0 and rng.random() < probability


def offset_ranges(source_size, window, crop_size, angle):
    """What a window's top and left may be.

    Args:
        source_size: (height, width) of the image.
        window: (height, width) of the window.
        crop_size: (height, width) that it becomes.
        angle: its rotation in degrees.

    Returns:
        list of (lowest, highest): for top and for left.
    """
    ranges = []
    for source, extent, reach in zip(source_size, window, tilt(window, crop_size, angle), strict=True):
        low, high = sorted((0, source - extent))
        kept = min(math.ceil(reach), (high - low) // 2) if extent <= source else 0
        ranges.append((low + kept, high - kept))
    return ranges


def describe(augmentation):
    """str: what views are drawn from, in words; a number after a word is its probability."""
    low, high = augmentation.scale_range
    rotation = f"rotated up to {augmentation.rotation:g} degrees {augmentation.rotate:g}"
    mirror = [f"mirrored {augmentation.flip:g}"] if augmentation.flip else []
    turned = [rotation] if augmentation.rotation and augmentation.rotate else []
    zoom = sum(zoom.probability for zoom in augmentation.zooms)
    words = [
        f"scale {low:g}" + (f" .. {high:g}" if high > low else ""),
        *([f"part of the crop enlarged {zoom:g}"] if zoom else []),
        *([" or ".join([*mirror, *turned])] if augmentation.either and mirror else [*mirror, *turned]),
        *([f"colors by {augmentation.jitter:g}"] if augmentation.jitter else []),
        *(f"{name.replace('_', ' ')} {probability:g}" for name, probability in augmentation.effects),
        *([f"placed on a class {augmentation.class_crop:g}"] if augmentation.class_crop else []),
    ]
    return ", ".join(words)


def leaves_image(augmentation, source_size):
    """Whether the largest window is larger than the image, or its corners are when rotated, so that crops are padded."""
    low, crop = augmentation.scale_range[0], augmentation.crop_size
    triples = zip(source_size, augmentation.train_size, crop, strict=True)
    window = [round(crop * source / (low * train)) for source, train, crop in triples]
    most = augmentation.rotation if augmentation.rotate else 0.0
    upright = math.degrees(math.atan2(crop[1], crop[0]))  # where a rotated rectangle is highest
    angles = min(most, upright), min(most, 90 - upright)
    reaches = [tilt(window, crop, angle)[axis] for axis, angle in enumerate(angles)]
    return any(
        extent + 2 * max(0.0, reach) > source
        for extent, reach, source in zip(window, reaches, source_size, strict=True)
    )
