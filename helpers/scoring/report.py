"""The texts of results.txt and results.json."""

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from helpers.labels import LabelTable
from helpers.scoring import scores
from helpers.scoring.counting import LabeledSample


def image_counts(
    samples: Sequence[LabeledSample], confusions: Sequence[np.ndarray], table: LabelTable
) -> dict[str, dict[str, dict[str, int]]]:
    """TP, FP and FN pixels by image and class name: enough to compute the class IoU of any subset of the images."""
    counts = np.stack(scores.class_counts(confusions, table), -1).tolist()  # (N, C, 3)
    return {
        sample.name: {
            name: {"tp": tp, "fp": fp, "fn": fn} for name, (tp, fp, fn) in zip(table.names, of_image, strict=True)
        }
        for sample, of_image in zip(samples, counts, strict=True)
    }


def summary_text(found: scores.Scores) -> str:
    """The text of results.txt, in full precision; the first five lines are those of the VIPriors challenge kit."""
    lines = {
        "IoU Class": found["mean_class_iou"],
        "iIoU Class": found["mean_class_niou"],
        "IoU Category": found["mean_category_iou"],
        "iIoU Category": found["mean_category_niou"],
        "Accuracy": found["accuracy"],
        "Accuracy Labelled Pixels": found["labelled_accuracy"],
        "Mean Class Accuracy": found["mean_class_accuracy"],
    }
    return "".join(f"{name}: {value!r}\n" for name, value in lines.items())


def json_text(parts: Mapping[str, object]) -> str:
    """A JSON object with one line for each part; NaN, which JSON does not have, becomes null."""
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(_null_for_nan(part))}" for key, part in parts.items())
    return "{\n" + lines + "\n}\n"


def _null_for_nan(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _null_for_nan(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_null_for_nan(part) for part in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value
