"""DeepLabV3 (Chen et al., arXiv 1706.05587) as torchvision has it and DeepLabV3+ (arXiv 1802.02611), with any norm."""

import torch
from torch import nn
from torchvision.models.segmentation.deeplabv3 import ASPP, DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

from learning.device import at_least_float32
from learning.models.aspp import RATES, adapt_pooling
from learning.models.blocks import DoubleConv
from learning.models.norms import convert
from learning.models.resnet import resnet
from learning.resize import bilinear

_CONTEXT, _SKIP = 256, 48  # channels in the decoder of DeepLabV3+: of the pyramid, and of the fine features


class DeepLab(nn.Module):
    """Backbone, head, and a second head on the stage before the last, which only training has a use for.

    Scores are resized in float32, deterministically where that is asked for. Names of the weights are torchvision's.

    Args:
        backbone: images -> dict of features; "aux" are those for the second head, the others go to the head in their order.
        classifier: the features of the backbone, but for "aux" -> scores.
        aux_classifier: features "aux" -> scores, or None.
    """

    def __init__(self, backbone, classifier, aux_classifier=None):
        super().__init__()
        self.backbone, self.classifier, self.aux_classifier = backbone, classifier, aux_classifier

    def forward(self, x):
        """images (B, 3, h, w) -> {"out": logits (B, C, h, w)}; in training "aux" of the same shape, where there is that head"""
        features = self.backbone(x)
        coarse = features.pop("aux", None)
        scores = {"out": self.classifier(*features.values())}
        if self.training and self.aux_classifier is not None:
            scores["aux"] = self.aux_classifier(coarse)
        return {name: bilinear(at_least_float32(values), x.shape[-2:]) for name, values in scores.items()}


class PlusHead(nn.Module):
    """The decoder of DeepLabV3+: the pyramid's context, enlarged, beside fine features that are reduced to few channels.

    Args:
        num_classes: C.
        norm: a key of `norms.NORMS`.
        rates: dilations of the pyramid.
    """

    def __init__(self, num_classes, norm, rates):
        super().__init__()
        self.aspp = ASPP(2048, rates, _CONTEXT)
        adapt_pooling(self.aspp, norm)
        self.skip = nn.Sequential(nn.Conv2d(256, _SKIP, 1, bias=False), nn.BatchNorm2d(_SKIP), nn.ReLU(inplace=True))
        self.decoder = DoubleConv(_SKIP + _CONTEXT, _CONTEXT)
        self.scores = nn.Conv2d(_CONTEXT, num_classes, 1)

    def forward(self, fine, coarse):
        """features (B, 256, h / 4, w / 4) and (B, 2048, h / stride, w / stride) -> logits (B, C, h / 4, w / 4)"""
        context = bilinear(self.aspp(coarse), fine.shape[-2:])
        return self.scores(self.decoder(torch.cat([self.skip(fine), context], 1)))


def deeplabv3(backbone, num_classes, norm, output_stride=8, aux=False):
    """DeepLabV3 on a ResNet of bottleneck blocks, with random initial weights.

    Args:
        backbone: "resnet50" or "resnet101".
        num_classes: C.
        norm: a key of `norms.NORMS`.
        output_stride: 8 or 16, size of the image / size of the features that are classified.
        aux: whether training has scores of a second head on the third stage, too.

    Returns:
        DeepLab
    """
    features = resnet(backbone, ({"layer3": "aux"} if aux else {}) | {"layer4": "out"}, output_stride)
    head = DeepLabHead(2048, num_classes, RATES[output_stride])
    adapt_pooling(head[0], norm)
    return convert(DeepLab(features, head, FCNHead(1024, num_classes) if aux else None), norm)


def deeplabv3plus(backbone, num_classes, norm, output_stride=16, aux=False):
    """DeepLabV3+ on a ResNet of bottleneck blocks: as `deeplabv3`, with a decoder at a quarter of the image's size."""
    outputs = {"layer1": "fine"} | ({"layer3": "aux"} if aux else {}) | {"layer4": "out"}
    features = resnet(backbone, outputs, output_stride)
    head = PlusHead(num_classes, norm, RATES[output_stride])
    return convert(DeepLab(features, head, FCNHead(1024, num_classes) if aux else None), norm)
