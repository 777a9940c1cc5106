"""Predictions that have collapsed to one class, or that lack a class."""

from collections.abc import Sequence

import numpy as np
import torch

from learning.training.diagnostics.loss import MANY_STEPS
from learning.training.diagnostics.naming import listed

# A class with a larger share of the predictions than the first, and a smaller share of the labels than the second, is reported.
DOMINANT_PREDICTED = 0.98
DOMINANT_LABELED = 0.9
LARGE_CLASS = 0.2  # share of the labels from which a class should be predicted after many steps
RARELY = 0.01  # predicted on fewer pixels than this share of its labels

_Confusion = torch.Tensor | np.ndarray


def check_predictions(confusion: _Confusion, names: Sequence[str], total_steps: int = MANY_STEPS) -> list[str]:
    """Findings on predictions of one class nearly everywhere, and on large classes that are missing; rare ones may be missing.

    Both are normal in the first steps.

    Args:
        confusion: int64 (C, C) of the training predictions, rows are the ground truth.
        names: (C,), the classes.
        total_steps: of the run until now.
    """
    if total_steps < MANY_STEPS:
        return []
    labeled, predicted = _shares(confusion)
    top = predicted.index(max(predicted))
    if predicted[top] > DOMINANT_PREDICTED and labeled[top] < DOMINANT_LABELED:
        figures = f"{predicted[top]:.1%} of the pixels are predicted as {names[top]}, which {labeled[top]:.1%} are"
        return [f"{figures}: lower --lr_init, and look at images/train_batch.png whether the labels fit"]
    missing = missing_classes(confusion, names, LARGE_CLASS)
    advice = "too large to be missed, look at images/train_batch.png whether the labels fit"
    return [f"{missing}: {advice}"] if missing else []


def missing_classes(confusion: _Confusion, names: Sequence[str], smallest: float = 0.0) -> str:
    """Classes of at least a share of the labels that are hardly or never predicted, largest first; "" if there are none."""
    labeled, predicted = _shares(confusion)
    missing = [c for c, share in enumerate(labeled) if share and share >= smallest and predicted[c] < RARELY * share]
    if not missing:
        return ""
    missing.sort(key=lambda c: -labeled[c])
    shares = [f"{names[c]} ({labeled[c]:.1%} of the pixels)" for c in missing]
    return f"{'hardly' if any(predicted[c] for c in missing) else 'never'} predicted so far: {listed(shares)}"


def _shares(confusion: _Confusion) -> tuple[list[float], list[float]]:
    """Each class's share of the labels and of the predictions."""
    confusion = torch.as_tensor(confusion).cpu().double()
    total = confusion.sum().clamp(min=1)
    return (confusion.sum(1) / total).tolist(), (confusion.sum(0) / total).tolist()
