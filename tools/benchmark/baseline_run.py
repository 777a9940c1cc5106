"""The runs of baseline.py that are measured: the only place that knows how it sets a run up."""

from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

from learning.data.datasets.base import Dataset
from learning.run import build, setup
from tools.benchmark.settings import Workload

Parts = build.Parts


class PredictionRun(NamedTuple):
    """A run as for --predict: its resolved options, data and parts."""

    args: Namespace
    data: Dataset
    parts: Parts


def baseline_argv(workload: Workload, folder: Path, data: Dataset, *more: str) -> list[str]:
    """The command line of baseline.py for this workload; nothing is written to its run folder."""
    height, width = map(str, workload.size or data.spec.SIZE)
    crop_height, crop_width = map(str, workload.crop_size or data.spec.CROP_SIZE)
    return [
        *("--save_path", str(folder / "run"), "--cache_path", str(folder / "cache")),
        *("--dataset", data.name, "--dataset_path", str(data.root)),
        *("--train_size", height, width, "--test_size", height, width, "--crop_size", crop_height, crop_width),
        *("--batch_size", str(workload.batch_size), "--model", workload.model),
        *("--device", workload.device, "--num_workers", str(workload.num_workers)),
        *("--seed", "0", "--no-deterministic"),
        *more,
    ]


def resolve_options(argv: list[str]) -> tuple[Namespace, Dataset]:
    """The resolved options and the data of a run."""
    args, data, _, _ = setup.setup_run(argv)
    return args, data


def build_training_run(argv: list[str]) -> Parts:
    """The parts of a run that trains."""
    args, data, surveys, _ = setup.setup_run(argv)
    return Parts(args, data, surveys)


def build_prediction_run(argv: list[str]) -> PredictionRun:
    """The parts of a run that predicts with its initial weights."""
    args, data = resolve_options(argv)
    return PredictionRun(args, data, Parts(args, data, {}))
