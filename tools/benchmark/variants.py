"""Ways to train that are compared: ours with different options, and the tutorial's."""

from contextlib import contextmanager
from dataclasses import dataclass

import torch

from helpers.progress import progress_bar
from learning import losses
from learning.run import build as program
from learning.run import setup
from learning.training.engine import train_epoch
from tools.benchmark import tutorial
from tools.benchmark.material import baseline_words
from tools.benchmark.measure import num_cores


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Args:
        words: what it is, for people.
        options: words of baseline.py's command line; None for the tutorial's way.
    """

    words: str
    options: tuple | None = ()


VARIANTS = {
    "ours": Variant("baseline.py's defaults"),
    "tutorial": Variant("float32 with TF32 as torch ships it, contiguous, eager, 8 workers or one a core", None),
    "blocks": Variant("--checkpoint_blocks", ("--checkpoint_blocks",)),
    "cache_off": Variant("--cache off", ("--cache", "off")),
    "cache_disk": Variant("--cache disk", ("--cache", "disk")),
    "cache_device": Variant("--cache device", ("--cache", "device")),
    "float32": Variant("--amp off", ("--amp", "off")),
    "bf16": Variant("--amp bf16", ("--amp", "bf16")),
    "fp16": Variant("--amp fp16", ("--amp", "fp16")),
    "contiguous": Variant("--no-channels_last", ("--no-channels_last",)),
    "compile": Variant("--compile", ("--compile",)),
}


def default_variants(device):
    """list of str: what is measured where nothing is typed; more on a GPU, where a step takes no time."""
    on_gpu = program.pick_device(device).type == "cuda"
    return ["ours", "blocks", "cache_disk", "compile"] if on_gpu else ["ours"]


def build(name, settings, folder, data):
    """A variant, ready to train; an object with the attributes of `Ours`."""
    options = VARIANTS[name].options
    if options is None:
        return Tutorial(settings, folder, data)
    return Ours(baseline_words(settings, folder, data, *options))


class Ours:
    """Training as baseline.py does it.

    Args:
        words: of its command line.

    Attributes:
        device: torch.device.
        steps: batches an epoch.
        data_bytes: what the data take of the GPU's memory.
    """

    def __init__(self, words):
        args, data, surveys, _ = setup.setup_run(words)
        self.parts = program.Parts(args, data, surveys)
        self.device, self.steps = self.parts.device, len(self.parts.train_batches)
        on_gpu = [pixels for pixels in self.parts.pixels.values() if pixels.device.type == "cuda"]
        self.data_bytes = sum(pixels.buffer.nbytes for pixels in on_gpu)
        self.epoch = 0

    def batches(self):
        """The batches of the next epoch."""
        self.epoch += 1
        return self.parts.train_batches.epoch(self.epoch)

    def ready_batch(self):
        """(images, labels) on the device."""
        return next(iter(self.batches()))

    def loop(self, batches):
        """The loop of baseline.py over `batches`, its progress bar included."""
        parts = self.parts
        bar, report = progress_bar(self.steps * parts.step_size, "train")
        with bar:
            train_epoch(parts.training, batches, parts.metrics(), self.epoch, report)

    def bare(self, batches):
        """Forward, loss, backward and step alone."""
        model, optimizer = self.parts.training.model, self.parts.training.optimizer
        precision, criterion = self.parts.precision, self.parts.training.criterion
        model.train()
        for images, labels in batches:
            optimizer.zero_grad(set_to_none=True)
            with precision.autocast():
                outputs = model(images)
            precision.backward(losses.mean(*criterion(outputs, labels)))
            precision.step(optimizer)


class Tutorial:
    """Training as the tutorial does it; see `tools.benchmark.tutorial`.

    Args:
        settings: options of the benchmark.
        folder: working folder.
        data: learning.data.datasets.base.Dataset.
    """

    bare = None
    data_bytes = 0

    def __init__(self, settings, folder, data):
        args, data, _, _ = setup.setup_run(baseline_words(settings, folder, data))
        self.device = program.pick_device(args.device)
        views = tutorial.Views(
            data.split("train"), data.decode, args.train_size, args.crop_size, args.dataset_mean, args.dataset_std
        )
        self.loader = tutorial.loader(
            views, min(args.batch_size, len(views)), min(args.num_workers, num_cores()), self.device.type == "cuda"
        )
        self.steps = len(self.loader)
        void_too = len(data.labels.classes) + 1
        self.model = tutorial.build_network(args.model, void_too, self.device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-2, momentum=0.9, weight_decay=1e-4)

    def batches(self):
        """The batches of an epoch, on the CPU."""
        return self.loader

    def ready_batch(self):
        """(images, labels) on the device."""
        return tuple(tensor.to(self.device) for tensor in next(iter(self.loader)))

    def loop(self, batches):
        """The tutorial's loop over `batches`."""
        with as_shipped():
            tutorial.train_epoch(self.model, batches, self.optimizer, self.device)


@contextmanager
def as_shipped():
    """cuDNN chooses its algorithms as torch ships it: by rule, not by trying them out."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
