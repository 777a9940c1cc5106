"""Predict with several runs together: `python -m tools.ensemble RUN RUN ...`.

soft: each run predicts class probabilities (softmax of the mean logits) at its own test size; they are brought to the common
size, the largest height and the largest width of these sizes, and averaged there; the mean is enlarged to the source
image, where the class with the most is taken. Models, norms and sizes may differ. hard: a majority vote, pixel by pixel, over
predictions that are there (RUN/results_SPLIT, or folders of label-id PNGs); of classes with equally many votes the one
wins whose voter is named first. All resizing is bilinear.

Writes OUTPUT/results_SPLIT (label ids), OUTPUT/results_color_SPLIT, and OUTPUT/options.json, by which evaluate.py finds the data.
"""

import argparse
import shlex
import sys
import time
from pathlib import Path

from helpers import run_folder
from helpers.errors import InputError, exit_status
from helpers.output import replacing_folders
from helpers.parsing import Parser
from helpers.progress import duration, progress_bar
from learning.data.datasets import DATASETS
from learning.inference.write import write_predictions
from tools import runs, votes

PROGRAM = "tools.ensemble"


def main(argv=None):
    """Predict a split with the runs named on the command line.

    Raises:
        InputError: wrong options, runs that cannot vote together, missing or unreadable files, an output folder of others.
    """
    args = parse(argv)
    weights = runs.vote_weights(args.mix, args.runs)
    output = Path(args.output)
    runs.refuse_foreign(output, PROGRAM, args.force)
    prepare = soft_vote if args.vote == "soft" else hard_vote
    data, found_by, voters, predictions = prepare(args, weights)
    samples, began = data.split(args.split), time.monotonic()
    write_about(output, found_by, args, None)  # a kill may leave the folder ours, but no wrong word on its results
    folders = [run_folder.RunFolder(output).results(args.split, color) for color in (False, True)]
    bar, _ = progress_bar(len(samples), f"{args.vote} vote {args.split}")
    with bar, replacing_folders(*folders) as (ids, colors):
        write_predictions(zip(samples, predictions, strict=True), data.labels, ids, colors, bar.update)
    write_about(output, found_by, args, voters)
    seconds = time.monotonic() - began
    print(
        f"{len(samples)} {args.split} images by the {args.vote} vote of {len(voters)} in {duration(seconds)} "
        f"({len(samples) / seconds:.1f} images/s): {folders[0]}, in color: {folders[1]}"
    )
    if any(sample.label for sample in samples):
        print(f"score them with: python evaluate.py --results {shlex.quote(str(folders[0]))}")


def parse(argv):
    """Options of the command line.

    Raises:
        InputError: unknown options, or those that cannot go together.
    """
    parser = Parser(
        prog="python -m tools.ensemble", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="run folders; for soft also checkpoints, for hard also folders of PNGs")
    add("--vote", choices=("soft", "hard"), default="soft", help="what is put together (default: %(default)s)")
    add("--mix", type=float, nargs="+", metavar="W", help="weight of each run, in any unit (default: all the same)")
    add("--split", choices=("val", "test"), default="val", help="what is predicted (default: %(default)s)")
    add("--mst", action="store_true", help="soft: 8 scales, each with its mirror image (default: single scale)")
    add("--output", default="./ensemble", metavar="FOLDER", help="where the results go (default: %(default)s)")
    add("--dataset", choices=tuple(DATASETS), help="data set format (default: the runs')")
    add("--dataset_path", metavar="FOLDER", help="its folder (default: the runs')")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add("--force", action="store_true", help="write into a folder that this program did not make")
    args = parser.parse_args(argv)
    if args.mst and args.vote == "hard":
        raise InputError("--mst is for soft votes: a hard vote counts the predictions that are there")
    return args


def soft_vote(args, weights):
    """The mean of probabilities.

    Returns:
        (Dataset, dict, list of dict, iterator): data set, the options that find it, what is known of each voter, and
        uint8 (H, W) of train ids for each image of the split.
    """
    sources = [runs.open_source(word) for word in args.runs]
    typed = {"dataset": args.dataset} if args.dataset else {}
    stored = {str(source.weights): source.options | typed for source in sources}
    data, found_by = runs.open_shared_data(stored, args.split, args.dataset_path)
    from learning.inference import ensemble  # and torch

    predictors, scales = runs.load(sources, data, args.device), runs.scales(args.mst)
    shares = [weight / sum(weights) for weight in weights]
    paths = [sample.image for sample in data.split(args.split)]
    voters = [runs.describe(source) | {"weight": weight} for source, weight in zip(sources, weights, strict=True)]
    found = ensemble.predict(predictors, paths, shares, scales, flip=args.mst)
    return data, found_by, voters, (classes for classes, _ in found)


def hard_vote(args, weights):
    """The majority of predictions that are there; arguments and result as for `soft_vote`.

    A label id that is no class is a vote for void.
    """
    from learning.data.predictions import find_predictions

    folders = [runs.find_results(word, args.split) for word in args.runs]
    typed = {"dataset": args.dataset} if args.dataset else {}
    stored = {str(folder): run_folder.read_options(folder.parent / "options.json") for folder in folders}
    # A folder that lies anywhere says nothing of the data; it is judged by its files alone.
    known = {folder: options | typed for folder, options in stored.items() if options} or {str(folders[0]): typed}
    data, found_by = runs.open_shared_data(known, args.split, args.dataset_path)
    samples = data.split(args.split)
    files = [find_predictions(folder, samples) for folder in folders]
    voters = [{"results": str(folder), "weight": weight} for folder, weight in zip(folders, weights, strict=True)]

    train_ids = data.labels.decoder("ids", "train_ids")[0]

    def vote():
        for sample, *paths in zip(samples, *files, strict=True):
            choices = [train_ids[runs.read_prediction(path, sample, data.labels)] for path in paths]
            yield votes.majority(choices, weights)

    return data, found_by, voters, vote()


def write_about(output, found_by, args, voters):
    """Make the folder and write its options.json: the data set, and for each split who voted how.

    Args:
        found_by: dict, the options that find the data set.
        voters: list of dict, those of --split; None forgets the former ones.

    Raises:
        InputError: the folder holds votes on other data.
    """
    path = output / "options.json"
    about = run_folder.read_options_file(path)
    made = about.get("votes", {}) if about.get("made by") == PROGRAM else {}
    if made and about["options"] != found_by:
        raise InputError(f"--output {output} holds votes on {about['options']}; name another folder")
    made.pop(args.split, None)
    if voters:
        made[args.split] = {"vote": args.vote, "mst": args.mst, "voters": voters}
    output.mkdir(parents=True, exist_ok=True)
    run_folder.write_options(path, found_by, {"made by": PROGRAM, "votes": made, "commit": run_folder.source_commit()})


if __name__ == "__main__":
    sys.exit(exit_status("tools.ensemble", main, None))
