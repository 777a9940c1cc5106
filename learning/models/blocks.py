"""Building blocks with optional activation checkpointing (Chen et al., arXiv 1604.06174)."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from learning.models.norms import freeze_running_statistics


class Block(nn.Module):
    """A module with optional activation checkpointing; a subclass defines `compute`.

    With `recompute`, training stores only the block's input and recomputes its activations in the backward pass: bitwise
    identical gradients, less memory, about a third more time.
    """

    recompute = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """The forward pass: x (B, C, h, w) -> (B, C', h', w')."""
        raise NotImplementedError

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As `compute`."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return self.compute(input)
        # No random state to preserve: blocks contain no dropout.
        return checkpoint(
            self.compute, input, use_reentrant=False, preserve_rng_state=False, context_fn=self._checkpoint_contexts
        )

    def _checkpoint_contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Contexts of the first and of the second computation, when the norms have already counted the batch."""
        return nullcontext(), freeze_running_statistics(self)


class DoubleConv(Block, nn.Sequential):
    """Two 3x3 convolutions, each with norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, in_channels, h, w) -> (B, out_channels, h, w)"""
        return nn.Sequential.forward(self, x)
