"""The settings of a measurement, and the command line they come from. No torch."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import options
from helpers.errors import InputError
from helpers.parsing import Help, Parser, Size, Switch
from learning.run import command_line

PROGRAM = "python -m tools.benchmark"
PARTS = ("train", "predict", "data", "evaluate")  # in the order of `all`
ALL = "all"
VARIANTS = (
    *("ours", "tutorial", "blocks", "cache_off", "cache_disk", "cache_device", "float32", "bf16", "fp16"),
    *("contiguous", "compile"),
)
MINUTES = 9  # that `all` takes
FULL_SIZE = (1024, 2048)
FULL_CROP = (576, 1152)


@dataclass(frozen=True)
class Workload:
    """The data, network and batches that are measured with.

    Args:
        dataset_path: None for drawn street scenes.
        size, crop_size: (height, width); None for the data set's own.
        num_images: of the drawn training images.
    """

    dataset: str
    dataset_path: str | None
    size: tuple[int, int] | None
    crop_size: tuple[int, int] | None
    augment: str
    batch_size: int
    num_images: int
    model: str
    device: str
    num_workers: int

    @property
    def is_full_size(self) -> bool:
        """Whether the goals apply: 1024x2048 images, crops of 576x1152, batches of 8, DeepLabv3_resnet50."""
        sizes = (self.size, self.crop_size)
        return sizes == (FULL_SIZE, FULL_CROP) and self.batch_size == 8 and self.model == "DeepLabv3_resnet50"


@dataclass(frozen=True)
class Settings:
    """The options of the command line.

    Args:
        part: one of `PARTS`, or `ALL`.
        repeats: rounds, whose medians are reported.
        minutes: no further round starts after that; None for no limit.
        work_path: folder for drawn images and the cache; None for a temporary one.
        as_tutorial: data, train: also measure the tutorial's implementation.
        variants: train; None for a choice by the device.
        peak_tflops: train; None for the value known for the GPU.
        num_pairs: evaluate.
        parts: all.
    """

    part: str
    repeats: int
    minutes: float | None
    work_path: str | None
    as_tutorial: bool
    workload: Workload
    variants: tuple[str, ...] | None
    peak_tflops: float | None
    num_pairs: int
    parts: tuple[str, ...]

    def as_options(self) -> dict[str, object]:
        """Option name -> value, except for the parts."""
        values = asdict(self)
        workload = values.pop("workload")
        return {name: value for name, value in (values | workload).items() if name not in ("part", "parts")}

    def argv_of_part(self) -> list[str]:
        """The arguments that pass these settings to a part of `all`, which gets its own --work_path and --minutes."""
        argv = ["--as_tutorial"]
        for name, value in self.as_options().items():
            if value is None or name in ("as_tutorial", "minutes", "work_path"):
                continue
            argv += [f"--{name}", *map(str, value if isinstance(value, tuple) else [value])]
        return argv


class _Help(Help, argparse.RawDescriptionHelpFormatter):
    """Formats options as baseline.py does."""


def parse(argv: Sequence[str] | None, description: str) -> Settings:
    """Parse and check the command line."""
    usage = f"{PROGRAM} {{{','.join((*PARTS, ALL))}}} [options]"
    parser = Parser(prog=PROGRAM, usage=usage, description=description, formatter_class=_Help)
    _add_general_options(parser)
    _add_workload_options(parser.add_argument_group("data, train and predict"))
    _add_part_options(parser.add_argument_group("single parts"))
    args = parser.parse_args(argv)
    for name in ("size", "crop_size", "variants", "parts"):
        value = getattr(args, name)
        setattr(args, name, value and tuple(value))
    _fill_sizes(args)
    _check(args)
    values = vars(args)
    workload = Workload(**{field.name: values.pop(field.name) for field in fields(Workload)})
    return Settings(workload=workload, **values)


def _add_general_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("part", choices=(*PARTS, ALL), help="what is measured")
    add("--repeats", type=int, default=5, metavar="N", help="rounds, whose medians are taken (default: %(default)s)")
    limit = f"start no further round after that (default: all {MINUTES}, else none)"
    add("--minutes", type=float, metavar="M", help=limit)
    add("--work_path", metavar="FOLDER", help="keep drawn images and cache here (default: a temporary folder)")
    add("--as_tutorial", action=Switch, help="data, train: also measure the tutorial's implementation, for the ratio")


def _add_workload_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    formats = "format of --dataset_path (default: %(default)s)"
    add("--dataset", choices=options.DATASETS, default="minicity", help=formats)
    add("--dataset_path", metavar="FOLDER", help="a data set to measure with (default: drawn street scenes)")
    add("--size", action=Size, help="size of the images (default: 1024 2048, or the data set's)")
    add("--crop_size", action=Size, help="training crop (default: 576 1152, or the data set's)")
    augment = "data: set of augmentations (default: %(default)s)"
    add("--augment", choices=options.AUGMENTS, default="tutorial", help=augment)
    add("--batch_size", type=int, default=8, metavar="N", help="images in a batch (default: %(default)s)")
    add("--num_images", type=int, default=200, metavar="N", help="drawn training images (default: %(default)s)")
    add("--model", choices=options.MODELS, default=options.MODELS[0], help="network (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add("--num_workers", type=int, default=8, metavar="N", help="loader processes, at most one per core (default: 8)")


def _add_part_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    names = f"train: which of {', '.join(VARIANTS)} (default: by the device)"
    add("--variants", nargs="+", choices=VARIANTS, metavar="NAME", help=names)
    peak = "train: peak of the GPU, for the utilization (default: 790 for H100, H200)"
    add("--peak_tflops", type=float, metavar="T", help=peak)
    add("--num_pairs", type=int, default=100, metavar="N", help="evaluate: pairs of images (default: %(default)s)")
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME", help="all: only these parts")


def _fill_sizes(args: argparse.Namespace) -> None:
    """Fill in the sizes of drawn images and of MiniCity's crops."""
    if not args.dataset_path:
        if args.dataset != "minicity":
            raise InputError(f"--dataset {args.dataset}: only minicity can be drawn; name a folder with --dataset_path")
        args.size = args.size or FULL_SIZE
    if args.dataset == "minicity":
        args.crop_size = args.crop_size or FULL_CROP


def _check(args: argparse.Namespace) -> None:
    """Refuse values that are out of range."""
    for name in ("repeats", "batch_size", "num_images", "num_pairs"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name} {getattr(args, name)}: expected at least 1")
    if args.num_images < args.batch_size:
        raise InputError(
            f"--num_images {args.num_images}: expected at least one batch of --batch_size {args.batch_size}"
        )
    for name in ("minutes", "peak_tflops"):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"--{name} {value}: expected a number above 0")
    for name in ("size", "crop_size"):
        size = getattr(args, name)
        if size and not 64 <= min(size) <= max(size) <= 16384:
            raise InputError(f"--{name} {' '.join(map(str, size))}: expected 64 .. 16384 pixels")
    # Refuses these values as baseline.py does.
    command_line.parse(["--device", args.device, "--num_workers", str(args.num_workers)])
    if args.work_path and Path(args.work_path).is_file():
        raise InputError(f"--work_path {args.work_path} is a file; name a folder")
