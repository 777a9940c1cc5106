"""What is measured with: drawn street scenes in a working folder, or a data set of the user's."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from helpers.output import replacing_folders
from learning.data.datasets import open_dataset
from minicity.layout import IMAGES, LABELS, paths
from minicity.scenes import write_scenes
from tools.benchmark.measure import num_cores, progress

NUM_SCENES = 16  # different ones that are drawn; larger data sets show them again under other names
PATTERN = "synth_{:06d}_000019"


def drawn(folder, size, num_scenes):
    """A MiniCity folder of drawn scenes, from an earlier run where there is one.

    Args:
        folder: working folder.
        size: (height, width).
        num_scenes: number of training images; there is one of validation besides.

    Returns:
        Path
    """
    path = Path(folder) / f"drawn-{size[0]}x{size[1]}-{num_scenes}"
    if not (path / IMAGES).is_dir():
        progress(f"drawing {num_scenes} scenes of {size[0]}x{size[1]}")
        workers = 1 if num_scenes * size[0] * size[1] < 1 << 22 else min(num_cores(), num_scenes)
        write_scenes(path, 0, size, {"train": num_scenes, "val": 1}, workers)
    return path


def street(folder, size, num_train, num_val):
    """A MiniCity folder of `num_train` and `num_val` images, made of at most `NUM_SCENES` different drawn ones.

    Returns:
        Path
    """
    num_scenes = min(NUM_SCENES, max(num_train, num_val))
    source = drawn(folder, size, num_scenes)
    path = Path(folder) / f"street-{size[0]}x{size[1]}-{num_train}-{num_val}"
    if path.is_dir():
        return path
    with replacing_folders(path) as (new_path,):
        for split, count in (("train", num_train), ("val", num_val)):
            (new_path / IMAGES / split).mkdir(parents=True)
            (new_path / LABELS / split).mkdir(parents=True)
            for index in range(count):
                here = paths(source, "train", PATTERN.format(index % num_scenes))
                for old, new in zip(here, paths(new_path, split, PATTERN.format(index)), strict=True):
                    link(old, new)
    return path


def link(old, new):
    """The same file under another name; a copy where the disk knows no links."""
    with suppress(OSError):
        os.link(old, new)
        return
    shutil.copyfile(old, new)


def open_data(settings, folder, num_train, num_val):
    """The data set to measure with: the user's where one is named, else a drawn one.

    Args:
        settings: the options `dataset`, `dataset_path` and `size`.

    Returns:
        learning.data.datasets.base.Dataset
    """
    if settings.dataset_path:
        return open_dataset(settings.dataset, settings.dataset_path)
    return open_dataset("minicity", street(folder, settings.size, num_train, num_val))


def baseline_words(settings, folder, data, *more):
    """list of str: the command line of baseline.py for these settings and data; nothing is written to its run folder."""
    size = " ".join(map(str, settings.size or data.spec.SIZE))
    crop = " ".join(map(str, settings.crop_size or data.spec.CROP_SIZE))
    words = f"--train_size {size} --test_size {size} --crop_size {crop} --batch_size {settings.batch_size}"
    words += f" --model {settings.model} --device {settings.device} --num_workers {settings.num_workers}"
    places = ["--save_path", folder / "run", "--cache_path", folder / "cache"]
    places += ["--dataset", data.name, "--dataset_path", data.root]
    return [*map(str, places), *words.split(), "--seed", "0", "--no-deterministic", *more]
