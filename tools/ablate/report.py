"""The report of an ablation: ablation.md, ablation.json and ablation.png."""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from helpers import plots
from helpers.output import write_text
from tools.ablate.results import RunResult, conclusion, paired_difference
from tools.ablate.variants import BASE, RECORD, Variant

Results = Mapping[str, Mapping[int, RunResult | None]]  # name of a variant -> seed -> result; None if the run failed

_HEAD = "| variant | runs | mIoU % | spread | difference to the base [95 %] | time | |\n|---|---|---|---|---|---|---|\n"
_NOTE = (
    "mIoU is of the predictions of the best validation epoch; the spread is the standard deviation over seeds; the interval is "
    "Student's t over differences paired by seed; time is that of training and validation relative to the base."
)


@dataclass(frozen=True)
class Summary:
    """The finished runs of a variant.

    Args:
        mious, base_mious: of the variant and the base by seed, 0 .. 1.
        seconds, base_seconds: means over the runs; NaN without runs.
        mean, half: difference to the base and half of its interval, from `paired_difference`, in percentage points.
    """

    mious: dict[int, float]
    base_mious: dict[int, float]
    seconds: float
    base_seconds: float
    mean: float
    half: float

    @property
    def differences(self) -> list[float]:
        """The difference to the base for each common seed, in percentage points."""
        seeds = sorted(self.mious.keys() & self.base_mious.keys())
        return [100 * (self.mious[seed] - self.base_mious[seed]) for seed in seeds]


def summarize(results: Mapping[int, RunResult], base: Mapping[int, RunResult]) -> Summary:
    """Compare the finished runs of a variant with those of the base."""
    mious = {seed: result.miou for seed, result in results.items()}
    base_mious = {seed: result.miou for seed, result in base.items()}
    mean, half = paired_difference(base_mious, mious)
    return Summary(mious, base_mious, _mean_seconds(results), _mean_seconds(base), 100 * mean, 100 * half)


def _mean_seconds(results: Mapping[int, RunResult]) -> float:
    return float(np.mean([result.seconds for result in results.values()])) if results else math.nan


def write_report(folder: Path, variants: Sequence[Variant], results: Results) -> None:
    """Write the table, the numbers and the plot of the finished runs; the first variant is the base."""
    done = {
        variant.name: {seed: result for seed, result in results.get(variant.name, {}).items() if result}
        for variant in variants
    }
    summaries = {name: summarize(found, done[BASE]) for name, found in done.items()}
    rows = [_table_row(name, summary, started=name in results) for name, summary in summaries.items()]
    base = shlex.join(variants[0].argv)
    write_text(folder / "ablation.md", f"Base: `{base}`\n\n{_HEAD}" + "\n".join(rows) + f"\n\n{_NOTE}\n")
    numbers = {variant.name: _record(variant, done[variant.name], summaries[variant.name]) for variant in variants}
    found = {"made by": RECORD.program, "base": base, "variants": numbers}
    write_text(folder / RECORD.name, json.dumps(found, indent=1, allow_nan=False))
    drawn = {
        name: (summary.mean, summary.half, summary.differences)
        for name, summary in summaries.items()
        if name != BASE and summary.differences
    }
    if drawn:
        plots.differences(drawn, folder / "ablation.png")


def _table_row(name: str, summary: Summary, started: bool) -> str:
    if not summary.mious:
        return f"| {name} | 0 | {'failed' if started else 'not run yet'} | | | | |"
    values = np.array(list(summary.mious.values())) * 100
    spread = f"{values.std(ddof=1):.2f}" if len(values) > 1 else ""
    difference = ""
    verdict = ""
    if name != BASE and summary.differences:
        difference = _difference_text(summary.mean, summary.half)
        verdict = conclusion(summary.mean, summary.half)
    time = f"{summary.seconds / summary.base_seconds:.2f}" if summary.base_seconds > 0 else ""
    return f"| {name} | {len(values)} | {values.mean():.2f} | {spread} | {difference} | {time} | {verdict} |"


def _difference_text(mean: float, half: float) -> str:
    if math.isnan(half):
        return f"{mean:+.2f}"
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"


def _record(variant: Variant, results: Mapping[int, RunResult], summary: Summary) -> dict[str, object]:
    """The entry of a variant in ablation.json; "words" is its command line."""
    return {
        "words": shlex.join(variant.argv),
        "options": variant.options,
        "runs": {seed: asdict(result) for seed, result in results.items()},
        "difference": None if math.isnan(summary.mean) else summary.mean,
        "interval": None if math.isnan(summary.half) else summary.half,
    }
