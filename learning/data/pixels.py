"""Pixels of a split: decoded from the image files on demand, or already decoded in one flat buffer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from helpers.images import read_image, read_label
from learning.data.datasets.base import Sample


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


class BufferPixels:
    """`Pixels` in one flat buffer: a memory-mapped file, or the memory of a device.

    Args:
        path: the file. A process that receives this object maps the file again and copies nothing.
        buffer: uint8 (n,) with the same content, instead of a file.
    """

    def __init__(
        self, samples: Sequence[Sample], layout: Layout, path: Path | None = None, buffer: torch.Tensor | None = None
    ) -> None:
        self.samples = samples
        self.layout = layout
        self.path = path
        if buffer is None:
            assert path is not None
            buffer = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
        self.buffer = buffer

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return BufferPixels, (self.samples, self.layout, self.path, None if self.path else self.buffer)

    @property
    def device(self) -> torch.device:
        return self.buffer.device

    def to(self, device: torch.device) -> "BufferPixels":
        """The same pixels in the memory of a device."""
        return BufferPixels(self.samples, self.layout, buffer=self.buffer.to(device))

    def __len__(self) -> int:
        return len(self.samples)

    def image(self, index: int) -> torch.Tensor:
        height, width = self.layout.sizes[index]
        start = self.layout.starts[index]
        return self.buffer[start : start + height * width * 3].view(height, width, 3).permute(2, 0, 1)

    def label(self, index: int) -> torch.Tensor:
        height, width = self.layout.sizes[index]
        start = self.layout.starts[index] + height * width * 3
        return self.buffer[start : start + height * width].view(height, width)
