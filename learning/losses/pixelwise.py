"""Losses computed pixel by pixel: cross entropy, focal loss, online hard example mining."""

import math

import torch
import torch.nn.functional as F

from helpers.labels import VOID
from learning.device import at_least_float32
from learning.losses.weights import class_weight_map, image_weight, pixel_weight


def cross_entropy(
    logits: torch.Tensor,
    target: torch.Tensor,
    class_weights: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross entropy over the valid pixels.

    Args:
        logits: float (B, C, h, w); 16-bit values are converted to float32.
        target: int64 (B, h, w), train ids or VOID.
        class_weights: float32 (C,). The sum is then of w[y] * loss and the weight the sum of w[y], as in
            torch.nn.CrossEntropyLoss.
        label_smoothing: share of the target distribution that is uniform over all classes (Szegedy et al., arXiv
            1512.00567); combined with class weights as in torch.nn.CrossEntropyLoss.

    Returns:
        (sum, weight): scalars; the weight is the number of valid pixels, or the sum of their class weights.
    """
    losses = _pixel_losses(logits, target, class_weights, label_smoothing)
    return losses.sum(), pixel_weight(target, class_weights)


def focal(
    logits: torch.Tensor, target: torch.Tensor, gamma: float = 2.0, class_weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Focal loss with softmax (Lin et al., arXiv 1708.02002): -w[y] (1 - p)^gamma log p, p the true class's probability.

    The gradient also flows through the factor (1 - p)^gamma. gamma = 0 is cross entropy. Otherwise as `cross_entropy`.
    """
    minus_log_p = _pixel_losses(logits, target)
    # The clamp keeps the gradient of 0 ** gamma finite for gamma below 1.
    error = -torch.expm1(-minus_log_p)
    losses = minus_log_p * error.clamp(min=1e-12) ** gamma * class_weight_map(target, class_weights)
    return losses.sum(), pixel_weight(target, class_weights)


def ohem(
    logits: torch.Tensor,
    target: torch.Tensor,
    threshold: float = 0.7,
    fraction: float = 1 / 16,
    class_weights: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Online hard example mining (Wu et al., arXiv 1604.04339): per image, the cross entropy of the hard pixels.

    A pixel is hard if the probability of its true class is below `threshold`, or if it is among the `fraction` of the
    image's valid pixels with the largest cross entropy (rounded up, ties included). An image's loss is the mean over its hard
    pixels, weighted by class if there are class weights.

    Args:
        logits, target, class_weights: as for `cross_entropy`.
        threshold: 0 .. 1; 0 turns this criterion off.
        fraction: 0 .. 1; 1 is cross entropy, averaged over images.

    Returns:
        (sum, weight): scalars; the sum over images and the number of images with a valid pixel.
    """
    losses = _pixel_losses(logits, target).flatten(1)  # (B, N)
    valid = (target != VOID).flatten(1)
    max_easy_loss = -math.log(threshold) if threshold else math.inf
    with torch.no_grad():
        num_hardest = (fraction * valid.sum(1)).ceil().long()  # (B,)
        ranked = torch.where(valid, losses, -1).sort(1, descending=True).values
        smallest = ranked.gather(1, (num_hardest - 1).clamp(min=0)[:, None])  # loss of the last of the hardest
        is_hardest = (losses >= smallest) & (num_hardest > 0)[:, None]  # no pixel of an image without a valid one
        hard = valid & (is_hardest | (losses > max_easy_loss))
        weights = torch.where(hard, class_weight_map(target, class_weights).flatten(1), 0)
        weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-12)
    return (losses * weights).sum(), image_weight(target)


def _pixel_losses(
    logits: torch.Tensor,
    target: torch.Tensor,
    class_weights: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Cross entropy of each pixel (B, h, w), at least float32, 0 for VOID."""
    logits = at_least_float32(logits)
    weights = None if class_weights is None else class_weights.to(logits.dtype)
    return F.cross_entropy(
        logits, target, weights, ignore_index=VOID, reduction="none", label_smoothing=label_smoothing
    )
