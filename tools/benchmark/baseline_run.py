"""The runs of baseline.py that are measured: the only place that knows how it sets a run up."""

from pathlib import Path

from learning.data.datasets.base import Dataset
from learning.run import build, setup
from learning.run.build import Compute, Run, RunModel
from learning.run.build_data import RunData
from learning.run.setup import Setup
from tools.benchmark.settings import Workload


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


def check_command(argv: list[str]) -> Setup:
    """The command as baseline.py would check it."""
    return setup.setup_run(argv)


def build_training_run(argv: list[str]) -> Run:
    """A run that trains."""
    return build.build_run(setup.setup_run(argv))


def build_prediction_run(argv: list[str]) -> tuple[Compute, RunData, RunModel]:
    """A run that predicts with its initial weights."""
    return build.build_prediction(setup.setup_run(argv))
