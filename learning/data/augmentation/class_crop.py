"""Class-aware crops: windows placed on a pixel of a class that is drawn by its rarity."""

from dataclasses import replace

import numpy as np
import torch

from learning.data.augmentation.rotation import source_pixel, window_pixel
from learning.data.augmentation.sampling import offset_ranges
from learning.data.augmentation.view import View


def rarity(pixels: np.ndarray) -> np.ndarray:
    """Weight of each class: 1 / sqrt(its share of the labeled pixels).

    Args:
        pixels: int (N, C), labeled pixels of each class in each image of the split.

    Returns:
        float64 (C,), 0 for a class without pixels
    """
    total = np.asarray(pixels, np.float64).sum(0)
    return np.divide(1, np.sqrt(total / max(1, total.sum())), out=np.zeros_like(total), where=total > 0)


def count_classes(label: torch.Tensor, num_classes: int) -> np.ndarray:
    """Pixels of each class of a label, uint8 (H, W): int64 (C,)."""
    return np.bincount(label.cpu().numpy().ravel(), minlength=256)[:num_classes]


def draw_class_crop(
    rng: np.random.Generator, view: View, label: torch.Tensor, size: tuple[int, int], weights: np.ndarray
) -> View:
    """Move the window of a view so that the crop shows a pixel of a class drawn by weight.

    The class is drawn among those in the image, then one of its pixels, then the pixel of the crop that shows it, both
    uniformly. A window that would leave the image is moved back as far as it still shows that pixel.

    Args:
        label: uint8 (H, W) of train ids. On a GPU this waits for it: the position of the window is needed before it is cut.
        size: (height, width) of the crop.
        weights: float (C,), 0 for classes that are not in the image. If all are 0, the view is returned unchanged.
    """
    if not weights.any():
        return view
    train_id = rng.choice(len(weights), p=weights / weights.sum())
    candidates = (label.reshape(-1) == train_id).nonzero()
    index = int(candidates[rng.integers(len(candidates))])
    pixel = np.array(divmod(index, label.shape[1]))
    crop_pixel = int(rng.integers(size[0])), int(rng.integers(size[1]))
    low, high = np.array(offset_ranges(label.shape, view.window, size, view.rotation)).T
    corner = (pixel - source_pixel(view, size, crop_pixel)).clip(low, high)
    # A downsampled window does not show every pixel, so the neighbors are tried as well; the nearest to the range wins.
    near = window_pixel(view, size, pixel - corner)
    best_corner = corner
    best_distance = np.inf
    for down in (0, -1, 1):
        for across in (0, -1, 1):
            row, column = np.clip(near + np.array((down, across)), 0, np.array(size) - 1)
            corner = pixel - source_pixel(view, size, (int(row), int(column)))
            distance = np.abs(corner - corner.clip(low, high)).sum()
            if distance < best_distance:
                best_corner = corner
                best_distance = distance
    return replace(view, top=int(best_corner[0]), left=int(best_corner[1]))
