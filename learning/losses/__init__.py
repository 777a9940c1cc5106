"""Losses: pure functions of (logits, target) that return (sum, weight), two scalars of at least float32.

The sum is over the valid pixels or over the images, and the weight is its divisor. `mean` divides once, by the weight of the
whole effective batch, so micro-batches add up exactly. A loss that is not a mean over pixels, such as Dice, is computed per
image and averaged over images; images without a valid pixel do not count. Weights depend only on the labels.
"""

from collections.abc import Callable, Mapping
from typing import TypedDict

import torch

from helpers.parsing import weighted_sum
from learning.losses.boundary import active_boundary
from learning.losses.pixelwise import cross_entropy, focal, ohem
from learning.losses.regions import dice, log_dice, lovasz, tversky
from learning.losses.weights import image_weight, mean, pixel_weight

__all__ = ["LOSSES", "PIXELWISE", "Criterion", "LossArguments", "mean"]

LOSSES: dict[str, Callable[..., tuple[torch.Tensor, torch.Tensor]]] = {
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


class LossArguments(TypedDict, total=False):
    """Keyword arguments of the functions in `LOSSES`; each takes some of them."""

    class_weights: torch.Tensor | None
    label_smoothing: float
    gamma: float
    threshold: float
    fraction: float
    alpha: float
    beta: float


class Criterion:
    """The training loss: a weighted sum of T terms; `mean` turns its result into one number.

    Args:
        terms: a key of `LOSSES`, or a sum such as "ce+0.5*dice".
        keyword_arguments: of the functions in `LOSSES`, by key.
        aux_weight: weight of the auxiliary head's loss, if the model has that head.
    """

    def __init__(
        self, terms: str, keyword_arguments: Mapping[str, LossArguments] | None = None, aux_weight: float = 0.0
    ) -> None:
        self.coefficients = weighted_sum(terms)
        self.keyword_arguments = {name: (keyword_arguments or {}).get(name, {}) for name in self.coefficients}
        self.aux_weight = aux_weight

    @property
    def names(self) -> tuple[str, ...]:
        """Keys of the T terms in `LOSSES`."""
        return tuple(self.coefficients)

    def __call__(self, outputs: Mapping[str, torch.Tensor], target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums and weights (T,) of a model's outputs "out" and maybe "aux"; the sums include the coefficients."""
        totals, weights = self._terms(outputs["out"], target)
        if "aux" in outputs:
            totals = totals + self.aux_weight * self._terms(outputs["aux"], target)[0]
        return totals, weights

    def weight(self, target: torch.Tensor) -> torch.Tensor:
        """The weights (T,) alone: they depend only on the labels, so a whole batch's are known before its forward pass."""
        return torch.stack([self._term_weight(name, target) for name in self.coefficients])

    def _term_weight(self, name: str, target: torch.Tensor) -> torch.Tensor:
        if name in PIXELWISE:
            return pixel_weight(target, self.keyword_arguments[name].get("class_weights"))
        return image_weight(target)

    def _terms(self, logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        totals = []
        weights = []
        for name, coefficient in self.coefficients.items():
            total, weight = LOSSES[name](logits, target, **self.keyword_arguments[name])
            totals.append(coefficient * total)
            weights.append(weight)
        return torch.stack(totals), torch.stack(weights)
