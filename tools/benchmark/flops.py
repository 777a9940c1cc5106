"""How much arithmetic a training step is, and how much a GPU can do."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from learning.models import Architecture, build_model

# Dense 16-bit TFLOP/s that large matrix products reach, by what the GPU's name contains.
PEAKS = {"H100": 790.0, "H200": 790.0, "H800": 790.0, "GH200": 790.0}


def training_flops(model, shape):
    """Floating point operations (two a multiply-add) of forward and backward, counted without computing anything.

    Convolutions and matrix products count; norms, activations and resizing, below a hundredth, do not.

    Args:
        model: torch.nn.Module, images -> {"out": ...}; it is moved to the device "meta" and is of no use any more.
        shape: (B, 3, h, w) of the images, for which there is no gradient.

    Returns:
        int
    """
    model = model.to("meta").train()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(shape, device="meta"))["out"].sum().backward()
    return counter.get_total_flops()


def flops_an_image(name, num_classes, size):
    """float: `training_flops` an image of a network of `learning.models.MODELS` with batch norm, nothing computed twice."""
    batch = 2  # a batch of one has no statistics in the pooled branch
    return training_flops(build_model(Architecture(name, num_classes, "batch"), seed=0), (batch, 3, *size)) / batch


def peak_tflops(typed, device):
    """float or None: TFLOP/s that count as everything a device can do: what was typed, or what is known of the GPU."""
    if typed or device.type != "cuda":
        return typed
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)
