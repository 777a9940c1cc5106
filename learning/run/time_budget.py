"""--time_budget: how many steps end in time, measured on the run's own network before the run begins.

What is measured is undone: the run that follows is the one that --steps would be. Steps are measured at a learning rate of 0,
after some that do not count: the first ones allocate memory, choose algorithms and eat what loader processes have prepared.
"""

import os
import sys
import tempfile
import time
from copy import deepcopy
from dataclasses import replace
from itertools import chain, count, islice
from pathlib import Path

from helpers import run_folder
from helpers.errors import InputError
from helpers.history import extend_history
from learning import checkpoint, distributed
from learning.run.resume import RunState, load_parts, to_checkpoint
from learning.training.engine import train_epoch, validate_epoch
from learning.training.nonfinite import NonFiniteGuard
from learning.training.schedule import Pace

SHARE = 0.03  # of the budget, that measuring steps takes, and again measuring validation
LEAST, MOST = 4, 50  # steps that count


def fix_steps(args, run, parts, show, started, now=time.monotonic):
    """Set --steps to what ends within --time_budget, counted from the program's start to the end of the last validation.

    Args:
        args: the options; `steps` and `epochs` are filled in.
        run: helpers.run_folder.RunFolder; is made.
        parts: learning.run.build.Parts, at the start of a run; is left as it was, but for its plan.
        show: function of (RunFolder, history, predictions) that writes logs and pictures of an epoch.
        started: when the program was, by the clock `now`.

    Raises:
        InputError: not even one step and its validation would end in time.
    """
    if distributed.is_main():
        run.create()
        print(f"measuring how many steps take {args.time_budget:g} minutes", flush=True)
    before = deepcopy(to_checkpoint(args, parts, RunState()))
    pace = measure(args, run, parts, show, now)
    load_parts(args, parts, before, "the start of the run")
    left = 60 * args.time_budget - (now() - started)
    steps = pace.steps_within(left, parts.plan.steps_per_epoch, args.validate_every)
    steps = distributed.all_reduce_max(steps if distributed.is_main() else 0)
    words = f"a step takes {pace.step:.3g} s, each epoch {pace.epoch:.3g} s more, a validation {pace.validation:.3g} s"
    if not steps:
        raise InputError(
            f"--time_budget {args.time_budget:g}: of these minutes {max(left, 0):.3g} s are left after the start, and {words}; "
            "raise it"
        )
    args.steps = steps
    parts.plan_steps(args)
    if distributed.is_main():
        print(f"{words}: --steps {steps}", flush=True)


def measure(args, run, parts, show, now):
    """Train, validate, save and draw a little, and take the time.

    Returns:
        learning.training.schedule.Pace
    """
    training = replace(parts.training, rate_at=lambda *_: 0.0, guard=NonFiniteGuard(parts.model, sys.maxsize))
    metrics, allowed = parts.metrics(), SHARE * 60 * args.time_budget

    def timed(work):
        began = now()
        result = work()
        parts.metrics().mean_loss()  # waits for the device
        return now() - began, result

    def train_on(batches, number):
        return timed(lambda: train_epoch(training, islice(batches, number), metrics, 0, lambda *_: None))[0]

    batches = chain.from_iterable(map(parts.train_batches.epoch, count()))
    prepared = 2 * min(args.num_workers, os.cpu_count() or 1)
    train_on(batches, 2)
    warm = train_on(batches, 1 + prepared) / (1 + prepared)
    number = distributed.all_reduce_max(max(LEAST, min(MOST, int(allowed / max(warm, 1e-9)))))
    step = train_on(batches, number) / number
    first_batch, _ = timed(lambda: next(iter(parts.train_batches.epoch(0))))

    def validate_on(number):
        return timed(
            lambda: validate_epoch(
                parts.scored_network,
                islice(parts.val_batches, number),
                training.criterion,
                parts.precision.autocast,
                parts.metrics(),
                lambda *_: None,
            )
        )

    warm, _ = validate_on(1)
    number = max(1, min(len(parts.val_batches), int(allowed / max(warm, 1e-9))))
    validation, shown = validate_on(number)
    validation *= len(parts.val_batches) / number
    saving, drawing, saving_best = (
        rehearse(args, run, parts, show, shown, timed) if distributed.is_main() else (0, 0, 0)
    )
    distributed.wait()
    validation += saving + drawing + saving_best
    return Pace(step, first_batch, validation, saving, 60 * args.save_minutes)


def rehearse(args, run, parts, show, shown, timed):
    """Save and draw in a folder of its own in the run folder, which goes again.

    Returns:
        3 floats: seconds to save a checkpoint, to write logs and pictures of a validation, to save the best weights.
    """
    history = extend_history({}, *(2 * [dict.fromkeys(("loss", "acc", "macc", "miou"), 0.5)]), 0.01, 1.0, 1.0)
    with tempfile.TemporaryDirectory(dir=run.path, prefix=".time_budget_") as folder:
        place = run_folder.RunFolder(Path(folder))
        place.create()
        state = to_checkpoint(args, parts, RunState())
        weights = {"model_state_dict": parts.scored.state_dict(), "options": vars(args)}
        show(place, history, shown)  # the first picture takes longer
        drawing, _ = timed(lambda: show(place, history, shown))
        saving, _ = timed(lambda: checkpoint.save(state, place.checkpoint, place.previous))
        saving_best, _ = timed(lambda: checkpoint.save(weights, place.best))
    return saving, drawing, saving_best
