"""The data that are measured with: drawn street scenes in a working folder, or a data set of the user's."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from helpers.output import replacing_folders
from learning.data.datasets import open_dataset
from learning.data.datasets.base import Dataset
from minicity.layout import IMAGES, LABELS, paths
from minicity.scenes import write_scenes
from tools.benchmark.measure import num_cores, progress
from tools.benchmark.settings import FULL_SIZE, Workload

NUM_SCENES = 16  # distinct scenes; larger data sets repeat them under other names
PATTERN = "synth_{:06d}_000019"


def draw_scenes(folder: Path, size: tuple[int, int], num_scenes: int) -> Path:
    """A MiniCity folder of `num_scenes` drawn training images and one validation image, reused from an earlier run."""
    path = folder / f"drawn-{size[0]}x{size[1]}-{num_scenes}"
    if not (path / IMAGES).is_dir():
        progress(f"drawing {num_scenes} scenes of {size[0]}x{size[1]}")
        is_small = num_scenes * size[0] * size[1] < 1 << 22
        workers = 1 if is_small else min(num_cores(), num_scenes)
        write_scenes(path, 0, size, {"train": num_scenes, "val": 1}, workers)
    return path


def make_street_data(folder: Path, size: tuple[int, int], num_train: int, num_val: int) -> Path:
    """A MiniCity folder of `num_train` and `num_val` images, made of at most `NUM_SCENES` distinct scenes."""
    num_scenes = min(NUM_SCENES, max(num_train, num_val))
    source = draw_scenes(folder, size, num_scenes)
    path = folder / f"street-{size[0]}x{size[1]}-{num_train}-{num_val}"
    if path.is_dir():
        return path
    with replacing_folders(path) as (new_path,):
        for split, count in (("train", num_train), ("val", num_val)):
            (new_path / IMAGES / split).mkdir(parents=True)
            (new_path / LABELS / split).mkdir(parents=True)
            for index in range(count):
                scene = paths(source, "train", PATTERN.format(index % num_scenes))
                for old, new in zip(scene, paths(new_path, split, PATTERN.format(index)), strict=True):
                    link(old, new)
    return path


def link(old: Path, new: Path) -> None:
    """Hard-link a file, or copy it where the file system has no links."""
    with suppress(OSError):
        os.link(old, new)
        return
    shutil.copyfile(old, new)


def open_workload_data(workload: Workload, folder: Path, num_train: int, num_val: int) -> Dataset:
    """The data set of the user, else a drawn one of `num_train` and `num_val` images."""
    if workload.dataset_path:
        return open_dataset(workload.dataset, workload.dataset_path)
    return open_dataset("minicity", make_street_data(folder, workload.size or FULL_SIZE, num_train, num_val))
