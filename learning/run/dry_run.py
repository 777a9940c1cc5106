"""A run without a result: one step of everything, to see what it takes, or the step at which a run stopped, once more."""

import sys
import tempfile
import time
from pathlib import Path

from helpers.errors import InputError


def replay(args, data, surveys):
    """Repeat the step of a nonfinite.pth.tar, and say layer by layer what happens; status 1 where it happens again."""
    from learning import checkpoint
    from learning.run.build import Parts
    from learning.training.replay import replay_step

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

    from helpers.progress import duration
    from helpers.scoring import scores
    from learning import checkpoint
    from learning.inference.predict import MST_SCALES, InferenceSettings, predict_images
    from learning.run.build import Parts
    from learning.run.summary import first_screen
    from learning.training.engine import train_epoch, validate_epoch
    from learning.training.schedule import Pace, Plan

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
        "prediction of 1 image, single scale",
        lambda: list(predict_images(parts.network, [one], InferenceSettings(autocast=autocast))),
    )
    ((_, prediction),), several = timed(
        "prediction of 1 image, --mst",
        lambda: list(predict_images(parts.network, [one], InferenceSettings(MST_SCALES, True, autocast))),
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
    pace = Pace(step, 0.0, num_val * validation + 2 * saving, saving, 60 * args.save_minutes)
    epoch = pace.seconds(Plan(len(parts.train_batches), len(parts.train_batches)))
    total = pace.seconds(parts.plan) + num_val * (several if args.mst else single)
    print(
        f"peak memory {peak_memory(parts.device)}; an epoch with its validation about {duration(epoch)}, ",
        end="",
    )
    print(f"the whole run about {duration(total)} and the time to read the data. Nothing was kept.")


def peak_memory(device):
    """str: the most memory that was in use so far, the GPU's or, on the CPU, the process's."""
    if device.type == "cuda":
        import torch

        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB of the GPU"
    import resource  # not on every system, so not at the top

    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f} GiB"
