"""What happens to one sample: draw a View, apply it.

A View is plain data: a window of the source image, a flip and a colour change. The window is drawn in whole source pixels and
only the window is resampled, as uint8 on a CPU, as float on a GPU. Colour and normalisation follow on the training device, where
they are one affine map of the colours of each image.
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
        pixels: tensor (H, W) or (H, W, 3).
        view: View.
        fill: what stands where the window leaves the image: a number, or a tensor that broadcasts against the window.

    Returns:
        contiguous tensor (height, width) or (height, width, 3); it may share the memory of `pixels`.
    """
    height, width = pixels.shape[:2]
    top, left = max(view.top, 0), max(view.left, 0)
    bottom, right = min(view.top + view.height, height), min(view.left + view.width, width)
    inside = pixels[top:bottom, left:right]
    if inside.shape[:2] == (view.height, view.width):
        return inside.contiguous()
    window = pixels.new_empty(view.height, view.width, *pixels.shape[2:])
    window[...] = fill
    window[top - view.top : bottom - view.top, left - view.left : right - view.left] = inside
    return window


def resample_image(window, size):
    """Antialiased bilinear resampling, as `torchvision.transforms.v2.functional.resize(antialias=True)` of a tensor.

    Args:
        window: tensor (h, w, 3), uint8 or float; torch resamples uint8 on a CPU only.
        size: (height, width).

    Returns:
        tensor (height, width, 3) of the same dtype
    """
    if tuple(window.shape[:2]) == tuple(size):
        return window
    image = window[None].permute(
        0, 3, 1, 2
    )  # (1, 3, h, w), in channels-last memory, for which there is a faster kernel
    return F.interpolate(image, tuple(size), mode="bilinear", antialias=True).permute(0, 2, 3, 1)[0]


def resample_label(window, size):
    """Nearest pixel by centre (`nearest-exact`): no new values, aligned with `resample_image` to half a source pixel.

    Args:
        window: uint8 tensor (h, w).
        size: (height, width).

    Returns:
        uint8 tensor (height, width)
    """
    if window.device.type != "cpu":
        return F.interpolate(window[None, None], tuple(size), mode="nearest-exact")[0, 0]
    # The same in half the time: which row and column each pixel comes from, then numpy's take.
    rows, columns = (
        F.interpolate(torch.arange(old, dtype=torch.float32)[None, None], new, mode="nearest-exact")[0, 0]
        .long()
        .numpy()
        for old, new in zip(window.shape, size, strict=True)
    )
    return torch.from_numpy(window.numpy()[rows].take(columns, 1))


def view_sample(image, label, view, size, mean):
    """Cut, resample and mirror image and label where they are; colour is left to `finish`.

    Args:
        image: uint8 tensor (3, H, W), fastest as a view of pixel-interleaved memory.
        label: uint8 tensor (H, W) of train ids, or None.
        view: View.
        size: (height, width) of the result.
        mean: RGB mean of the data set, 0 .. 1, shown where the window leaves the image (the label is VOID there).

    Returns:
        (tensor (3, h, w) in channels-last memory, 0 .. 255: uint8 on a CPU, float32, not rounded, on a GPU;
        uint8 tensor (h, w) or None)
    """
    fill = torch.from_numpy(np.rint(np.multiply(mean, 255)).astype(np.uint8)).to(image.device, non_blocking=True)
    window = cut_window(image.permute(1, 2, 0), view, fill)
    image = resample_image(window if window.device.type == "cpu" else window.float(), size)
    label = None if label is None else resample_label(cut_window(label, view, VOID), size)
    if view.flip:
        image, label = image.flip(1), None if label is None else label.flip(1)
    return image.permute(2, 0, 1), label


def stack(images):
    """A batch of what `view_sample` returns: (B, 3, h, w) in channels-last memory."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


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
    """Colour and normalise a batch on its device.

    Args:
        images: uint8 or float (B, 3, h, w), 0 .. 255, on the training device; fastest in channels-last memory.
        labels: uint8 (B, h, w) on the same device, or None.
        views: list of B View.
        mean, std: RGB mean and standard deviation of the data set, 0 .. 1.

    Returns:
        (float32 (B, 3, h, w), normalised; int64 (B, h, w) or None)
    """
    batch, _, height, width = images.shape
    device = images.device

    def tensor(values):
        # Does not wait for what the device is doing.
        return torch.from_numpy(np.asarray(values, np.float32)).to(device, non_blocking=True)

    mean, std = np.asarray(mean), np.asarray(std)
    matrices, grey = map(np.array, zip(*map(colour_map, views), strict=True))
    matrices, grey, luma = tensor(matrices / (255 * std[:, None])), tensor(grey[:, None]), tensor(_LUMA / 255)
    shift, scale = tensor(mean), tensor(std)
    result = torch.empty(batch, 3, height * width, device=device)
    size = 1 if device.type == "cpu" else batch  # one image at a time stays in the cache of a CPU
    pixels = torch.empty(size, height, width * 3, device=device)
    mapped = torch.empty(size, 3, height * width, device=device)
    for part in map(slice, range(0, batch, size), range(size, batch + size, size)):
        pixels.copy_(images[part].permute(0, 2, 3, 1).reshape(pixels.shape))
        average = pixels.mean(1).view(size, width, 3).mean(1)  # (b, 3); rows first, in the order of the memory
        offset = ((grey[part] * (average @ luma)[:, None] - shift) / scale)[:, :, None]  # (b, 3, 1)
        torch.baddbmm(offset, matrices[part], pixels.view(size, height * width, 3).transpose(1, 2), out=mapped)
        for channel, (low, high) in enumerate(zip(-mean / std, (1 - mean) / std, strict=True)):
            torch.clamp(mapped[:, channel], low, high, out=result[part, channel])
    return result.view(batch, 3, height, width), None if labels is None else labels.long()
