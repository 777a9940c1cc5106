"""Bilinear resizing of images and scores, deterministic where that is asked for."""

from functools import lru_cache

import torch
import torch.nn.functional as F


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
    centre = ((torch.arange(new, dtype=torch.float64) + 0.5) * old / new - 0.5).clamp(min=0)
    low = centre.long()
    share = centre - low
    matrix = torch.zeros(new, old, dtype=torch.float64)
    index = torch.arange(new)
    matrix[index, low] += 1 - share
    matrix[index, (low + 1).clamp(max=old - 1)] += share
    return matrix.to(device, dtype)
