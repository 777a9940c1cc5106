"""--time_budget: measures on the network of the run how many steps fit, before the run begins.

The measurement is undone: the run that follows equals one with --steps. The learning rate is 0 during the measurement. Its first
steps do not count: they allocate memory, choose algorithms and use up the batches that loader processes have prepared. Where the
budget is short, fewer steps and images are measured: before each piece, the measurement asks its `Allowance`.
"""

from __future__ import annotations

import bisect
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from typing import NoReturn, cast

import torch

from helpers.errors import InputError
from helpers.history import History, extend_history
from helpers.output import temporary
from helpers.run_folder import RunFolder
from learning import checkpoint, distributed
from learning.data.datasets.base import Dataset
from learning.data.loaders import EvalBatch
from learning.run import summary
from learning.run.build import Run
from learning.run.state import RunState, load_state, to_checkpoint
from learning.training.engine import Prediction, train_epoch, validate_epoch
from learning.training.nonfinite import NonFiniteGuard
from learning.training.schedule import RunLength
from options import DataOptions, RunOptions, TrainingOptions

SHARE = 0.03  # of the budget, for measuring steps, and the same again for measuring validation
LEAST, MOST = 4, 50  # number of steps that are measured
LIMIT = 0.08  # of the budget, for all steps of the measurement, where `SHARE` and `LEAST` would take longer
VALIDATION_LIMIT = 0.06  # the same for measuring validation
PROBE = 128  # side in pixels of the image whose forward pass gives the first estimate
CLEARLY = 1.5  # a budget is refused by that estimate if a step and a validation take longer by this factor
MARGIN = 1.15  # the shortest budget that works is named longer than estimated by this factor

Clock = Callable[[], float]
Show = Callable[[RunFolder, Dataset, History, list[Prediction]], object]


@dataclass(frozen=True)
class Pace:
    """Seconds that the parts of a run take.

    Args:
        step: one step, with loading and mixing its batch.
        epoch: overhead of an epoch: its first batch.
        validation: a validation of the whole split, with logs, pictures, checkpoint and best weights.
        saving: another checkpoint; at most as long as a validation.
        save_every: between two saves, if validations are farther apart.
    """

    step: float
    epoch: float
    validation: float
    saving: float = 0.0
    save_every: float = math.inf

    def text(self, about: str = "") -> str:
        """The pace in a sentence."""
        overhead = f"each epoch {self.epoch:.3g} s more, " if self.epoch else ""
        return f"a step takes {about}{self.step:.3g} s, {overhead}a validation {about}{self.validation:.3g} s"

    def seconds(self, length: RunLength) -> float:
        """Duration of a run."""
        training = length.total_steps * self.step + length.epochs * self.epoch
        further_saves = max(0.0, training / self.save_every - length.validations)
        return training + length.validations * self.validation + further_saves * self.saving

    def steps_within(self, seconds: float, steps_per_epoch: int, validate_every: int) -> int:
        """The largest number of steps that take at most some seconds; 0 if not even one step fits."""
        most = int(seconds / self.step) if seconds > 0 else 0
        return bisect.bisect_right(
            range(1, most + 1),
            seconds,
            key=lambda total: self.seconds(RunLength(steps_per_epoch, total, validate_every)),
        )


@dataclass(frozen=True)
class Budget:
    """A --time_budget.

    Args:
        minutes: from the start of the program to the end of the last validation.
        started: start of the program, by `clock`.
        save_minutes: longest time between two saves, in minutes.
        num_workers: loader processes.
        clock: seconds, such as `time.monotonic`.
    """

    minutes: float
    started: float
    save_minutes: float
    num_workers: int
    clock: Clock = time.monotonic

    @classmethod
    def of(cls, training: TrainingOptions, run: RunOptions, data: DataOptions, started: float) -> Budget | None:
        """The --time_budget; None without one, or if the steps of the run are set already."""
        if not training.time_budget or training.steps:
            return None
        return cls(training.time_budget, started, run.save_minutes, data.num_workers)

    def left(self) -> float:
        """Seconds until the end of the budget."""
        return 60 * self.minutes - (self.clock() - self.started)

    def timed(self, work: Callable[[], object]) -> float:
        """Duration of a call, in seconds."""
        began = self.clock()
        work()
        return self.clock() - began


