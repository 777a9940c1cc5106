"""Boundary IoU against the definition in the paper: the pixels of each mask that an erosion removes."""

import numpy as np
import pytest

from helpers.labels import VOID
from helpers.scoring import boundary_iou


def eroded_away(mask, distance):
    """bool (H, W): the pixels of a mask that repeated 3x3 erosion removes; outside the image the mask is empty."""
    left = mask
    for _ in range(distance):
        padded = np.pad(left, 1)
        height, width = mask.shape
        shifted = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        left = np.logical_and.reduce(shifted)
    return mask & ~left


@pytest.mark.parametrize("distance", [1, 2, 3, 7])
def test_contour_bands_equal_what_erosion_removes(distance):
    rng = np.random.default_rng(distance)
    labels = np.kron(rng.integers(0, 4, (5, 6)), np.ones((9, 7))).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.01] = VOID
    expected = np.logical_or.reduce([eroded_away(labels == value, distance) for value in np.unique(labels)])
    assert np.array_equal(boundary_iou.near_contour(labels, distance), expected)


def test_counts_equal_the_definition_in_the_paper():
    """Sums over both masks of each class, where the truth is not void."""
    rng = np.random.default_rng(0)
    truth, prediction = (np.kron(rng.integers(0, 3, (4, 4)), np.ones((8, 8))).astype(np.uint8) for _ in range(2))
    truth[:5, :20] = VOID
    counts = boundary_iou.boundary_counts(truth, prediction, 3, 2)
    prediction[truth == VOID] = VOID
    for c in range(3):
        a, b = eroded_away(truth == c, 2), eroded_away(prediction == c, 2)
        assert counts[:, c].tolist() == [(a & b).sum(), a.sum(), b.sum()]


def test_a_shift_costs_more_at_the_contour_than_in_the_area():
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 1
    prediction = np.roll(truth, 1, axis=1)
    counts = boundary_iou.boundary_counts(truth, prediction, 2, 1)
    # Rings of one pixel, 76 long; shifted by one they share the upper and lower rows' 19 pixels each.
    assert counts[:, 1].tolist() == [38, 76, 76]
    assert boundary_iou.boundary_iou(counts)[1] == pytest.approx(38 / 114)
    same = boundary_iou.boundary_counts(truth, truth, 3, 1)
    assert boundary_iou.boundary_iou(same)[:2].tolist() == [1.0, 1.0]
    assert np.isnan(boundary_iou.boundary_iou(same)[2])


def test_a_band_wider_than_the_image_covers_it():
    labels = np.zeros((3, 5), np.uint8)
    assert boundary_iou.near_contour(labels, 9).all()
    assert boundary_iou.band_width((360, 480)) == 12
    assert boundary_iou.band_width((2, 2)) == 1
