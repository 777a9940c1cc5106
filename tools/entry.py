"""From a recipe to a challenge entry in one call: `python -m tools.entry @recipes/NAME.txt --dataset_path D --save_path RUN`.

Trains, predicts the test images with --mst, and packs the label-id PNGs as RUN/submission_test.zip. All words are options of
baseline.py. Called again, it goes on where it was stopped.
"""

import os
import shlex
import sys
import time

import baseline
import options
import prepare
from helpers.errors import InputError, exit_status
from helpers.runlog import duration
from tools import submit

_REFUSED = ("predict", "dry_run", "replay", "weights", "overfit", "input", "export")
_PASSED_ON = (
    "device",
    "num_workers",
    "pin_memory",
    "cache",
    "cache_path",
)  # where prediction runs is no matter of the run


def main(argv=None):
    """Train, predict and pack; every part is that of the program it belongs to.

    Returns:
        int: status of the first program that did not end well, 0 otherwise.

    Raises:
        InputError: wrong options or data, or data without test images.
    """
    began = time.monotonic()
    words = sys.argv[1:] if argv is None else list(argv)
    args, typed = check(words)
    for program, typed_as, line in programs(args, typed, words):
        print(f"\n$ python {typed_as} {shlex.join(line)}", flush=True)
        status = program.main(line)
        if status:
            return status
    print(f"trained, predicted and packed in {duration(time.monotonic() - began)}")
    return 0


def check(words):
    """Refuse at once what would be found out only after hours of training.

    Args:
        words: list of str, the command line.

    Returns:
        (Namespace, frozenset of str): baseline.py's options, and the names of those that were typed.

    Raises:
        InputError: names the option, or what the data lack.
    """
    args, typed = options.parse([*words, "--resume"])
    for name in _REFUSED:
        if getattr(args, name):
            raise InputError(f"--{name} is not for an entry, which trains and predicts: use baseline.py for it")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise InputError("an entry is made by one process, which uses all GPUs it sees: call it without torchrun")
    _, data, _, _ = prepare.prepare([*words, "--resume"])
    if not data.splits.get("test"):
        raise InputError(f"{args.dataset_path or args.dataset} has no test images to predict; train with baseline.py")
    return args, typed


def programs(args, typed, words):
    """The programs of an entry in their order.

    Args:
        args, typed: baseline.py's options, and the names of those that were typed.
        words: list of str, the command line.

    Returns:
        list of (module with a `main`, how it is called, list of str: its words).
    """
    machine = [f"--{name}={getattr(args, name)}" for name in _PASSED_ON if name in typed]
    predict = ["--save_path", args.save_path, "--predict", "--mst", *machine]
    return [
        (baseline, "baseline.py", [*words, "--resume"]),
        (baseline, "baseline.py", predict),
        (submit, "-m tools.submit", [args.save_path, "--force"]),  # its own file of an earlier call
    ]


if __name__ == "__main__":
    sys.exit(exit_status("tools.entry", main, None))
