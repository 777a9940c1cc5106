"""Connected components of a mask, in numpy alone."""

import numpy as np


def components(mask):
    """Number the connected components of a mask; pixels that touch at a side or a corner belong together.

    The runs of each row are found first; runs of neighboring rows that touch are then merged until no number changes.

    Args:
        mask: bool (H, W).

    Returns:
        int32 (H, W): 0 outside of the mask, 1 .. n inside, in the order of the components' first pixels by rows.
    """
    height, width = mask.shape
    stride = width + 1  # a column that is never set, so that no run goes on in the next row
    flat = np.zeros(height * stride, np.int8)
    flat.reshape(height, stride)[:, :width] = mask
    edges = np.flatnonzero(np.diff(flat, prepend=0, append=0))
    starts, ends = edges[::2], edges[1::2]
    # Runs of the next row touch one that is [start, end) where they start at `end` or before and end at `start` or after.
    first, last = np.searchsorted(ends, starts + stride), np.searchsorted(starts, ends + stride, "right")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(starts)), counts)
    lower = np.arange(len(upper)) + np.repeat(first - np.cumsum(counts) + counts, counts)
    _, number = np.unique(_merge(len(starts), upper, lower), return_inverse=True)
    flat = np.zeros(height * stride, np.int32)
    lengths = ends - starts
    flat[np.arange(lengths.sum()) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)] = np.repeat(
        number + 1, lengths
    )
    return flat.reshape(height, stride)[:, :width]


def _merge(size, one, other):
    """int64 (size,): the least member of the set that each of 0 .. size-1 is in, where one[k] and other[k] share a set."""
    least = np.arange(size)
    while len(one):
        low = np.minimum(least[one], least[other])
        np.minimum.at(least, least[one], low)
        np.minimum.at(least, least[other], low)
        while (least[least] != least).any():
            least = least[least]
        open_pairs = least[one] != least[other]
        one, other = one[open_pairs], other[open_pairs]
    return least
