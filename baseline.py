"""Train semantic segmentation from scratch, validate, and predict: the table of contents of the program.

Imports wait until they are needed: `--help` and typing mistakes are answered before numpy is imported, and whatever can be wrong
with files and folders before torch is, which alone takes seconds.
"""

import math
import os
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

import options
from helpers.errors import InputError, exit_status


def main(argv=None):
    """Run baseline.py on the words of a command line and return the exit status."""
    options.parse(argv)
    from build import prepare

    args, data, surveys, run = prepare(argv)
    try:
        if args.dry_run:
            return dry_run(args, data, surveys, run)
        if args.predict:
            return predict(args, data, run)
        return train(args, data, surveys, run)
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is one, and so is what the CPU and mps raise
        if args.compile and type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
            raise InputError(f"--compile does not work here ({str(error).splitlines()[0]}); leave it out") from None
        if not any(
            words in f"{error!r}" for words in ("out of memory", "OutOfMemory", "allocate memory", "ALLOC_FAILED")
        ):
            raise
        raise InputError(
            "the memory of the device is used up; lower --batch_size, --crop_size or --test_size, leave out --mst, or take "
            f"a smaller --model ({str(error).splitlines()[0]})"
        ) from None
    except KeyboardInterrupt:
        if args.predict or args.dry_run or not run.checkpoint.exists():
            raise
        print(f"\nstopped; continue after the last whole epoch with {run.continuation}", file=sys.stderr)
        return 130


def train(args, data, surveys, run):
    """Train, validate after every epoch, keep the best weights, and predict the validation images with them."""
    from build import Parts, first_screen, write_options
    from helpers import plots, runlog
    from learning import checkpoint
    from learning.learner import train_epoch, validate_epoch

    parts = Parts(args, data, surveys)
    start, history, best_miou, external_weights = restore(args, parts, run)
    run.create()
    write_options(args, run, parts, external_weights)
    print(first_screen(args, data, surveys, run, parts), flush=True)
    batch = next(iter(parts.train_batches.epoch(start)))
    images, labels = (tensor.cpu().numpy() for tensor in parts.mix(*batch, start, 0))
    plots.train_batch(
        images, labels, args.dataset_mean, args.dataset_std, data.labels.palette, run.images / "train_batch.png"
    )

    clock = runlog.Clock(args.epochs - start)
    num_train, num_val = len(parts.train_batches) * parts.step_size, len(data.split("val"))
    for epoch in range(start, args.epochs):
        began = time.monotonic()
        trained, validated = parts.metrics(), parts.metrics()
        share = num_train / (num_train + num_val)
        bar, report = runlog.progress_bar(num_train, f"epoch {epoch} train", clock, epoch - start, share)
        with bar:
            train_epoch(
                parts.trained,
                parts.train_batches.epoch(epoch),
                parts.mix,
                parts.criterion,
                parts.optimizer,
                parts.precision,
                args.accumulate,
                parts.rate_at,
                trained,
                args.seed,
                epoch,
                report,
            )
        speed = num_train / (time.monotonic() - began)
        if not trained.is_finite():
            raise InputError(
                f"the training loss of epoch {epoch} is {trained.mean_loss()}; lower --lr_init and start again, "
                f"or continue from {run.checkpoint} where there is one"
            )
        bar, report = runlog.progress_bar(num_val, f"epoch {epoch} val")
        with bar:
            first_batch = validate_epoch(
                parts.network, parts.val_batches, parts.criterion, parts.precision.autocast, validated, report
            )

        rate = parts.rate_at(epoch, len(parts.train_batches) - 1)
        history = runlog.extend_history(
            history, trained.summary(), validated.summary(), rate, time.monotonic() - began, speed
        )
        is_best = improves(history["miou"][-1], best_miou)
        best_miou = history["miou"][-1] if is_best else best_miou
        save_epoch(args, run, parts, epoch, history, best_miou, is_best, external_weights)
        runlog.write_logs(run.path, history)
        plots.learning_curve(history, run.path / "learning_curve.png")
        plots.validation(first_batch, data.decode, data.labels.palette, epoch, run.images)
        print(runlog.epoch_line(history, is_best, clock.left(epoch - start + 1)), flush=True)

    print(f"best validation mIoU (single scale): {best_miou:.4f}. Look at {run.path / 'learning_curve.png'}")
    if not args.overfit:
        checkpoint.load_weights(parts.model, checkpoint.load(run.best), run.best, {})
        predict_split(args, data, "val", parts, run)
        print(f"score them with: python evaluate.py --results {shlex.quote(str(run.results('val')))}")


def save_epoch(args, run, parts, epoch, history, best_miou, is_best, external_weights):
    """Save the best weights first, then the checkpoint that knows of them: a kill in between only repeats the epoch."""
    from learning import checkpoint

    state = {"epoch": epoch, "model_state_dict": parts.model.state_dict(), "options": vars(args)}
    if is_best:
        checkpoint.save(state | {"miou": best_miou}, run.best)
    state |= {
        "optimizer_state_dict": parts.optimizer.state_dict(),
        "scaler_state_dict": parts.precision.scaler.state_dict(),
        "best_miou": best_miou,
        "metrics": history,
        "external_weights": external_weights,
        "data_fingerprint": parts.fingerprint,
    }
    checkpoint.save(state, run.checkpoint, previous=run.previous)


