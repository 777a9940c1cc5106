"""Class-aware crops: windows that are placed on a pixel of a class drawn by its rarity."""

from dataclasses import replace

import numpy as np

from learning.data.augmentation.sampling import offset_ranges
from learning.data.augmentation.transforms import source_pixel, window_pixel


def rarity(pixels):
    """How a class is drawn among those that an image holds: in proportion to 1 / sqrt(its share of the labelled pixels).

    Args:
        pixels: int (N, C), labelled pixels of each class in each image of the split.

    Returns:
        float64 (C,), 0 for a class without pixels
    """
    total = np.asarray(pixels, np.float64).sum(0)
    return np.divide(1, np.sqrt(total / max(1, total.sum())), out=np.zeros_like(total), where=total > 0)


def count_classes(label, num_classes):
    """int64 (C,): pixels of each class of a label, uint8 tensor (H, W)."""
    return np.bincount(label.cpu().numpy().ravel(), minlength=256)[:num_classes]


def draw_class_crop(rng, view, label, size, weights):
    """Move the window of a view so that the crop shows a pixel of a class drawn by weight.

    The class is drawn among those in the image, then one of its pixels, then the pixel of the crop that shows it, all places
    alike; a window that would leave the image is moved back as far as it still shows that pixel.

    Args:
        rng: numpy.random.Generator.
        view: learning.data.augmentation.transforms.View.
        label: uint8 tensor (H, W) of train ids. On a GPU this waits for it: where a window is must be known before it is cut.
        size: (height, width) of the crop.
        weights: float (C,), 0 for classes that are not in the image.

    Returns:
        View: the same where all weights are 0.
    """
    if not weights.any():
        return view
    chosen = int(rng.choice(len(weights), p=weights / weights.sum()))
    places = (label.reshape(-1) == chosen).nonzero()
    place = int(places[rng.integers(len(places))])
    pixel = np.array(divmod(place, label.shape[1]))
    shown = [int(rng.integers(count)) for count in size]
    ranges = np.array(offset_ranges(label.shape, (view.height, view.width), size, view.rotation)).T
    corner = (pixel - source_pixel(view, size, shown)).clip(*ranges)
    near = window_pixel(view, size, pixel - corner)
    # Its neighbors, too: of a window that is shrunk, not every pixel is shown.
    steps = ((down, across) for down in (0, -1, 1) for across in (0, -1, 1))
    candidates = [np.clip(near + step, 0, np.array(size) - 1) for step in steps]
    corners = [pixel - source_pixel(view, size, candidate) for candidate in candidates]
    top, left = min(corners, key=lambda moved: np.abs(moved - moved.clip(*ranges)).sum())
    return replace(view, top=int(top), left=int(left))
