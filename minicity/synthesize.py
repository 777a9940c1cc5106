"""Draw street scenes with labels and instances, in MiniCity's layout: a data set for who has none yet.

Every image depends on --seed, its split and its number only, so more images, or more processes, change none of the others.
"""

import argparse
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tqdm import tqdm

from helpers.errors import InputError, exit_status
from helpers.images import write_png
from helpers.parsing import Parser
from minicity.layout import IMAGES, LABELS, command_options, new_data_set, paths, refuse_existing
from minicity.scene import draw_scene

_MIN_SIDE = 32


def main(argv=None):
    """Draw the data set that the words of `argv` ask for.

    Raises:
        InputError: the output folder is taken or cannot be written to, or an option is out of range.
    """
    options = _parse(argv)
    refuse_existing(options.output)
    counts = {"train": options.num_train, "val": options.num_val, "test": options.num_test}
    with new_data_set(options.output) as folder:
        _write_all(folder, options.seed, options.size, counts, options.num_workers)
    height, width = options.size
    # baseline.py takes no size below 64.
    size = " ".join(str(max(64, length)) for length in options.size)
    crop = " ".join(str(max(64, length * 3 // 4)) for length in options.size)
    where = command_options(options.output)
    print(
        f"{sum(counts.values())} images of {height}x{width} are in {options.output}; next: python baseline.py{where} "
        f"--train_size {size} --test_size {size} --crop_size {crop}"
    )


def _parse(argv):
    parser = Parser(
        prog="python -m minicity.synthesize",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--output", default="./minicity", help="folder of the new data set (default: %(default)s)")
    parser.add_argument("--num_train", type=int, default=200, help="training images (default: %(default)s)")
    parser.add_argument("--num_val", type=int, default=100, help="validation images (default: %(default)s)")
    parser.add_argument("--num_test", type=int, default=50, help="test images, no labels (default: %(default)s)")
    parser.add_argument(
        "--size",
        type=int,
        nargs="+",
        default=[256, 512],
        help="height and width; one number is a square (default: 256 512)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other scenes (default: %(default)s)")
    parser.add_argument("--num_workers", type=int, default=cores, help="processes that draw (default: %(default)s)")
    options = parser.parse_args(argv)
    options.size = tuple(options.size * 2 if len(options.size) == 1 else options.size)
    _check(options)
    return options


def _check(options):
    if len(options.size) != 2 or min(options.size) < _MIN_SIDE:
        got = " ".join(map(str, options.size))
        raise InputError(f"--size {got}: give a height and a width of at least {_MIN_SIDE}, such as --size 256 512")
    for name, least in (("num_train", 1), ("num_val", 1), ("num_test", 0), ("num_workers", 1), ("seed", 0)):
        if getattr(options, name) < least:
            raise InputError(f"--{name} {getattr(options, name)}: it must be at least {least}")
    if options.seed >= 2**63:
        raise InputError(f"--seed {options.seed}: it must be below 2^63")


def _write_all(folder, seed, size, counts, num_workers):
    jobs = [(split, index) for split, count in counts.items() for index in range(count)]
    for split, count in counts.items():
        if count:
            (folder / IMAGES / split).mkdir(parents=True)
        if split != "test":
            (folder / LABELS / split).mkdir(parents=True)
    draw = partial(_write_one, folder, seed, size)
    bar = partial(tqdm, total=len(jobs), desc="drawing", unit="image", disable=None)
    if num_workers == 1:
        for job in bar(jobs):
            draw(job)
        return
    # Fresh processes: a fork would copy whatever threads the caller runs.
    with ProcessPoolExecutor(min(num_workers, len(jobs)), multiprocessing.get_context("spawn")) as processes:
        for _ in bar(processes.map(draw, jobs, chunksize=4)):
            pass


def _write_one(folder, seed, size, job):
    split, index = job
    image, labels, instances = draw_scene(seed, split, index, size)
    image_path, labels_path, instances_path = paths(folder, split, f"synth_{index:06d}_000019")
    write_png(image_path, image, compress_level=1)  # noise does not compress; more effort only takes longer
    if split != "test":
        write_png(labels_path, labels)
        write_png(instances_path, instances)


if __name__ == "__main__":
    sys.exit(exit_status("python -m minicity.synthesize", main, None))
