"""Prediction: images per second at a single scale and with --mst, ours and the tutorial's, with the same weights."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from learning.data.loaders import EvalBatch
from learning.inference.predict import MST_SCALES, InferenceSettings, predict_images
from learning.run.build import Compute
from tools.benchmark import tutorial
from tools.benchmark.baseline_run import baseline_argv, build_prediction_run
from tools.benchmark.drawn_data import open_workload_data
from tools.benchmark.measure import Deadline, Goal, JsonObject, KeepResult, format_table, interleave, progress
from tools.benchmark.memory import peak_gib, reset_peak
from tools.benchmark.mixing_time import synchronize
from tools.benchmark.settings import Settings
from tools.benchmark.variants import default_cudnn

_BATCH = 4  # at a single scale, as in the tutorial's command; --mst takes one image at a time


@dataclass(frozen=True)
class Kind:
    """A kind of prediction.

    Args:
        name: prefix of its figures.
    """

    name: str
    title: str
    scales: tuple[float, ...]
    flip: bool
    batch_size: int


_SINGLE = Kind("single", "single scale", (1.0,), flip=False, batch_size=_BATCH)
_MST = Kind("mst", "--mst, 8 scales and flips", MST_SCALES, flip=True, batch_size=1)


def run(settings: Settings, folder: Path, deadline: Deadline) -> tuple[JsonObject, list[Goal]]:
    """Measure and print a table."""
    workload = settings.workload
    data = open_workload_data(workload, folder, 1, _BATCH)
    compute, images_of, ours = build_prediction_run(baseline_argv(workload, folder, data))
    progress("reading the images")
    with closing(images_of.unlabeled_batches("val")) as batches:
        batch = next(iter(batches))
    network = tutorial_network(ours.model, workload.model, len(data.labels.classes), compute.device)
    figures: JsonObject = {"device": str(compute.device)}
    rows = []
    for kind in (_SINGLE, _MST):
        if kind is _MST and deadline.passed:
            print(f"{kind.title}: skipped, no time left")
            continue
        images = first_of(batch, min(kind.batch_size, len(batch.samples)))
        found = time_kind(kind, compute, ours.parallel, network, images, settings.repeats, deadline)
        figures |= {f"{kind.name}_{name}": value for name, value in found.items()}
        rows.append(
            [
                kind.title,
                found["images_per_second"],
                found["tutorial_images_per_second"],
                found["over_tutorial"],
                found["peak_gib"],
                100 * found["same_pixels"],
            ]
        )
    size = "x".join(map(str, images_of.test_size))
    print(f"{workload.model}, {size}, on {compute.device}; from images on the device to classes in memory")
    print(format_table(["predict, images/s", "ours", "tutorial", "ratio", "peak GiB", "same pixels %"], rows))
    goals = []
    if compute.device.type == "cuda" and workload.is_full_size and "mst_over_tutorial" in figures:
        goals.append(Goal("--mst, ours over the tutorial's", figures["mst_over_tutorial"], ">=", 5))
    return figures, goals


def tutorial_network(ours: torch.nn.Module, name: str, num_classes: int, device: torch.device) -> torch.nn.Module:
    """The tutorial's network with the weights of ours, in evaluation mode."""
    network = tutorial.build_network(name, num_classes, device)
    network.load_state_dict(ours.state_dict())
    return network.eval()


def first_of(batch: EvalBatch, number: int) -> EvalBatch:
    """The first images of a batch."""
    return batch._replace(images=batch.images[:number], sizes=batch.sizes[:number], samples=batch.samples[:number])


def time_kind(
    kind: Kind,
    compute: Compute,
    our_network: torch.nn.Module,
    network: torch.nn.Module,
    batch: EvalBatch,
    repeats: int,
    deadline: Deadline,
) -> JsonObject:
    """Time one kind of prediction, ours and the tutorial's in turn.

    Args:
        network: the tutorial's.

    Returns:
        images per second of both, their ratio, our peak memory in GiB on a CUDA GPU, and the share of equal pixels.
    """
    number = len(batch.samples)
    single_images = [batch.images[index : index + 1].contiguous() for index in range(number)]

    settings = InferenceSettings(kind.scales, kind.flip, compute.precision.autocast)

    def predict_ours() -> list[np.ndarray]:
        predicted = predict_images(our_network, [batch], settings)
        return [classes for _, classes in predicted]

    def predict_tutorial() -> list[np.ndarray]:
        with default_cudnn():
            found = [tutorial.predict_classes(network, image, kind.scales, kind.flip) for image in single_images]
        synchronize(compute.device)
        return found

    ours = KeepResult(predict_ours)
    theirs = KeepResult(predict_tutorial)
    peak = None
    if compute.device.type == "cuda":
        occupied = reset_peak()
        ours()
        peak = peak_gib(compute.device, occupied)
    taken = interleave({f"{kind.name}, ours": ours, f"{kind.name}, tutorial": theirs}, repeats, deadline)
    our_seconds, their_seconds = taken.values()
    return {
        "images_per_second": number / median(our_seconds),
        "tutorial_images_per_second": number / median(their_seconds),
        "over_tutorial": median(b / a for a, b in zip(our_seconds, their_seconds, strict=True)),
        "peak_gib": peak,
        "same_pixels": equal_share(ours.result, theirs.result),
    }


def equal_share(predictions: Iterable[np.ndarray], others: Iterable[np.ndarray]) -> float:
    """Mean share of equal pixels of predictions of the same shape; 0 without any."""
    equal = [
        (prediction == other).mean()
        for prediction, other in zip(predictions, others, strict=True)
        if prediction.shape == other.shape
    ]
    return float(sum(equal) / len(equal)) if equal else 0.0
