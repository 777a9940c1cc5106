"""The time of the mixing augmentations, and waiting for a device."""

import time
from statistics import median

import torch

from learning.data.augmentation import mixing
from learning.data.datasets.base import Dataset
from learning.data.datasets.blobs import rule_ids
from learning.rng import CLASSMIX, COPYBLOB, CUTMIX, generator


def time_mixing(images: torch.Tensor, labels: torch.Tensor, data: Dataset, repeats: int) -> dict[str, float]:
    """Median milliseconds per batch as "cutmix_ms", "classmix_ms", "copyblob_ms"; {} for a batch of one.

    Args:
        images: float32 (B, 3, h, w) on any device.
        labels: int64 (B, h, w) on the same device.
    """
    if len(images) < 2:
        return {}
    rules = rule_ids(data.spec.BLOB_RULES, data.labels)
    num_classes = len(data.labels.classes)
    works = {
        "cutmix": lambda turn: mixing.cutmix(images, labels, generator(0, CUTMIX, 0, turn)),
        "classmix": lambda turn: mixing.classmix(images, labels, num_classes, generator(0, CLASSMIX, 0, turn)),
        "copyblob": lambda turn: mixing.copyblob(images, labels, rules, generator(0, COPYBLOB, 0, turn)),
    }
    figures = {}
    for name, work in works.items():
        taken = []
        for turn in range(repeats + 1):
            synchronize(images.device)
            start = time.perf_counter()
            work(turn)
            synchronize(images.device)
            taken.append(1000 * (time.perf_counter() - start))
        figures[f"{name}_ms"] = median(taken[1:])  # the first is a warm-up
    return figures


def synchronize(device: torch.device) -> None:
    """Wait until an accelerator has finished its queued work."""
    if device.type != "cpu":
        torch.accelerator.synchronize()
