"""Explore a data set before training: how often each class occurs, and samples of images and labels.

Prints a table for each labeled split and writes class_distribution.png, samples.png and classes.csv.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers.errors import InputError, exit_status
from helpers.output import claim, writing
from helpers.parsing import Parser
from learning.data.datasets import DATASETS, open_dataset
from learning.data.datasets.base import Dataset
from minicity.class_counts import count_split, format_table, write_csv


def main(argv: Sequence[str] | None = None) -> None:
    """Explore the data set.

    Raises:
        InputError: no such data set, broken files, or an output folder that cannot be written to.
    """
    options = _parse(argv)
    dataset = open_dataset(options.dataset, options.dataset_path or f"./{options.dataset}")
    output = Path(options.output or dataset.root / "explore")
    splits = [name for name, samples in dataset.splits.items() if samples[0].label]
    if not splits:
        raise InputError(f"{dataset.root} has no labels to explore")
    with claim(output, "--output", is_folder=True):
        _explore(dataset, splits, output)


def _explore(dataset: Dataset, splits: Sequence[str], output: Path) -> None:
    from minicity import explore_plots  # matplotlib, only after everything is checked

    counts = {split: count_split(dataset, split) for split in splits}
    for split in splits:
        print(format_table(dataset.labels, split, counts[split]), end="\n\n")
    output.mkdir(parents=True, exist_ok=True)
    with writing(output / "classes.csv") as fresh:
        write_csv(fresh, dataset.labels, counts)
    with writing(output / "class_distribution.png") as fresh:
        explore_plots.class_distribution(dataset.labels, counts).savefig(fresh)
    with writing(output / "samples.png") as fresh:
        explore_plots.sample_sheet(dataset, splits).savefig(fresh)
    print(f"class_distribution.png, samples.png and classes.csv are in {output}")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m minicity.explore", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", choices=tuple(DATASETS), default="minicity", help="format (default: %(default)s)")
    parser.add_argument("--dataset_path", help="folder of the data (default: ./ and the name)")
    parser.add_argument("--output", help="folder for the results (default: the folder explore in --dataset_path)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(exit_status("python -m minicity.explore", main, None))