def restore(args, parts, run):
    """Continue where the checkpoint --weights ends, or begin.

    Returns:
        (int, dict, float or None, str): first epoch, history so far, best mIoU so far, external weights.
    """
    from helpers import runlog
    from learning import checkpoint

    if not args.weights:
        if not args.pretrained:
            return 0, {}, None, "none"
        loaded, skipped = checkpoint.load_pretrained(parts.model, args.pretrained)
        print(f"pretrained: {len(loaded)} weights of {args.pretrained} fit and were loaded, {len(skipped)} were not")
        return 0, {}, None, f"sha256 {checkpoint.file_hash(args.pretrained)}"
    state = checkpoint.load(args.weights)
    if "optimizer_state_dict" not in state or not runlog.is_history(state.get("metrics")):
        raise InputError(
            f"{args.weights} cannot be resumed from: it holds weights only; name a checkpoint.pth.tar of this program, "
            "or start a new run from the weights with --pretrained"
        )
    options.refuse_changes(args, set(state["options"]) - set(options.RESUMABLE), state["options"])
    checkpoint.load_weights(parts.model, state, args.weights, {})
    parts.optimizer.load_state_dict(state["optimizer_state_dict"])
    if state.get("scaler_state_dict"):  # empty without fp16
        parts.precision.scaler.load_state_dict(state["scaler_state_dict"])
    start, history, best_miou = state["epoch"] + 1, state["metrics"], state["best_miou"]
    best = Path(args.weights).parent / run.best.name
    if not best.exists() and start >= args.epochs:
        raise InputError(f"{args.weights} has all its {start} epochs, but {best} is missing; raise --epochs to go on")
    if state["data_fingerprint"] != parts.fingerprint:
        raise InputError(
            f"the data in {args.dataset_path} are not those of the run: files were added, removed or changed"
        )
    if not best.exists():
        print(f"note: {best} is missing; the next epoch counts as the best so far")
        best_miou = None
    elif best.resolve() != run.best.resolve():
        run.create()
        shutil.copyfile(best, run.best.with_name(run.best.name + ".tmp"))
        os.replace(run.best.with_name(run.best.name + ".tmp"), run.best)
    return start, history, best_miou, state["external_weights"]


def improves(miou, best):
    """Whether an epoch's mIoU is a new best: the first always is, and nan never beats a number."""
    return best is None or miou > best or (math.isnan(best) and not math.isnan(miou))


def predict(args, data, run):
    """Predict the validation and the test images with the best weights of the run, or with --weights."""
    from build import Parts
    from learning import checkpoint

    parts = Parts(args, data, {})
    path = Path(args.weights) if args.weights else run.best
    architecture = {name: getattr(args, name) for name in options.ARCHITECTURE}
    checkpoint.load_weights(parts.model, checkpoint.load(path), path, architecture)
    run.create()
    for split in ("val", "test"):
        if split in data.splits:
            predict_split(args, data, split, parts, run)


def predict_split(args, data, split, parts, run):
    """Write results_SPLIT (label ids) and results_color_SPLIT, in place of those of before."""
    from helpers import results, runlog
    from learning import inference

    batches = parts.eval_batches(split, with_labels=False)
    scales = inference.MST_SCALES if args.mst else (1.0,)
    folders = run.results(split), run.results(split, colour=True)
    bar, _ = runlog.progress_bar(len(data.split(split)), f"predict {split}")
    with bar, results.replacing_folders(*folders) as (ids, colours):
        predictions = inference.predict(parts.network, batches, scales, args.mst, parts.precision.autocast)
        results.write_predictions(predictions, data.labels, ids, colours, bar.update)
    how = f"{len(scales)} scales, each mirrored too" if args.mst else "single scale"
    print(f"{len(data.split(split))} {split} images predicted ({how}): {folders[0]}, in colour: {folders[1]}")


def dry_run(args, data, surveys, run):
    """Go once through everything at the real sizes and say what it takes; nothing is kept."""
    from build import Parts, first_screen
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
        train_epoch(
            parts.trained,
            batches,
            parts.mix,
            parts.criterion,
            parts.optimizer,
            parts.precision,
            args.accumulate,
            parts.rate_at,
            parts.metrics(),
            args.seed,
            0,
            lambda _, metrics: metrics.mean_loss(),  # waits for the device
        )

    batch = next(iter(parts.train_batches.epoch(0)))
    timed("first training step", lambda: train_on([batch]))
    _, step = timed("training step", lambda: train_on([batch]))
    seen = next(iter(parts.eval_batches("val")))
    one = seen._replace(images=seen.images[:1], labels=seen.labels[:1], sizes=seen.sizes[:1], samples=seen.samples[:1])
    _, validation = timed(
        "validation of 1 image",
        lambda: validate_epoch(parts.network, [one], parts.criterion, autocast, parts.metrics(), lambda *_: None),
    )
    _, single = timed(
        "prediction of 1 image, single scale", lambda: list(inference.predict(parts.network, [one], autocast=autocast))
    )
    ((_, prediction),), several = timed(
        "prediction of 1 image, --mst",
        lambda: list(inference.predict(parts.network, [one], inference.MST_SCALES, True, autocast)),
    )
    with tempfile.TemporaryDirectory() as folder:
        state = {"model_state_dict": parts.model.state_dict(), "optimizer_state_dict": parts.optimizer.state_dict()}
        _, saving = timed("saving a checkpoint", lambda: checkpoint.save(state, Path(folder) / run.checkpoint.name))
    truth = one.labels[0].cpu().numpy()
    timed("evaluation of 1 image", lambda: scores.confusion_matrix(truth, prediction, 256))

    num_val = len(data.split("val"))
    epoch = len(parts.train_batches) * step + num_val * validation + 2 * saving
    total = args.epochs * epoch + num_val * (several if args.mst else single)
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
