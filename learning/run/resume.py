"""Resumes a run from its checkpoint as if it had not been interrupted, or starts it."""

from __future__ import annotations

import math
import os
import shutil
import sys
from pathlib import Path
from typing import TypedDict

from helpers.errors import InputError
from helpers.history import LOGS, is_history
from helpers.launch import is_first_here
from helpers.output import writing
from helpers.run_folder import RunFolder
from learning import checkpoint, distributed
from learning.checkpoint import State
from learning.data.fingerprint import difference
from learning.data.hashes import hash_file
from learning.data.loaders import steps_per_epoch
from learning.run import command_line
from learning.run.build import Run, run_length
from learning.run.setup import Setup
from learning.run.state import Override, ResumableState, RunState, load_state
from learning.training.schedule import RunLength
from options import RESUMABLE, RunOptions


class _BestWeights(TypedDict, total=False):
    miou: float | None


def restore(run: Run, folder: RunFolder, chosen: RunOptions) -> RunState:
    """Load the checkpoint of --weights into a run, or start it.

    Raises:
        InputError: not a checkpoint to resume from, other options or data than the run's, missing best weights.
    """
    if not chosen.weights:
        return _start(run, chosen.pretrained)
    path = Path(chosen.weights)
    stored = _load_last(path, folder)
    can_be_resumed = "optimizer_state_dict" in stored and "step" in stored  # the tutorial's checkpoints have no step
    if not can_be_resumed or not (stored.get("metrics") == {} or is_history(stored.get("metrics"))):
        raise InputError(
            f"{path} cannot be resumed from: it holds weights only; name a checkpoint.pth.tar of this program, "
            "or start a new run from the weights with --pretrained"
        )
    checkpoint.check_form(stored, ResumableState, path)
    lengths = {len(values) for values in stored["metrics"].values()}
    if len(lengths) > 1 or max(lengths, default=0) < stored["epoch"] + 1:
        raise InputError(f"{path} is damaged: its history is shorter than its epochs; name another checkpoint")
    overrides = [*stored["overrides"], *_overridden(run, stored, chosen.override)]
    if stored["processes"] != distributed.world_size() and not chosen.override:
        raise InputError(
            f"the run has {stored['processes']} processes, not {distributed.world_size()}: each mixes its own share of a batch; "
            "start as many, or continue with --override"
        )
    load_state(run, stored, path)
    if not chosen.override:
        _refuse_other_data(run, stored["data_fingerprint"])
    epoch = stored["epoch"] + 1
    step = stored["step"]
    _refuse_shorter(run, epoch * run.length.steps_per_epoch + step)
    _check_same_checkpoint(path, epoch, step)
    state = RunState(
        epoch=epoch,
        step=step,
        history=stored["metrics"],
        best_miou=stored["best_miou"],
        external_weights=stored["external_weights"],
        train_metrics=stored["trained"],
        seconds=stored["seconds"],
        overrides=overrides,
        spent=stored.get("spent", 0.0),
    )
    state.best_miou = _restore_best(path, folder, state, run.length, bool(run.options["steps"]))
    return state


def is_finished(setup: Setup) -> bool:
    """Whether the run to resume has nothing left to train, and its logs are complete; says so.

    Raises:
        InputError: its best weights are missing or damaged.
    """
    options = setup.options
    folder = setup.folder
    path = Path(options.run.weights or "")
    step_size = options.training.batch_size * options.compute.accumulate
    length = run_length(options.training, steps_per_epoch(len(setup.dataset.split("train")), step_size))
    if path.resolve() != folder.checkpoint.resolve() or not _has_logs(folder, length.epochs):
        return False
    try:
        stored = checkpoint.load(path)
        checkpoint.check_form(stored, ResumableState, path)
    except InputError:
        return False  # `restore` continues the one before, or refuses it
    state = RunState(stored["epoch"] + 1, stored["step"], stored["metrics"], stored["best_miou"])
    done = state.epoch * length.steps_per_epoch + state.step
    if done != length.total_steps or not state.is_finished(length):
        return False
    best = _restore_best(path, folder, state, length, bool(options.training.steps))
    option = "steps" if options.training.steps else "epochs"
    number = options.training.steps or options.training.epochs
    score = "" if best is None else f", best validation mIoU {best:.4f}"
    if is_first_here():
        print(
            f"{folder.path} is finished: {number} of {number} {option}{score}; --{option} N with a larger N trains longer, "
            "--predict predicts again"
        )
    return True


def _has_logs(folder: RunFolder, num_epochs: int) -> bool:
    """Whether the logs have a row for each epoch; a kill may have come between the last checkpoint and them."""
    logs = [folder.path / name for name in LOGS]
    return all(log.is_file() and len(log.read_bytes().splitlines()) > num_epochs for log in logs)


