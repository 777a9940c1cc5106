"""Logits of an image by sliding windows, in memory that depends on the window size and the image width only.

Windows go from left to right in rows from top to bottom. Where they overlap, their logits are blended by smooth weights. Rows
that no further window overlaps are passed on and freed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from learning.resize import resized_rows

_ROWS = 32  # passed on at a time

Size = tuple[int, int]  # (height, width)
Forward = Callable[[torch.Tensor], torch.Tensor]  # images (B, 3, h, w) -> logits float32 (B, C, h, w)
Rows = Callable[[int, int], torch.Tensor]  # (top, bottom) -> those rows of an image, (C, bottom - top, w)


@dataclass(frozen=True)
class Windows:
    """Sliding windows.

    Args:
        tile: (height, width); windows are smaller if the image is.
        overlap: a fraction of the window if below 1, otherwise pixels.
        batch_size: number of windows per forward pass.
    """

    tile: Size
    overlap: float
    batch_size: int


class RowBuffer:
    """Random access to blocks (C, n, w) that arrive from top to bottom; rows are kept until rows below them are requested."""

    def __init__(self, blocks: Iterable[torch.Tensor]) -> None:
        self._blocks = iter(blocks)
        self._top = 0
        self.held: torch.Tensor | None = None

    def peek(self) -> tuple[int, torch.device]:
        """Number of channels and device of the blocks."""
        held = self._hold()
        return len(held), held.device

    def rows(self, top: int, bottom: int) -> torch.Tensor:
        """Rows (C, bottom - top, w); neither `top` nor `bottom` may decrease from call to call."""
        held = self._hold()
        end = self._top + held.shape[1]
        while end < bottom:
            # A copy, so that the block is freed before the next one is computed.
            kept = held[:, max(top - self._top, 0) :].clone()
            del held
            self.held = None
            block = next(self._blocks)
            held = torch.cat([kept, block], 1)
            self.held = held
            self._top = end - kept.shape[1]
            end += block.shape[1]
        return held[:, top - self._top : bottom - self._top]

    def _hold(self) -> torch.Tensor:
        if self.held is None:
            self.held = next(self._blocks)
        return self.held


def window_starts(length: int, window: int, overlap: int) -> list[int]:
    """Evenly spaced starts of windows that cover an axis: as few as overlap by at least `overlap` pixels."""
    if window >= length:
        return [0]
    number = 1 + -(-(length - window) // max(1, window - overlap))
    return [round(index * (length - window) / (number - 1)) for index in range(number)]


def blend_weights(starts: Sequence[int], window: int, overlap: int) -> list[torch.Tensor]:
    """Weight of each window in the running mean of itself and the windows before it, for each pixel along an axis.

    A window's own weight rises as a squared sine over the overlap at both ends. Blending the windows in order by
    mean += weight * (window - mean) gives their weighted mean, and is exact for constant windows.

    Returns:
        float32 (window,) for each window.
    """
    distance = np.minimum(np.arange(window), np.arange(window)[::-1]) + 0.5
    weight = np.sin(np.pi / 2 * np.minimum(distance / max(overlap, 0.5), 1)) ** 2
    total = np.zeros(starts[-1] + window)
    weights = []
    for start in starts:
        covered = total[start : start + window]
        covered += weight
        weights.append(torch.from_numpy((weight / covered).astype(np.float32)))
    return weights


def overlap_in_pixels(overlap: float, window: int) -> int:
    """Pixels of an overlap that is a fraction of the window if below 1; always less than the window."""
    return min(int(overlap * window if overlap < 1 else overlap), window - 1)


def window_logits(
    forward: Forward, rows: Rows, size: Size, scales: Sequence[float], windows: Windows
) -> Iterator[torch.Tensor]:
    """Logits of an image by windows, averaged over scales.

    All scales proceed down the image together, so that no window is computed twice. Each needs memory for a row of windows,
    float32 (C, window height, scaled image width).

    Args:
        rows: network input, float32 (3, n, w) on the device of the network.
        size: of the image.
        scales: factors of `size`.

    Yields:
        float32 (C, n, width): all rows, in order.
    """
    readers = []
    for scale in scales:
        scaled = (int(size[0] * scale), int(size[1] * scale))
        blocks = _scale_logits(forward, resized_rows(rows, size, scaled), scaled, windows)
        readers.append(resized_rows(RowBuffer(blocks).rows, scaled, size))
    for top in range(0, size[0], _ROWS):
        bottom = min(top + _ROWS, size[0])
        total = readers[0](top, bottom).clone()
        for read in readers[1:]:
            total.add_(read(top, bottom))
        yield total.div_(len(scales))


def _scale_logits(forward: Forward, rows: Rows, size: Size, windows: Windows) -> Iterator[torch.Tensor]:
    """Logits (C, n, width) at one scale: all rows, in order."""
    height, width = size
    tile_height = min(windows.tile[0], height)
    tops, top_weights = _axis(height, tile_height, windows.overlap)
    lefts, left_weights = _axis(width, min(windows.tile[1], width), windows.overlap)
    overlapping = None  # rows of the previous row of windows that this one overlaps
    for top, next_top, weight in zip(tops, [*tops[1:], height], top_weights, strict=True):
        band = _row_of_windows(forward, rows(top, top + tile_height), lefts, left_weights, windows.batch_size)
        if overlapping is not None:
            _blend_top(band, overlapping, weight)
        yield from band[:, : next_top - top].split(_ROWS, 1)
        overlapping = band[:, next_top - top :].clone()
        del band  # before the next one is computed


def _axis(length: int, window: int, overlap: float) -> tuple[list[int], list[torch.Tensor]]:
    """Starts and blend weights of the windows along an axis."""
    pixels = overlap_in_pixels(overlap, window)
    starts = window_starts(length, window, pixels)
    return starts, blend_weights(starts, window, pixels)


def _row_of_windows(
    forward: Forward, strip: torch.Tensor, lefts: Sequence[int], weights: Sequence[torch.Tensor], batch_size: int
) -> torch.Tensor:
    """Blended logits (C, h, width) of windows side by side in a strip (3, h, width)."""
    window = len(weights[0])
    band = None
    for first in range(0, len(lefts), batch_size):
        part = range(first, min(first + batch_size, len(lefts)))
        logits = forward(torch.stack([strip[:, :, lefts[index] : lefts[index] + window] for index in part]))
        if band is None:
            band = logits.new_zeros(logits.shape[1], *strip.shape[1:])
        for index, one in zip(part, logits, strict=True):
            band[:, :, lefts[index] : lefts[index] + window].lerp_(one, weights[index].to(one.device))
    assert band is not None
    return band


def _blend_top(band: torch.Tensor, overlapping: torch.Tensor, weight: torch.Tensor) -> None:
    """Blend the rows that the previous row of windows overlaps into the top of `band`, in place."""
    num_rows = overlapping.shape[1]
    top = band[:, :num_rows]
    top.copy_(overlapping.lerp_(top, weight[:num_rows, None].to(band.device)))
