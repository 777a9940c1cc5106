"""Losses: pure functions of (logits, target) that return (sum, weight), both scalars of at least float32.

The sum runs over the valid pixels and the weight is what it is to be divided by. A mean is divided once, where the whole
effective batch is known, so that parts of a batch add up exactly; see `mean`.
"""

import torch
import torch.nn.functional as F

from helpers.labels import VOID
from learning.compute import at_least_float32


def cross_entropy(logits, target, class_weights=None):
    """Cross entropy over the pixels that are not VOID.

    Args:
        logits: float (B, C, h, w); 16 bits are computed in float32.
        target: int64 (B, h, w), train ids or VOID.
        class_weights: float32 (C,) or None. With weights the sum is of w[y] * loss and the weight the sum of w[y], as in
            torch.nn.CrossEntropyLoss.

    Returns:
        (sum, weight): float32 scalars.
    """
    logits = at_least_float32(logits)
    weights = None if class_weights is None else class_weights.to(logits.dtype)
    losses = F.cross_entropy(logits, target, weights, ignore_index=VOID, reduction="none")
    return losses.sum(), pixel_weight(target, class_weights)


def pixel_weight(target, class_weights=None):
    """What a sum over pixels is divided by: their number without VOID, or the sum of their class weights.

    Args:
        target: int64 (B, h, w), train ids or VOID.
        class_weights: float32 (C,) or None.

    Returns:
        float32 scalar
    """
    valid = target != VOID
    if class_weights is None:
        return valid.sum().float()
    return torch.where(valid, class_weights[target.clamp(max=len(class_weights) - 1)], 0).sum()


def focal(logits, target, gamma=2.0):
    """Focal loss for softmax (Lin et al., arXiv 1708.02002): -(1 - p)^gamma log p of the true class.

    The factor stays in the graph; gamma = 0 is cross entropy.

    Args:
        logits: float (B, C, h, w); 16 bits are computed in float32.
        target: int64 (B, h, w), train ids or VOID.

    Returns:
        (sum, weight): float32 scalars; the weight is the number of pixels that are not VOID.
    """
    minus_log_p = F.cross_entropy(at_least_float32(logits), target, ignore_index=VOID, reduction="none")
    # The clamp keeps the gradient of 0 ** gamma finite for gamma below 1.
    miss = -torch.expm1(-minus_log_p)
    losses = minus_log_p * miss.clamp(min=1e-12) ** gamma
    return torch.where(target != VOID, losses, 0).sum(), pixel_weight(target)


def mean(total, weight):
    """total / weight, and 0 (with zero gradients) where the weight is 0."""
    return total / weight.clamp(min=1e-12)


class Criterion:
    """The loss of a model's outputs.

    Args:
        name: a key of `LOSSES`.
        class_weights: float32 (C,), for "weighted_ce".
        focal_gamma: exponent, for "focal".
        aux_weight: weight of the auxiliary head's loss, where the model has one.
    """

    def __init__(self, name, class_weights=None, focal_gamma=2.0, aux_weight=0.4):
        self.loss, self.aux_weight = LOSSES[name], aux_weight
        self.options = {"weighted_ce": {"class_weights": class_weights}, "focal": {"gamma": focal_gamma}}.get(name, {})

    def __call__(self, outputs, target):
        """(sum, weight) of a model's dict with "out" and maybe "aux"."""
        total, weight = self.loss(outputs["out"], target, **self.options)
        if "aux" in outputs:
            total = total + self.aux_weight * self.loss(outputs["aux"], target, **self.options)[0]
        return total, weight

    def weight(self, target):
        """The weight alone, which no output changes: that of a whole batch is known before its first part is seen."""
        return pixel_weight(target, self.options.get("class_weights"))


LOSSES = {"ce": cross_entropy, "weighted_ce": cross_entropy, "focal": focal}


def enet_weights(pixels, c=1.02):
    """Class weights 1 / ln(c + p) with p the class's share of the labelled pixels (ENet, arXiv 1606.02147).

    Args:
        pixels: numbers (C,) of pixels.

    Returns:
        float32 tensor (C,)
    """
    pixels = torch.as_tensor(pixels, dtype=torch.float64)
    return (1 / torch.log(c + pixels / pixels.sum())).float()
