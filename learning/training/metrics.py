"""Running numbers of an epoch, kept on the device: confusion matrix, loss, images."""

import torch

from helpers.labels import VOID
from helpers.scoring import scores
from learning import distributed


class EpochMetrics:
    """Sums over the pixels of an epoch; every mean is over all of them, never over batches.

    Args:
        num_classes: C.
        device: where the counts live.
        num_terms: T, of how many terms the loss is the sum.
    """

    def __init__(self, num_classes, device, num_terms=1):
        self.num_classes = num_classes
        # Apple's GPUs have no float64; their sums are kept on the CPU.
        place = "cpu" if torch.device(device).type == "mps" else device
        self.confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=place)
        self.loss = torch.zeros(2, num_terms, dtype=torch.float64, device=place)  # sums, weights

    def add_loss(self, totals, weights):
        """Add a batch's sums and weights, (T,) each, as `learning.losses.Criterion` returns them."""
        self.loss += torch.stack([totals.detach(), weights]).to(self.loss.device).double()

    def add_prediction(self, prediction, target):
        """Count the pixels of a batch.

        Args:
            prediction: integer (...), train ids.
            target: integer (...), train ids or VOID.
        """
        # VOID pixels are counted in a further cell: cheaper than gathering the valid ones.
        cells = self.num_classes**2
        cell = torch.where(target == VOID, cells, target.long() * self.num_classes + prediction).flatten()
        count = count_sorted if cell.device.type == "cuda" else torch.bincount
        counts = count(cell, minlength=cells + 1)[:cells]
        self.confusion += counts.view_as(self.confusion).to(self.confusion.device)

    def add_up(self):
        """Bring the counts of all processes together, on every one of them."""
        self.confusion, self.loss = distributed.all_reduce_sum(self.confusion), distributed.all_reduce_sum(self.loss)
        return self

    def state_dict(self):
        """dict of tensors on the CPU: all there is, summed over the processes."""
        confusion, loss = distributed.all_reduce_sum(self.confusion), distributed.all_reduce_sum(self.loss)
        return {"confusion": confusion.cpu().clone(), "loss": loss.cpu().clone()}

    def load_state_dict(self, state):
        """Go on from counts that another process has handed over; of several processes, one does."""
        self.confusion.copy_(state["confusion"])
        if state["loss"].numel() == self.loss.numel():  # --override may have changed the terms: then it begins anew
            self.loss.copy_(state["loss"].view_as(self.loss))

    def term_losses(self):
        """list of float: the mean of each term of the loss so far, nan where nothing of weight has come."""
        totals, weights = self.loss.tolist()
        return [total / weight if weight else float("nan") for total, weight in zip(totals, weights, strict=True)]

    def mean_loss(self):
        """float: mean loss so far, nan before the first valid pixel."""
        terms = [loss for loss, weight in zip(self.term_losses(), self.loss[1].tolist(), strict=True) if weight]
        return sum(terms) if terms else float("nan")

    def accuracy(self):
        """float: share of the valid pixels that are right so far, nan before the first."""
        return scores.pixel_accuracy(self.confusion.cpu().numpy())

    def summary(self):
        """dict of float: loss, acc (pixel accuracy), macc (mean class accuracy), miou."""
        confusion = self.confusion.cpu().numpy()
        return {
            "loss": self.mean_loss(),
            "acc": scores.pixel_accuracy(confusion),
            "macc": scores.mean(scores.class_accuracy(confusion)),
            "miou": scores.mean(scores.iou(confusion)),
        }


def count_sorted(values, minlength):
    """What torch.bincount returns for values below `minlength`; it never makes the host wait for a GPU.

    Args:
        values: int64 (n,), 0 .. minlength - 1.
        minlength: k, below 2**31.

    Returns:
        int64 (k,)
    """
    kind = torch.int16 if minlength < 2**15 else torch.int32  # a sort takes one pass for every byte
    bounds = torch.arange(minlength + 1, dtype=kind, device=values.device)
    return torch.searchsorted(values.to(kind).sort().values, bounds).diff()
