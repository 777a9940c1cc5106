"""Expected calibration error, by hand and against plain loops."""

import numpy as np
import pytest

from helpers.labels import VOID
from helpers.scoring import calibration


def two_classes(confidence):
    return np.stack([confidence, 1 - confidence]).astype(np.float32)


def test_by_hand():
    """Bin 0.9: 3 of 4 correct; bin 0.6: 1 of 2 correct; one pixel is void."""
    probabilities = two_classes(np.array([[0.9, 0.9, 0.9, 0.9, 0.6, 0.6, 0.95]]))
    truth = np.array([[0, 0, 0, 1, 0, 1, VOID]], np.uint8)
    bins = calibration.bin_pixels(probabilities, truth)
    assert bins[0].sum() == 6
    assert calibration.expected_calibration_error(bins) == pytest.approx((4 * 0.15 + 2 * 0.1) / 6, abs=1e-6)


def test_against_plain_loops():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4) * 0.4, (12, 9)).transpose(2, 0, 1).astype(np.float32)
    truth = rng.integers(0, 5, (24, 18)).astype(np.uint8)  # 4 is no class; every second pixel is a center
    sampled = truth[1::2, 1::2]
    expected = 0.0
    confidence, classes = probabilities.max(0).astype(np.float64), probabilities.argmax(0)
    for k in range(15):
        chosen = (confidence > k / 15) & (confidence <= (k + 1) / 15) & (sampled < 4)
        if chosen.any():
            expected += abs((classes == sampled)[chosen].mean() - confidence[chosen].mean()) * chosen.sum()
    found = calibration.expected_calibration_error(calibration.bin_pixels(probabilities, truth))
    assert found == pytest.approx(expected / (sampled < 4).sum(), abs=1e-9)


def test_equal_highest_probabilities_share_the_prediction():
    probabilities = np.array([[[0.4, 0.4]], [[0.4, 0.2]], [[0.2, 0.4]]])
    bins = calibration.bin_pixels(probabilities, np.array([[1, 1]], np.uint8))
    assert bins.sum(1) == pytest.approx([2, 0.5, 0.8])


def test_certain_and_correct_is_0_and_no_pixels_is_nan():
    truth = np.zeros((2, 2), np.uint8)
    bins = calibration.bin_pixels(two_classes(np.ones((2, 2))), truth)
    assert calibration.expected_calibration_error(bins) == 0
    assert np.isnan(
        calibration.expected_calibration_error(calibration.bin_pixels(two_classes(np.ones((2, 2))), truth + 9))
    )