def _check_same_checkpoint(path: Path, epoch: int, step: int) -> None:
    """Refuse processes that have read different checkpoints."""
    place = epoch * 10**9 + step
    if distributed.all_reduce_max(place) != place:
        raise InputError(
            f"{path} is not the checkpoint that the other processes read: --save_path must be one folder for all"
        )


def _refuse_other_data(run: Run, stored: object) -> None:
    """Refuse data that have changed since their fingerprint was stored; the main process has the current one."""
    changed = ""
    if distributed.is_main():
        changed = difference(stored, run.data.dataset, run.fingerprint)
    if distributed.all_reduce_max(len(changed)):
        raise InputError(
            f"the data in {run.options['dataset_path']} are not those of the run: {changed or 'see the main process'}; "
            "--override continues with them"
        )


def _refuse_shorter(run: Run, done: int) -> None:
    """Refuse a length that the run has exceeded already; `done` is the number of steps that it has taken."""
    if done <= run.length.total_steps:
        return
    if run.options["steps"]:
        raise InputError(f"--steps {run.options['steps']}: the run has taken {done} already; name at least as many")
    begun = -(-done // run.length.steps_per_epoch)
    raise InputError(f"--epochs {run.options['epochs']}: the run has begun its {begun} already; name at least as many")


def _start(run: Run, pretrained: str | None) -> RunState:
    """Start a run, with the weights of --pretrained if there are any."""
    if not pretrained:
        return RunState()
    loaded, skipped = checkpoint.load_pretrained(run.network.model, pretrained)
    if distributed.is_main():
        print(f"pretrained: {len(loaded)} weights of {pretrained} fit and were loaded, {len(skipped)} were not")
        for name, reason in list(skipped.items())[:8]:
            print(f"    left out: {name} ({reason})")
        print(f"    ... and {len(skipped) - 8} more\n" if len(skipped) > 8 else "", end="")
    if run.training.average:
        run.training.average.begin()
    return RunState(external_weights=f"sha256 {hash_file(pretrained, 'sha256')}")


def _load_last(path: Path, folder: RunFolder) -> State:
    """Load a checkpoint, or the previous one if the last one of a run is damaged."""
    try:
        return checkpoint.load(path)
    except InputError as error:
        previous = path.with_name(folder.previous.name)
        if path.name != folder.checkpoint.name or not previous.exists():
            raise
        stored = checkpoint.load(previous)
        if distributed.is_main():
            print(f"warning: {error}; continuing from {previous}", file=sys.stderr)
        distributed.barrier()
        if path.parent.resolve() == folder.path.resolve() and distributed.is_main():
            # Otherwise the next save would keep the damaged checkpoint and drop the good one.
            os.replace(path, path.with_name("checkpoint_damaged.pth.tar"))
        return stored


def _overridden(run: Run, stored: State, override: bool) -> list[Override]:
    """What --override changes, and when; empty if no option differs.

    Raises:
        InputError: options differ, without --override.
    """
    names = set(stored["options"]) - set(RESUMABLE)
    if not override:
        command_line.refuse_differences(names, run.options, stored["options"])
        return []
    changed = command_line.differences(names, run.options, stored["options"])
    if distributed.is_main():
        for name, (now, then) in changed.items():
            print(f"override: --{name} {now}, the run's was {then}", file=sys.stderr)
    when = {"epoch": stored["epoch"] + 1, "step": stored["step"]}
    return [when | {"option": name, "from": then, "to": now} for name, (now, then) in changed.items()]


def _restore_best(path: Path, folder: RunFolder, state: RunState, length: RunLength, is_in_steps: bool) -> float | None:
    """Bring the best weights into the run folder.

    Returns:
        Their mIoU; None without best weights.
    """
    best = path.parent / folder.best.name
    try:
        weights = checkpoint.load(best)
        checkpoint.check_form(weights, _BestWeights, best)
    except InputError as error:  # missing or damaged
        if state.is_finished(length):
            raise InputError(
                f"{path} has all its {length.total_steps} steps, but {error}; raise "
                f"{'--steps' if is_in_steps else '--epochs'} to continue"
            ) from None
        if state.best_miou is not None and distributed.is_main():
            print(f"note: {error}; the next validation counts as the best so far", file=sys.stderr)
        return None
    if best.resolve() != folder.best.resolve() and distributed.is_main():
        folder.create()
        with writing(folder.best) as fresh:
            shutil.copyfile(best, fresh)
    # The weights may be of a later epoch, after a kill between the two files or with the previous checkpoint.
    miou = weights.get("miou", state.best_miou)
    return state.best_miou if miou is None or math.isnan(miou) else miou
