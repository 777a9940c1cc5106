"""Batches of Views: cut by worker processes, or on the GPU where the data are there; colored on the training device."""

import atexit
import multiprocessing
import os
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from helpers.errors import InputError
from helpers.signals import leave_to_parent
from learning import distributed
from learning.data.augmentation.class_crop import count_classes, draw_class_crop, rarity
from learning.data.augmentation.sampling import draw_view
from learning.data.augmentation.transforms import color_and_normalize, stack, view_sample, whole_view
from learning.rng import VIEW, draw_order, generator


class EvalBatch(NamedTuple):
    """A batch to validate or predict on.

    Args:
        images: float32 (B, 3, h, w) on the device, all of the test size.
        labels: list of B uint8 (H, W) on the device, train ids at the source image's own size; None without labels.
        sizes: list of B (H, W), the source images' sizes.
        samples: list of B `learning.data.datasets.base.Sample`.
    """

    images: torch.Tensor
    labels: list
    sizes: list
    samples: list


@dataclass(frozen=True)
class LoaderConfig:
    """How samples become batches, for every split alike.

    Args:
        mean, std: RGB mean and standard deviation of the data set, 0 .. 1.
        device: where batches go.
        workers: loader processes, never more than the machine has cores; 0 loads in the calling process.
        pin_memory: page-locked memory for the copy to a GPU.
    """

    mean: tuple
    std: tuple
    device: torch.device
    workers: int = 0
    pin_memory: bool = False

    @property
    def pinned(self):
        """Whether batches lie in page-locked memory, from where they can be copied while the GPU works."""
        return self.pin_memory and self.device.type == "cuda"

    def loader(self, views, collate, **batching):
        """torch.utils.data.DataLoader; its workers stay from epoch to epoch. Pixels on a GPU are cut there, without workers."""
        on_device = views.pixels.device.type != "cpu"
        workers = 0 if on_device else min(self.workers, os.cpu_count() or 1)
        return DataLoader(
            views,
            num_workers=workers,
            pin_memory=self.pinned and not on_device,
            persistent_workers=workers > 0,
            worker_init_fn=_begin_worker,
            collate_fn=collate,
            **batching,
        )

    def batches(self, loader):
        """What a loader yields; the mistake that a worker met is raised here, so that it stays one line."""
        for batch in loader:
            if isinstance(batch, InputError):
                # A new one: raising the worker's own would tie it to this frame, and so the processes to its lifetime.
                raise InputError(str(batch))
            yield batch

    def to_device(self, tensor):
        """A batch on the device."""
        return tensor.to(self.device, non_blocking=self.pinned)


class TrainBatches:
    """Training batches: floor(N / B) an epoch (see `keyed.draw_order`), the same for any number of workers.

    Of several processes each gets every size-th image of a batch.

    Args:
        pixels: `learning.data.cache.Files` or `Decoded`, with labels.
        feed: Feed.
        batch_size: images a batch, over all processes, whose number divides it.
        augmentation: learning.data.augmentation.sampling.Augmentation.
        seed: of the order and the views.
        paste: learning.data.augmentation.copy_paste.CopyPaste, which comes before the view; None pastes nothing.
        counts: int (N, C), labelled pixels of each class in each image, which class-aware crops need.
    """

    def __init__(self, pixels, feed, batch_size, augmentation, seed, paste=None, counts=None):
        self.feed, self.pixels = feed, pixels
        self.draws = _EpochDraws(len(pixels), batch_size, seed)
        views = _TrainViews(pixels, augmentation, feed.mean, seed, paste, counts)
        self.loader = feed.loader(views, _collate_views, batch_sampler=self.draws)

    def __len__(self):
        return len(self.draws)

    def close(self):
        """End the loader processes."""
        _close(self.loader)

    def samples(self, epoch, step):
        """list of `Sample`: the images of one batch, of all processes."""
        batch = draw_order(self.draws.seed, epoch, self.draws.num_samples, self.draws.batch_size)[step]
        return [self.pixels.samples[draw % len(self.pixels)] for draw in batch.tolist()]

    def epoch(self, epoch, first_step=0):
        """Batches of one epoch, from a step on; those before it are not made.

        Yields:
            (float32 (B, 3, h, w), int64 (B, h, w)): normalized images, labels with VOID, on the device.

        Raises:
            InputError: names a file that cannot be read.
        """
        self.draws.epoch, self.draws.first_step = epoch, first_step
        for images, labels, views in self.feed.batches(self.loader):
            images, labels = self.feed.to_device(images), self.feed.to_device(labels)
            yield color_and_normalize(images, labels, views, self.feed.mean, self.feed.std)


