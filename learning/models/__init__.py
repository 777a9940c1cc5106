"""Networks: images (B, 3, h, w) -> {"out": logits (B, C, h, w)} and maybe "aux", always from scratch."""

from functools import partial

import torch

from learning.models.blocks import Block
from learning.models.deeplab import deeplabv3, deeplabv3plus
from learning.models.resnet import Residual
from learning.models.unet import UNet, UNetResNet34

MODELS = {
    "DeepLabv3_resnet50": partial(deeplabv3, "resnet50"),
    "DeepLabv3_resnet101": partial(deeplabv3, "resnet101"),
    "DeepLabv3plus_resnet50": partial(deeplabv3plus, "resnet50"),
    "DeepLabv3plus_resnet101": partial(deeplabv3plus, "resnet101"),
    "UNet": UNet,
    "UNet_resnet34": UNetResNet34,
}


def build_model(name, num_classes, norm, seed, *, output_stride=None, aux=False, zero_init=False, recompute=False):
    """A network with random initial weights.

    Every one but the plain UNet has its encoder in the attribute `backbone`.

    Args:
        name: a key of `MODELS`.
        num_classes: C; void is no class.
        norm: a key of `learning.models.norms.NORMS`.
        seed: int from which alone the weights are drawn; torch's own random state is left as it was.
        output_stride: 8 or 16, for a DeepLab; None for what the network has by itself.
        aux: whether a DeepLab has an auxiliary head, whose scores are "aux" in training.
        zero_init: whether residual blocks begin as their shortcuts.
        recompute: whether the activations inside blocks are computed again in the backward pass instead of kept.

    Returns:
        torch.nn.Module on the CPU
    """
    options = {"output_stride": output_stride, "aux": aux}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS[name](num_classes, norm, **{key: value for key, value in options.items() if value})
    for module in model.modules():
        if isinstance(module, Block):
            module.recompute = recompute
        if isinstance(module, Residual) and zero_init:
            module.start_as_identity()
    return model


def build_from_options(stored, num_classes, seed, recompute=False):
    """The network that a run's options describe; the one place that knows which of them do.

    Args:
        stored: dict of options, of a command line or as a run has stored them; what an older run lacks is as it was then.
        num_classes, seed, recompute: as for `build_model`.

    Returns:
        torch.nn.Module on the CPU
    """
    return build_model(
        stored["model"],
        num_classes,
        stored["norm"],
        seed,
        output_stride=stored.get("output_stride"),
        aux=bool(stored.get("aux")),
        zero_init=bool(stored.get("zero_init")),
        recompute=recompute,
    )


def freeze(module):
    """Keep a part of a network as it is: no gradients, and its norms use and keep their running statistics in training, too."""
    module.requires_grad_(False).eval()
    module.train = lambda mode=True: module  # what the network's own train() calls
