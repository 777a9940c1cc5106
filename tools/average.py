"""Average the weights of checkpoints of one architecture into a new run: `python -m tools.average RUN_OR_CHECKPOINT ...`.

Means of weights that lie far apart in training, such as those of runs from different seeds, are usually worse than each of them;
those of one run, or of runs that started from the same weights, may be better. The running statistics of norms are taken anew,
from batches of training images, for those of the parts do not fit the mean.
"""

import argparse
import shlex
import sys
from itertools import islice
from pathlib import Path

import options
from helpers import run_folder
from helpers.errors import InputError, exit_status
from helpers.parsing import Parser
from helpers.progress import progress_bar
from learning.data.datasets import splits
from tools import runs

PROGRAM = "tools.average"


def main(argv=None):
    """Write the average of the checkpoints named on the command line as a run folder.

    Raises:
        InputError: wrong options, checkpoints that do not fit together, missing or unreadable files, an output folder of others.
    """
    args = parse(argv)
    sources = [runs.open_source(word) for word in args.runs]
    runs.refuse_differences(sources, options.ARCHITECTURE)
    run = run_folder.RunFolder(Path(args.output))
    runs.refuse_foreign(run.path, PROGRAM, args.force)
    words = ["--device", args.device, "--num_workers", str(args.num_workers)]
    stored, _ = options.parse(words, sources[0].options)
    stored.save_path = args.output
    stored.train_on, stored.holdout = division(sources)

    from learning import checkpoint
    from learning.inference.predictor import Predictor
    from tools import average_weights

    model = Predictor(sources[0].weights, "cpu").model
    states = (Predictor(source.weights, "cpu").model.state_dict() for source in sources)
    model.load_state_dict(average_weights.mean_weights(states))
    number = 0
    if args.batches and average_weights.running_norms(model):
        number = reestimate(model, sources[0], stored, args.batches)
    say_differences(sources)

    run.create()
    made_of = [runs.describe(source) for source in sources]
    state = {"model_state_dict": model.state_dict(), "options": vars(stored), "average of": made_of}
    checkpoint.save(state, run.best)
    run_folder.write_options(run.options, vars(stored), circumstances(sources, made_of, number, stored.batch_size))
    statistics = f"statistics of {number} batches of {stored.batch_size}" if number else "statistics as they were"
    print(f"{run.best}: the mean of {len(sources)} checkpoints, {statistics}")
    print(f"predict with it: python baseline.py --save_path {shlex.quote(str(run.path))} --predict")


def parse(argv):
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
        help="training batches of the first run that give the statistics; 0 keeps their mean (default: %(default)s)",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add("--num_workers", type=int, default=8, metavar="N", help="loader processes (default: %(default)s)")
    add("--force", action="store_true", help="write into a folder that this program did not make")
    args = parser.parse_args(argv)
    if args.batches < 0:
        raise InputError(f"--batches {args.batches}: expected 0 or more")
    return args


def reestimate(model, source, stored, most):
    """Take the statistics of a network anew, from training batches as its run sees them, but not mixed.

    Args:
        model: on the CPU; it is changed.
        source: tools.runs.Source of the run.
        stored: Namespace of the run's options.
        most: number of batches.

    Returns:
        int: number of batches.
    """
    from learning.data.datasets.statistics import dataset_statistics
    from learning.run.build import Parts
    from tools import average_weights

    data = runs.open_training_data(source)
    parts = Parts(stored, data, {split: dataset_statistics(data, split) for split in ("train", "val")})
    parts.model.load_state_dict(model.state_dict())
    epochs = -(-most // len(parts.train_batches))
    steps = (images for epoch in range(epochs) for images, _ in parts.train_batches.epoch(epoch))
    # A step of --accumulate passes the network in parts, and statistics are those of a part.
    batches = (part for images in steps for part in images.split(stored.batch_size))
    bar, _ = progress_bar(most * stored.batch_size, "statistics")

    def counted():
        for images in islice(batches, most):
            yield images
            bar.update(len(images))

    with bar:
        number = average_weights.reestimate_statistics(parts.model, counted(), parts.precision.autocast)
    model.load_state_dict(parts.model.state_dict())
    return number


def division(sources):
    """(str, str or None): --train_on and --holdout that leave for validation, where that is possible, what no run has seen."""
    found = splits.divisions(source.options for source in sources)
    return (
        found.pop() if len(found) == 1 else (max(train_on for train_on, _ in found), None)
    )  # "trainval" is the greater word


def say_differences(sources):
    """Say which options of the runs differ, for those of the first are kept."""
    first, *others = sources
    compared = set(first.options) - set(options.PER_COMMAND)
    names = {name for source in others for name in compared if source.option(name) != first.option(name)}
    for line in splits.remarks({str(source.weights): source.options for source in sources}):
        print(line)
    if names:
        print(f"the runs differ in {', '.join(f'--{name}' for name in sorted(names))}; the new run has the first's")
    if "seed" in names:
        print("note: runs of different seeds start from different weights; their mean is usually worse than each")


def circumstances(sources, made_of, number, batch_size):
    """dict: what else explains the new run: where its weights come from."""
    external = sorted({source.about.get("external weights", "unknown") for source in sources} - {"none"})
    extra = [entry for source in sources for entry in source.about.get("extra data", [])]
    return {
        "made by": PROGRAM,
        "average of": made_of,
        "statistics": f"of {number} batches of {batch_size} training images" if number else "as they were",
        "external weights": ", ".join(external) or "none",
        "extra data": [entry for index, entry in enumerate(extra) if entry not in extra[:index]],
        "commit": run_folder.source_commit(),
    }


if __name__ == "__main__":
    sys.exit(exit_status("tools.average", main, None))
