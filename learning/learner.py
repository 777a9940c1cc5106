"""One epoch of training, one of validation."""

import torch

from learning import keyed
from learning.inference import enlarge, image_scores, to_classes
from learning.losses import mean
from learning.optim import set_learning_rate


def train_epoch(
    model, batches, mix, criterion, optimizer, precision, accumulate, rate_at, metrics, seed, epoch, report
):
    """Train on every batch of an epoch.

    Whatever is random is a function of (seed, epoch, step), so the epoch does not depend on those before it.

    Args:
        model: images (B, 3, h, w) -> {"out": logits (B, C, h, w), maybe "aux"}.
        batches: iterable of (float32 (B, 3, h, w), int64 (B, h, w)) on the model's device, as `learning.loaders.TrainBatches`.
        mix: function of (images, labels, epoch, step) that returns images and labels; `learning.mixing`.
        criterion: function of (outputs, labels) that returns (sum, weight); `learning.losses.Criterion`.
        optimizer: torch.optim.Optimizer.
        precision: `learning.compute.Precision`.
        accumulate: number of parts of a batch that pass the network one after another; their gradients add up to the batch's.
        rate_at: function of (epoch, step) that returns the learning rate.
        metrics: `learning.metrics.EpochMetrics`; receives the loss and the predictions.
        seed, epoch: with the step, decide what dropout draws.
        report: function of (number of images, metrics), called after every step.
    """
    model.train()
    for step, (images, labels) in enumerate(batches):
        images, labels = mix(images, labels, epoch, step)
        whole = criterion.weight(labels)
        optimizer.zero_grad(set_to_none=True)
        for part, (seen, target) in enumerate(zip(images.chunk(accumulate), labels.chunk(accumulate), strict=True)):
            torch.manual_seed(keyed.torch_seed(seed, keyed.FORWARD, epoch, step * accumulate + part))
            with precision.autocast():
                outputs = model(seen)
            total, weight = criterion(outputs, target)
            precision.backward(mean(total, whole))
            metrics.add_loss(total, weight)
            metrics.add_prediction(to_classes(outputs["out"].detach()), target)
        set_learning_rate(optimizer, rate_at(epoch, step))
        precision.step(optimizer)
        report(len(images), metrics)


@torch.inference_mode()
def validate_epoch(model, batches, criterion, autocast, metrics, report):
    """Score every image of a split against its label at the label's own size.

    Args:
        model, criterion, metrics, report: as for `train_epoch`.
        autocast: function that returns the context of a forward pass; `learning.compute.Precision.autocast`.
        batches: iterable of `learning.loaders.EvalBatch` with labels.

    Returns:
        list of (Sample, uint8 numpy (H, W)): the predictions of the first batch, train ids.
    """
    model.eval()
    first = []
    for index, batch in enumerate(batches):
        with autocast():
            scores = image_scores(model, batch.images)
        for sample, score, label in zip(batch.samples, scores, batch.labels, strict=True):
            score = enlarge(score, label.shape)
            prediction = to_classes(score)
            metrics.add_loss(*criterion({"out": score[None]}, label[None].long()))
            metrics.add_prediction(prediction, label)
            if index == 0:
                first.append((sample, prediction.to(torch.uint8).cpu().numpy()))
        report(len(batch.samples), metrics)
    return first
