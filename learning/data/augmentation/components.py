"""Connected components of a mask, in numpy alone."""

import numpy as np


def components(mask: np.ndarray) -> np.ndarray:
    """Number the connected components of a mask; pixels that touch at a side or a corner are connected (8-connectivity).

    The runs of each row are found first. Runs of neighboring rows that touch are then merged until no number changes.

    Args:
        mask: bool (H, W).

    Returns:
        int32 (H, W): 0 outside the mask, 1 .. n inside, in the order of the components' first pixels by rows.
    """
    height, width = mask.shape
    stride = width + 1  # an empty column at the end of each row, so that no run continues in the next row
    padded = np.zeros(height * stride, np.int8)
    padded.reshape(height, stride)[:, :width] = mask
    edges = np.flatnonzero(np.diff(padded, prepend=0, append=0))
    starts = edges[::2]
    ends = edges[1::2]
    upper, lower = _touching_runs(starts, ends, stride)
    _, number = np.unique(_merge(len(starts), upper, lower), return_inverse=True)
    numbers = np.zeros(height * stride, np.int32)
    numbers[_ranges(starts, ends - starts)] = np.repeat(number + 1, ends - starts)
    return numbers.reshape(height, stride)[:, :width]


def _touching_runs(starts: np.ndarray, ends: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (upper, lower) of the runs [start, end) that touch a run of the next row."""
    # Runs of the next row touch one that is [start, end) if they start at `end` or before and end at `start` or after.
    first = np.searchsorted(ends, starts + stride)
    last = np.searchsorted(starts, ends + stride, "right")
    counts = np.maximum(last - first, 0)
    return np.repeat(np.arange(len(starts)), counts), _ranges(first, counts)


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The concatenation of range(start, start + length)."""
    return np.arange(lengths.sum()) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)


def _merge(size: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Union-find: for each of 0 .. size - 1, the least member of its set, where one[k] and other[k] share a set; int64."""
    least = np.arange(size)
    while len(one):
        low = np.minimum(least[one], least[other])
        np.minimum.at(least, least[one], low)
        np.minimum.at(least, least[other], low)
        while (least[least] != least).any():
            least = least[least]
        unmerged = least[one] != least[other]
        one = one[unmerged]
        other = other[unmerged]
    return least
