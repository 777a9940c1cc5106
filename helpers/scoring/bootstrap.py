"""How far chance moves a score: the bootstrap over images (Efron, 1979), with percentile intervals.

Images are drawn with replacement, as many as there are, and every resample is scored as `helpers.scoring.scores` scores the set: counts
are added up and divided once; a class that neither occurs in a resample nor is predicted there has no IoU, and the mean
skips it. Images of one recording resemble each other: drawn one by one they make the interval too narrow, so whole
recordings can be drawn instead (`blocks`).
"""

from typing import NamedTuple

import numpy as np

from helpers.errors import InputError
from helpers.scoring import scores

_PURPOSE = 100  # of the key; those of a training run (learning.rng) are smaller, so that no stream is shared
_AT_ONCE = 1 << 22  # draws in memory at a time


class Interval(NamedTuple):
    """A value and the interval around it; floats, or float64 (C,) for classes; nan where there is none."""

    value: float
    low: float
    high: float


def interval(tp, fp, fn, num_resamples=2000, seed=0, blocks=None, level=0.95):
    """Class IoU of a set of images, their mean, and how far each would move with other images of the same kind.

    Args:
        tp, fp, fn: int64 (n, C), pixels of each image and class.
        num_resamples: R, at least 1; seed: 0 or more, decides the draws.
        blocks: int (n,), which recording each image belongs to; None draws single images.
        level: share of the resamples inside the interval, 0 .. 1.

    Returns:
        (Interval, Interval): of the mean IoU (floats), and of the IoU of each class (float64 (C,)); 0 .. 1.

    Raises:
        InputError: fewer than 2 images, or recordings, to draw from.
    """
    counts = _stack(tp, fp, fn)
    (means,), (classes,) = _resampled([counts], num_resamples, seed, blocks)
    (mean,), (values,) = _scored([counts.sum(1)])
    return Interval(float(mean), *_bounds(means, level)), Interval(values, *_bounds(classes, level))


def paired_difference(first, second, num_resamples=2000, seed=0, blocks=None, level=0.95):
    """Second run minus first run, both scored on the same images in every resample.

    What makes images hard is common to both and cancels, so this says far more than two intervals side by side.

    Args:
        first, second: each (tp, fp, fn) as for `interval`, of the same images in the same order.
        num_resamples, seed, blocks, level: as for `interval`.

    Returns:
        (Interval, Interval): difference of the mean IoU (floats), and of the IoU of each class (float64 (C,), nan where one run
        has none); -1 .. 1.

    Raises:
        InputError: fewer than 2 images, or recordings, to draw from.
    """
    runs = [_stack(*first), _stack(*second)]
    assert runs[0].shape == runs[1].shape, (runs[0].shape, runs[1].shape)
    means, classes = (np.subtract(*found[::-1]) for found in _resampled(runs, num_resamples, seed, blocks))
    mean, values = (np.subtract(*found[::-1]) for found in _scored([counts.sum(1) for counts in runs]))
    return Interval(float(mean), *_bounds(means, level)), Interval(values, *_bounds(classes, level))


def draws(num_images, num_resamples, seed, blocks=None):
    """How often each image stands in each resample.

    Args:
        num_images: n; num_resamples, seed, blocks: as for `interval`.

    Yields:
        int64 (r, n): some resamples, R rows in all. A row adds up to n, or with blocks to what the drawn blocks hold.

    Raises:
        InputError: fewer than 2 images, or recordings, to draw from.
    """
    unit = np.arange(num_images) if blocks is None else np.unique(blocks, return_inverse=True)[1]
    number = int(unit.max(initial=-1)) + 1
    if number < 2:
        things = "images" if blocks is None else "recordings"
        raise InputError(f"an interval needs at least 2 {things} to draw from, here is {number}")
    generator = np.random.Generator(np.random.Philox(key=[seed, _PURPOSE]))
    rows = max(1, _AT_ONCE // number)
    for start in range(0, num_resamples, rows):
        size = min(rows, num_resamples - start)
        drawn = generator.integers(number, size=(size, number)) + np.arange(size)[:, None] * number
        yield np.bincount(drawn.ravel(), minlength=size * number).reshape(size, number)[:, unit]


def _stack(tp, fp, fn):
    return np.stack([np.asarray(part, np.int64) for part in (tp, fp, fn)])  # (3, n, C)


def _resampled(runs, num_resamples, seed, blocks):
    """Mean IoU float64 (R,) and class IoU float64 (R, C) of each of the `runs`, each int64 (3, n, C), in the same resamples."""
    parts = [[] for _ in runs]
    for times in draws(runs[0].shape[1], num_resamples, seed, blocks):
        for found, counts in zip(parts, runs, strict=True):
            # Matrices of float64 multiply much faster than those of integers, and exactly below 2^53 pixels.
            found.append(times.astype(np.float64) @ counts.astype(np.float64))
    return _scored([np.concatenate(found, 1) for found in parts])


def _scored(totals):
    """(list of means, list of class IoU) of the sums (3, ..., C) of each run."""
    classes = [scores.iou_of_counts(*total) for total in totals]
    return [np.apply_along_axis(scores.mean, -1, values) for values in classes], classes


def _bounds(values, level):
    """Lower and upper bound over the first axis of float64 (R,) or (R, C), resamples without a score left out."""
    if values.ndim == 1:
        known = values[~np.isnan(values)]
        return tuple(np.quantile(known, ((1 - level) / 2, (1 + level) / 2)).tolist()) if len(known) else (np.nan,) * 2
    return tuple(np.array([_bounds(column, level) for column in values.T]).T)
