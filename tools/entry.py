"""From a recipe to a challenge entry in one call: `python -m tools.entry @recipes/NAME.txt --dataset_path D --save_path RUN`.

Trains, predicts the test images at several scales and flipped horizontally, and packs the label-id PNGs as
RUN/submission_test.zip. All options but those below are options of baseline.py that say how to train. The same call continues
where an earlier one was stopped.
"""

import argparse
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from helpers.errors import InputError, exit_status
from helpers.launch import is_launched
from helpers.parsing import Parser, Size
from helpers.progress import duration
from helpers.run_folder import RunFolder
from learning.data.datasets.base import Dataset
from learning.data.datasets.statistics import dataset_statistics
from learning.run import command_line, setup
from tools import submissions

ROOT = Path(__file__).resolve().parent.parent
# Options that contradict training on all images and predicting the test images.
_REFUSED = ("predict", "dry_run", "replay", "weights", "overfit", "input", "output", "export", "save_scores", "force")
# Options of the machine, not of the run: they are passed on to the prediction.
_MACHINE = ("device", "num_workers", "pin_memory", "cache", "cache_path")


def main(argv: Sequence[str] | None = None) -> int:
    """Train, predict and pack; returns the exit status of the first program that fails, else 0."""
    began = time.monotonic()
    training, prediction = split_arguments(sys.argv[1:] if argv is None else argv)
    save_path, commands = check(training, prediction)
    for command in commands:
        print(f"\n$ python baseline.py {shlex.join(command)}", flush=True)
        status = run_baseline(command)
        if status:
            print("the same call continues the entry", file=sys.stderr)
            return status
    print(f"\n$ python -m tools.submit {shlex.join([save_path, '--force'])}", flush=True)
    submissions.write(submissions.Submission(save_path, force=True))  # it may exist from an earlier call
    print(f"trained, predicted and packed in {duration(time.monotonic() - began)}")
    return 0


def split_arguments(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments of baseline.py that say how to train, and those that say how to predict."""
    parser = Parser(
        prog="python -m tools.entry",
        usage="python -m tools.entry [@recipes/NAME.txt] [options of baseline.py] [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--scales", nargs="+", metavar="S", help="other scales to predict at (default: 0.5 to 2.2, 8 of them)")
    add("--no-flip", action="store_true", help="do not predict flipped images")
    add("--tile", action=Size, help="predict in windows of this size, in less memory")
    add("--overlap", metavar="F", help="of windows: below 1 a share of --tile, otherwise pixels")
    args, training = parser.parse_known_args(argv)
    names = {text.split("=")[0].removeprefix("--").removeprefix("no-") for text in training if text.startswith("--")}
    for name in _REFUSED:
        if name in names:
            raise InputError(
                f"--{name} is not for an entry, which trains and predicts the test images: use baseline.py"
            )
    prediction = ["--mst", "--split", "test"]
    prediction += ["--scales", *args.scales] if args.scales else []
    prediction += ["--no-flip"] if args.no_flip else []
    prediction += ["--tile", *map(str, args.tile)] if args.tile else []
    prediction += ["--overlap", args.overlap] if args.overlap else []
    return training, prediction


def check(training: Sequence[str], prediction: Sequence[str]) -> tuple[str, list[list[str]]]:
    """Check both steps before the first starts; returns --save_path and the arguments of baseline.py in each step."""
    if is_launched():
        raise InputError("an entry is made by one process, which uses all visible GPUs: call it without torchrun")
    train = [*training, "--resume"]
    is_overfitted, data, run = check_training(train)
    if is_overfitted:
        raise InputError(f"{run.path} holds a run of --overfit, which is no entry; name another --save_path")
    if not data.splits.get("test"):
        raise InputError(f"{data.root} has no test images to predict; train with baseline.py")
    dataset_statistics(data, "test")
    found, typed = command_line.parse(train)
    machine = [f"--{name}={found.values()[name]}" for name in _MACHINE if name in typed]
    predict = ["--save_path", found.run.save_path, "--predict", *prediction, *machine]
    command_line.parse(predict, found.stored())
    return found.run.save_path, [train, predict]


def check_training(argv: list[str]) -> tuple[bool, Dataset, RunFolder]:
    """Check the options and data of a training: whether it overfits on a few images, its data and its folder."""
    command = setup.setup_run(argv)
    return bool(command.options.run.overfit), command.dataset, command.folder


def run_baseline(argv: Sequence[str]) -> int:
    """Run baseline.py in a process of its own, which ends with all its memory; returns its exit status as a shell does."""
    command = [sys.executable, str(ROOT / "baseline.py"), *argv]
    with forwarded_signals() as add_child:
        # In a session of its own, Ctrl-C reaches it once, from here, and not from the terminal as well.
        child = subprocess.Popen(command, start_new_session=True)
        add_child(child)
        status = child.wait()
    return status if status >= 0 else 128 - status


@contextmanager
def forwarded_signals() -> Generator[Callable[[subprocess.Popen], None], None, None]:
    """Send SIGTERM and Ctrl-C on to the child process that is added; ignored signals stay ignored."""
    children: list[subprocess.Popen] = []
    early: list[int] = []  # received before the child was there

    def forward(number: int, _: object) -> None:
        if not children:
            early.append(number)
        for child in children:
            child.send_signal(number)

    def add_child(child: subprocess.Popen) -> None:
        children.append(child)
        for number in early:
            child.send_signal(number)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, forward)
    try:
        yield add_child
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(exit_status("tools.entry", main, None))
