"""Write the predictions of a run as challenges want them: `python -m tools.submit RUN [--format zip|csv|rle]`.

zip: label-id PNGs of 8 bits at the size of their images, flat, named as the images, for the Cityscapes server. csv: lines
"id,labels", the labels of an image row after row with spaces between them, at --size. rle: lines "id,label,pixels", one for each
image and class, "start length start length ..."; pixels count from 1, down the columns, as Kaggle counts (--row_major: along the
rows); no numbers where an image lacks the class. All hold label ids, or train ids with --train_ids.

Every image of the split must have a prediction of its size. The same predictions always give the same bytes.
"""

import argparse
import csv
import os
import sys
import time
import zipfile
from pathlib import Path

from helpers import run_folder, submissions
from helpers.errors import InputError, exit_status
from helpers.nearest import resize_nearest
from helpers.parsing import Parser, Size
from learning.data.datasets import DATASETS
from learning.data.predictions import find_predictions
from tools import runs


def main(argv=None):
    """Write the submission that the words of the command line ask for.

    Raises:
        InputError: wrong options, missing or unfit predictions, an output that exists.
    """
    args = parse(argv)
    folder = runs.find_results(args.run, args.split)
    path = folder.parent / "options.json"
    stored = run_folder.read_options(path) | ({"dataset": args.dataset} if args.dataset else {})
    data = runs.open_data(stored, path, args.dataset_path)
    samples = data.split(args.split)
    files = find_predictions(folder, samples)
    ending = {"zip": ".zip", "csv": ".csv", "rle": "_rle.csv"}[args.format]
    output = Path(args.output) if args.output else folder.parent / f"submission_{args.split}{ending}"
    if output.is_dir() or (output.exists() and not args.force):
        raise InputError(f"{output} exists; name another --output, or replace a file with --force")
    if not output.parent.is_dir():
        raise InputError(f"--output {output}: there is no folder {output.parent}")

    values = data.labels.decoder("ids", "train_ids" if args.train_ids else "ids")[0]
    bar, _ = run_folder.progress_bar(len(samples), f"writing {args.format}")

    def labels():
        for sample, path in zip(samples, files, strict=True):
            label = values[runs.read_prediction(path, sample, data.labels)]
            yield sample, label if args.size is None else resize_nearest(label, args.size)
            bar.update()

    began, temporary = time.monotonic(), output.with_name(f".{output.name}.tmp")
    try:
        with bar:
            WRITERS[args.format](temporary, labels(), data.labels, args)
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    speed = len(samples) / (time.monotonic() - began)
    megabytes = output.stat().st_size / 1e6
    print(f"{output}: {len(samples)} {args.split} images of {folder}, {megabytes:.1f} MB ({speed:.1f} images/s)")


def parse(argv):
    """Options of the command line.

    Raises:
        InputError: unknown options, or those that cannot go together.
    """
    parser = Parser(
        prog="python -m tools.submit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="folder of a run or an ensemble, or a folder of predictions")
    add("--split", choices=("val", "test"), default="test", help="which predictions (default: %(default)s)")
    add("--format", choices=tuple(WRITERS), default="zip", help="what is written (default: %(default)s)")
    add("--size", action=Size, help="csv, rle: height and width, nearest pixels (default: the images')")
    add("--row_major", action="store_true", help="rle: count along the rows (default: down the columns)")
    add("--train_ids", action="store_true", help="train ids, void 255, instead of label ids")
    add("--output", metavar="FILE", help="the file (default: submission_SPLIT.zip or .csv in the run folder)")
    add("--dataset", choices=tuple(DATASETS), help="data set format (default: the run's)")
    add("--dataset_path", metavar="FOLDER", help="its folder (default: the run's)")
    add("--force", action="store_true", help="replace the file if it exists")
    args = parser.parse_args(argv)
    if args.size and args.format == "zip":
        raise InputError("--size is for csv and rle: label maps in a zip have the size of their images")
    if args.size and min(args.size) < 1:
        raise InputError(f"--size {args.size[0]} {args.size[1]}: expected 1 pixel or more")
    if args.row_major and args.format != "rle":
        raise InputError("--row_major is for --format rle; csv goes along the rows anyway")
    return args


def write_zip(path, labels, table, args):
    """Label maps as PNGs; arguments as for all `WRITERS`.

    Args:
        path: Path of the file.
        labels: iterable of (Sample, uint8 (H, W)).
        table: helpers.labels.LabelTable.
        args: the options.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for sample, label in labels:
            submissions.add_to_zip(archive, f"{sample.name}.png", label)


def write_csv(path, labels, table, args):
    """A line an image: its name, and all labels, row after row."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("id", "labels"))
        rows.writerows((sample.name, " ".join(map(str, label.ravel().tolist()))) for sample, label in labels)


def write_rle(path, labels, table, args):
    """A line for each image and class: names, the class's label, and its run lengths."""
    numbers = [row.train_id if args.train_ids else row.id for row in table.classes]
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("id", "label", "pixels"))
        for sample, label in labels:
            rows.writerows(
                (sample.name, number, submissions.run_lengths(label == number, args.row_major)) for number in numbers
            )


WRITERS = {"zip": write_zip, "csv": write_csv, "rle": write_rle}

if __name__ == "__main__":
    sys.exit(exit_status("tools.submit", main, None))
