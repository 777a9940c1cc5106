"""Class weights: from how often classes occur, or from a file. Always finite, also for classes that do not occur."""

import json
import math

import numpy as np

from helpers.errors import InputError
from helpers.text_files import read_text
from learning.data.datasets.base import DatasetSpec


def enet(pixels: np.ndarray, c: float = 1.02) -> np.ndarray:
    """1 / ln(c + p) with p the class's share of the labeled pixels (ENet, arXiv 1606.02147); at most 1 / ln(c).

    Args:
        pixels: int64 (N, C), labeled pixels of each class in each image.

    Returns:
        float64 (C,)
    """
    total = pixels.sum(0, dtype=np.float64)
    return 1 / np.log(c + total / max(total.sum(), 1))


def median_frequency(pixels: np.ndarray) -> np.ndarray:
    """median(f) / f_c with f_c = pixels of c / labeled pixels of the images that contain c (arXiv 1411.4734, 1511.00561).

    The median is over the classes that occur. The others have the weight 1, that of the median.

    Args:
        pixels: int64 (N, C), labeled pixels of each class in each image.

    Returns:
        float64 (C,)
    """
    total = pixels.sum(0, dtype=np.float64)
    in_images = ((pixels > 0) * pixels.sum(1, keepdims=True)).sum(0, dtype=np.float64)
    occurs = total > 0
    frequency = total[occurs] / in_images[occurs]
    weights = np.ones(len(total))
    weights[occurs] = np.median(frequency) / frequency
    return weights


SCHEMES = {"enet": enet, "median": median_frequency}
NAMES = ("none", "ocnet", *SCHEMES)


def resolve_option(text: str) -> str:
    """The value of --class_weights as a run stores it: one of `NAMES`, or numbers separated by commas.

    Args:
        text: as typed: one of `NAMES`, numbers, or a file of numbers: a JSON list, or text with one number a line, each alone
            or after the name of a class.

    Raises:
        InputError: no such file, or no weights in it.
    """
    if text in NAMES:
        return text
    numbers = _read(text)
    if not all(0 <= number < math.inf for number in numbers) or not any(numbers):
        raise InputError(f"--class_weights {text}: expected numbers of 0 or more, not all of them 0")
    return ",".join(f"{number:.12g}" for number in numbers)


def check_for_dataset(text: str, spec: DatasetSpec, num_classes: int) -> None:
    """Raise `InputError` if weights that `resolve_option` returned are for other classes than those of the data set."""
    if text == "ocnet" and spec.CLASS_WEIGHTS is None:
        raise InputError(
            "--class_weights ocnet: these are the numbers of Cityscapes' 19 classes; use enet, median or a file"
        )
    if text in NAMES:
        return
    number = len(text.split(","))
    if number != num_classes:
        raise InputError(f"--class_weights: got {number} numbers, expected one for each of the {num_classes} classes")


def compute(text: str, spec: DatasetSpec, pixels: np.ndarray) -> np.ndarray | None:
    """Class weights, float64 (C,), from what `resolve_option` returned; None for "none".

    Args:
        spec: "ocnet" means its `CLASS_WEIGHTS`.
        pixels: int64 (N, C), labeled pixels of each class in each training image.
    """
    if text == "none":
        return None
    if text == "ocnet":
        return np.array(spec.CLASS_WEIGHTS, np.float64)
    if text in SCHEMES:
        return SCHEMES[text](pixels)
    return np.array([float(number) for number in text.split(",")])


def published_or_enet(spec: DatasetSpec, pixels: np.ndarray) -> np.ndarray:
    """The published weights of the data set, or ENet's where there are none: float64 (C,)."""
    return enet(pixels) if spec.CLASS_WEIGHTS is None else np.array(spec.CLASS_WEIGHTS, np.float64)


def _read(text: str) -> list[float]:
    """The numbers typed, or those in the file."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        pass
    expected = "expected a JSON list of numbers, or one number a line, each alone or after a name"
    try:
        content = read_text(text, expected)
    except OSError as error:
        raise InputError(
            f"--class_weights {text}: expected none, ocnet, enet, median, or a file of numbers ({error.strerror})"
        ) from None
    try:
        if content.lstrip().startswith("["):
            return [float(number) for number in json.loads(content)]
        return [float(line.split()[-1]) for line in content.splitlines() if line.strip()]
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise InputError(f"--class_weights {text}: {expected}") from None
