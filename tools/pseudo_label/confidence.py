"""Which predictions are sure enough to learn from: thresholds of confidence, one for all classes or one a class.

Confidences are rounded to whole levels of 1 / `LEVELS`, and everything is counted in levels: so every number here is exact, and
a table of counts stands for any number of pixels.
"""

import math
from fractions import Fraction

import numpy as np

LEVELS = 50_000


def to_levels(confidence):
    """uint16 of the same shape: float confidences from 0 to 1 in levels, 0 .. `LEVELS`."""
    return np.rint(np.asarray(confidence, np.float64) * LEVELS).astype(np.uint16)


def count_levels(classes, levels, num_classes):
    """Count the pixels of each class at each level.

    Args:
        classes: integer (H, W), the predicted train ids, below `num_classes`.
        levels: uint16 (H, W).

    Returns:
        int64 (num_classes, LEVELS + 1)
    """
    cell = classes.astype(np.int64) * (LEVELS + 1) + levels
    return np.bincount(cell.ravel(), minlength=num_classes * (LEVELS + 1)).reshape(num_classes, -1)


def thresholds(counts, confidence, portion=None):
    """The lowest level that is kept of each class.

    Without `portion` it is that of `confidence`. With it, as in class-balanced self-training (Zou et al., ECCV 2018), it is the
    level of the k-th most confident pixel predicted as the class, k = ceil(portion * pixels predicted as it), and never more
    than that of `confidence`. What is as sure as that pixel is kept, too.

    Args:
        counts: int64 (C, LEVELS + 1), as `count_levels` gives, summed over all images.
        confidence: above 0, up to 1.
        portion: above 0, up to 1, or None.

    Returns:
        int64 (C,)
    """
    highest = round(Fraction(str(confidence)) * LEVELS)
    if portion is None:
        return np.full(len(counts), highest, np.int64)
    at_least = counts[:, ::-1].cumsum(1)[:, ::-1]  # pixels at a level or above; falls from left to right
    needed = [math.ceil(Fraction(str(portion)) * int(total)) for total in at_least[:, 0]]
    portions = (at_least >= np.array(needed)[:, None]).sum(1) - 1
    return np.minimum(portions, highest)


def summarize(counts, lowest, names):
    """What is kept of each class.

    Args:
        counts: as for `thresholds`.
        lowest: int64 (C,), the lowest level that is kept.
        names: of the classes.

    Returns:
        dict: class name -> threshold, predicted (pixels), kept (pixels), share (kept / predicted), confidence (mean of what is
        kept); the last two are None where there are no such pixels.
    """
    levels, summary = np.arange(LEVELS + 1), {}
    for name, row, first in zip(names, counts, lowest.tolist(), strict=True):
        predicted, kept = int(row.sum()), int(row[first:].sum())
        summary[name] = {
            "threshold": first / LEVELS,
            "predicted": predicted,
            "kept": kept,
            "share": kept / predicted if predicted else None,
            "confidence": int((row * levels)[first:].sum()) / kept / LEVELS if kept else None,
        }
    return summary
