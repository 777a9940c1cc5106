"""Clocks, goals, tables and the environment of a measurement. No torch."""

import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

JsonObject = dict[str, Any]  # values that JSON can hold
Result = TypeVar("Result")

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "cityscapesscripts", "albumentations")


class Deadline:
    """The time at which a part should be done, `minutes` from now; None for no limit."""

    def __init__(self, minutes: float | None = None) -> None:
        self.end = time.monotonic() + (math.inf if minutes is None else 60 * minutes)

    def seconds_left(self) -> float:
        """Negative after the deadline."""
        return self.end - time.monotonic()

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self.seconds_left() <= 0


class KeepResult(Generic[Result]):
    """A function without arguments that keeps the result of its last call."""

    result: Result

    def __init__(self, function: Callable[[], Result]) -> None:
        self.function = function

    def __call__(self) -> None:
        self.result = self.function()


def time_call(work: Callable[[], object]) -> float:
    """The duration of a call in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleave(
    variants: Mapping[str, Callable[[], object]], repeats: int, deadline: Deadline
) -> dict[str, list[float]]:
    """Time several variants in turn, so that disturbances of the machine affect all of them, after a round of warm-up.

    Returns:
        name -> seconds of each round; at least one round, but none starts after the deadline.
    """
    for name, work in variants.items():
        progress(f"warming up: {name}")
        work()
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(repeats):
        if turn and deadline.passed:
            break
        progress(f"round {turn + 1} of {repeats}")
        for name, work in variants.items():
            taken[name].append(time_call(work))
    return taken


def progress(text: str) -> None:
    """Print a line of progress to standard error."""
    print(f"benchmark: {text}", file=sys.stderr, flush=True)


def one_line(error: Exception) -> str:
    """An exception in one line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"


@dataclass(frozen=True)
class Goal:
    """A figure and its goal.

    Args:
        what: the name of the figure.
        relation: "<=", "<" or ">=".
        unit: of value and limit, such as "ms"; may be empty.
    """

    what: str
    value: float
    relation: str
    limit: float
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the value meets the goal."""
        return {
            "<=": self.value <= self.limit,
            "<": self.value < self.limit,
            ">=": self.value >= self.limit,
        }[self.relation]

    def row(self) -> list[str]:
        """A row of a table."""
        verdict = f"goal {self.relation} {self.limit:.4g}: {'met' if self.met else 'missed'}"
        return [self.what, f"{format_figure(self.value)} {self.unit}".rstrip(), verdict]

    def record(self) -> JsonObject:
        """The goal for the JSON record."""
        return asdict(self) | {"met": self.met}

    @classmethod
    def of(cls, record: JsonObject) -> "Goal":
        """The inverse of `record`."""
        return cls(**{name: value for name, value in record.items() if name != "met"})


def format_figure(value: float | str | None) -> str:
    """A figure with three significant digits or all before the point; "-" for None."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def format_table(header: Sequence[str], rows: Iterable[Sequence[float | str | None]]) -> str:
    """Figures in columns, right-aligned, the first column of names left-aligned."""
    cells = [[format_figure(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for name, *figures in cells:
        aligned = [figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *aligned]))
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(line.rstrip() for line in lines)


def goal_table(goals: Iterable[Goal]) -> str:
    """Figures beside their goals."""
    return format_table(["goals", "measured", ""], [goal.row() for goal in goals])


def hardware(gpu: str | None = None) -> JsonObject:
    """Name and cores of the CPU, and the name of the GPU, if known."""
    return {"cpu": cpu_name(), "cores": num_cores(), "gpu": gpu}


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """The processor's name as known to the operating system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> JsonObject:
    """Versions of Python and of the installed packages that affect the figures."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
