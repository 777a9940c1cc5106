"""One epoch of training, one of validation."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from helpers.labels import VOID
from learning import distributed
from learning.device import Precision
from learning.inference.predict import image_scores, to_classes, upsample_logits
from learning.losses import Criterion, mean
from learning.rng import FORWARD, torch_seed
from learning.training.ema import EMA
from learning.training.nonfinite import NonFiniteGuard
from learning.training.optim import set_learning_rate


@dataclass
class Training:
    """What every step of a run is made with.

    Args:
        model: images (B, 3, h, w) -> {"out": logits (B, C, h, w), maybe "aux"}; spread over processes where there are several.
        mix: function of (images, labels, epoch, step) that returns images and labels; `learning.data.augmentation.mixing`.
        criterion: learning.losses.Criterion.
        optimizer: torch.optim.Optimizer.
        rate_at: function of (epoch, step) that returns the learning rate.
        precision: learning.device.Precision.
        guard: learning.training.nonfinite.NonFiniteGuard of the model.
        seed: with epoch, step and process, decides what dropout draws.
        accumulate: number of parts of a batch that pass the network one after another; their gradients add up to the batch's.
        average: learning.training.ema.EMA of the model, or None.
    """

    model: torch.nn.Module
    mix: Callable
    criterion: Criterion
    optimizer: torch.optim.Optimizer
    rate_at: Callable
    precision: Precision
    guard: NonFiniteGuard
    seed: int
    accumulate: int = 1
    average: EMA | None = None

    def parts(self, images, labels, epoch, step):
        """The parts of a batch in order, each with torch seeded for it.

        Yields:
            (images, labels, bool): and whether it is the last.
        """
        parts = zip(images.chunk(self.accumulate), labels.chunk(self.accumulate), strict=True)
        for part, (seen, target) in enumerate(parts):
            index = (step * self.accumulate + part) * distributed.size() + distributed.rank()
            torch.manual_seed(torch_seed(self.seed, FORWARD, epoch, index))
            yield seen, target, part == self.accumulate - 1


def train_epoch(training, batches, metrics, epoch, report, first_step=0):
    """Train on the batches of an epoch.

    Whatever is random is a function of (seed, epoch, step), so the epoch does not depend on those before it.

    Args:
        training: Training.
        batches: iterable of (float32 (B, 3, h, w), int64 (B, h, w)) on the model's device, as `learning.data.loaders.TrainBatches`.
        metrics: `learning.training.metrics.EpochMetrics`; receives the loss and the predictions.
        report: function of (number of images, metrics), called after every step.
        first_step: which step of the epoch the first of the batches is.

    Raises:
        learning.training.nonfinite.NonFinite: the loss or the gradient of a step is no number; the weights are those before it.
    """
    model, criterion, optimizer = training.model, training.criterion, training.optimizer
    precision, guard = training.precision, training.guard
    model.train()
    for step, (images, labels) in enumerate(batches, first_step):
        images, labels = training.mix(images, labels, epoch, step)
        whole = distributed.all_reduce_sum(criterion.weight(labels))
        summed, seen_parts = 0.0, []
        optimizer.zero_grad(set_to_none=True)
        guard.snapshot_buffers()
        for seen, target, is_last in training.parts(images, labels, epoch, step):
            with distributed.gradients(model, complete=is_last):
                with precision.autocast():
                    outputs = model(seen)
                totals, weights = criterion(outputs, target)
                loss = mean(totals, whole)
                # The gradients of several processes are averaged; what is wanted is their sum.
                precision.backward(loss * distributed.size())
            summed += loss.detach()
            seen_parts.append((totals.detach(), weights, to_classes(outputs["out"].detach()), target))
        set_learning_rate(optimizer, training.rate_at(epoch, step))
        step_taken = guard.check_step(step, summed, optimizer, precision)
        precision.step(optimizer)
        if training.average:
            training.average.update(step_taken)
        for totals, weights, prediction, target in seen_parts:
            metrics.add_loss(torch.where(step_taken, totals, 0), torch.where(step_taken, weights, 0))
            metrics.add_prediction(prediction, torch.where(step_taken, target, VOID))
        report(len(images), metrics)
    guard.check_pending()


@torch.inference_mode()
def validate_epoch(model, batches, criterion, autocast, metrics, report):
    """Score every image of a split against its label at the label's own size.

    Args:
        model: images -> {"out": logits}, in one process; put into evaluation mode.
        criterion, metrics, report: as for training.
        autocast: function that returns the context of a forward pass; `learning.device.Precision.autocast`.
        batches: iterable of `learning.data.loaders.EvalBatch` with labels.

    Returns:
        list of (Sample, uint8 numpy (H, W)): the predictions of the first batch, train ids.
    """
    model.eval()
    first = []
    for index, batch in enumerate(batches):
        with autocast():
            scores = image_scores(model, batch.images)
        for sample, score, label in zip(batch.samples, scores, batch.labels, strict=True):
            score = upsample_logits(score, label.shape)
            prediction = to_classes(score)
            metrics.add_loss(*criterion({"out": score[None]}, label[None].long()))
            metrics.add_prediction(prediction, label)
            if index == 0:
                first.append((sample, prediction.to(torch.uint8).cpu().numpy()))
        report(len(batch.samples), metrics)
    return first
