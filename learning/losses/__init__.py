"""Losses: pure functions of (logits, target) that return (sum, weight), both scalars of at least float32.

The sum runs over the valid pixels, or over images, and the weight is what it is to be divided by. A mean is divided once, where
the whole effective batch is known, so that parts of a batch add up exactly; see `mean`. Whatever is no mean over pixels, such as
Dice, is taken an image at a time and averaged over images; those without a single valid pixel do not count. Weights depend on the
labels alone.
"""

import torch

from helpers.parsing import weighted_sum
from learning.losses.boundary import active_boundary
from learning.losses.pixelwise import cross_entropy, focal, ohem
from learning.losses.regions import dice, log_dice, lovasz, tversky
from learning.losses.weights import image_weight, mean, pixel_weight

__all__ = ["LOSSES", "PIXELWISE", "Criterion", "mean"]

LOSSES = {
    "ce": cross_entropy,
    "weighted_ce": cross_entropy,
    "focal": focal,
    "ohem": ohem,
    "dice": dice,
    "log_dice": log_dice,
    "tversky": tversky,
    "lovasz": lovasz,
    "abl": active_boundary,
}
PIXELWISE = ("ce", "weighted_ce", "focal")  # means over pixels; the others are means over images


class Criterion:
    """The loss of a model's outputs: a sum of terms, each with a weight of its own; `mean` makes one number of them.

    Args:
        terms: a key of `LOSSES`, or a sum such as "ce+0.5*dice".
        options: dict of a key of `LOSSES` -> dict of keyword arguments of its function.
        aux_weight: weight of the auxiliary head's loss, where the model has one.
    """

    def __init__(self, terms, options=None, aux_weight=0.0):
        self.coefficients, self.aux_weight = weighted_sum(terms), aux_weight
        self.options = {name: (options or {}).get(name, {}) for name in self.coefficients}

    @property
    def names(self):
        """tuple of str: the T terms."""
        return tuple(self.coefficients)

    def __call__(self, outputs, target):
        """(totals, weights) of a model's dict with "out" and maybe "aux": (T,) each, coefficients in the totals."""
        totals, weights = self._terms(outputs["out"], target)
        if "aux" in outputs:
            totals = totals + self.aux_weight * self._terms(outputs["aux"], target)[0]
        return totals, weights

    def weight(self, target):
        """The weights alone, which no output changes: those of a whole batch are known before its first part is seen."""
        weights = [
            pixel_weight(target, self.options[name].get("class_weights")) if name in PIXELWISE else image_weight(target)
            for name in self.coefficients
        ]
        return torch.stack(weights)

    def _terms(self, logits, target):
        pairs = [LOSSES[name](logits, target, **self.options[name]) for name in self.coefficients]
        totals = [factor * total for factor, (total, _) in zip(self.coefficients.values(), pairs, strict=True)]
        return torch.stack(totals), torch.stack([weight for _, weight in pairs])
