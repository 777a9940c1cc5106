"""Objects are cut out, pasted on other images, and written as a data set."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from helpers.errors import InputError
from helpers.image_sheets import draw_pairs
from helpers.images import read_instances, read_label, write_png
from helpers.output import Record, replacing_folders
from helpers.threads import map_in_threads
from learning.data.augmentation.copy_paste import Paste, draw_pastes, grounds_of, paste
from learning.data.augmentation.object_bank import Bank, build_bank
from learning.data.cache import FilePixels
from learning.data.datasets.base import Dataset, Sample
from learning.data.datasets.statistics import DatasetStatistics
from learning.rng import COPYPASTE, generator
from tools.copypaste.overview import boxed, table

_OVERVIEW = "copypaste.png"
_NUM_SHOWN = 4  # new images of each class in the overview


@dataclass(frozen=True)
class Request:
    """The images to make.

    Args:
        classes: train ids of the classes to paste.
        rules: (class, ground) train ids, as `learning.data.datasets.blobs.rule_ids`.
        num: new images per class.
        most: objects per image, at most.
        older: names of images of which the training images already show parts.
    """

    classes: list[int]
    rules: list[tuple[int, int]]
    num: int
    most: int
    seed: int
    older: frozenset[str]


@dataclass(frozen=True)
class Made:
    """One new image.

    Args:
        train_id: the class whose objects were pasted.
        canvas: file name of the image that was pasted on.
        pixels: int64 (C,), pixels of each class.
        shown: uint8 (H, W, 3) with a box around each object, and uint8 (H, W) of train ids; None unless in the overview.
    """

    train_id: int
    name: str
    canvas: str
    pixels: np.ndarray
    shown: tuple[np.ndarray, np.ndarray] | None


def make(
    data: Dataset,
    found: DatasetStatistics,
    request: Request,
    output: Path,
    record: Record,
    about: dict[str, object],
) -> None:
    """Write the new data set and print a table of its classes.

    Args:
        found: of the training images.
        about: what the record says besides.
    """
    pixels, names = FilePixels(data.split("train"), data.decode), data.labels.names
    bank = build_bank(pixels, found, request.classes, data.labels, request.seed)
    print(bank.summary(names))
    before = found.pixels.sum(0)
    with replacing_folders(output, record=record) as (folder,):
        made = Factory(data, pixels, bank, request).write(folder)
        after = before + sum(one.pixels for one in made)
        rows = {names[c]: [one.shown for one in made if one.train_id == c and one.shown] for c in request.classes}
        draw_pairs(rows, data.labels).savefig(folder / _OVERVIEW)
        about = about | {
            "pixels": {name: [int(before[c]), int(after[c])] for c, name in enumerate(names)},
            "canvases": {one.name: one.canvas for one in made},
            "sources": sorted(request.older | sources(bank, data.split("train"))),
        }
        files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        record.write(folder, sorted(files), about)
    print(table(names, request.classes, before, after), end="\n\n")
    print(f"{len(made)} images are in {output}; look at {output / _OVERVIEW}")


def sources(bank: Bank, samples: Sequence[Sample]) -> set[str]:
    """Names of the images of which new ones may show parts, whether or not they were drawn."""
    cut = {one.image for objects in bank.objects.values() for one in objects}
    return {samples[index].name for index in cut | set(bank.canvases)}


class Factory:
    """Makes new images of a data set from a bank of objects and canvases."""

    def __init__(self, data: Dataset, pixels: FilePixels, bank: Bank, request: Request) -> None:
        self.data = data
        self.pixels = pixels
        self.bank = bank
        self.request = request
        self.grounds = grounds_of(request.classes, request.rules)

    def write(self, folder: Path) -> list[Made]:
        """Write the new images of each class; raises InputError where no canvas has a place for the objects of a class."""
        num = self.request.num
        jobs = [(train_id, number) for train_id in self.request.classes for number in range(num)]
        shown = {index * num // _NUM_SHOWN for index in range(_NUM_SHOWN)}

        def make_one(job: tuple[int, int]) -> Made:
            train_id, number = job
            return self._make(folder, train_id, number, number in shown)

        return map_in_threads(make_one, jobs, description="pasting")

    def _make(self, folder: Path, train_id: int, number: int, is_shown: bool) -> Made:
        labels = self.data.labels
        index, pastes = self._draw(train_id, number)
        sample = self.data.split("train")[index]
        image, stamp = stamped(self.pixels.image(index), pastes)
        prefix = f"copypaste_{labels.names[train_id].replace(' ', '-')}_{number:04d}_"

        def write(source: Path, pixels: np.ndarray) -> str:
            path = folder / source.relative_to(self.data.root).with_name(prefix + source.stem + ".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, pixels, compress_level=3)
            return path.name

        name = write(sample.image, image)
        assert sample.label is not None  # every training image has one
        values = labels.ids if self.data.encoding == "ids" else np.arange(256, dtype=np.uint8)
        write(sample.label, np.where(stamp > 0, values[train_id], read_label(sample.label)))
        if sample.instances:
            instances = read_instances(sample.instances)
            row = labels.classes[train_id]
            write(sample.instances, number_instances(instances, stamp, row.id, row.has_instances))
        label = np.where(stamp > 0, np.uint8(train_id), self.pixels.label(index).numpy())
        counts = np.bincount(label.ravel(), minlength=256)[: len(labels.classes)]
        shown = (boxed(image, stamp), label) if is_shown else None
        return Made(train_id, name, sample.image.name, counts, shown)

    def _draw(self, train_id: int, number: int) -> tuple[int, list[Paste]]:
        """Index of the first canvas, in a keyed order, on which objects of the class find a place, and these objects."""
        order = generator(self.request.seed, COPYPASTE, train_id).permutation(list(self.bank.canvases)).tolist()
        rng = generator(self.request.seed, COPYPASTE, train_id, number + 1)
        for attempt in range(len(order)):
            index = order[(number + attempt) % len(order)]
            wanted = int(rng.integers(1, self.request.most, endpoint=True))
            if pastes := draw_pastes(rng, self.bank, (train_id,), self.grounds, index, wanted):
                return index, pastes
        raise InputError(
            f"no image has a place for the objects of {self.data.labels.names[train_id]}: leave the class out, or name the "
            "ground it stands on with --blob_rules"
        )


def stamped(image: torch.Tensor, pastes: Sequence[Paste]) -> tuple[np.ndarray, np.ndarray]:
    """Paste objects on an image.

    Args:
        image: uint8 (3, H, W).

    Returns:
        uint8 (H, W, 3), and uint8 (H, W): 1 + the index of the object that is visible at each pixel, 0 for none.
    """
    numbered = [replace(one, train_id=place) for place, one in enumerate(pastes, 1)]
    image, stamp = paste(image, image.new_zeros(image.shape[1:]), numbered)
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy()), stamp.numpy()


def number_instances(instances: np.ndarray, stamp: np.ndarray, label_id: int, has_instances: bool) -> np.ndarray:
    """Instance map with the pasted objects in it, each a new instance.

    Args:
        instances: integer (H, W), as `helpers.images.read_instances`.
        stamp: uint8 (H, W), as `stamped`.
        label_id: of the objects' class.
        has_instances: whether instances of the class are told apart; otherwise the objects are regions of it.

    Returns:
        uint16 (H, W)
    """
    result = instances.astype(np.int64)
    taken = result[result // 1000 == label_id]
    first = taken.max() + 1 if len(taken) else label_id * 1000
    for place in range(1, int(stamp.max()) + 1):
        result[stamp == place] = first + place - 1 if has_instances else label_id
    return result.astype(np.uint16)
