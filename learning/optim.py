"""The optimizer, and the learning rate as a pure function of the step."""

import math

import torch


def build_optimizer(model, lr, momentum, weight_decay):
    """SGD with momentum over all parameters of `model`; one pass over the weights does everything.

    The momentum begins at 0, which the first step cannot tell from none: torch would make it in the first step, and leave it
    undefined where that step is left out.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True)
    for parameter in model.parameters():
        if momentum and parameter.requires_grad:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def load_optimizer(optimizer, state):
    """Load the state of an optimizer; its tensors take the memory format of their weights, which fused steps rely on."""
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def cosine_rate(step, total_steps, lr_init, warmup_steps=0):
    """Learning rate of a step: linear warm-up, then a cosine from `lr_init` down to 0 (SGDR without restarts, arXiv 1608.03983).

    Args:
        step: 0 .. total_steps - 1.
        warmup_steps: the rate of step s is lr_init * (s + 1) / warmup_steps before the cosine begins.

    Returns:
        float
    """
    if step < warmup_steps:
        return lr_init * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return lr_init * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimizer, rate):
    """Give every parameter group the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
