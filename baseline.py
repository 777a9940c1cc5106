"""Train semantic segmentation from scratch, validate, and predict: the table of contents of the program.

Imports wait until they are needed: `--help` and typing mistakes are answered before numpy is imported, and whatever can be wrong
with files and folders before torch is, which alone takes seconds.
"""

import itertools
import math
import os
import shlex
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import options
from helpers.errors import InputError, exit_status, is_out_of_memory
from helpers.stopping import Stopped


def main(argv=None):
    """Run baseline.py on the words of a command line and return the exit status."""
    started = time.monotonic()
    options.parse(argv)
    from prepare import prepare

    args, data, surveys, run = prepare(argv)
    try:
        if args.replay:
            return replay(args, data, surveys)
        if args.dry_run:
            return dry_run(args, data, surveys, run)
        if args.predict:
            from prediction import predict

            return predict(args, data, run)
        return train(args, data, surveys, run, started)
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
        return stopped.status
    except KeyboardInterrupt:
        if args.predict or args.dry_run or not run.holds_run:
            raise
        print(f"\nstopped; continue with: python baseline.py {run.continuation}", file=sys.stderr)
        return 130


def train(args, data, surveys, run, started):
    """Train, validate after every epoch, keep the best weights, and predict the validation images with them.

    Args:
        started: when the program was, by the clock `time.monotonic`.
    """
    from build import Parts
    from helpers.runlog import Clock, duration
    from helpers.stopping import StopSignals
    from learning import checkpoint, distributed
    from learning.guard import NonFinite
    from prediction import predict_split
    from prepare import sees_val
    from resume import Keeper, restore, write_fault

    parts = Parts(args, data, surveys)
    state = restore(args, parts, run)
    if args.time_budget and not args.steps:
        from budget import fix_steps

        fix_steps(args, run, parts, partial(show_epoch, data), started)
    plan = parts.plan
    clock = Clock(plan.total_steps / plan.steps_per_epoch - state.epoch)
    with StopSignals() as signals:
        keeper = Keeper(args, run, parts, state, signals, started)
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
    distributed.stop()


