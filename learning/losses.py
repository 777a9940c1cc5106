"""Losses: pure functions of (logits, target) that return (sum, weight), both float32 scalars.

The sum runs over the valid pixels and the weight is what it is to be divided by. A mean is divided once, where the whole
effective batch is known, so that parts of a batch add up exactly; see `mean`.
"""

import torch
import torch.nn.functional as F

from helpers.labels import VOID


def cross_entropy(logits, target, class_weights=None):
    """Cross entropy over the pixels that are not VOID.

    Args:
        logits: float (B, C, h, w); computed in float32.
        target: int64 (B, h, w), train ids or VOID.
        class_weights: float32 (C,) or None. With weights the sum is of w[y] * loss and the weight the sum of w[y], as in
            torch.nn.CrossEntropyLoss.

    Returns:
        (sum, weight): float32 scalars.
    """
    losses = F.cross_entropy(logits.float(), target, class_weights, ignore_index=VOID, reduction="none")
    valid = target != VOID
    weight = (
        valid.sum() if class_weights is None else class_weights[target.clamp(max=len(class_weights) - 1)][valid].sum()
    )
    return losses.sum(), weight.float()


def focal(logits, target, gamma=2.0):
    """Focal loss for softmax (Lin et al., arXiv 1708.02002): -(1 - p)^gamma log p of the true class.

    The factor stays in the graph; gamma = 0 is cross entropy.

    Args:
        logits: float (B, C, h, w); computed in float32.
        target: int64 (B, h, w), train ids or VOID.

    Returns:
        (sum, weight): float32 scalars; the weight is the number of pixels that are not VOID.
    """
    minus_log_p = F.cross_entropy(logits.float(), target, ignore_index=VOID, reduction="none")
    # The clamp keeps the gradient of 0 ** gamma finite for gamma below 1.
    miss = -torch.expm1(-minus_log_p)
    valid = target != VOID
    losses = minus_log_p * miss.clamp(min=1e-12) ** gamma
    return torch.where(valid, losses, 0).sum(), valid.sum().float()


def mean(total, weight):
    """total / weight, and 0 (with zero gradients) where the weight is 0."""
    return total / weight.clamp(min=1e-12)


def build_criterion(name, class_weights=None, focal_gamma=2.0, aux_weight=0.4):
    """The loss of a model's outputs.

    Args:
        name: a key of `LOSSES`.
        class_weights: float32 (C,), for "weighted_ce".
        focal_gamma: exponent, for "focal".
        aux_weight: weight of the auxiliary head's loss, where the model has one.

    Returns:
        function of (outputs, target) -> (sum, weight), where outputs is a model's dict with "out" and maybe "aux".
    """
    loss = LOSSES[name]
    options = {"weighted_ce": {"class_weights": class_weights}, "focal": {"gamma": focal_gamma}}.get(name, {})

    def criterion(outputs, target):
        total, weight = loss(outputs["out"], target, **options)
        if "aux" in outputs:
            total = total + aux_weight * loss(outputs["aux"], target, **options)[0]
        return total, weight

    return criterion


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
