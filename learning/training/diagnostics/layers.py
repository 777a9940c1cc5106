"""Layers whose activations explode, are zero, or are constant although their input is not."""

from dataclasses import dataclass
from functools import partial

import torch

from learning.training.diagnostics.naming import listed

MAX_ACTIVATION = 1e4  # largest healthy absolute value; float16 ends at 65504
CHANNEL_SHARE = 0.95  # of a layer's channels, from which the layer counts as dead or constant
CONSTANT = 1e-5  # range of a channel / its largest absolute value, below which the differences are rounding
MIN_VALUES = 64  # smaller tensors are not judged

_PROBLEMS = {"exploding": "is too large or not finite", "dead": "is zero at every pixel"}


@dataclass(frozen=True)
class _Activation:
    """Share of the channels that are zero at every pixel of the batch and of those that are constant; largest absolute value."""

    zero: float
    constant: float
    largest: float

    @property
    def problem(self) -> str:
        if not self.largest <= MAX_ACTIVATION:  # NaN, too
            return "exploding"
        if self.zero >= CHANNEL_SHARE:
            return "dead"
        return "constant" if self.constant >= CHANNEL_SHARE else ""


@dataclass(frozen=True)
class _Layer:
    name: str
    input: _Activation
    output: _Activation

    def causes(self, problem: str) -> bool:
        """Whether the output has a problem that does not come from the input."""
        if self.output.problem != problem:
            return False
        return not self.input.problem or (problem == "exploding" and self.input.problem != "exploding")


def check_layers(model: torch.nn.Module, images: torch.Tensor) -> list[str]:
    """Findings on layers with healthy input and unhealthy output, from one forward pass in training mode.

    Judges the input and output of every module without children: exploding is a value above `MAX_ACTIVATION`, infinite or
    NaN; dead are `CHANNEL_SHARE` of the channels being 0 at every pixel of the batch; constant are as many being constant.

    Args:
        images: float (B, 3, h, w), network input.
    """
    layers = _activations(model, images)
    findings = []
    if names := [f"{x.name} (up to {x.output.largest:.1e})" for x in layers if x.causes("exploding")]:
        findings.append(f"values explode in {listed(names)}: lower --lr_init, or look at how it is initialized")
    if names := [f"{x.name} ({x.output.zero:.0%} of its channels)" for x in layers if x.causes("dead")]:
        findings.append(f"zero at every pixel: {listed(names)}; a dead layer: lower --lr_init and start again")
    if names := [f"{x.name} ({x.output.constant:.0%} of its channels)" for x in layers if x.causes("constant")]:
        findings.append(f"the same value at every pixel: {listed(names)}; look at its weights, or lower --lr_init")
    if findings:
        return findings
    # The cause is between two modules, or in the images.
    return [
        f"the input of {layer.name} {_PROBLEMS[layer.input.problem]}: look at what comes before it"
        for layer in layers
        if layer.input.problem in _PROBLEMS
    ][:1]


def _activations(model: torch.nn.Module, images: torch.Tensor) -> list[_Layer]:
    """The modules without children in the order of execution; the model does not change."""
    names: list[str] = []
    measured: list[torch.Tensor] = []  # input and output of each module

    def measure_input(module: torch.nn.Module, inputs: tuple[object, ...]) -> None:
        measured.append(_measure(inputs[0] if inputs else None, images.device, single_is_constant=True))

    def measure_output(name: str, module: torch.nn.Module, inputs: tuple[object, ...], output: object) -> None:
        names.append(name)
        measured.append(_measure(output, images.device, single_is_constant=False))

    modes = [(module, module.training) for module in model.modules()]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}  # running statistics: small
    handles = []
    try:
        for name, module in model.named_modules():
            if not list(module.children()):
                # The input is measured before the forward pass, because modules that work in place overwrite it.
                handles.append(module.register_forward_pre_hook(measure_input))
                handles.append(module.register_forward_hook(partial(measure_output, name)))
        model.train()
        with torch.no_grad(), torch.random.fork_rng([images.device] if images.is_cuda else []):
            torch.func.functional_call(model, buffers, (images,))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    activations = [_Activation(*row) for row in torch.stack(measured).tolist()] if measured else []
    return [_Layer(*layer) for layer in zip(names, activations[::2], activations[1::2], strict=True)]


def _measure(x: object, device: torch.device, single_is_constant: bool) -> torch.Tensor:
    """The fields of an `_Activation`, float32 (3,); 0 for small tensors and for anything but floats (B, C, ...).

    A single value per channel is constant by nature. It counts as constant in a layer's input and not in its output, so no
    layer is reported for it.
    """
    if not (isinstance(x, torch.Tensor) and x.is_floating_point() and x.dim() > 1 and x.numel() >= MIN_VALUES):
        return torch.zeros(3, device=device)
    all_but_channels = [dim for dim in range(x.dim()) if dim != 1]
    low = x.amin(all_but_channels).float()  # (C,)
    high = x.amax(all_but_channels).float()  # (C,)
    largest = torch.maximum(-low, high)
    constant = (high - low <= CONSTANT * largest).float().mean()
    if x[:1, :1].numel() == 1:
        constant = torch.full_like(constant, single_is_constant)
    return torch.stack([(largest == 0).float().mean(), constant, largest.max()])
