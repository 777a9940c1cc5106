"""Where a run stands: saved so that nothing is lost, read so that it goes on as if it had never stopped."""

import math
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import options
from helpers.errors import InputError
from helpers.history import is_history
from helpers.signals import Stopped
from learning import checkpoint, distributed
from learning.run.setup import sees_val
from learning.training.optim import load_optimizer

SAVE = 1  # what processes agree on after a step: nothing (0), to save, or the number of a signal (2 and up), which wins


@dataclass
class RunState:
    """Where a run stands; with the weights and the optimizer, all that it takes to go on.

    Args:
        epoch: the epoch under way, or the next.
        step: steps of it that are done.
        history: dict of lists, one value a finished epoch; `helpers.history.extend_history`.
        best_miou: of the finished epochs; None before the first.
        external_weights: "none", or the hash of the file the run started from.
        trained: the counts of the epoch under way, as `EpochMetrics.state_dict` gives them; None at its start.
        seconds: what the epoch under way has taken so far.
        overrides: list of dict, the options that were changed on the way by --override, and when.
        spent: seconds that the programs of this run have taken until its last save.
    """

    epoch: int = 0
    step: int = 0
    history: dict = field(default_factory=dict)
    best_miou: float | None = None
    external_weights: str = "none"
    trained: dict | None = None
    seconds: float = 0.0
    overrides: list = field(default_factory=list)
    spent: float = 0.0

    def is_finished(self, plan):
        """Whether all steps are done and their last epoch is in the history.

        A last epoch that is cut stays the one under way, so that a run can be made longer.

        Args:
            plan: learning.training.schedule.Plan.
        """
        steps = self.epoch * plan.steps_per_epoch + self.step
        return steps >= plan.total_steps and len(self.history.get("miou", ())) >= plan.epochs


class CheckpointSaver:
    """Saves a run: after every epoch that ends with a validation, every --save_minutes, and when somebody asks it to stop.

    Args:
        args: the options.
        run: helpers.run_folder.RunFolder.
        parts: learning.run.build.Parts.
        state: RunState, kept up to date here.
        signals: helpers.signals.StopSignals.
        started: when the program was started, by the clock `time.monotonic`.
    """

    def __init__(self, args, run, parts, state, signals, started):
        self.args, self.run, self.parts, self.state, self.signals = args, run, parts, state, signals
        self.started = started - state.spent  # as if there had been no break
        self.saved = self.began = time.monotonic()

    def stop_if_asked(self):
        """Between two epochs, or after the last.

        Raises:
            Stopped: somebody asked for it after the last step; everything is saved.
        """
        wish = distributed.all_reduce_max(self.signals.number)
        if wish:
            self.save()
            raise Stopped(wish)

    def begin_epoch(self):
        """Start the clock of an epoch; that of one that was under way goes on. Raises as `stop_if_asked`."""
        self.stop_if_asked()
        self.began = time.monotonic() - self.state.seconds

    def after_step(self, trained):
        """Count a step, and save or stop where it is time to.

        Args:
            trained: the `EpochMetrics` of the epoch under way.

        Raises:
            Stopped: everything is saved.
        """
        self.state.step += 1
        self._save_or_stop(trained)

    def after_validation_batch(self, trained):
        """Save or stop where it is time to; a validation that is cut off is done again as a whole.

        Several processes stop after it: their shares of the images differ, so they could not agree in between.
        """
        if distributed.size() == 1:
            self._save_or_stop(trained)

    def _save_or_stop(self, trained):
        due = time.monotonic() - self.saved > 60 * self.args.save_minutes
        wish = distributed.all_reduce_max(max(self.signals.number, SAVE if due and distributed.is_main() else 0))
        if wish:
            self.parts.training.guard.settle()
            self.remember(trained)
            self.save()
        if wish > SAVE:
            raise Stopped(wish)

    def remember(self, trained):
        """Take over the counts and the time of the epoch under way.

        Args:
            trained: its `EpochMetrics`, before they are added up over the processes.
        """
        self.state.trained, self.state.seconds = trained.state_dict(), time.monotonic() - self.began

    def after_epoch(self, history, validated):
        """Take over an epoch, and save it after a validation: the best weights first, then the checkpoint that knows of them.

        A kill in between only repeats the end of the epoch. On a GPU an epoch of a few hundred images takes a second, and a
        checkpoint with its checksum another; so epochs without a validation wait for --save_minutes.

        Args:
            history: with the epoch's numbers.
            validated: whether it ended with a validation.

        Returns:
            bool: whether its validation mIoU is the best so far.
        """
        state, model = self.state, self.parts.scored
        says_nothing = sees_val(self.args)  # then the last weights are kept
        is_kept = validated and (says_nothing or improves(history["miou"][-1], state.best_miou))
        is_kept = is_kept and all(bool(weight.isfinite().all()) for weight in model.parameters())
        if is_kept:
            state.best_miou = history["miou"][-1]
            if distributed.is_main():
                weights = {"epoch": state.epoch, "miou": state.best_miou, "model_state_dict": model.state_dict()}
                checkpoint.save(weights | {"options": vars(self.args)}, self.run.best)
        state.history = history
        if state.step >= self.parts.plan.steps_per_epoch:
            state.epoch, state.step, state.trained, state.seconds = state.epoch + 1, 0, None, 0.0
        if validated:
            self.save()
        return is_kept and not says_nothing

    def save(self):
        """Write the checkpoint, and keep the one before it."""
        self.saved = time.monotonic()
        self.state.spent = self.saved - self.started
        if distributed.is_main():
            checkpoint.save(to_checkpoint(self.args, self.parts, self.state), self.run.checkpoint, self.run.previous)


