"""The variants of training that are compared: ours with different options, and the tutorial's implementation."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from helpers.progress import progress_bar
from learning import losses
from learning.data.cache import BufferPixels
from learning.data.datasets.base import Dataset
from learning.device import pick_device
from learning.training.engine import train_epoch
from tools.benchmark import tutorial
from tools.benchmark.baseline_run import baseline_argv, build_training_run, check_command
from tools.benchmark.measure import num_cores
from tools.benchmark.settings import Workload

Batch = tuple[torch.Tensor, torch.Tensor]  # images float32 (B, 3, h, w), labels int64 (B, h, w)


@dataclass(frozen=True)
class VariantSpec:
    """A description, and the options of baseline.py; None for the tutorial's implementation."""

    description: str
    options: tuple[str, ...] | None = ()


SPECS = {
    "ours": VariantSpec("baseline.py's defaults"),
    "tutorial": VariantSpec("float32, TF32 as torch's default, contiguous, eager, 8 workers or one per core", None),
    "blocks": VariantSpec("--checkpoint_blocks", ("--checkpoint_blocks",)),
    "cache_off": VariantSpec("--cache off", ("--cache", "off")),
    "cache_disk": VariantSpec("--cache disk", ("--cache", "disk")),
    "cache_device": VariantSpec("--cache device", ("--cache", "device")),
    "float32": VariantSpec("--amp off", ("--amp", "off")),
    "bf16": VariantSpec("--amp bf16", ("--amp", "bf16")),
    "fp16": VariantSpec("--amp fp16", ("--amp", "fp16")),
    "contiguous": VariantSpec("--no-channels_last", ("--no-channels_last",)),
    "compile": VariantSpec("--compile", ("--compile",)),
}


def default_variants(device: torch.device) -> list[str]:
    """The variants that are measured by default; more on a GPU, which is fast."""
    return ["ours", "blocks", "cache_disk", "compile"] if device.type == "cuda" else ["ours"]


class Ours:
    """Training as in baseline.py.

    Attributes:
        steps: batches in an epoch.
        data_bytes: GPU memory of the data.
    """

    def __init__(self, argv: list[str]) -> None:
        self.run = build_training_run(argv)
        self.device = self.run.compute.device
        self.steps = len(self.run.train_batches)
        decoded = [pixels for pixels in self.run.data.pixels.values() if isinstance(pixels, BufferPixels)]
        self.data_bytes = sum(pixels.buffer.nbytes for pixels in decoded if pixels.device.type == "cuda")
        self.epoch = 0

    def batches(self) -> Iterable[Batch]:
        """The batches of the next epoch."""
        self.epoch += 1
        return self.run.train_batches.epoch(self.epoch)

    def ready_batch(self) -> Batch:
        """A batch on the device."""
        return next(iter(self.batches()))

    def loop(self, batches: Iterable[Batch]) -> None:
        """The loop of baseline.py over `batches`, including its progress bar."""
        run = self.run
        bar, report = progress_bar(self.steps * run.step_size, "train")
        with bar:
            train_epoch(run.training, batches, run.metrics(), self.epoch, report)

    def bare_loop(self, batches: Iterable[Batch]) -> None:
        """Only forward pass, loss, backward pass and step."""
        training = self.run.training
        model = training.model
        optimizer = training.optimizer
        precision = self.run.compute.precision
        criterion = training.criterion
        model.train()
        for images, labels in batches:
            optimizer.zero_grad(set_to_none=True)
            with precision.autocast():
                outputs = model(images)
            precision.backward(losses.mean(*criterion(outputs, labels)))
            precision.step(optimizer)


class Tutorial:
    """Training as in the tutorial; see `tools.benchmark.tutorial`. Attributes as `Ours`."""

    data_bytes = 0

    def __init__(self, argv: list[str]) -> None:
        command = check_command(argv)
        data = command.dataset
        chosen = command.options.data
        self.device = pick_device(command.options.compute.device)
        assert chosen.train_size, "filled in by fill_defaults"
        assert chosen.crop_size, "filled in by fill_defaults"
        assert chosen.dataset_mean, "filled in by fill_defaults"
        assert chosen.dataset_std, "filled in by fill_defaults"
        views = tutorial.Views(
            data.split("train"),
            data.decode,
            chosen.train_size,
            chosen.crop_size,
            chosen.dataset_mean,
            chosen.dataset_std,
        )
        batch_size = min(command.options.training.batch_size, len(views))
        num_workers = min(chosen.num_workers, num_cores())
        self.loader = tutorial.loader(views, batch_size, num_workers, self.device.type == "cuda")
        self.steps = len(self.loader)
        num_outputs = len(data.labels.classes) + 1  # with void
        self.model = tutorial.build_network(command.options.model.model, num_outputs, self.device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-2, momentum=0.9, weight_decay=1e-4)

    def batches(self) -> Iterable[Batch]:
        """The batches of an epoch, on the CPU."""
        return self.loader

    def ready_batch(self) -> Batch:
        """A batch on the device."""
        images, labels = next(iter(self.loader))
        return images.to(self.device), labels.to(self.device)

    def loop(self, batches: Iterable[Batch]) -> None:
        """The tutorial's loop over `batches`."""
        with default_cudnn():
            tutorial.train_epoch(self.model, batches, self.optimizer, self.device)


Variant = Ours | Tutorial


def build_variant(name: str, workload: Workload, folder: Path, data: Dataset) -> Variant:
    """A variant, ready to train."""
    options = SPECS[name].options
    if options is None:
        return Tutorial(baseline_argv(workload, folder, data))
    return Ours(baseline_argv(workload, folder, data, *options))


@contextmanager
def default_cudnn() -> Generator[None, None, None]:
    """cuDNN chooses its algorithms by heuristics, as is torch's default, not by benchmarking them."""
    previous = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = previous
