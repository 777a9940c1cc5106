"""Normalization: batch, instance, group and EvoNorm, for whole networks.

Networks are built with `torch.nn.BatchNorm2d` and then `convert`ed in place. EvoNorm (Liu et al., arXiv 2004.02967) replaces a
norm and the activation behind it; where no activation follows it is gamma * x + beta.
"""

from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn


class Affine(nn.Module):
    """gamma * x + beta per channel: an EvoNorm where no activation follows.

    Args:
        channels: C of the (B, C, H, W) it takes.
    """

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        """x (B, C, H, W) -> the same shape."""
        return x * _per_channel(self.weight, x) + _per_channel(self.bias, x)


class EvoNormS0(Affine):
    """y = gamma * x * sigmoid(v * x) / sqrt(Var_group(x) + eps) + beta, the variance over height, width and group of channels.

    The variance is the biased one, in float32; 32 groups, or as many below as divide the channels.
    """

    def __init__(self, channels, eps=1e-5):
        super().__init__(channels)
        self.v = nn.Parameter(torch.ones(channels))
        self.groups = num_groups(channels)
        self.eps = eps

    def forward(self, x):
        """x (B, C, H, W) -> the same shape."""
        batch, channels = x.shape[:2]
        variance = x.float().reshape(batch, self.groups, -1).var(2, unbiased=False)  # (B, G)
        scale = torch.rsqrt(variance + self.eps).repeat_interleave(channels // self.groups, 1)[:, :, None, None]
        gate = torch.sigmoid(_per_channel(self.v, x) * x)
        return x * gate * scale.to(x.dtype) * _per_channel(self.weight, x) + _per_channel(self.bias, x)


class EvoNormB0(Affine):
    """y = gamma * x / max(sqrt(Var_batch(x) + eps), v * x + sqrt(Var_instance(x) + eps)) + beta.

    The batch variance is over batch, height and width; in evaluation, and where a single value per channel has none, it is
    the running one, of which each step replaces the share `momentum`. Both variances are biased, in float32.
    """

    def __init__(self, channels, eps=1e-5, momentum=0.1):
        super().__init__(channels)
        self.v = nn.Parameter(torch.ones(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.eps, self.momentum = eps, momentum

    def forward(self, x):
        """x (B, C, H, W) -> the same shape."""
        values = x.float()
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] > 1:
            batch_variance = values.var((0, 2, 3), unbiased=False)
            self.running_var.lerp_(batch_variance.detach().to(self.running_var.dtype), self.momentum)
        else:
            batch_variance = self.running_var
        batch_deviation = torch.sqrt(batch_variance + self.eps)[:, None, None]
        instance_deviation = torch.sqrt(values.var((2, 3), unbiased=False, keepdim=True) + self.eps)
        divisor = torch.maximum(batch_deviation, _per_channel(self.v, values) * values + instance_deviation)
        return (values / divisor).to(x.dtype) * _per_channel(self.weight, x) + _per_channel(self.bias, x)


class PooledBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d that also takes a single value per channel.

    One value has no variance. A batch of one on a 1x1 map (the pooled branch of ASPP) is normalized by the running statistics
    instead, and leaves them as they are.
    """

    def forward(self, x):
        """x (B, C, H, W) -> the same shape."""
        if not self.training or x.shape[0] * x.shape[2] * x.shape[3] > 1:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def _per_channel(parameter, x):
    """(C,) -> (C, 1, 1) in the dtype of x, so that 16 bits stay 16 bits."""
    return parameter[:, None, None].to(x.dtype)


@contextmanager
def statistics_kept(module):
    """Running statistics inside `module` stay as they are, although it runs in training mode."""
    norms = [child for child in module.modules() if getattr(child, "momentum", None) is not None]
    kept = [(norm, norm.momentum, getattr(norm, "num_batches_tracked", None)) for norm in norms]
    try:
        for norm, _, count in kept:
            norm.momentum = 0.0  # no share for the new statistics
            if count is not None:
                norm.num_batches_tracked = count.clone()  # what is counted there is thrown away
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum = momentum
            if count is not None:
                norm.num_batches_tracked = count


def num_groups(channels, most=32):
    """int: `most`, or the largest number below that divides `channels`."""
    return next(groups for groups in range(min(most, channels), 0, -1) if channels % groups == 0)


class InstanceNorm(nn.InstanceNorm2d):
    """InstanceNorm2d that also takes a single value per channel, which is its own mean: beta is left of it."""

    def forward(self, x):
        """x (B, C, H, W) -> the same shape."""
        if x.shape[2] * x.shape[3] > 1:
            return super().forward(x)
        alone = F.layer_norm(x, x.shape[2:], eps=self.eps)  # the same definition, without torch's check of the size
        return alone * _per_channel(self.weight, x) + _per_channel(self.bias, x)


def instance_norm(channels):
    """InstanceNorm with gamma and beta, and no running statistics."""
    return InstanceNorm(channels, affine=True)


def group_norm(channels):
    """GroupNorm of 32 groups, or as many below as divide the channels."""
    return nn.GroupNorm(num_groups(channels), channels)


# What takes the place of BatchNorm2d(channels), and whether it takes the activation behind it along.
NORMS = {
    "batch": (PooledBatchNorm, False),
    "instance": (instance_norm, False),
    "group": (group_norm, False),
    "evo": (EvoNormS0, True),
    "evo_b0": (EvoNormB0, True),
}


def convert(module, norm):
    """Replace every BatchNorm2d inside `module`, in place.

    A norm with an activation of its own takes the next child along when that is a ReLU; in a residual block of
    `resnet.Residual` every norm has its own. The names of the children, and so of the weights, stay.

    Args:
        norm: a key of `NORMS`.

    Returns:
        the same module
    """
    build, has_activation = NORMS[norm]
    children = list(module.named_children())
    for (name, child), (next_name, follower) in zip(children, [*children[1:], ("", None)], strict=False):
        if isinstance(child, nn.BatchNorm2d):
            activated = isinstance(follower, nn.ReLU)
            channels = child.num_features
            if has_activation and not activated:
                setattr(module, name, Affine(channels))
                continue
            setattr(module, name, build(channels))
            if has_activation:
                setattr(module, next_name, nn.Identity())
        else:
            convert(child, norm)
    return module
