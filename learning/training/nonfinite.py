"""Steps with a NaN or infinite loss or gradient: detected before they reach the weights."""

from typing import NamedTuple

import torch

from helpers.errors import InputError
from learning import distributed
from learning.device import Precision


class NonFinite(InputError):
    """A step was skipped because its loss or gradient is NaN or infinite; the weights are those before it.

    Args:
        step: index within the epoch.
        loss: of the step.
        gradient: norm of the step's gradient.
    """

    def __init__(self, step: int, loss: float, gradient: float) -> None:
        super().__init__(
            f"step {step}: the loss is {loss:g} and the norm of the gradient {gradient:g}; lower --lr_init"
        )
        self.step = step
        self.loss = loss
        self.gradient = gradient


class _PendingCheck(NamedTuple):
    """Loss and gradient norm of a step: float32 (2,) on the CPU, and the event that ends the copy from a GPU."""

    step: int
    values: torch.Tensor
    copied: torch.cuda.Event | None


class NonFiniteGuard:
    """Has the optimizer skip steps that are not finite, and raises `NonFinite` after too many in a row.

    On a GPU nothing synchronizes: the optimizer reads the result of the check on the device, and this object reads it during the
    next step. A gradient that overflows only because of the fp16 loss scale is skipped by the gradient scaler and not an error.

    Args:
        model: its trainable parameters are checked, and its running statistics restored after a skipped step.
        tolerated: number of skipped steps in a row before `NonFinite` is raised.
    """

    def __init__(self, model: torch.nn.Module, tolerated: int = 0) -> None:
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self.tolerated = tolerated
        self.num_skipped = 0  # in a row
        self.snapshot: list[torch.Tensor] = []
        self.pending: _PendingCheck | None = None

    def snapshot_buffers(self) -> None:
        """Before the forward pass: copy the running statistics if the step may be skipped."""
        if self.tolerated:
            self.snapshot = [buffer.clone() for buffer in self.buffers]

    def check_step(
        self, step: int, loss: torch.Tensor, optimizer: torch.optim.Optimizer, precision: Precision
    ) -> torch.Tensor:
        """Between the backward pass and the optimizer's step: decide whether the step is taken.

        Args:
            step: index within the epoch.
            loss: scalar, this process's share; summed over the processes, as the gradients are.
            optimizer: a fused one, which skips a step if its `found_inf` is not 0.

        Returns:
            bool scalar: whether the step is taken.

        Raises:
            NonFinite: too many skipped steps in a row, up to this step (on a GPU: up to the step before).
        """
        self.check_pending()
        loss = distributed.all_reduce_sum(loss.detach().float())
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients).float() if gradients else torch.zeros_like(loss)
        step_taken = torch.stack([loss, norm]).isfinite().all()
        if precision.scales_gradients:
            norm = torch.zeros_like(loss)  # the gradient scaler checks the gradients
        else:
            # pyrefly: ignore [missing-attribute]  # as torch's GradScaler sets it
            optimizer.found_inf = 1 - step_taken.float()
        if self.tolerated:
            for buffer, saved in zip(self.buffers, self.snapshot, strict=True):
                torch.where(step_taken, buffer, saved, out=buffer)
        self._start_check(step, torch.stack([loss, norm]))
        return step_taken

    def _start_check(self, step: int, values: torch.Tensor) -> None:
        if values.device.type != "cuda":
            self.pending = _PendingCheck(step, values, None)
            self.check_pending()
            return
        on_cpu = values.to("cpu", non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self.pending = _PendingCheck(step, on_cpu, copied)

    def check_pending(self) -> None:
        """Check the last step if that has not happened yet; raises as `check_step` does."""
        if self.pending is None:
            return
        step, values, copied = self.pending
        self.pending = None
        if copied is not None:
            copied.synchronize()
        loss, gradient = values.tolist()
        self.num_skipped = 0 if values.isfinite().all() else self.num_skipped + 1
        if self.num_skipped > self.tolerated:
            raise NonFinite(step, loss, gradient)
