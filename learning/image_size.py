"""The size that an image is resized to where a size is asked for, as by --train_size and --test_size."""

import math
from collections.abc import Sequence

MIN_SIDE = 64  # pixels, enough for every network and the smallest scale
SAME_SHAPE = 1.02  # aspect ratios that differ by at most this factor count as equal

Size = tuple[int, int]  # (height, width)


def fitted_size(size: Sequence[int], asked: Size) -> Size:
    """The size of an image in the network: its own aspect ratio at the area asked for.

    An image whose aspect ratio differs from that of `asked` by at most 2 % gets exactly `asked`. No side gets less than
    `MIN_SIDE` pixels.

    Args:
        size: of the image.
        asked: such as --train_size or --test_size.
    """
    stretch = size[0] * asked[1] / (size[1] * asked[0])
    if max(stretch, 1 / stretch) <= SAME_SHAPE:
        return asked
    return scaled_size(size, math.sqrt(math.prod(asked) / math.prod(size)))


def scaled_size(size: Sequence[int], factor: float) -> Size:
    """The size of an image scaled by a factor; no side gets less than `MIN_SIDE` pixels."""
    return max(MIN_SIDE, round(size[0] * factor)), max(MIN_SIDE, round(size[1] * factor))
