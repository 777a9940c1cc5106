"""Scores of an image of any size in memory that depends on a window and the image's width only.

A window slides over the image, left to right in rows from above to below. Where windows overlap they are blended by smooth
weights. Rows that no further window touches are handed on and leave memory.
"""

import numpy as np
import torch

from learning.resize import resized

_ROWS = 32  # that are handed on at a time


class RowBuffer:
    """Rows that come in blocks, from above to below, and are kept until rows below them are asked for.

    Args:
        blocks: iterable of tensors (C, n, w).
    """

    def __init__(self, blocks):
        self.blocks, self.top, self.held = iter(blocks), 0, None

    def rows(self, top, bottom):
        """Tensor (C, bottom - top, w); neither `top` nor `bottom` may go back from call to call."""
        if self.held is None:
            self.held = next(self.blocks)
        end = self.top + self.held.shape[1]
        while end < bottom:
            # A copy, so that the block it was a part of is gone when the next one is computed.
            kept = self.held[:, max(top - self.top, 0) :].clone()
            self.held = None
            block = next(self.blocks)
            self.held, self.top = torch.cat([kept, block], 1), end - kept.shape[1]
            end += block.shape[1]
        return self.held[:, top - self.top : bottom - self.top]


def starts(length, window, overlap):
    """Where windows begin along an axis: evenly spaced from edge to edge, as few as overlap by at least `overlap` pixels.

    Returns:
        list of int
    """
    if window >= length:
        return [0]
    number = 1 + -(-(length - window) // max(1, window - overlap))
    return [round(index * (length - window) / (number - 1)) for index in range(number)]


def shares(begins, window, overlap):
    """What each window counts in the mean of those up to it, pixel by pixel along an axis.

    Its weight rises as a squared sine over the overlap at either end. Blending one window after the other with
    mean += share * (window - mean) gives their weighted mean, and exactly the constant where all are constant.

    Args:
        begins: what `starts` returned.
        window, overlap: pixels.

    Returns:
        list of float32 (window,)
    """
    distance = np.minimum(np.arange(window), np.arange(window)[::-1]) + 0.5
    weight = np.sin(np.pi / 2 * np.minimum(distance / max(overlap, 0.5), 1)) ** 2
    total, found = np.zeros(begins[-1] + window), []
    for begin in begins:
        total[begin : begin + window] += weight
        found.append(torch.from_numpy((weight / total[begin : begin + window]).astype(np.float32)))
    return found


def overlap_in_pixels(overlap, window):
    """int: an overlap below 1 is a share of the window, any other a number of pixels; always less than the window."""
    return min(int(overlap * window if overlap < 1 else overlap), window - 1)


def scores_of_scale(forward, rows, size, tile, overlap, windows):
    """Scores of one scale, window by window.

    Args:
        forward: function of images (B, 3, h, w) that returns scores float32 (B, C, h, w).
        rows: function of (top, bottom) that returns those rows of the image, float32 (3, n, w) on the device of the network.
        size: (height, width) of the image.
        tile: (height, width) of the window; smaller where the image is.
        overlap: as for `overlap_in_pixels`.
        windows: how many windows go through the network at a time.

    Yields:
        float32 (C, n, width): all rows, in order.
    """
    height, width = size
    tall, wide = (min(pair) for pair in zip(tile, size, strict=True))
    vertical, horizontal = overlap_in_pixels(overlap, tall), overlap_in_pixels(overlap, wide)
    tops, lefts = starts(height, tall, vertical), starts(width, wide, horizontal)
    down, across, open_rows = shares(tops, tall, vertical), shares(lefts, wide, horizontal), None
    for top, following, share in zip(tops, [*tops[1:], height], down, strict=True):
        strip, band = rows(top, top + tall), None
        for first in range(0, len(lefts), windows):
            part = range(first, min(first + windows, len(lefts)))
            found = forward(torch.stack([strip[:, :, lefts[index] : lefts[index] + wide] for index in part]))
            if band is None:
                band = found.new_zeros(found.shape[1], tall, width)
            for index, window in zip(part, found, strict=True):
                band[:, :, lefts[index] : lefts[index] + wide].lerp_(window, across[index].to(window.device))
        del strip, found, window
        if open_rows is not None and open_rows.shape[1]:
            common = band[:, : open_rows.shape[1]]
            common.copy_(open_rows.lerp_(common, share[: common.shape[1], None].to(band.device)))
        yield from band[:, : following - top].split(_ROWS, 1)
        open_rows = band[:, following - top :].clone()
        common = band = None


def window_scores(forward, rows, size, scales, tile, overlap, windows):
    """Scores of an image window by window: the mean over scales, at the image's size.

    All scales go down the image together, so that no window is computed twice; each holds a row of its windows meanwhile,
    float32 (C, height of a window, width at that scale). Arguments as for `scores_of_scale`, and:

    Args:
        scales: factors of the size.

    Yields:
        float32 (C, n, width): all rows, in order.
    """
    found = []
    for scale in scales:
        scaled = [int(length * scale) for length in size]
        blocks = scores_of_scale(forward, resized(rows, size, scaled), scaled, tile, overlap, windows)
        found.append(resized(RowBuffer(blocks).rows, scaled, size))
    for top in range(0, size[0], _ROWS):
        bottom = min(top + _ROWS, size[0])
        total = found[0](top, bottom).clone()
        for of_scale in found[1:]:
            total.add_(of_scale(top, bottom))
        yield total.div_(len(scales))
