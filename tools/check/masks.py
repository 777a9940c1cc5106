"""Suspicious label maps: pure functions of pixels."""

import numpy as np
from PIL import Image

# Shares of border pixels on a ramp, measured on street scenes: at most 0.07 in label maps as they are drawn, or resized by
# nearest neighbor down to a quarter; at least 0.23 after a bilinear or bicubic change of size by 0.5 to 2.
RAMP = 0.15
_MIN_BORDERS = 100  # pixels; with fewer the share is noise
# Gains of correlation, measured on street scenes: see `misalignment`.
MISALIGNED = 0.08
_SIDE = 128  # cells of the downsampled maps
_REACH = 24  # largest offset that is searched, in cells


def ramp_share(label: np.ndarray) -> float:
    """The share of class borders that looks interpolated: pixels whose value lies strictly between those of two neighbors.

    Averaging two class numbers produces the numbers between them, which are other classes. A clean border has no such pixel.

    Args:
        label: uint8 (H, W).

    Returns:
        pixels on a ramp / pairs of neighbors that differ; 0 with fewer than 100 such pairs.
    """
    ramps = 0
    borders = 0
    for lines in (label, label.T):
        rises = lines[1:] > lines[:-1]
        falls = lines[1:] < lines[:-1]
        ramps += np.count_nonzero(rises[1:] & rises[:-1]) + np.count_nonzero(falls[1:] & falls[:-1])
        borders += np.count_nonzero(rises) + np.count_nonzero(falls)
    return ramps / borders if borders >= _MIN_BORDERS else 0.0


def misalignment(gray: Image.Image, label: np.ndarray) -> tuple[float, int, int]:
    """How much better the label map would fit its image if it were shifted.

    Class borders lie on edges of the image: the two maps, 128x128 cells each, are correlated at every offset up to 24
    cells. In 468 street scenes the best offset gains less than 0.001 over no offset in three of four, and never more than
    0.071. In the same scenes these exceed `MISALIGNED`: 54 % of the label maps shifted right by 4 % of the width, 80 % of those
    shifted by twice as much in both directions, and 11 % of those taken from another image. Most single mistakes are
    missed; a mistake in all files is found.

    Args:
        gray: image of mode L.
        label: uint8 (H, W) of the same size.

    Returns:
        gain of correlation, and the offset in pixels (down, right) by which the label should be shifted; 0 for images of
        fewer than 128 pixels a side, and for offsets of a single cell.
    """
    if min(label.shape) < _SIDE:
        return 0.0, 0, 0
    edges = _standardize(_edges(gray))
    borders = _standardize(_borders(label))
    spectrum = np.fft.rfft2(edges) * np.conj(np.fft.rfft2(borders))
    correlation = np.fft.fftshift(np.fft.irfft2(spectrum, s=edges.shape)) / edges.size
    middle = _SIDE // 2
    near = correlation[middle - _REACH : middle + _REACH + 1, middle - _REACH : middle + _REACH + 1]
    row, column = np.unravel_index(near.argmax(), near.shape)
    if max(abs(row - _REACH), abs(column - _REACH)) < 2:
        return 0.0, 0, 0
    height, width = label.shape
    down = round((row - _REACH) * height / _SIDE)
    right = round((column - _REACH) * width / _SIDE)
    return float(near.max() - near[_REACH, _REACH]), down, right


def _edges(gray: Image.Image) -> np.ndarray:
    """Strength of the image's edges, float64 (128, 128)."""
    cells = np.asarray(gray.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64)
    strength = np.hypot(np.gradient(cells, axis=0), np.gradient(cells, axis=1))
    return np.minimum(strength, np.percentile(strength, 90))  # otherwise a few very strong edges dominate


def _borders(label: np.ndarray) -> np.ndarray:
    """Density of class borders, float64 (128, 128)."""
    borders = np.zeros(label.shape, np.uint8)
    borders[:, 1:] = label[:, 1:] != label[:, :-1]
    borders[1:] |= label[1:] != label[:-1]
    return np.asarray(Image.fromarray(borders * 255).resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64)


def _standardize(cells: np.ndarray) -> np.ndarray:
    """Mean 0, deviation 1 (0 for a constant map), faded out towards the sides, where the Fourier transform wraps around."""
    fade = np.minimum(1, 4 * np.hanning(_SIDE))
    return (cells - cells.mean()) / (cells.std() + 1e-9) * np.outer(fade, fade)
