"""Periodic noise with a 1 / f spectrum."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

_TILE = 512  # period, a power of two


@lru_cache(maxsize=3)
def _noise_tile(slope: float) -> np.ndarray:
    """float32 (512, 512), mean 0 and standard deviation 1, with amplitudes that fall as 1 / f^slope."""
    generator = np.random.Generator(np.random.Philox(key=[0, 0x7E87]))
    spectrum = np.fft.rfft2(generator.standard_normal((_TILE, _TILE)))
    frequency = np.hypot(np.fft.fftfreq(_TILE)[:, None], np.fft.rfftfreq(_TILE)[None, :])
    frequency[0, 0] = np.inf
    tile = np.fft.irfft2(spectrum / frequency**slope, (_TILE, _TILE))
    return (tile / tile.std()).astype(np.float32)


def noise(x: ArrayLike, y: ArrayLike, slope: float = 0.9) -> np.ndarray:
    """Noise at positions that are broadcast against each other: float32, mean 0, standard deviation 1.

    Args:
        x, y: one cell is one unit, the period 512 units.
        slope: 0.9 looks like the grain of surfaces, 1.2 like clumps of leaves, 1.6 like clouds.
    """
    rows = np.asarray(y).astype(np.int32) & (_TILE - 1)
    columns = np.asarray(x).astype(np.int32) & (_TILE - 1)
    return _noise_tile(slope)[rows, columns]
