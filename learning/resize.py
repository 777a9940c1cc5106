"""Bilinear resizing of images and logits: as a whole, with a deterministic gradient if asked for, or by rows to save memory."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

Rows = Callable[[int, int], torch.Tensor]  # (top, bottom) -> float (C, bottom - top, width)

_BLOCK = {"cpu": 32 << 20}  # bytes of the rows whose width is resized at a time
_STRIP = {"cpu": 1 << 20}  # bytes of the result at a time: fits in the cache of a core
_ON_GPU = 256 << 20  # bytes of both on other devices


def bilinear(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """`F.interpolate(mode="bilinear", align_corners=False)`, with a deterministic gradient if asked for.

    On a GPU torch's own gradient sums in any order, and its deterministic replacement sorts every pixel. With deterministic
    algorithms on, this uses two matrix products instead, equal to 1e-6.

    Args:
        x: float (B, C, h, w).
        size: (height, width).

    Returns:
        float (B, C, height, width)
    """
    height, width = map(int, size)
    if x.shape[-2:] == (height, width):
        return x
    if x.device.type == "cpu" or not torch.are_deterministic_algorithms_enabled():
        return F.interpolate(x, (height, width), mode="bilinear", align_corners=False)
    if x.requires_grad:
        return bilinear_by_matrices(x, (height, width))
    return torch.ops.aten.upsample_bilinear2d.vec(
        x, (height, width), False, None
    )  # the forward pass has no race to avoid


def bilinear_by_matrices(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """`bilinear` as a product with the interpolation matrices of height and width, in float32 or float64."""
    precise = x if x.dtype == torch.float64 else x.float()
    with torch.autocast(x.device.type, enabled=False):
        rows = _matrix(x.shape[-2], size[0], x.device, precise.dtype)
        columns = _matrix(x.shape[-1], size[1], x.device, precise.dtype)
        return (rows @ precise @ columns.T).to(x.dtype)


@lru_cache(maxsize=64)
def _matrix(old: int, new: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """(new, old): row i holds the weight of each old pixel in the new pixel i; the edge pixels are repeated."""
    center = ((torch.arange(new, dtype=torch.float64) + 0.5) * old / new - 0.5).clamp(min=0)
    low = center.long()
    weight = center - low
    matrix = torch.zeros(new, old, dtype=torch.float64)
    index = torch.arange(new)
    matrix[index, low] += 1 - weight
    matrix[index, (low + 1).clamp(max=old - 1)] += weight
    return matrix.to(device, dtype)


def resized_rows(rows: Rows, old: Sequence[int], new: Sequence[int]) -> Rows:
    """`bilinear` of a source that is read by rows, as such a source.

    A row does not depend on which rows are read with it: first the width is resized, then two rows are interpolated.

    Args:
        rows: the source. Its tops never decrease if those of the result never do.
        old, new: (height, width) of the source and of the result.
    """
    old_height, old_width = map(int, old)
    new_height, new_width = map(int, new)

    def read(top: int, bottom: int) -> torch.Tensor:
        first, last = _source_range(old_height, new_height, top, bottom)
        return _resize_height(_resize_width(rows(first, last), new_width), first, old_height, new_height, top, bottom)

    return rows if (old_height, old_width) == (new_height, new_width) else read


def resized_strips(
    rows: Rows, old: Sequence[int], new: Sequence[int], num_channels: int, device: torch.device
) -> Iterator[tuple[int, torch.Tensor]]:
    """`resized` from the first row to the last, in strips that suit the cache.

    Args:
        rows, old, new: as for `resized`.
        num_channels: C.
        device: of the rows.

    Yields:
        the first row of a strip, and the strip, float (C, n, width)
    """
    old_height, _ = map(int, old)
    height, width = map(int, new)
    row_bytes = 4 * num_channels * width
    block = max(1, _BLOCK.get(device.type, _ON_GPU) // row_bytes)
    strip = max(1, _STRIP.get(device.type, _ON_GPU) // row_bytes)
    for begin in range(0, height, block):
        end = min(begin + block, height)
        first, last = _source_range(old_height, height, begin, end)
        wide = _resize_width(rows(first, last), width)
        for top in range(begin, end, strip):
            yield top, _resize_height(wide, first, old_height, height, top, min(top + strip, end))


def _source_range(old: int, new: int, top: int, bottom: int) -> tuple[int, int]:
    """The old rows [first, last) from which the new rows [top, bottom) are interpolated."""
    low, high, _ = _source_rows(old, new)
    return int(low[top]), int(high[bottom - 1]) + 1


@lru_cache(maxsize=64)
def _source_rows(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two old rows around each new one, int64 (new,) each, and the second's weight, float32 (new,)."""
    # In float32, as torch does it: for large sizes its positions are off by up to 1e-3 of a pixel, and so are these.
    half = np.float32(0.5)
    center = np.maximum((np.arange(new, dtype=np.float32) + half) * (np.float32(old) / np.float32(new)) - half, 0)
    low = np.minimum(center.astype(np.int64), old - 1)
    return low, np.minimum(low + 1, old - 1), center - low.astype(np.float32)


def _resize_width(x: torch.Tensor, width: int) -> torch.Tensor:
    return x if x.shape[-1] == width else bilinear(x[None].contiguous(), (x.shape[-2], width))[0]


def _resize_height(x: torch.Tensor, first: int, old: int, new: int, top: int, bottom: int) -> torch.Tensor:
    """New rows [top, bottom) of x (C, n, w), whose first row is the old row `first`."""
    if old == new:
        return x[:, top - first : bottom - first]
    low, high, weight = _source_rows(old, new)

    def send(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values[top:bottom]).to(x.device, non_blocking=True)

    above = x.index_select(1, send(low) - first)
    below = x.index_select(1, send(high) - first)
    # Three operations with one rounding each: the result is the same on every device, and equal rows stay as they are.
    return below.sub_(above).mul_(send(weight)[:, None]).add_(above)
