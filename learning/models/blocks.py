"""Parts of a network whose activations can be computed a second time instead of kept (Chen et al., arXiv 1604.06174)."""

from contextlib import nullcontext

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from learning.models.norms import statistics_kept


class Block(nn.Module):
    """A part of a network. A subclass says in `compute(x)` what it does.

    With `recompute`, training keeps only the block's input for the backward pass and computes the rest again there: the same
    gradients to the last bit, less memory, about a third more time.
    """

    recompute = False

    def forward(self, x):
        """x (B, C, h, w) -> what `compute` makes of it."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return self.compute(x)
        # Nothing inside a block is random; and the second time, the norms have already counted the batch.
        contexts = {"context_fn": lambda: (nullcontext(), statistics_kept(self))}
        return checkpoint(self.compute, x, use_reentrant=False, preserve_rng_state=False, **contexts)


class DoubleConv(Block, nn.Sequential):
    """Two 3x3 convolutions, each with norm and ReLU."""

    compute = nn.Sequential.forward

    def __init__(self, in_channels, out_channels):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )
