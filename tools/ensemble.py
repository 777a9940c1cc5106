"""Predict with several runs together: `python -m tools.ensemble RUN RUN ...`.

soft: each run predicts class probabilities (softmax of the mean logits) at its own test size. They are resized to the common
size, the largest height and the largest width of these sizes, and averaged there. The mean is upsampled to the source
image, where the most probable class is taken. Models, norms and sizes may differ. hard: a majority vote, pixel by pixel, over
existing predictions (RUN/results_SPLIT, or folders of label-id PNGs); in a tie, the class of the voter who is named first
wins. All resizing is bilinear.

Writes OUTPUT/results_SPLIT (label ids), OUTPUT/results_color_SPLIT, and OUTPUT/options.json, by which evaluate.py finds the data.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers import run_folder
from helpers.errors import InputError, exit_status
from helpers.output import replacing_folders
from helpers.parsing import Parser
from helpers.progress import duration, progress_bar
from learning.data.datasets import DATASETS
from learning.data.datasets.base import Dataset
from learning.data.predictions import find_predictions
from learning.inference.write import write_predictions
from tools import runs, votes

PROGRAM = "tools.ensemble"


@dataclass(frozen=True)
class Options:
    """Options of the command line."""

    runs: list[str]
    vote: str
    mix: list[float] | None
    split: str
    mst: bool
    output: str
    dataset: str | None
    dataset_path: str | None
    device: str
    force: bool


@dataclass(frozen=True)
class Vote:
    """A vote on the images of a split.

    Args:
        found_by: options that find the data set.
        voters: a description of each.
        predictions: uint8 (H, W) of train ids for each image, computed as they are asked for.
    """

    data: Dataset
    found_by: dict[str, Any]
    voters: list[dict[str, object]]
    predictions: Iterator[np.ndarray]


def main(argv: Sequence[str] | None = None) -> None:
    """Predict a split with the runs named on the command line."""
    options = parse(argv)
    weights = runs.vote_weights(options.mix, len(options.runs))
    output = Path(options.output)
    with runs.claim_run_folder(output, PROGRAM, options.force):
        vote = soft_vote(options, weights) if options.vote == "soft" else hard_vote(options, weights)
        write_vote(options, vote, output)


def write_vote(options: Options, vote: Vote, output: Path) -> None:
    """Predict the split by the vote, and write the results."""
    samples = vote.data.split(options.split)
    began = time.monotonic()
    write_about(
        output, vote.found_by, options.split, None
    )  # a kill must not leave results described by an earlier vote
    folders = [run_folder.RunFolder(output).results(options.split, color) for color in (False, True)]
    bar, _ = progress_bar(len(samples), f"{options.vote} vote {options.split}")
    with bar, replacing_folders(*folders) as (ids, colors):
        predictions = zip(samples, vote.predictions, strict=True)
        write_predictions(predictions, vote.data.labels, ids, colors, bar.update)
    about: dict[str, object] = {"vote": options.vote, "mst": options.mst, "voters": vote.voters}
    write_about(output, vote.found_by, options.split, about)
    seconds = time.monotonic() - began
    print(
        f"{len(samples)} {options.split} images by the {options.vote} vote of {len(vote.voters)} in "
        f"{duration(seconds)} ({len(samples) / seconds:.1f} images/s): {folders[0]}, in color: {folders[1]}"
    )
    if any(sample.label for sample in samples):
        print(f"score them with: python evaluate.py --results {shlex.quote(str(folders[0]))}")


def parse(argv: Sequence[str] | None) -> Options:
    """Options of the command line."""
    parser = Parser(
        prog="python -m tools.ensemble", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="run folders; for soft also checkpoints, for hard also folders of PNGs")
    add("--vote", choices=("soft", "hard"), default="soft", help="kind of vote (default: %(default)s)")
    add("--mix", type=float, nargs="+", metavar="W", help="weight of each run, in any unit (default: equal)")
    add("--split", choices=("val", "test"), default="val", help="images to predict (default: %(default)s)")
    add("--mst", action="store_true", help="soft: 8 scales, each also flipped horizontally (default: single scale)")
    add("--output", default="./ensemble", metavar="FOLDER", help="where the results go (default: %(default)s)")
    add("--dataset", choices=tuple(DATASETS), help="data set format (default: the runs')")
    add("--dataset_path", metavar="FOLDER", help="its folder (default: the runs')")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add("--force", action="store_true", help="write into a folder that this program did not make")
    options = Options(**vars(parser.parse_args(argv)))
    if options.mst and options.vote == "hard":
        raise InputError("--mst is for soft votes: a hard vote counts existing predictions")
    return options


def soft_vote(options: Options, weights: Sequence[int]) -> Vote:
    """Vote by the weighted mean of probabilities."""
    sources = [runs.open_source(argument) for argument in options.runs]
    typed = {"dataset": options.dataset} if options.dataset else {}
    stored = {str(source.weights): source.options | typed for source in sources}
    data, found_by = runs.open_shared_data(stored, options.split, options.dataset_path)

    from tools import predictors

    networks = predictors.load(sources, data, options.device)
    paths = [sample.image for sample in data.split(options.split)]
    predictions = (classes for classes, _ in predictors.soft_vote(networks, weights, paths, options.mst))
    return Vote(data, found_by, predictors.describe_voters(sources, weights), predictions)


def hard_vote(options: Options, weights: Sequence[int]) -> Vote:
    """Vote by the majority of existing predictions; a label id that is no class is a vote for void."""
    folders = [runs.find_results(argument, options.split) for argument in options.runs]
    typed = {"dataset": options.dataset} if options.dataset else {}
    stored = {str(folder): run_folder.read_options(folder.parent / "options.json") for folder in folders}
    # A folder without options is judged by its files alone.
    known = {folder: found | typed for folder, found in stored.items() if found} or {str(folders[0]): typed}
    data, found_by = runs.open_shared_data(known, options.split, options.dataset_path)
    samples = data.split(options.split)
    files = [find_predictions(folder, samples) for folder in folders]
    voters: list[dict[str, object]] = [
        {"results": str(folder), "weight": weight} for folder, weight in zip(folders, weights, strict=True)
    ]
    train_ids = data.labels.decoder("ids", "train_ids")[0]

    def predictions() -> Iterator[np.ndarray]:
        for sample, *paths in zip(samples, *files, strict=True):
            choices = [train_ids[runs.read_prediction(path, sample, data.labels)] for path in paths]
            yield votes.majority(choices, weights)

    return Vote(data, found_by, voters, predictions())


def write_about(output: Path, found_by: dict[str, Any], split: str, vote: dict[str, object] | None) -> None:
    """Make the folder and write its options.json: the data set, and the vote on each split.

    Args:
        found_by: options that find the data set; they must be those of the votes that the folder holds.
        vote: on this split; None removes an earlier one.
    """
    path = output / "options.json"
    about = run_folder.read_options_file(path)
    made = about.get("votes", {}) if about.get("made by") == PROGRAM else {}
    if made and about["options"] != found_by:
        raise InputError(f"--output {output} holds votes on {about['options']}; name another folder")
    made.pop(split, None)
    if vote:
        made[split] = vote
    output.mkdir(parents=True, exist_ok=True)
    run_folder.write_options(path, found_by, {"made by": PROGRAM, "votes": made, "commit": run_folder.source_commit()})


if __name__ == "__main__":
    sys.exit(exit_status("tools.ensemble", main, None))
