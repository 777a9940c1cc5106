"""Train semantic segmentation from scratch, validate, and predict: the table of contents of the program.

Imports wait until they are needed: `--help` and typing mistakes are answered before numpy is imported, and whatever can be wrong
with files and folders before torch is, which alone takes seconds.
"""

import gc
import itertools
import math
import os
import shlex
import sys
import time
from functools import partial

import options
from helpers.errors import InputError, exit_status, is_out_of_memory
from helpers.signals import Stopped


def main(argv=None):
    """Run baseline.py on the words of a command line and return the exit status."""
    started = time.monotonic()
    options.parse(argv)
    from learning.run.setup import setup_run

    args, data, surveys, run = setup_run(argv)
    try:
        status = perform(args, data, surveys, run, started)
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is one, and so is what the CPU and mps raise
        if args.compile and type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
            raise InputError(f"--compile does not work here ({str(error).splitlines()[0]}); leave it out") from None
        if not is_out_of_memory(error):
            raise
        raise InputError(
            "the memory of the device is used up; lower --batch_size, --crop_size or --test_size, leave out --mst, or take "
            f"a smaller --model ({str(error).splitlines()[0]})"
        ) from None
    except Stopped as stopped:
        print(f"{stopped}: saved; continue with: python baseline.py {run.continuation}", file=sys.stderr)
        status = stopped.status
    except KeyboardInterrupt:
        if args.predict or args.dry_run or not run.holds_run:
            raise
        print(f"\nstopped; continue with: python baseline.py {run.continuation}", file=sys.stderr)
        return 130

    from learning import distributed

    if args.num_workers or distributed.size() > 1:
        gc.collect()  # the parts of a run refer to each other; loader processes and groups end with them, in order
    distributed.stop()
    return status


def perform(args, data, surveys, run, started):
    """Do what the options ask for, and return the exit status; None is 0."""
    if args.replay:
        from learning.run.dry_run import replay

        return replay(args, data, surveys)
    if args.dry_run:
        from learning.run.dry_run import dry_run

        return dry_run(args, data, surveys, run)
    if args.predict:
        from learning.run.predict_command import run_prediction

        return run_prediction(args, data, run)
    return train(args, data, surveys, run, started)


def train(args, data, surveys, run, started):
    """Train, validate every --validate_every epochs, keep the best weights, and predict the validation images with them.

    Args:
        started: when the program was, by the clock `time.monotonic`.
    """
    from helpers.progress import Clock, duration
    from helpers.signals import StopSignals
    from learning import checkpoint, distributed
    from learning.run.build import Parts
    from learning.run.predict_command import predict_split
    from learning.run.resume import CheckpointSaver, restore, write_fault
    from learning.run.setup import sees_val
    from learning.training.nonfinite import NonFinite

    parts = Parts(args, data, surveys)
    state = restore(args, parts, run)
    if args.time_budget and not args.steps:
        from learning.run.time_budget import fix_steps

        fix_steps(args, run, parts, partial(show_epoch, data), started)
    plan = parts.plan
    clock = Clock(plan.total_steps / plan.steps_per_epoch - state.epoch)
    with StopSignals() as signals:
        keeper = CheckpointSaver(args, run, parts, state, signals, started)
        if args.weights and args.override:
            keeper.save()  # first the checkpoint, then options.json: a kill in between may not leave them at odds
        if distributed.is_main():
            present(args, data, surveys, run, parts, state)
        try:
            for done in itertools.count():
                if state.is_finished(plan):
                    break
                train_and_validate(args, data, run, parts, keeper, clock, done)
            keeper.stop_if_asked()
        except NonFinite as fault:
            raise InputError(write_fault(args, run, parts, state.epoch, fault)) from None

    if args.time_budget and distributed.is_main():
        late = state.spent - 60 * args.time_budget
        print(
            f"trained and validated in {duration(state.spent)} of {duration(60 * args.time_budget)}: "
            f"{abs(late):.1f} s too {'late' if late > 0 else 'early'}"
        )
    if distributed.is_main():
        score = "mIoU on validation images that were trained on" if sees_val(args) else "best validation mIoU"
        print(f"{score} (single scale): {state.best_miou:.4f}. Look at {run.path / 'learning_curve.png'}")
        if not args.overfit:
            checkpoint.load_weights(parts.model, checkpoint.load(run.best), run.best, {})
            predict_split(args, data, "val", parts, run)
            print(f"score them with: python evaluate.py --results {shlex.quote(str(run.results('val')))}")


