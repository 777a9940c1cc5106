"""From a recipe to a challenge entry in one call: `python -m tools.entry @recipes/NAME.txt --dataset_path D --save_path RUN`.

Trains, predicts the test images at several scales, each mirrored as well, and packs the label-id PNGs as
RUN/submission_test.zip. All words but those below are options of baseline.py that say how to train. Called again, it goes on
where it was stopped.
"""

import argparse
import gc
import os
import shlex
import sys
import time

import baseline
import options
from helpers.errors import InputError, exit_status
from helpers.parsing import Parser, Size
from helpers.progress import duration
from learning.data.datasets.statistics import dataset_statistics
from learning.run import setup
from tools import submit

# What a training of all images that predicts them afterwards leaves no room for.
_REFUSED = ("predict", "dry_run", "replay", "weights", "overfit", "input", "output", "export", "save_scores", "force")
# Where prediction runs is no matter of the run, so it is passed on.
_MACHINE = ("device", "num_workers", "pin_memory", "cache", "cache_path")


def main(argv=None):
    """Train, predict and pack; every part is that of the program it belongs to.

    Returns:
        int: status of the first program that did not end well, 0 otherwise.

    Raises:
        InputError: wrong options or data, or data without test images.
    """
    began = time.monotonic()
    training, prediction = split_words(sys.argv[1:] if argv is None else argv)
    args, typed = check(training)
    for program, typed_as, line in programs(args, typed, training, prediction):
        print(f"\n$ python {typed_as} {shlex.join(line)}", flush=True)
        status = program.main(line)
        if status:
            print("the same line again goes on with the entry", file=sys.stderr)
            return status
        gc.collect()  # the memory of one program is for the next
    print(f"trained, predicted and packed in {duration(time.monotonic() - began)}")
    return 0


def split_words(words):
    """The words of the command line that say how to train, and those that say how to predict.

    Returns:
        (list of str, list of str)

    Raises:
        InputError: words that cannot be read, or that belong to neither.
    """
    parser = Parser(
        prog="python -m tools.entry",
        usage="python -m tools.entry [@recipes/NAME.txt] [options of baseline.py] [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--scales", nargs="+", metavar="S", help="other scales to predict at (default: 0.5 to 2.2, 8 of them)")
    add("--no-flip", action="store_true", help="no mirror images in prediction")
    add("--tile", action=Size, help="predict in windows of this size, in less memory")
    add("--overlap", metavar="F", help="of windows: below 1 a share of --tile, otherwise pixels")
    args, training = parser.parse_known_args(words)
    names = {word.split("=")[0].removeprefix("--").removeprefix("no-") for word in training if word.startswith("--")}
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


def check(training):
    """Refuse at once what would be found out only after hours of training.

    Args:
        training: list of str, options of baseline.py.

    Returns:
        (Namespace, frozenset of str): these options, and the names of those that were typed.

    Raises:
        InputError: names the option, or what the data lack.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise InputError("an entry is made by one process, which uses all GPUs it sees: call it without torchrun")
    args, data, _, run = setup.setup_run([*training, "--resume"])
    if args.overfit:
        raise InputError(f"{run.path} holds a run of --overfit, which is no entry; name another --save_path")
    if not data.splits.get("test"):
        raise InputError(f"{data.root} has no test images to predict; train with baseline.py")
    dataset_statistics(data, "test")
    return options.parse([*training, "--resume"])


def programs(args, typed, training, prediction):
    """The programs of an entry in their order.

    Args:
        args, typed: baseline.py's options, and the names of those that were typed.
        training, prediction: lists of str, their words.

    Returns:
        list of (module with a `main`, how it is called, list of str: its words).
    """
    machine = [f"--{name}={getattr(args, name)}" for name in _MACHINE if name in typed]
    predict = ["--save_path", args.save_path, "--predict", *prediction, *machine]
    options.parse(predict, vars(args))  # its mistakes now
    return [
        (baseline, "baseline.py", [*training, "--resume"]),
        (baseline, "baseline.py", predict),
        (submit, "-m tools.submit", [args.save_path, "--force"]),  # its own file of an earlier call
    ]


if __name__ == "__main__":
    sys.exit(exit_status("tools.entry", main, None))
