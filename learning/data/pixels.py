"""Pixels of a split: decoded from the image files on demand, or already decoded in one flat buffer."""

import sys
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from helpers.images import read_image, read_label
from helpers.threads import map_in_threads
from learning.data.datasets.base import Sample

INVALID = b"damaged!"  # the first bytes of a file of the cache that is not to be used again


class Pixels(Protocol):
    """Images and labels of the samples of a split, by index."""

    @property
    def samples(self) -> Sequence[Sample]: ...

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def image(self, index: int) -> torch.Tensor:
        """uint8 (3, H, W), a view of pixel-interleaved memory; raises `InputError` that names a file that cannot be read."""
        ...

    def label(self, index: int) -> torch.Tensor:
        """uint8 (H, W) of train ids, VOID elsewhere; raises `InputError` that names a file that cannot be read."""
        ...


class FilePixels:
    """`Pixels` that are decoded from their files at each access.

    Args:
        decode: uint8 (256,), the train id of each value in the label files.
    """

    device = torch.device("cpu")

    def __init__(self, samples: Sequence[Sample], decode: np.ndarray) -> None:
        self.samples = samples
        self.decode = decode

    def __len__(self) -> int:
        return len(self.samples)

    def image(self, index: int) -> torch.Tensor:
        return torch.from_numpy(read_image(self.samples[index].image))

    def label(self, index: int) -> torch.Tensor:
        path = self.samples[index].label
        assert path is not None
        label = read_label(path)
        # bytearray.translate looks up five times as fast as numpy.
        train_ids = bytearray(label.tobytes()).translate(self.decode.tobytes())
        return torch.frombuffer(train_ids, dtype=torch.uint8).view(label.shape)


@dataclass(frozen=True)
class Layout:
    """Where each sample lies in a uint8 buffer: its image (H, W, 3), then its label (H, W).

    Args:
        sizes: (height, width) of each image.
        header: bytes before the first sample.
    """

    sizes: list[tuple[int, int]]
    header: int = 0

    @classmethod
    def of(cls, sizes: np.ndarray | Iterable[Sequence[int]], header: int = 0) -> "Layout":
        """The layout of images of these sizes, int (N, 2)."""
        return cls([(int(height), int(width)) for height, width in sizes], header)

    @cached_property
    def starts(self) -> list[int]:
        """First byte of each sample, followed by the number of bytes of the whole buffer."""
        pixels = np.prod(np.array(self.sizes, np.int64), 1)
        return (self.header + np.cumsum([0, *(4 * pixels)])).tolist()

    @property
    def num_bytes(self) -> int:
        """Bytes of the whole buffer, with its header."""
        return self.starts[-1]


def sample_checksum(image: np.ndarray, label: np.ndarray) -> int:
    """CRC-32 of a sample's pixels: 3 ms for 1024x2048."""
    return zlib.crc32(label.data, zlib.crc32(image.data))


class BufferPixels:
    """`Pixels` in one flat buffer: a memory-mapped file, or the memory of a device.

    A file ends with the checksum of each sample, uint32 (N,). A process compares it when it first reads the sample. Where it
    differs, the sample is decoded again, and the file is made invalid, so that the next run writes it anew.

    Args:
        files: the samples as files.
        path: the file. A process that receives this object maps the file again and copies nothing.
        buffer: uint8 (n,) with the same content, instead of a file.
    """

    def __init__(
        self, files: FilePixels, layout: Layout, path: Path | None = None, buffer: torch.Tensor | None = None
    ) -> None:
        self.files = files
        self.layout = layout
        self.path = path
        self.unverified: set[int] = set()
        if buffer is None:
            assert path is not None
            buffer = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
            self.unverified.update(range(len(files)))
        self.buffer = buffer

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return BufferPixels, (self.files, self.layout, self.path, None if self.path else self.buffer)

    @property
    def samples(self) -> Sequence[Sample]:
        return self.files.samples

    @property
    def device(self) -> torch.device:
        return self.buffer.device

    def to(self, device: torch.device) -> "BufferPixels":
        """The same pixels in the memory of a device."""
        map_in_threads(self._verify, sorted(self.unverified), description="verifying the cache")
        return BufferPixels(self.files, self.layout, buffer=self.buffer[: self.layout.num_bytes].to(device))

    def _verify(self, index: int) -> None:
        image, label = self._image(index), self._label(index)
        expected = self.buffer[self.layout.num_bytes :].numpy().view("<u4")
        if sample_checksum(image.numpy(), label.numpy()) != expected[index]:
            assert self.path is not None
            if _invalidate(self.path):
                sample = self.samples[index].name
                print(
                    f"warning: the cache {self.path} is damaged ({sample}): such images are decoded again, and the next run "
                    "writes it anew",
                    file=sys.stderr,
                )
            # Into this process's copy of the pages, not into the file.
            image.copy_(self.files.image(index).permute(1, 2, 0))
            label.copy_(self.files.label(index))
        self.unverified.discard(index)

    def __len__(self) -> int:
        return len(self.samples)

    def image(self, index: int) -> torch.Tensor:
        if index in self.unverified:
            self._verify(index)
        return self._image(index).permute(2, 0, 1)

    def label(self, index: int) -> torch.Tensor:
        if index in self.unverified:
            self._verify(index)
        return self._label(index)

    def _image(self, index: int) -> torch.Tensor:
        height, width = self.layout.sizes[index]
        start = self.layout.starts[index]
        return self.buffer[start : start + height * width * 3].view(height, width, 3)

    def _label(self, index: int) -> torch.Tensor:
        height, width = self.layout.sizes[index]
        start = self.layout.starts[index] + height * width * 3
        return self.buffer[start : start + height * width].view(height, width)


def _invalidate(path: Path) -> bool:
    """Make a file of the cache invalid by its first bytes; it stays mapped. Returns whether this process was the first."""
    with suppress(OSError), open(path, "r+b") as file:
        if file.read(len(INVALID)) == INVALID:
            return False
        file.seek(0)
        file.write(INVALID)
    return True
