"""U-Nets (Ronneberger et al., arXiv 1505.04597), padded, upsampled bilinearly: the challenge's, and one on a ResNet."""

import torch
import torch.nn.functional as F
from torch import nn

from learning.device import at_least_float32
from learning.models.blocks import DoubleConv
from learning.models.norms import convert
from learning.models.resnet import resnet
from learning.resize import bilinear

WIDTHS = (64, 128, 256, 512, 512)


class Decoder(nn.ModuleList):
    """Up to the finest features: enlarged, set beside the skip of that size, two convolutions.

    Args:
        widths: channels of the features, the finest first.
        outs: channels after each of the steps up.
    """

    def __init__(self, widths, outs):
        *skips, below = widths
        super().__init__(
            DoubleConv(i + skip, o) for i, skip, o in zip((below, *outs), reversed(skips), outs, strict=False)
        )

    def forward(self, features):
        """list of (B, C, h, w), the finest first -> (B, C', h, w) of the finest size; sizes need not be halves"""
        *skips, x = features
        for block, skip in zip(self, reversed(skips), strict=True):
            x = block(torch.cat([skip, bilinear(x, skip.shape[-2:])], 1))
        return x


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
        outs = (*widths[-3::-1], widths[0])
        self.up = Decoder(widths, outs)
        self.classifier = nn.Conv2d(outs[-1], num_classes, 1)
        convert(self, norm)

    def forward(self, x):
        """images (B, 3, h, w) -> {"out": logits (B, C, h, w)}"""
        features = [self.down[0](x)]
        for block in self.down[1:]:
            features.append(block(F.max_pool2d(features[-1], 2)))
        return {"out": at_least_float32(self.classifier(self.up(features)))}


class UNetResNet34(nn.Module):
    """ResNet-34 with a skip at every scale, the stem's at half the image's size included, where the decoder ends.

    Args:
        num_classes: C.
        norm: a key of `norms.NORMS`.
    """

    def __init__(self, num_classes, norm="batch"):
        super().__init__()
        self.backbone = resnet("resnet34", {name: name for name in ("relu", "layer1", "layer2", "layer3", "layer4")})
        self.up = Decoder((64, 64, 128, 256, 512), (256, 128, 64, 32))
        self.classifier = nn.Conv2d(32, num_classes, 1)
        convert(self, norm)

    def forward(self, x):
        """images (B, 3, h, w) -> {"out": logits (B, C, h, w)}"""
        scores = self.classifier(self.up(list(self.backbone(x).values())))  # (B, C, h / 2, w / 2)
        return {"out": bilinear(at_least_float32(scores), x.shape[-2:])}
