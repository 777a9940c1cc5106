"""Region overlap losses: Dice, log Dice, Tversky, Lovász-Softmax.

An image's loss is the mean over the classes present in its label; the sum is over images.
"""

import torch

from helpers.labels import VOID
from learning.device import at_least_float32
from learning.losses.weights import image_weight


def dice(logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """1 - soft Dice coefficient (Milletari et al., arXiv 1606.04797, with plain instead of squared sums in the denominator).

    With p the softmax, y = 1 where the label is class c, sums over the valid pixels of an image:
    D_c = (2 sum(p y) + 1) / (sum(p) + sum(y) + 1), and an image's loss is the mean of 1 - D_c over its classes.

    Args:
        logits: float (B, C, h, w); 16-bit values are converted to float32.
        target: int64 (B, h, w), train ids or VOID.

    Returns:
        (sum, weight): scalars; the sum over images and the number of images with a valid pixel.
    """
    index, present = _tversky_index(logits, target, 0.5, 0.5, smooth=0.5)
    return _sum_over_images(1 - index, present), image_weight(target)


def log_dice(logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """-log of the Dice coefficient (Wong et al., arXiv 1809.00076, gamma 1): the mean of -log D_c; otherwise as `dice`."""
    index, present = _tversky_index(logits, target, 0.5, 0.5, smooth=0.5)
    return _sum_over_images(-index.log(), present), image_weight(target)


def tversky(
    logits: torch.Tensor, target: torch.Tensor, alpha: float = 0.3, beta: float = 0.7
) -> tuple[torch.Tensor, torch.Tensor]:
    """1 - Tversky index (Salehi et al., arXiv 1706.05721); otherwise as `dice`.

    T_c = (TP + 1) / (TP + alpha FP + beta FN + 1) with TP = sum(p y), FP = sum(p (1 - y)), FN = sum((1 - p) y).

    Args:
        alpha, beta: cost of false positives and of false negatives; the defaults are the paper's best.
    """
    index, present = _tversky_index(logits, target, alpha, beta, smooth=1.0)
    return _sum_over_images(1 - index, present), image_weight(target)


def lovasz(logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lovász-Softmax (Berman et al., arXiv 1705.08790): the Lovász extension of each class's Jaccard loss.

    Computed per image over the classes in its label (the paper's classes='present', per image). Arguments and result as for
    `dice`.
    """
    probabilities = at_least_float32(logits).softmax(1).flatten(2)  # (B, C, N)
    target = target.flatten(1)
    valid = target != VOID
    slopes = []
    offsets = []
    present = []
    # One class at a time: sorting all at once would take several times the memory.
    for c, p in enumerate(probabilities.detach().unbind(1)):
        is_class = target == c
        gradient = _lovasz_gradient(torch.where(is_class, 1 - p, p), is_class, valid)
        # For a fixed order of the errors the loss is linear in them: 1 - p for pixels of the class, p for the others.
        slopes.append(torch.where(is_class, -gradient, gradient))
        offsets.append(torch.where(is_class, gradient, 0).sum(1))
        present.append(is_class.any(1))
    losses = torch.stack(offsets, 1) + (probabilities * torch.stack(slopes, 1)).sum(2)  # (B, C)
    return _sum_over_images(losses, torch.stack(present, 1)), image_weight(target)


@torch.no_grad()
def _lovasz_gradient(errors: torch.Tensor, is_class: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Gradient of the Lovász extension: the increase of the Jaccard loss when a pixel joins those with larger errors.

    In closed form: differences between Jaccard losses over a million pixels lose all their digits in float32.

    Args:
        errors: float (B, N), 0 .. 1.
        is_class, valid: bool (B, N).

    Returns:
        float (B, N), 0 where not valid.
    """
    errors = torch.where(valid, errors, -1)  # sorts VOID last
    order = errors.sort(dim=1, descending=True, stable=True).indices
    hits = is_class.gather(1, order)
    size = is_class.sum(1, keepdim=True)
    num_hits = hits.cumsum(1)
    rank = torch.arange(1, errors.shape[1] + 1, device=errors.device)
    intersection = (size - num_hits).to(errors.dtype)  # without the pixels up to this rank
    union = (size - num_hits + rank).to(errors.dtype)
    gradient = torch.where(hits, 1 / union, intersection / (union * (union - 1).clamp(min=1)))
    gradient = torch.zeros_like(errors).scatter(1, order, gradient)
    return torch.where(valid, gradient, 0)


def _tversky_index(
    logits: torch.Tensor, target: torch.Tensor, alpha: float, beta: float, smooth: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Index (B, C) of each image and class, `smooth` added to numerator and denominator; whether the label has the class."""
    probabilities = at_least_float32(logits).softmax(1)
    classes = torch.arange(logits.shape[1], device=logits.device)[:, None, None]
    is_class = target[:, None] == classes  # (B, C, h, w)
    true_positive = torch.where(is_class, probabilities, 0).sum((2, 3))
    predicted = torch.where((target != VOID)[:, None], probabilities, 0).sum((2, 3))
    size = is_class.sum((2, 3))
    false_positive = predicted - true_positive
    false_negative = size - true_positive
    index = (true_positive + smooth) / (true_positive + alpha * false_positive + beta * false_negative + smooth)
    return index, size > 0


def _sum_over_images(losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Sum over images of the mean over their present classes; losses and present are (B, C)."""
    return (torch.where(present, losses, 0).sum(1) / present.sum(1).clamp(min=1)).sum()
