"""Write the predictions of a run as challenges want them: `python -m tools.submit RUN [--format zip|csv|rle]`.

zip: 8-bit label-id PNGs at the size of their images, flat, named as the images, for the Cityscapes server. csv: lines
"id,labels", the labels of an image row after row with spaces between them, at --size. rle: lines "id,label,pixels", one for each
image and class, "start length start length ..."; pixels count from 1, down the columns, as Kaggle counts (--row_major: along the
rows); "pixels" is empty where an image lacks the class. All hold label ids, or train ids with --train_ids.

Every image of the split must have a prediction of its size. The same predictions always give the same bytes.
"""

import argparse
import sys
from collections.abc import Sequence

from helpers.errors import InputError, exit_status
from helpers.parsing import Parser, Size
from learning.data.datasets import DATASETS
from tools.submissions import FORMATS, Submission, write


def main(argv: Sequence[str] | None = None) -> None:
    """Write the submission that the command line asks for."""
    write(parse(argv))


def parse(argv: Sequence[str] | None) -> Submission:
    """Options of the command line."""
    parser = Parser(
        prog="python -m tools.submit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="folder of a run or an ensemble, or a folder of predictions")
    add("--split", choices=("val", "test"), default="test", help="which predictions (default: %(default)s)")
    add("--format", choices=tuple(FORMATS), default="zip", help="of the file (default: %(default)s)")
    add("--size", action=Size, help="csv, rle: height and width, nearest pixels (default: those of the images)")
    add("--row_major", action="store_true", help="rle: count along the rows (default: down the columns)")
    add("--train_ids", action="store_true", help="train ids, void 255, instead of label ids")
    add("--output", metavar="FILE", help="the file (default: submission_SPLIT.zip or .csv in the run folder)")
    add("--dataset", choices=tuple(DATASETS), help="data set format (default: the run's)")
    add("--dataset_path", metavar="FOLDER", help="its folder (default: the run's)")
    add("--force", action="store_true", help="replace the file if it exists")
    submission = Submission(**vars(parser.parse_args(argv)))
    if submission.size and submission.format == "zip":
        raise InputError("--size is for csv and rle: label maps in a zip have the size of their images")
    if submission.size and min(submission.size) < 1:
        raise InputError(f"--size {submission.size[0]} {submission.size[1]}: expected 1 pixel or more")
    if submission.row_major and submission.format != "rle":
        raise InputError("--row_major is for --format rle; csv goes along the rows anyway")
    return submission


if __name__ == "__main__":
    sys.exit(exit_status("tools.submit", main, None))
