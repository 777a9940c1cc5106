"""Confidence intervals of scores: the bootstrap over images (Efron, 1979), with percentile intervals.

A resample draws as many images as there are, with replacement, and is scored as `helpers.scoring.scores` scores the whole set:
counts are summed and divided once; a class that is absent and not predicted in a resample has no IoU, and the mean skips it.
Images of one recording are correlated, so drawing single images makes the interval too narrow; `blocks` draws whole recordings.

Shapes: N images, C classes, R resamples.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from helpers.errors import InputError
from helpers.scoring import scores

_PURPOSE = 100  # second word of the Philox key; training runs (learning.rng) use smaller ones, so no stream is shared
_DRAWS_AT_ONCE = 1 << 22  # draws in memory at a time

ImageCounts: TypeAlias = tuple[
    np.ndarray, np.ndarray, np.ndarray
]  # TP, FP, FN of each image and class, int64 (N, C) each
Blocks: TypeAlias = np.ndarray | Sequence[int] | Sequence[str]  # (N,), the recording of each image


class Interval(NamedTuple):
    """A score and the bounds of its interval; NaN where undefined."""

    value: float
    low: float
    high: float


class ClassIntervals(NamedTuple):
    """The score of each class and the bounds of its interval, float64 (C,); NaN where undefined."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def interval(
    counts: ImageCounts, num_resamples: int = 2000, seed: int = 0, blocks: Blocks | None = None, level: float = 0.95
) -> tuple[Interval, ClassIntervals]:
    """Mean IoU and class IoU, 0 .. 1, with the intervals in which they vary over resamples of the images.

    Args:
        blocks: None draws single images.
        level: share of the resamples inside the interval, 0 .. 1.

    Raises:
        InputError: fewer than 2 images, or recordings, to draw from.
    """
    stacked = _stack(counts)
    mean, classes = _score(stacked.sum(1))
    means, resampled = _score_resamples([stacked], num_resamples, seed, blocks)[0]
    return Interval(float(mean), *_bounds(means, level)), ClassIntervals(classes, *_class_bounds(resampled, level))


def paired_difference(
    first: ImageCounts,
    second: ImageCounts,
    num_resamples: int = 2000,
    seed: int = 0,
    blocks: Blocks | None = None,
    level: float = 0.95,
) -> tuple[Interval, ClassIntervals]:
    """Second run minus first run, -1 .. 1, both scored on the same images in every resample.

    The difficulty of an image affects both runs and cancels, so this is more sensitive than comparing two intervals. A class
    is NaN where one of the runs has no IoU.

    Args:
        first, second: counts of the same images in the same order.
        blocks, level: as for `interval`.

    Raises:
        InputError: fewer than 2 images, or recordings, to draw from.
    """
    runs = [_stack(first), _stack(second)]
    assert runs[0].shape == runs[1].shape, (runs[0].shape, runs[1].shape)
    (first_mean, first_classes), (second_mean, second_classes) = (_score(run.sum(1)) for run in runs)
    resampled = _score_resamples(runs, num_resamples, seed, blocks)
    (first_means, first_ious), (second_means, second_ious) = resampled
    mean = Interval(float(second_mean - first_mean), *_bounds(second_means - first_means, level))
    return mean, ClassIntervals(second_classes - first_classes, *_class_bounds(second_ious - first_ious, level))


def draws(num_images: int, num_resamples: int, seed: int, blocks: Blocks | None = None) -> Iterator[np.ndarray]:
    """How often each resample draws each image: chunks of int64 (r, N), R rows in total.

    A row sums to N; with blocks, to the number of images in the drawn recordings.

    Raises:
        InputError: fewer than 2 images, or recordings, to draw from.
    """
    unit = np.arange(num_images) if blocks is None else np.unique(blocks, return_inverse=True)[1]
    num_units = int(unit.max(initial=-1)) + 1
    if num_units < 2:
        things = "images" if blocks is None else "recordings"
        raise InputError(f"an interval needs at least 2 {things} to draw from, got {num_units}")
    generator = np.random.Generator(np.random.Philox(key=[seed, _PURPOSE]))
    rows = max(1, _DRAWS_AT_ONCE // num_units)
    for start in range(0, num_resamples, rows):
        size = min(rows, num_resamples - start)
        drawn = generator.integers(num_units, size=(size, num_units)) + np.arange(size)[:, None] * num_units
        yield np.bincount(drawn.ravel(), minlength=size * num_units).reshape(size, num_units)[:, unit]


def _stack(counts: ImageCounts) -> np.ndarray:
    return np.stack([np.asarray(part, np.int64) for part in counts])  # (3, N, C)


def _score_resamples(
    runs: Sequence[np.ndarray], num_resamples: int, seed: int, blocks: Blocks | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean IoU (R,) and class IoU (R, C) of each run, int64 (3, N, C), in the same resamples."""
    totals = [[] for _ in runs]
    for times in draws(runs[0].shape[1], num_resamples, seed, blocks):
        for parts, counts in zip(totals, runs, strict=True):
            # Matrices of float64 multiply much faster than those of integers, and exactly below 2^53 pixels.
            parts.append(times.astype(np.float64) @ counts.astype(np.float64))
    return [_score(np.concatenate(parts, 1)) for parts in totals]


def _score(totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean IoU (...,) and class IoU (..., C) of summed counts (3, ..., C)."""
    classes = scores.iou_of_counts(*totals)
    return np.apply_along_axis(scores.mean, -1, classes), classes


def _bounds(values: np.ndarray, level: float) -> tuple[float, float]:
    """Percentile bounds of float64 (R,), without the resamples that have no score."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, ((1 - level) / 2, (1 + level) / 2)).tolist()
    return low, high


def _class_bounds(values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """`_bounds` of each column of float64 (R, C)."""
    low, high = np.array([_bounds(column, level) for column in values.T]).T
    return low, high
