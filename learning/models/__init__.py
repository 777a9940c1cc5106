"""Networks: images (B, 3, h, w) -> {"out": logits (B, C, h, w)}, always from scratch."""

import torch

from learning.models.blocks import Block
from learning.models.deeplab import deeplabv3_resnet50, deeplabv3_resnet101
from learning.models.unet import UNet

MODELS = {
    "DeepLabv3_resnet50": deeplabv3_resnet50,
    "DeepLabv3_resnet101": deeplabv3_resnet101,
    "UNet": UNet,
}


def build_model(name, num_classes, norm, seed, recompute=False):
    """A network with random initial weights.

    Args:
        name: a key of `MODELS`.
        num_classes: C; void is no class.
        norm: a key of `learning.models.norms.NORMS`.
        seed: int from which alone the weights are drawn; torch's own random state is left as it was.
        recompute: whether the activations inside blocks are computed again in the backward pass instead of kept.

    Returns:
        torch.nn.Module on the CPU
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS[name](num_classes, norm)
    for module in model.modules():
        if isinstance(module, Block):
            module.recompute = recompute
    return model


def freeze(module):
    """Keep a part of a network as it is: no gradients, and its norms use and keep their running statistics in training, too."""
    module.requires_grad_(False).eval()
    module.train = lambda mode=True: module  # what the network's own train() calls
