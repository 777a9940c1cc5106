"""Losses and gradients that are no numbers: noticed before they reach the weights."""

import torch

from helpers.errors import InputError
from learning import distributed


class NonFinite(InputError):
    """A step whose loss or gradient is not finite was left out; the weights are those before it.

    Args:
        step: of the epoch.
        loss, gradient: float, the step's loss and the norm of its gradient.
    """

    def __init__(self, step, loss, gradient):
        super().__init__(
            f"step {step}: the loss is {loss:g} and the norm of the gradient {gradient:g}; lower --lr_init"
        )
        self.step, self.loss, self.gradient = step, loss, gradient


class NonFiniteGuard:
    """Lets the optimizer leave out steps that are not finite, and raises `NonFinite` when there are too many in a row.

    On a GPU the optimizer itself reads the verdict, and this object reads it while the next step is under way: nothing waits,
    and no weight is touched. What overflows only by the scale of fp16 is the scaler's to skip, and no fault.

    Args:
        model: torch.nn.Module; its parameters are watched, its running statistics brought back after a step left out.
        tolerated: number of such steps in a row that are let pass.
    """

    def __init__(self, model, tolerated=0):
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self.tolerated, self.in_a_row, self.pending = tolerated, 0, None

    def remember(self):
        """Before a forward pass: keep the running statistics, where a step may have to be forgotten."""
        if self.tolerated:
            self.kept = [buffer.clone() for buffer in self.buffers]

    def watch(self, step, loss, optimizer, precision):
        """Between the backward pass and the optimizer's step.

        Args:
            step: of the epoch.
            loss: scalar tensor, this process's share; added up over the processes, as the gradients are.
            optimizer: a fused torch.optim.Optimizer, which leaves a step out where its `found_inf` is not 0.
            precision: `learning.device.Precision`.

        Returns:
            bool tensor: whether the step is taken.

        Raises:
            NonFinite: this step (on a GPU: the one before) and those it follows are more than are tolerated.
        """
        self.settle()
        loss = distributed.all_reduce_sum(loss.detach().float())
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients).float() if gradients else torch.zeros_like(loss)
        verdict = torch.stack([loss, norm])
        fine = verdict.isfinite().all()
        if precision.scales:
            verdict = torch.stack([loss, torch.zeros_like(loss)])
        else:
            optimizer.found_inf = 1 - fine.float()
        if self.tolerated:
            for buffer, kept in zip(self.buffers, self.kept, strict=True):
                torch.where(fine, buffer, kept, out=buffer)
        if verdict.device.type == "cuda":
            verdict = verdict.to("cpu", non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
            self.pending = step, verdict, copied
        else:
            self.pending = step, verdict, None
            self.settle()
        return fine

    def settle(self):
        """Read the verdict on the last step that was watched; raises as `watch` does."""
        if self.pending is None:
            return
        (step, verdict, copied), self.pending = self.pending, None
        if copied is not None:
            copied.synchronize()
        loss, gradient = verdict.tolist()
        self.in_a_row = 0 if verdict.isfinite().all() else self.in_a_row + 1
        if self.in_a_row > self.tolerated:
            raise NonFinite(step, loss, gradient)
