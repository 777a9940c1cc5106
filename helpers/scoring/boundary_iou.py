"""Boundary IoU (Cheng et al., CVPR 2021, arXiv 2103.16562): IoU of the pixels of each class near its own contour.

A pixel is near the contour of its region if a pixel of another class, or the outside of the image, is within `distance` rows and
`distance` columns: the pixels that `distance` erosions by a 3x3 square remove. Where the truth is void, the prediction is set to
void too, so that both regions end there.
"""

from collections.abc import Callable

import numpy as np

from helpers.labels import VOID

FRACTION = 0.02  # of the image diagonal; the paper's value for COCO (0.005 for Cityscapes)


def band_width(size: tuple[int, int], fraction: float = FRACTION) -> int:
    """The distance in pixels, at least 1, for an image of (height, width); `fraction` is a share of its diagonal."""
    return max(1, round(fraction * float(np.hypot(*size))))


def near_contour(labels: np.ndarray, distance: int) -> np.ndarray:
    """Which pixels of a label map, uint8 (H, W), are within `distance` >= 1 of the contour of their region, bool (H, W)."""
    near = _window_extreme(labels, distance, np.maximum) != _window_extreme(labels, distance, np.minimum)
    for axis in (0, 1):
        edges = near.swapaxes(0, axis)  # a view
        edges[:distance] = True
        edges[max(0, len(edges) - distance) :] = True
    return near


def _window_extreme(
    labels: np.ndarray, distance: int, choose: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Minimum or maximum in the square of 2 * distance + 1 pixels around each pixel, in log2(distance) passes."""
    window = 2 * distance + 1
    for axis in (0, 1):
        lines = np.pad(labels.swapaxes(0, axis), ((distance, distance), (0, 0)), mode="edge")
        covered = 1  # each entry is the extreme of this many lines, starting at its own
        while covered < window:
            step = min(covered, window - covered)
            lines = choose(lines[:-step], lines[step:])
            covered += step
        labels = lines.swapaxes(0, axis)
    return labels


def boundary_counts(truth: np.ndarray, prediction: np.ndarray, num_classes: int, distance: int) -> np.ndarray:
    """Pixels near the contours of each class, int64 (3, C): in both, in the truth, in the prediction.

    Args:
        truth, prediction: uint8 (H, W), train ids; values of C and above are void. Void truth counts nowhere.
        distance: in pixels.
    """
    prediction = np.where(truth < num_classes, prediction, VOID).astype(np.uint8)
    in_truth = near_contour(truth, distance)
    in_prediction = near_contour(prediction, distance)
    both = truth[in_truth & in_prediction & (truth == prediction)]
    chosen = (both, truth[in_truth], prediction[in_prediction])
    return np.stack([np.bincount(labels, minlength=256)[:num_classes] for labels in chosen])


def boundary_iou(counts: np.ndarray) -> np.ndarray:
    """Boundary IoU of each class, float64 (C,), from the `boundary_counts` summed over all images.

    NaN for a class that neither the truth nor the prediction contains.
    """
    both, truth, prediction = np.asarray(counts, np.float64)
    with np.errstate(invalid="ignore"):
        return both / (truth + prediction - both)
