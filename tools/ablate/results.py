"""The results of runs, and statistics of their differences."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np

from helpers.history import read_log, read_seconds
from helpers.text_files import read_json

# Student's t, the 97.5 % quantile for 1 .. 30 degrees of freedom; more are treated as 30.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


class _Scores(TypedDict):
    mean_class_iou: float


class _Results(TypedDict):
    scores: _Scores


@dataclass(frozen=True)
class RunResult:
    """The result of one run.

    Args:
        miou: of the predictions, 0 .. 1.
        last_miou: of the last epoch's single-scale validation, 0 .. 1.
        seconds: of training and validation.
    """

    miou: float
    last_miou: float
    seconds: float
    epochs: int


def read_result(run: Path) -> RunResult:
    """The result in the folder of a finished run."""
    last_miou = read_log(run / "log_epoch.csv").get("miou", [math.nan])[-1]
    seconds = read_seconds(run / "log_time.csv")
    scores = read_json(run / "results.json", _Results, "recreate it with evaluate.py")["scores"]
    return RunResult(miou=scores["mean_class_iou"], last_miou=last_miou, seconds=sum(seconds), epochs=len(seconds))


def paired_difference(base: Mapping[int, float], other: Mapping[int, float]) -> tuple[float, float]:
    """Mean of the differences to the base over the common seeds, and half of its 95 % interval by Student's t.

    Args:
        base, other: seed -> score.

    Returns:
        NaN without common seeds; the interval needs two.
    """
    seeds = sorted(base.keys() & other.keys())
    if not seeds:
        return math.nan, math.nan
    differences = np.array([other[seed] - base[seed] for seed in seeds])
    if len(seeds) < 2:
        return float(differences[0]), math.nan
    t = _T[min(len(seeds) - 1, len(_T)) - 1]
    return float(differences.mean()), float(t * differences.std(ddof=1) / math.sqrt(len(seeds)))


def conclusion(mean: float, half: float) -> str:
    """The conclusion from a difference and half of its interval; "" without an interval."""
    if math.isnan(half):
        return ""
    if abs(mean) <= half:
        return "could be chance"
    return "better" if mean > 0 else "worse"
