"""Class probabilities of an image as a memory-mappable .npy file of shape (C, h, w).

uint8 stores round(255 * p), with an error of at most 1/510; float16 stores p, with an error of at most 2**-11 of it. The size is
that of the network input, not of the image.
"""

from pathlib import Path

import numpy as np

from helpers.errors import InputError

DTYPES = ("uint8", "float16")
SUFFIX = ".npy"


def write_probabilities(path: Path, probabilities: np.ndarray, dtype: str) -> None:
    """Write float (C, h, w), 0 .. 1, as one of `DTYPES`."""
    create_file(path, probabilities.shape, dtype)[:] = encode(probabilities, dtype)


def create_file(path: Path, shape: tuple[int, ...], dtype: str) -> np.memmap:
    """An empty file of shape (C, h, w), to be filled with what `encode` returns."""
    return np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)


def encode(probabilities: np.ndarray, dtype: str) -> np.ndarray:
    """Probabilities of any shape, 0 .. 1, as a file of `dtype` stores them."""
    if dtype == "uint8":
        probabilities = np.rint(np.multiply(probabilities, 255, dtype=np.float32))
    return np.asarray(probabilities).astype(dtype)


def num_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Size of a file of this shape, without its header of 128 bytes."""
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def read_probabilities(path: Path) -> np.ndarray:
    """The probabilities of an image, float32 (C, h, w); they sum to 1 over the classes up to rounding.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"there are no probabilities {path}; write them with --predict --save_scores uint8") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read {path}: {error}; write it again with --save_scores") from None
    if getattr(stored, "ndim", 0) != 3 or str(stored.dtype) not in DTYPES:
        raise InputError(
            f"{path} does not hold probabilities: expected (classes, height, width) of {', '.join(DTYPES)}"
        )
    scale = 255 if stored.dtype == np.uint8 else 1
    return np.asarray(stored, np.float32) / np.float32(scale)
