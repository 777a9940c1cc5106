"""The training doctor: after some steps, findings that name the symptom, the figure and what to do.

Read-only: weights, buffers, gradients, modes and torch's random state stay as they are. Costs one forward pass without
gradients and one pass over the weights; the comparison with the initial weights is on the CPU.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from learning.losses import Criterion
from learning.training.diagnostics.layers import check_layers
from learning.training.diagnostics.loss import MANY_STEPS, LossRecord, check_loss
from learning.training.diagnostics.predictions import check_predictions, missing_classes
from learning.training.diagnostics.weights import check_weights
from learning.training.schedule import RunLength

LINES = 6
WIDTH = 130
_PREFIX = "doctor: "
FIRST_VISIT = 10  # steps of a run at whose epoch's end the doctor looks at it; again after `MANY_STEPS`


def is_due(length: RunLength, epoch: int) -> bool:
    """Whether the doctor looks at a run after an epoch: earlier, a few steps say nothing. A shorter run is seen at its end."""
    before = epoch * length.steps_per_epoch
    after = before + length.steps_of(epoch)
    visits = (min(FIRST_VISIT, length.total_steps), MANY_STEPS)
    return any(before < visit <= after for visit in visits)


@dataclass(frozen=True)
class EpochRecord:
    """What is known about an epoch of training.

    Args:
        initial: `state_dict` before the training, on the CPU.
        images: float (B, 3, h, w), network input of a batch, on the model's device.
        confusion: int64 (C, C) of the training predictions, rows are the ground truth.
        class_names: (C,).
        loss: the training loss.
        criterion: of its T terms.
    """

    initial: Mapping[str, torch.Tensor]
    images: torch.Tensor
    confusion: torch.Tensor
    class_names: Sequence[str]
    loss: LossRecord
    criterion: Criterion


def examine(model: torch.nn.Module, epoch: EpochRecord) -> str:
    """Findings after an epoch, as at most `LINES` lines of `WIDTH` characters.

    To be called before the gradients of the last step are cleared, under the autocast of the run.

    Args:
        model: neither wrapped nor compiled: images -> {"out": logits (B, C, h, w)}.
    """
    pixels = epoch.confusion.sum(1).to(epoch.images.device)
    findings = [
        *check_loss(epoch.loss, pixels, epoch.criterion),
        *check_layers(model, epoch.images),
        *check_weights(model, epoch.initial, epoch.loss.total_steps == 1),
        *check_predictions(epoch.confusion, epoch.class_names, epoch.loss.total_steps),
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
