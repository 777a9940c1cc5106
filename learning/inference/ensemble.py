"""Several runs as one: the weighted mean of their class probabilities."""

import torch

from helpers.images import read_image
from learning.inference.sliding_window import RowBuffer
from learning.resize import bilinear, strips


def mean_probabilities(runs, image, shares, scales=(1.0,), mirror=False):
    """Class probabilities of an image, over runs of any model, norm and size.

    Each run sees the image at its own test size; its probabilities are brought to the common size (the largest height and the
    largest width of the runs' test sizes) bilinearly, and averaged there. One run's are held in memory at a time.

    Args:
        runs: list of `learning.inference.predictor.Predictor` on one device.
        image: uint8 (3, H, W), RGB.
        shares: weight of each run; they sum to 1.
        scales, mirror: as for `Predictor.probabilities`.

    Returns:
        float32 (C, h, w)
    """
    size = [max(lengths) for lengths in zip(*(run.size for run in runs), strict=True)]
    total = 0
    for run, share in zip(runs, shares, strict=True):
        total = total + share * bilinear(run.probabilities(image, scales, mirror)[None], size)[0]
    return total


def predict(runs, paths, shares, scales=(1.0,), mirror=False):
    """Classes and confidences of images at their own size: bilinear from the common size, then the class with the most.

    Args:
        paths: of the images; the rest as for `mean_probabilities`.

    Yields:
        (uint8 numpy (H, W), float32 numpy (H, W)): train ids, and the probability of the class that was taken.
    """
    for path in paths:
        image = read_image(path)
        probabilities = mean_probabilities(runs, image, shares, scales, mirror)
        yield most_likely(probabilities, image.shape[1:])


def most_likely(probabilities, size):
    """The class with the most at every pixel of the source image; strip by strip, as all classes at that size may be gigabytes.

    Args:
        probabilities: float32 (C, h, w).
        size: (H, W).

    Returns:
        (uint8 numpy (H, W), float32 numpy (H, W)): train ids, and the probability of each.
    """
    device = probabilities.device
    classes = torch.empty(tuple(size), dtype=torch.uint8, device=device)
    confidence = torch.empty(tuple(size), device=device)
    rows = RowBuffer([probabilities]).rows
    for top, strip in strips(rows, probabilities.shape[1:], size, len(probabilities), device):
        values, indices = strip.max(0)
        confidence[top : top + strip.shape[1]], classes[top : top + strip.shape[1]] = values, indices
    return classes.cpu().numpy(), confidence.cpu().numpy()
