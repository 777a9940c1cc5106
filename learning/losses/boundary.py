"""Active boundary loss: moves predicted boundaries towards the true ones."""

import torch
import torch.nn.functional as F

from helpers.labels import VOID
from learning.device import at_least_float32
from learning.losses.weights import image_weight

MAX_DISTANCE = 20.0  # pixels; the weight of a boundary pixel does not grow beyond
BOUNDARY_FRACTION = 0.01  # of an image's pixels are predicted boundaries
MIN_DIVERGENCE = 1e-5  # of a predicted boundary, however few there are
LABEL_SMOOTHING = 0.2
NEIGHBORS = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]


def active_boundary(logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Active boundary loss (Wang et al., AAAI 2022, arXiv 2102.02696), computed per image.

    Predicted boundaries are the 1 % of an image's pixels with the largest divergence from the pixels to the right and below,
    KL(P_i || P_right) + KL(P_i || P_below), dilated by their 8 neighbors. At a distance d > 0 to the true boundary, the
    divergences from the neighbors, KL(P_neighbor || P_i), are the logits of 8 directions; the loss is their cross entropy
    with the neighbor nearest to the true boundary (label smoothing 0.2), times min(d, 20) / 20. Only P_i has a gradient. An
    image's loss is the mean over these pixels, 0 if there are none. It is averaged per image, because the number of pixels
    depends on the prediction: a whole batch's would not be known before its last micro-batch.

    True boundaries are pixels whose label differs from that to the right or below. As in the authors' program, VOID counts as
    boundary: a true boundary may lie anywhere in it. VOID pixels are neither predicted boundaries nor directions, and nor are
    positions outside the image; smoothing is over the remaining directions.

    Args:
        logits: float (B, C, h, w); 16-bit values are converted to float32.
        target: int64 (B, h, w), train ids or VOID.

    Returns:
        (sum, weight): scalars; the sum over images and the number of images with a valid pixel.
    """
    log_p = at_least_float32(logits).log_softmax(1)
    valid = target != VOID
    detached = log_p.detach()
    squared = squared_distances(true_boundary(target))
    nearest, direction = _nearest_neighbors(squared, valid)
    selected = predicted_boundary(detached, valid) & (nearest < squared)

    divergences = _neighbor_divergences(log_p, detached)  # (B, 8, h, w)
    possible = _stack_neighbors(valid, False)
    # -1e4 instead of -inf: the gradient of a pixel without any direction is 0 instead of NaN.
    log_q = torch.where(possible, divergences, -1e4).log_softmax(1)
    uniform = torch.where(possible, log_q, 0).sum(1) / possible.sum(1).clamp(min=1)
    losses = -(1 - LABEL_SMOOTHING) * log_q.gather(1, direction)[:, 0] - LABEL_SMOOTHING * uniform
    weights = squared.to(losses.dtype).sqrt().clamp(max=MAX_DISTANCE) / MAX_DISTANCE
    sums = torch.where(selected, losses * weights, 0).sum((1, 2))
    return (sums / selected.sum((1, 2)).clamp(min=1)).sum(), image_weight(target)


def true_boundary(target: torch.Tensor) -> torch.Tensor:
    """bool (B, h, w): where a label is VOID, or differs from that to its right or below."""
    boundary = target == VOID
    boundary[:, :-1] |= target[:, :-1] != target[:, 1:]
    boundary[:, :, :-1] |= target[:, :, :-1] != target[:, :, 1:]
    return boundary


def predicted_boundary(log_p: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """bool (B, h, w): the valid pixels where the prediction changes most, and their 8 neighbors.

    Args:
        log_p: float (B, C, h, w), without gradient.
        valid: bool (B, h, w).
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
    num_edges = max(1, int(BOUNDARY_FRACTION * change.shape[1]))
    smallest = change.topk(num_edges, 1).values[:, -1:].clamp(min=MIN_DIVERGENCE)
    edges = (change >= smallest).view_as(valid)
    return (F.max_pool2d(edges.float()[:, None], 3, 1, 1)[:, 0] > 0) & valid


def squared_distances(boundary: torch.Tensor) -> torch.Tensor:
    """Exact squared Euclidean distance transform to the boundary pixels of each image.

    Two passes: distances along the longer side by running maxima, then the lower envelope of parabolas along the shorter side.
    Distances above `MAX_DISTANCE` are needed, too: they decide the direction.

    Args:
        boundary: bool (B, h, w).

    Returns:
        int32 (B, h, w); constant over an image without boundary.
    """
    if boundary.shape[1] > boundary.shape[2]:
        return squared_distances(boundary.mT).mT
    height, width = boundary.shape[1:]
    far = height + width
    columns = torch.arange(width, dtype=torch.int32, device=boundary.device)
    before = torch.where(boundary, columns, -far).cummax(2).values
    after = torch.where(boundary, columns, width + far).flip(2).cummin(2).values.flip(2)
    along = torch.minimum(columns - before, after - columns).clamp(max=far) ** 2
    rows = torch.arange(height, dtype=torch.int32, device=boundary.device)
    across = ((rows[:, None] - rows) ** 2)[:, :, None]  # (h, h, 1)
    return torch.stack([(along + offsets).amin(1) for offsets in across], 1)


def _nearest_neighbors(squared: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest squared distance among the valid neighbors (B, h, w), and the index of that neighbor (B, 1, h, w)."""
    outside = torch.iinfo(squared.dtype).max
    around = _stack_neighbors(torch.where(valid, squared, outside), outside)
    nearest, direction = around.min(1, keepdim=True)
    return nearest[:, 0], direction


def _neighbor_divergences(log_p: torch.Tensor, detached: torch.Tensor) -> torch.Tensor:
    """KL(P_neighbor || P) of the 8 neighbors, (B, 8, h, w); outside the image all log probabilities count as 0."""
    height, width = log_p.shape[2:]
    log_q = F.pad(detached, (1, 1, 1, 1))
    q = log_q.exp()
    negative_entropy = (q * log_q).sum(1)
    result = []
    for y, x in NEIGHBORS:
        window = (..., slice(1 + y, 1 + y + height), slice(1 + x, 1 + x + width))
        result.append(negative_entropy[window] - (q[window] * log_p).sum(1))
    return torch.stack(result, 1)


def _stack_neighbors(values: torch.Tensor, outside: float) -> torch.Tensor:
    """The values of the 8 neighbors of every pixel: (B, h, w) -> (B, 8, h, w)."""
    height, width = values.shape[1:]
    padded = F.pad(values, (1, 1, 1, 1), value=outside)
    return torch.stack([padded[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in NEIGHBORS], 1)
