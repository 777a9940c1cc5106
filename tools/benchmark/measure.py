"""Clocks, tables, goals and the circumstances of a measurement: what every part of the benchmark shares. No torch."""

import math
import os
import platform
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

VERSIONS = ("torch", "torchvision", "numpy", "pillow", "cityscapesscripts", "albumentations")


class Deadline:
    """When a part should be done.

    Args:
        minutes: from now; None for no end.
    """

    def __init__(self, minutes=None):
        self.end = time.monotonic() + (math.inf if minutes is None else 60 * minutes)

    def left(self):
        """float: seconds left, below 0 when the time is over."""
        return self.end - time.monotonic()

    @property
    def passed(self):
        """Whether the time is over."""
        return self.left() <= 0


def seconds(work):
    """float: how long `work()` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def interleave(variants, repeats, deadline):
    """Time several variants in turn, so that whatever disturbs the machine disturbs them alike; after one round unmeasured.

    Args:
        variants: dict of name -> function without arguments.
        repeats: rounds.
        deadline: Deadline; once it has passed no further round begins, but there is always one.

    Returns:
        dict of name -> list of float, seconds of each round
    """
    for name, work in variants.items():
        progress(f"warming up: {name}")
        work()
    taken = {name: [] for name in variants}
    for turn in range(repeats):
        if turn and deadline.passed:
            break
        progress(f"round {turn + 1} of {repeats}")
        for name, work in variants.items():
            taken[name].append(seconds(work))
    return taken


def progress(text):
    """Say on standard error what is being done."""
    print(f"benchmark: {text}", file=sys.stderr, flush=True)


def one_line(error):
    """str: an exception in one line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"


@dataclass(frozen=True)
class Goal:
    """A figure and what it should be.

    Args:
        what: the figure in words.
        value: float.
        relation: "<=", "<" or ">=".
        limit: float, in the unit of the value.
        unit: of both, such as "ms"; may be empty.
    """

    what: str
    value: float
    relation: str
    limit: float
    unit: str = ""

    @property
    def met(self):
        """Whether the value is what it should be."""
        return {
            "<=": self.value <= self.limit,
            "<": self.value < self.limit,
            ">=": self.value >= self.limit,
        }[self.relation]

    def row(self):
        """list of str: a row of a table."""
        verdict = f"goal {self.relation} {self.limit:.4g}: {'met' if self.met else 'missed'}"
        return [self.what, f"{number(self.value)} {self.unit}".rstrip(), verdict]

    def record(self):
        """dict of plain values."""
        return {
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "relation": self.relation,
            "limit": self.limit,
            "met": self.met,
        }

    @classmethod
    def of(cls, record):
        """The Goal that `record` made a dict of."""
        return cls(**{name: value for name, value in record.items() if name != "met"})


def at_full_size(settings):
    """Whether the figures are those that the goals are meant for: 1024x2048 images, crops of 576x1152, batches of 8."""
    sizes = tuple(map(tuple, (settings.size or (), settings.crop_size or ())))
    network = settings.model == "DeepLabv3_resnet50"
    return sizes == ((1024, 2048), (576, 1152)) and settings.batch_size == 8 and network


def number(value):
    """str: a figure with as many digits as are worth reading; "-" for None."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    magnitude = abs(value)
    return f"{value:.0f}" if magnitude >= 100 else f"{value:.1f}" if magnitude >= 10 else f"{value:.3g}"


def table(header, rows):
    """Aligned text.

    Args:
        header: titles of the columns.
        rows: lists of text, numbers and None; the first column is a name, to the left, the others stand to the right.

    Returns:
        str
    """
    cells = [[number(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in cells
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(line.rstrip() for line in lines)


def goal_table(goals):
    """str: figures beside their goals, a line each."""
    return table(["goals", "measured", ""], [goal.row() for goal in goals])


def hardware():
    """dict: name and cores of the CPU, and the GPU where torch is in use and sees one."""
    found = {"cpu": cpu_name(), "cores": num_cores(), "gpu": None}
    torch = sys.modules.get("torch")  # a part that needs no torch does not wait for it
    if torch and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def num_cores():
    """int: cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name():
    """str: the processor's name as the system knows it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions():
    """dict of str: versions of Python and of what is installed of the packages that matter here."""
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    torch = sys.modules.get("torch")
    return found | ({"torch": torch.__version__} if torch else {})