class Allowance:
    """A share of the budget that a part of the measurement may take, from now on."""

    def __init__(self, budget: Budget, share: float) -> None:
        self.clock = budget.clock
        self.end = budget.clock() + share * 60 * budget.minutes

    def number(self, seconds: float) -> int:
        """How many more pieces of some seconds fit; the same in all processes."""
        fitting = int(max(0.0, self.end - self.clock()) / max(seconds, 1e-9))
        return -distributed.all_reduce_max(-fitting)


def fix_steps(run: Run, folder: RunFolder, budget: Budget, show: Show = summary.show_epoch) -> Run:
    """The run with as many steps as fit into the budget.

    Args:
        run: at its start; its state is the same afterwards.
        folder: the run folder; is made.
        show: writes logs and pictures of an epoch: function of (folder, dataset, history, predictions).

    Raises:
        InputError: not even one step with its validation fits.
    """
    if distributed.is_main():
        folder.create()
        print(f"measuring how many steps take {budget.minutes:g} minutes", flush=True)
    before = deepcopy(to_checkpoint(run, RunState()))
    startup = 60 * budget.minutes - budget.left()
    pace = _estimated_pace(run, budget)
    if distributed.all_reduce_max(pace.seconds(RunLength(1, 1)) > CLEARLY * budget.left()):
        _refuse(folder, budget, startup, pace, "about ")
    pace = measure(run, folder, budget, show)
    load_state(run, before, "the start of the run")
    left = budget.left()
    steps = pace.steps_within(left, run.length.steps_per_epoch, run.length.validate_every)
    steps = distributed.all_reduce_max(steps if distributed.is_main() else 0)
    if not steps:
        _refuse(folder, budget, startup, pace)
    if distributed.is_main():
        print(f"{pace.text()}: --steps {steps}", flush=True)
    return run.with_steps(steps)


def _refuse(folder: RunFolder, budget: Budget, startup: float, pace: Pace, about: str = "") -> NoReturn:
    """Raise `InputError` for a budget that is too short, with one that is not; remove the run folder if it is empty."""
    for path in (folder.images, folder.path):
        with suppress(OSError):  # not empty, or removed by another process
            path.rmdir()
    raise InputError(
        f"--time_budget {budget.minutes:g} is too short for one step and its validation: the start took {startup:.3g} s, "
        f"{pace.text(about)}; the shortest that works here is about --time_budget {_shortest(startup, pace):g}"
    )


def _shortest(startup: float, pace: Pace) -> float:
    """Minutes of the shortest budget that holds a step and a validation, to two digits, rounded up."""
    overrun = pace.step + pace.validation  # each allowance may end within one
    needed = startup + overrun + pace.seconds(RunLength(1, 1))
    minutes = MARGIN * needed / (1 - LIMIT - VALIDATION_LIMIT) / 60
    digit = 10.0 ** (math.floor(math.log10(minutes)) - 1)
    return math.ceil(minutes / digit) * digit


def _estimated_pace(run: Run, budget: Budget) -> Pace:
    """The pace on a CPU by a forward pass of a small image, because a single step at full size may take longer than the budget.

    A step takes as long as three forward passes. On other devices, where the first pass takes longest, everything is 0.
    """
    if run.compute.device.type != "cpu" or run.options["compile"]:
        return Pace(0.0, 0.0, 0.0)
    model = run.network.model.eval()
    image = torch.zeros(1, 3, PROBE, PROBE)
    with torch.inference_mode(), run.compute.precision.autocast():
        # The fastest of three: the first allocates memory, another may wait for the CPU.
        fastest = min(budget.timed(lambda: model(image)) for _ in range(3))
    seconds = fastest / PROBE**2 / distributed.world_size()  # per pixel
    num_val = len(run.data.dataset.split("val"))
    crop = math.prod(cast("tuple[int, int]", run.options["crop_size"]))
    return Pace(3 * seconds * crop * run.step_size, 0.0, seconds * math.prod(run.data.test_size) * num_val)


