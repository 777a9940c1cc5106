"""Batches of images of any size, decoded ahead in threads."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from helpers.images import read_image
from helpers.threads import map_ahead
from learning.data.augmentation.transforms import color_and_normalize, resample_image, stack, whole_view
from learning.data.loaders import LoaderConfig
from learning.image_size import Size
from learning.inference.inputs import InputImage

_BATCH_PIXELS = 2**24  # source pixels of a batch
_AHEAD_PIXELS = 2 * _BATCH_PIXELS  # source pixels of images that are decoded ahead


class DecodedImage(NamedTuple):
    """An image and its pixels, uint8 (3, H, W), RGB."""

    picture: InputImage
    pixels: np.ndarray

    @property
    def name(self) -> str:
        """Stem of its result files."""
        return self.picture.name


class InputBatch(NamedTuple):
    """Images of one network input size; fields as in `learning.data.loaders.EvalBatch`, but not normalized.

    Args:
        images: uint8 (B, 3, h, w) on the CPU.
        sizes: (H, W) of the sources.
    """

    images: torch.Tensor
    sizes: list[Size]
    samples: list[DecodedImage]


class InputBatches:
    """Images in order, resized; consecutive images of one network input size form a batch.

    Args:
        pictures: at least one.
        input_sizes: network input size of each.
        batch_size: largest number of images in a batch.
        config: mean, std, device and number of threads.
    """

    def __init__(
        self, pictures: Sequence[InputImage], input_sizes: Sequence[Size], batch_size: int, config: LoaderConfig
    ) -> None:
        self.pictures = pictures
        self.input_sizes = input_sizes
        self.batch_size = batch_size
        self.config = config

    def __iter__(self) -> Iterator[InputBatch]:
        """Raises `InputError` with the name of a file that cannot be read."""
        decoded = map_ahead(
            self._read,
            range(len(self.pictures)),
            cost=lambda index: math.prod(self.pictures[index].size),
            budget=_AHEAD_PIXELS,
            num_threads=max(1, self.config.workers),
        )
        for group in self._groups():
            yield self._collate([next(decoded) for _ in group])

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Network input of images of a batch, or of rows of them: uint8 (B, 3, n, w) -> normalized float32 on the device."""
        whole = [whole_view(images.shape[-2:])] * len(images)
        config = self.config
        return color_and_normalize(config.to_device(images), None, whole, config.mean, config.std)[0]

    def _groups(self) -> Iterator[list[int]]:
        """Indices of the images of each batch."""
        group: list[int] = []
        pixels = 0
        for index, picture in enumerate(self.pictures):
            size = math.prod(picture.size)
            is_full = len(group) == self.batch_size or pixels + size > _BATCH_PIXELS
            if group and (is_full or self.input_sizes[index] != self.input_sizes[group[0]]):
                yield group
                group = []
                pixels = 0
            group.append(index)
            pixels += size
        yield group

    def _read(self, index: int) -> tuple[DecodedImage, torch.Tensor]:
        pixels = read_image(self.pictures[index].path)
        image = resample_image(torch.from_numpy(pixels).permute(1, 2, 0), self.input_sizes[index])
        return DecodedImage(self.pictures[index], pixels), image.permute(2, 0, 1)

    def _collate(self, items: Sequence[tuple[DecodedImage, torch.Tensor]]) -> InputBatch:
        samples = [loaded for loaded, _ in items]
        images = [image for _, image in items]
        stacked = stack(images) if len(images) > 1 else images[0][None]  # a single image is not copied
        return InputBatch(stacked, [loaded.picture.size for loaded in samples], samples)
