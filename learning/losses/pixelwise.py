"""Losses that look at each pixel by itself: cross entropy, focal loss, and the hard pixels alone."""

import math

import torch
import torch.nn.functional as F

from helpers.labels import VOID
from learning.device import at_least_float32
from learning.losses.weights import image_weight, pixel_weight, weight_of_each


def cross_entropy(logits, target, class_weights=None, label_smoothing=0.0):
    """Cross entropy over the pixels that are not VOID.

    Args:
        logits: float (B, C, h, w); 16 bits are computed in float32.
        target: int64 (B, h, w), train ids or VOID.
        class_weights: float32 (C,) or None. With weights the sum is of w[y] * loss and the weight the sum of w[y], as in
            torch.nn.CrossEntropyLoss.
        label_smoothing: share of the target that is spread evenly over all classes (Szegedy et al., arXiv 1512.00567); with
            class weights as in torch.nn.CrossEntropyLoss.

    Returns:
        (sum, weight): scalars; the weight is the number of pixels that are not VOID, or the sum of their class weights.
    """
    losses = _pixel_losses(logits, target, class_weights, label_smoothing)
    return losses.sum(), pixel_weight(target, class_weights)


def focal(logits, target, gamma=2.0, class_weights=None):
    """Focal loss for softmax (Lin et al., arXiv 1708.02002): -w[y] (1 - p)^gamma log p of the true class.

    The factor stays in the graph; gamma = 0 is cross entropy.

    Args:
        logits, target, class_weights: as for `cross_entropy`.

    Returns:
        (sum, weight): as `cross_entropy` returns them.
    """
    minus_log_p = _pixel_losses(logits, target)
    # The clamp keeps the gradient of 0 ** gamma finite for gamma below 1.
    miss = -torch.expm1(-minus_log_p)
    losses = minus_log_p * miss.clamp(min=1e-12) ** gamma * weight_of_each(target, class_weights)
    return losses.sum(), pixel_weight(target, class_weights)


def ohem(logits, target, threshold=0.7, fraction=1 / 16, class_weights=None):
    """Cross entropy of the hard pixels, an image at a time (online bootstrapping, Wu et al., arXiv 1604.04339).

    Hard are the pixels whose true class has less probability than `threshold`, and in any case the `fraction` of the image's
    valid pixels with the largest cross entropy (rounded up; all of several equal ones). The loss of an image is the mean over
    its hard pixels, weighted by class where there are weights.

    Args:
        logits, target, class_weights: as for `cross_entropy`.
        threshold: probability, 0 .. 1; 0 leaves the fraction alone.
        fraction: 0 .. 1 of the valid pixels; 1 is cross entropy, averaged over images.

    Returns:
        (sum, weight): scalars; the sum over images of their mean, and the number of images with a valid pixel.
    """
    losses = _pixel_losses(logits, target).flatten(1)  # (B, N)
    valid = (target != VOID).flatten(1)
    bound = -math.log(threshold) if threshold else math.inf
    with torch.no_grad():
        kept = (fraction * valid.sum(1)).ceil().long()  # (B,)
        ranked = torch.where(valid, losses, -1).sort(1, descending=True).values
        least = ranked.gather(1, (kept - 1).clamp(min=0)[:, None])  # where no pixel is valid: -1, and none is hard
        hard = valid & ((losses >= least) & (kept > 0)[:, None] | (losses > bound))
        weights = torch.where(hard, weight_of_each(target, class_weights).flatten(1), 0)
        weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-12)
    return (losses * weights).sum(), image_weight(target)


def _pixel_losses(logits, target, class_weights=None, label_smoothing=0.0):
    """Cross entropy of each pixel, 0 for VOID: at least float32 (B, h, w)."""
    logits = at_least_float32(logits)
    weights = None if class_weights is None else class_weights.to(logits.dtype)
    return F.cross_entropy(
        logits, target, weights, ignore_index=VOID, reduction="none", label_smoothing=label_smoothing
    )