def to_checkpoint(args, parts, state):
    """dict: all that a checkpoint holds; the first five keys are the tutorial's."""
    average = parts.training.average
    return {
        "epoch": state.epoch - 1,  # the last whole one
        "model_state_dict": parts.model.state_dict(),
        "optimizer_state_dict": parts.training.optimizer.state_dict(),
        "best_miou": state.best_miou,
        "metrics": state.history,
        "scaler_state_dict": parts.precision.scaler.state_dict(),
        "average": average and average.state_dict(),
        "step": state.step,
        "trained": state.trained,
        "seconds": state.seconds,
        "spent": state.spent,
        "external_weights": state.external_weights,
        "data_fingerprint": parts.fingerprint,
        "overrides": state.overrides,
        "processes": distributed.size(),
        "options": vars(args),
    }


def load_parts(args, parts, stored, path):
    """Bring network, optimizer, scaler and average to where a checkpoint of the run was made.

    What --override has added since begins anew: another optimizer's memory, an average.

    Args:
        stored: what `to_checkpoint` gave.
        path: its file, for messages.
    """
    checkpoint.load_weights(parts.model, stored, path, {})
    if stored["options"].get("optimizer", "sgd") == args.optimizer:
        load_optimizer(parts.training.optimizer, stored["optimizer_state_dict"])
    if stored.get("scaler_state_dict"):  # empty without fp16
        parts.precision.scaler.load_state_dict(stored["scaler_state_dict"])
    average = parts.training.average
    if average and stored.get("average"):
        average.load_state_dict(stored["average"])
    elif average:
        average.begin()


def improves(miou, best):
    """Whether an epoch's mIoU is a new best: the first always is, and nan never beats a number."""
    return best is None or miou > best or (math.isnan(best) and not math.isnan(miou))


def restore(args, parts, run):
    """Go on where the checkpoint --weights stands, or begin.

    Returns:
        RunState

    Raises:
        InputError: no checkpoint to resume from, other options or data than the run's, best weights that are missing.
    """
    if not args.weights:
        return begin(args, parts)
    stored = load_last(Path(args.weights), run)
    is_ours = "optimizer_state_dict" in stored and "step" in stored  # the tutorial's have no step
    if not is_ours or not (stored["metrics"] == {} or is_history(stored["metrics"])):
        raise InputError(
            f"{args.weights} cannot be resumed from: it holds weights only; name a checkpoint.pth.tar of this program, "
            "or start a new run from the weights with --pretrained"
        )
    overrides = [*stored["overrides"], *override(args, stored)]
    if stored["processes"] != distributed.size() and not args.override:
        raise InputError(
            f"the run has {stored['processes']} processes, not {distributed.size()}: each mixes its own share of a batch; "
            "start as many, or continue with --override"
        )
    load_parts(args, parts, stored, args.weights)
    if stored["data_fingerprint"] != parts.fingerprint and not args.override:
        raise InputError(
            f"the data in {args.dataset_path} are not those of the run: files were added, removed or changed; "
            "--override goes on with them"
        )
    start = stored["epoch"] + 1
    refuse_shorter(args, parts.plan, start * parts.plan.steps_per_epoch + stored["step"])
    place = start * 10**9 + stored["step"]
    if distributed.all_reduce_max(place) != place:
        raise InputError(
            f"{args.weights} is not where the other processes stand: --save_path must be one folder for all"
        )
    state = RunState(
        epoch=start,
        step=stored["step"],
        history=stored["metrics"],
        best_miou=stored["best_miou"],
        external_weights=stored["external_weights"],
        trained=stored["trained"],
        seconds=stored["seconds"],
        overrides=overrides,
        spent=stored.get("spent", 0.0),
    )
    state.best_miou = restore_best(args, run, state, parts.plan)
    return state


