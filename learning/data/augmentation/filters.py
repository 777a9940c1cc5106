"""Color changes of a View beyond an affine map: CLAHE before the map; gamma, noise, sharpening and holes after it, in order.

clahe: clip limit of the equalization; 0 is none.
gamma: exponent of values in 0 .. 1.
noise, noise_seed: standard deviation of Gaussian noise in 0 .. 1, drawn for each channel, and its seed.
sharpen, lightness: weight of the sharpened image, and the sum of its kernel.
holes: holes along each side, and vertical and horizontal offset as shares of their range; or None.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from learning.data.augmentation.view import View

TILES = 8  # of CLAHE, along each side
_LUMA = (0.299, 0.587, 0.114)


def equalize(images: torch.Tensor, views: Sequence[View]) -> torch.Tensor:
    """CLAHE of the images whose views ask for it.

    Args:
        images: uint8 or float (B, 3, h, w), 0 .. 255.

    Returns:
        the same images if no view asks for it, else new ones of the same dtype
    """
    if not any(view.clahe for view in views):
        return images
    images = images.clone()
    for image, view in zip(images, views, strict=True):
        if view.clahe:
            image.copy_(clahe(image.float(), view.clahe))
    return images


def apply_filters(images: torch.Tensor, views: Sequence[View], mean: torch.Tensor, std: torch.Tensor) -> None:
    """Gamma, noise, sharpening and holes of normalized images, in place.

    Args:
        images: float32 (B, 3, h, w).
        mean, std: (3, 1, 1), of the normalization.
    """
    for image, view in zip(images, views, strict=True):
        if view.gamma != 1 or view.noise or view.sharpen:
            image.copy_((_filter((image * std).add_(mean), view) - mean).div_(std))
        if view.holes:
            image.masked_fill_(grid(image.shape[1:], *view.holes).to(image.device, non_blocking=True), 0)


def _filter(pixels: torch.Tensor, view: View) -> torch.Tensor:
    """Gamma, noise and sharpening of one image, float32 (3, h, w), 0 .. 1; may change it in place."""
    if view.gamma != 1:
        pixels = pixels.clamp_(0, 1).pow_(view.gamma)
    if view.noise:
        drawn = noise(pixels.shape, view.noise_seed).to(pixels.device, non_blocking=True)
        pixels = pixels.add_(drawn, alpha=view.noise).clamp_(0, 1)
    if view.sharpen:
        pixels = sharpen(pixels, view.sharpen, view.lightness).clamp_(0, 1)
    return pixels


def noise(shape: Sequence[int], seed: int) -> torch.Tensor:
    """Standard normal noise, float32, drawn on the CPU so that every device gets the same."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))


def sharpen(image: torch.Tensor, weight: float, lightness: float) -> torch.Tensor:
    """(1 - weight) * image + weight * its convolution with a 3x3 kernel: 8 + lightness at the center, -1 around it.

    Args:
        image: float (3, h, w); padded by reflection.
        weight: 0 .. 1.
        lightness: sum of the kernel; 1 keeps uniform areas as they are.

    Returns:
        (3, h, w), not clamped
    """
    padded = F.pad(image[None], (1, 1, 1, 1), mode="reflect")[0]
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    sum_3x3 = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    return image * (1 - weight + weight * (9 + lightness)) - weight * sum_3x3


def grid(size: Sequence[int], number: int, down: float, across: float) -> torch.Tensor:
    """Mask of the holes of grid dropout (Chen et al., arXiv 2001.04086): half of each cell's height and width.

    Args:
        size: (height, width).
        number: holes along each side.
        down, across: offset of the first hole, 0 .. 1 of the range that keeps it in its cell.

    Returns:
        bool (height, width)
    """
    return _hole_line(size[0], number, down)[:, None] & _hole_line(size[1], number, across)


def _hole_line(extent: int, number: int, share: float) -> torch.Tensor:
    """bool (extent,): the holes along one axis."""
    cell = max(2, extent // number)
    offset = np.arange(extent) - int(share * (cell - cell // 2 + 1))
    return torch.from_numpy((offset >= 0) & (offset % cell < cell // 2) & (offset < number * cell))


def clahe(image: torch.Tensor, limit: float) -> torch.Tensor:
    """Contrast-limited adaptive histogram equalization (Zuiderveld, 1994) of luma; color differences are kept.

    As in OpenCV: 8x8 tiles, 256 bins clipped at limit * pixels / 256, the excess distributed evenly, and the mappings of the
    four nearest tiles interpolated. Tiles differ by a pixel if 8 does not divide the image.

    Args:
        image: float (3, h, w), 0 .. 255.
        limit: clip limit, 1 or more.

    Returns:
        float (3, h, w), 0 .. 255, whole numbers
    """
    height, width = image.shape[1:]
    device = image.device
    luma = torch.tensordot(torch.tensor(_LUMA, device=device), image, 1).round_()
    level = luma.int()
    row_tile, above, below, down = _tiles(height, device)
    column_tile, before, after, across = _tiles(width, device)
    mapping = _tile_mappings(level, row_tile, column_tile, limit).flatten()

    def mapped(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        index = ((rows[:, None] * TILES + columns) * 256 + level).flatten()
        return mapping.index_select(0, index).view(height, width)

    upper = torch.lerp(mapped(above, before), mapped(above, after), across)
    lower = torch.lerp(mapped(below, before), mapped(below, after), across)
    equalized = torch.lerp(upper, lower, down[:, None])
    return (image + (equalized - luma)).round_().clamp_(0, 255)


def _tile_mappings(
    level: torch.Tensor, row_tile: torch.Tensor, column_tile: torch.Tensor, limit: float
) -> torch.Tensor:
    """float32 (TILES * TILES, 256): the equalized value of each level, 0 .. 255, int32 (h, w), in each tile."""
    device = level.device
    bins = ((row_tile[:, None] * TILES + column_tile) * 256 + level).flatten().long()
    counts = torch.zeros(TILES * TILES * 256, device=device)
    counts.scatter_add_(0, bins, torch.ones(bins.shape, device=device))
    counts = counts.view(-1, 256)
    total = counts.sum(1, keepdim=True)
    clipped = torch.minimum(counts, (limit * total / 256).floor().clamp(min=1))
    clipped += (total - clipped.sum(1, keepdim=True)) / 256
    up_to = torch.ones(256, 256, device=device).triu()  # a cumsum of floats is not deterministic on CUDA
    return clipped @ up_to * (255 / total.clamp(min=1))


def _tiles(extent: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """For each pixel of an axis: its tile, the tiles centered before and after it (int32), and the weight of the latter."""
    position = (np.arange(extent) + 0.5) * TILES / extent
    before = np.floor(position - 0.5)
    weight = (position - 0.5 - before).astype(np.float32)
    return (
        torch.from_numpy(position.astype(np.int32)).to(device),
        torch.from_numpy(before.clip(0).astype(np.int32)).to(device),
        torch.from_numpy((before + 1).clip(max=TILES - 1).astype(np.int32)).to(device),
        torch.from_numpy(weight).to(device),
    )