def train_and_validate(args, data, run, parts, keeper, clock, done):
    """The epoch that is next, or the rest of it, and what is written after it.

    Args:
        keeper: resume.Keeper, which knows where the run stands.
        clock: helpers.runlog.Clock of the epochs to come.
        done: number of those that are done.
    """
    from helpers import runlog
    from learning import distributed
    from learning.learner import train_epoch, validate_epoch

    keeper.begin_epoch()
    state, training, plan, began = keeper.state, parts.training, parts.plan, time.monotonic()
    epoch, first_step = state.epoch, state.step
    trained, validated, shown = parts.metrics(state.trained), None, []
    num_steps = max(0, plan.steps_of(epoch) - first_step)  # 0 where only the validation was cut off
    num_train, num_val = plan.steps_of(epoch) * parts.step_size, len(data.split("val")) * plan.validates(epoch)
    bar, progress = runlog.progress_bar(
        num_train, f"epoch {epoch} train", clock, done, num_train / (num_train + num_val)
    )
    with bar:
        bar.update(first_step * parts.step_size)
        batches = itertools.islice(parts.train_batches.epoch(epoch, first_step), num_steps)
        train_epoch(training, batches, trained, epoch, after_each(keeper.after_step, trained, progress), first_step)
    speed = num_steps * parts.step_size / (time.monotonic() - began) if num_steps else math.nan
    keeper.remember(trained)

    if plan.validates(epoch):
        validated = parts.metrics()
        distributed.align(parts.model)
        distributed.align(parts.scored)
        bar, progress = runlog.progress_bar(num_val, f"epoch {epoch} val")
        with bar:
            report = after_each(keeper.after_validation_batch, trained, progress)
            network, autocast = parts.scored_network, parts.precision.autocast
            shown = validate_epoch(network, parts.val_batches, training.criterion, autocast, validated, report)

    history = runlog.extend_history(
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
        print(runlog.epoch_line(history, is_best, clock.left(done + 1)), flush=True)
    if epoch == 0:
        diagnose(args, data, parts, trained)


def show_epoch(data, run, history, shown):
    """Write the logs, the learning curve, and the pictures of a validation.

    Args:
        shown: what `validate_epoch` returned, [] for an epoch without validation.
    """
    from helpers import plots, runlog

    runlog.write_logs(run.path, history)
    plots.learning_curve(history, run.path / "learning_curve.png")
    plots.validation(shown, data.decode, data.labels.palette, len(history["miou"]) - 1, run.images)


def diagnose(args, data, parts, trained):
    """After the first epoch: one paragraph on what looks sick in the training."""
    from learning import checkpoint, distributed, doctor

    start = parts.fresh_model()
    if args.pretrained and not os.path.exists(args.pretrained):
        return  # nothing to compare with
    if args.pretrained:
        checkpoint.load_pretrained(start, args.pretrained)
    images, _ = next(iter(parts.train_batches.epoch(0)))
    with parts.precision.autocast():
        paragraph = doctor.examine(
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
    from announce import first_screen, write_options
    from helpers import plots, runlog

    run.create()
    write_options(args, run, parts, state)
    if state.history:  # a kill may have come between the checkpoint and these
        runlog.write_logs(run.path, state.history)
        plots.learning_curve(state.history, run.path / "learning_curve.png")
    print(first_screen(args, data, surveys, run, parts), flush=True)
    if state.epoch or state.step:
        print(f"resumed   after {state.epoch} epochs and {state.step} steps", flush=True)
    batch = next(iter(parts.train_batches.epoch(state.epoch)))
    images, labels = (tensor.cpu().numpy() for tensor in parts.training.mix(*batch, state.epoch, 0))
    picture = run.images / "train_batch.png"
    plots.train_batch(images, labels, args.dataset_mean, args.dataset_std, data.labels.palette, picture)


def after_each(keep, trained, progress):
    """What `train_epoch` and `validate_epoch` report to: the progress bar, then whoever saves the run."""
    from learning import distributed

    def report(images, metrics):
        progress(images * distributed.size(), metrics)
        keep(trained)

    return report


def replay(args, data, surveys):
    """Repeat the step of a nonfinite.pth.tar, and say layer by layer what happens; status 1 where it happens again."""
    from build import Parts
    from learning import checkpoint
    from learning.replay import replay_step

    stored = checkpoint.load(args.replay)
    if not {"epoch", "step", "files"} <= set(stored):
        raise InputError(f"--replay {args.replay}: expected the nonfinite.pth.tar of a run that stopped at a step")
    parts = Parts(args, data, surveys)
    checkpoint.load_weights(parts.model, stored, args.replay, {})
    epoch, step = stored["epoch"], stored["step"]
    if stored["processes"] > 1:
        raise InputError(
            f"--replay {args.replay}: the step was shared by {stored['processes']} processes, which cannot be replayed"
        )
    if step >= len(parts.train_batches) or stored["files"] != parts.step_files(epoch, step):
        raise InputError(
            f"--replay {args.replay}: its images are not those of the data in {args.dataset_path} any more"
        )
    images, labels = next(iter(parts.train_batches.epoch(epoch, step)))
    found, finite = replay_step(parts.model, parts.training, images, labels, epoch, step)
    print(f"epoch {epoch}, step {step} of {args.replay}:", *stored["files"], *found, sep="\n  ")
    print("nothing is wrong here: what happened then did not happen again" if finite else "it happened again")
    return 0 if finite else 1


def dry_run(args, data, surveys, run):
    """Go once through everything at the real sizes and say what it takes; nothing is kept."""
    from announce import first_screen
    from build import Parts
    from helpers import runlog, scores
    from learning import checkpoint, inference
    from learning.learner import train_epoch, validate_epoch

    parts = Parts(args, data, surveys)
    autocast = parts.precision.autocast
    print(first_screen(args, data, surveys, run, parts))

    def timed(what, work):
        began = time.monotonic()
        result = work()
        seconds = time.monotonic() - began
        print(f"{what:<42} {seconds:8.2f} s", flush=True)
        return result, seconds

    def train_on(batches):
        # What is reported waits for the device.
        train_epoch(parts.training, batches, parts.metrics(), 0, lambda _, metrics: metrics.mean_loss())

    batch = next(iter(parts.train_batches.epoch(0)))
    timed("first training step", lambda: train_on([batch]))
    _, step = timed("training step", lambda: train_on([batch]))
    seen = next(iter(parts.eval_batches("val")))
    one = seen._replace(images=seen.images[:1], labels=seen.labels[:1], sizes=seen.sizes[:1], samples=seen.samples[:1])
    _, validation = timed(
        "validation of 1 image",
        lambda: validate_epoch(
            parts.scored_network, [one], parts.training.criterion, autocast, parts.metrics(), lambda *_: None
        ),
    )
    _, single = timed(
        "prediction of 1 image, single scale", lambda: list(inference.predict(parts.network, [one], autocast=autocast))
    )
    ((_, prediction),), several = timed(
        "prediction of 1 image, --mst",
        lambda: list(inference.predict(parts.network, [one], inference.MST_SCALES, True, autocast)),
    )
    with tempfile.TemporaryDirectory() as folder:
        state = {
            "model_state_dict": parts.model.state_dict(),
            "optimizer_state_dict": parts.training.optimizer.state_dict(),
        }
        _, saving = timed("saving a checkpoint", lambda: checkpoint.save(state, Path(folder) / run.checkpoint.name))
    truth = one.labels[0].cpu().numpy()
    timed("evaluation of 1 image", lambda: scores.confusion_matrix(truth, prediction, 256))

    num_val = len(data.split("val"))
    epoch = len(parts.train_batches) * step + num_val * validation + 2 * saving
    total = parts.plan.total_steps * step + parts.plan.validations * num_val * validation
    total += 2 * parts.plan.epochs * saving + num_val * (several if args.mst else single)
    print(f"peak memory {peak_memory(parts.device)}; an epoch about {runlog.duration(epoch)}, ", end="")
    print(f"the whole run about {runlog.duration(total)} and the time to read the data. Nothing was kept.")


def peak_memory(device):
    """str: the most memory that was in use so far, the GPU's or, on the CPU, the process's."""
    if device.type == "cuda":
        import torch

        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB of the GPU"
    import resource  # not on every system, so not at the top

    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f} GiB"


if __name__ == "__main__":
    sys.exit(exit_status("baseline.py", main, None))
