"""Measures several parts in turn, each in a process of its own, so that they do not affect each other. No torch."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools.benchmark.measure import Deadline, Goal, JsonObject, goal_table, hardware, one_line, versions
from tools.benchmark.settings import ALL, MINUTES, Settings

_SHARES = {"train": 5, "predict": 2, "data": 2, "evaluate": 1}  # of the time
_GRACE = 45  # seconds that a part may overrun its share before it is killed


def run_all(settings: Settings, folder: Path) -> JsonObject:
    """Measure every part, print its output and all goals, and return one JSON record."""
    deadline = Deadline(settings.minutes or MINUTES)
    start = time.monotonic()
    records: dict[str, JsonObject] = {}
    for index, part in enumerate(settings.parts):
        share = _SHARES[part] / sum(_SHARES[other] for other in settings.parts[index:])
        limit = max(_GRACE / 3, share * deadline.seconds_left())
        print(f"== {part} ==", flush=True)
        argv = [part, *settings.argv_of_part(), "--work_path", str(folder), "--minutes", f"{limit / 60:.3f}"]
        try:
            records[part] = run_process(argv, limit + _GRACE)
        except Exception as error:  # the other parts are still measured
            records[part] = {"error": one_line(error)}
        if "error" in records[part]:
            print(f"{part} failed: {records[part]['error']}", flush=True)
    done = [record for record in records.values() if "error" not in record]
    goals = [Goal.of(goal) for record in done for goal in record["goals"]]
    if goals:
        print(f"== all ==\n{goal_table(goals)}", flush=True)
    return {
        "benchmark": ALL,
        "parts": records,
        "hardware": hardware(next((record["hardware"]["gpu"] for record in done if record["hardware"]["gpu"]), None)),
        "versions": versions(),
        "seconds": time.monotonic() - start,
    }


def run_process(argv: Sequence[str], limit: float) -> JsonObject:
    """Run this program with other arguments, pass its output on, and return its JSON record.

    Args:
        limit: seconds after which it is killed.

    Returns:
        only "error" if it printed no record.
    """
    command = [sys.executable, "-m", "tools.benchmark", *argv]
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    record = None
    errors = _PassedOn()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout
        assert process.stderr
        reader = threading.Thread(target=errors.read, args=(process.stderr,), daemon=True)
        timer = threading.Timer(limit, process.kill)
        reader.start()
        timer.start()
        for line in process.stdout:
            found = parse_record(line)
            record = found or record
            if not found:
                print(line, end="", flush=True)
        reader.join()
        timer.cancel()
    if record:
        return record
    killed = f"ended after {limit:.0f} s; " if process.returncode < 0 else ""
    return {"error": f"{killed}last output: {errors.last_line or 'none'}"}


class _PassedOn:
    """Copies lines to standard error and keeps the last one that is not blank."""

    last_line = ""

    def read(self, lines: Iterable[str]) -> None:
        for line in lines:
            sys.stderr.write(line)
            self.last_line = line.strip() or self.last_line


def parse_record(line: str) -> JsonObject | None:
    """The JSON record in a line of a part's output; None for any other line."""
    if not line.startswith('{"benchmark"'):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None
