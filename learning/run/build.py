"""Builds what a checked command line describes: device, data, network, training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import cast

import numpy as np
import torch

from helpers.errors import InputError
from learning import distributed
from learning.data import class_weights
from learning.data.augmentation.copy_paste import CopyPaste
from learning.data.datasets.base import Dataset
from learning.data.fingerprint import fingerprint
from learning.data.loaders import EvalBatches, TrainBatches
from learning.device import Precision, choose_precision, pick_device, set_determinism
from learning.losses import Criterion
from learning.models import Architecture, build_model, freeze
from learning.rng import INITIAL_WEIGHTS, torch_seed
from learning.run.build_data import (
    RunData,
    build_augmentation,
    build_copy_paste,
    build_data,
    build_mixing,
    open_cache,
)
from learning.run.setup import Setup, trains_on_val
from learning.training.ema import EMA
from learning.training.engine import Training
from learning.training.metrics import EpochMetrics, MetricsState
from learning.training.nonfinite import NonFiniteGuard
from learning.training.optim import OptimizerSettings, build_optimizer
from learning.training.schedule import LearningRate, RunLength
from options import ComputeOptions, LossOptions, ModelOptions, TrainingOptions


@dataclass(frozen=True)
class Compute:
    """Settings that depend on the device and on the other processes.

    Args:
        device: of this process.
        precision: of the forward and backward passes.
        seed: of every random choice, the same in all processes.
    """

    device: torch.device
    precision: Precision
    seed: int


@dataclass(frozen=True)
class RunModel:
    """The network of a run.

    Args:
        model: the network itself; checkpoints hold its weights.
        parallel: the model, or its DataParallel wrapper if this process uses several GPUs; for forward passes.
        architecture: what the model was built from.
        recompute: whether activations are computed again in the backward pass instead of stored.
        seed: of its initial weights.
    """

    model: torch.nn.Module
    parallel: torch.nn.Module
    architecture: Architecture
    recompute: bool
    seed: int

    def initial(self) -> torch.nn.Module:
        """The network as it was at the start of the run, on the CPU."""
        return build_model(self.architecture, self.seed, self.recompute)


@dataclass(frozen=True)
class Run:
    """A training run.

    Args:
        copy_paste: augmentation of --copypaste, or None.
        training: what every step needs.
        length: steps, epochs and validations.
        evaluated: the network that is validated and whose best weights are saved: the model, or its average (--ema).
        evaluated_parallel: the same network, on all GPUs of this process.
        fingerprint: of the data set's files; "" in all processes but the main one.
        keeps_last: whether the last weights are kept instead of the best, because the validation images are trained on.
        options: as options.json and checkpoints store them; only to be stored and compared.
    """

    compute: Compute
    data: RunData
    network: RunModel
    train_batches: TrainBatches
    val_batches: EvalBatches
    copy_paste: CopyPaste | None
    training: Training
    length: RunLength
    learning_rate: LearningRate
    evaluated: torch.nn.Module
    evaluated_parallel: torch.nn.Module
    fingerprint: str
    keeps_last: bool
    options: Mapping[str, object]

    @property
    def step_size(self) -> int:
        """Number of images in a training step, over all processes."""
        return self.train_batches.draws.batch_size

    def metrics(self, stored: MetricsState | None = None) -> EpochMetrics:
        """New metrics of an epoch, or those that `EpochMetrics.state_dict` returned."""
        metrics = EpochMetrics(
            self.network.architecture.num_classes, self.compute.device, len(self.training.criterion.names)
        )
        if stored and distributed.is_main():
            metrics.load_state_dict(stored)
        return metrics

    def remaining_batches(self, epoch: int, first_step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The batches of an epoch from a step on; none if only the validation is left."""
        num_steps = max(0, self.length.steps_of(epoch) - first_step)
        return islice(self.train_batches.epoch(epoch, first_step), num_steps)

    def broadcast_evaluated(self) -> torch.nn.Module:
        """The network to validate, after every process has received the running statistics of the main one."""
        distributed.broadcast_buffers(self.network.model)
        distributed.broadcast_buffers(self.evaluated)
        return self.evaluated_parallel

    def file_names(self, epoch: int, step: int) -> list[str]:
        """Names of the images of a training step."""
        return [sample.image.name for sample in self.train_batches.samples(epoch, step)]

    def with_steps(self, steps: int) -> Run:
        """The same run with another number of steps."""
        length = replace(self.length, total_steps=steps)
        check_warmup(self.learning_rate.warmup_epochs, length)
        learning_rate = replace(self.learning_rate, length=length)
        training = replace(self.training, rate_at=learning_rate)
        options = {**self.options, "steps": steps, "epochs": length.epochs}
        return replace(self, length=length, learning_rate=learning_rate, training=training, options=options)

    def close(self) -> None:
        """End the loader processes."""
        self.train_batches.close()
        self.val_batches.close()


