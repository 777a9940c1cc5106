"""U-Nets (Ronneberger et al., arXiv 1505.04597), padded, upsampled bilinearly: the challenge's, and one with a ResNet encoder."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from learning.device import at_least_float32
from learning.models.blocks import DoubleConv
from learning.models.norms import convert_norms
from learning.models.resnet import resnet
from learning.resize import bilinear

WIDTHS = (64, 128, 256, 512, 512)


class Decoder(nn.ModuleList):
    """At each step: upsample, concatenate the skip connection of that size, two convolutions.

    Args:
        in_channels: of the encoder's features, finest first.
        out_channels: after each of the steps, coarsest first.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: Sequence[int]) -> None:
        *skips, channels = in_channels
        blocks = []
        for skip, out in zip(reversed(skips), out_channels, strict=True):
            blocks.append(DoubleConv(channels + skip, out))
            channels = out
        super().__init__(blocks)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """features (B, C, h, w), finest first -> (B, C', h, w) of the finest size; sizes need not be halves."""
        *skips, x = features
        for block, skip in zip(self, reversed(skips), strict=True):
            x = block(torch.cat([skip, bilinear(x, skip.shape[-2:])], 1))
        return x


class UNet(nn.Module):
    """Four max poolings, four upsampling steps with skip connections; sizes need not be multiples of 16.

    Args:
        num_classes: C.
        norm: a key of `norms.NORMS`.
        widths: channels at each of the five resolutions.
    """

    def __init__(self, num_classes: int, norm: str = "batch", widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.down = nn.ModuleList(DoubleConv(before, after) for before, after in pairwise((3, *widths)))
        out_channels = (*widths[-3::-1], widths[0])
        self.up = Decoder(widths, out_channels)
        self.classifier = nn.Conv2d(out_channels[-1], num_classes, 1)
        convert_norms(self, norm)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """images (B, 3, h, w) -> {"out": logits (B, C, h, w)}"""
        features = [self.down[0](x)]
        for block in self.down[1:]:
            features.append(block(F.max_pool2d(features[-1], 2)))
        return {"out": at_least_float32(self.classifier(self.up(features)))}


class UNetResNet34(nn.Module):
    """ResNet-34 encoder with a skip connection at every scale; the decoder ends at the stem's, half the image size.

    Args:
        num_classes: C.
        norm: a key of `norms.NORMS`.
    """

    def __init__(self, num_classes: int, norm: str = "batch") -> None:
        super().__init__()
        self.backbone = resnet("resnet34", {name: name for name in ("relu", "layer1", "layer2", "layer3", "layer4")})
        self.up = Decoder((64, 64, 128, 256, 512), (256, 128, 64, 32))
        self.classifier = nn.Conv2d(32, num_classes, 1)
        convert_norms(self, norm)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """images (B, 3, h, w) -> {"out": logits (B, C, h, w)}"""
        logits = self.classifier(self.up(list(self.backbone(x).values())))  # (B, C, h / 2, w / 2)
        return {"out": bilinear(at_least_float32(logits), x.shape[-2:])}
