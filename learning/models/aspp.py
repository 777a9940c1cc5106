"""Atrous spatial pyramid pooling (Chen et al., arXiv 1706.05587): torchvision's, for any norm and for a batch of one."""

import torch
from torch import nn
from torchvision.models.segmentation.deeplabv3 import ASPP

RATES = {8: (12, 24, 36), 16: (6, 12, 18)}  # dilations by output stride: the same receptive field in image pixels


class PooledBranch(nn.Sequential):
    """Image-level branch of ASPP; upsampled by repetition, which equals bilinear upsampling of a 1x1 map."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C', h, w)"""
        return super().forward(input).expand(-1, -1, *input.shape[-2:])


def adapt_pooling(aspp: ASPP, norm: str) -> None:
    """Make the image-level branch of an ASPP work for any image size and for a batch of one, in place.

    To be called before `norms.convert_norms`. The branch has a 1x1 map, where instance norm is undefined: it is left out there.

    Args:
        norm: a key of `norms.NORMS`.
    """
    branch = aspp.convs[-1]
    assert isinstance(branch, nn.Sequential)
    pool, conv, batch_norm, relu = branch
    aspp.convs[-1] = PooledBranch(pool, conv, nn.Identity() if norm == "instance" else batch_norm, relu)
