"""Rows of samples, each with one kind of augmentation."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

import options
from learning.data.cache import FilePixels
from learning.data.datasets.base import Dataset
from learning.data.datasets.statistics import DatasetStatistics
from learning.data.loaders import LoaderConfig, TrainBatches
from learning.rng import draw_order
from learning.run import setup
from learning.run.build_data import build_augmentation, build_copy_paste, build_mixing

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


def draw_rows(sampler: "Sampler") -> dict[str, list[Pair]]:
    """Draw the samples of each row; rows for which the options or the data set have nothing are left out."""
    augmentation = sampler.augmentation
    rows = {"as in the files": sampler.files(), "crop and scale": sampler.draw(replace(augmentation, **PLAIN))}
    for name, changes in ROWS.items():
        row = PLAIN | changes
        if not name.startswith("set"):
            row |= {option: getattr(augmentation, option) or row[option] for option in _TYPED if option in changes}
        if name == "copypaste" and not row["copypaste"]:
            continue
        if name == "copyblob" and not setup.blob_rules(augmentation.blob_rules, sampler.data):
            continue
        rows[name] = sampler.draw(replace(augmentation, **row), _NUM_DRAWS if name in _MIXERS else 1)
    rows["as the options say"] = sampler.draw(augmentation)
    return rows


class Sampler:
    """Draws the same batch of a training with different augmentations.

    Args:
        data_options, augmentation: of the training, all filled in. Whether objects are pasted decides which batch is drawn.
        statistics: of the training images.
        num: images in the batch.
    """

    def __init__(
        self,
        data_options: options.DataOptions,
        augmentation: options.AugmentationOptions,
        seed: int,
        data: Dataset,
        statistics: DatasetStatistics,
        num: int,
    ) -> None:
        self.data = data
        self.data_options = data_options
        self.augmentation = augmentation
        self.seed = seed
        self.num = num
        self.counts = statistics.pixels
        self.pixels = FilePixels(data.split("train"), data.decode)
        # Once: it reads many images.
        self.copy_paste = build_copy_paste(augmentation, seed, data, statistics, self.pixels)
        order = draw_order(seed, 0, len(self.pixels), num) % len(self.pixels)
        # The step with the most images that objects are pasted on.
        canvases = list(self.copy_paste.bank.canvases) if self.copy_paste else []
        self.step = int(np.isin(order, canvases).sum(1).argmax())
        self.indices = order[self.step].tolist()

    def files(self) -> list[Pair]:
        """Images and labels of the batch as they are in the files."""
        found = [(self.pixels.image(index), self.pixels.label(index)) for index in self.indices]
        return [(image.permute(1, 2, 0).numpy(), label.numpy()) for image, label in found]

    def draw(self, augmentation: options.AugmentationOptions, num_draws: int = 1) -> list[Pair]:
        """The batch with this augmentation; of several draws of the mixing, the one that changes the most labels."""
        images, labels = self._batch(augmentation)
        mix = build_mixing(augmentation, self.seed, self.num, self.data)
        mixed = [mix(images, labels, 0, step) for step in range(self.step, self.step + num_draws)]
        images, labels = max(mixed, key=lambda pair: int((pair[1] != labels).sum()))
        mean = torch.tensor(self.data_options.dataset_mean)[:, None, None]
        std = torch.tensor(self.data_options.dataset_std)[:, None, None]
        images = ((images * std + mean) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        return list(zip(images.numpy(), labels.to(torch.uint8).numpy(), strict=True))

    def _batch(self, augmentation: options.AugmentationOptions) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and labels of one step of the first epoch, before mixing."""
        assert self.data_options.dataset_mean, "filled in by fill_defaults"
        assert self.data_options.dataset_std, "filled in by fill_defaults"
        loader = LoaderConfig(self.data_options.dataset_mean, self.data_options.dataset_std, torch.device("cpu"))
        copy_paste = self.copy_paste if augmentation.copypaste else None
        views = build_augmentation(self.data_options, augmentation, overfit=False)
        batches = TrainBatches(self.pixels, loader, self.num, views, self.seed, copy_paste, self.counts)
        return next(iter(batches.epoch(0, self.step)))
