"""Expected calibration error (Guo et al., ICML 2017, arXiv 1706.04599), over pixels: how far confidence and accuracy differ."""

import numpy as np

from helpers.nearest import resize_nearest

NUM_BINS = 15


def bin_pixels(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Sort the pixels of an image by confidence, the highest class probability, into `NUM_BINS` bins of equal width.

    Args:
        probabilities: float (C, h, w). Where k classes share the highest probability, which rounding to 8 bits causes, each
            counts as 1/k of the predicted class.
        truth: uint8 (H, W), train ids, sampled at the centers of the pixels of `probabilities`; values of C and above are
            ignored.

    Returns:
        float64 (3, NUM_BINS): number of pixels, number of correct pixels, sum of confidences.
    """
    num_classes, height, width = probabilities.shape
    truth = resize_nearest(truth, (height, width))
    valid = truth < num_classes
    probabilities = probabilities[:, valid]  # (C, n)
    truth = truth[valid]  # (n,)
    confidence = probabilities.max(0)
    of_truth = np.take_along_axis(probabilities, truth[None].astype(np.int64), 0)[0]
    correct = (of_truth == confidence) / (probabilities == confidence).sum(0)
    confidence = np.clip(confidence.astype(np.float64), 0, 1)
    # Bin k holds confidences in (k / NUM_BINS, (k + 1) / NUM_BINS].
    index = np.clip(np.ceil(confidence * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    weights = (np.ones(len(index)), correct, confidence)
    return np.stack([np.bincount(index, weight, NUM_BINS) for weight in weights])


def expected_calibration_error(bins: np.ndarray) -> float:
    """Mean over pixels of |accuracy - mean confidence| of their bin, 0 .. 1; NaN without pixels.

    Args:
        bins: float64 (3, NUM_BINS), the `bin_pixels` summed over all images.
    """
    number, correct, confidence = bins
    return float(np.abs(correct - confidence).sum() / number.sum()) if number.sum() else float("nan")