def refuse_shorter(args, plan, done):
    """Refuse a length that a run has passed already.

    Args:
        args: the options, `epochs` and `steps` as they are now.
        plan: learning.training.schedule.Plan of them.
        done: steps that the run has taken.

    Raises:
        InputError: names the option and what the run has taken.
    """
    if done <= plan.total_steps:
        return
    if args.steps:
        raise InputError(f"--steps {args.steps}: the run has taken {done} already; name at least as many")
    begun = -(-done // plan.steps_per_epoch)
    raise InputError(f"--epochs {args.epochs}: the run has begun its {begun} already; name at least as many")


def begin(args, parts):
    """RunState of a run that starts, with the weights of --pretrained where that is given."""
    if not args.pretrained:
        return RunState()
    loaded, skipped = checkpoint.load_pretrained(parts.model, args.pretrained)
    if distributed.is_main():
        print(f"pretrained: {len(loaded)} weights of {args.pretrained} fit and were loaded, {len(skipped)} were not")
        for name, reason in list(skipped.items())[:8]:
            print(f"    left out: {name} ({reason})")
        print(f"    ... and {len(skipped) - 8} more\n" if len(skipped) > 8 else "", end="")
    if parts.training.average:
        parts.training.average.begin()
    return RunState(external_weights=f"sha256 {checkpoint.file_hash(args.pretrained)}")


def load_last(path, run):
    """A checkpoint, or the one before it where the last of the run is damaged."""
    try:
        return checkpoint.load(path)
    except InputError as error:
        previous = path.with_name(run.previous.name)
        if path.name != run.checkpoint.name or not previous.exists():
            raise
        stored = checkpoint.load(previous)
        if distributed.is_main():
            print(f"warning: {error}; going on from {previous}", file=sys.stderr)
        distributed.wait()
        if path.parent.resolve() == run.path.resolve() and distributed.is_main():
            # Out of the way, or the next save would keep it in place of the good one.
            os.replace(path, path.with_name("checkpoint_damaged.pth.tar"))
        return stored


def override(args, stored):
    """Compare the options with those of the checkpoint.

    Returns:
        list of dict: what --override changes, and when; empty where nothing differs.

    Raises:
        InputError: they differ, without --override.
    """
    names = set(stored["options"]) - set(options.RESUMABLE)
    if not args.override:
        options.refuse_changes(args, names, stored["options"])
        return []
    changed = options.changes(args, names, stored["options"])
    for name, (now, then) in changed.items() if distributed.is_main() else ():
        print(f"override: --{name} {now}, the run's was {then}", file=sys.stderr)
    when = {"epoch": stored["epoch"] + 1, "step": stored["step"]}
    return [when | {"option": name, "from": then, "to": now} for name, (now, then) in changed.items()]


def restore_best(args, run, state, plan):
    """Have the best weights in the run folder, and say how good they are.

    Returns:
        float or None: their mIoU.
    """
    best = Path(args.weights).parent / run.best.name
    try:
        weights = checkpoint.load(best)
    except InputError as error:  # missing or damaged
        if state.is_finished(plan):
            raise InputError(
                f"{args.weights} has all its {plan.total_steps} steps, but {error}; raise "
                f"{'--steps' if args.steps else '--epochs'} to go on"
            ) from None
        if state.best_miou is not None and distributed.is_main():
            print(f"note: {error}; the next validation counts as the best so far", file=sys.stderr)
        return None
    if best.resolve() != run.best.resolve() and distributed.is_main():
        run.create()
        shutil.copyfile(best, run.best.with_name(run.best.name + ".tmp"))
        os.replace(run.best.with_name(run.best.name + ".tmp"), run.best)
    # After a kill between the two files, or from the previous checkpoint, the weights may be of a later epoch.
    miou = weights.get("miou", state.best_miou)
    return state.best_miou if miou is None or math.isnan(miou) else miou


def write_fault(args, run, parts, epoch, fault):
    """Keep a step that was no number for --replay, and say what happened.

    Args:
        epoch: in which it happened.
        fault: learning.training.nonfinite.NonFinite.

    Returns:
        str: when and where it happened, the likely cause, what to do.
    """
    files = parts.step_files(epoch, fault.step)
    state = {"model_state_dict": parts.model.state_dict(), "epoch": epoch, "step": fault.step, "files": files}
    if distributed.is_main():
        checkpoint.save(state | {"processes": distributed.size(), "options": vars(args)}, run.nonfinite)
    rate = parts.training.rate_at(epoch, fault.step)
    weights = all(bool(weight.isfinite().all()) for weight in parts.model.parameters())
    if not weights:
        cause = "the weights themselves are no numbers: start again, or from weights that are"
    elif not math.isfinite(fault.loss):
        cause = f"the scores overflowed at a learning rate of {rate:g}: lower --lr_init, or begin with --warmup_epochs"
    else:
        cause = (
            f"the gradient overflowed at a learning rate of {rate:g}: lower --lr_init, or begin with --warmup_epochs"
        )
    if parts.precision.name == "fp16":
        cause += ", or use --amp bf16"
    names = ", ".join(files)
    return (
        f"epoch {epoch}, step {fault.step}: the loss is {fault.loss:g} and the norm of the gradient {fault.gradient:g}; "
        f"the weights are still those before this step. Images: {names}. Likely cause: {cause}. "
        f"Look closer with: python baseline.py --replay {run.nonfinite}"
    )
