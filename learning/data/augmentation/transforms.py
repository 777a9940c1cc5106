"""What happens to one sample: a View is applied to it.

A View is plain data: a window of the source image, its rotation, a flip and a change of colors. The window is in whole source
pixels and only the window is resampled, as uint8 on a CPU, as float on a GPU. Color and normalization follow on the training
device, where they are one affine map of the colors of each image, and filters for the views that have some.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from helpers.labels import VOID
from learning.data.augmentation import filters

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in torchvision's gray images
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
        rotation: degrees counter-clockwise, about the window's center, of what the window shows.
        shift: added to every channel, in 0 .. 1.
        gamma, noise, noise_seed, sharpen, lightness, clahe, holes: see `learning.data.augmentation.filters`.
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
    rotation: float = 0.0
    shift: float = 0.0
    gamma: float = 1.0
    noise: float = 0.0
    noise_seed: int = 0
    sharpen: float = 0.0
    lightness: float = 1.0
    clahe: float = 0.0
    holes: tuple = ()


def whole_view(source_size):
    """The View that shows a whole image unchanged."""
    return View(0, 0, *source_size)


def tilt(window, size, angle):
    """How far the corners of a rotated window reach beyond the window itself, in source pixels, on each side.

    Args:
        window: (height, width) in source pixels.
        size: (height, width) of the result, in whose pixels the angle is one.
        angle: degrees.

    Returns:
        (float, float): above and below, left and right; negative where they stay inside.
    """
    cos, sin = (abs(turn(math.radians(angle))) for turn in (math.cos, math.sin))
    (height, width), (rows, columns) = window, size
    return (
        (rows * (cos - 1) + columns * sin) * height / (2 * rows),
        (columns * (cos - 1) + rows * sin) * width / (2 * columns),
    )


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
    """Nearest pixel by center (`nearest-exact`): no new values, aligned with `resample_image` to half a source pixel.

    Args:
        window: uint8 tensor (h, w).
        size: (height, width).

    Returns:
        uint8 tensor (height, width)
    """
    if window.device.type != "cpu":
        return F.interpolate(window[None, None], tuple(size), mode="nearest-exact")[0, 0]
    # The same in half the time: which row and column each pixel comes from, then numpy's take.
    rows, columns = (_nearest(old, new).numpy() for old, new in zip(window.shape, size, strict=True))
    return torch.from_numpy(window.numpy()[rows].take(columns, 1))


def _nearest(old, new):
    """int64 tensor (new,): which of `old` pixels each one of `new` is, by its center."""
    line = torch.arange(old, dtype=torch.float32)[None, None]
    return F.interpolate(line, new, mode="nearest-exact")[0, 0].long()


def view_sample(image, label, view, size, mean):
    """Cut, resample and mirror image and label where they are; color is left to `finish`.

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
    if view.rotation:
        image, label = _view_rotated(image, label, view, size, fill)
    else:
        window = cut_window(image.permute(1, 2, 0), view, fill)
        image = resample_image(window if window.device.type == "cpu" else window.float(), size)
        label = None if label is None else resample_label(cut_window(label, view, VOID), size)
    if view.flip:
        image, label = image.flip(1), None if label is None else label.flip(1)
    return image.permute(2, 0, 1), label


def _view_rotated(image, label, view, size, fill):
    """`view_sample` of a rotated view, without its flip: what encloses the window is shrunk as the window would be, then rotated.

    Returns:
        (tensor (h, w, 3), tensor (h, w) or None)
    """
    box = _enclosing_box(view, size)
    window = cut_window(image.permute(1, 2, 0), box, fill)
    # Enlarging is left to the rotation, so that a pixel is interpolated once.
    steps = view.height / size[0], view.width / size[1]
    shrunk = [max(1, round(extent / max(1, step))) for extent, step in zip((box.height, box.width), steps, strict=True)]
    window = resample_image(window if window.device.type == "cpu" else window.float(), shrunk)
    rows, columns = ([line.to(image.device, non_blocking=True) for line in axis] for axis in source_lines(view, size))
    grid = torch.empty(1, *size, 2, device=image.device)  # -1 .. 1 from edge to edge of the box
    for axis, (down, across), offset, extent in (
        (1, rows, view.top - box.top, box.height),
        (0, columns, view.left - box.left, box.width),
    ):
        torch.add((down + offset) * (2 / extent) - 1, across * (2 / extent), out=grid[0, ..., axis])
    pixels = window.permute(2, 0, 1)[None].contiguous().float()
    turned = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    if window.dtype == torch.uint8:
        turned = turned.round_().to(torch.uint8)
    if label is not None:
        window = cut_window(label, box, VOID)
        row, column = (torch.add(down, across).floor_().int() for down, across in (rows, columns))
        index = row.add_(view.top - box.top).mul_(box.width).add_(column.add_(view.left - box.left))
        label = window.flatten().index_select(0, index.flatten()).view(index.shape)
    return turned.permute(1, 2, 0), label


def _enclosing_box(view, size):
    """The upright View around a rotated window and what its interpolation touches."""
    numbers = []
    for extent, count, reach in zip(
        (view.height, view.width), size, tilt((view.height, view.width), size, view.rotation), strict=True
    ):
        more = math.ceil(reach + max(1.0, extent / count))
        numbers.append((more, extent + 2 * more))
    (above, height), (beside, width) = numbers
    return View(view.top - above, view.left - beside, height, width)


