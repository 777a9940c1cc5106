"""The optimizer with its parameter groups, and the learning rate as a pure function of the step."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import torch

from helpers.errors import InputError


@dataclass(frozen=True)
class OptimizerSettings:
    """Hyperparameters of an optimizer.

    Args:
        name: a key of `OPTIMIZERS`.
        lr: base learning rate.
        momentum: of SGD; beta 1 of AdamW (arXiv 1711.05101).
        weight_decay: added to the gradient by SGD, decoupled in AdamW.
        nesterov: whether SGD uses Nesterov momentum.
        lr_backbone: base learning rate of the backbone; None is `lr`.
        decay_norms: whether norms and biases (parameters with fewer than two dimensions) have weight decay, too.
    """

    name: str
    lr: float
    momentum: float
    weight_decay: float
    nesterov: bool = False
    lr_backbone: float | None = None
    decay_norms: bool = True


class _Group(TypedDict):
    lr: float


class _NamedGroup(_Group, total=False):
    param_names: list[str]


class OptimizerState(TypedDict):
    """What a checkpoint holds of an optimizer."""

    param_groups: list[_NamedGroup]
    state: dict[int, dict[str, Any]]


def build_optimizer(model: torch.nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """A fused optimizer over all parameters of `model`.

    Its state is initialized to 0 here. torch would create SGD's momentum in the first step, and leave it undefined if
    that step is skipped.

    Raises:
        InputError: a learning rate for the backbone of a model without one.
    """
    optimizer = OPTIMIZERS[settings.name](_parameter_groups(model, settings), settings)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad and (state := _initial_state(parameter, settings)):
                optimizer.state[parameter] = state
    return optimizer


def _parameter_groups(model: torch.nn.Module, settings: OptimizerSettings) -> list[dict[str, Any]]:
    """Parameters of `model` with their names, grouped by learning rate and weight decay."""
    named_parameters: dict[tuple[bool, bool], list[tuple[str, torch.nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        in_backbone = settings.lr_backbone is not None and name.startswith("backbone.")
        decays = settings.decay_norms or parameter.ndim > 1
        named_parameters.setdefault((in_backbone, decays), []).append((name, parameter))
    backbone_share = 1.0
    if settings.lr_backbone is not None:
        backbone_share = settings.lr_backbone / settings.lr
        if not any(in_backbone for in_backbone, _ in named_parameters):
            raise InputError("--lr_backbone: the model has no backbone; leave it out")
    return [
        {
            "params": parameters,
            "lr_share": backbone_share if in_backbone else 1.0,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (in_backbone, decays), parameters in named_parameters.items()
    ]


def _initial_state(parameter: torch.Tensor, settings: OptimizerSettings) -> dict[str, torch.Tensor]:
    """The optimizer's state of a parameter before the first step."""
    if settings.name == "adamw":
        return {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return {"momentum_buffer": torch.zeros_like(parameter)} if settings.momentum else {}


def _sgd(groups: Iterable[dict[str, Any]], settings: OptimizerSettings) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov, fused=True)


def _adamw(groups: Iterable[dict[str, Any]], settings: OptimizerSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(settings.momentum, 0.999), fused=True)


OPTIMIZERS = {"sgd": _sgd, "adamw": _adamw}


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load the per-parameter state of an optimizer, by parameter name.

    Base learning rates, weight decay and groups stay as built. Loaded tensors take the memory format of their parameters,
    on which fused steps rely.

    Args:
        optimizer: as `build_optimizer` returned it.
        state: the `state_dict` of one of the same kind; without parameter names (older runs), in the same order.

    Raises:
        ValueError: tensors of other shapes or types.
    """
    own = optimizer.state_dict()
    names = [name for group in own["param_groups"] for name in group["param_names"]]
    stored_names = [name for group in state["param_groups"] for name in group.get("param_names", names)]
    stored = {name: state["state"].get(index, {}) for index, name in enumerate(stored_names)}
    for index, name in enumerate(names):
        initial = own["state"].get(index, {})
        found = {key: value for key, value in stored.get(name, {}).items() if key in initial}
        for key, value in found.items():
            of = initial[key]
            if (getattr(value, "shape", None), getattr(value, "dtype", None)) != (of.shape, of.dtype):
                raise ValueError(f"{key} of {name} does not fit")
        own["state"][index] = initial | found
    for own_group, stored_group in zip(own["param_groups"], state["param_groups"], strict=False):
        if own_group["param_names"] == stored_group.get("param_names"):
            own_group["lr"] = stored_group["lr"]  # of the last step, for a run that has no further step
    optimizer.load_state_dict(own)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def cosine(progress: float) -> float:
    """Half a cosine from 1 to 0 (SGDR without restarts, arXiv 1608.03983); progress is 0 .. 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def poly(progress: float, power: float = 0.9) -> float:
    """(1 - progress) ** power, from 1 to 0 (DeepLab, arXiv 1606.00915)."""
    return (1 - progress) ** power


SCHEDULES = {"cosine": cosine, "poly": poly}


def scheduled_rate(
    step: int, total_steps: int, lr_init: float, warmup_steps: int = 0, schedule: str = "cosine"
) -> float:
    """Learning rate of a step: linear warm-up, then a schedule that reaches 0 at the end of the last step.

    Args:
        step: 0 .. total_steps - 1.
        warmup_steps: the rate of step s is lr_init * (s + 1) / warmup_steps before the schedule starts.
        schedule: a key of `SCHEDULES`.
    """
    if step < warmup_steps:
        return lr_init * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return lr_init * SCHEDULES[schedule](min(progress, 1.0))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group, scaled by the group's `lr_share` if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_share", 1.0)
