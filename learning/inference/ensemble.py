"""Several runs as an ensemble: the weighted mean of their class probabilities."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from helpers.images import read_image
from learning.inference.predictor import Predictor
from learning.inference.sliding_window import RowBuffer
from learning.resize import bilinear, resized_strips


def mean_probabilities(
    runs: Sequence[Predictor],
    image: np.ndarray,
    weights: Sequence[float],
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
) -> torch.Tensor:
    """Class probabilities of an image, averaged over runs of any model, norm and size.

    Each run predicts at its own input size. Its probabilities are resized bilinearly to the common size, the largest height and
    the largest width of all input sizes, and averaged there. The probabilities of one run are in memory at a time.

    Args:
        runs: on one device.
        image: uint8 (3, H, W), RGB.
        weights: of the runs; they sum to 1.
        scales, flip: as for `Predictor.probabilities`.

    Returns:
        float32 (C, h, w)
    """
    sizes = [run.input_size(image) for run in runs]
    size = (max(height for height, _ in sizes), max(width for _, width in sizes))
    weighted = (
        weight * bilinear(run.probabilities(image, scales, flip)[None], size)[0]
        for run, weight in zip(runs, weights, strict=True)
    )
    total = next(weighted)
    for probabilities in weighted:
        total = total + probabilities
    return total


def predict_ensemble(
    runs: Sequence[Predictor],
    paths: Iterable[Path],
    weights: Sequence[float],
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Classes and confidences of images at their own size; arguments as for `mean_probabilities`.

    Yields:
        As `most_likely`.
    """
    for path in paths:
        image = read_image(path)
        probabilities = mean_probabilities(runs, image, weights, scales, flip)
        yield most_likely(probabilities, (image.shape[1], image.shape[2]))


def most_likely(probabilities: torch.Tensor, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The most likely class of each pixel, after bilinear resizing; in strips, because all classes at that size may be gigabytes.

    Args:
        probabilities: float32 (C, h, w).
        size: (H, W).

    Returns:
        Train ids, uint8 (H, W); the probability of each, float32 (H, W).
    """
    device = probabilities.device
    classes = torch.empty(size, dtype=torch.uint8, device=device)
    confidence = torch.empty(size, device=device)
    rows = RowBuffer([probabilities]).rows
    for top, strip in resized_strips(rows, probabilities.shape[1:], size, len(probabilities), device):
        values, indices = strip.max(0)
        confidence[top : top + strip.shape[1]] = values
        classes[top : top + strip.shape[1]] = indices
    return classes.cpu().numpy(), confidence.cpu().numpy()