def measure(run: Run, folder: RunFolder, budget: Budget, show: Show) -> Pace:
    """Measure how long training, validating, saving and drawing take."""
    step = _measure_steps(run, budget)
    first_batch = budget.timed(lambda: next(iter(run.train_batches.epoch(0))))
    validation, predictions = _measure_validation(run, budget)
    saving = drawing = saving_best = 0.0
    if distributed.is_main():
        saving, drawing, saving_best = _measure_saving(run, folder, budget, show, predictions)
    distributed.barrier()
    return Pace(step, first_batch, validation + saving + drawing + saving_best, saving, 60 * budget.save_minutes)


def _measure_steps(run: Run, budget: Budget) -> float:
    """Seconds per step."""
    guard = NonFiniteGuard(run.network.model, sys.maxsize)
    training = replace(run.training, rate_at=lambda epoch, step: 0.0, guard=guard)
    batches = chain.from_iterable(map(run.train_batches.epoch, count()))

    def train_on(number: int) -> float:
        """Seconds per step of some steps."""

        def work() -> None:
            metrics = run.metrics()
            train_epoch(training, islice(batches, number), metrics, 0, lambda *_: None)
            metrics.mean_loss()  # waits for the device

        return budget.timed(work) / number

    allowance = Allowance(budget, LIMIT)
    step = train_on(1)
    if run.compute.device.type != "cpu" or run.options["compile"]:
        # The first step of a GPU or a compiled network takes far longer than the others, and the run would need it, too.
        allowance = Allowance(budget, LIMIT)
    prepared = 1 + 2 * min(budget.num_workers, os.cpu_count() or 1)
    for _ in range(1 + prepared):
        if allowance.number(step) <= LEAST:  # the steps to be measured come first
            break
        step = train_on(1)
    number = distributed.all_reduce_max(_affordable(step, budget, LEAST, MOST))
    number = min(number, allowance.number(step))
    return train_on(number) if number else step


def _affordable(seconds: float, budget: Budget, least: int, most: int) -> int:
    """Number of repetitions, of some seconds each, that `SHARE` of the budget allows."""
    return max(least, min(most, int(SHARE * 60 * budget.minutes / max(seconds, 1e-9))))


def _measure_validation(run: Run, budget: Budget) -> tuple[float, list[Prediction]]:
    """Seconds of a whole validation, and the predictions of its first batch, or of one image where the budget is short."""
    predictions: list[Prediction] = []

    def validate_on(batches: Iterable[EvalBatch]) -> float:
        def work() -> None:
            metrics = run.metrics()
            predictions[:] = validate_epoch(
                run.evaluated_parallel,
                batches,
                run.training.criterion,
                run.compute.precision.autocast,
                metrics,
                lambda *_: None,
            )
            metrics.mean_loss()  # waits for the device

        return budget.timed(work)

    num_batches = len(run.val_batches)
    allowance = Allowance(budget, VALIDATION_LIMIT)
    began = budget.clock()
    first = list(islice(run.val_batches, 1))  # empty where there are more processes than images
    loading = budget.clock() - began
    batch = loading + validate_on([batch.first_image() for batch in first]) * sum(len(batch.samples) for batch in first)
    if not allowance.number(batch):
        return batch * num_batches, predictions
    batch = validate_on(islice(run.val_batches, 1))
    number = min(_affordable(batch, budget, 1, num_batches), max(1, allowance.number(batch)))
    return validate_on(islice(run.val_batches, number)) * num_batches / number, predictions


def _measure_saving(
    run: Run, folder: RunFolder, budget: Budget, show: Show, predictions: list[Prediction]
) -> tuple[float, float, float]:
    """Seconds to save a checkpoint, to write the logs and images of a validation, and to save the best weights.

    Everything is written into a temporary folder inside the run folder.
    """
    figures = dict.fromkeys(("loss", "acc", "macc", "miou"), 0.5)
    history = extend_history({}, figures, figures, 0.01, 1.0, 1.0)
    with temporary(folder.path / "time_budget") as path:
        place = RunFolder(path)
        place.create()
        state = to_checkpoint(run, RunState())
        weights = {"model_state_dict": run.evaluated.state_dict(), "options": run.options}
        show(place, run.data.dataset, history, predictions)  # the first picture takes longer
        drawing = budget.timed(lambda: show(place, run.data.dataset, history, predictions))
        saving = budget.timed(lambda: checkpoint.save(state, place.checkpoint, place.previous))
        saving_best = budget.timed(lambda: checkpoint.save(weights, place.best))
    return saving, drawing, saving_best
