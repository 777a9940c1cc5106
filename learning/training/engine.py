"""One epoch of training, one of validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch

from helpers.labels import VOID
from learning import distributed
from learning.data.datasets.base import Sample
from learning.data.loaders import EvalBatch
from learning.device import Precision
from learning.inference.predict import average_logits, to_classes, upsample_logits
from learning.losses import Criterion, mean
from learning.rng import FORWARD, torch_seed
from learning.training.ema import EMA
from learning.training.metrics import EpochMetrics
from learning.training.nonfinite import NonFiniteGuard
from learning.training.optim import set_learning_rate

Batch = tuple[torch.Tensor, torch.Tensor]  # images float32 (B, 3, h, w), labels int64 (B, h, w), on the model's device
Report = Callable[[int, EpochMetrics], object]
Prediction = tuple[Sample, np.ndarray]  # uint8 (H, W), train ids


@dataclass
class Training:
    """What every training step needs.

    Args:
        model: images (B, 3, h, w) -> {"out": logits (B, C, h, w), maybe "aux"}; distributed if there are several processes.
        mix: function of (images, labels, epoch, step) that returns images and labels; see `learning.data.augmentation.mixing`.
        criterion: the loss.
        optimizer: over the model's parameters.
        rate_at: learning rate, a function of (epoch, step).
        precision: of forward and backward passes.
        guard: skips steps that are NaN or infinite.
        seed: with epoch, step and process it decides what dropout draws.
        accumulate: number of micro-batches that a batch is divided into; their gradients add up to the batch's.
        average: exponential moving average of the model, or None.
    """

    model: torch.nn.Module
    mix: Callable[[torch.Tensor, torch.Tensor, int, int], Batch]
    criterion: Criterion
    optimizer: torch.optim.Optimizer
    rate_at: Callable[[int, int], float]
    precision: Precision
    guard: NonFiniteGuard
    seed: int
    accumulate: int = 1
    average: EMA | None = None

    def micro_batches(
        self, images: torch.Tensor, labels: torch.Tensor, epoch: int, step: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, bool]]:
        """The micro-batches of a batch, each with torch seeded for it, and whether it is the last."""
        pairs = zip(images.chunk(self.accumulate), labels.chunk(self.accumulate), strict=True)
        for part, (micro_images, micro_labels) in enumerate(pairs):
            index = (step * self.accumulate + part) * distributed.world_size() + distributed.rank()
            torch.manual_seed(torch_seed(self.seed, FORWARD, epoch, index))
            yield micro_images, micro_labels, part == self.accumulate - 1


def train_epoch(
    training: Training, batches: Iterable[Batch], metrics: EpochMetrics, epoch: int, report: Report, first_step: int = 0
) -> None:
    """Train on the batches of an epoch.

    Everything random is a function of (seed, epoch, step), so the epoch does not depend on those before it.

    Args:
        batches: as `learning.data.loaders.TrainBatches` yields them.
        metrics: receives the loss and the predictions.
        report: function of (number of images, metrics), called after every step.
        first_step: index within the epoch of the first batch.

    Raises:
        learning.training.nonfinite.NonFinite: the loss or the gradient of a step is NaN or infinite; the weights are those
            before it.
    """
    training.model.train()
    for step, (images, labels) in enumerate(batches, first_step):
        images, labels = training.mix(images, labels, epoch, step)
        train_step(training, images, labels, metrics, epoch, step)
        report(len(images), metrics)
    training.guard.check_pending()


def train_step(
    training: Training, images: torch.Tensor, labels: torch.Tensor, metrics: EpochMetrics, epoch: int, step: int
) -> None:
    """One step: forward and backward over the micro-batches, then the optimizer.

    Every micro-batch's loss is divided by the weight of the whole batch over all processes, so that the gradients add up to those
    of one mean.
    """
    criterion = training.criterion
    precision = training.precision
    total_weight = distributed.all_reduce_sum(criterion.weight(labels))
    batch_loss = torch.zeros((), device=images.device)
    results = []
    training.optimizer.zero_grad(set_to_none=True)
    training.guard.snapshot_buffers()
    for micro_images, micro_labels, is_last in training.micro_batches(images, labels, epoch, step):
        with distributed.gradient_sync(training.model, complete=is_last):
            with precision.autocast():
                outputs = training.model(micro_images)
            totals, weights = criterion(outputs, micro_labels)
            loss = mean(totals, total_weight)
            # DistributedDataParallel averages the gradients over the processes; their sum is needed.
            precision.backward(loss * distributed.world_size())
        batch_loss = batch_loss + loss.detach()
        results.append((totals.detach(), weights, to_classes(outputs["out"].detach()), micro_labels))
    set_learning_rate(training.optimizer, training.rate_at(epoch, step))
    step_taken = training.guard.check_step(step, batch_loss, training.optimizer, precision)
    precision.step(training.optimizer)
    if training.average:
        training.average.update(step_taken)
    for totals, weights, classes, micro_labels in results:
        metrics.add_loss(torch.where(step_taken, totals, 0), torch.where(step_taken, weights, 0))
        metrics.add_prediction(classes, torch.where(step_taken, micro_labels, VOID))


@torch.inference_mode()
def validate_epoch(
    model: torch.nn.Module,
    batches: Iterable[EvalBatch],
    criterion: Criterion,
    autocast: Callable[[], AbstractContextManager],
    metrics: EpochMetrics,
    report: Report,
) -> list[Prediction]:
    """Score every image of a split against its label at the label's own size.

    Args:
        model: images -> {"out": logits}, in one process; put into evaluation mode.
        batches: with labels.
        autocast: returns the context of a forward pass; `learning.device.Precision.autocast`.
        metrics, report: as for `train_epoch`.

    Returns:
        The predictions of the first batch.
    """
    model.eval()
    first = []
    for index, batch in enumerate(batches):
        assert batch.labels is not None
        with autocast():
            batch_logits = average_logits(model, batch.images)
        for sample, logits, label in zip(batch.samples, batch_logits, batch.labels, strict=True):
            logits = upsample_logits(logits, (label.shape[0], label.shape[1]))
            classes = to_classes(logits)
            metrics.add_loss(*criterion({"out": logits[None]}, label[None].long()))
            metrics.add_prediction(classes, label)
            if index == 0:
                first.append((sample, classes.to(torch.uint8).cpu().numpy()))
        report(len(batch.samples), metrics)
    return first
