"""Normalization layers: batch, instance, group and EvoNorm, chosen for a whole network.

Networks are built with `torch.nn.BatchNorm2d` and then converted in place. EvoNorm (Liu et al., arXiv 2004.02967) replaces a
norm and the activation after it; where no activation follows it is gamma * x + beta.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Affine(nn.Module):
    """gamma * x + beta per channel: an EvoNorm where no activation follows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, C, H, W) -> the same shape."""
        return x * _per_channel(self.weight, x) + _per_channel(self.bias, x)


class EvoNormS0(Affine):
    """y = gamma * x * sigmoid(v * x) / sqrt(Var_group(x) + eps) + beta, the variance over height, width and group of channels.

    The variance is biased and in float32; the number of groups is that of `num_groups`.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels)
        self.v = nn.Parameter(torch.ones(channels))
        self.groups = num_groups(channels)
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, C, H, W) -> the same shape."""
        batch, channels = x.shape[:2]
        variance = x.float().reshape(batch, self.groups, -1).var(2, unbiased=False)  # (B, G)
        scale = torch.rsqrt(variance + self.eps).repeat_interleave(channels // self.groups, 1)[:, :, None, None]
        gate = torch.sigmoid(_per_channel(self.v, x) * x)
        return x * gate * scale.to(x.dtype) * _per_channel(self.weight, x) + _per_channel(self.bias, x)


class EvoNormB0(Affine):
    """y = gamma * x / max(sqrt(Var_batch(x) + eps), v * x + sqrt(Var_instance(x) + eps)) + beta.

    The batch variance is over batch, height and width. In evaluation, and for a single value per channel, it is the running
    variance, which each training step updates with weight `momentum`. Both variances are biased and in float32.
    """

    running_var: torch.Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels)
        self.v = nn.Parameter(torch.ones(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.eps = eps
        self.momentum = momentum

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, C, H, W) -> the same shape."""
        values = x.float()
        if self.training and _values_per_channel(x) > 1:
            batch_variance = values.var((0, 2, 3), unbiased=False)
            self.running_var.lerp_(batch_variance.detach().to(self.running_var.dtype), self.momentum)
        else:
            batch_variance = self.running_var
        batch_deviation = torch.sqrt(batch_variance + self.eps)[:, None, None]
        instance_deviation = torch.sqrt(values.var((2, 3), unbiased=False, keepdim=True) + self.eps)
        divisor = torch.maximum(batch_deviation, _per_channel(self.v, values) * values + instance_deviation)
        return (values / divisor).to(x.dtype) * _per_channel(self.weight, x) + _per_channel(self.bias, x)


class PooledBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d that accepts a single value per channel in training.

    The variance of one value is undefined. A batch of one with a 1x1 map (image-level branch of ASPP) is normalized by the
    running statistics, which stay unchanged.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> the same shape."""
        if not self.training or _values_per_channel(input) > 1:
            return super().forward(input)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


class InstanceNorm(nn.InstanceNorm2d):
    """InstanceNorm2d that accepts a 1x1 map: each value is its own mean, so the result is beta."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> the same shape."""
        if input.shape[2] * input.shape[3] > 1:
            return super().forward(input)
        normalized = F.layer_norm(
            input, input.shape[2:], eps=self.eps
        )  # the same definition, without torch's size check
        return normalized * _per_channel(self.weight, input) + _per_channel(self.bias, input)


def instance_norm(channels: int) -> InstanceNorm:
    """InstanceNorm with gamma and beta, without running statistics."""
    return InstanceNorm(channels, affine=True)


class GroupNorm(nn.GroupNorm):
    """GroupNorm that accepts a single value per group, which is its own mean: the result is beta."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> the same shape."""
        # As in torch, without its check of size.
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps, torch.backends.cudnn.enabled)


def group_norm(channels: int) -> GroupNorm:
    """GroupNorm with as many groups as `num_groups` says."""
    return GroupNorm(num_groups(channels), channels)


def num_groups(channels: int, most: int = 32) -> int:
    """`most`, or the largest number below that divides `channels`."""
    return next(groups for groups in range(min(most, channels), 0, -1) if channels % groups == 0)


def _per_channel(parameter: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """(C,) -> (C, 1, 1) in the dtype of x, so that 16-bit values stay 16-bit."""
    return parameter[:, None, None].to(x.dtype)


def _values_per_channel(x: torch.Tensor) -> int:
    return x.shape[0] * x.shape[2] * x.shape[3]


class Norm(NamedTuple):
    """A replacement of BatchNorm2d: how it is built for a number of channels, and whether it includes an activation."""

    build: Callable[[int], nn.Module]
    includes_activation: bool = False


NORMS = {
    "batch": Norm(PooledBatchNorm),
    "instance": Norm(instance_norm),
    "group": Norm(group_norm),
    "evo": Norm(EvoNormS0, includes_activation=True),
    "evo_b0": Norm(EvoNormB0, includes_activation=True),
}


def convert_norms(module: ModuleT, norm: str) -> ModuleT:
    """Replace every BatchNorm2d inside `module`, in place, and return it.

    A norm that includes an activation also replaces the next child if that is a ReLU. Names of children, and so of weights,
    stay.

    Args:
        norm: a key of `NORMS`.
    """
    build, includes_activation = NORMS[norm]
    children = list(module.named_children())
    followers = [*children[1:], ("", None)]
    for (name, child), (next_name, follower) in zip(children, followers, strict=False):  # a leaf has no children
        if not isinstance(child, nn.BatchNorm2d):
            convert_norms(child, norm)
        elif not includes_activation:
            setattr(module, name, build(child.num_features))
        elif isinstance(follower, nn.ReLU):
            setattr(module, name, build(child.num_features))
            setattr(module, next_name, nn.Identity())
        else:
            setattr(module, name, Affine(child.num_features))
    return module


@contextmanager
def freeze_running_statistics(module: nn.Module) -> Iterator[None]:
    """Context in which the running statistics inside `module` do not change, even in training mode."""
    frozen = [
        (child, child.momentum, getattr(child, "num_batches_tracked", None))
        for child in module.modules()
        if isinstance(child, (_BatchNorm, EvoNormB0)) and child.momentum is not None
    ]
    try:
        for norm, _, counter in frozen:
            norm.momentum = 0.0
            if counter is not None:
                norm.num_batches_tracked = counter.clone()  # the copy is incremented, then dropped
        yield
    finally:
        for norm, momentum, counter in frozen:
            norm.momentum = momentum
            if counter is not None:
                norm.num_batches_tracked = counter
