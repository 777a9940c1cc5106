"""Apply Views: window and flip of one sample, then color and normalization of a batch.

Only the window is resampled, as uint8 on a CPU and as float on a GPU. Color and normalization follow on the training device as
one affine map of the colors of each image, then the filters of the views that have some.
"""

import math
from collections.abc import Sequence
from typing import overload

import numpy as np
import torch

from helpers.labels import VOID
from learning.data.augmentation import filters
from learning.data.augmentation.resampling import cut_window, resample_image, resample_label
from learning.data.augmentation.rotation import rotate_image, rotate_label
from learning.data.augmentation.view import View

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in torchvision's gray images
_TO_YIQ = np.array([_LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


def whole_view(source_size: Sequence[int]) -> View:
    """The View that shows a whole image unchanged."""
    height, width = source_size
    return View(0, 0, height, width)


@overload
def view_sample(
    image: torch.Tensor, label: torch.Tensor, view: View, size: tuple[int, int], mean: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]: ...
@overload
def view_sample(
    image: torch.Tensor, label: None, view: View, size: tuple[int, int], mean: Sequence[float]
) -> tuple[torch.Tensor, None]: ...
def view_sample(
    image: torch.Tensor, label: torch.Tensor | None, view: View, size: tuple[int, int], mean: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Cut, resample and flip image and label on their device; `color_and_normalize` does the rest.

    Args:
        image: uint8 (3, H, W), fastest as a view of pixel-interleaved memory.
        label: uint8 (H, W) of train ids.
        size: (height, width) of the result.
        mean: RGB mean of the data set, 0 .. 1, which fills the image outside the source; the label is VOID there.

    Returns:
        image (3, h, w) in channels-last memory, 0 .. 255, uint8 on a CPU, float32 and not rounded on a GPU; label uint8 (h, w)
    """
    fill = torch.from_numpy(np.rint(np.multiply(mean, 255)).astype(np.uint8)).to(image.device, non_blocking=True)
    image = _image_of_view(image, view, size, fill)
    if label is not None:
        label = _label_of_view(label, view, size)
    return image.permute(2, 0, 1), label


def _image_of_view(image: torch.Tensor, view: View, size: tuple[int, int], fill: torch.Tensor) -> torch.Tensor:
    """(3, H, W) -> (h, w, 3)."""
    if view.rotation:
        image = rotate_image(image, view, size, fill)
    else:
        window = cut_window(image.permute(1, 2, 0), view, fill)
        image = resample_image(window if window.device.type == "cpu" else window.float(), size)
    return image.flip(1) if view.flip else image


def _label_of_view(label: torch.Tensor, view: View, size: tuple[int, int]) -> torch.Tensor:
    label = rotate_label(label, view, size) if view.rotation else resample_label(cut_window(label, view, VOID), size)
    return label.flip(1) if view.flip else label


def stack(images: Sequence[torch.Tensor]) -> torch.Tensor:
    """A batch of what `view_sample` returns: (B, 3, h, w) in channels-last memory."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def color_map(view: View) -> tuple[np.ndarray, float]:
    """Brightness, contrast, saturation and hue, in this order, as one affine map of RGB in 0 .. 1.

    With y = A x + b (luma . mean x) per image, this equals torchvision's adjust_brightness, adjust_contrast and
    adjust_saturation in sequence but for their clamping to 0 .. 1 between the steps (here once, at the end) and their luma
    weight of red, rounded to 0.2989. Hue is a rotation of the chroma plane of YIQ, which keeps luma; torchvision and Pillow
    shift the hue of HSV, which does not.

    Returns:
        A, float64 (3, 3), and b. b times the image's mean luma is added to every channel; so is the view's shift.
    """
    saturate = view.saturation * np.eye(3) + (1 - view.saturation) * np.tile(_LUMA, (3, 1))
    cos = math.cos(2 * math.pi * view.hue)
    sin = math.sin(2 * math.pi * view.hue)
    rotate = _FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _TO_YIQ
    return view.contrast * view.brightness * rotate @ saturate, (1 - view.contrast) * view.brightness


@overload
def color_and_normalize(
    images: torch.Tensor, labels: torch.Tensor, views: Sequence[View], mean: Sequence[float], std: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]: ...
@overload
def color_and_normalize(
    images: torch.Tensor, labels: None, views: Sequence[View], mean: Sequence[float], std: Sequence[float]
) -> tuple[torch.Tensor, None]: ...
def color_and_normalize(
    images: torch.Tensor,
    labels: torch.Tensor | None,
    views: Sequence[View],
    mean: Sequence[float],
    std: Sequence[float],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Color and normalize a batch on its device.

    Args:
        images: uint8 or float (B, 3, h, w), 0 .. 255, on the training device; fastest in channels-last memory.
        labels: uint8 (B, h, w) on the same device.
        mean, std: RGB mean and standard deviation of the data set, 0 .. 1.

    Returns:
        images float32 (B, 3, h, w), normalized; labels int64 (B, h, w)
    """
    device = images.device
    images = filters.equalize(images, views)
    result = _map_colors(images, views, np.asarray(mean), np.asarray(std))
    filters.apply_filters(result, views, _send(mean, device)[:, None, None], _send(std, device)[:, None, None])
    return result, None if labels is None else labels.long()


def _map_colors(images: torch.Tensor, views: Sequence[View], mean: np.ndarray, std: np.ndarray) -> torch.Tensor:
    """Apply the color map of each view, clamp to 0 .. 1 and normalize."""
    batch, _, height, width = images.shape
    device = images.device
    maps = [color_map(view) for view in views]
    matrices = _send(np.array([matrix for matrix, _ in maps]) / (255 * std[:, None]), device)  # (B, 3, 3)
    gray = _send(np.array([[factor] for _, factor in maps]), device)  # (B, 1)
    shift = _send([mean - view.shift for view in views], device)  # (B, 3)
    luma = _send(_LUMA / 255, device)
    scale = _send(std, device)
    result = torch.empty(batch, 3, height * width, device=device)
    size = 1 if device.type == "cpu" else batch  # one image at a time stays in the cache of a CPU
    pixels = torch.empty(size, height, width * 3, device=device)
    mapped = torch.empty(size, 3, height * width, device=device)
    for start in range(0, batch, size):
        part = slice(start, start + size)
        pixels.copy_(images[part].permute(0, 2, 3, 1).reshape(pixels.shape))
        average = pixels.mean(1).view(size, width, 3).mean(1)  # (size, 3); rows first, in the order of the memory
        offset = ((gray[part] * (average @ luma)[:, None] - shift[part]) / scale)[:, :, None]  # (size, 3, 1)
        torch.baddbmm(offset, matrices[part], pixels.view(size, height * width, 3).transpose(1, 2), out=mapped)
        for channel, (low, high) in enumerate(zip(-mean / std, (1 - mean) / std, strict=True)):
            torch.clamp(mapped[:, channel], low, high, out=result[part, channel])
    return result.view(batch, 3, height, width)


def _send(values: np.ndarray | Sequence[float] | Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    """A small float32 tensor on a device, without waiting for what the device is doing."""
    return torch.from_numpy(np.asarray(values, np.float32)).to(device, non_blocking=True)
