"""What a run prints and writes besides checkpoints: first screen, options.json, logs and images of an epoch, diagnostics."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import torch
import torchvision

from helpers import image_sheets, plots, run_folder
from helpers.history import History, write_logs
from helpers.progress import duration, epoch_line
from helpers.run_folder import RunFolder
from learning import checkpoint, distributed
from learning.data.augmentation.sampling import describe, needs_padding
from learning.data.datasets import label_checks
from learning.data.datasets.base import Dataset, Finding, grouped_lines
from learning.data.datasets.extra import Extra
from learning.data.datasets.statistics import DatasetStatistics
from learning.image_size import fitted_size
from learning.losses import Criterion
from learning.run.build import Compute, Run
from learning.run.build_data import build_augmentation
from learning.run.progress import EpochClock
from learning.run.setup import Setup, trains_on_val
from learning.run.state import RunState
from learning.training import diagnostics
from learning.training.diagnostics import EpochRecord, LossRecord
from learning.training.diagnostics.verdict import overfit_verdict
from learning.training.engine import Prediction
from learning.training.metrics import EpochMetrics
from learning.training.schedule import RunLength
from options import AugmentationOptions, ComputeOptions, DataOptions, ModelOptions, TrainingOptions

PRECISIONS = {
    "off": "float32",
    "bf16": "bf16 mixed precision",
    "fp16": "fp16 mixed precision, scaled gradients",
}


def present(folder: RunFolder, run: Run, state: RunState, screen: str, typed: Collection[str]) -> None:
    """Make the run folder, write options.json and the logs, print the first screen and draw the first batch.

    Args:
        screen: from `first_screen`.
        typed: names of the options that were typed.
    """
    if not distributed.is_main():
        return
    folder.create()
    write_options(folder, run, state, typed)
    write_logs(folder.path, state.history)  # an interrupted run may have saved the checkpoint, but not these
    if state.history:
        plots.learning_curve(state.history, folder.path / "learning_curve.png")
    print(screen, flush=True)
    if state.epoch or state.step:
        print(f"resumed   after {state.epoch} epochs and {state.step} steps", flush=True)
    images, labels = run.training.mix(*next(iter(run.train_batches.epoch(state.epoch))), state.epoch, 0)
    image_sheets.save_train_batch(
        images.cpu().numpy(),
        labels.cpu().numpy(),
        run.data.loader.mean,
        run.data.loader.std,
        run.data.dataset.labels.palette,
        folder.images / "train_batch.png",
    )


def first_screen(setup: Setup, run: Run) -> str:
    """Device, data, sizes, model, training and run folder, one per line."""
    options = setup.options
    dataset = setup.dataset
    names = dataset.labels.names
    augmentation = build_augmentation(options.data, options.augmentation, bool(options.run.overfit))
    set_name = "none" if options.run.overfit else options.augmentation.augment
    source_sizes = np.unique(setup.statistics["train"].sizes, axis=0).tolist()
    is_padded = any(needs_padding(augmentation, size) for size in source_sizes)
    accumulates = options.compute.accumulate > 1
    return "\n".join(
        [
            f"device    {device_line(run)}",
            f"data      {data_line(dataset, setup.statistics)}",
            *(
                ["          trained on the val images, too: their score says nothing"]
                if trains_on_val(options.data)
                else []
            ),
            *(f"extra     {extra_line(extra)}" for extra in dataset.extra),
            *(f"warning   {line}" for line in grouped_lines(_warnings(dataset, setup.statistics))),
            f"sizes     {sizes_line(options.data)}",
            *shape_lines(options.data, setup.statistics),
            f"augment   {set_name}: {describe(augmentation)}",
            *(
                ["          some crops extend beyond the image: padded with the mean color, unscored"]
                if is_padded
                else []
            ),
            f"model     {model_line(options.model, run, len(names), options.run.pretrained)}",
            f"training  {options.loss.loss}{mixers(options.augmentation)}, {optimizer_line(options.training)}, "
            f"batch {run.step_size}{accumulation(options.compute, options.training)} x {length_line(run.length)}, "
            f"seed {run.compute.seed}",
            *weight_lines(run.training.criterion, names),
            *(_statistics_lines(options.model.norm) if accumulates else []),
            *([f"objects   {run.copy_paste.bank.summary(names)}"] if run.copy_paste else []),
            f"compute   {compute_line(options.compute, run.compute, bool(options.run.deterministic))}",
            f"cache     {run.data.cache}",
            f"results   {setup.folder.path}",
        ]
    )


def _warnings(dataset: Dataset, statistics: Mapping[str, DatasetStatistics]) -> list[Finding]:
    facts = [one for found in statistics.values() for one in found.labels]
    return [*dataset.warnings, *label_checks.warnings(dataset, facts)]


def device_line(run: Run) -> str:
    """Device, GPUs and processes."""
    device = run.compute.device
    detail = f"{torch.get_num_threads()} threads"
    if device.type == "cuda":
        detail = torch.cuda.get_device_name(device)
        if run.network.parallel is not run.network.model:
            detail += f" x {torch.cuda.device_count()}, DataParallel"
    if distributed.world_size() > 1:
        detail += f", {distributed.world_size()} processes"
    return f"{device} ({detail})"


def data_line(dataset: Dataset, statistics: Mapping[str, DatasetStatistics]) -> str:
    """Number of images in each split, and the classes that are absent."""
    counts = ", ".join(f"{len(samples)} {split}" for split, samples in dataset.splits.items())
    absent = {split: found.absent(dataset.labels.names) for split, found in statistics.items()}
    missing = "; ".join(f"no {', '.join(classes)} in {split}" for split, classes in absent.items() if classes)
    return f"{dataset.name} in {dataset.root}: {counts}; {missing or 'every class in train and val'}"


def extra_line(extra: Extra) -> str:
    """The training images that a folder of --extra_data adds."""
    made = f", with pseudo labels of round {extra.round}" if extra.round else ""
    return f"{extra.num_images} of the training images are from {extra.folder}{made}; a challenge may forbid them"


def sizes_line(data: DataOptions) -> str:
    """Sizes of images, crops and network input in validation."""
    sizes = {"train": data.train_size, "crop": data.crop_size, "test": data.test_size}
    return ", ".join(f"{name} {'x'.join(map(str, size or ()))}" for name, size in sizes.items())


def shape_lines(data: DataOptions, statistics: Mapping[str, DatasetStatistics]) -> list[str]:
    """How many images have another shape than --train_size or --test_size; empty if none has."""
    asked = [size for size in (data.train_size, data.test_size) if size]
    sizes = [size for found in statistics.values() for size in found.sizes.tolist()]
    num_other = sum(any(fitted_size(size, one) != one for one in asked) for size in sizes)
    return [f"          {num_other} of {len(sizes)} images have another shape: each keeps its own"] if num_other else []


def model_line(model: ModelOptions, run: Run, num_classes: int, pretrained: str | None) -> str:
    """The network and the source of its initial weights."""
    details = f", output stride {model.output_stride}" if model.output_stride else ""
    details += f", auxiliary head with {model.aux:g} of its loss" if model.aux else ""
    millions = sum(parameter.numel() for parameter in run.network.model.parameters()) / 1e6
    weights = f"weights from {pretrained}" if pretrained else "from scratch"
    return f"{model.model}{details}, {model.norm} norm, {num_classes} classes, {millions:.1f} M parameters, {weights}"


def mixers(augmentation: AugmentationOptions) -> str:
    """The mixers that are on, to append to the loss."""
    names = ("copypaste", "copyblob", "classmix", "cutmix")
    return "".join(f" + {name}" for name in names if getattr(augmentation, name))


def accumulation(compute: ComputeOptions, training: TrainingOptions) -> str:
    """How a step is divided into micro-batches, to append to its batch size."""
    return f" ({compute.accumulate} x {training.batch_size})" if compute.accumulate > 1 else ""


def optimizer_line(training: TrainingOptions) -> str:
    """Optimizer, learning rates and moving average."""
    text = "SGD with Nesterov momentum" if training.nesterov else "SGD"
    if training.optimizer == "adamw":
        text = "AdamW"
    text += f" from {training.lr_init:g}"
    text += f" (backbone {training.lr_backbone:g})" if training.lr_backbone else ""
    return text + (f", EMA {training.ema:g}" if training.ema else "")


def length_line(length: RunLength) -> str:
    """Steps and epochs."""
    if length.total_steps == length.epochs * length.steps_per_epoch:
        return f"{length.steps_per_epoch} steps x {length.epochs} epochs = {length.total_steps} steps"
    epochs = length.total_steps / length.steps_per_epoch
    return f"{length.total_steps} steps ({epochs:.1f} epochs of {length.steps_per_epoch})"


def weight_lines(criterion: Criterion, names: Sequence[str]) -> list[str]:
    """The class weights of the losses; empty if there are none."""
    lines = []
    for name, keywords in criterion.keyword_arguments.items():
        if keywords.get("class_weights") is not None:
            numbers = keywords["class_weights"].tolist()
            text = ", ".join(f"{c} {number:.3g}" for c, number in zip(names, numbers, strict=True))
            lines += textwrap.wrap(f"{name} {text}", 120)
    return [f"{'' if i else 'weights':<9} {line}" for i, line in enumerate(lines)]


def _statistics_lines(norm: str) -> list[str]:
    is_over_the_batch = norm in ("batch", "evo_b0")
    return [f"          {norm} norm takes its statistics from a micro-batch"] if is_over_the_batch else []


def compute_line(options: ComputeOptions, compute: Compute, deterministic: bool) -> str:
    """Precision, and the other options that decide the speed and reproducibility of a run."""
    parts = [PRECISIONS[compute.precision.name], "channels last" if options.channels_last else "channels first"]
    parts += ["compiled"] if options.compile else []
    parts += ["activations recomputed"] if options.checkpoint_blocks else []
    return ", ".join([*parts, "deterministic" if deterministic else "not deterministic on a GPU"])


def write_options(folder: RunFolder, run: Run, state: RunState, typed: Collection[str]) -> None:
    """Write options.json: every option, which of them were typed, versions, data fingerprint and other provenance."""
    versions = {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
    }
    provenance = {
        "typed": sorted(typed),
        "external weights": state.external_weights,
        "data fingerprint": run.fingerprint,
        "extra data": [vars(extra) | {"folder": str(extra.folder)} for extra in run.data.dataset.extra],
        "commit": run_folder.source_commit(),
        "versions": versions,
        "device": str(run.compute.device),
        "threads": torch.get_num_threads(),
        "precision": run.compute.precision.name,
        "cache": run.data.cache,
        "processes": distributed.world_size(),
        "overrides": state.overrides,
    }
    run_folder.write_options(folder.options, run.options, provenance)


def show_epoch(folder: RunFolder, dataset: Dataset, history: History, predictions: Iterable[Prediction]) -> None:
    """Write the logs and, after a validation, the learning curve and the predictions of its first batch.

    Args:
        predictions: what `validate_epoch` returned; empty for an epoch without validation.
    """
    if not distributed.is_main():
        return
    write_logs(folder.path, history)
    if predictions:
        plots.learning_curve(history, folder.path / "learning_curve.png")
        epoch = len(history["miou"]) - 1
        image_sheets.save_validation(predictions, dataset.decode, dataset.labels.palette, epoch, folder.images)


def print_epoch(history: History, is_best: bool, clock: EpochClock) -> None:
    """Print the last epoch of a history in one line."""
    time_left = clock.time_left()
    if distributed.is_main():
        print(epoch_line(history, is_best, time_left), flush=True)


def print_end(folder: RunFolder, run: Run, state: RunState, minutes: float | None) -> None:
    """Print the best score of the run, the verdict of --overfit, and by how much it missed a --time_budget of some minutes."""
    if not distributed.is_main():
        return
    if minutes:
        late = state.spent - 60 * minutes
        print(
            f"trained and validated in {duration(state.spent)} of {duration(60 * minutes)}: "
            f"{abs(late):.1f} s too {'late' if late > 0 else 'early'}"
        )
    if run.options["overfit"]:
        num_images = len(run.data.dataset.split("train"))
        print(f"verdict: {overfit_verdict(state.history, num_images, run.length.total_steps)}")
    score = "mIoU on validation images that were trained on" if run.keeps_last else "best validation mIoU"
    print(f"{score} (single scale): {state.best_miou:.4f}. Look at {folder.path / 'learning_curve.png'}")


def diagnose(run: Run, names: Sequence[str], train_metrics: EpochMetrics, epoch: int, pretrained: str | None) -> None:
    """After some of the first epochs: print one paragraph about what looks wrong in the training.

    Args:
        names: of the classes.
        train_metrics: metrics of the epoch.
    """
    if not diagnostics.is_due(run.length, epoch):
        return
    if pretrained and not os.path.exists(pretrained):
        return  # the initial weights, which the diagnostics need, are gone
    initial = run.network.initial()
    if pretrained:
        checkpoint.load_pretrained(initial, pretrained)
    images, _ = next(iter(run.train_batches.epoch(epoch)))
    num_steps = run.length.steps_of(epoch)
    total_steps = epoch * run.length.steps_per_epoch + num_steps
    num_images = run.step_size // run.training.accumulate
    with run.compute.precision.autocast():
        paragraph = diagnostics.examine(
            run.network.model,
            EpochRecord(
                initial=initial.state_dict(),
                images=images[:num_images],
                confusion=train_metrics.confusion,
                class_names=names,
                loss=LossRecord(train_metrics.term_losses(), train_metrics.trend(), num_steps, total_steps),
                criterion=run.training.criterion,
            ),
        )
    if distributed.is_main():
        print(paragraph, flush=True)
