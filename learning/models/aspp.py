"""Atrous spatial pyramid pooling (Chen et al., arXiv 1706.05587): torchvision's, with any norm, also for a batch of one."""

from torch import nn

RATES = {8: (12, 24, 36), 16: (6, 12, 18)}  # dilations by output stride: the same distances in the image


class PooledBranch(nn.Sequential):
    """The branch of ASPP that sees the mean of the whole image; bilinear from one pixel is that pixel everywhere."""

    def forward(self, x):
        """x (B, C, h, w) -> (B, C', h, w)"""
        return super().forward(x).expand(-1, -1, *x.shape[-2:])


def adapt_pooling(aspp, norm):
    """Have the pooled branch of a torchvision ASPP take images of any size and batches of one, in place.

    To be called before `norms.convert`. Its map is one pixel, where an instance has no statistics: no instance norm goes there.

    Args:
        aspp: torchvision.models.segmentation.deeplabv3.ASPP.
        norm: a key of `norms.NORMS`.
    """
    pool, conv, batch_norm, relu = aspp.convs[-1]
    aspp.convs[-1] = PooledBranch(pool, conv, nn.Identity() if norm == "instance" else batch_norm, relu)
