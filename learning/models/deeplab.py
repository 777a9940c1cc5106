"""DeepLabV3 (Chen et al., arXiv 1706.05587) as in torchvision and DeepLabV3+ (arXiv 1802.02611), with any norm."""

import torch
from torch import nn
from torchvision.models.segmentation.deeplabv3 import ASPP, DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

from learning.device import at_least_float32
from learning.models.aspp import RATES, adapt_pooling
from learning.models.blocks import DoubleConv
from learning.models.norms import convert_norms
from learning.models.resnet import resnet
from learning.resize import bilinear

_ASPP_CHANNELS = 256
_SKIP_CHANNELS = 48


class DeepLab(nn.Module):
    """Backbone, head, and an optional auxiliary head on the last stage but one, which only runs in training.

    Logits are upsampled in float32. Names of the weights are torchvision's.

    Args:
        backbone: images -> dict of features; "aux" goes to the auxiliary head, the others in their order to the head.
        classifier: features -> logits.
        aux_classifier: features -> logits.
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module, aux_classifier: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """images (B, 3, h, w) -> {"out": logits (B, C, h, w)}, and in training "aux" of the same shape with that head."""
        features = self.backbone(x)
        aux_features = features.pop("aux", None)
        logits = {"out": self.classifier(*features.values())}
        if self.training and self.aux_classifier is not None:
            logits["aux"] = self.aux_classifier(aux_features)
        return {name: bilinear(at_least_float32(values), x.shape[-2:]) for name, values in logits.items()}


class PlusHead(nn.Module):
    """The decoder of DeepLabV3+: ASPP features, upsampled and concatenated with projected fine features.

    Args:
        num_classes: C.
        norm: a key of `norms.NORMS`.
        rates: dilations of the ASPP.
    """

    def __init__(self, num_classes: int, norm: str, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.aspp = ASPP(2048, list(rates), _ASPP_CHANNELS)
        adapt_pooling(self.aspp, norm)
        self.skip = nn.Sequential(
            nn.Conv2d(256, _SKIP_CHANNELS, 1, bias=False), nn.BatchNorm2d(_SKIP_CHANNELS), nn.ReLU(inplace=True)
        )
        self.decoder = DoubleConv(_SKIP_CHANNELS + _ASPP_CHANNELS, _ASPP_CHANNELS)
        self.scores = nn.Conv2d(_ASPP_CHANNELS, num_classes, 1)  # the name is that of the weights in checkpoints

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """features (B, 256, h / 4, w / 4) and (B, 2048, h / stride, w / stride) -> logits (B, C, h / 4, w / 4)"""
        context = bilinear(self.aspp(coarse), fine.shape[-2:])
        return self.scores(self.decoder(torch.cat([self.skip(fine), context], 1)))


def deeplabv3(backbone: str, num_classes: int, norm: str, output_stride: int = 8, aux: bool = False) -> DeepLab:
    """DeepLabV3 with a ResNet backbone and random initial weights.

    Args:
        backbone: "resnet50" or "resnet101".
        num_classes: C.
        norm: a key of `norms.NORMS`.
        output_stride: size of the image / size of the features that the head takes, 8 or 16.
        aux: whether there is an auxiliary head.
    """
    features = resnet(backbone, ({"layer3": "aux"} if aux else {}) | {"layer4": "out"}, output_stride)
    head = DeepLabHead(2048, num_classes, RATES[output_stride])
    aspp = head[0]
    assert isinstance(aspp, ASPP)
    adapt_pooling(aspp, norm)
    return convert_norms(DeepLab(features, head, FCNHead(1024, num_classes) if aux else None), norm)


def deeplabv3plus(backbone: str, num_classes: int, norm: str, output_stride: int = 16, aux: bool = False) -> DeepLab:
    """DeepLabV3+: as `deeplabv3`, with a decoder at a quarter of the image size."""
    outputs = {"layer1": "fine"} | ({"layer3": "aux"} if aux else {}) | {"layer4": "out"}
    features = resnet(backbone, outputs, output_stride)
    head = PlusHead(num_classes, norm, RATES[output_stride])
    return convert_norms(DeepLab(features, head, FCNHead(1024, num_classes) if aux else None), norm)
