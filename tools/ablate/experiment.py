"""Runs the variants in child processes and updates the report after each run."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from helpers.progress import duration
from tools.ablate.report import write_report
from tools.ablate.results import RunResult, read_result
from tools.ablate.variants import Variant

ROOT = Path(__file__).resolve().parents[2]


class ChildProcesses:
    """The running programs; they can be stopped together, and then no further one starts."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_stopped = False
        self._lock = threading.Lock()

    def run(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> bool:
        """Run a program, append its output to a log, and return whether it succeeded."""
        with open(log, "a") as output:
            with self._lock:
                if self._is_stopped:
                    return False
                process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
                self._running.add(process)
            status = process.wait()
            with self._lock:
                self._running.discard(process)
        return status == 0

    def stop(self) -> None:
        """Send SIGTERM to the running programs, which save their state and exit."""
        with self._lock:
            self._is_stopped = True
            for process in self._running:
                process.terminate()


@contextmanager
def stopped_by_signals() -> Generator[ChildProcesses, None, None]:
    """Child processes that Ctrl-C and SIGTERM stop before this program ends."""
    processes = ChildProcesses()
    is_main = threading.current_thread() is threading.main_thread()

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt) if is_main else None
    try:
        yield processes
    except KeyboardInterrupt:
        processes.stop()
        raise
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, previous)


def run_all(folder: Path, variants: Sequence[Variant], num_seeds: int, num_jobs: int) -> bool:
    """Run each variant with each seed, `num_jobs` at a time, and return whether all runs succeeded."""
    results: dict[str, dict[int, RunResult | None]] = {}
    write_report(folder, variants, results)
    # All variants with one seed, then the next seed: the table is useful early.
    runs = [(variant, seed) for seed in range(num_seeds) for variant in variants]
    start = time.monotonic()
    with ThreadPoolExecutor(num_jobs) as pool, stopped_by_signals() as processes:
        jobs = [pool.submit(run, folder, variant, seed, num_jobs, processes) for variant, seed in runs]
        for number, ((variant, seed), job) in enumerate(zip(runs, jobs, strict=True), 1):
            result = job.result()
            score = f"mIoU {result.miou:.4f}" if result else f"failed: see {log_of(folder, variant.name, seed)}"
            elapsed = duration(time.monotonic() - start)
            print(f"[{number}/{len(runs)}] {variant.name}, seed {seed}: {score} ({elapsed} so far)", flush=True)
            results.setdefault(variant.name, {})[seed] = result
            write_report(folder, variants, results)
    return all(result for of_variant in results.values() for result in of_variant.values())


def log_of(folder: Path, name: str, seed: int) -> Path:
    """The output of the programs of a run."""
    return folder / name / f"seed_{seed}.log"


def run(folder: Path, variant: Variant, seed: int, num_jobs: int, processes: ChildProcesses) -> RunResult | None:
    """Train, predict and evaluate one run, or continue it; None if a program fails."""
    path = folder / variant.name / f"seed_{seed}"
    path.parent.mkdir(exist_ok=True)
    commands = (
        ["baseline.py", *variant.argv, "--seed", str(seed), "--save_path", str(path), "--resume"],
        ["evaluate.py", "--results", str(path / "results_val")],
    )
    if not (path / "results.json").exists():
        log = log_of(folder, variant.name, seed)
        environment = child_environment(num_jobs)
        for program, *argv in commands:
            if not processes.run([sys.executable, str(ROOT / program), *argv], log, environment):
                return None
    return read_result(path)


def child_environment(num_jobs: int) -> dict[str, str]:
    """The environment of a run; several runs at a time share the cores."""
    shared = {}
    if num_jobs > 1:
        num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        shared = {"OMP_NUM_THREADS": str(max(1, num_cores // num_jobs)), "OMP_WAIT_POLICY": "passive"}
    return shared | os.environ | {"PYTHONUNBUFFERED": "1"}
