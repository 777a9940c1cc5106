"""Batches of views: cropped by worker processes, or on the GPU if the pixels are there; then colors change on the device."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch

from learning import distributed
from learning.data.augmentation.copy_paste import CopyPaste
from learning.data.augmentation.sampling import Augmentation
from learning.data.augmentation.transforms import color_and_normalize, whole_view
from learning.data.datasets.base import Sample
from learning.data.pixels import Pixels
from learning.data.views import EvalItems, EvalViews, Key, TrainItems, TrainViews
from learning.data.workers import Workers, raise_error
from learning.image_size import Size
from learning.rng import draw_order

T = TypeVar("T")
K = TypeVar("K")


class EvalBatch(NamedTuple):
    """A batch to validate or predict on.

    Args:
        images: float32 (B, 3, h, w) on the device.
        labels: B uint8 (H, W) on the device, train ids at the source image's own size; None without labels.
        sizes: B (height, width) of the source images.
    """

    images: torch.Tensor
    labels: list[torch.Tensor] | None
    sizes: list[Size]
    samples: list[Sample]

    def first_image(self) -> EvalBatch:
        """The batch without all images but its first."""
        labels = self.labels and self.labels[:1]
        return EvalBatch(self.images[:1], labels, self.sizes[:1], self.samples[:1])


@dataclass(frozen=True)
class LoaderConfig:
    """How samples become batches, the same for every split.

    Args:
        mean, std: RGB mean and standard deviation of the data set, 0 .. 1.
        device: where batches go.
        workers: loader processes, at most as many as the machine has cores; 0 loads in the calling process.
        pin_memory: page-locked memory for the copy to a GPU.
    """

    mean: Sequence[float]
    std: Sequence[float]
    device: torch.device
    workers: int = 0
    pin_memory: bool = False

    @property
    def pinned(self) -> bool:
        """Whether batches are in page-locked memory, so that they are copied while the GPU computes."""
        return self.pin_memory and self.device.type == "cuda"

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor on the device; from pinned memory the copy is asynchronous."""
        if self.pinned and tensor.device.type == "cpu":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)


class _Batches(Generic[K, T]):
    """The items of a split by key, computed by worker processes, which start with the first batch; pixels on a GPU need none."""

    def __init__(
        self, config: LoaderConfig, device: torch.device, items: Callable[[K], T | Exception], keys: Iterable[K]
    ) -> None:
        self.config = config
        self.items = items
        self.keys = keys
        number = min(config.workers, os.cpu_count() or 1) if device.type == "cpu" else 0
        self.workers = Workers(items, number) if number else None

    def close(self) -> None:
        """End the worker processes, also in the middle of an epoch, which must not be continued. May be called repeatedly."""
        if self.workers:
            self.workers.close()

    def _loaded(self) -> Iterator[T]:
        """The items of all keys; raises `InputError` with the name of a file that cannot be read."""
        return self.workers.map(self.keys) if self.workers else (raise_error(self.items(key)) for key in self.keys)


class TrainBatches(_Batches[list[Key], TrainItems]):
    """Training batches: floor(N / B) per epoch (see `learning.rng.draw_order`), the same for any number of workers.

    With several processes, each gets its share of the images of every batch.

    Args:
        pixels: with labels.
        batch_size: images per batch over all processes; a multiple of their number.
        seed: of the order and the views.
        paste: is applied before the view is drawn; None pastes nothing.
        counts: int (N, C), labeled pixels of each class in each image, which class-aware crops need.
    """

    def __init__(
        self,
        pixels: Pixels,
        config: LoaderConfig,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        paste: CopyPaste | None = None,
        counts: np.ndarray | None = None,
    ) -> None:
        self.pixels = pixels
        self.draws = _EpochDraws(len(pixels), batch_size, seed)
        views = TrainViews(pixels, augmentation, config.mean, seed, paste, counts)
        super().__init__(config, pixels.device, views.__getitem__, self.draws)

    def __len__(self) -> int:
        return len(self.draws)

    def samples(self, epoch: int, step: int) -> list[Sample]:
        """The samples of one batch, over all processes."""
        draws = self.draws.order(epoch)[step]
        return [self.pixels.samples[draw % len(self.pixels)] for draw in draws.tolist()]

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches of one epoch from a step on; earlier ones are not loaded.

        Yields:
            Normalized images, float32 (B, 3, h, w), and labels with VOID, int64 (B, h, w), on the device.

        Raises:
            InputError: names a file that cannot be read.
        """
        self.draws.epoch = epoch
        self.draws.first_step = first_step
        config = self.config
        for images, labels, views in self._loaded():
            images = config.to_device(images)
            labels = config.to_device(labels)
            images, labels = color_and_normalize(images, labels, views, config.mean, config.std)
            assert labels is not None
            yield images, labels


class EvalBatches(_Batches[list[int], EvalItems]):
    """Every sample of a split once, whole; a batch holds samples of one network input size.

    So no image is padded, and its result does not depend on the others. The sizes follow in the order in which they first
    occur, and the samples of a size in their own order; the last batch of each may be smaller.

    Iterating raises `InputError` with the name of a file that cannot be read.

    Args:
        input_sizes: network input size of each sample.
        with_labels: whether labels are read.
        shared: whether several processes share the samples (none is repeated to make the shares equal), or each gets all.
    """

    def __init__(
        self,
        pixels: Pixels,
        config: LoaderConfig,
        batch_size: int,
        input_sizes: Sequence[Size],
        with_labels: bool = True,
        shared: bool = True,
    ) -> None:
        views = EvalViews(pixels, input_sizes, config.mean, with_labels)
        indices = range(distributed.rank(), len(pixels), distributed.world_size()) if shared else range(len(pixels))
        batches = _batches_of_one_size(indices, input_sizes, batch_size)
        self.num_batches = len(batches)
        super().__init__(config, pixels.device, views.__getitem__, batches)

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[EvalBatch]:
        config = self.config
        for images, labels, samples, sizes in self._loaded():
            views = [whole_view(size) for size in sizes]
            images, _ = color_and_normalize(config.to_device(images), None, views, config.mean, config.std)
            labels = None if labels is None else [config.to_device(label) for label in labels]
            yield EvalBatch(images, labels, sizes, samples)


def _batches_of_one_size(indices: Iterable[int], sizes: Sequence[Size], batch_size: int) -> list[list[int]]:
    groups: dict[Size, list[int]] = {}
    for index in indices:
        groups.setdefault(sizes[index], []).append(index)
    return [
        group[start : start + batch_size] for group in groups.values() for start in range(0, len(group), batch_size)
    ]


def steps_per_epoch(num_samples: int, batch_size: int) -> int:
    """Number of batches of an epoch: floor(N / B), and 1 for a smaller set, which is repeated."""
    return max(1, num_samples // batch_size)


class _EpochDraws:
    """The keys of the batches of an epoch; with several processes, each gets its share of every batch."""

    def __init__(self, num_samples: int, batch_size: int, seed: int) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.first_step = 0

    def order(self, epoch: int) -> np.ndarray:
        """int64 (steps, B), see `learning.rng.draw_order`."""
        return draw_order(self.seed, epoch, self.num_samples, self.batch_size)

    def __len__(self) -> int:
        return steps_per_epoch(self.num_samples, self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        order = self.order(self.epoch)
        for draws in order[self.first_step :, distributed.rank() :: distributed.world_size()].tolist():
            yield [(self.epoch, draw) for draw in draws]
