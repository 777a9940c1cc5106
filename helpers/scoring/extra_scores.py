"""What evaluate.py adds on request: boundary IoU, calibration error, bootstrap intervals; each a dict and lines of text."""

import numpy as np

from helpers.errors import InputError
from helpers.images import read_label
from helpers.probabilities import read_probabilities
from helpers.scoring import bootstrap, boundary_iou, calibration, scores
from helpers.threads import map_in_threads


def boundaries(samples, predictions, dataset, fraction):
    """Boundary IoU of a split; see `helpers.scoring.boundary_iou`.

    Args:
        samples: sequence of samples with `label`.
        predictions: their label-id PNGs.
        dataset: learning.data.datasets.base.Dataset.
        fraction: of the image's diagonal, what counts as near a contour.

    Returns:
        (dict, list of str): "class" and "mean" in 0 .. 1, and lines to print.
    """
    names, decode = dataset.labels.names, dataset.labels.decoder("ids", "train_ids")[0]

    def count(sample, path):
        truth = dataset.decode[read_label(sample.label)]
        distance = boundary_iou.width(truth.shape, fraction)
        return boundary_iou.boundary_counts(truth, decode[read_label(path)], len(names), distance)

    values = boundary_iou.boundary_iou(sum(map_in_threads(count, samples, predictions, description="evaluating")))
    found = {"fraction": fraction, "class": dict(zip(names, values.tolist(), strict=True)), "mean": scores.mean(values)}
    lines = [f"{name:<14}: {value:5.3f}" for name, value in (*found["class"].items(), ("Average", found["mean"]))]
    return found, [f"boundary IoU, within {100 * fraction:g} % of the diagonal", "-" * 32, *lines]


def calibrated(samples, folder, dataset):
    """Expected calibration error of a split whose probabilities were saved; see `helpers.scoring.calibration`.

    Args:
        samples, dataset: as for `boundaries`.
        folder: Path that holds NAME.npy for each sample.

    Returns:
        (dict, list of str): "error" and the bins, and lines to print.

    Raises:
        InputError: probabilities are missing or damaged, or of another number of classes.
    """

    def count(sample):
        path = folder / f"{sample.name}.npy"
        probabilities = read_probabilities(path)
        if len(probabilities) != len(dataset.labels.classes):
            expected = f"{len(dataset.labels.classes)} classes of the {dataset.name} data set"
            raise InputError(f"{path} holds {len(probabilities)} classes, not the {expected}; predict again")
        return calibration.bin_pixels(probabilities, dataset.decode[read_label(sample.label)])

    bins = sum(map_in_threads(count, samples, description="evaluating"))
    error = calibration.expected_calibration_error(bins)
    number, right, confidence = bins
    with np.errstate(invalid="ignore"):
        columns = {"pixels": number, "accuracy": right / number, "confidence": confidence / number}
    found = {"error": error, "bins": {name: values.tolist() for name, values in columns.items()}}
    says = "surer than it is right" if confidence.sum() > right.sum() else "less sure than it is right"
    means = f"mean confidence {confidence.sum() / number.sum():.3f}, accuracy {right.sum() / number.sum():.3f}"
    return found, [f"expected calibration error: {error:.4f} ({means}: {says})"]


def interval(confusions, samples, table, num_resamples, blocks=None):
    """How far other images of the same kind would move the mean IoU; see `helpers.scoring.bootstrap`.

    Args:
        confusions: list of int64 (n, n), over label ids, of each image.
        samples: as for `boundaries`.
        table: helpers.labels.LabelTable.
        blocks: which recording each image belongs to; None draws single images.

    Returns:
        (dict, list of str): the 95 % interval, and lines to print.
    """
    mean, _ = bootstrap.interval(*scores.class_counts(confusions, table), num_resamples, blocks=blocks)
    drawn = "images" if blocks is None else f"{len(set(blocks))} recordings"
    line = f"mean class IoU: {mean.value:.4f}, 95 % interval {mean.low:.4f} .. {mean.high:.4f} ({num_resamples} draws of {drawn})"
    return mean._asdict() | {"resamples": num_resamples, "drawn": drawn}, [line]
