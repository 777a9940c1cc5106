"""Train semantic segmentation from scratch, validate, and predict: the program, read from top to bottom.

Mistakes in options are reported before numpy is imported, and mistakes in files and data before torch is imported, which takes
seconds. This is why `main` and `train` contain imports.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from helpers.errors import InputError, exit_status, is_out_of_memory
from helpers.launch import failing_once, is_first_here
from helpers.signals import Stopped, StopSignals
from learning.run import command_line

if TYPE_CHECKING:
    from learning.run.setup import Setup


def main(argv: Sequence[str] | None = None) -> int:
    """Run baseline.py with the arguments of a command line and return the exit status."""
    started = time.monotonic()
    with failing_once(is_first_here):
        command_line.parse(argv)  # --help and mistakes in options
        from learning.run.setup import claim_output, setup_run

        setup = setup_run(argv)  # mistakes in files and data
    from learning import distributed

    with failing_once(distributed.is_first_to_fail), claim_output(setup):
        status = run_command(setup, started)
    if distributed.world_size() > 1:
        gc.collect()  # a process group ends only with the last network that refers to it
    distributed.destroy_process_groups()
    return status


def run_command(setup: Setup, started: float) -> int:
    """Train, or do what else the options ask for, and return the exit status; `started` as for `train`.

    Raises:
        InputError: a mistake in the input, too little memory, or another process of the run has ended.
    """
    from learning import distributed
    from learning.run import dry_run, predict_command, replay_command

    command = setup.options.run
    try:
        if command.replay:
            return replay_command.replay(setup)
        if command.dry_run:
            dry_run.dry_run(setup)
        elif command.predict:
            predict_command.run_prediction(setup)
        else:
            train(setup, started)
    except (RuntimeError, MemoryError) as error:  # of all devices: torch.OutOfMemoryError is a RuntimeError
        remedy = remedy_for(error, setup.options.compute.compile)
        if distributed.is_lost_connection(error):
            remedy = "another process of the run has ended or does not answer; --resume continues after the last save"
        if not remedy:
            raise
        raise InputError(remedy) from None
    except Stopped as stopped:
        if distributed.is_main():
            print(f"{stopped}: saved; continue with: python baseline.py {setup.folder.resume_options}", file=sys.stderr)
        return stopped.status
    except KeyboardInterrupt:
        if command.predict or command.dry_run or not setup.folder.holds_run:
            raise
        if distributed.is_first_to_fail():
            print(f"\nstopped; continue with: python baseline.py {setup.folder.resume_options}", file=sys.stderr)
        return 130
    return 0


def train(setup: Setup, started: float) -> None:
    """Train, validate every --validate_every epochs, keep the best weights, and predict the validation images with them.

    Args:
        started: start of the program, by `time.monotonic`.
    """
    from learning.run import predict_command, progress, replay_command, resume, summary, time_budget
    from learning.run.build import build_run
    from learning.run.saver import CheckpointSaver
    from learning.training.engine import train_epoch, validate_epoch
    from learning.training.nonfinite import NonFinite

    options = setup.options
    folder = setup.folder
    if resume.is_finished(setup):
        predict_command.predict_missing(setup)
        return
    run = build_run(setup)
    with closing(run):
        state = resume.restore(run, folder, options.run)
        budget = time_budget.Budget.of(options.training, options.run, options.data, started)
        if budget:
            run = time_budget.fix_steps(run, folder, budget)
        clock = progress.epoch_clock(run, state.epoch)
        autocast = run.compute.precision.autocast
        with StopSignals() as signals:
            saver = CheckpointSaver(run, folder, state, signals, started, options.run.save_minutes)
            if options.run.weights and options.run.override:
                saver.save()  # before options.json, so that a kill in between does not leave them inconsistent
            summary.present(folder, run, state, summary.first_screen(setup, run), setup.typed)
            while not state.is_finished(run.length):
                epoch = saver.begin_epoch()
                train_metrics = run.metrics(state.train_metrics)
                with progress.training_bar(run, saver, train_metrics, clock) as report:
                    batches = run.remaining_batches(epoch, state.step)
                    try:
                        train_epoch(run.training, batches, train_metrics, epoch, report, state.step)
                    except NonFinite as fault:
                        raise InputError(replay_command.store_fault(run, folder, epoch, fault)) from None
                saver.record(train_metrics)

                val_metrics = None
                predictions = []
                if run.length.validates(epoch):
                    val_metrics = run.metrics()
                    network = run.broadcast_evaluated()
                    with progress.validation_bar(run, saver, train_metrics) as report:
                        predictions = validate_epoch(
                            network, run.val_batches, run.training.criterion, autocast, val_metrics, report
                        )

                history = saver.extended_history(train_metrics, val_metrics, clock.speed)
                is_best = saver.after_epoch(history, val_metrics is not None)
                summary.show_epoch(folder, setup.dataset, history, predictions)
                summary.print_epoch(history, is_best, clock)
                summary.diagnose(run, setup.dataset.labels.names, train_metrics, epoch, options.run.pretrained)
            saver.stop_if_requested()
    summary.print_end(folder, run, state, options.training.time_budget)
    if not options.run.overfit:
        predict_command.predict_best(run.compute, run.data, run.network, options.prediction, folder)


def remedy_for(error: RuntimeError | MemoryError, is_compiled: bool) -> str:
    """What to do about a failure of --compile, or about too little memory; "" for other errors."""
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    if is_compiled and type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
        return f"--compile does not work here ({first_line}); leave it out"
    if is_out_of_memory(error):
        return (
            "the memory of the device is used up; lower --batch_size, --crop_size or --test_size, leave out --mst, or take "
            f"a smaller --model ({first_line})"
        )
    return ""


if __name__ == "__main__":
    sys.exit(exit_status("baseline.py", main, None))
