"""Divisors of the losses: the number of pixels, the sum of their class weights, or the number of images."""

import torch

from helpers.labels import VOID


def pixel_weight(target: torch.Tensor, class_weights: torch.Tensor | None = None) -> torch.Tensor:
    """Divisor of a sum over pixels: the number of valid pixels, or the sum of their class weights.

    Args:
        target: int64 (B, h, w), train ids or VOID.
        class_weights: float32 (C,).

    Returns:
        float32 scalar
    """
    if class_weights is None:
        return (target != VOID).sum().float()
    return class_weight_map(target, class_weights).sum()


def class_weight_map(target: torch.Tensor, class_weights: torch.Tensor | None = None) -> torch.Tensor:
    """float32 (B, h, w): the class weight of each pixel, 1 without weights, 0 for VOID; arguments as for `pixel_weight`."""
    valid = target != VOID
    if class_weights is None:
        return valid.float()
    return torch.where(valid, class_weights[target.clamp(max=len(class_weights) - 1)], 0)


def image_weight(target: torch.Tensor) -> torch.Tensor:
    """Divisor of a sum over images, a float32 scalar: the number of images in target (B, h, w) with a valid pixel."""
    return (target != VOID).flatten(1).any(1).sum().float()


def mean(total: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The loss, a scalar: total / weight, summed over terms; 0, with zero gradients, where a weight is 0.

    Args:
        total, weight: scalars, or (T,) of the T terms of a criterion.
    """
    return (total / weight.clamp(min=1e-12)).sum()
