"""Averaged weights: a second network that follows the one in training, smoother than it."""

import copy

import torch


class EMA:
    """Exponential moving average of a network's weights (Polyak, 1992; as in Mean Teacher, arXiv 1703.01780).

    Each step moves it by the share 1 - min(decay, (1 + n) / (10 + n)) towards the network, n being the number of steps before:
    so it forgets the random weights of the beginning, and averages ever longer. Running statistics of norms belong to the
    weights that they were seen with, and are averaged alike; what counts is taken over.

    Args:
        model: torch.nn.Module, neither wrapped nor compiled.
        decay: share that stays in every step in the long run, above 0 and below 1.

    Attributes:
        model: the averaged network, in evaluation mode, without gradients.
    """

    def __init__(self, model, decay):
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.source = model
        self.values, self.counts = _tensors(self.model)
        self.source_values, self.source_counts = _tensors(model)
        self.updates = torch.zeros((), dtype=torch.int64, device=next(model.parameters()).device)

    @torch.no_grad()
    def begin(self):
        """Take the network as it is, and forget what was before."""
        self.model.load_state_dict(self.source.state_dict())
        self.updates.zero_()

    @torch.no_grad()
    def update(self, taken):
        """After a step of the optimizer: one pass over the weights; nothing waits for a GPU.

        Args:
            taken: scalar bool tensor, whether the step was taken; the average stays as it is if not.
        """
        share = (9 / (10 + self.updates)).clamp(min=1 - self.decay) * taken
        torch._foreach_lerp_(self.values, self.source_values, [share.to(self.values[0].dtype)] * len(self.values))
        if self.counts:
            torch._foreach_copy_(self.counts, self.source_counts)
        self.updates += taken

    def state_dict(self):
        """dict: all there is, for a checkpoint."""
        return {"updates": self.updates, "model_state_dict": self.model.state_dict()}

    def load_state_dict(self, state):
        """Go on from what `state_dict` gave."""
        self.updates.copy_(state["updates"])
        self.model.load_state_dict(state["model_state_dict"])


def _tensors(model):
    """(list, list): weights and running statistics; whatever is counted in whole numbers."""
    tensors = [*model.parameters(), *model.buffers()]
    return [each for each in tensors if each.is_floating_point()], [
        each for each in tensors if not each.is_floating_point()
    ]
