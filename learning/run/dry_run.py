"""--dry_run: measures memory and duration with one step of everything at full size; nothing is kept."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import torch

from helpers.progress import duration
from helpers.run_folder import RunFolder
from helpers.scoring import scores
from learning import checkpoint
from learning.inference.predict import MST_SCALES, InferenceSettings, predict_images
from learning.run import summary
from learning.run.build import Run, build_run
from learning.run.setup import Setup
from learning.run.time_budget import Pace
from learning.training.engine import train_epoch, validate_epoch
from learning.training.schedule import RunLength

Result = TypeVar("Result")


def dry_run(setup: Setup) -> None:
    """Do every part of a run once, and print the duration of each part and of the whole run."""
    with closing(build_run(setup)) as run:
        print(summary.first_screen(setup, run))
        command = setup.options.run
        _measure_and_print(run, setup.folder, command.save_minutes, setup.options.prediction.mst)


def _measure_and_print(run: Run, folder: RunFolder, save_minutes: float, mst: bool) -> None:
    step = _time_training(run)
    autocast = run.compute.precision.autocast
    batch = next(iter(run.val_batches)).first_image()
    assert batch.labels is not None
    _, validation = _timed(
        "validation of 1 image",
        lambda: validate_epoch(
            run.evaluated_parallel, [batch], run.training.criterion, autocast, run.metrics(), lambda *_: None
        ),
    )
    parallel = run.network.parallel
    single_scale = InferenceSettings(autocast=autocast)
    all_scales = InferenceSettings(MST_SCALES, flip=True, autocast=autocast)
    _, single = _timed(
        "prediction of 1 image, single scale", lambda: list(predict_images(parallel, [batch], single_scale))
    )
    ((_, prediction),), multi_scale = _timed(
        "prediction of 1 image, --mst", lambda: list(predict_images(parallel, [batch], all_scales))
    )
    saving = _time_saving(run, folder.checkpoint.name)
    truth = batch.labels[0].cpu().numpy()
    _timed("evaluation of 1 image", lambda: scores.confusion_matrix(truth, prediction, 256))

    num_val = len(run.data.dataset.split("val"))
    pace = Pace(step, 0.0, num_val * validation + 2 * saving, saving, 60 * save_minutes)
    steps_per_epoch = run.length.steps_per_epoch
    epoch = pace.seconds(RunLength(steps_per_epoch, steps_per_epoch))
    total = pace.seconds(run.length) + num_val * (multi_scale if mst else single)
    print(
        f"peak memory {peak_memory(run.compute.device)}; an epoch with its validation about {duration(epoch)}, "
        f"the whole run about {duration(total)} and the time to read the data. Nothing was kept."
    )


def _timed(description: str, work: Callable[[], Result]) -> tuple[Result, float]:
    """The result of a call and its duration in seconds, which is printed."""
    began = time.monotonic()
    result = work()
    seconds = time.monotonic() - began
    print(f"{description:<42} {seconds:8.2f} s", flush=True)
    return result, seconds


def _time_training(run: Run) -> float:
    """Seconds per training step; the first step, which allocates memory, is printed but not returned."""

    def train_on(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        # Reading the mean loss waits for the device.
        train_epoch(run.training, batches, run.metrics(), 0, lambda _, metrics: metrics.mean_loss())

    batch = next(iter(run.train_batches.epoch(0)))
    _timed("first training step", lambda: train_on([batch]))
    _, step = _timed("training step", lambda: train_on([batch]))
    return step


def _time_saving(run: Run, name: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        state = {
            "model_state_dict": run.network.model.state_dict(),
            "optimizer_state_dict": run.training.optimizer.state_dict(),
        }
        _, seconds = _timed("saving a checkpoint", lambda: checkpoint.save(state, Path(folder) / name))
    return seconds


def peak_memory(device: torch.device) -> str:
    """The most memory that was in use so far: the GPU's or, on the CPU, the process's."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB of the GPU"
    import resource  # not on every system

    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f} GiB"