def train_and_validate(args, data, run, parts, keeper, clock, done):
    """The epoch that is next, or the rest of it, and what is written after it.

    Args:
        keeper: learning.run.resume.CheckpointSaver, which knows where the run stands.
        clock: helpers.progress.Clock of the epochs to come.
        done: number of those that are done.
    """

    from helpers.history import extend_history
    from helpers.progress import epoch_line, progress_bar
    from learning import distributed
    from learning.training.engine import train_epoch, validate_epoch

    keeper.begin_epoch()
    state, training, plan, began = keeper.state, parts.training, parts.plan, time.monotonic()
    epoch, first_step = state.epoch, state.step
    trained, validated, shown = parts.metrics(state.trained), None, []
    num_steps = max(0, plan.steps_of(epoch) - first_step)  # 0 where only the validation was cut off
    num_train, num_val = plan.steps_of(epoch) * parts.step_size, len(data.split("val")) * plan.validates(epoch)
    bar, progress = progress_bar(num_train, f"epoch {epoch} train", clock, done, num_train / (num_train + num_val))
    with bar:
        bar.update(first_step * parts.step_size)
        batches = itertools.islice(parts.train_batches.epoch(epoch, first_step), num_steps)
        train_epoch(training, batches, trained, epoch, after_each(keeper.after_step, trained, progress), first_step)
    speed = num_steps * parts.step_size / (time.monotonic() - began) if num_steps else math.nan
    keeper.remember(trained)

    if plan.validates(epoch):
        validated = parts.metrics()
        distributed.broadcast_buffers(parts.model)
        distributed.broadcast_buffers(parts.scored)
        bar, progress = progress_bar(num_val, f"epoch {epoch} val")
        with bar:
            report = after_each(keeper.after_validation_batch, trained, progress)
            network, autocast = parts.scored_network, parts.precision.autocast
            shown = validate_epoch(network, parts.val_batches, training.criterion, autocast, validated, report)

    history = extend_history(
        {name: values[:epoch] for name, values in state.history.items()},  # without what the epoch was when it was cut
        trained.add_up().summary(),
        validated and validated.add_up().summary(),
        training.rate_at(epoch, plan.steps_of(epoch) - 1),
        time.monotonic() - keeper.began,
        speed,
    )
    is_best = keeper.after_epoch(history, validated is not None)
    if distributed.is_main():
        show_epoch(data, run, history, shown)
        print(epoch_line(history, is_best, clock.left(done + 1)), flush=True)
    if epoch == 0:
        diagnose(args, data, parts, trained)


def show_epoch(data, run, history, shown):
    """Write the logs and, after a validation, the learning curve and its pictures.

    Args:
        shown: what `validate_epoch` returned, [] for an epoch without validation.
    """
    from helpers import image_sheets, plots
    from helpers.history import write_logs

    write_logs(run.path, history)
    if shown:
        plots.learning_curve(history, run.path / "learning_curve.png")
        image_sheets.validation(shown, data.decode, data.labels.palette, len(history["miou"]) - 1, run.images)


def diagnose(args, data, parts, trained):
    """After the first epoch: one paragraph on what looks sick in the training."""
    from learning import checkpoint, distributed
    from learning.training import diagnostics

    start = parts.fresh_model()
    if args.pretrained and not os.path.exists(args.pretrained):
        return  # nothing to compare with
    if args.pretrained:
        checkpoint.load_pretrained(start, args.pretrained)
    images, _ = next(iter(parts.train_batches.epoch(0)))
    with parts.precision.autocast():
        paragraph = diagnostics.examine(
            parts.model,
            start.state_dict(),
            images[: args.batch_size],
            trained.confusion,
            data.labels.names,
            trained.term_losses(),
            parts.training.criterion,
            only_step=parts.plan.steps_of(0) == 1,
        )
    if distributed.is_main():
        print(paragraph, flush=True)


def present(args, data, surveys, run, parts, state):
    """Make the run folder, and show what is about to happen: the first screen and the first batch."""
    from helpers import image_sheets, plots
    from helpers.history import write_logs
    from learning.run.summary import first_screen, write_options

    run.create()
    write_options(args, run, parts, state)
    write_logs(run.path, state.history)  # a kill may have come between the checkpoint and these
    if state.history:
        plots.learning_curve(state.history, run.path / "learning_curve.png")
    print(first_screen(args, data, surveys, run, parts), flush=True)
    if state.epoch or state.step:
        print(f"resumed   after {state.epoch} epochs and {state.step} steps", flush=True)
    batch = next(iter(parts.train_batches.epoch(state.epoch)))
    images, labels = (tensor.cpu().numpy() for tensor in parts.training.mix(*batch, state.epoch, 0))
    picture = run.images / "train_batch.png"
    image_sheets.train_batch(images, labels, args.dataset_mean, args.dataset_std, data.labels.palette, picture)


def after_each(keep, trained, progress):
    """What `train_epoch` and `validate_epoch` report to: the progress bar, then whoever saves the run."""
    from learning import distributed

    def report(images, metrics):
        progress(images * distributed.size(), metrics)
        keep(trained)

    return report


if __name__ == "__main__":
    sys.exit(exit_status("baseline.py", main, None))
