"""The optimizer and its parameter groups, and the learning rate as a pure function of the step."""

import math

import torch

from helpers.errors import InputError


def build_optimizer(model, lr, momentum, weight_decay, name="sgd", nesterov=False, lr_backbone=None, decay_norms=True):
    """An optimizer over all parameters of `model`; one pass over the weights does everything.

    What it remembers begins at 0, which the first step cannot tell from nothing: torch would make SGD's momentum in the first
    step, and leave it undefined where that step is left out.

    Args:
        model: torch.nn.Module; its parameters are grouped by whether they belong to `model.backbone` and whether they decay.
        lr: base learning rate, of all groups that have none of their own.
        momentum: of SGD; of AdamW (arXiv 1711.05101) the share of the mean gradient that is kept, beta 1.
        weight_decay: of SGD it joins the gradient, AdamW takes learning rate * weight_decay of each weight.
        name: a key of `OPTIMIZERS`.
        nesterov: whether SGD looks ahead.
        lr_backbone: base learning rate of the backbone, None for `lr`; the rest of the network keeps `lr`.
        decay_norms: whether norms and biases (all with fewer than two dimensions) decay as well.

    Raises:
        InputError: a learning rate for a backbone that the model has not.
    """
    groups = {}
    for parameter_name, parameter in model.named_parameters():
        in_backbone = lr_backbone is not None and parameter_name.startswith("backbone.")
        decays = decay_norms or parameter.ndim > 1
        groups.setdefault((in_backbone, decays), []).append((parameter_name, parameter))
    if lr_backbone is not None and not any(in_backbone for in_backbone, _ in groups):
        raise InputError("--lr_backbone: the model has no backbone; leave it out")
    optimizer = OPTIMIZERS[name](
        [
            {
                "params": parameters,
                "lr_share": lr_backbone / lr if in_backbone else 1.0,
                "weight_decay": weight_decay if decays else 0.0,
            }
            for (in_backbone, decays), parameters in groups.items()
        ],
        lr,
        momentum,
        nesterov,
    )
    for parameter in [
        each for group in optimizer.param_groups for each in group["params"]
    ]:  # the order of its state_dict
        if not parameter.requires_grad:
            continue
        if name == "adamw":
            moments = {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
            optimizer.state[parameter] = {"step": torch.zeros((), device=parameter.device), **moments}
        elif momentum:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def _sgd(groups, lr, momentum, nesterov):
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)


def _adamw(groups, lr, momentum, _):
    return torch.optim.AdamW(groups, lr=lr, betas=(momentum, 0.999), fused=True)


OPTIMIZERS = {"sgd": _sgd, "adamw": _adamw}


def load_optimizer(optimizer, state):
    """Load what an optimizer remembers of each parameter, by its name.

    Base rates, decay and groups stay as they were built. Tensors take the memory format of their weights, which
    fused steps rely on.

    Args:
        optimizer: as `build_optimizer` made it.
        state: the `state_dict` of one of the same kind; without names (of older runs), in the same order.
    """
    own = optimizer.state_dict()
    names = [name for group in own["param_groups"] for name in group["param_names"]]
    stored = [name for group in state["param_groups"] for name in group.get("param_names", names)]
    remembered = {name: state["state"].get(index, {}) for index, name in enumerate(stored)}
    own["state"] = {index: own["state"].get(index, {}) | remembered.get(name, {}) for index, name in enumerate(names)}
    for mine, theirs in zip(own["param_groups"], state["param_groups"], strict=False):
        if mine["param_names"] == theirs.get("param_names"):
            mine["lr"] = theirs["lr"]  # that of the last step: a run may have no further one
    optimizer.load_state_dict(own)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def cosine(progress):
    """Half a cosine from 1 to 0 (SGDR without restarts, arXiv 1608.03983); progress runs from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def poly(progress, power=0.9):
    """(1 - progress) ** power, from 1 to 0 (DeepLab, arXiv 1606.00915)."""
    return (1 - progress) ** power


SCHEDULES = {"cosine": cosine, "poly": poly}


def scheduled_rate(step, total_steps, lr_init, warmup_steps=0, schedule="cosine"):
    """Learning rate of a step: linear warm-up, then down to 0, which it reaches where the last step ends.

    Args:
        step: 0 .. total_steps - 1.
        warmup_steps: the rate of step s is lr_init * (s + 1) / warmup_steps before the schedule begins.
        schedule: a key of `SCHEDULES`.

    Returns:
        float
    """
    if step < warmup_steps:
        return lr_init * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return lr_init * SCHEDULES[schedule](min(progress, 1.0))


def set_learning_rate(optimizer, rate):
    """Give every parameter group its share of a learning rate: all of it, unless the group has a base rate of its own."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_share", 1.0)
