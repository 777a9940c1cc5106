"""Majority votes over label maps."""

from fractions import Fraction
from math import lcm

import numpy as np

from helpers.errors import InputError

_MOST = 2**53  # so that sums are exact, as int64 and as float64


def whole_weights(weights):
    """Whole numbers in the same proportion as the weights of voters, so that a tie is a tie and not a matter of rounding.

    Args:
        weights: numbers of 0 or more, taken as they are written: 0.1 is one tenth.

    Returns:
        list of int

    Raises:
        InputError: negative or infinite weights, all of them 0, or too many digits.
    """
    shown = " ".join(map(str, weights))
    if not all(0 <= weight < float("inf") for weight in weights) or not any(weights):
        raise InputError(f"--mix {shown}: expected numbers of 0 or more, not all of them 0")
    exact = [Fraction(str(weight)) for weight in weights]
    common = lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * common) for weight in exact]
    if sum(whole) > _MOST:
        raise InputError(f"--mix {shown}: weights with fewer digits are needed for an exact count of votes")
    return whole


def majority(choices, weights):
    """The value with the most votes in every pixel.

    Of values with equally many votes, the one wins that was chosen by the voter who stands first in `choices`.

    Args:
        choices: list of R arrays of one shape, a voter each.
        weights: list of R int of 0 or more, the votes that each voter has; not all 0.

    Returns:
        array of that shape
    """
    winner, most = np.zeros_like(choices[0]), np.zeros(choices[0].shape, np.int64)
    for choice in choices:
        votes = sum((other == choice) * np.int64(weight) for other, weight in zip(choices, weights, strict=True))
        better = votes > most
        winner[better], most[better] = choice[better], votes[better]
    return winner
