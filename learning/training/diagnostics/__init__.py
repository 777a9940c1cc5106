"""The training doctor: after an epoch, findings that name the symptom, the figure and what to do.

Read-only: weights, buffers, gradients, modes and torch's random state stay as they are. Costs one forward pass without
gradients and one pass over the weights; the comparison with the initial weights is on the CPU.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from learning.losses import Criterion
from learning.training.diagnostics.layers import check_layers
from learning.training.diagnostics.loss import check_loss
from learning.training.diagnostics.predictions import check_predictions, missing_classes
from learning.training.diagnostics.weights import check_weights

LINES = 6
WIDTH = 130
_PREFIX = "doctor: "


@dataclass(frozen=True)
class EpochRecord:
    """What is known about an epoch of training.

    Args:
        initial: `state_dict` before the training, on the CPU.
        images: float (B, 3, h, w), network input of a batch, on the model's device.
        confusion: int64 (C, C) of the training predictions, rows are the ground truth.
        class_names: (C,).
        losses: (T,), mean of each term of the training loss.
        criterion: of T terms.
        only_step: whether the epoch had a single step.
    """

    initial: Mapping[str, torch.Tensor]
    images: torch.Tensor
    confusion: torch.Tensor
    class_names: Sequence[str]
    losses: Sequence[float]
    criterion: Criterion
    only_step: bool = False


def examine(model: torch.nn.Module, epoch: EpochRecord) -> str:
    """Findings after an epoch, as at most `LINES` lines of `WIDTH` characters.

    To be called before the gradients of the last step are cleared, under the autocast of the run.

    Args:
        model: neither wrapped nor compiled: images -> {"out": logits (B, C, h, w)}.
    """
    pixels = epoch.confusion.sum(1).to(epoch.images.device)
    findings = [
        *check_loss(epoch.losses, pixels, epoch.criterion),
        *check_layers(model, epoch.images),
        *check_weights(model, epoch.initial, epoch.only_step),
        *check_predictions(epoch.confusion, epoch.class_names),
    ]
    if not findings:
        missing = missing_classes(epoch.confusion, epoch.class_names)
        findings = [f"every layer learns; {missing or 'every class is predicted'}"]
    return _paragraph(findings)


def _paragraph(findings: Sequence[str]) -> str:
    """As many of the first findings as fit."""
    num_shown = len(findings)
    lines = _wrap(findings, num_shown)
    while len(lines) > LINES and num_shown > 1:
        num_shown -= 1
        lines = _wrap(findings, num_shown)
    return _PREFIX + f"\n{' ' * len(_PREFIX)}".join(lines[:LINES])


def _wrap(findings: Sequence[str], num_shown: int) -> list[str]:
    lines = []
    for finding in findings[:num_shown]:
        lines += textwrap.wrap(finding, WIDTH - len(_PREFIX))
    if num_shown < len(findings):
        lines.append(f"(findings left out: {len(findings) - num_shown})")
    return lines
