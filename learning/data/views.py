"""What loader processes do: crop and resize samples, a batch at a time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from helpers.errors import InputError
from learning.data.augmentation.class_crop import count_classes, draw_class_crop, rarity
from learning.data.augmentation.copy_paste import CopyPaste
from learning.data.augmentation.sampling import Augmentation, draw_view
from learning.data.augmentation.transforms import View, stack, view_sample, whole_view
from learning.data.datasets.base import Sample
from learning.data.pixels import Pixels
from learning.image_size import Size
from learning.rng import VIEW, generator

Key = tuple[int, int]  # (epoch, draw): with the seed, they decide a view


class TrainItems(NamedTuple):
    """A training batch on the CPU or the cache's device, before colors and normalization."""

    images: torch.Tensor  # (B, 3, h, w), 0 .. 255
    labels: torch.Tensor  # uint8 (B, h, w)
    views: tuple[View, ...]


class EvalItems(NamedTuple):
    """A batch to validate or predict on, before normalization; `sizes` are (height, width) of the source images."""

    images: torch.Tensor  # (B, 3, h, w), 0 .. 255
    labels: list[torch.Tensor] | None  # uint8 (H, W)
    samples: list[Sample]
    sizes: list[Size]


class TrainViews(Dataset):
    """Random views of training samples, by a list of keys; an `InputError` is returned in place of the batch."""

    def __init__(
        self,
        pixels: Pixels,
        augmentation: Augmentation,
        mean: Sequence[float],
        seed: int,
        paste: CopyPaste | None,
        counts: np.ndarray | None,
    ) -> None:
        self.pixels = pixels
        self.augmentation = augmentation
        self.mean = mean
        self.seed = seed
        self.paste = paste
        self.counts = counts
        if augmentation.class_crop:
            assert counts is not None
            self.rarity = rarity(counts)

    def __getitem__(self, index: list[Key]) -> TrainItems | InputError:
        try:
            images, labels, views = zip(*(self._item(epoch, draw) for epoch, draw in index), strict=True)
        except InputError as error:
            return error
        return TrainItems(stack(images), torch.stack(labels), views)

    def _item(self, epoch: int, draw: int) -> tuple[torch.Tensor, torch.Tensor, View]:
        index = draw % len(self.pixels)
        image = self.pixels.image(index)
        label = self.pixels.label(index)
        if self.paste:
            image, label = self.paste(image, label, index, epoch, draw)
        size = self.augmentation.crop_size
        rng = generator(self.seed, VIEW, epoch, draw)
        view = draw_view(rng, tuple(label.shape), self.augmentation)
        if self.augmentation.class_crop and rng.random() < self.augmentation.class_crop:
            view = draw_class_crop(rng, view, label, size, self.rarity * (self._class_counts(index, label) > 0))
        return *view_sample(image, label, view, size, self.mean), view

    def _class_counts(self, index: int, label: torch.Tensor) -> np.ndarray:
        """Pixels of each class in a label; counted again if objects may have been pasted, which add and hide classes."""
        return count_classes(label, len(self.rarity)) if self.paste or self.counts is None else self.counts[index]


class EvalViews(Dataset):
    """Whole samples at their network input sizes, by a list of indices of samples of one such size.

    An `InputError` is returned in place of the batch.
    """

    def __init__(self, pixels: Pixels, input_sizes: Sequence[Size], mean: Sequence[float], with_labels: bool) -> None:
        self.pixels = pixels
        self.input_sizes = input_sizes
        self.mean = mean
        self.with_labels = with_labels

    def __getitem__(self, index: list[int]) -> EvalItems | InputError:
        try:
            images = [self.pixels.image(number) for number in index]
            # Copies: a worker that sends a tensor sends all of its memory, which may be a whole cache file.
            labels = [self.pixels.label(number).clone() for number in index] if self.with_labels else None
        except InputError as error:
            return error
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        inputs = [self._network_input(number, image) for number, image in zip(index, images, strict=True)]
        return EvalItems(stack(inputs), labels, [self.pixels.samples[number] for number in index], sizes)

    def _network_input(self, number: int, image: torch.Tensor) -> torch.Tensor:
        return view_sample(image, None, whole_view(image.shape[1:]), self.input_sizes[number], self.mean)[0]
