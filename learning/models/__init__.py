"""Networks: images (B, 3, h, w) -> {"out": logits (B, C, h, w)} and maybe "aux", initialized randomly."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from helpers.errors import InputError
from learning.models.aspp import RATES
from learning.models.blocks import Block
from learning.models.deeplab import deeplabv3, deeplabv3plus
from learning.models.resnet import Residual
from learning.models.unet import UNet, UNetResNet34

MODELS: dict[str, Callable[..., nn.Module]] = {
    "DeepLabv3_resnet50": partial(deeplabv3, "resnet50"),
    "DeepLabv3_resnet101": partial(deeplabv3, "resnet101"),
    "DeepLabv3plus_resnet50": partial(deeplabv3plus, "resnet50"),
    "DeepLabv3plus_resnet101": partial(deeplabv3plus, "resnet101"),
    "UNet": UNet,
    "UNet_resnet34": UNetResNet34,
}


@dataclass(frozen=True)
class Architecture:
    """A network without its weights.

    Args:
        name: a key of `MODELS`.
        num_classes: C; void is not a class.
        norm: a key of `learning.models.norms.NORMS`.
        output_stride: 8 or 16, for DeepLab only; None is the model's default.
        aux: whether a DeepLab has an auxiliary head, whose logits are "aux" in training.
        zero_init: whether residual blocks are initialized to the identity.
    """

    name: str
    num_classes: int
    norm: str
    output_stride: int | None = None
    aux: bool = False
    zero_init: bool = False

    @classmethod
    def from_stored(cls, stored: Mapping[str, object], num_classes: int) -> "Architecture":
        """The architecture that a run's options describe; an option that an older run lacks has its default of that time."""
        name = str(stored["model"])
        output_stride = stored.get("output_stride")
        aux = stored.get("aux")
        if output_stride not in ((None, *RATES) if name.startswith("DeepLab") else (None,)):
            raise InputError(f"the stored options of the run are damaged: {name} with output_stride {output_stride}")
        if aux and not name.startswith("DeepLab"):
            raise InputError(f"the stored options of the run are damaged: {name} with aux {aux}")
        return cls(
            name=name,
            num_classes=num_classes,
            norm=str(stored["norm"]),
            output_stride=output_stride if isinstance(output_stride, int) else None,
            aux=bool(aux),
            zero_init=bool(stored.get("zero_init")),
        )


def build_model(architecture: Architecture, seed: int, recompute: bool = False) -> nn.Module:
    """A network on the CPU with random initial weights.

    All but the plain UNet have their encoder in the attribute `backbone`.

    Args:
        seed: determines the weights; torch's own random state does not change.
        recompute: whether blocks use activation checkpointing.
    """
    options = {"output_stride": architecture.output_stride, "aux": architecture.aux}
    chosen = {name: value for name, value in options.items() if value}  # U-Nets take neither
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS[architecture.name](architecture.num_classes, architecture.norm, **chosen)
    for module in model.modules():
        if isinstance(module, Block):
            module.recompute = recompute
        if isinstance(module, Residual) and architecture.zero_init:
            module.zero_init_residual()
    return model


def freeze(module: nn.Module) -> None:
    """Exclude a part of a network from training: no gradients, and its norms stay in evaluation mode."""
    module.requires_grad_(False).eval()
    module.train = lambda mode=True: module  # the network's own train() calls it
