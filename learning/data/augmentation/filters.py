"""What a View may do to its colors beyond an affine map: CLAHE before it; gamma, noise, sharpening, holes after it, in order.

clahe: clip limit of the equalisation, 0 for none.
gamma: exponent of values 0 .. 1.
noise, noise_seed: standard deviation of Gaussian noise in 0 .. 1, for each channel of its own, and what it is drawn from.
sharpen, lightness: share of the sharpened image, and what its kernel adds up to.
holes: () or (holes along each side, vertical and horizontal offset as shares of what they can be).
"""

import numpy as np
import torch
import torch.nn.functional as F

TILES = 8  # of CLAHE, along each side
_LUMA = (0.299, 0.587, 0.114)


def equalise(images, views):
    """CLAHE of those images whose views ask for it.

    Args:
        images: uint8 or float (B, 3, h, w), 0 .. 255.
        views: list of B `learning.data.augmentation.transforms.View`.

    Returns:
        the images themselves where no view asks, else new ones of the same dtype
    """
    if not any(view.clahe for view in views):
        return images
    images = images.clone()
    for image, view in zip(images, views, strict=True):
        if view.clahe:
            image.copy_(clahe(image.float(), view.clahe))
    return images


def apply(images, views, mean, std):
    """Gamma, noise, sharpening and holes of normalized images, in place.

    Args:
        images: float32 (B, 3, h, w).
        views: list of B `learning.data.augmentation.transforms.View`.
        mean, std: tensors (3, 1, 1) of the normalization.
    """
    for image, view in zip(images, views, strict=True):
        if view.gamma != 1 or view.noise or view.sharpen:
            image.copy_((_filtered((image * std).add_(mean), view) - mean).div_(std))
        if view.holes:
            image.masked_fill_(grid(image.shape[1:], *view.holes).to(image.device, non_blocking=True), 0)


def _filtered(pixels, view):
    """Gamma, noise and sharpening of one image, float32 (3, h, w), 0 .. 1; it may be changed in place."""
    if view.gamma != 1:
        pixels = pixels.clamp_(0, 1).pow_(view.gamma)
    if view.noise:
        drawn = noise(pixels.shape, view.noise_seed).to(pixels.device, non_blocking=True)
        pixels = pixels.add_(drawn, alpha=view.noise).clamp_(0, 1)
    if view.sharpen:
        pixels = sharpen(pixels, view.sharpen, view.lightness).clamp_(0, 1)
    return pixels


def noise(shape, seed):
    """float32 tensor of standard normal noise, the same for every device, as it is drawn on the CPU."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sharpen(image, share, lightness):
    """(1 - share) * image + share * its convolution with a 3x3 kernel: 8 + lightness in the middle, -1 around it.

    Args:
        image: float tensor (3, h, w); its edges are mirrored without repeating the last pixel.
        share: 0 .. 1.
        lightness: what the kernel adds up to; 1 keeps plain areas as they are.

    Returns:
        tensor (3, h, w), not clamped
    """
    padded = F.pad(image[None], (1, 1, 1, 1), mode="reflect")[0]
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]  # the pixel itself, too
    return image * (1 - share + share * (9 + lightness)) - share * around


def grid(size, number, down, across):
    """Where the holes of grid dropout (Chen et al., arXiv 2001.04086) are: half of each cell's height and width.

    Args:
        size: (height, width).
        number: holes along each side.
        down, across: offset of the first hole, 0 .. 1 of what keeps it in its cell.

    Returns:
        bool tensor (height, width)
    """
    lines = []
    for extent, share in zip(size, (down, across), strict=True):
        cell = max(2, extent // number)
        offset = np.arange(extent) - int(share * (cell - cell // 2 + 1))
        lines.append(torch.from_numpy((offset >= 0) & (offset % cell < cell // 2) & (offset < number * cell)))
    return lines[0][:, None] & lines[1]


def clahe(image, limit):
    """Contrast-limited adaptive histogram equalisation (Zuiderveld, 1994) of luma; color differences stay as they are.

    As in OpenCV: 8x8 tiles, histograms of 256 clipped at limit * pixels / 256, what was cut off spread evenly, and the mappings
    of the four nearest tiles interpolated. Tiles differ by a pixel where 8 does not divide the image.

    Args:
        image: float tensor (3, h, w), 0 .. 255.
        limit: clip limit, 1 or more.

    Returns:
        float tensor (3, h, w), 0 .. 255, whole numbers
    """
    height, width = image.shape[1:]
    device = image.device
    luma = torch.tensordot(torch.tensor(_LUMA, device=device), image, 1).round_()
    level = luma.int()
    tile, low, high, weight = zip(*(_tiles(extent, device) for extent in (height, width)), strict=True)
    where = ((tile[0][:, None] * TILES + tile[1]) * 256 + level).flatten()
    counts = torch.zeros(TILES * TILES * 256, device=device).scatter_add_(
        0, where.long(), torch.ones_like(luma).flatten()
    )
    counts = counts.view(-1, 256)
    total = counts.sum(1, keepdim=True)
    clipped = torch.minimum(counts, (limit * total / 256).floor().clamp(min=1))
    clipped += (total - clipped.sum(1, keepdim=True)) / 256
    up_to = torch.ones(256, 256, device=device).triu()  # a cumsum of floats is not deterministic on CUDA
    mapping = (clipped @ up_to * (255 / total.clamp(min=1))).flatten()

    def mapped(rows, columns):
        index = ((rows[:, None] * TILES + columns) * 256 + level).flatten()
        return mapping.index_select(0, index).view(height, width)

    above, below = (torch.lerp(mapped(rows, low[1]), mapped(rows, high[1]), weight[1]) for rows in (low[0], high[0]))
    equalised = torch.lerp(above, below, weight[0][:, None])
    return (image + (equalised - luma)).round_().clamp_(0, 255)


def _tiles(extent, device):
    """Of each pixel of an axis: its tile, the tiles whose centers are before and after it, the share of the latter."""
    position = (np.arange(extent) + 0.5) * TILES / extent
    before = np.floor(position - 0.5)
    near = [
        position.astype(np.int32),
        before.clip(0).astype(np.int32),
        (before + 1).clip(max=TILES - 1).astype(np.int32),
    ]
    return [torch.from_numpy(line).to(device) for line in (*near, (position - 0.5 - before).astype(np.float32))]
