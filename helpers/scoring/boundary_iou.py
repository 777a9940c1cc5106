"""Boundary IoU (Cheng et al., CVPR 2021, arXiv 2103.16562): IoU of the pixels of each class near its own contour.

A pixel is near the contour of its region where a pixel of another class, or the outside of the image, lies within `distance` in
rows and in columns: what an erosion by a square, repeated `distance` times, takes away. What the truth leaves open is void in
the prediction too, so that both regions end there.
"""

import numpy as np

from helpers.labels import VOID

FRACTION = 0.02  # of the image's diagonal, the paper's for COCO; it has 0.005 for Cityscapes


def width(size, fraction=FRACTION):
    """int: the distance in pixels, at least 1, for an image of (height, width)."""
    return max(1, round(fraction * float(np.hypot(*size))))


def near_contour(labels, distance):
    """Which pixels are near the contour of their region.

    Args:
        labels: uint8 (H, W).
        distance: pixels, at least 1.

    Returns:
        bool (H, W)
    """
    near = _extreme(labels, distance, np.maximum) != _extreme(labels, distance, np.minimum)
    for axis in (0, 1):
        edges = near.swapaxes(0, axis)  # a view
        edges[:distance] = True
        edges[max(0, len(edges) - distance) :] = True
    return near


def _extreme(labels, distance, choose):
    """The least or greatest value in the square of 2 * distance + 1 pixels around each pixel, in log2(distance) passes."""
    for axis in (0, 1):
        lines = np.pad(labels.swapaxes(0, axis), ((distance, distance), (0, 0)), mode="edge")
        seen, wanted = 1, 2 * distance + 1  # how many lines, from this one on, an entry already speaks for
        while seen < wanted:
            step = min(seen, wanted - seen)
            lines = choose(lines[:-step], lines[step:])
            seen += step
        labels = lines.swapaxes(0, axis)
    return labels


def boundary_counts(truth, prediction, num_classes, distance):
    """Pixels near the contours of each class.

    Args:
        truth, prediction: uint8 (H, W), train ids, anything above them for void.
        num_classes: C.
        distance: pixels.

    Returns:
        int64 (3, C): near the contour in both, in the truth, in the prediction. Void truth counts nowhere.
    """
    prediction = np.where(truth < num_classes, prediction, VOID).astype(np.uint8)
    in_truth, in_prediction = near_contour(truth, distance), near_contour(prediction, distance)
    chosen = (in_truth & in_prediction & (truth == prediction), truth), (in_truth, truth), (in_prediction, prediction)
    return np.stack([np.bincount(labels[mask], minlength=256)[:num_classes] for mask, labels in chosen])


def boundary_iou(counts):
    """Boundary IoU of each class: intersection over union of the sums over all images.

    Args:
        counts: int64 (3, C), sums of what `boundary_counts` returns.

    Returns:
        float64 (C,), nan for a class that neither truth nor prediction holds.
    """
    both, truth, prediction = np.asarray(counts, np.float64)
    with np.errstate(invalid="ignore"):
        return both / (truth + prediction - both)
