"""Rotated views, and which source pixel each pixel of a view shows."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from helpers.labels import VOID
from helpers.nearest import nearest_indices
from learning.data.augmentation.resampling import cut_window, resample_image
from learning.data.augmentation.view import View, corner_reach

Axis = tuple[torch.Tensor, torch.Tensor]  # float32 (h, 1) and (1, w), whose sum is a source coordinate of each pixel


def rotate_image(image: torch.Tensor, view: View, size: tuple[int, int], fill: torch.Tensor) -> torch.Tensor:
    """The image of a rotated view, without its flip.

    The box around the window is downsampled as the window would be, then rotated.

    Args:
        image: (3, H, W).
        size: (height, width) of the result.
        fill: (3,), the color outside the image.

    Returns:
        (h, w, 3), uint8 for a uint8 image on a CPU, else float32
    """
    box = enclosing_box(view, size)
    window = cut_window(image.permute(1, 2, 0), box, fill)
    # Upsampling is left to the rotation, so that a pixel is interpolated once.
    height = max(1, round(box.height / max(1, view.height / size[0])))
    width = max(1, round(box.width / max(1, view.width / size[1])))
    window = resample_image(window if window.device.type == "cpu" else window.float(), (height, width))
    grid = _sampling_grid(view, box, size, image.device)
    pixels = window.permute(2, 0, 1)[None].contiguous().float()
    rotated = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    if window.dtype == torch.uint8:
        rotated = rotated.round_().to(torch.uint8)
    return rotated.permute(1, 2, 0)


def rotate_label(label: torch.Tensor, view: View, size: tuple[int, int]) -> torch.Tensor:
    """The label of a rotated view, without its flip: uint8 (H, W) -> uint8 (h, w), VOID outside the image."""
    box = enclosing_box(view, size)
    rows, columns = source_lines(view, size, label.device)
    row = torch.add(*rows).floor_().int().add_(view.top - box.top)
    column = torch.add(*columns).floor_().int().add_(view.left - box.left)
    index = row.mul_(box.width).add_(column)
    pixels = cut_window(label, box, VOID).flatten()
    return pixels.index_select(0, index.flatten()).view(index.shape)


def enclosing_box(view: View, size: tuple[int, int]) -> View:
    """The upright View around a rotated window and the pixels that its interpolation reads."""
    reach = corner_reach(view.window, size, view.rotation)
    above = math.ceil(reach[0] + max(1.0, view.height / size[0]))
    beside = math.ceil(reach[1] + max(1.0, view.width / size[1]))
    return View(view.top - above, view.left - beside, view.height + 2 * above, view.width + 2 * beside)


def _sampling_grid(view: View, box: View, size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """float32 (1, h, w, 2) for `grid_sample`: x and y, -1 .. 1 from edge to edge of the box."""
    rows, columns = source_lines(view, size, device)
    grid = torch.empty(1, *size, 2, device=device)
    for axis, (down, across), offset, extent in (
        (1, rows, view.top - box.top, box.height),
        (0, columns, view.left - box.left, box.width),
    ):
        torch.add((down + offset) * (2 / extent) - 1, across * (2 / extent), out=grid[0, ..., axis])
    return grid


def source_lines(view: View, size: tuple[int, int], device: torch.device | None = None) -> tuple[Axis, Axis]:
    """Where the pixels of a view come from: rows and columns in source pixels from the window's corner, centers at halves.

    Pixel (i, j) shows row `rows[0][i] + rows[1][j]` and column `columns[0][i] + columns[1][j]`.
    """
    cos = math.cos(math.radians(view.rotation))
    sin = math.sin(math.radians(view.rotation))
    down = (torch.arange(size[0], dtype=torch.float64) + 0.5 - size[0] / 2)[:, None]
    across = (torch.arange(size[1], dtype=torch.float64) + 0.5 - size[1] / 2)[None]
    step_y = view.height / size[0]
    step_x = view.width / size[1]

    def send(line: torch.Tensor) -> torch.Tensor:
        return line.float().to(device, non_blocking=True)

    rows = send(cos * step_y * down + view.height / 2), send(sin * step_y * across)
    columns = send(-sin * step_x * down + view.width / 2), send(cos * step_x * across)
    return rows, columns


def source_pixel(view: View, size: tuple[int, int], pixel: tuple[int, int]) -> np.ndarray:
    """Row and column in the window, int64 (2,), whose label a pixel (row, column) of the view shows."""
    row, column = pixel
    if view.rotation:
        lines = source_lines(view, size)
        return np.array([int((down[row, 0] + across[0, column]).floor()) for down, across in lines])
    return np.array([nearest_indices(view.height, size[0])[row], nearest_indices(view.width, size[1])[column]])


def window_pixel(view: View, size: tuple[int, int], pixel: np.ndarray) -> np.ndarray:
    """Row and column of the view, int64 (2,), that show a pixel (row, column) of the window; they may be outside the view."""
    cos = math.cos(math.radians(view.rotation))
    sin = math.sin(math.radians(view.rotation))
    window = np.array(view.window)
    shape = np.array(size)
    down, across = (np.asarray(pixel) + 0.5 - window / 2) * shape / window
    return np.floor(np.array([cos * down - sin * across, sin * down + cos * across]) + shape / 2).astype(np.int64)
