"""The scores that evaluate.py adds on request: boundary IoU, calibration error, bootstrap intervals.

Each function returns its part of results.json and the lines to print.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from helpers.errors import InputError
from helpers.images import read_label
from helpers.labels import LabelTable
from helpers.probabilities import read_probabilities
from helpers.scoring import bootstrap, boundary_iou, calibration, scores
from helpers.scoring.counting import LabeledDataset, LabeledSample
from helpers.threads import map_in_threads

Report: TypeAlias = tuple[dict[str, object], list[str]]


def boundary_scores(
    samples: Sequence[LabeledSample], predictions: Sequence[Path], dataset: LabeledDataset, fraction: float
) -> Report:
    """Boundary IoU of each class and its mean (`helpers.scoring.boundary_iou`).

    Args:
        predictions: label-id PNGs of the samples.
        fraction: share of the image diagonal that counts as near a contour.
    """
    names = dataset.labels.names
    decode_prediction = dataset.labels.decoder("ids", "train_ids")[0]

    def count(sample: LabeledSample, path: Path) -> np.ndarray:
        assert sample.label is not None, sample.name
        truth = dataset.decode[read_label(sample.label)]
        height, width = truth.shape
        distance = boundary_iou.band_width((height, width), fraction)
        return boundary_iou.boundary_counts(truth, decode_prediction[read_label(path)], len(names), distance)

    values = boundary_iou.boundary_iou(np.sum(map_in_threads(count, samples, predictions, description="evaluating"), 0))
    by_class = dict(zip(names, values.tolist(), strict=True))
    mean = scores.mean(values)
    lines = [f"boundary IoU, within {100 * fraction:g} % of the diagonal", "-" * 32]
    lines += [f"{name:<14}: {value:5.3f}" for name, value in by_class.items()]
    lines.append(f"{'Average':<14}: {mean:5.3f}")
    return {"fraction": fraction, "class": by_class, "mean": mean}, lines


def calibration_error(samples: Sequence[LabeledSample], folder: Path, dataset: LabeledDataset) -> Report:
    """Expected calibration error and its bins (`helpers.scoring.calibration`).

    Args:
        folder: contains NAME.npy for each sample.

    Raises:
        InputError: probabilities are missing or damaged, or of another number of classes.
    """
    num_classes = len(dataset.labels.classes)

    def count(sample: LabeledSample) -> np.ndarray:
        assert sample.label is not None, sample.name
        path = folder / f"{sample.name}.npy"
        probabilities = read_probabilities(path)
        if len(probabilities) != num_classes:
            expected = f"{num_classes} classes of the {dataset.name} data set"
            raise InputError(f"{path} holds {len(probabilities)} classes, not the {expected}; predict again")
        return calibration.bin_pixels(probabilities, dataset.decode[read_label(sample.label)])

    bins = np.sum(map_in_threads(count, samples, description="evaluating"), 0)
    error = calibration.expected_calibration_error(bins)
    pixels, correct, confidence = bins
    with np.errstate(invalid="ignore"):
        columns = {"pixels": pixels, "accuracy": correct / pixels, "confidence": confidence / pixels}
    found: dict[str, object] = {
        "error": error,
        "bins": {name: values.tolist() for name, values in columns.items()},
    }
    verdict = "overconfident" if confidence.sum() > correct.sum() else "underconfident"
    means = f"mean confidence {confidence.sum() / pixels.sum():.3f}, accuracy {correct.sum() / pixels.sum():.3f}"
    return found, [f"expected calibration error: {error:.4f} ({means}: {verdict})"]


def mean_iou_interval(
    confusions: Sequence[np.ndarray], table: LabelTable, num_resamples: int, blocks: Sequence[str] | None = None
) -> Report:
    """95 % interval of the mean class IoU (`helpers.scoring.bootstrap`).

    Args:
        confusions: of each image, int64 (L, L) over label ids.
        blocks: the recording of each image; None draws single images.
    """
    mean, _ = bootstrap.interval(scores.class_counts(confusions, table), num_resamples, blocks=blocks)
    drawn = "images" if blocks is None else f"{len(set(blocks))} recordings"
    bounds = f"{mean.low:.4f} .. {mean.high:.4f}"
    line = f"mean class IoU: {mean.value:.4f}, 95 % interval {bounds} ({num_resamples} draws of {drawn})"
    return mean._asdict() | {"resamples": num_resamples, "drawn": drawn}, [line]
