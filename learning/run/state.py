"""How far a run has come, and what a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

from helpers.errors import InputError
from helpers.history import History
from helpers.parsing import Range
from learning import checkpoint, distributed
from learning.checkpoint import State
from learning.run.build import Run
from learning.training.ema import EMAState
from learning.training.metrics import MetricsState
from learning.training.optim import OptimizerState, load_optimizer
from learning.training.schedule import RunLength
from options import ARCHITECTURE, AT_LEAST_1, NOT_NEGATIVE

Override = dict[str, object]  # the option, its values before and after, and the epoch and step of the change


class _LaterEntries(TypedDict, total=False):
    """Entries that the checkpoints of older runs lack."""

    spent: Annotated[float, NOT_NEGATIVE]
    scaler_state_dict: dict[str, Any]
    average: EMAState | None


class ResumableState(_LaterEntries):
    """What is read of a checkpoint to resume a run from it."""

    epoch: Annotated[int, Range("-1 or more", at_least=-1)]
    step: Annotated[int, NOT_NEGATIVE]
    optimizer_state_dict: OptimizerState
    best_miou: float | None
    metrics: History
    trained: MetricsState | None
    seconds: Annotated[float, NOT_NEGATIVE]
    external_weights: str
    overrides: list[Override]
    processes: Annotated[int, AT_LEAST_1]
    options: dict[str, Any]


@dataclass
class RunState:
    """How far a run has come; with the weights and the optimizer, everything that it takes to continue.

    Args:
        epoch: the current epoch, or the next one between two epochs.
        step: number of its steps that are done.
        history: one value per finished epoch; see `helpers.history.extend_history`.
        best_miou: of the finished epochs; None before the first.
        external_weights: "none", or the hash of the file that the run started from.
        train_metrics: metrics of the current epoch, as `EpochMetrics.state_dict` returns them; None at its start.
        seconds: duration of the current epoch so far.
        overrides: the options that --override changed, and when.
        spent: seconds that the commands of this run had taken at its last save.
    """

    epoch: int = 0
    step: int = 0
    history: History = field(default_factory=dict)
    best_miou: float | None = None
    external_weights: str = "none"
    train_metrics: MetricsState | None = None
    seconds: float = 0.0
    overrides: list[Override] = field(default_factory=list)
    spent: float = 0.0

    def is_finished(self, length: RunLength) -> bool:
        """Whether all steps are done and their last epoch is in the history.

        A cut last epoch stays the current one, so that a run can be made longer.
        """
        steps = self.epoch * length.steps_per_epoch + self.step
        return steps >= length.total_steps and len(self.history.get("miou", ())) >= length.epochs

    def finished_history(self) -> History:
        """The history of the whole epochs: without the row of the current one, which a shorter run may have cut."""
        return {name: values[: self.epoch] for name, values in self.history.items()}

    def finish_epoch(self, length: RunLength) -> None:
        """Advance to the next epoch, unless this one was cut."""
        if self.step >= length.steps_per_epoch:
            self.epoch += 1
            self.step = 0
            self.train_metrics = None
            self.seconds = 0.0


def to_checkpoint(run: Run, state: RunState) -> State:
    """Everything that a checkpoint holds; the first five keys are the tutorial's."""
    average = run.training.average
    return {
        "epoch": state.epoch - 1,  # the last whole epoch
        "model_state_dict": run.network.model.state_dict(),
        "optimizer_state_dict": run.training.optimizer.state_dict(),
        "best_miou": state.best_miou,
        "metrics": state.history,
        "scaler_state_dict": run.compute.precision.scaler.state_dict(),
        "average": average and average.state_dict(),
        "step": state.step,
        "trained": state.train_metrics,
        "seconds": state.seconds,
        "spent": state.spent,
        "external_weights": state.external_weights,
        "data_fingerprint": run.fingerprint,
        "overrides": state.overrides,
        "processes": distributed.world_size(),
        "options": run.options,
    }


def load_state(run: Run, stored: State, path: str | Path) -> None:
    """Load network, optimizer, gradient scaler and average from a checkpoint.

    An optimizer or average that --override has changed or added starts anew.

    Args:
        stored: what `to_checkpoint` returned.
        path: its file, for messages.

    Raises:
        InputError: names the option that changes the weights, or says what does not fit.
    """
    architecture = {name: run.options[name] for name in ARCHITECTURE}
    checkpoint.load_weights(run.network.model, stored, path, architecture, may_differ=True)
    try:
        _load_training(run, stored)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:  # torch raises any of them
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} is damaged: its optimizer, scaler, average or metrics do not fit ({reason})"
        ) from None


def _load_training(run: Run, stored: State) -> None:
    run.metrics(stored["trained"])
    if stored["options"].get("optimizer", "sgd") == run.options["optimizer"]:
        load_optimizer(run.training.optimizer, stored["optimizer_state_dict"])
    if stored.get("scaler_state_dict"):  # empty without fp16
        run.compute.precision.scaler.load_state_dict(stored["scaler_state_dict"])
    average = run.training.average
    if average and stored.get("average"):
        average.load_state_dict(stored["average"])
    elif average:
        average.begin()
