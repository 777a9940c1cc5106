"""Running numbers of an epoch, kept on the device: confusion matrix, loss, images."""

import torch

from helpers import scores
from helpers.labels import VOID


class EpochMetrics:
    """Sums over the pixels of an epoch; every mean is over all of them, never over batches.

    Args:
        num_classes: C.
        device: where the counts live.
    """

    def __init__(self, num_classes, device):
        self.num_classes = num_classes
        # Apple's GPUs have no float64; their sums are kept on the CPU.
        place = "cpu" if torch.device(device).type == "mps" else device
        self.confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=place)
        self.loss = torch.zeros(2, dtype=torch.float64, device=place)  # sum, weight

    def add_loss(self, total, weight):
        """Add a batch's (sum, weight) as the losses return them."""
        self.loss += torch.stack([total.detach(), weight]).to(self.loss.device).double()

    def add_prediction(self, prediction, target):
        """Count the pixels of a batch.

        Args:
            prediction: integer (...), train ids.
            target: integer (...), train ids or VOID.
        """
        # VOID pixels are counted in a further cell: cheaper than gathering the valid ones.
        cell = torch.where(target == VOID, self.num_classes**2, target.long() * self.num_classes + prediction)
        counts = torch.bincount(cell.flatten(), minlength=self.num_classes**2 + 1)[:-1]
        self.confusion += counts.view_as(self.confusion).to(self.confusion.device)

    def is_finite(self):
        """Whether the losses so far are numbers."""
        return bool(torch.isfinite(self.loss).all())

    def mean_loss(self):
        """float: mean loss so far, nan before the first valid pixel."""
        total, weight = self.loss.tolist()
        return total / weight if weight else float("nan")

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
