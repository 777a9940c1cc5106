"""Measure how fast things are here: python -m tools.benchmark data|train|predict|evaluate|all.

Each part prints a table, figures beside their goals, and one line of JSON with all figures, the hardware and the versions.
Everything that is measured with is drawn by the program itself in a temporary folder, unless --dataset_path names a data set.
`all` takes every part in turn within --minutes, each in a process of its own; the tutorial's way is then always among them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import options as program
from helpers.errors import InputError, exit_status
from helpers.parsing import Parser, Switch
from tools.benchmark.measure import Deadline, Goal, goal_table, hardware, one_line, versions

_PROGRAM = "python -m tools.benchmark"
PARTS = {
    "train": "training",
    "predict": "prediction",
    "data": "loading",
    "evaluate": "evaluation",
}  # part -> module, as `all` goes
_SHARES = {"train": 5, "predict": 2, "data": 2, "evaluate": 1}  # of the time that `all` has
_MINUTES = 9
_GRACE = 45  # seconds that a part may overrun its share before it is ended
VARIANTS = (
    *("ours", "tutorial", "blocks", "cache_off", "cache_disk", "cache_device", "float32", "bf16", "fp16"),
    *("contiguous", "compile"),
)


class _Help(program.Help, argparse.RawDescriptionHelpFormatter):
    """The options as baseline.py shows its own."""


def main(argv=None):
    """Measure what the words of `argv` ask for.

    Returns:
        int: 0; 1 where a part of `all` failed.

    Raises:
        InputError: wrong options, or no such data set.
    """
    settings = parse(argv)
    temporary = tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True)
    place = nullcontext(settings.work_path) if settings.work_path else temporary
    with place as folder:
        folder = Path(folder).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        record = run_all(settings, folder) if settings.part == "all" else run_part(settings, folder)
    print(json.dumps(record), flush=True)
    return int(any("error" in part for part in record.get("parts", {}).values()))


def parse(argv):
    """Options of the command line.

    Returns:
        argparse.Namespace
    """
    usage = f"{_PROGRAM} {{{','.join(PARTS)},all}} [options]"
    parser = Parser(prog=_PROGRAM, usage=usage, description=__doc__, formatter_class=_Help)
    add = parser.add_argument
    add("part", choices=(*PARTS, "all"), help="what is measured")
    add("--repeats", type=int, default=5, metavar="N", help="rounds, of which medians are taken (default: %(default)s)")
    add(
        "--minutes",
        type=float,
        metavar="M",
        help=f"begin no further round after that (default: all {_MINUTES}, else none)",
    )
    add("--work_path", metavar="FOLDER", help="keep drawn images and cache here (default: a temporary folder)")
    add("--as_tutorial", action=Switch, help="data, train: the tutorial's way, too, for the ratio")
    data = parser.add_argument_group("data, train and predict")
    add = data.add_argument
    add(
        "--dataset",
        choices=program.DATASETS,
        default="minicity",
        help="format of --dataset_path (default: %(default)s)",
    )
    add("--dataset_path", metavar="FOLDER", help="a data set to measure with (default: drawn street scenes)")
    add("--size", action=program.Size, help="size of the images (default: 1024 2048, or the data set's)")
    add("--crop_size", action=program.Size, help="training crop (default: 576 1152, or the data set's)")
    add(
        "--augment",
        choices=program.AUGMENTS,
        default="tutorial",
        help="data: set of augmentations (default: %(default)s)",
    )
    add("--batch_size", type=int, default=8, metavar="N", help="images at a time (default: %(default)s)")
    add("--num_images", type=int, default=200, metavar="N", help="drawn training images (default: %(default)s)")
    add("--model", choices=program.MODELS, default=program.MODELS[0], help="network (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add("--num_workers", type=int, default=8, metavar="N", help="loader processes, at most one a core (default: 8)")
    group = parser.add_argument_group("single parts")
    add = group.add_argument
    names = ", ".join(VARIANTS)
    add(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        metavar="NAME",
        help=f"train: which of {names} (default: by the device)",
    )
    add(
        "--peak_tflops",
        type=float,
        metavar="T",
        help="train: what the GPU can do, for the share of it (default: 790 for H100, H200)",
    )
    add("--num_pairs", type=int, default=100, metavar="N", help="evaluate: pairs of images (default: %(default)s)")
    add("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS), metavar="NAME", help="all: only these parts")
    settings = parser.parse_args(argv)
    check(settings)
    return settings


def check(settings):
    """Fill in the sizes of what is drawn, and refuse numbers that mean nothing.

    Raises:
        InputError: names the option and what is possible.
    """
    if not settings.dataset_path:
        if settings.dataset != "minicity":
            raise InputError(
                f"--dataset {settings.dataset}: only minicity can be drawn; name a folder with --dataset_path"
            )
        settings.size = settings.size or [1024, 2048]
    if settings.dataset == "minicity":
        settings.crop_size = settings.crop_size or [576, 1152]
    for name in ("repeats", "batch_size", "num_images", "num_pairs"):
        if getattr(settings, name) < 1:
            raise InputError(f"--{name} {getattr(settings, name)}: expected at least 1")
    if settings.num_images < settings.batch_size:
        raise InputError(
            f"--num_images {settings.num_images}: expected at least one batch of --batch_size {settings.batch_size}"
        )
    for name in ("minutes", "peak_tflops"):
        value = getattr(settings, name)
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"--{name} {value}: expected a number above 0")
    for name in ("size", "crop_size"):
        if getattr(settings, name) and not 64 <= min(getattr(settings, name)) <= max(getattr(settings, name)) <= 16384:
            raise InputError(f"--{name} {' '.join(map(str, getattr(settings, name)))}: expected 64 .. 16384 pixels")
    program.parse(
        ["--device", settings.device, "--num_workers", str(settings.num_workers)]
    )  # refuses as baseline.py does
    if settings.work_path and Path(settings.work_path).is_file():
        raise InputError(f"--work_path {settings.work_path} is a file; name a folder")


def run_part(settings, folder):
    """Measure one part, print its table and goals, and return its JSON record."""
    began = time.monotonic()
    part = import_module(f"tools.benchmark.{PARTS[settings.part]}")
    figures, goals = part.run(settings, folder, Deadline(settings.minutes))
    if goals:
        print(f"\n{goal_table(goals)}")
    print(flush=True)
    return {
        "benchmark": settings.part,
        "settings": {name: value for name, value in vars(settings).items() if name not in ("part", "parts")},
        "figures": figures,
        "goals": [goal.record() for goal in goals],
        "hardware": hardware(),
        "versions": versions(),
        "seconds": time.monotonic() - began,
    }


def run_all(settings, folder):
    """Measure every part in a process of its own, so that none disturbs or ends another, and return one JSON record."""
    deadline = Deadline(settings.minutes or _MINUTES)
    began, records = time.monotonic(), {}
    for index, part in enumerate(settings.parts):
        share = _SHARES[part] / sum(_SHARES[other] for other in settings.parts[index:])
        limit = max(_GRACE / 3, share * deadline.left())
        print(f"== {part} ==", flush=True)
        words = [part, *words_of(settings), "--work_path", str(folder), "--minutes", f"{limit / 60:.3f}"]
        try:
            records[part] = run_process(words, limit + _GRACE)
        except Exception as error:  # one part less is no reason to measure nothing
            records[part] = {"error": one_line(error)}
        if "error" in records[part]:
            print(f"{part} failed: {records[part]['error']}", flush=True)
    done = [record for record in records.values() if "error" not in record]
    goals = [goal for record in done for goal in record["goals"]]
    if goals:
        print(f"== all ==\n{goal_table([Goal.of(goal) for goal in goals])}", flush=True)
    found = hardware()
    found["gpu"] = next((record["hardware"]["gpu"] for record in done if record["hardware"]["gpu"]), None)
    return {
        "benchmark": "all",
        "parts": records,
        "hardware": found,
        "versions": versions(),
        "seconds": time.monotonic() - began,
    }


def words_of(settings):
    """list of str: the command line that stands for `settings`, for a part of `all`."""
    words = ["--as_tutorial"]
    for name, value in vars(settings).items():
        if value is None or name in ("part", "parts", "as_tutorial", "minutes", "work_path"):
            continue
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def run_process(words, limit):
    """Run this program with other words; what it prints is printed here, except for its JSON record.

    Args:
        words: of its command line.
        limit: seconds after which it is ended.

    Returns:
        dict: its record; only "error" where it left none.
    """
    command = [sys.executable, "-m", "tools.benchmark", *words]
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    last = [""]

    def pass_on():
        for line in process.stderr:
            sys.stderr.write(line)
            last[0] = line.strip() or last[0]

    reader, timer = threading.Thread(target=pass_on, daemon=True), threading.Timer(limit, process.kill)
    record = None
    with process:
        reader.start()
        timer.start()
        for line in process.stdout:
            record = parse_record(line) or record
            if not parse_record(line):
                print(line, end="", flush=True)
        reader.join()
        timer.cancel()
    if record:
        return record
    ended = f"ended after {limit:.0f} s; " if process.returncode < 0 else ""
    return {"error": f"{ended}its last words: {last[0] or 'none'}"}


def parse_record(line):
    """dict: the JSON record in a line of a part's output; None for any other line."""
    if not line.startswith('{"benchmark"'):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None


if __name__ == "__main__":
    sys.exit(exit_status(_PROGRAM, main, None))
