"""Measure the speed on this machine: python -m tools.benchmark data|train|predict|evaluate|all.

Each part prints a table, figures beside their goals, and one line of JSON with all figures, the hardware and the versions.
The data are drawn by the program itself in a temporary folder, unless --dataset_path names a data set.
`all` runs every part in turn within --minutes, each in a process of its own, and always includes the tutorial's implementation.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from helpers.errors import exit_status
from tools.benchmark import evaluation
from tools.benchmark.all_parts import run_all
from tools.benchmark.measure import JsonObject
from tools.benchmark.part import run_part
from tools.benchmark.settings import ALL, PROGRAM, Settings, parse


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the JSON record as the last line; returns 1 if a part of `all` failed."""
    settings = parse(argv, __doc__ or "")
    temporary = tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True)
    place = nullcontext(settings.work_path) if settings.work_path else temporary
    with place as name:
        folder = Path(name).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        record = measure(settings, folder)
    print(json.dumps(record), flush=True)
    parts: dict[str, JsonObject] = record.get("parts", {})
    return int(any("error" in part for part in parts.values()))


def measure(settings: Settings, folder: Path) -> JsonObject:
    """The JSON record of a part, or of all parts."""
    if settings.part == ALL:
        return run_all(settings, folder)
    if settings.part == "evaluate":
        return run_part(settings, folder, evaluation.run)
    from tools.benchmark.torch_parts import run_torch_part  # after the settings are checked: torch takes seconds

    return run_torch_part(settings, folder)


if __name__ == "__main__":
    sys.exit(exit_status(PROGRAM, main, None))
