"""Average the weights of checkpoints of one architecture into a new run: `python -m tools.average RUN_OR_CHECKPOINT ...`.

The mean of weights that lie far apart, such as those of runs from different seeds, is usually worse than each of them. The
mean of checkpoints of one run, or of runs that started from the same weights, may be better. The running statistics of norms
are estimated anew from batches of training images, because the means of the old ones do not fit the averaged weights.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import options
from helpers.errors import InputError, exit_status
from helpers.parsing import Parser
from helpers.run_folder import RunFolder
from learning.data.datasets import splits
from learning.data.datasets.statistics import dataset_statistics
from learning.run import command_line
from learning.run.setup import Setup
from tools import runs

PROGRAM = "tools.average"


@dataclass(frozen=True)
class Options:
    """Options of the command line."""

    runs: list[str]
    output: str
    batches: int
    device: str
    num_workers: int
    force: bool


def main(argv: Sequence[str] | None = None) -> None:
    """Write the average of the checkpoints named on the command line as a run folder."""
    asked = parse(argv)
    sources = [runs.open_source(argument) for argument in asked.runs]
    runs.refuse_differences(sources, options.ARCHITECTURE)
    run = RunFolder(Path(asked.output))
    with runs.claim_run_folder(run.path, PROGRAM, asked.force):
        make_run(run, sources, asked)


def make_run(run: RunFolder, sources: Sequence[runs.Source], asked: Options) -> None:
    """Average the checkpoints, and write the new run."""
    stored = run_options(sources, asked)

    from learning.run.build import Run, build_run
    from tools import average_weights

    def build() -> Run:
        data = runs.open_training_data(sources[0])
        statistics = {split: dataset_statistics(data, split) for split in ("train", "val")}
        return build_run(Setup(stored, frozenset(), data, statistics, run))

    batch_size = stored.training.batch_size
    model, num_batches = average_weights.average(sources, build, batch_size, asked.batches)
    print_differences(sources)
    average_weights.write_run(run, model, sources, stored.stored(), num_batches, PROGRAM)


def parse(argv: Sequence[str] | None) -> Options:
    """Options of the command line."""
    parser = Parser(
        prog="python -m tools.average", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN_OR_CHECKPOINT", help="run folders (their best weights) or checkpoints in them")
    add("--output", required=True, metavar="FOLDER", help="the new run folder")
    add(
        "--batches",
        type=int,
        default=100,
        metavar="N",
        help="training batches of the first run for the statistics; 0 keeps the means of the old (default: %(default)s)",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add("--num_workers", type=int, default=8, metavar="N", help="loader processes (default: %(default)s)")
    add("--force", action="store_true", help="write into a folder that this program did not make")
    asked = Options(**vars(parser.parse_args(argv)))
    if asked.batches < 0:
        raise InputError(f"--batches {asked.batches}: expected 0 or more")
    return asked


def run_options(sources: Sequence[runs.Source], asked: Options) -> options.Options:
    """Options of the new run: the first run's, but for the division of the images."""
    argv = ["--device", asked.device, "--num_workers", str(asked.num_workers)]
    stored, _ = command_line.parse(argv, sources[0].options)
    train_on, holdout = division(sources)
    return stored.replaced(save_path=asked.output, train_on=train_on, holdout=holdout)


def division(sources: Sequence[runs.Source]) -> tuple[str, str | None]:
    """--train_on and --holdout with which validation shows, where possible, no image that a run was trained on."""
    found = splits.train_val_choices(source.options for source in sources)
    if len(found) == 1:
        ((train_on, holdout),) = found
        return str(train_on), holdout if isinstance(holdout, str) else None
    trains_on_val = any(train_on == "trainval" for train_on, _ in found)
    return ("trainval" if trains_on_val else "train"), None


def print_differences(sources: Sequence[runs.Source]) -> None:
    """Print which options of the runs differ: those of the first are kept."""
    first, *others = sources
    compared = set(first.options) - set(options.PER_COMMAND)
    names = {name for source in others for name in compared if source.option(name) != first.option(name)}
    for line in splits.split_warnings({str(source.weights): source.options for source in sources}):
        print(line)
    if names:
        print(f"the runs differ in {', '.join(f'--{name}' for name in sorted(names))}; the new run has the first's")
    if "seed" in names:
        print("note: runs of different seeds start from different weights; their mean is usually worse than each")


if __name__ == "__main__":
    sys.exit(exit_status("tools.average", main, None))
