"""Residual networks (He et al., arXiv 1512.03385): torchvision's ResNet with blocks that every norm fits into.

Its names, shapes and initial values of the weights are torchvision's. The blocks have one ReLU module for each place where one
acts, so that a norm can take it over, and take the arguments with which torchvision's ResNet makes its own.
"""

from torch import nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import ResNet, conv1x1, conv3x3

from learning.models.blocks import Block


class Residual(Block):
    """What a subclass adds to the block's own input: `add_layers` makes it, `residual(x)` computes it, `last_norm` ends it."""

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
        if (groups, base_width) != (1, 64):
            raise ValueError("blocks of grouped or wide networks are not made here")
        # After the addition, so it follows no norm here and every norm leaves it alone.
        self.relu = nn.ReLU(inplace=True)
        self.add_layers(inplanes, planes, stride, dilation, norm_layer)
        self.downsample = downsample

    def compute(self, x):
        """x (B, inplanes, h, w) -> (B, expansion * planes, h / stride, w / stride)"""
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(self.residual(x) + identity)

    def start_as_identity(self):
        """Let the last norm begin with gamma = 0, so that the block begins as its shortcut (Goyal et al., arXiv 1706.02677)."""
        nn.init.zeros_(self.last_norm.weight)


class BasicBlock(Residual):
    """Two 3x3 convolutions, of ResNet-18 and 34."""

    expansion = 1

    def add_layers(self, inplanes, planes, stride, dilation, norm_layer):
        """Those of `residual`, as for `Residual`."""
        self.conv1 = conv3x3(inplanes, planes, stride, dilation=dilation)
        self.bn1 = norm_layer(planes)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes, dilation=dilation)
        self.bn2 = norm_layer(planes)

    @property
    def last_norm(self):
        """The norm before the addition."""
        return self.bn2

    def residual(self, x):
        """x (B, inplanes, h, w) -> (B, planes, h / stride, w / stride)"""
        return self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))


class Bottleneck(Residual):
    """A 3x3 convolution between two 1x1, of ResNet-50 and larger ones."""

    expansion = 4

    def add_layers(self, inplanes, planes, stride, dilation, norm_layer):
        """Those of `residual`, as for `Residual`."""
        self.conv1 = conv1x1(inplanes, planes)
        self.bn1 = norm_layer(planes)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes, stride, dilation=dilation)
        self.bn2 = norm_layer(planes)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv3 = conv1x1(planes, planes * self.expansion)
        self.bn3 = norm_layer(planes * self.expansion)

    @property
    def last_norm(self):
        """The norm before the addition."""
        return self.bn3

    def residual(self, x):
        """x (B, inplanes, h, w) -> (B, 4 * planes, h / stride, w / stride)"""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out))


_KINDS = {
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}
_DILATED = {8: (False, True, True), 16: (False, False, True), 32: (False, False, False)}  # of the last three stages


def resnet(name, outputs, output_stride=32):
    """A residual network without its classifier, with random initial weights.

    Args:
        name: a key of `_KINDS`.
        outputs: dict of child (such as "layer4"; "relu" for the stem) -> name of what it puts out.
        output_stride: size of the image / size of the last features, 8, 16 or 32; what is not strided is dilated instead.

    Returns:
        torch.nn.Module: images (B, 3, h, w) -> dict of name -> features (B, C, h', w'), in the network's order
    """
    block, depths = _KINDS[name]
    network = ResNet(block, list(depths), replace_stride_with_dilation=list(_DILATED[output_stride]))
    return IntermediateLayerGetter(network, return_layers=outputs)
