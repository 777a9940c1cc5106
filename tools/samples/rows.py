"""Rows of samples, each with one kind of augmentation."""

import argparse
from typing import Any

import numpy as np
import torch

import options
from learning.data.augmentation.copy_paste import CopyPaste
from learning.data.cache import Files
from learning.data.datasets.base import Dataset
from learning.data.datasets.statistics import DatasetStatistics
from learning.data.loaders import LoaderConfig
from learning.rng import draw_order
from learning.run import build, setup

Pair = tuple[np.ndarray, np.ndarray]  # uint8 (h, w, 3), and uint8 (h, w) of train ids
_NUM_DRAWS = 8  # of a mixer, of which the one that changes the most pixels is shown: a box of CutMix may be empty

# Options of a row that only crops and scales.
PLAIN: dict[str, Any] = {
    **{"augment": "tutorial", "hflip": False, "colorjitter_factor": 0.0, "rotation": 0.0, "class_crop": 0.0},
    **{"copypaste": None, "copyblob": False, "classmix": False, "cutmix": False},
}
_OF_THE_SET = {"hflip": True, "colorjitter_factor": None, "rotation": None, "scale_range": None}
_SETS = [name for name in options.AUGMENTS if name not in ("tutorial", "base")]
# Row -> options that replace those of `PLAIN`; the training's own value counts for those in `_TYPED`.
ROWS: dict[str, dict[str, Any]] = {
    "flip": {"hflip": True},
    "color": {"colorjitter_factor": 0.3},
    "rotation": {"rotation": 10.0},
    "class crop": {"class_crop": 1.0},
    **{f"set {name}": {"augment": name, **_OF_THE_SET} for name in _SETS},
    "copypaste": {"copypaste": None},
    "copyblob": {"copyblob": True},
    "classmix": {"classmix": True},
    "cutmix": {"cutmix": True},
}
_TYPED = ("colorjitter_factor", "rotation", "copypaste")
_MIXERS = ("copyblob", "classmix", "cutmix")


def draw_rows(
    training: argparse.Namespace, data: Dataset, statistics: DatasetStatistics, num: int
) -> dict[str, list[Pair]]:
    """Draw `num` samples for each row; rows for which the options or the data set have nothing are left out.

    Args:
        training: options of a training, all filled in; their batch size does not matter.
        statistics: of the training images.
    """
    training = _changed(training, {"batch_size": num, "accumulate": 1})
    sampler = Sampler(training, data, statistics, num)
    rows = {"as in the files": sampler.files(), "crop and scale": sampler.draw(_changed(training, PLAIN))}
    for name, changes in ROWS.items():
        row = PLAIN | changes
        if not name.startswith("set"):
            row |= {option: getattr(training, option) or row[option] for option in _TYPED if option in changes}
        if name == "copypaste" and not row["copypaste"]:
            continue
        if name == "copyblob" and not setup.blob_rules(training, data):
            continue
        rows[name] = sampler.draw(_changed(training, row), _NUM_DRAWS if name in _MIXERS else 1)
    rows["as the options say"] = sampler.draw(training)
    return rows


class Sampler:
    """Draws the same batch of a training with different options.

    Args:
        training: options of the training, with a batch size of `num`.
    """

    def __init__(self, training: argparse.Namespace, data: Dataset, statistics: DatasetStatistics, num: int) -> None:
        self.data = data
        self.counts = statistics.pixels
        self.mean = training.dataset_mean
        self.std = training.dataset_std
        self.pixels = Files(data.split("train"), data.decode)
        self.paste = _pasting(training, data, statistics, self.pixels)  # once: it reads many images
        order = draw_order(training.seed, 0, len(self.pixels), num) % len(self.pixels)
        # The step with the most images that objects are pasted on.
        canvases = list(self.paste.bank.canvases) if self.paste else []
        self.step = int(np.isin(order, canvases).sum(1).argmax())
        self.indices = order[self.step].tolist()

    def files(self) -> list[Pair]:
        """Images and labels of the batch as they are in the files."""
        found = [(self.pixels.image(index), self.pixels.label(index)) for index in self.indices]
        return [(image.permute(1, 2, 0).numpy(), label.numpy()) for image, label in found]

    def draw(self, training: argparse.Namespace, num_draws: int = 1) -> list[Pair]:
        """The batch with these options; of several draws of the mixing, the one that changes the most labels."""
        paste = self.paste if training.copypaste else None
        config = LoaderConfig(self.mean, self.std, torch.device("cpu"))
        images, labels = _batch(training, self.pixels, config, paste, self.counts, self.step)
        mixed = _mixed(training, self.data, images, labels, range(self.step, self.step + num_draws))
        images, labels = max(mixed, key=lambda pair: int((pair[1] != labels).sum()))
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        images = ((images * std + mean) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        return list(zip(images.numpy(), labels.to(torch.uint8).numpy(), strict=True))


def _changed(training: argparse.Namespace, changes: dict[str, Any]) -> argparse.Namespace:
    return argparse.Namespace(**(vars(training) | changes))


def _pasting(
    training: argparse.Namespace, data: Dataset, statistics: DatasetStatistics, pixels: Files
) -> CopyPaste | None:
    return build.pasting(training, data, statistics, pixels)


def _batch(
    training: argparse.Namespace,
    pixels: Files,
    config: LoaderConfig,
    paste: CopyPaste | None,
    counts: np.ndarray,
    step: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of one step of the first epoch, before mixing."""
    batches = build.train_batches(training, pixels, config, paste, counts)
    return next(iter(batches.epoch(0, step)))


def _mixed(
    training: argparse.Namespace, data: Dataset, images: torch.Tensor, labels: torch.Tensor, steps: range
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """A batch as it is mixed in several steps."""
    mix = build.mixing(training, data)
    return [mix(images, labels, 0, step) for step in steps]