class EvalBatches:
    """Every sample of a split once, in order, resized whole to the test size; the last batch may be smaller.

    Of several processes each gets every size-th sample, unless `shared` is false; nothing is repeated to make their shares equal.

    Args:
        pixels: `learning.data.cache.Files` or `Decoded`, with labels or without.
        feed: Feed.
        batch_size: images a batch.
        size: (height, width) of the network's input.
        with_labels: whether labels are read.
        shared: whether several processes share the samples, or this one gets them all.
    """

    def __init__(self, pixels, feed, batch_size, size, with_labels=True, shared=True):
        self.feed = feed
        views = _WholeViews(pixels, size, feed.mean, with_labels)
        mine = range(distributed.rank(), len(pixels), distributed.size()) if shared else range(len(pixels))
        self.loader = feed.loader(views, _collate_whole, batch_size=batch_size, sampler=mine)

    def __len__(self):
        return len(self.loader)

    def close(self):
        """End the loader processes."""
        _close(self.loader)

    def __iter__(self):
        """Yields `EvalBatch`es; raises `InputError` with the name of a file that cannot be read."""
        for images, labels, samples, sizes in self.feed.batches(self.loader):
            whole = [whole_view(size) for size in sizes]
            images, _ = color_and_normalize(self.feed.to_device(images), None, whole, self.feed.mean, self.feed.std)
            labels = None if labels[0] is None else [self.feed.to_device(label) for label in labels]
            yield EvalBatch(images, labels, list(sizes), list(samples))


def _close(loader):
    if loader._iterator is not None:
        loader._iterator._shutdown_workers()
        loader._iterator = None


class _EpochDraws:
    """Batch sampler whose keys are (epoch, draw): what a worker needs to know to draw a view."""

    def __init__(self, num_samples, batch_size, seed):
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.epoch = self.first_step = 0

    def __len__(self):
        return max(1, self.num_samples // self.batch_size)

    def __iter__(self):
        order = draw_order(self.seed, self.epoch, self.num_samples, self.batch_size)
        for batch in order[self.first_step :, distributed.rank() :: distributed.size()].tolist():
            yield [(self.epoch, draw) for draw in batch]


class _TrainViews(Dataset):
    def __init__(self, pixels, augmentation, mean, seed, paste, counts):
        self.pixels, self.augmentation, self.mean, self.seed, self.paste = pixels, augmentation, mean, seed, paste
        if augmentation.class_crop:
            self.rarity, self.counts = rarity(counts), counts

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, key):
        epoch, draw = key
        index = draw % len(self.pixels)
        try:
            image, label = self.pixels.image(index), self.pixels.label(index)
        except InputError as error:
            return error
        if self.paste:
            image, label = self.paste(image, label, index, epoch, draw)
        rng, size = generator(self.seed, VIEW, epoch, draw), self.augmentation.crop_size
        view = draw_view(rng, label.shape, self.augmentation)
        if self.augmentation.class_crop and rng.random() < self.augmentation.class_crop:
            # What was pasted shows classes that the image did not hold, or hides some that it did.
            counts = count_classes(label, len(self.rarity)) if self.paste else self.counts[index]
            view = draw_class_crop(rng, view, label, size, self.rarity * (counts > 0))
        return *view_sample(image, label, view, size, self.mean), view


class _WholeViews(Dataset):
    def __init__(self, pixels, size, mean, with_labels):
        self.pixels, self.size, self.mean, self.with_labels = pixels, size, mean, with_labels

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        try:
            image = self.pixels.image(index)
            # A copy: what a worker hands over takes the memory along that it is a view of, and that may be a whole file.
            label = self.pixels.label(index).clone() if self.with_labels else None
        except InputError as error:
            return error
        size = tuple(image.shape[1:])
        seen, _ = view_sample(image, None, whole_view(size), self.size, self.mean)
        return seen, label, self.pixels.samples[index], size


def _collate_views(items):
    error = _first_error(items)
    if error:
        return error
    images, labels, views = zip(*items, strict=True)
    return stack(images), torch.stack(labels), views


def _collate_whole(items):
    error = _first_error(items)
    if error:
        return error
    images, labels, samples, sizes = zip(*items, strict=True)
    return stack(images), labels, samples, sizes


def _begin_worker(_):
    leave_to_parent()


@atexit.register
def _end_workers():
    """Workers leave polite signals to their parent, so at its end, whatever that was, they get the other kind."""
    for worker in multiprocessing.active_children():
        worker.kill()


def _first_error(items):
    return next((item for item in items if isinstance(item, InputError)), None)
