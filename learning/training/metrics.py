"""Statistics of an epoch, accumulated on the device: confusion matrix and loss."""

import math
from typing import TypedDict

import torch

from helpers.labels import VOID
from helpers.scoring import scores
from learning import distributed


class MetricsState(TypedDict):
    """What a checkpoint holds of `EpochMetrics`."""

    confusion: torch.Tensor
    loss: torch.Tensor


class EpochMetrics:
    """Sums over the pixels of an epoch; means are over all pixels, never over batches.

    Args:
        num_classes: C.
        device: of the counts.
        num_terms: T, the number of terms of the loss.

    Attributes:
        confusion: int64 (C, C), rows are the ground truth.
        loss: float64 (2, T), sums and weights.
        running: `loss` after each call of `add_loss`.
    """

    def __init__(self, num_classes: int, device: torch.device | str, num_terms: int = 1) -> None:
        self.num_classes = num_classes
        # MPS has no float64: its sums are on the CPU.
        place = "cpu" if torch.device(device).type == "mps" else device
        self.confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=place)
        self.loss = torch.zeros(2, num_terms, dtype=torch.float64, device=place)
        self.running: list[torch.Tensor] = []

    def add_loss(self, totals: torch.Tensor, weights: torch.Tensor) -> None:
        """Add a batch's sums and weights, (T,) each, as `learning.losses.Criterion` returns them."""
        self.loss = self.loss + torch.stack([totals.detach(), weights]).to(self.loss.device).double()
        self.running.append(self.loss)

    def add_prediction(self, prediction: torch.Tensor, target: torch.Tensor) -> None:
        """Count the pixels of a batch.

        Args:
            prediction: integer (...), train ids.
            target: integer (...), train ids or VOID.
        """
        # VOID pixels are counted in an extra cell, which is cheaper than selecting the valid ones.
        cells = self.num_classes**2
        cell = torch.where(target == VOID, cells, target.long() * self.num_classes + prediction).flatten()
        count = count_sorted if cell.device.type == "cuda" else torch.bincount
        counts = count(cell, minlength=cells + 1)[:cells]
        self.confusion += counts.view_as(self.confusion).to(self.confusion.device)

    def all_reduce(self) -> "EpochMetrics":
        """Sum the counts over all processes, in place, and return self."""
        self.confusion = distributed.all_reduce_sum(self.confusion)
        self.loss = distributed.all_reduce_sum(self.loss)
        return self

    def state_dict(self) -> MetricsState:
        """Copies of the counts on the CPU, summed over the processes."""
        confusion = distributed.all_reduce_sum(self.confusion)
        loss = distributed.all_reduce_sum(self.loss)
        return {"confusion": confusion.cpu().clone(), "loss": loss.cpu().clone()}

    def load_state_dict(self, state: MetricsState) -> None:
        """Restore what `state_dict` returned; with several processes, in one of them only."""
        self.confusion.copy_(state["confusion"])
        if state["loss"].numel() == self.loss.numel():  # --override may change the terms: the loss then restarts at 0
            self.loss.copy_(state["loss"].view_as(self.loss))

    def term_losses(self) -> list[float]:
        """Mean of each term of the loss so far, NaN while its weight is 0."""
        totals, weights = self.loss.tolist()
        return [total / weight if weight else math.nan for total, weight in zip(totals, weights, strict=True)]

    def mean_loss(self) -> float:
        """Mean loss so far, NaN before the first valid pixel."""
        return _sum_of_means(self.loss)

    def trend(self) -> tuple[float, float]:
        """Mean loss of this process in the first and in the last quarter of the batches so far, NaN for fewer than four."""
        running = self.running
        size = len(running) // 4
        if not size:
            return math.nan, math.nan
        return _sum_of_means(running[size] - running[0]), _sum_of_means(running[-1] - running[-1 - size])

    def accuracy(self) -> float:
        """Pixel accuracy so far, NaN before the first valid pixel."""
        return scores.pixel_accuracy(self.confusion.cpu().numpy())

    def summary(self) -> dict[str, float]:
        """loss, acc (pixel accuracy), macc (mean class accuracy), miou."""
        confusion = self.confusion.cpu().numpy()
        return {
            "loss": self.mean_loss(),
            "acc": scores.pixel_accuracy(confusion),
            "macc": scores.mean(scores.class_accuracy(confusion)),
            "miou": scores.mean(scores.iou(confusion)),
        }


def _sum_of_means(loss: torch.Tensor) -> float:
    """The sum of the means of the terms that have a weight; NaN if none has."""
    totals, weights = loss.tolist()
    terms = [total / weight for total, weight in zip(totals, weights, strict=True) if weight]
    return sum(terms) if terms else math.nan


def count_sorted(values: torch.Tensor, minlength: int) -> torch.Tensor:
    """`torch.bincount` for values below `minlength`, without synchronizing with a GPU.

    Args:
        values: int64 (n,), 0 .. minlength - 1.
        minlength: k, below 2**31.

    Returns:
        int64 (k,)
    """
    dtype = torch.int16 if minlength < 2**15 else torch.int32  # the sort makes one pass per byte
    bounds = torch.arange(minlength + 1, dtype=dtype, device=values.device)
    return torch.searchsorted(values.to(dtype).sort().values, bounds).diff()
