"""Builds the batches that options describe: cache, augmentation, mixing, loaders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from helpers.errors import InputError
from learning import distributed
from learning.data import cache
from learning.data.augmentation.copy_paste import CopyPaste, grounds_of
from learning.data.augmentation.mixing import classmix, copyblob, cutmix
from learning.data.augmentation.object_bank import build_bank
from learning.data.augmentation.sampling import SETS, Augmentation
from learning.data.datasets.base import Dataset
from learning.data.datasets.statistics import DatasetStatistics
from learning.data.hashes import default_folder
from learning.data.loaders import EvalBatches, LoaderConfig
from learning.image_size import Size, fitted_size
from learning.rng import CLASSMIX, COPYBLOB, CUTMIX, generator
from learning.run.setup import blob_rules
from options import AugmentationOptions, DataOptions

Pixels = cache.FilePixels | cache.BufferPixels
Mix = Callable[[torch.Tensor, torch.Tensor, int, int], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class RunData:
    """The images of a run.

    Args:
        dataset: the data set.
        pixels: split -> its images and labels, already decoded if they are in the cache.
        cache: where decoded images are kept and why, for the first screen.
        loader: how samples become batches.
        test_size: (height, width) of the network's input in validation and prediction; images of another shape keep it.
        sizes: split -> int (N, 2), height and width of each image; of the splits that the command reads.
        batch_size: images at a time in this process.
    """

    dataset: Dataset
    pixels: Mapping[str, Pixels]
    cache: str
    loader: LoaderConfig
    test_size: Size
    sizes: Mapping[str, np.ndarray]
    batch_size: int

    def input_sizes(self, split: str) -> list[Size]:
        """The network input size of each image of a split."""
        return [fitted_size(size, self.test_size) for size in self.sizes[split].tolist()]

    def labeled_batches(self, split: str) -> EvalBatches:
        """Batches to validate on; several processes share them."""
        return EvalBatches(self.pixels[split], self.loader, self.batch_size, self.input_sizes(split))

    def unlabeled_batches(self, split: str) -> EvalBatches:
        """Batches to predict: all images of the split, in this process."""
        return EvalBatches(
            self.pixels[split], self.loader, self.batch_size, self.input_sizes(split), with_labels=False, shared=False
        )


def build_data(
    dataset: Dataset,
    data: DataOptions,
    statistics: Mapping[str, DatasetStatistics],
    batch_size: int,
    device: torch.device,
) -> RunData:
    """The images as files, without a cache: what prediction needs.

    Args:
        statistics: split -> its statistics, of the splits that are read.
        batch_size: images at a time, over all processes.
    """
    if batch_size % distributed.world_size():
        raise InputError(
            f"--batch_size {batch_size} is for all {distributed.world_size()} processes together, "
            "and must be a multiple of their number"
        )
    assert data.dataset_mean, "filled in by fill_defaults"
    assert data.dataset_std, "filled in by fill_defaults"
    assert data.test_size, "filled in by fill_defaults"
    loader = LoaderConfig(data.dataset_mean, data.dataset_std, device, data.num_workers, data.pin_memory)
    pixels = {split: cache.FilePixels(samples, dataset.decode) for split, samples in dataset.splits.items()}
    sizes = {split: found.sizes for split, found in statistics.items()}
    return RunData(dataset, pixels, "off", loader, data.test_size, sizes, batch_size // distributed.world_size())


def open_cache(
    data: DataOptions, dataset: Dataset, statistics: Mapping[str, DatasetStatistics], device: torch.device
) -> tuple[str, Mapping[str, Pixels]]:
    """The decoded images of the splits in `statistics`, on the disk or device that --cache selects.

    Returns:
        The choice and its reason; split -> decoded images, empty for "off".
    """
    sizes = {split: found.sizes for split, found in statistics.items()}
    folder = Path(data.cache_path) if data.cache_path else default_folder()
    needed = {split: cache.num_bytes(sizes[split]) for split in sizes}
    missing = sum(needed[split] for split in sizes if not cache.is_cached(folder, dataset, split, sizes[split]))
    kind, why = cache.choose_location(data.cache, device, sum(needed.values()), folder, missing)
    description = f"{kind}: {why}" + (" (chosen by --cache auto)" if data.cache == "auto" else "")
    if kind == "off":
        return description, {}
    try:
        decoded = {split: cache.open_on_disk(folder, dataset, split, sizes[split]) for split in sizes}
    except cache.CacheError as error:  # stops the run only with --cache disk
        if data.cache == "disk":
            raise
        if kind == "disk":
            return f"off: {error}", {}
        decoded = {split: cache.open_in_memory(dataset, split, sizes[split]) for split in sizes}
    if kind == "device":
        decoded = {split: pixels.to(device) for split, pixels in decoded.items()}
    return description, decoded


def build_augmentation(data: DataOptions, augmentation: AugmentationOptions, overfit: bool) -> Augmentation:
    """How a training image is augmented; with --overfit it is only cropped."""
    assert data.train_size, "filled in by fill_defaults"
    assert data.crop_size, "filled in by fill_defaults"
    if overfit:
        return Augmentation(data.train_size, data.crop_size, scale_range=(1.0, 1.0), flip=0.0, jitter=0.0)
    typed = {
        "scale_range": augmentation.scale_range,
        "rotation": augmentation.rotation,
        "jitter": augmentation.colorjitter_factor,
        "flip": None if augmentation.hflip else 0.0,
    }
    settings = SETS[augmentation.augment] | {name: value for name, value in typed.items() if value is not None}
    return Augmentation(data.train_size, data.crop_size, class_crop=augmentation.class_crop, **settings)


def build_copy_paste(
    augmentation: AugmentationOptions, seed: int, dataset: Dataset, statistics: DatasetStatistics, pixels: Pixels
) -> CopyPaste | None:
    """What --copypaste does to a training image before augmentation; None without --copypaste.

    Args:
        statistics, pixels: of the training split.
    """
    if not augmentation.copypaste:
        return None
    labels = dataset.labels
    classes = labels.train_ids(dict.fromkeys(augmentation.copypaste), "--copypaste")
    return CopyPaste(
        bank=build_bank(pixels, statistics, classes, labels, seed),
        grounds=grounds_of(classes, blob_rules(augmentation.blob_rules, dataset)),
        max_objects=augmentation.copypaste_objects,
        seed=seed,
    )


def build_mixing(augmentation: AugmentationOptions, seed: int, step_size: int, dataset: Dataset) -> Mix:
    """Function of (images, labels, epoch, step) that applies --copyblob, --classmix and --cutmix in this order.

    Objects come first, so that the later mixers treat them as parts of their image; CutMix comes last, so that its box stays one.
    """
    rules = blob_rules(augmentation.blob_rules, dataset)
    num_classes = len(dataset.labels.classes)
    mixers = []
    if augmentation.copyblob:
        mixers.append((COPYBLOB, partial(copyblob, rules=rules, by_foot=augmentation.blob_foot)))
    if augmentation.classmix:
        mixers.append((CLASSMIX, partial(classmix, num_classes=num_classes)))
    if augmentation.cutmix:
        mixers.append((CUTMIX, cutmix))
    if mixers and step_size < 2 * distributed.world_size():
        raise InputError(
            f"each of {distributed.world_size()} processes mixes its own share of a batch, which must be 2 images or more; "
            "raise --batch_size"
        )

    def mix(images: torch.Tensor, labels: torch.Tensor, epoch: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        index = step * distributed.world_size() + distributed.rank()  # each process mixes its own share of the batch
        for purpose, mixer in mixers:
            images, labels = mixer(images, labels, rng=generator(seed, purpose, epoch, index))
        return images, labels

    return mix
