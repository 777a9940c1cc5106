"""Cut the window of a View out of an image or label, and resample it."""

import torch
import torch.nn.functional as F

from helpers.nearest import resize_nearest
from learning.data.augmentation.view import View


def cut_window(pixels: torch.Tensor, view: View, fill: int | torch.Tensor) -> torch.Tensor:
    """The window of a view, not yet resampled.

    Args:
        pixels: (H, W) or (H, W, 3).
        fill: value outside the image: a number, or a tensor that broadcasts against the window.

    Returns:
        contiguous tensor (height, width) or (height, width, 3); it may share the memory of `pixels`.
    """
    height, width = pixels.shape[:2]
    top = max(view.top, 0)
    left = max(view.left, 0)
    bottom = min(view.top + view.height, height)
    right = min(view.left + view.width, width)
    inside = pixels[top:bottom, left:right]
    if inside.shape[:2] == view.window:
        return inside.contiguous()
    window = pixels.new_empty(*view.window, *pixels.shape[2:])
    window[...] = fill
    window[top - view.top : bottom - view.top, left - view.left : right - view.left] = inside
    return window


def resample_image(window: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Antialiased bilinear resampling, as `torchvision.transforms.v2.functional.resize(antialias=True)` of a tensor.

    Args:
        window: (h, w, 3), uint8 or float; torch resamples uint8 on a CPU only.

    Returns:
        (height, width, 3) of the same dtype
    """
    if tuple(window.shape[:2]) == tuple(size):
        return window
    image = window[None].permute(0, 3, 1, 2)  # (1, 3, h, w) in channels-last memory, which has a faster kernel
    return F.interpolate(image, tuple(size), mode="bilinear", antialias=True).permute(0, 2, 3, 1)[0]


def resample_label(window: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Nearest pixel by center (`nearest-exact`): no new values, aligned with `resample_image` to half a source pixel.

    Args:
        window: uint8 (h, w).

    Returns:
        uint8 (height, width)
    """
    if window.device.type == "cpu":
        return torch.from_numpy(resize_nearest(window.numpy(), size))  # half the time of F.interpolate
    return F.interpolate(window[None, None], tuple(size), mode="nearest-exact")[0, 0]
