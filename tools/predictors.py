"""The networks of several runs, and the mean of what they predict."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from helpers.errors import InputError
from learning.data.datasets.base import Dataset
from learning.data.hashes import hash_file
from learning.device import pick_device
from learning.inference import ensemble
from learning.inference.predict import MST_SCALES
from learning.inference.predictor import Predictor
from tools.runs import Source


def load(sources: Sequence[Source], data: Dataset, device: str) -> list[Predictor]:
    """The networks of several runs, which must have the classes of `data`; "auto" picks a device."""
    chosen = pick_device(device)
    predictors = [Predictor(source.weights, chosen) for source in sources]
    for source, predictor in zip(sources, predictors, strict=True):
        if predictor.labels.names != data.labels.names:
            raise InputError(f"{source.weights} was trained on other classes than those of the {data.name} data set")
    return predictors


def soft_vote(
    predictors: Sequence[Predictor], weights: Sequence[int], paths: Sequence[Path], mst: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Classes by the weighted mean of the networks' probabilities, image by image.

    Args:
        mst: predict at 8 scales and flipped horizontally, not at a single scale.

    Returns:
        uint8 (H, W) of train ids and float32 (H, W), their probabilities, of each image.
    """
    shares = [weight / sum(weights) for weight in weights]
    return ensemble.predict_ensemble(predictors, paths, shares, MST_SCALES if mst else (1.0,), mst)


def describe(source: Source) -> dict[str, object]:
    """Where weights lie, and their hash."""
    return {"weights": str(source.weights.resolve()), "sha256": hash_file(source.weights, "sha256")}


def describe_voters(sources: Sequence[Source], weights: Sequence[int]) -> list[dict[str, object]]:
    """As `describe`, with the weight of each source in the vote."""
    return [describe(source) | {"weight": weight} for source, weight in zip(sources, weights, strict=True)]
