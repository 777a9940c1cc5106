"""DeepLabV3 (Chen et al., arXiv 1706.05587): torchvision's, from scratch, with any norm, also for a batch of one."""

from torch import nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import ResNet, conv1x1, conv3x3
from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3

from learning.compute import at_least_float32
from learning.models.blocks import Block
from learning.models.norms import convert
from learning.resize import bilinear


class Bottleneck(Block):
    """torchvision's residual block with one ReLU module for each place where one acts, so that a norm can take it over.

    Names, shapes and initial values of the weights are torchvision's; so are its arguments.
    """

    expansion = 4

    def __init__(
        self,
        inplanes,
        planes,
        stride=1,
        downsample=None,
        groups=1,
        base_width=64,
        dilation=1,
        norm_layer=nn.BatchNorm2d,
    ):
        super().__init__()
        width = int(planes * (base_width / 64.0)) * groups
        self.relu = nn.ReLU(
            inplace=True
        )  # after the addition, so it follows no norm here and every norm leaves it alone
        self.conv1 = conv1x1(inplanes, width)
        self.bn1 = norm_layer(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(width, width, stride, groups, dilation)
        self.bn2 = norm_layer(width)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv3 = conv1x1(width, planes * self.expansion)
        self.bn3 = norm_layer(planes * self.expansion)
        self.downsample = downsample

    def compute(self, x):
        """x (B, inplanes, h, w) -> (B, 4 * planes, h / stride, w / stride)"""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + identity)


class PooledBranch(nn.Sequential):
    """The branch of ASPP that sees the mean of the whole image; bilinear from one pixel is that pixel everywhere."""

    def forward(self, x):
        """x (B, C, h, w) -> (B, C', h, w)"""
        return super().forward(x).expand(-1, -1, *x.shape[-2:])


class DeepLab(DeepLabV3):
    """torchvision's module with scores that are resized in float32, deterministically where that is asked for."""

    def forward(self, x):
        """images (B, 3, h, w) -> {"out": logits (B, C, h, w)}"""
        scores = self.classifier(self.backbone(x)["out"])  # (B, C, h / 8, w / 8)
        return {"out": bilinear(at_least_float32(scores), x.shape[-2:])}


def deeplabv3(num_classes, norm, blocks):
    """DeepLabV3 with output stride 8 on a ResNet of bottleneck blocks; no weights but the random initial ones.

    Args:
        num_classes: C.
        norm: a key of `norms.NORMS`.
        blocks: number of residual blocks of the four stages.

    Returns:
        torch.nn.Module: images (B, 3, h, w) -> {"out": logits (B, C, h, w)}; the weights' names are torchvision's.
    """
    backbone = ResNet(Bottleneck, blocks, replace_stride_with_dilation=[False, True, True])
    features = IntermediateLayerGetter(backbone, return_layers={"layer4": "out"})
    model = DeepLab(features, DeepLabHead(2048, num_classes))
    branches = model.classifier[0].convs
    branches[-1] = PooledBranch(*branches[-1])
    convert(model, norm)
    if norm == "instance":
        # The pooled branch of ASPP is one pixel: an instance has no statistics there.
        branches[-1][2] = nn.Identity()
    return model


def deeplabv3_resnet50(num_classes, norm):
    """DeepLabV3 on ResNet-50: 39.6 M parameters with 19 classes."""
    return deeplabv3(num_classes, norm, [3, 4, 6, 3])


def deeplabv3_resnet101(num_classes, norm):
    """DeepLabV3 on ResNet-101: 58.6 M parameters with 19 classes."""
    return deeplabv3(num_classes, norm, [3, 4, 23, 3])