def source_lines(view, size):
    """Where the pixels of a view come from: row i, column j shows (rows[0][i] + rows[1][j], columns[0][i] + columns[1][j]).

    Returns:
        (rows, columns): pairs of float32 (h, 1) and (1, w), in source pixels from the window's corner, centers at halves.
    """
    cos, sin = math.cos(math.radians(view.rotation)), math.sin(math.radians(view.rotation))
    down, across = (torch.arange(count, dtype=torch.float64) + 0.5 - count / 2 for count in size)
    down, across = down[:, None], across[None]
    step_y, step_x = view.height / size[0], view.width / size[1]
    rows = cos * step_y * down + view.height / 2, sin * step_y * across
    columns = -sin * step_x * down + view.width / 2, cos * step_x * across
    return [part.float() for part in rows], [part.float() for part in columns]


def source_pixel(view, size, pixel):
    """int64 (2,): row and column in the window of what a pixel (row, column) of the view shows, as its label is sampled."""
    if view.rotation:
        rows, columns = source_lines(view, size)
        row, column = pixel
        return np.array([int((down[row, 0] + across[0, column]).floor()) for down, across in (rows, columns)])
    return np.array(
        [int(_nearest(old, new)[at]) for old, new, at in zip((view.height, view.width), size, pixel, strict=True)]
    )


def window_pixel(view, size, pixel):
    """int64 (2,): row and column of the view, which it may leave, that show a pixel (row, column) of the window."""
    cos, sin = math.cos(math.radians(view.rotation)), math.sin(math.radians(view.rotation))
    extent, size = np.array([view.height, view.width]), np.array(size)
    down, across = (np.asarray(pixel) + 0.5 - extent / 2) * size / extent
    return np.floor(np.array([cos * down - sin * across, sin * down + cos * across]) + size / 2).astype(np.int64)


def stack(images):
    """A batch of what `view_sample` returns: (B, 3, h, w) in channels-last memory."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def color_map(view):
    """Brightness, contrast, saturation and hue, in this order, as one affine map of RGB in 0 .. 1.

    With y = A x + b (luma . mean x) per image, this equals torchvision's adjust_brightness, adjust_contrast and
    adjust_saturation in sequence but for their clamping to 0 .. 1 between the steps (here once, at the end) and their luma
    weight of red, rounded to 0.2989. Hue is a rotation of the chroma plane of YIQ, which keeps luma; torchvision and Pillow
    shift the hue of HSV, which does not.

    Returns:
        (float64 (3, 3), float): A, and the factor b of the image's mean luma, added to every channel; so is the view's shift.
    """
    saturate = view.saturation * np.eye(3) + (1 - view.saturation) * np.tile(_LUMA, (3, 1))
    cos, sin = math.cos(2 * math.pi * view.hue), math.sin(2 * math.pi * view.hue)
    rotate = _FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _TO_YIQ
    return view.contrast * view.brightness * rotate @ saturate, (1 - view.contrast) * view.brightness


def color_and_normalize(images, labels, views, mean, std):
    """Color and normalize a batch on its device.

    Args:
        images: uint8 or float (B, 3, h, w), 0 .. 255, on the training device; fastest in channels-last memory.
        labels: uint8 (B, h, w) on the same device, or None.
        views: list of B View.
        mean, std: RGB mean and standard deviation of the data set, 0 .. 1.

    Returns:
        (float32 (B, 3, h, w), normalized; int64 (B, h, w) or None)
    """
    batch, _, height, width = images.shape
    device = images.device

    def tensor(values):
        # Does not wait for what the device is doing.
        return torch.from_numpy(np.asarray(values, np.float32)).to(device, non_blocking=True)

    mean, std = np.asarray(mean), np.asarray(std)
    images = filters.equalise(images, views)
    matrices, gray = map(np.array, zip(*map(color_map, views), strict=True))
    matrices, gray, luma = tensor(matrices / (255 * std[:, None])), tensor(gray[:, None]), tensor(_LUMA / 255)
    shift, scale = tensor([mean - view.shift for view in views]), tensor(std)
    result = torch.empty(batch, 3, height * width, device=device)
    size = 1 if device.type == "cpu" else batch  # one image at a time stays in the cache of a CPU
    pixels = torch.empty(size, height, width * 3, device=device)
    mapped = torch.empty(size, 3, height * width, device=device)
    for part in map(slice, range(0, batch, size), range(size, batch + size, size)):
        pixels.copy_(images[part].permute(0, 2, 3, 1).reshape(pixels.shape))
        average = pixels.mean(1).view(size, width, 3).mean(1)  # (b, 3); rows first, in the order of the memory
        offset = ((gray[part] * (average @ luma)[:, None] - shift[part]) / scale)[:, :, None]  # (b, 3, 1)
        torch.baddbmm(offset, matrices[part], pixels.view(size, height * width, 3).transpose(1, 2), out=mapped)
        for channel, (low, high) in enumerate(zip(-mean / std, (1 - mean) / std, strict=True)):
            torch.clamp(mapped[:, channel], low, high, out=result[part, channel])
    result = result.view(batch, 3, height, width)
    filters.apply(result, views, tensor(mean)[:, None, None], scale[:, None, None])
    return result, None if labels is None else labels.long()
