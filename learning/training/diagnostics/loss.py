"""A training loss that is not below the class-frequency baseline: the best prediction that is the same at every pixel."""

import math
from collections.abc import Sequence

import torch

from learning.losses import PIXELWISE, Criterion

MARGIN = 0.02  # by which share the loss should be below the baseline


def check_loss(losses: Sequence[float], pixels: torch.Tensor, criterion: Criterion) -> list[str]:
    """Findings on a training loss that is NaN, infinite or hardly below the class-frequency baseline.

    Compares the terms that are means over pixels; the baseline of the others depends on where the classes are.

    Args:
        losses: (T,), mean of each term of the training loss of an epoch.
        pixels: int64 (C,), labels of each class; on the device of the criterion's class weights.
        criterion: of T terms.
    """
    total = sum(losses)
    if not math.isfinite(total):
        return [f"the training loss is {total}: lower --lr_init and start again"]
    by_name = dict(zip(criterion.names, losses, strict=True))
    compared = [name for name in by_name if name in PIXELWISE]
    loss = sum(by_name[name] for name in compared)
    baseline = class_frequency_loss(pixels, criterion)
    if loss < (1 - MARGIN) * baseline or baseline == 0:
        return []
    which = "" if len(compared) == len(losses) else f" of {' + '.join(compared)}"
    finding = f"the training loss{which} {loss:.3f} is not clearly below {baseline:.3f}, the class-frequency baseline"
    return [f"{finding}: if that lasts, change --lr_init and look at images/train_batch.png"]


def class_frequency_loss(pixels: torch.Tensor, criterion: Criterion) -> float:
    """Mean loss of the class-frequency baseline, for the terms that are means over pixels; 0 if at most one class occurs.

    Exact for cross entropy: the (weighted) class frequencies. For the focal loss, which prefers flatter distributions, the
    best of some powers of the frequencies, within 2 % for gamma up to 5. For sums of losses, and for class weights with
    label smoothing, slightly too high. Arguments as for `check_loss`.
    """
    classes = pixels.nonzero().flatten()  # (K,)
    if len(classes) < 2 or not set(criterion.names) & set(PIXELWISE):
        return 0.0
    counts = pixels[classes].cpu().double()
    _, weights = _losses_by_class(torch.zeros(len(pixels), device=pixels.device), classes, criterion)
    weights = counts[:, None] * weights
    frequencies = torch.zeros(len(pixels), dtype=torch.float64)
    frequencies[classes.cpu()] = (weights / weights.sum(0)).mean(1)
    smoothing = max(arguments.get("label_smoothing", 0.0) for arguments in criterion.keyword_arguments.values())
    smoothed = (1 - smoothing) * frequencies + smoothing / len(frequencies)
    logits = smoothed.log().clamp(min=-100).float()  # finite for classes that do not occur
    candidates = []
    for power in (1.0, 0.9, 0.8, 0.7):
        losses, _ = _losses_by_class((power * logits).to(pixels.device), classes, criterion)
        candidates.append(float((counts @ losses / weights.sum(0)).sum()))
    return min(candidates)


def _losses_by_class(
    logits: torch.Tensor, classes: torch.Tensor, criterion: Criterion
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums and weights of the pixelwise terms for one pixel of each class, predicted by logits (C,); float64 (K, T') each."""
    outputs = {"out": logits[None, :, None, None]}
    outputs["aux"] = outputs["out"]  # the training loss includes the auxiliary head's
    results = [criterion(outputs, target.view(1, 1, 1)) for target in classes]
    pixelwise = torch.tensor([name in PIXELWISE for name in criterion.names])
    totals = torch.stack([total for total, _ in results]).cpu().double()
    weights = torch.stack([weight for _, weight in results]).cpu().double()
    return totals[:, pixelwise], weights[:, pixelwise]
