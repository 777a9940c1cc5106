"""--replay: repeats a step with a NaN or infinite loss or gradient, which was stored when it stopped a run."""

from __future__ import annotations

import math
from contextlib import closing
from typing import Annotated, TypedDict

from helpers.errors import InputError
from helpers.run_folder import RunFolder
from learning import checkpoint, distributed
from learning.run.build import Run, build_run
from learning.run.setup import Setup
from learning.training.nonfinite import NonFinite
from learning.training.replay import replay_step
from options import AT_LEAST_1, NOT_NEGATIVE


class _Fault(TypedDict):
    """What is read of a nonfinite.pth.tar."""

    epoch: Annotated[int, NOT_NEGATIVE]
    step: Annotated[int, NOT_NEGATIVE]
    files: list[str]
    processes: Annotated[int, AT_LEAST_1]


def replay(setup: Setup) -> int:
    """Repeat the step of a nonfinite.pth.tar, and print layer by layer what happens; status 1 if it happens again."""
    path = setup.options.run.replay
    assert path
    stored = checkpoint.load(path)
    if not {"epoch", "step", "files"} <= set(stored):
        raise InputError(f"--replay {path}: expected the nonfinite.pth.tar of a run that stopped at a step")
    checkpoint.check_form(stored, _Fault, path)
    with closing(build_run(setup)) as run:
        checkpoint.load_weights(run.network.model, stored, path, {})
        epoch = stored["epoch"]
        step = stored["step"]
        if stored["processes"] > 1:
            raise InputError(
                f"--replay {path}: the step was shared by {stored['processes']} processes, which cannot be replayed"
            )
        if step >= len(run.train_batches) or stored["files"] != run.file_names(epoch, step):
            raise InputError(
                f"--replay {path}: its images are not those of the data in {setup.options.data.dataset_path} any more"
            )
        images, labels = next(iter(run.train_batches.epoch(epoch, step)))
        found, is_finite = replay_step(run.network.model, run.training, images, labels, epoch, step)
    print(f"epoch {epoch}, step {step} of {path}:", *stored["files"], *found, sep="\n  ")
    print("everything is finite here: what happened then did not happen again" if is_finite else "it happened again")
    return 0 if is_finite else 1


def store_fault(run: Run, folder: RunFolder, epoch: int, fault: NonFinite) -> str:
    """Save a step with a NaN or infinite loss or gradient for --replay.

    Returns:
        A message: when and where it happened, the likely cause, what to do.
    """
    files = run.file_names(epoch, fault.step)
    state = {"model_state_dict": run.network.model.state_dict(), "epoch": epoch, "step": fault.step, "files": files}
    if distributed.is_main():
        checkpoint.save(state | {"processes": distributed.world_size(), "options": run.options}, folder.nonfinite)
    return (
        f"epoch {epoch}, step {fault.step}: the loss is {fault.loss:g} and the norm of the gradient {fault.gradient:g}; "
        f"the weights are still those before this step. Images: {', '.join(files)}. "
        f"Likely cause: {_likely_cause(run, epoch, fault)}. "
        f"Look closer with: python baseline.py --replay {folder.nonfinite}"
    )


def _likely_cause(run: Run, epoch: int, fault: NonFinite) -> str:
    if not all(bool(weight.isfinite().all()) for weight in run.network.model.parameters()):
        cause = "the weights themselves are NaN or infinite: start again, or from weights that are finite"
    else:
        what = "gradient" if math.isfinite(fault.loss) else "logits"
        rate = run.training.rate_at(epoch, fault.step)
        cause = f"the {what} overflowed at a learning rate of {rate:g}: lower --lr_init, or begin with --warmup_epochs"
    return f"{cause}, or use --amp bf16" if run.compute.precision.name == "fp16" else cause
