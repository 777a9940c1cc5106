"""Exponential moving average of a network's weights."""

import copy
from typing import TypedDict

import torch


class EMAState(TypedDict):
    """What a checkpoint holds of an `EMA`."""

    updates: torch.Tensor
    model_state_dict: dict[str, torch.Tensor]


class EMA:
    """Exponential moving average of a network's weights (Polyak, 1992; as in Mean Teacher, arXiv 1703.01780).

    The decay of a step is min(decay, (1 + n) / (10 + n)), n being the number of steps before: the random initial weights are
    forgotten quickly, and the averaging window grows. Running statistics of norms are averaged like weights; integer
    buffers are copied.

    Args:
        model: the network in training, neither wrapped nor compiled.
        decay: of a step in the long run, above 0 and below 1.

    Attributes:
        model: the averaged network, in evaluation mode, without gradients.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.source = model
        self.values = _tensors(self.model, floating=True)
        self.counts = _tensors(self.model, floating=False)
        self.source_values = _tensors(model, floating=True)
        self.source_counts = _tensors(model, floating=False)
        self.updates = torch.zeros((), dtype=torch.int64, device=next(model.parameters()).device)

    @torch.no_grad()
    def begin(self) -> None:
        """Reset the average to the network's current weights."""
        self.model.load_state_dict(self.source.state_dict())
        self.updates.zero_()

    @torch.no_grad()
    def update(self, step_taken: torch.Tensor) -> None:
        """Update the average after an optimizer step, without synchronizing with a GPU.

        Args:
            step_taken: bool scalar; if False the average does not change.
        """
        weight = (9 / (10 + self.updates)).clamp(min=1 - self.decay) * step_taken
        torch._foreach_lerp_(self.values, self.source_values, [weight.to(self.values[0].dtype)] * len(self.values))
        if self.counts:
            torch._foreach_copy_(self.counts, self.source_counts)
        self.updates += step_taken

    def state_dict(self) -> EMAState:
        """The average and its number of updates, for a checkpoint."""
        return {"updates": self.updates, "model_state_dict": self.model.state_dict()}

    def load_state_dict(self, state: EMAState) -> None:
        """Restore what `state_dict` returned."""
        self.updates.copy_(state["updates"])
        self.model.load_state_dict(state["model_state_dict"])


def _tensors(model: torch.nn.Module, floating: bool) -> list[torch.Tensor]:
    """Parameters and buffers of floating point dtypes, or the others."""
    return [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point() == floating]
