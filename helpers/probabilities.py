"""Class probabilities of an image in a file: .npy of shape (C, h, w), which numpy can map without reading it.

uint8 holds round(255 * p), exact to 1/510; float16 holds p, exact to 2**-11 of it. The size is that at which the network saw the
picture, not the picture's own.
"""

import numpy as np

from helpers.errors import InputError

DTYPES = ("uint8", "float16")  # of a file, by name
SUFFIX = ".npy"


def write_probabilities(path, probabilities, dtype):
    """Write the probabilities of an image.

    Args:
        path: where the file goes, NAME.npy.
        probabilities: float (C, h, w), 0 .. 1.
        dtype: one of `DTYPES`.
    """
    create(path, probabilities.shape, dtype)[:] = encode(probabilities, dtype)


def create(path, shape, dtype):
    """An empty file of probabilities, to be filled part by part with what `encode` returns.

    Returns:
        numpy.memmap (C, h, w)
    """
    return np.lib.format.open_memmap(path, "w+", np.dtype(dtype), tuple(shape))


def encode(probabilities, dtype):
    """Probabilities as a file of `dtype` holds them.

    Args:
        probabilities: float array of any shape, 0 .. 1.
        dtype: one of `DTYPES`.
    """
    if dtype == "uint8":
        probabilities = np.rint(np.multiply(probabilities, 255, dtype=np.float32))
    return np.asarray(probabilities).astype(dtype)


def num_bytes(shape, dtype):
    """int: what the probabilities of an image of this shape take, without the 128 bytes of the file's header."""
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def read_probabilities(path):
    """The probabilities of an image.

    Returns:
        float32 (C, h, w); over the classes they add up to 1 but for the rounding.

    Raises:
        InputError: the file is missing or damaged, or holds something else.
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
    return np.asarray(stored, np.float32) / (np.float32(255) if stored.dtype == np.uint8 else np.float32(1))
