"""Write a data set of drawn street scenes."""

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

from helpers.images import write_png
from minicity.drawing.scene import draw_scene
from minicity.layout import IMAGES, LABELS, new_data_set, paths


def write_scenes(output: Path, seed: int, size: tuple[int, int], counts: Mapping[str, int], num_workers: int) -> None:
    """Write a data set into `output`.

    Args:
        size: (height, width).
        counts: number of images by split; "test" images have no labels.
        num_workers: number of processes; 1 draws in this one.

    Raises:
        InputError: `output` already contains a data set, or cannot be written to.
    """
    jobs = [(split, index) for split, count in counts.items() for index in range(count)]
    with new_data_set(output) as folder:
        for split, count in counts.items():
            if count:
                (folder / IMAGES / split).mkdir(parents=True)
            if count and split != "test":
                (folder / LABELS / split).mkdir(parents=True)
        _write_all(partial(_write_scene, folder, seed, size), jobs, num_workers)


def _write_all(write: Callable[[tuple[str, int]], None], jobs: list[tuple[str, int]], num_workers: int) -> None:
    bar = partial(tqdm, total=len(jobs), desc="drawing", unit="image", disable=None)
    if num_workers == 1:
        for job in bar(jobs):
            write(job)
        return
    # Spawn, because a forked process would inherit the threads of the caller in an undefined state.
    with ProcessPoolExecutor(min(num_workers, len(jobs)), multiprocessing.get_context("spawn")) as processes:
        for _ in bar(processes.map(write, jobs, chunksize=4)):
            pass


def _write_scene(folder: Path, seed: int, size: tuple[int, int], job: tuple[str, int]) -> None:
    split, index = job
    image, labels, instances = draw_scene(seed, split, index, size)
    image_path, labels_path, instances_path = paths(folder, split, f"synth_{index:06d}_000019")
    write_png(image_path, image, compress_level=1)  # noise does not compress; a higher level only takes longer
    if split != "test":
        write_png(labels_path, labels)
        write_png(instances_path, instances)
