"""Losses of the overlap of regions, an image at a time: Dice, its logarithm, Tversky, Lovász-Softmax.

An image's loss is the mean over the classes that its label contains; the sum is over images.
"""

import torch

from helpers.labels import VOID
from learning.device import at_least_float32
from learning.losses.weights import image_weight


def dice(logits, target):
    """1 - Dice coefficient of the probabilities (Milletari et al., arXiv 1606.04797, with plain sums below the line).

    With p the softmax, y = 1 where the label is class c, sums over the valid pixels of an image:
    D_c = (2 sum(p y) + 1) / (sum(p) + sum(y) + 1), and an image's loss is the mean of 1 - D_c over the classes it contains.

    Args:
        logits: float (B, C, h, w); 16 bits are computed in float32.
        target: int64 (B, h, w), train ids or VOID.

    Returns:
        (sum, weight): scalars; the sum over images, and the number of images with a valid pixel.
    """
    return _sum_of_images(lambda index: 1 - index, _tversky_index(logits, target, 0.5, 0.5, 0.5), target)


def log_dice(logits, target):
    """-log of the Dice coefficient (Wong et al., arXiv 1809.00076, gamma 1): the mean of -log D_c; otherwise as `dice`."""
    return _sum_of_images(lambda index: -index.log(), _tversky_index(logits, target, 0.5, 0.5, 0.5), target)


def tversky(logits, target, alpha=0.3, beta=0.7):
    """1 - Tversky index of the probabilities (Salehi et al., arXiv 1706.05721); otherwise as `dice`.

    T_c = (TP + 1) / (TP + alpha FP + beta FN + 1) with TP = sum(p y), FP = sum(p (1 - y)), FN = sum((1 - p) y).

    Args:
        alpha, beta: what a false positive and a false negative cost; the paper's best.
    """
    return _sum_of_images(lambda index: 1 - index, _tversky_index(logits, target, alpha, beta, 1.0), target)


def lovasz(logits, target):
    """Lovász-Softmax (Berman et al., arXiv 1705.08790): the Lovász extension of the Jaccard loss of each class.

    An image at a time, over the classes that it contains (the paper's classes='present', per image).

    Args, returns: as for `dice`.
    """
    probabilities = at_least_float32(logits).softmax(1).flatten(2)  # (B, C, N)
    target = target.flatten(1)
    valid = target != VOID
    slopes, offsets, present = [], [], []
    for c, p in enumerate(
        probabilities.detach().unbind(1)
    ):  # one at a time: sorting all would take several times the memory
        is_class = target == c
        slope = _lovasz_slopes(torch.where(is_class, 1 - p, p), is_class, valid)
        # Given the order of the errors, the loss is linear in them: 1 - p where the class is true, p elsewhere.
        slopes.append(torch.where(is_class, -slope, slope))
        offsets.append(torch.where(is_class, slope, 0).sum(1))
        present.append(is_class.any(1))
    of_classes = torch.stack(offsets, 1) + (probabilities * torch.stack(slopes, 1)).sum(2)
    return _mean_of_present(of_classes, torch.stack(present, 1)), image_weight(target)


@torch.no_grad()
def _lovasz_slopes(errors, is_class, valid):
    """What each error is multiplied with: by how much its pixel, added to those with larger errors, raises the Jaccard loss.

    In closed form, because differences of Jaccard losses of a million pixels have no digits left in float32.

    Args:
        errors: float (B, N), 0 .. 1.
        is_class, valid: bool (B, N).

    Returns:
        float (B, N), 0 where not valid.
    """
    errors = torch.where(valid, errors, -1)  # what is void comes last
    order = errors.sort(dim=1, descending=True, stable=True).indices
    hits = is_class.gather(1, order)
    size = is_class.sum(1, keepdim=True)
    seen = hits.cumsum(1)
    places = torch.arange(1, errors.shape[1] + 1, device=errors.device)
    left = (size - seen).to(errors.dtype)  # the intersection without the pixels so far
    union = (size - seen + places).to(errors.dtype)
    slopes = torch.where(hits, 1 / union, left / (union * (union - 1).clamp(min=1)))
    slopes = torch.zeros_like(errors).scatter(1, order, slopes)
    return torch.where(valid, slopes, 0)


def _tversky_index(logits, target, alpha, beta, smooth):
    """The index of each class of each image, (B, C), with `smooth` added above and below the line, and which are present."""
    probabilities = at_least_float32(logits).softmax(1)
    classes = torch.arange(logits.shape[1], device=logits.device)[:, None, None]
    is_class = target[:, None] == classes  # (B, C, h, w)
    hit = torch.where(is_class, probabilities, 0).sum((2, 3))
    predicted = torch.where((target != VOID)[:, None], probabilities, 0).sum((2, 3))
    size = is_class.sum((2, 3))
    index = (hit + smooth) / (hit + alpha * (predicted - hit) + beta * (size - hit) + smooth)
    return index, size > 0


def _sum_of_images(loss, index_and_present, target):
    index, present = index_and_present
    return _mean_of_present(loss(index), present), image_weight(target)


def _mean_of_present(losses, present):
    """Sum over images of the mean over their present classes; losses and present are (B, C)."""
    return (torch.where(present, losses, 0).sum(1) / present.sum(1).clamp(min=1)).sum()
