"""Majority votes over label maps."""

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

import numpy as np

from helpers.errors import InputError

_MOST = 2**53  # so that sums are exact, as int64 and as float64


def whole_weights(weights: Sequence[float]) -> list[int]:
    """Integers in the same proportion as the weights of voters, so that ties do not depend on rounding.

    Args:
        weights: 0 or more, not all 0, taken as they are written: 0.1 is one tenth.
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


def majority(choices: Sequence[np.ndarray], weights: Sequence[int]) -> np.ndarray:
    """The value with the most votes in every pixel; in a tie, that of the voter who comes first in `choices`.

    Args:
        choices: an array of one shape from each voter.
        weights: votes of each voter, not all 0.
    """
    winner = np.zeros_like(choices[0])
    most = np.zeros(choices[0].shape, np.int64)
    for choice in choices:
        votes = np.zeros(choice.shape, np.int64)
        for other, weight in zip(choices, weights, strict=True):
            votes += (other == choice) * np.int64(weight)
        better = votes > most
        winner[better] = choice[better]
        most[better] = votes[better]
    return winner
