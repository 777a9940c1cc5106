"""What happens to one sample: draw a View, apply it.

A View is plain data: a window of the source image, a flip and a colour change. The window is drawn in whole source pixels and
only the window is resampled, on the CPU as uint8. Flip, colour and normalisation follow on the training device, where they are
one affine map of the colours of each image.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from helpers.labels import VOID

SCALE_RANGE = (0.75, 2.0)  # the tutorial's random scaling

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in torchvision's grey images
_TO_YIQ = np.array([_LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


@dataclass(frozen=True)
class View:
    """How one sample is seen.

    Args:
        top, left, height, width: window in whole source pixels; it may leave the image.
        flip: whether the result is mirrored left to right.
        brightness, contrast, saturation: factors, 1 changes nothing.
        hue: rotation in turns, 0 changes nothing.
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


@dataclass(frozen=True)
class Augmentation:
    """What Views are drawn from.

    Args:
        train_size: (height, width) of the image at scale 1.
        crop_size: (height, width) of what the network sees.
        scale_range: lowest and highest scale, drawn uniformly.
        flip: whether half of the views are mirrored.
        jitter: brightness, contrast and saturation are drawn from 1 - jitter .. 1 + jitter, hue from -jitter .. jitter turns.
    """

    train_size: tuple
    crop_size: tuple
    scale_range: tuple = SCALE_RANGE
    flip: bool = True
    jitter: float = 0.3


def draw_view(rng, source_size, augmentation):
    """Draw how a sample is seen.

    The window has the size that becomes the crop when the image is scaled to scale x train_size: height =
    round(crop / (scale * train_height / source_height)), at least one pixel. Every offset that keeps the window inside the
    image is equally likely; along an axis where the window is larger than the image, every offset that keeps the image
    inside the window.

    Args:
        rng: numpy.random.Generator.
        source_size: (height, width) of the image file.
        augmentation: Augmentation.

    Returns:
        View
    """
    scale = rng.uniform(*augmentation.scale_range)
    window, offset = [], []
    for source, train, crop in zip(source_size, augmentation.train_size, augmentation.crop_size, strict=True):
        extent = max(1, round(crop * source / (scale * train)))
        low, high = sorted((0, source - extent))
        window.append(extent)
        offset.append(int(rng.integers(low, high, endpoint=True)))
    jitter = augmentation.jitter
    brightness, contrast, saturation = rng.uniform(1 - jitter, 1 + jitter, 3)
    hue = rng.uniform(-jitter, jitter)
    flip = augmentation.flip and rng.random() < 0.5
    return View(*offset, *window, flip, float(brightness), float(contrast), float(saturation), float(hue))


def whole_view(source_size):
    """The View that shows a whole image unchanged."""
    return View(0, 0, *source_size)


def leaves_image(augmentation, source_size):
    """Whether the largest window is larger than the image, so that some crops are padded."""
    low = augmentation.scale_range[0]
    pairs = zip(source_size, augmentation.train_size, augmentation.crop_size, strict=True)
    return any(round(crop * source / (low * train)) > source for source, train, crop in pairs)


def cut_window(pixels, view, fill):
    """The window of a view, not yet resampled.

    Args:
        pixels: uint8 (..., H, W).
        fill: what stands where the window leaves the image; broadcasts against (..., height, width).

    Returns:
        uint8 (..., height, width), in memory of its own.
    """
    height, width = pixels.shape[-2:]
    top, left = max(view.top, 0), max(view.left, 0)
    bottom, right = min(view.top + view.height, height), min(view.left + view.width, width)
    inside = pixels[..., top:bottom, left:right]
    if inside.shape[-2:] == (view.height, view.width):
        return inside.copy(order="K")
    window = np.empty((*pixels.shape[:-2], view.height, view.width), np.uint8)
    window[...] = fill
    window[..., top - view.top : bottom - view.top, left - view.left : right - view.left] = inside
    return window


