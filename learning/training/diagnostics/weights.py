"""Weights that the training does not change: no gradient, a gradient of exactly zero, or the initial values."""

import math
import statistics
from collections.abc import Mapping

import torch

from learning.training.diagnostics.naming import listed

# A gradient below this share of the median may be rounding only, such as that of a bias before a norm, and change nothing.
NEGLIGIBLE = 1e-3

_Weights = Mapping[str, torch.Tensor]
_Gradients = Mapping[str, float | None]


def check_weights(model: torch.nn.Module, initial: _Weights, only_step: bool = False) -> list[str]:
    """Findings on weights that do not learn.

    Gradients are those of the last step; if all are cleared or zero, only changes are judged. Not reported: frozen weights, an
    auxiliary head (aux...) without any gradient, and a bias or the like without effect, such as that before a norm, if the
    `weight` of its module learns. After the only step, zero gradients are not reported if a zero-initialized weight has just
    changed (as with --zero_init): the layers that it blocked learn from the second step on.

    Args:
        initial: `state_dict` before the training, on the CPU.
        only_step: whether there was a single step.
    """
    weights, gradients = _active_weights(model)
    unchanged = [
        name
        for name, weight in weights.items()
        if name in initial and torch.equal(weight.detach().cpu(), initial[name])
    ]
    if weights and len(unchanged) == len(weights):
        advice = "the loss does not reach the network"
        if any(gradients.values()):
            advice = "check --lr_init and what the optimizer was given"
        return [f"none of the {len(weights)} weight tensors moved so far: {advice}"]
    unblocked = only_step and any(
        name.endswith(".weight") and name in initial and not initial[name].any() and name not in unchanged
        for name in weights
    )
    return [*_without_gradient(weights, gradients, unblocked), *_unchanged(weights, gradients, unchanged)]


def _active_weights(model: torch.nn.Module) -> tuple[_Weights, _Gradients]:
    """Trainable weights, and the largest absolute value of their gradients; without an auxiliary head that is not used."""
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad and weight.numel()}
    gradients = _largest_gradients(weights)
    used = {_child(name) for name in weights if gradients[name] or not name.startswith("aux")}
    weights = {name: weight for name, weight in weights.items() if _child(name) in used}
    return weights, {name: gradients[name] for name in weights}


def _child(name: str) -> str:
    return name.split(".")[0]


def _largest_gradients(weights: _Weights) -> dict[str, float | None]:
    """Largest absolute value of each gradient, None without one; a single synchronization with the device."""
    gradients = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
    largest = [torch.linalg.vector_norm(gradient, math.inf).float() for gradient in gradients.values()]
    values = torch.stack(largest).tolist() if largest else []
    return dict.fromkeys(weights) | dict(zip(gradients, values, strict=True))


def _without_gradient(weights: _Weights, gradients: _Gradients, unblocked: bool) -> list[str]:
    if not any(gradients.values()):
        return []
    silent = [name for name in weights if not gradients[name] and not _main_weight(name, weights)]
    findings = []
    if unused := [name for name in silent if gradients[name] is None]:
        findings.append(f"no gradient at all for {listed(unused)}: the loss does not depend on it; use or remove it")
    zero_gradient = [name for name in silent if gradients[name] is not None]
    if zero_gradient and not unblocked:
        # Weights of zero first: they are the likely cause.
        causes = [f"{name} (all 0)" for name in zero_gradient if not weights[name].any()]
        names = causes + [name for name in zero_gradient if weights[name].any()]
        advice = "initialize layers that are all 0 with random weights, and look for a dead layer after them"
        findings.append(f"the gradient is exactly 0 for {listed(names)}: {advice}")
    return findings


def _unchanged(weights: _Weights, gradients: _Gradients, unchanged: list[str]) -> list[str]:
    sizes = [size for size in gradients.values() if size]
    if sizes:
        smallest = NEGLIGIBLE * statistics.median(sizes)
        names = [
            name
            for name in unchanged
            if (gradients[name] or 0) >= smallest and _main_weight(name, weights) not in unchanged
        ]
    else:
        names = [name for name in unchanged if not _main_weight(name, weights)]
    if not names:
        return []
    advice = "was it given to the optimizer, with a learning rate above 0?"
    return [f"not moved so far: {listed(names)}; {advice}"]


def _main_weight(name: str, weights: _Weights) -> str | None:
    """Name of the `weight` of the module that a bias or the like belongs to; None for that weight itself."""
    weight = f"{name.rpartition('.')[0]}.weight".removeprefix(".")
    return weight if weight in weights and weight != name else None
