"""Colors of objects, and how one is chosen and varied. RGB in 0 .. 255."""

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import numpy as np

Color: TypeAlias = tuple[float, float, float]

_T = TypeVar("_T")

PAINTS = (
    *((28, 28, 32), (28, 28, 32), (60, 62, 66), (120, 122, 126), (176, 178, 180), (176, 178, 180), (228, 228, 226)),
    *((228, 228, 226), (132, 26, 28), (30, 52, 110), (52, 84, 120), (40, 70, 56), (186, 150, 60), (150, 132, 108)),
)
BUS_PAINTS = (
    (196, 30, 36),
    (226, 196, 60),
    (232, 232, 228),
    (40, 90, 150),
    (60, 130, 80),
    (222, 214, 190),
    (120, 124, 128),
)
CLOTHES = (
    *((30, 32, 40), (48, 52, 74), (92, 92, 96), (150, 40, 44), (60, 90, 140), (196, 190, 180), (70, 84, 60)),
    *((200, 150, 60), (110, 70, 110), (24, 24, 26), (226, 226, 222)),
)
GLASS = (44, 52, 60)
TIRE = (22, 22, 24)
SKIN = ((214, 170, 144), (180, 132, 104), (120, 84, 62))
FACADES = (
    *((196, 180, 150), (214, 204, 184), (150, 150, 150), (152, 92, 72), (186, 142, 92), (178, 148, 138)),
    *((225, 222, 215), (160, 168, 150), (140, 152, 166), (118, 84, 70), (205, 188, 130), (98, 98, 102)),
)
ROOFS = ((112, 62, 50), (70, 70, 76), (92, 84, 80), (130, 78, 60))
GREENS = ((66, 92, 38), (84, 104, 42), (52, 78, 40), (98, 104, 52), (74, 86, 58), (118, 100, 48))


def pick(rng: np.random.Generator, options: Sequence[_T]) -> _T:
    """One of a sequence, each with the same probability."""
    return options[int(rng.integers(len(options)))]


def vary(rng: np.random.Generator, color: Color, amount: float = 14) -> Color:
    """A color near another; `amount` is the standard deviation of its brightness."""
    shift = rng.normal(0, amount)
    red, green, blue = [min(250.0, max(8.0, channel + shift + rng.normal(0, amount / 3))) for channel in color]
    return red, green, blue


def scale(color: Color, factor: float) -> Color:
    """A lighter or darker color."""
    red, green, blue = color
    return factor * red, factor * green, factor * blue
