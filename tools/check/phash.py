"""A perceptual hash: images that look alike have hashes that differ in few bits."""

import numpy as np
from PIL import Image

NUM_BITS = 256
# Measured on 701 street scenes of 360x480. The same image after JPEG of quality 20, half size, brightness x 0.6 or x 1.6,
# gamma 0.7 or 1.5, noise of 12 gray levels, or a crop of 1 % on all sides: at most 30 bits. Frames 1/15 s apart from a moving
# car: at most 48; 1 s apart: 15 % of them, where the car hardly moves. Two images of different drives: at least 68.
NEAR = 48


def difference_hash(gray: Image.Image) -> np.ndarray:
    """Difference hash (dHash, Neal Krawetz, "Kind of Like That", 2013) of 16 x 16 bits instead of his 8 x 8.

    Each bit tells whether a cell of a 16x17 mean-pooled version is brighter than the cell to its left, so changes of size,
    brightness, contrast and compression hardly matter.

    Args:
        gray: image of mode L, any size.

    Returns:
        uint8 (32,): 256 bits.
    """
    cells = np.asarray(gray.resize((17, 16), Image.Resampling.BOX))
    return np.packbits(cells[:, 1:] > cells[:, :-1])


def distances(hashes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Hamming distance of each hash, uint8 (N, 32), to another one, uint8 (32,): int64 (N,), 0 .. 256."""
    return np.bitwise_count(hashes ^ other).sum(-1, dtype=np.int64)
