"""Class probabilities of an image as a memory-mappable .npy file of shape (C, h, w).

uint8 stores round(255 * p), with an error of at most 1/510; float16 stores p, with an error of at most 2**-11 of it. The size is
that of the network input, not of the image.
"""

import errno
import os
from pathlib import Path

import numpy as np

from helpers.errors import InputError, naming

DTYPES = ("uint8", "float16")
SUFFIX = ".npy"


class ProbabilityFile:
    """A file of shape (C, h, w) that is filled in parts. Its room on the disk is allocated first, so that a full disk is an error
    before anything is computed; writing through a memory map would kill the process.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], dtype: str) -> None:
        self.path = path
        self.shape = shape
        self.dtype = np.dtype(dtype)
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        with naming(path), open(path, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            self.start = file.tell()
            size = num_bytes(shape, dtype)
            file.flush()
            _allocate(file.fileno(), self.start, size)
            file.truncate(self.start + size)

    def write(self, top: int, probabilities: np.ndarray) -> None:
        """Write rows from `top` on: (C, n, w), 0 .. 1."""
        rows = np.ascontiguousarray(encode(probabilities, self.dtype.name))
        _, height, width = self.shape
        with naming(self.path), open(self.path, "r+b") as file:
            for index, plane in enumerate(rows):
                file.seek(self.start + (index * height + top) * width * self.dtype.itemsize)
                file.write(plane)


def _allocate(descriptor: int, start: int, size: int) -> None:
    """Allocate room in a file, where the system and its file system can; elsewhere a full disk is found when it is written."""
    try:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, start, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise


def write_probabilities(path: Path, probabilities: np.ndarray, dtype: str) -> None:
    """Write float (C, h, w), 0 .. 1, as one of `DTYPES`."""
    num_classes, height, width = probabilities.shape
    ProbabilityFile(path, (num_classes, height, width), dtype).write(0, probabilities)


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
    except Exception as error:  # numpy evaluates the header, and raises whatever its text leads to
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot read {path}: {reason}; write it again with --save_scores") from None
    if getattr(stored, "ndim", 0) != 3 or str(stored.dtype) not in DTYPES:
        raise InputError(
            f"{path} does not hold probabilities: expected (classes, height, width) of {', '.join(DTYPES)}"
        )
    scale = 255 if stored.dtype == np.uint8 else 1
    probabilities = np.asarray(stored, np.float32) / np.float32(scale)
    if not (np.min(probabilities, initial=0) >= 0 and np.max(probabilities, initial=0) <= 1.001):  # false for NaN, too
        raise InputError(f"{path} is damaged: it holds values outside 0 .. 1; write it again with --save_scores")
    return probabilities
