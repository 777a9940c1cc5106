"""Several networks of one architecture become one: the mean of their weights, and statistics that fit it."""

from contextlib import nullcontext

import torch


def mean_weights(states):
    """The mean of weights.

    Args:
        states: iterable of state dicts with the same names and shapes; one at a time is held.

    Returns:
        dict: means in the dtype of the weights, taken in float64; whole numbers, such as counts of batches, are the first's.
    """
    total, first, number = {}, None, 0
    for state in states:
        first, number = first or {name: value.clone() for name, value in state.items()}, number + 1
        for name, value in state.items():
            if value.is_floating_point():
                total[name] = total.get(name, 0) + value.double()
    return {name: (total[name] / number).to(value.dtype) if name in total else value for name, value in first.items()}


def running_norms(model):
    """list of torch.nn.Module: the norms inside that keep running statistics, whatever their kind."""
    return [module for module in model.modules() if getattr(module, "running_var", None) is not None]


@torch.no_grad()
def reestimate_statistics(model, batches, autocast=nullcontext):
    """Take the running statistics of a network anew: the mean of those of the batches, each with the same weight.

    Only the norms are in training mode, so dropout drops nothing. A norm that a batch gives no statistics (a single
    value per channel) keeps those it has. The network is left in evaluation mode.

    Args:
        model: torch.nn.Module whose norms have `running_var` and a `momentum` by which each batch replaces the old.
        batches: iterable of float32 (B, 3, h, w), normalized, on the model's device.
        autocast: function that returns the context of a forward pass.

    Returns:
        int: number of batches.
    """
    norms, number = running_norms(model), 0
    kept = [norm.momentum for norm in norms]
    model.eval()
    try:
        for norm in norms:
            norm.train()
        for number, images in enumerate(batches, 1):
            for norm in norms:
                norm.momentum = 1 / number  # a cumulative mean; the first batch replaces what was there
            with autocast():
                model(images)
    finally:
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
        model.eval()
    return number