def resample_image(window, size):
    """Antialiased bilinear resampling, as `torchvision.transforms.v2.functional.resize(antialias=True)` of a uint8 tensor.

    Args:
        window: uint8 numpy (3, h, w).
        size: (height, width).

    Returns:
        uint8 tensor (3, height, width)
    """
    image = torch.from_numpy(window).unsqueeze(0)
    return F.interpolate(image, size, mode="bilinear", antialias=True).squeeze(0)


def resample_label(window, size):
    """Nearest pixel by centre (`nearest-exact`): no new values, aligned with `resample_image` to half a source pixel.

    Args:
        window: uint8 numpy (h, w).
        size: (height, width).

    Returns:
        uint8 tensor (height, width)
    """
    label = torch.from_numpy(window)[None, None]
    return F.interpolate(label, size, mode="nearest-exact")[0, 0]


def view_sample(image, label, view, size, mean):
    """Cut and resample image and label; flip and colour are left to `finish`.

    Args:
        image: uint8 numpy (3, H, W).
        label: uint8 numpy (H, W) of train ids, or None.
        view: View.
        size: (height, width) of the result.
        mean: RGB mean of the data set, 0 .. 1, shown where the window leaves the image (the label is VOID there).

    Returns:
        (uint8 tensor (3, h, w), uint8 tensor (h, w) or None)
    """
    fill = np.rint(np.multiply(mean, 255)).astype(np.uint8)[:, None, None]
    image = resample_image(cut_window(image, view, fill), size)
    return image, None if label is None else resample_label(cut_window(label, view, VOID), size)


def colour_map(view):
    """Brightness, contrast, saturation and hue, in this order, as one affine map of RGB in 0 .. 1.

    With y = A x + b (luma . mean x) per image, this equals torchvision's adjust_brightness, adjust_contrast and
    adjust_saturation in sequence but for their clamping to 0 .. 1 between the steps (here once, at the end) and their luma
    weight of red, rounded to 0.2989. Hue is a rotation of the chroma plane of YIQ, which keeps luma; torchvision and Pillow
    shift the hue of HSV, which does not.

    Returns:
        (float64 (3, 3), float): A, and the factor b of the image's mean luma, added to every channel.
    """
    saturate = view.saturation * np.eye(3) + (1 - view.saturation) * np.tile(_LUMA, (3, 1))
    cos, sin = math.cos(2 * math.pi * view.hue), math.sin(2 * math.pi * view.hue)
    rotate = _FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _TO_YIQ
    return view.contrast * view.brightness * rotate @ saturate, (1 - view.contrast) * view.brightness


def finish(images, labels, views, mean, std):
    """Flip, colour and normalise a batch on its device.

    Args:
        images: uint8 (B, 3, h, w) on the training device.
        labels: uint8 (B, h, w) on the same device, or None.
        views: list of B View.
        mean, std: RGB mean and standard deviation of the data set, 0 .. 1.

    Returns:
        (float32 (B, 3, h, w), normalised; int64 (B, h, w) or None)
    """
    batch, _, height, width = images.shape
    flip = torch.tensor([view.flip for view in views], device=images.device)
    if any(view.flip for view in views):
        images = torch.where(flip[:, None, None, None], images.flip(-1), images)
        labels = None if labels is None else torch.where(flip[:, None, None], labels.flip(-1), labels)

    def tensor(values):
        return torch.tensor(np.asarray(values), dtype=torch.float32, device=images.device)

    matrices, grey = zip(*map(colour_map, views), strict=True)
    mean, std = tensor(mean), tensor(std)
    pixels = images.flatten(2).float()  # (B, 3, h*w)
    shift = tensor(grey)[:, None] * (pixels.mean(2) @ tensor(_LUMA / 255))[:, None]  # (B, 1)
    matrix = tensor(matrices) / (255 * std[:, None])  # (B, 3, 3)
    pixels = torch.baddbmm(((shift - mean) / std)[:, :, None], matrix, pixels)
    pixels = torch.clamp(pixels, (-mean / std)[None, :, None], ((1 - mean) / std)[None, :, None])
    return pixels.view(batch, 3, height, width), None if labels is None else labels.long()
