"""Thresholds of confidence, one for all classes or one per class, above which a prediction is kept as a label.

Confidences are rounded to multiples of 1 / `LEVELS` and counted, so every number here is exact and memory does not grow with the
number of pixels.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TypedDict

import numpy as np

LEVELS = 50_000


class Row(TypedDict):
    """Kept pixels of a class, and their mean confidence; ratios are None where they divide by 0."""

    threshold: float
    predicted: int
    kept: int
    share: float | None
    confidence: float | None


def to_levels(confidence: np.ndarray | Sequence[float]) -> np.ndarray:
    """Confidences from 0 to 1 in levels, uint16 of the same shape, 0 .. `LEVELS`."""
    return np.rint(np.asarray(confidence, np.float64) * LEVELS).astype(np.uint16)


def count_levels(classes: np.ndarray, levels: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the pixels of each class at each level.

    Args:
        classes: integer (H, W), the predicted train ids, below `num_classes`.
        levels: uint16 (H, W).

    Returns:
        int64 (num_classes, LEVELS + 1)
    """
    cell = classes.astype(np.int64) * (LEVELS + 1) + levels
    return np.bincount(cell.ravel(), minlength=num_classes * (LEVELS + 1)).reshape(num_classes, -1)


def thresholds(counts: np.ndarray, confidence: float, portion: float | None = None) -> np.ndarray:
    """The lowest level of each class that is kept, int64 (C,).

    Without `portion` it is that of `confidence`. With it, as in class-balanced self-training (Zou et al., ECCV 2018), it is the
    level of the k-th most confident pixel predicted as the class, k = ceil(portion * pixels predicted as it), and at most
    that of `confidence`. All pixels at this level are kept.

    Args:
        counts: int64 (C, LEVELS + 1), as `count_levels`, summed over all images.
        confidence: above 0, up to 1.
        portion: above 0, up to 1.
    """
    highest = round(Fraction(str(confidence)) * LEVELS)
    if portion is None:
        return np.full(len(counts), highest, np.int64)
    at_least = counts[:, ::-1].cumsum(1)[:, ::-1]  # pixels at a level or above; falls from left to right
    needed = [math.ceil(Fraction(str(portion)) * int(total)) for total in at_least[:, 0]]
    portions = (at_least >= np.array(needed)[:, None]).sum(1) - 1
    return np.minimum(portions, highest)


def summarize(counts: np.ndarray, lowest: np.ndarray, names: Sequence[str]) -> dict[str, Row]:
    """Summarize the kept pixels of each class, by its name.

    Args:
        counts: as for `thresholds`.
        lowest: int64 (C,), the lowest level that is kept.
    """
    levels = np.arange(LEVELS + 1)
    summary: dict[str, Row] = {}
    for name, row, first in zip(names, counts, lowest.tolist(), strict=True):
        predicted = int(row.sum())
        kept = int(row[first:].sum())
        summary[name] = {
            "threshold": first / LEVELS,
            "predicted": predicted,
            "kept": kept,
            "share": kept / predicted if predicted else None,
            "confidence": int((row * levels)[first:].sum()) / kept / LEVELS if kept else None,
        }
    return summary


def table(summary: Mapping[str, Row]) -> str:
    """A line per class, and the sum."""
    lines = [f"{'class':<16}{'threshold':>10}{'predicted px':>14}{'kept px':>14}{'kept %':>8}{'confidence':>12}"]
    for name, row in summary.items():
        share = "-" if row["share"] is None else f"{100 * row['share']:.1f}"
        mean = "-" if row["confidence"] is None else f"{row['confidence']:.4f}"
        lines.append(f"{name:<16}{row['threshold']:>10.4f}{row['predicted']:>14}{row['kept']:>14}{share:>8}{mean:>12}")
    predicted = sum(row["predicted"] for row in summary.values())
    kept = sum(row["kept"] for row in summary.values())
    lines.append(f"{'all':<16}{'':>10}{predicted:>14}{kept:>14}{100 * kept / predicted:>8.1f}")
    return "\n".join(lines)
