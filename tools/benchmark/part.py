"""Measures one part and records it. No torch."""

import time
from collections.abc import Callable
from pathlib import Path

from tools.benchmark.measure import Deadline, Goal, JsonObject, goal_table, hardware, versions
from tools.benchmark.settings import Settings

# Settings, working folder, deadline -> figures and goals; prints tables.
Measure = Callable[[Settings, Path, Deadline], tuple[JsonObject, list[Goal]]]


def run_part(settings: Settings, folder: Path, measure: Measure) -> JsonObject:
    """Measure one part, print its tables and goals, and return its JSON record."""
    start = time.monotonic()
    figures, goals = measure(settings, folder, Deadline(settings.minutes))
    if goals:
        print(f"\n{goal_table(goals)}")
    print(flush=True)
    return {
        "benchmark": settings.part,
        "settings": settings.as_options(),
        "figures": figures,
        "goals": [goal.record() for goal in goals],
        "hardware": hardware(),
        "versions": versions(),
        "seconds": time.monotonic() - start,
    }
