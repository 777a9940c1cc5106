"""Active boundary loss: predicted boundaries are drawn towards the true ones."""

import torch
import torch.nn.functional as F

from helpers.labels import VOID
from learning.device import at_least_float32
from learning.losses.weights import image_weight

FAR = 20.0  # pixels; beyond, a boundary is no more wrong
SHARE = 0.01  # of an image's pixels are predicted boundaries
FLAT = 1e-5  # a divergence that is no boundary, however few there are
SMOOTHING = 0.2
NEIGHBOURS = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]


def active_boundary(logits, target):
    """Active boundary loss (Wang et al., AAAI 2022, arXiv 2102.02696), an image at a time.

    Predicted boundaries are the 1 % of an image's pixels whose distribution diverges most from those to the right and below,
    KL(P_i || P_right) + KL(P_i || P_below), and their 8 neighbors. Where the true boundary is d > 0 pixels away, the
    divergences from the neighbors, KL(P_neighbor || P_i), are taken as scores of 8 directions; the loss is their cross entropy
    with the neighbor that is nearest to the true boundary (label smoothing 0.2), times min(d, 20) / 20. The gradient flows
    through P_i alone. An image's loss is the mean over these pixels, 0 where there is none: which they are depends on the
    prediction, so that their number in a whole batch could not be known before its last part.

    True boundaries are pixels whose label differs from that to the right or below. VOID counts as one, as in the authors'
    program: a boundary may lie anywhere in it. But no VOID pixel is a predicted boundary or a direction, and nothing outside
    the image is a direction; smoothing spreads over those that are left.

    Args:
        logits: float (B, C, h, w); 16 bits are computed in float32.
        target: int64 (B, h, w), train ids or VOID.

    Returns:
        (sum, weight): scalars; the sum over images, and the number of images with a valid pixel.
    """
    log_p = at_least_float32(logits).log_softmax(1)
    valid = target != VOID
    fixed = log_p.detach()
    squared = squared_distances(true_boundary(target))
    nearest, direction = _nearest_neighbors(squared, valid)
    counts = predicted_boundary(fixed, valid) & (nearest < squared)

    divergences = _divergences(log_p, fixed)  # (B, 8, h, w)
    possible = _shifted(valid, False)
    # Finite, so that pixels without any direction have no gradient instead of an undefined one.
    scores = torch.where(possible, divergences, -1e4).log_softmax(1)
    even = torch.where(possible, scores, 0).sum(1) / possible.sum(1).clamp(min=1)
    losses = -(1 - SMOOTHING) * scores.gather(1, direction)[:, 0] - SMOOTHING * even
    weights = squared.to(losses.dtype).sqrt().clamp(max=FAR) / FAR
    sums = torch.where(counts, losses * weights, 0).sum((1, 2))
    return (sums / counts.sum((1, 2)).clamp(min=1)).sum(), image_weight(target)


def true_boundary(target):
    """Where a label differs from that to its right or below, or is VOID: bool (B, h, w)."""
    boundary = target == VOID
    boundary[:, :-1] |= target[:, :-1] != target[:, 1:]
    boundary[:, :, :-1] |= target[:, :, :-1] != target[:, :, 1:]
    return boundary


def predicted_boundary(log_p, valid):
    """Where the prediction changes most, and the 8 neighbors; without VOID.

    Args:
        log_p: float (B, C, h, w), without gradient.
        valid: bool (B, h, w).

    Returns:
        bool (B, h, w)
    """
    change = torch.zeros_like(log_p[:, 0])
    p = log_p.exp()
    for here, there in (
        ((..., slice(-1), slice(None)), (..., slice(1, None), slice(None))),
        ((..., slice(-1)), (..., slice(1, None))),
    ):
        divergence = (p[here] * (log_p[here] - log_p[there])).sum(1)
        change[here] += torch.where(valid[here] & valid[there], divergence, 0)
    change = change.flatten(1)
    number = max(1, int(SHARE * change.shape[1]))
    least = change.topk(number, 1).values[:, -1:].clamp(min=FLAT)
    edges = (change >= least).view_as(valid)
    return (F.max_pool2d(edges.float()[:, None], 3, 1, 1)[:, 0] > 0) & valid


def squared_distances(boundary):
    """Squared Euclidean distance of every pixel to the nearest boundary pixel of its image; exact.

    Two passes: distances along the longer side by running maxima, then the lower envelope of parabolas along the shorter one.
    All distances are found, not those up to 20 alone: a boundary farther away than that still has its direction.

    Args:
        boundary: bool (B, h, w).

    Returns:
        int32 (B, h, w); the same number at every pixel of an image without boundary.
    """
    if boundary.shape[1] > boundary.shape[2]:
        return squared_distances(boundary.mT).mT
    height, width = boundary.shape[1:]
    far = height + width
    places = torch.arange(width, dtype=torch.int32, device=boundary.device)
    before = torch.where(boundary, places, -far).cummax(2).values
    after = torch.where(boundary, places, width + far).flip(2).cummin(2).values.flip(2)
    along = torch.minimum(places - before, after - places).clamp(max=far) ** 2
    rows = torch.arange(height, dtype=torch.int32, device=boundary.device)
    across = ((rows[:, None] - rows) ** 2)[:, :, None]  # (h, h, 1)
    return torch.stack([(along + offsets).amin(1) for offsets in across], 1)


def _nearest_neighbors(squared, valid):
    """The least squared distance among the valid neighbors (B, h, w), and which it is of the 8 (B, 1, h, w)."""
    outside = torch.iinfo(squared.dtype).max
    around = _shifted(torch.where(valid, squared, outside), outside)
    nearest, direction = around.min(1, keepdim=True)
    return nearest[:, 0], direction


def _divergences(log_p, fixed):
    """KL(P_neighbor || P) of the 8 neighbors, (B, 8, h, w); what is outside the image counts as equal probabilities of 1."""
    height, width = log_p.shape[2:]
    log_q = F.pad(fixed, (1, 1, 1, 1))
    q = log_q.exp()
    negative_entropy = (q * log_q).sum(1)
    result = []
    for y, x in NEIGHBOURS:
        window = (..., slice(1 + y, 1 + y + height), slice(1 + x, 1 + x + width))
        result.append(negative_entropy[window] - (q[window] * log_p).sum(1))
    return torch.stack(result, 1)


def _shifted(values, outside):
    """The values of the 8 neighbors of every pixel: (B, h, w) -> (B, 8, h, w)."""
    height, width = values.shape[1:]
    padded = F.pad(values, (1, 1, 1, 1), value=outside)
    return torch.stack([padded[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in NEIGHBOURS], 1)
