"""Residual networks (He et al., arXiv 1512.03385): torchvision's ResNet with blocks that work with every norm.

Names, shapes and initial values of the weights are torchvision's. Its blocks use one ReLU module several times; these have one
for each use, so that a norm can replace it. Constructors take the arguments that torchvision's ResNet passes.
"""

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import ResNet, conv1x1, conv3x3

from learning.models.blocks import Block


class Residual(Block):
    """A residual block; a subclass defines the residual branch by `add_layers`, `residual` and `last_norm`."""

    expansion: int

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if (groups, base_width) != (1, 64):
            raise ValueError("grouped and wide residual blocks are not supported")
        # First, so that it does not directly follow a norm: the ReLU after the addition stays, whatever the norm.
        self.relu = nn.ReLU(inplace=True)
        self.add_layers(inplanes, planes, stride, dilation, norm_layer)
        self.downsample = downsample

    def add_layers(
        self, inplanes: int, planes: int, stride: int, dilation: int, norm_layer: Callable[[int], nn.Module]
    ) -> None:
        """Create the layers of the residual branch; arguments as for the constructor."""
        raise NotImplementedError

    @property
    def last_norm(self) -> nn.Module:
        """The norm before the addition."""
        raise NotImplementedError

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, inplanes, h, w) -> (B, expansion * planes, h / stride, w / stride)"""
        raise NotImplementedError

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, inplanes, h, w) -> (B, expansion * planes, h / stride, w / stride)"""
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(self.residual(x) + identity)

    def zero_init_residual(self) -> None:
        """Set gamma of the last norm to 0, so that the block starts as its shortcut (Goyal et al., arXiv 1706.02677)."""
        gamma = self.last_norm.weight
        assert isinstance(gamma, torch.Tensor)
        nn.init.zeros_(gamma)


class BasicBlock(Residual):
    """Two 3x3 convolutions, of ResNet-18 and 34."""

    expansion = 1

    def add_layers(
        self, inplanes: int, planes: int, stride: int, dilation: int, norm_layer: Callable[[int], nn.Module]
    ) -> None:
        """As `Residual.add_layers`."""
        self.conv1 = conv3x3(inplanes, planes, stride, dilation=dilation)
        self.bn1 = norm_layer(planes)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes, dilation=dilation)
        self.bn2 = norm_layer(planes)

    @property
    def last_norm(self) -> nn.Module:
        """The norm before the addition."""
        return self.bn2

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, inplanes, h, w) -> (B, planes, h / stride, w / stride)"""
        return self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))


class Bottleneck(Residual):
    """A 3x3 convolution between two 1x1 convolutions, of ResNet-50 and larger ones."""

    expansion = 4

    def add_layers(
        self, inplanes: int, planes: int, stride: int, dilation: int, norm_layer: Callable[[int], nn.Module]
    ) -> None:
        """As `Residual.add_layers`."""
        self.conv1 = conv1x1(inplanes, planes)
        self.bn1 = norm_layer(planes)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes, stride, dilation=dilation)
        self.bn2 = norm_layer(planes)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv3 = conv1x1(planes, planes * self.expansion)
        self.bn3 = norm_layer(planes * self.expansion)

    @property
    def last_norm(self) -> nn.Module:
        """The norm before the addition."""
        return self.bn3

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, inplanes, h, w) -> (B, 4 * planes, h / stride, w / stride)"""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out))


_LAYERS = {
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}
# By output stride: which of the last three stages are dilated instead of strided.
_DILATED_STAGES = {8: [False, True, True], 16: [False, False, True], 32: [False, False, False]}


def resnet(name: str, outputs: Mapping[str, str], output_stride: int = 32) -> nn.Module:
    """A residual network without its classifier, with random initial weights.

    Args:
        name: "resnet34", "resnet50" or "resnet101".
        outputs: key of a feature map by the child that produces it, such as "layer4"; "relu" is the stem.
        output_stride: size of the image / size of the last feature map, 8, 16 or 32.

    Returns:
        network: images (B, 3, h, w) -> dict of features (B, C, h', w') in the network's order
    """
    block, depths = _LAYERS[name]
    # pyrefly: ignore [bad-argument-type]  # torchvision's annotation names its own two blocks; it calls ours the same way
    network = ResNet(block, list(depths), replace_stride_with_dilation=_DILATED_STAGES[output_stride])
    return IntermediateLayerGetter(network, return_layers=dict(outputs))
