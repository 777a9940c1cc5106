"""Batches of views: cropped by worker processes, or on the GPU if the pixels are there; then colors change on the device."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize, is_exiting
from threading import Timer
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from helpers.errors import InputError
from helpers.signals import ignore_stop_signals
from learning import distributed
from learning.data.augmentation.copy_paste import CopyPaste
from learning.data.augmentation.sampling import Augmentation
from learning.data.augmentation.transforms import color_and_normalize, whole_view
from learning.data.datasets.base import Sample
from learning.data.pixels import Pixels
from learning.data.views import EvalItems, EvalViews, Key, TrainItems, TrainViews
from learning.rng import draw_order

GRACE = 0.5  # seconds in which a worker may finish its batch before `stop_workers` kills it

T = TypeVar("T")


class EvalBatch(NamedTuple):
    """A batch to validate or predict on.

    Args:
        images: float32 (B, 3, h, w) on the device, all of the test size.
        labels: B uint8 (H, W) on the device, train ids at the source image's own size; None without labels.
        sizes: B (height, width) of the source images.
    """

    images: torch.Tensor
    labels: list[torch.Tensor] | None
    sizes: list[tuple[int, int]]
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

    def loader(self, views: TrainViews | EvalViews, keys: Iterable[list[Key]] | Iterable[list[int]]) -> DataLoader:
        """A loader whose batches are `views[key]`. Its workers live until `stop_workers`; pixels on a GPU need none."""
        on_device = views.pixels.device.type != "cpu"
        workers = 0 if on_device else min(self.workers, os.cpu_count() or 1)
        return DataLoader(
            views,
            batch_size=None,  # an item is a batch already
            sampler=keys,
            num_workers=workers,
            pin_memory=self.pinned and not on_device,
            persistent_workers=workers > 0,
            worker_init_fn=_start_worker,
            collate_fn=_unchanged,
        )

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor on the device; from pinned memory the copy is asynchronous."""
        return tensor.to(self.device, non_blocking=self.pinned)


class _Batches(Generic[T]):
    """A loader and its worker processes, which start with the first batch."""

    def __init__(self, config: LoaderConfig, loader: DataLoader) -> None:
        self.config = config
        self.loader = loader
        # Without a call of `close`: when this object is collected, and at exit before multiprocessing waits for its children.
        Finalize(self, stop_workers, args=(loader,), exitpriority=0)

    def close(self) -> None:
        """End the worker processes, also in the middle of an epoch, which must not be continued. May be called repeatedly."""
        stop_workers(self.loader)

    def _loaded(self) -> Iterator[T]:
        """The items of the loader; an error that a worker returned is raised here, so that its message stays one line."""
        for items in self.loader:
            if isinstance(items, InputError):
                # A new exception: the worker's own would refer to this frame, and so keep the processes alive.
                raise InputError(str(items))
            yield items


class TrainBatches(_Batches[TrainItems]):
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
        super().__init__(config, config.loader(views, self.draws))

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


class EvalBatches(_Batches[EvalItems]):
    """Every sample of a split once, in order, resized whole to the test size; the last batch may be smaller.

    Iterating raises `InputError` with the name of a file that cannot be read.

    Args:
        size: (height, width) of the network input.
        with_labels: whether labels are read.
        shared: whether several processes share the samples (none is repeated to make the shares equal), or each gets all.
    """

    def __init__(
        self,
        pixels: Pixels,
        config: LoaderConfig,
        batch_size: int,
        size: tuple[int, int],
        with_labels: bool = True,
        shared: bool = True,
    ) -> None:
        views = EvalViews(pixels, size, config.mean, with_labels)
        indices = range(distributed.rank(), len(pixels), distributed.world_size()) if shared else range(len(pixels))
        batches = [list(indices[start : start + batch_size]) for start in range(0, len(indices), batch_size)]
        super().__init__(config, config.loader(views, batches))

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[EvalBatch]:
        config = self.config
        for images, labels, samples, sizes in self._loaded():
            views = [whole_view(size) for size in sizes]
            images, _ = color_and_normalize(config.to_device(images), None, views, config.mean, config.std)
            labels = None if labels is None else [config.to_device(label) for label in labels]
            yield EvalBatch(images, labels, sizes, samples)


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
        return max(1, self.num_samples // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        order = self.order(self.epoch)
        for draws in order[self.first_step :, distributed.rank() :: distributed.world_size()].tolist():
            yield [(self.epoch, draw) for draw in draws]


def stop_workers(loader: DataLoader) -> None:
    """End the worker processes of a loader, if it has any. They ignore SIGTERM, so after `GRACE` seconds they are killed."""
    iterator = loader._iterator  # owns the processes; torch has no public way to end them
    if not isinstance(iterator, _MultiProcessingDataLoaderIter):
        return
    loader._iterator = None  # a later epoch starts new ones
    if iterator._worker_pids_set:
        # Otherwise torch raises from its handler of SIGCHLD when one of them is killed.
        signal_handling._remove_worker_pids(id(iterator))
        iterator._worker_pids_set = False
    if is_exiting():  # no thread can be started any more
        _kill(iterator._workers)
        return
    timer = Timer(GRACE, _kill, (iterator._workers,))
    timer.start()
    iterator._shutdown_workers()
    timer.cancel()


def _kill(workers: Sequence[BaseProcess]) -> None:
    for worker in workers:
        worker.kill()


def _start_worker(_: int) -> None:
    ignore_stop_signals()


def _unchanged(items: T) -> T:
    return items
