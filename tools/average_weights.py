"""Several networks of one architecture become one: the mean of their weights, and running statistics that fit it."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import islice
from typing import Protocol, TypeGuard

import torch

from helpers import run_folder
from helpers.progress import progress_bar
from learning import checkpoint
from learning.data.loaders import TrainBatches
from learning.inference.predictor import Predictor
from learning.run.build import Run
from tools import predictors, runs


def average(
    sources: Sequence[runs.Source], build: Callable[[], Run], batch_size: int, max_batches: int
) -> tuple[torch.nn.Module, int]:
    """The averaged network, on the CPU, and the number of batches that gave its running statistics.

    Args:
        build: builds a training run of the first source, whose batches give the statistics.
        batch_size: of its micro-batches.
        max_batches: batches for the statistics; 0 keeps the means of the old ones.
    """
    model = Predictor(sources[0].weights, "cpu").model
    model.load_state_dict(mean_weights(Predictor(source.weights, "cpu").model.state_dict() for source in sources))
    if not max_batches or not running_norms(model):
        return model, 0
    run = build()
    network = run.network.model
    network.load_state_dict(model.state_dict())
    bar, _ = progress_bar(max_batches * batch_size, "statistics")

    def batches() -> Iterator[torch.Tensor]:
        for images in islice(training_images(run.train_batches, max_batches, batch_size), max_batches):
            yield images
            bar.update(len(images))

    with bar, closing(run):
        num_batches = reestimate_statistics(network, batches(), run.compute.precision.autocast)
    model.load_state_dict(network.state_dict())
    return model, num_batches


def training_images(train_batches: TrainBatches, num_batches: int, batch_size: int) -> Iterator[torch.Tensor]:
    """At least `num_batches` micro-batches of a training, augmented but not mixed, of as many epochs as that takes."""
    num_epochs = -(-num_batches // len(train_batches))
    for epoch in range(num_epochs):
        for images, _ in train_batches.epoch(epoch):
            yield from images.split(batch_size)  # with --accumulate a step passes the network in micro-batches


def write_run(
    run: run_folder.RunFolder,
    model: torch.nn.Module,
    sources: Sequence[runs.Source],
    stored: Mapping[str, object],
    num_batches: int,
    program: str,
) -> None:
    """Write the weights and options.json of the new run, and print where they are."""
    made_of = [predictors.describe(source) for source in sources]
    external = sorted({source.about.get("external weights", "unknown") for source in sources} - {"none"})
    extra = [entry for source in sources for entry in source.about.get("extra data", [])]
    statistics = f"of {num_batches} batches of {stored['batch_size']}" if num_batches else "as they were"
    about = {
        "made by": program,
        "average of": made_of,
        "statistics": f"{statistics} training images" if num_batches else statistics,
        "external weights": ", ".join(external) or "none",
        "extra data": [entry for index, entry in enumerate(extra) if entry not in extra[:index]],
        "commit": run_folder.source_commit(),
    }
    run.create()
    state = {"model_state_dict": model.state_dict(), "options": stored, "average of": made_of}
    checkpoint.save(state, run.best)
    run_folder.write_options(run.options, stored, about)
    print(f"{run.best}: the mean of {len(sources)} checkpoints, statistics {statistics}")
    print(f"predict with it: python baseline.py --save_path {shlex.quote(str(run.path))} --predict")


def mean_weights(states: Iterable[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of state dicts with the same names and shapes, of which one at a time is held.

    Means are taken in float64 and have the dtype of the weights; integers, such as counts of batches, are the first's.
    """
    total: dict[str, torch.Tensor] = {}
    first: dict[str, torch.Tensor] = {}
    number = 0
    for state in states:
        first = first or {name: value.clone() for name, value in state.items()}
        number += 1
        for name, value in state.items():
            if value.is_floating_point():
                total[name] = total[name] + value.double() if name in total else value.double()
    return {name: (total[name] / number).to(value.dtype) if name in total else value for name, value in first.items()}


class RunningNorm(Protocol):
    """A norm of any kind with running statistics; `momentum` is the share of a new batch in them."""

    momentum: float | None

    def train(self, mode: bool = True) -> object: ...


def running_norms(model: torch.nn.Module) -> list[RunningNorm]:
    """The norms of a network that keep running statistics."""
    return [module for module in model.modules() if _has_running_statistics(module)]


def _has_running_statistics(module: object) -> TypeGuard[RunningNorm]:
    return getattr(module, "running_var", None) is not None


@torch.no_grad()
def reestimate_statistics(
    model: torch.nn.Module,
    batches: Iterable[torch.Tensor],
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> int:
    """Replace the running statistics of a network by the unweighted mean of those of the batches; returns their number.

    Only the norms are in training mode, so dropout is off. A norm for which a batch has no statistics (a single value per
    channel) keeps those it has. The network is left in evaluation mode.

    Args:
        batches: float32 (B, 3, h, w), normalized, on the model's device.
        autocast: gives the context of a forward pass.
    """
    number = 0
    momenta = {norm: norm.momentum for norm in running_norms(model)}
    model.eval()
    try:
        for norm in momenta:
            norm.train()
        for number, images in enumerate(batches, 1):
            for norm in momenta:
                norm.momentum = 1 / number  # a cumulative mean: the first batch replaces the old statistics
            with autocast():
                model(images)
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum
        model.eval()
    return number
