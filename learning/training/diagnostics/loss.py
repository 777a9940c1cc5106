"""A training loss that is not below the class-frequency baseline: the best prediction that is the same at every pixel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from learning.losses import PIXELWISE, Criterion

MARGIN = 0.02  # by which share the loss should be below the baseline
MANY_STEPS = 150  # after which a healthy loss is below the baseline
# From the first to the last quarter of an epoch:
FALL = 0.02  # share by which a healthy loss falls at least while it is above the baseline
LATE_FALL = 0.05  # the same after `MANY_STEPS`
RISE = 0.5  # share by which it rises at least where the training diverges
FEW_STEPS = 16  # in an epoch; the trend of fewer is chance

_LABELS = "look at images/train_batch.png whether the labels fit"


@dataclass(frozen=True)
class LossRecord:
    """The training loss of an epoch.

    Args:
        terms: (T,), mean of each term.
        trend: mean of their sum in the first and in the last quarter of the epoch; NaN if unknown.
        num_steps: of the epoch.
        total_steps: of the run until its end.
    """

    terms: Sequence[float]
    trend: tuple[float, float] = (math.nan, math.nan)
    num_steps: int = 0
    total_steps: int = 0


def check_loss(loss: LossRecord, pixels: torch.Tensor, criterion: Criterion) -> list[str]:
    """Findings on a training loss that is NaN or infinite, rises, or does not fall although it is not below the baseline.

    Early in a healthy training the loss is above the class-frequency baseline and falls. So it is compared with the baseline
    alone only after `MANY_STEPS`; before, it must not fall either. Only the terms that are means over pixels are compared;
    the baseline of the others depends on where the classes are.

    Args:
        pixels: int64 (C,), labels of each class; on the device of the criterion's class weights.
        criterion: of T terms.
    """
    total = sum(loss.terms)
    if not math.isfinite(total):
        return [f"the training loss is {total}: lower --lr_init and start again"]
    by_name = dict(zip(criterion.names, loss.terms, strict=True))
    compared = [name for name in by_name if name in PIXELWISE]
    mean = sum(by_name[name] for name in compared)
    baseline = class_frequency_loss(pixels, criterion)
    if mean < (1 - MARGIN) * baseline or baseline == 0:
        return []
    first, last = loss.trend
    has_trend = loss.num_steps >= FEW_STEPS and math.isfinite(first) and math.isfinite(last)
    change = f"{first:.3g} at the start of the epoch, {last:.3g} at its end"
    if has_trend and last > (1 + RISE) * first:
        return [f"the training loss rises ({change}): lower --lr_init and start again"]
    is_late = loss.total_steps >= MANY_STEPS
    falls = has_trend and last < (1 - (LATE_FALL if is_late else FALL)) * first
    which = "" if len(compared) == len(loss.terms) else f" of {' + '.join(compared)}"
    compared_with = f"the training loss{which}, {mean:.3g}, is not below {baseline:.3g}, the class-frequency baseline"
    if has_trend and not falls:
        return [f"{compared_with}, and does not fall ({change}): change --lr_init, and {_LABELS}"]
    if is_late and not falls:
        return [f"{compared_with}, after {loss.total_steps} steps: change --lr_init, and {_LABELS}"]
    return []


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
