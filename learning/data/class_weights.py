"""Class weights: from how often classes occur, or from a file. Never infinite: a class that does not occur has no say."""

import json
import math
from pathlib import Path

import numpy as np

from helpers.errors import InputError


def enet(pixels, c=1.02):
    """1 / ln(c + p) with p the class's share of the labelled pixels (ENet, arXiv 1606.02147); at most 1 / ln(c).

    Args:
        pixels: int64 (N, C), labelled pixels of each class in each image.

    Returns:
        float64 (C,)
    """
    total = pixels.sum(0, dtype=np.float64)
    return 1 / np.log(c + total / max(total.sum(), 1))


def median_frequency(pixels):
    """median(f) / f_c with f_c = pixels of c / labelled pixels of the images that contain c (arXiv 1411.4734, 1511.00561).

    The median is over the classes that occur. One that does not has the weight 1, that of the median.

    Args:
        pixels: int64 (N, C), labelled pixels of each class in each image.

    Returns:
        float64 (C,)
    """
    total = pixels.sum(0, dtype=np.float64)
    around = ((pixels > 0) * pixels.sum(1, keepdims=True)).sum(0, dtype=np.float64)
    occurs = total > 0
    frequency = total[occurs] / around[occurs]
    weights = np.ones(len(total))
    weights[occurs] = np.median(frequency) / frequency
    return weights


SCHEMES = {"enet": enet, "median": median_frequency}


def written_out(text):
    """--class_weights with the numbers in place of a file, as a run keeps it.

    Args:
        text: "none", "ocnet", a key of `SCHEMES`, numbers separated by commas, or a file of numbers: a JSON list, or text
            with one number a line for each class, each alone or after the class's name.

    Returns:
        str: a name, or numbers separated by commas.

    Raises:
        InputError: no such file, or no weights in it.
    """
    if text in ("none", "ocnet", *SCHEMES):
        return text
    numbers = _read(text)
    if not all(0 <= number < math.inf for number in numbers) or not any(numbers):
        raise InputError(f"--class_weights {text}: expected numbers of 0 or more, not all of them 0")
    return ",".join(f"{number:.12g}" for number in numbers)


def check(text, spec, num_classes):
    """Refuse weights for another data set; arguments as for `compute`, C; raises InputError."""
    if text == "ocnet" and spec.CLASS_WEIGHTS is None:
        raise InputError(
            "--class_weights ocnet: these are the numbers of Cityscapes' 19 classes; use enet, median or a file"
        )
    number = num_classes if text in ("none", "ocnet", *SCHEMES) else len(text.split(","))
    if number != num_classes:
        raise InputError(f"--class_weights: got {number} numbers, expected one for each of the {num_classes} classes")


def compute(text, spec, pixels):
    """Class weights from what `written_out` returned.

    Args:
        text: that.
        spec: module of `learning.data.datasets`; "ocnet" means its `CLASS_WEIGHTS`.
        pixels: int64 (N, C), labelled pixels of each class in each training image.

    Returns:
        float64 (C,), or None for "none".
    """
    if text == "none":
        return None
    if text == "ocnet":
        return np.array(spec.CLASS_WEIGHTS, np.float64)
    if text in SCHEMES:
        return SCHEMES[text](pixels)
    return np.array([float(word) for word in text.split(",")])


def standard(spec, pixels):
    """The data set's standard weights, or ENet's where there is no such set: float64 (C,)."""
    return enet(pixels) if spec.CLASS_WEIGHTS is None else np.array(spec.CLASS_WEIGHTS, np.float64)


def _read(text):
    """list of float: the numbers typed, or those in the file."""
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        pass
    try:
        content = Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise InputError(
            f"--class_weights {text}: expected none, ocnet, enet, median, or a file of numbers ({reason})"
        ) from None
    try:
        if content.lstrip().startswith("["):
            return [float(number) for number in json.loads(content)]
        return [float(line.split()[-1]) for line in content.splitlines() if line.strip()]
    except (ValueError, TypeError):
        raise InputError(
            f"--class_weights {text}: expected a JSON list of numbers, or one number a line, each alone or after a name"
        ) from None
