"""Scores that mean nothing: labels without a class, and predictions in another encoding than label ids."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.errors import InputError
from helpers.labels import LabelTable
from helpers.scoring import scores

# Predictions are taken to be in another encoding if this raises their accuracy by so much and so many times, and if it fits so
# many classes, each with this IoU: a poor network fits one class by chance, such as where it predicts one everywhere.
GAIN = 0.1
FACTOR = 2
CLASSES = 2
FITTING_IOU = 0.2


def refuse_only_void(confusion: np.ndarray, labels: Sequence[Path | None], table: LabelTable) -> None:
    """Raise `InputError` that names label files if no pixel of them is of a class; `confusion` is over label ids."""
    if not confusion[scores.scored_rows(table)].any():
        raise InputError(
            f"there is nothing to score against: all pixels of the {len(labels)} label maps are void, {labels[0]} first; "
            "are they empty, all 255, or in another encoding?"
        )


def encoding_note(confusion: np.ndarray, table: LabelTable) -> str:
    """What is wrong with predictions that do not hold label ids; "" if they seem to.

    Args:
        confusion: int64 (L, L) over label ids; the value 255 counts as `table.void_id`.
    """
    scored = scores.scored_rows(table)
    ids = table.ids[: len(table.classes)].astype(int)
    predicted = confusion[scored].sum(0)
    accuracy = _accuracy(confusion, scored)
    for first in (0, 1):
        encoding = "train ids" if first == 0 else "train ids that begin with 1"
        decoded = _decoded(confusion, ids, first)
        if decoded is None:
            continue
        found = _accuracy(decoded, scored)
        iou = scores.iou(decoded, scored)
        fitting = np.count_nonzero(iou >= FITTING_IOU)
        is_better = found >= accuracy + GAIN and found >= FACTOR * accuracy
        if is_better and fitting >= min(CLASSES, np.count_nonzero(confusion[scored].sum(1))):
            example = f"{ids[0]} for {table.names[0]}, not {first}"
            return (
                f"the predictions seem to hold {encoding}: read as such, {found:.1%} of the labeled pixels are right, not "
                f"{accuracy:.1%}; scores are of label ids ({example}): convert the files"
            )
    if predicted.any() and not predicted[scored].any():
        values = ", ".join(map(str, np.flatnonzero(predicted)[:5]))
        return (
            f"no predicted pixel is of a class (label ids {values} are void): the files must hold label ids, such as {ids[0]} "
            f"for {table.names[0]}"
        )
    return ""


def _decoded(confusion: np.ndarray, ids: np.ndarray, first: int) -> np.ndarray | None:
    """The confusion matrix if the predicted values are train ids that begin with `first`; None if they cannot be."""
    values = np.arange(first, first + len(ids))
    outside = np.setdiff1d(np.arange(len(confusion)), [0, *values])
    if confusion[:, outside].any() or np.array_equal(values, ids):
        return None
    values, ids = values[values < len(confusion)], ids[values < len(confusion)]
    decoded = np.zeros_like(confusion)
    decoded[:, ids] = confusion[:, values]
    return decoded


def _accuracy(confusion: np.ndarray, scored: np.ndarray) -> float:
    return float(np.diagonal(confusion)[scored].sum() / max(confusion[scored].sum(), 1))
