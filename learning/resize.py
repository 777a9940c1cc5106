"""Bilinear resizing of images and scores: as a whole, deterministic where that is asked for, or row by row for little memory."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

_BLOCK = {"cpu": 32 << 20}  # bytes of the rows that are widened at a time ...
_STRIP = {"cpu": 1 << 20}  # ... and of the result at a time: what stays in the cache of a core
_ON_GPU = 256 << 20


def bilinear(x, size):
    """`F.interpolate(mode="bilinear", align_corners=False)`, with a gradient that is the same every time where asked for.

    On a GPU torch's own gradient adds up in any order, and its deterministic stand-in sorts every pixel. With deterministic
    algorithms on, the same is two matrix products here, equal to 1e-6.

    Args:
        x: float (B, C, h, w).
        size: (height, width).

    Returns:
        float (B, C, height, width)
    """
    size = tuple(map(int, size))
    if tuple(x.shape[-2:]) == size:
        return x
    if x.device.type == "cpu" or not torch.are_deterministic_algorithms_enabled():
        return F.interpolate(x, size, mode="bilinear", align_corners=False)
    if x.requires_grad:
        return by_matrices(x, size)
    return torch.ops.aten.upsample_bilinear2d.vec(x, size, False, None)  # forward there is no race to avoid


def by_matrices(x, size):
    """`bilinear` as a product with the interpolation matrices of height and width, in float32 or float64."""
    precise = x if x.dtype == torch.float64 else x.float()
    with torch.autocast(x.device.type, enabled=False):
        rows, columns = (
            _matrix(old, new, x.device, precise.dtype) for old, new in zip(x.shape[-2:], size, strict=True)
        )
        return (rows @ precise @ columns.T).to(x.dtype)


@lru_cache(maxsize=64)
def _matrix(old, new, device, dtype):
    """(new, old): row i holds the share of each old pixel in the new pixel i; pixels beyond the edge are the edge's."""
    center = ((torch.arange(new, dtype=torch.float64) + 0.5) * old / new - 0.5).clamp(min=0)
    low = center.long()
    share = center - low
    matrix = torch.zeros(new, old, dtype=torch.float64)
    index = torch.arange(new)
    matrix[index, low] += 1 - share
    matrix[index, (low + 1).clamp(max=old - 1)] += share
    return matrix.to(device, dtype)


def resized(rows, old, new):
    """`bilinear` of something that is there row by row, in rows again.

    Each row is the same whichever rows are asked for with it: first the width is resized, then two rows are mixed.

    Args:
        rows: function of (top, bottom) that returns float (C, bottom - top, w); it is called with tops that never go back
            where those that are asked for never do.
        old, new: (height, width) of what `rows` gives and of the result.

    Returns:
        function of (top, bottom) that returns float (C, bottom - top, width)
    """
    old, new = tuple(map(int, old)), tuple(map(int, new))

    def take(top, bottom):
        first, last = _sources(old[0], new[0], top, bottom)
        return _heighten(_widen(rows(first, last), new[1]), first, old[0], new[0], top, bottom)

    return rows if old == new else take


def strips(rows, old, new, num_channels, device):
    """`resized` from the first row to the last, in strips that suit the cache; arguments as there.

    Args:
        num_channels: C.
        device: torch.device of the rows.

    Yields:
        (int, float (C, n, width)): the first row of a strip, and the strip.
    """
    old, new = tuple(map(int, old)), tuple(map(int, new))
    height, width = new
    block, strip = (max(1, sizes.get(device.type, _ON_GPU) // (4 * num_channels * width)) for sizes in (_BLOCK, _STRIP))
    for begin in range(0, height, block):
        end = min(begin + block, height)
        first, last = _sources(old[0], height, begin, end)
        wide = _widen(rows(first, last), width)
        for top in range(begin, end, strip):
            yield top, _heighten(wide, first, old[0], height, top, min(top + strip, end))


def _sources(old, new, top, bottom):
    """(int, int): the old rows from which the new ones from top to bottom are made."""
    low, high, _ = _rows(old, new)
    return int(low[top]), int(high[bottom - 1]) + 1


@lru_cache(maxsize=64)
def _rows(old, new):
    """(int64 (new,), int64 (new,), float32 (new,)): the two old rows that each new one lies between, and the second's share."""
    # In float32, as torch does it: for large sizes its places are off by up to 1e-3 of a pixel, and so are these.
    half = np.float32(0.5)
    center = np.maximum((np.arange(new, dtype=np.float32) + half) * (np.float32(old) / np.float32(new)) - half, 0)
    low = np.minimum(center.astype(np.int64), old - 1)
    return low, np.minimum(low + 1, old - 1), center - low.astype(np.float32)


def _widen(x, width):
    return x if x.shape[-1] == width else bilinear(x[None].contiguous(), (x.shape[-2], width))[0]


def _heighten(x, first, old, new, top, bottom):
    """New rows of x (C, n, w), whose first row is the old row `first`."""
    if old == new:
        return x[:, top - first : bottom - first]
    low, high, share = (torch.from_numpy(part[top:bottom]).to(x.device, non_blocking=True) for part in _rows(old, new))
    above, below = x.index_select(1, low - first), x.index_select(1, high - first)
    # Three operations with a rounding each: whatever computes them, the result is the same, and equal rows stay as they are.
    return below.sub_(above).mul_(share[:, None]).add_(above)
