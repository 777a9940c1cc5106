"""Whether a network is right as often as it says: expected calibration error (Guo et al., ICML 2017, arXiv 1706.04599)."""

import numpy as np

from helpers.nearest import resize_nearest

NUM_BINS = 15


def bin_pixels(probabilities, truth):
    """Sort the pixels of an image by the confidence of their class, into `NUM_BINS` bins of equal width.

    Pixels are those of the probabilities; the truth is sampled at their centers. Where k classes have the same highest
    probability, as rounding to 8 bits makes some, each of them counts as a k-th of the answer.

    Args:
        probabilities: float (C, h, w).
        truth: uint8 (H, W), train ids; C and above are left out.

    Returns:
        float64 (3, NUM_BINS): number of pixels, number of right ones, sum of their confidences.
    """
    num_classes, height, width = probabilities.shape
    truth = resize_nearest(truth, (height, width))
    valid = truth < num_classes
    probabilities, truth = probabilities[:, valid], truth[valid]  # (C, n), (n,)
    confidence = probabilities.max(0)
    of_truth = np.take_along_axis(probabilities, truth[None].astype(np.int64), 0)[0]
    right = (of_truth == confidence) / (probabilities == confidence).sum(0)
    confidence = np.clip(confidence.astype(np.float64), 0, 1)
    # Bin k holds the confidences above k / NUM_BINS, up to (k + 1) / NUM_BINS.
    index = np.clip(np.ceil(confidence * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    return np.stack([np.bincount(index, weights, NUM_BINS) for weights in (np.ones(len(index)), right, confidence)])


def expected_calibration_error(bins):
    """The mean over pixels of |share that is right - mean confidence| of their bin.

    Args:
        bins: float64 (3, NUM_BINS), sums of what `bin_pixels` returns.

    Returns:
        float: 0 .. 1; nan without pixels.
    """
    number, right, confidence = bins
    return float(np.abs(right - confidence).sum() / number.sum()) if number.sum() else float("nan")
