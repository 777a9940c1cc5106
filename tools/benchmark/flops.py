"""Floating-point operations of a training step, and the peak of known GPUs."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from learning.models import Architecture, build_model

# Dense 16-bit TFLOP/s of large matrix products, by a part of the GPU's name.
PEAKS = {"H100": 790.0, "H200": 790.0, "H800": 790.0, "GH200": 790.0}


def training_flops(model: torch.nn.Module, shape: tuple[int, int, int, int]) -> int:
    """Operations (two for a multiply-add) of forward and backward pass, counted without computing anything.

    Convolutions and matrix products are counted; norms, activations and resizing, below 1 %, are not.

    Args:
        model: images -> {"out": ...}; it is moved to the device "meta" and cannot be used afterwards.
        shape: (B, 3, h, w) of the images, which need no gradient.
    """
    model = model.to("meta").train()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(shape, device="meta"))["out"].sum().backward()
    return counter.get_total_flops()


def flops_per_image(name: str, num_classes: int, size: tuple[int, int]) -> float:
    """`training_flops` per image of a network of `learning.models.MODELS` with batch norm and without recomputation."""
    batch = 2  # batch norm of the pooled branch needs more than one value
    return training_flops(build_model(Architecture(name, num_classes, "batch"), seed=0), (batch, 3, *size)) / batch


def peak_tflops(typed: float | None, device: torch.device) -> float | None:
    """The peak in TFLOP/s: the option's value, or what is known about the GPU."""
    if typed or device.type != "cuda":
        return typed
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)
