"""The View: how one sample is augmented, as plain data."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """A window of the source image, its rotation, a flip, and changes of color.

    Args:
        top, left, height, width: window in whole source pixels; it may extend beyond the image.
        flip: whether the result is flipped horizontally.
        brightness, contrast, saturation: factors; 1 is no change.
        hue: rotation in turns; 0 is no change.
        rotation: degrees counterclockwise by which the content is rotated about the window's center.
        shift: added to every channel, in 0 .. 1.
        gamma, noise, noise_seed, sharpen, lightness, clahe, holes: see `learning.data.augmentation.filters`.
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    rotation: float = 0.0
    shift: float = 0.0
    gamma: float = 1.0
    noise: float = 0.0
    noise_seed: int = 0
    sharpen: float = 0.0
    lightness: float = 1.0
    clahe: float = 0.0
    holes: tuple[int, float, float] | None = None

    @property
    def window(self) -> tuple[int, int]:
        """(height, width) of the window."""
        return self.height, self.width


def corner_reach(window: tuple[int, int], size: tuple[int, int], angle: float) -> tuple[float, float]:
    """How far the corners of a rotated window extend beyond the upright window, on each side.

    Args:
        window: (height, width) in source pixels.
        size: (height, width) of the result; the angle is measured in its pixels.
        angle: degrees.

    Returns:
        source pixels above and below, and left and right; negative where the corners stay inside.
    """
    cos = abs(math.cos(math.radians(angle)))
    sin = abs(math.sin(math.radians(angle)))
    height, width = window
    rows, columns = size
    return (
        (rows * (cos - 1) + columns * sin) * height / (2 * rows),
        (columns * (cos - 1) + rows * sin) * width / (2 * columns),
    )
