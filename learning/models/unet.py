"""U-Net (Ronneberger et al., arXiv 1505.04597) as in the challenge's baseline: bilinear upsampling, padded convolutions."""

import torch
import torch.nn.functional as F
from torch import nn

from learning.compute import at_least_float32
from learning.models.blocks import Block
from learning.models.norms import convert
from learning.resize import bilinear

WIDTHS = (64, 128, 256, 512, 512)


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


class UNet(nn.Module):
    """Four times down by max pooling, four times up with skips; sizes need not divide by 16.

    Args:
        num_classes: C.
        norm: a key of `norms.NORMS`.
        widths: channels at each of the five resolutions.
    """

    def __init__(self, num_classes, norm="batch", widths=WIDTHS):
        super().__init__()
        self.down = nn.ModuleList(DoubleConv(i, o) for i, o in zip((3, *widths), widths, strict=False))
        ups, below = [], widths[-1]
        for level in range(len(widths) - 2, -1, -1):
            out = widths[max(level - 1, 0)]
            ups.append(DoubleConv(below + widths[level], out))
            below = out
        self.up = nn.ModuleList(ups)
        self.classifier = nn.Conv2d(below, num_classes, 1)
        convert(self, norm)

    def forward(self, x):
        """images (B, 3, h, w) -> {"out": logits (B, C, h, w)}"""
        skips = [self.down[0](x)]
        for block in self.down[1:]:
            skips.append(block(F.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for block in self.up:
            skip = skips.pop()
            x = bilinear(x, skip.shape[-2:])
            x = block(torch.cat([skip, x], 1))
        return {"out": at_least_float32(self.classifier(x))}
