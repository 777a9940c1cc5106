"""What sums are divided by: pixels, class weights or images. A mean is divided once, where the whole batch is known."""

import torch

from helpers.labels import VOID


def pixel_weight(target, class_weights=None):
    """What a sum over pixels is divided by: their number without VOID, or the sum of their class weights.

    Args:
        target: int64 (B, h, w), train ids or VOID.
        class_weights: float32 (C,) or None.

    Returns:
        float32 scalar
    """
    if class_weights is None:
        return (target != VOID).sum().float()
    return weight_of_each(target, class_weights).sum()


def weight_of_each(target, class_weights=None):
    """The class weight of each pixel, 1 without weights, 0 for VOID; arguments as for `pixel_weight`: float32 (B, h, w)."""
    valid = target != VOID
    if class_weights is None:
        return valid.float()
    return torch.where(valid, class_weights[target.clamp(max=len(class_weights) - 1)], 0)


def image_weight(target):
    """What a sum over images is divided by: the number of those that have a pixel that is not VOID.

    Args:
        target: int64 (B, h, w), train ids or VOID.

    Returns:
        float32 scalar
    """
    return (target != VOID).flatten(1).any(1).sum().float()


def mean(total, weight):
    """The loss of sums and their weights: total / weight, added over the terms; 0, with zero gradients, where a weight is 0.

    Args:
        total, weight: scalars, or (T,) of the T terms of a sum of losses.

    Returns:
        scalar
    """
    return (total / weight.clamp(min=1e-12)).sum()