def build_compute(options: ComputeOptions, seed: int, deterministic: bool) -> Compute:
    """Choose the device and precision, join the other processes, and agree with them on a seed."""
    set_determinism(deterministic)
    device = pick_device(options.device)
    distributed.init_process_groups(device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    # Without --seed, each process has drawn its own.
    seed = distributed.all_reduce_max(seed)
    return Compute(device, Precision(choose_precision(options.amp, device), device), seed)


def build_network(model: ModelOptions, options: ComputeOptions, compute: Compute, num_classes: int) -> RunModel:
    """The network on the device, with random weights drawn from the seed."""
    architecture = Architecture(
        name=model.model,
        num_classes=num_classes,
        norm=model.norm,
        output_stride=model.output_stride,
        aux=bool(model.aux),
        zero_init=model.zero_init,
    )
    seed = torch_seed(compute.seed, INITIAL_WEIGHTS)
    memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
    network = build_model(architecture, seed, options.checkpoint_blocks)
    network.to(device=compute.device).to(memory_format=memory_format)
    return RunModel(network, over_gpus(network, compute), architecture, options.checkpoint_blocks, seed)


def over_gpus(model: torch.nn.Module, compute: Compute) -> torch.nn.Module:
    """The model, or its DataParallel wrapper if this process uses several GPUs."""
    uses_several = compute.device.type == "cuda" and compute.device.index is None and torch.cuda.device_count() > 1
    return torch.nn.DataParallel(compute.precision.wrap_model(model)) if uses_several else model


def build_prediction(setup: Setup) -> tuple[Compute, RunData, RunModel]:
    """What --predict needs: the device, the images as files, and the network with its initial weights."""
    options = setup.options
    assert options.run.seed is not None, "filled in by fill_defaults"
    compute = build_compute(options.compute, options.run.seed, bool(options.run.deterministic))
    data = build_data(setup.dataset, options.data, setup.statistics, options.training.batch_size, compute.device)
    return compute, data, build_network(options.model, options.compute, compute, len(setup.dataset.labels.classes))


def build_run(setup: Setup) -> Run:
    """Everything that training needs, at the start of a run.

    Raises:
        InputError: a batch size, compilation or warm-up that cannot work here.
    """
    options = setup.options
    compute, data, network = build_prediction(setup)
    if options.compute.compile and network.parallel is not network.model:
        raise InputError("--compile is for one device: name it with --device cuda:0, or leave --compile out")
    description, decoded = open_cache(options.data, setup.dataset, setup.statistics, compute.device)
    data = replace(data, pixels={**data.pixels, **decoded}, cache=description)
    statistics = setup.statistics["train"]
    pixels = data.pixels["train"]
    step_size = options.training.batch_size * options.compute.accumulate
    augmentation = build_augmentation(options.data, options.augmentation, bool(options.run.overfit))
    copy_paste = build_copy_paste(options.augmentation, compute.seed, setup.dataset, statistics, pixels)
    train_batches = TrainBatches(
        pixels, data.loader, step_size, augmentation, compute.seed, copy_paste, statistics.pixels
    )
    length = run_length(options.training, len(train_batches))
    if options.model.freeze == "backbone":
        freeze(network.model.get_submodule("backbone"))
    rate = learning_rate(options.training, length)
    ema = EMA(network.model, options.training.ema) if options.training.ema else None
    training = Training(
        model=training_model(network.parallel, compute.device, options.compute.compile),
        mix=build_mixing(options.augmentation, compute.seed, step_size, setup.dataset),
        criterion=build_criterion(options.loss, options.model.aux, setup.dataset, statistics.pixels, compute.device),
        optimizer=build_optimizer(network.model, optimizer_settings(options.training)),
        rate_at=rate,
        precision=compute.precision,
        guard=NonFiniteGuard(network.model, options.run.skip_nonfinite),
        seed=compute.seed,
        accumulate=options.compute.accumulate,
        average=ema,
    )
    evaluated = ema.model if ema else network.model
    data_fingerprint = ""
    if distributed.is_main():  # it reads every image
        data_fingerprint = fingerprint(setup.dataset, setup.statistics, bool(options.augmentation.copypaste))
    resolved = options.replaced(seed=compute.seed, epochs=length.epochs)
    return Run(
        compute=compute,
        data=data,
        network=network,
        train_batches=train_batches,
        val_batches=data.labeled_batches("val"),
        copy_paste=copy_paste,
        training=training,
        length=length,
        learning_rate=rate,
        evaluated=evaluated,
        evaluated_parallel=over_gpus(evaluated, compute) if ema else network.parallel,
        fingerprint=data_fingerprint,
        keeps_last=trains_on_val(options.data),
        options=resolved.stored(),
    )


def training_model(parallel: torch.nn.Module, device: torch.device, compiled: bool) -> torch.nn.Module:
    """The network for training steps: distributed over the processes, and compiled with --compile."""
    model = distributed.wrap_ddp(parallel, device)
    return cast("torch.nn.Module", torch.compile(model)) if compiled else model


def run_length(training: TrainingOptions, steps_per_epoch: int) -> RunLength:
    """The length of a run: --steps, or --epochs.

    Raises:
        InputError: the warm-up takes all steps.
    """
    length = RunLength(steps_per_epoch, training.steps or training.epochs * steps_per_epoch, training.validate_every)
    check_warmup(training.warmup_epochs, length)
    return length


def check_warmup(warmup_epochs: int, length: RunLength) -> None:
    """Refuse a warm-up that leaves no steps after it; raises `InputError`."""
    warmup_steps = warmup_epochs * length.steps_per_epoch
    if warmup_steps >= length.total_steps:
        raise InputError(
            f"--warmup_epochs {warmup_epochs} takes {warmup_steps} steps, and the whole run has "
            f"{length.total_steps}: the learning rate would never decay"
        )


def learning_rate(training: TrainingOptions, length: RunLength) -> LearningRate:
    """The learning rate of every step."""
    assert training.lr_init is not None, "filled in by fill_defaults"
    return LearningRate(training.lr_init, training.schedule, training.warmup_epochs, length)


def optimizer_settings(training: TrainingOptions) -> OptimizerSettings:
    """The optimizer that the options describe."""
    assert training.lr_init is not None, "filled in by fill_defaults"
    assert training.lr_weight_decay is not None, "filled in by fill_defaults"
    return OptimizerSettings(
        name=training.optimizer,
        lr=training.lr_init,
        momentum=training.lr_momentum,
        weight_decay=training.lr_weight_decay,
        nesterov=training.nesterov,
        lr_backbone=training.lr_backbone,
        decay_norms=training.decay_norms,
    )


def build_criterion(
    options: LossOptions, aux_weight: float, dataset: Dataset, pixels: np.ndarray, device: torch.device
) -> Criterion:
    """The loss.

    Args:
        pixels: int64 (N, C), labeled pixels of each class in each training image.
    """

    def on_device(weights: np.ndarray | None) -> torch.Tensor | None:
        return None if weights is None else torch.from_numpy(weights).float().to(device)

    weights = on_device(class_weights.compute(options.class_weights, dataset.spec, pixels))
    standard = on_device(class_weights.published_or_enet(dataset.spec, pixels))
    keywords = {
        "ce": {"class_weights": weights, "label_smoothing": options.label_smoothing},
        "weighted_ce": {"class_weights": standard, "label_smoothing": options.label_smoothing},
        "focal": {"class_weights": weights, "gamma": options.focal_gamma},
        "ohem": {"class_weights": weights, "threshold": options.ohem_threshold, "fraction": options.ohem_fraction},
        "tversky": {"alpha": options.tversky_alpha, "beta": options.tversky_beta},
    }
    return Criterion(options.loss, keywords, aux_weight=aux_weight)
