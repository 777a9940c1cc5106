"""Saves a run, so that at most a few minutes are lost when it is killed, and nothing in a graceful shutdown."""

from __future__ import annotations

import math
import time

from helpers.history import History, extend_history
from helpers.run_folder import RunFolder
from helpers.signals import Stopped, StopSignals
from learning import checkpoint, distributed
from learning.run.build import Run
from learning.run.state import RunState, to_checkpoint
from learning.training.metrics import EpochMetrics

SAVE = 1  # what processes agree on after a step: nothing (0), to save (1), or the number of a signal (2 and up), which wins


class CheckpointSaver:
    """Saves a run after every validation, every `save_minutes`, and when SIGTERM or SIGINT arrives.

    Args:
        run: what is saved.
        folder: the run folder.
        state: how far the run has come; updated here.
        signals: the signals that have arrived.
        started: start of the program, by `time.monotonic`.
        save_minutes: longest time between two saves, in minutes.
    """

    def __init__(
        self,
        run: Run,
        folder: RunFolder,
        state: RunState,
        signals: StopSignals,
        started: float,
        save_minutes: float,
    ) -> None:
        self.run = run
        self.folder = folder
        self.state = state
        self.signals = signals
        self.started = started - state.spent  # as if the run had not been interrupted
        self.save_seconds = 60 * save_minutes
        self.saved = time.monotonic()
        self.epoch_began = time.monotonic()

    def stop_if_requested(self) -> None:
        """Between two epochs: save and raise `Stopped` where a signal has arrived."""
        requested_signal = distributed.all_reduce_max(self.signals.number)
        if requested_signal:
            self.save()
            raise Stopped(requested_signal)

    def begin_epoch(self) -> int:
        """Start the clock of the next epoch, or continue that of an interrupted one, and return the index of the epoch.

        Raises:
            Stopped: as `stop_if_requested`.
        """
        self.stop_if_requested()
        self.epoch_began = time.monotonic() - self.state.seconds
        return self.state.epoch

    def epoch_seconds(self) -> float:
        """Duration of the current epoch so far."""
        return time.monotonic() - self.epoch_began

    def after_step(self, train_metrics: EpochMetrics) -> None:
        """Count a step; save if a save is due, and stop if a signal has arrived.

        Args:
            train_metrics: metrics of the current epoch.

        Raises:
            Stopped: everything is saved.
        """
        self.state.step += 1
        self._save_or_stop(train_metrics)

    def after_validation_batch(self, train_metrics: EpochMetrics) -> None:
        """As `after_step`, without counting a step; an interrupted validation is repeated as a whole.

        Several processes stop after the validation only: their numbers of batches differ, so they cannot agree in between.
        """
        self.signals.advance()
        if distributed.world_size() == 1:
            self._save_or_stop(train_metrics)

    def _save_or_stop(self, train_metrics: EpochMetrics) -> None:
        self.signals.advance()
        is_due = distributed.is_main() and time.monotonic() - self.saved > self.save_seconds
        request = distributed.all_reduce_max(max(self.signals.number, SAVE if is_due else 0))
        if request:
            self.run.training.guard.check_pending()
            self.record(train_metrics)
            self.save()
        if request > SAVE:
            raise Stopped(request)

    def record(self, train_metrics: EpochMetrics) -> None:
        """Record the metrics, not yet summed over the processes, and the duration of the current epoch."""
        self.state.train_metrics = train_metrics.state_dict()
        self.state.seconds = self.epoch_seconds()

    def extended_history(self, train_metrics: EpochMetrics, val_metrics: EpochMetrics | None, speed: float) -> History:
        """The history with the current epoch; sums the metrics over the processes.

        Args:
            val_metrics: None for an epoch without validation.
            speed: images per second of the training.
        """
        epoch = self.state.epoch
        return extend_history(
            self.state.finished_history(),
            train_metrics.all_reduce().summary(),
            val_metrics.all_reduce().summary() if val_metrics else None,
            self.run.training.rate_at(epoch, self.run.length.steps_of(epoch) - 1),
            self.epoch_seconds(),
            speed,
        )

    def after_epoch(self, history: History, validated: bool) -> bool:
        """Record an epoch, and save it after a validation: the best weights first, then the checkpoint that refers to them.

        If the process is killed in between, only the end of the epoch is repeated. Without a validation, the epoch is saved
        when --save_minutes are over: on a GPU, a checkpoint may take as long as an epoch of a few hundred images.

        Args:
            history: including this epoch.
            validated: whether it ended with a validation.

        Returns:
            Whether its validation mIoU is the best so far.
        """
        state = self.state
        is_kept = validated and (self.run.keeps_last or improves(history["miou"][-1], state.best_miou))
        is_kept = is_kept and all(bool(weight.isfinite().all()) for weight in self.run.evaluated.parameters())
        if is_kept:
            state.best_miou = history["miou"][-1]
            self._save_best()
        state.history = history
        state.finish_epoch(self.run.length)
        if validated:
            self.save()
        return is_kept and not self.run.keeps_last

    def _save_best(self) -> None:
        if distributed.is_main():
            weights = {"epoch": self.state.epoch, "miou": self.state.best_miou}
            weights |= {"model_state_dict": self.run.evaluated.state_dict(), "options": self.run.options}
            checkpoint.save(weights, self.folder.best)

    def save(self) -> None:
        """Write the checkpoint and keep the previous one."""
        self.signals.advance()
        self.saved = time.monotonic()
        self.state.spent = self.saved - self.started
        if distributed.is_main():
            checkpoint.save(to_checkpoint(self.run, self.state), self.folder.checkpoint, self.folder.previous)


def improves(miou: float, best: float | None) -> bool:
    """Whether an epoch's mIoU is a new best: the first always is, and NaN never beats a number."""
    return best is None or miou > best or (math.isnan(best) and not math.isnan(miou))
