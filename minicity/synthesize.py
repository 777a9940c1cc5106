"""Draw street scenes with labels and instances in the layout of MiniCity, for those who have no data set yet.

Each image depends only on --seed, its split and its number: more images, or more processes, do not change the others.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers.errors import InputError, exit_status
from helpers.parsing import Parser
from minicity.layout import command_options, refuse_existing
from minicity.scenes import write_scenes

_MIN_SIDE = 32
_MIN_TRAINING_SIDE = 64  # of baseline.py
_QUICK_SIDE = 192  # of the training that is suggested


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the requested data set.

    Raises:
        InputError: the output folder already has a data set or cannot be written to, or an option is out of range.
    """
    options = _parse(argv)
    output = Path(options.output)
    size = _size(options.size)
    counts = {"train": options.num_train, "val": options.num_val, "test": options.num_test}
    refuse_existing(output)
    write_scenes(output, options.seed, size, counts, options.num_workers)
    shorter = min(1.0, _QUICK_SIDE / max(size))
    training_size = [max(_MIN_TRAINING_SIDE, round(length * shorter)) for length in size]
    crop_size = [max(_MIN_TRAINING_SIDE, length * 3 // 4) for length in training_size]
    sizes = " ".join(
        f"--{name} {height} {width}"
        for name, (height, width) in (
            ("train_size", training_size),
            ("test_size", training_size),
            ("crop_size", crop_size),
        )
    )
    print(
        f"{sum(counts.values())} images of {size[0]}x{size[1]} are in {output}; next, in 5 minutes on any machine: "
        f"python baseline.py{command_options(output)} --model UNet {sizes} --batch_size 8 --lr_init 0.05 --time_budget 5"
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m minicity.synthesize",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    add = parser.add_argument
    add("--output", default="./minicity", help="folder of the new data set (default: %(default)s)")
    add("--num_train", type=int, default=200, help="training images (default: %(default)s)")
    add("--num_val", type=int, default=100, help="validation images (default: %(default)s)")
    add("--num_test", type=int, default=50, help="test images, without labels (default: %(default)s)")
    add(
        "--size",
        type=int,
        nargs="+",
        default=[256, 512],
        help="height and width; one number is a square (default: 256 512)",
    )
    add("--seed", type=int, default=0, help="another seed draws other scenes (default: %(default)s)")
    add("--num_workers", type=int, default=num_cores, help="number of processes (default: %(default)s)")
    options = parser.parse_args(argv)
    for name, least in (("num_train", 1), ("num_val", 1), ("num_test", 0), ("num_workers", 1), ("seed", 0)):
        value = getattr(options, name)
        if value < least:
            raise InputError(f"--{name} {value}: it must be at least {least}")
    if options.seed >= 2**63:
        raise InputError(f"--seed {options.seed}: it must be below 2^63")
    return options


def _size(lengths: Sequence[int]) -> tuple[int, int]:
    """(height, width) from one or two numbers."""
    if len(lengths) > 2 or min(lengths) < _MIN_SIDE:
        got = " ".join(map(str, lengths))
        raise InputError(f"--size {got}: give a height and a width of at least {_MIN_SIDE}, such as --size 256 512")
    return lengths[0], lengths[-1]


if __name__ == "__main__":
    sys.exit(exit_status("python -m minicity.synthesize", main, None))
