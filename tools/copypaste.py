"""Make new training images: objects of rare classes pasted on images that show little of these classes.

Objects are cut out of the training images, scaled, turned and mirrored at random, and pasted near the row where they stood, on
the ground that they belong to, as `baseline.py --copypaste` does it while it trains. The new images and labels (and instance
maps, where the data set has them) go into a folder of the data set's own layout that has a training split only, with a picture
to look at, copypaste.png, and a record, copypaste.json.
"""

import argparse
import json
import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from helpers.errors import InputError, exit_status
from helpers.image_sheets import pair_sheet
from helpers.images import read_instances, read_label, write_png
from helpers.parsing import Parser
from helpers.run_folder import write_text
from helpers.threads import map_in_threads
from learning.data.datasets import DATASETS, open_dataset
from learning.data.datasets.extra import RECORD, read_sources
from learning.data.datasets.splits import TRAIN_ON, select
from learning.data.datasets.statistics import dataset_statistics
from learning.run import setup

_PROGRAM = "python -m tools.copypaste"
_PICTURE = "copypaste.png"
_SHOWN = 4  # new images of each class in the picture


def main(argv=None):
    """Make the images that the words of `argv` ask for.

    Raises:
        InputError: wrong options or data, an output folder that is taken, or a class without objects or places for them.
    """
    options = _parse(argv)
    data = open_dataset(options.dataset, options.dataset_path or f"./{options.dataset}")
    data = _without_held_out(data, options.train_on, options.holdout)
    classes = data.labels.train_ids(dict.fromkeys(options.classes), "--classes")
    rules = setup.blob_rules(options, data)
    output = Path(options.output).resolve()
    _check_output(output, Path(data.root).resolve(), options.force)
    older = read_sources(data.root)  # of a folder that this program has made
    found = dataset_statistics(data, "train")

    from learning.data.augmentation.copy_paste import grounds_of
    from learning.data.augmentation.object_bank import build_bank
    from learning.data.cache import Files  # and torch

    pixels = Files(data.split("train"), data.decode)
    bank = build_bank(pixels, found, classes, data.labels, options.seed)
    print(bank.summary(data.labels.names))
    factory = Factory(data, pixels, bank, grounds_of(classes, rules), options.objects, options.seed)
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        made = factory.write(partial, classes, options.num)
        before, after = found.pixels.sum(0), found.pixels.sum(0) + sum(one.pixels for one in made)
        record = {
            "options": vars(options),
            "pixels": {
                name: pair for name, *pair in zip(data.labels.names, before.tolist(), after.tolist(), strict=True)
            },
            "canvases": {one.name: one.canvas for one in made},
            "sources": sorted(older | sources(bank, data.split("train"))),
        }
        write_text(partial / RECORD, json.dumps(record, indent=1))
        rows = {data.labels.names[c]: [one.shown for one in made if one.train_id == c and one.shown] for c in classes}
        pair_sheet(rows, data.labels).savefig(partial / _PICTURE)
        if output.exists():
            shutil.rmtree(output)
        os.replace(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(table(data.labels.names, classes, before, after), end="\n\n")
    print(f"{len(made)} images are in {output}; look at {output / _PICTURE}")


def _parse(argv):
    parser = Parser(prog=_PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--dataset", choices=tuple(DATASETS), default="minicity", help="format (default: %(default)s)")
    add("--dataset_path", metavar="FOLDER", help="folder of the data (default: ./ and the name)")
    add("--train_on", choices=TRAIN_ON, default=TRAIN_ON[0], help="as for baseline.py (default: %(default)s)")
    add("--holdout", metavar="NAME", help="as for baseline.py: nothing is taken from images that are held out")
    add("--classes", nargs="+", required=True, metavar="CLASS", help="the rare classes")
    add("--num", type=int, default=50, metavar="N", help="new images a class (default: %(default)s)")
    add("--objects", type=int, default=8, metavar="N", help="paste 1 to N objects an image (default: %(default)s)")
    add("--blob_rules", metavar="RULES", help='grounds: "road: bus, train; sidewalk: wall" (default: the data set\'s)')
    add("--seed", type=int, default=0, help="of every random choice (default: %(default)s)")
    add("--output", required=True, metavar="FOLDER", help="folder of the new data set")
    add("--force", action="store_true", help="replace FOLDER where it holds what this program made before")
    options = parser.parse_args(argv)
    for name, low, high in (("num", 1, 10000), ("objects", 1, 100), ("seed", 0, 2**63 - 1)):
        if not low <= getattr(options, name) <= high:
            raise InputError(f"--{name} {getattr(options, name)}: expected {low} .. {high}")
    return options


def _without_held_out(data, train_on, holdout):
    """The data set with those images in its training split that a run with these options would train on."""
    chosen = set(select(data, train_on, holdout).split("train"))
    kept = tuple(sample for sample in data.split("train") if sample in chosen)
    if not kept:
        raise InputError(f"--holdout {holdout} holds out every image of the training split; hold out less")
    return replace(data, splits={"train": kept})


def _check_output(output, root, force):
    """Refuse a folder that is not free; nothing is touched."""
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is a file; name a folder")
    if output == root or output in root.parents:
        raise InputError(f"--output {output} holds the data set itself; name another folder")
    if output.is_dir() and any(output.iterdir()):
        if not (output / RECORD).is_file():
            raise InputError(f"--output {output} is not empty and not made by {_PROGRAM}; name another folder")
        if not force:
            raise InputError(f"--output {output} holds images made before; name another folder, or add --force")
    parent = next(folder for folder in output.parents if folder.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"--output {output}: {parent} cannot be written to; name another folder")


def sources(bank, samples):
    """set of str: names of the images that new ones may show parts of, whether or not the dice fall so.

    Args:
        bank: learning.data.augmentation.object_bank.Bank.
        samples: tuple of Sample, by the index that the bank knows them by.
    """
    cut = {one.image for objects in bank.objects.values() for one in objects}
    return {samples[index].name for index in cut | set(bank.canvases)}


@dataclass(frozen=True)
class Made:
    """One new image.

    Args:
        train_id: the class whose objects were pasted.
        name, canvas: names of its file and of the image that was pasted on.
        pixels: int64 (C,), pixels of each class in it.
        shown: (uint8 (H, W, 3) with a box around each object, uint8 (H, W) of train ids), or None where it is not in the picture.
    """

    train_id: int
    name: str
    canvas: str
    pixels: np.ndarray
    shown: tuple | None


@dataclass(frozen=True)
class Factory:
    """Makes new images of a data set from a bank.

    Args:
        data: learning.data.datasets.base.Dataset.
        pixels: learning.data.cache.Files of its training images.
        bank, grounds, most, seed: as for `learning.data.augmentation.copy_paste.CopyPaste`.
    """

    data: object
    pixels: object
    bank: object
    grounds: dict
    most: int
    seed: int

    def write(self, folder, classes, num):
        """Write `num` new images of each class into `folder`.

        Returns:
            list of Made

        Raises:
            InputError: no canvas has a place for the objects of a class.
        """
        jobs = [(train_id, index) for train_id in classes for index in range(num)]
        shown = {index * num // _SHOWN for index in range(_SHOWN)}
        return map_in_threads(lambda job: self._make(folder, *job, job[1] in shown), jobs, description="pasting")

    def _make(self, folder, train_id, number, is_shown):
        labels = self.data.labels
        index, pastes = self._draw(train_id, number)
        sample = self.pixels.samples[index]
        image, stamp = stamped(self.pixels.image(index), pastes)
        prefix = f"copypaste_{labels.names[train_id].replace(' ', '-')}_{number:04d}_"

        def write(source, pixels):
            path = folder / source.relative_to(self.data.root).with_name(prefix + source.stem + ".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, pixels, compress_level=3)
            return path.name

        name = write(sample.image, image)
        values = labels.ids if self.data.encoding == "ids" else np.arange(256, dtype=np.uint8)
        write(sample.label, np.where(stamp > 0, values[train_id], read_label(sample.label)))
        if sample.instances:
            write(sample.instances, number_instances(read_instances(sample.instances), stamp, labels.classes[train_id]))
        label = np.where(stamp > 0, np.uint8(train_id), self.pixels.label(index).numpy())
        counts = np.bincount(label.ravel(), minlength=256)[: len(labels.classes)]
        shown = (boxed(image, stamp), label) if is_shown else None
        return Made(train_id, name, sample.image.name, counts, shown)

    def _draw(self, train_id, number):
        """(index of a canvas, list of Paste): the first canvas, in a keyed order, on which objects of the class find a place."""
        from learning.data.augmentation.copy_paste import draw_pastes
        from learning.rng import COPYPASTE, generator

        canvases = list(self.bank.canvases)
        order = generator(self.seed, COPYPASTE, train_id).permutation(canvases).tolist()
        rng = generator(self.seed, COPYPASTE, train_id, number + 1)
        for attempt in range(len(order)):
            index = order[(number + attempt) % len(order)]
            wanted = int(rng.integers(1, self.most, endpoint=True))
            if pastes := draw_pastes(rng, self.bank, (train_id,), self.grounds, index, wanted):
                return index, pastes
        raise InputError(
            f"no image has a place for the objects of {self.data.labels.names[train_id]}: leave the class out, or name the "
            "ground it stands on with --blob_rules"
        )


def stamped(image, pastes):
    """Paste objects on an image, and say which stands where.

    Args:
        image: uint8 tensor (3, H, W).
        pastes: list of learning.data.augmentation.copy_paste.Paste.

    Returns:
        (uint8 (H, W, 3), uint8 (H, W)): the image, and 1 + the place in the list of the object that is seen at a pixel, or 0.
    """
    from learning.data.augmentation.copy_paste import paste

    numbered = [replace(one, train_id=place) for place, one in enumerate(pastes, 1)]
    image, stamp = paste(image, image.new_zeros(image.shape[1:]), numbered)
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy()), stamp.numpy()


def number_instances(instances, stamp, row):
    """Instance map with the pasted objects in it.

    Args:
        instances: integer (H, W), as `helpers.images.read_instances`.
        stamp: uint8 (H, W), as `stamped`.
        row: helpers.labels.Label of the objects' class; each is a new instance of it, or a region where the class has none.

    Returns:
        uint16 (H, W)
    """
    result = instances.astype(np.int64)
    taken = result[result // 1000 == row.id]
    first = taken.max() + 1 if len(taken) else row.id * 1000
    for place in range(1, int(stamp.max()) + 1):
        result[stamp == place] = first + place - 1 if row.has_instances else row.id
    return result.astype(np.uint16)


def boxed(image, stamp):
    """The image with a yellow box around each object of `stamp`."""
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for place in range(1, int(stamp.max()) + 1):
        rows, columns = np.nonzero(stamp == place)
        if len(rows):
            box = columns.min() - 2, rows.min() - 2, columns.max() + 2, rows.max() + 2
            draw.rectangle([int(edge) for edge in box], outline=(255, 255, 0), width=max(1, image.shape[1] // 400))
    return np.asarray(picture)


def table(names, classes, before, after):
    """Pixels of each class before and after, as text.

    Args:
        names: class names by train id.
        classes: train ids of those that were pasted; they are marked.
        before, after: int64 (C,), pixels of the training images, and of these and the new ones together.

    Returns:
        str
    """
    lines = [f"{'class':<17}{'pixels before':>15}{'%':>9}{'pixels after':>15}{'%':>9}"]
    shares = [100 * pixels / max(1, pixels.sum()) for pixels in (before, after)]
    for c, name in enumerate(names):
        mark = "* " if c in classes else "  "
        lines.append(f"{mark}{name:<15}{before[c]:>15}{shares[0][c]:>9.3f}{after[c]:>15}{shares[1][c]:>9.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(exit_status(_PROGRAM, main, None))
