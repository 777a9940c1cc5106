"""Label images with runs, to train on: `python -m tools.pseudo_label RUN [RUN ...] --input FOLDER --output FOLDER`.

Every image directly in the input folders is predicted; several runs vote as in tools.ensemble's soft vote. A pixel whose
confidence, the probability of its class, is below --confidence becomes void. With --per_class P the threshold of a
class is the confidence of the most confident share P of its pixels, and at most --confidence. This keeps pixels of rare classes,
whose confidence is mostly low (class-balanced self-training, Zou et al., ECCV 2018). Confidences are rounded to
1/50000. Images without a confident pixel are left out.

The output has the data set's own format, so `baseline.py --extra_data FOLDER` trains on it; the images are hard links where the
file system has them. pseudo_labels.json says which weights made the labels, and in which round of self-training.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import InputError, exit_status
from helpers.images import list_images
from helpers.output import Record, claim_folder, replacing_folders
from helpers.parsing import Parser
from learning.data.datasets.base import Dataset
from learning.data.datasets.extra import PROVENANCE
from tools import runs
from tools.pseudo_label import confidence, labels

PROGRAM = "tools.pseudo_label"
RECORD = Record(PROGRAM, PROVENANCE)


@dataclass(frozen=True)
class Options:
    """Options of the command line."""

    runs: list[str]
    input: list[str]
    output: str
    confidence: float
    per_class: float | None
    mix: list[float] | None
    mst: bool
    dataset_path: str | None
    device: str
    force: bool


def main(argv: Sequence[str] | None = None) -> None:
    """Label the images of the folders named on the command line."""
    options = parse(argv)
    sources = [runs.open_source(argument) for argument in options.runs]
    images = find_images(options.input)
    output = Path(options.output)
    with claim_folder(output, "--output", RECORD, options.force, whole=True):
        refuse_inside(images, output)
        label(options, sources, images, output)


def label(options: Options, sources: Sequence[runs.Source], images: Sequence[Path], output: Path) -> None:
    """Predict the images by a vote of the runs, and write their labels."""
    weights = runs.vote_weights(options.mix, len(options.runs))
    data = open_data(sources, options.dataset_path)
    began = time.monotonic()

    from tools import predictors

    networks = predictors.load(sources, data, options.device)
    voters = predictors.describe_voters(sources, weights)
    with replacing_folders(output, record=RECORD) as (fresh,):
        predictions = predictors.soft_vote(networks, weights, images, options.mst)
        made = labels.make(predictions, images, data, labels.Thresholds(options.confidence, options.per_class), fresh)
        if not made.num_kept:
            raise InputError(f"no pixel of {len(images)} images is confident enough; lower --confidence")
        about = {
            "round": next_round(sources),
            "dataset": data.name,
            "runs": voters,
            "input": [os.path.abspath(folder) for folder in options.input],
            "confidence": options.confidence,
            "per_class": options.per_class,
            "mst": options.mst,
            "images": made.num_kept,
            "images left out": len(images) - made.num_kept,
            "classes": made.summary,
        }
        files = (path.relative_to(fresh).as_posix() for path in fresh.rglob("*") if path.is_file())
        RECORD.write(fresh, sorted(files), about)
    print(confidence.table(made.summary))
    print(
        f"{made.num_kept} of {len(images)} images labelled in round {about['round']} "
        f"({len(images) / (time.monotonic() - began):.1f} images/s): {output}"
    )
    print(f"train on them with: python baseline.py --extra_data {shlex.quote(str(output))} ...")
    print("note: a challenge may forbid pseudo labels and additional data: read its rules before you train on these")


def parse(argv: Sequence[str] | None) -> Options:
    """Options of the command line."""
    parser = Parser(
        prog="python -m tools.pseudo_label", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="run folders (their best weights) or checkpoints in them")
    add("--input", nargs="+", required=True, metavar="FOLDER", help="folders of images, PNG or JPEG")
    add("--output", required=True, metavar="FOLDER", help="the new folder, in the data set's format")
    add("--confidence", type=float, default=0.9, metavar="C", help="lowest confidence to keep (default: %(default)s)")
    add(
        "--per_class",
        type=float,
        nargs="?",
        const=0.2,
        metavar="P",
        help="a threshold for each class, which keeps its most confident share P (default: off; 0.2 without a number)",
    )
    add("--mix", type=float, nargs="+", metavar="W", help="weight of each run, in any unit (default: equal)")
    add("--mst", action="store_true", help="8 scales, each also flipped horizontally (default: single scale)")
    add("--dataset_path", metavar="FOLDER", help="the runs' data set, if it has moved")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add("--force", action="store_true", help="write into a folder that holds files of others, which stay")
    options = Options(**vars(parser.parse_args(argv)))
    for name in ("confidence", "per_class"):
        value = getattr(options, name)
        if value is not None and not 0 < value <= 1:
            raise InputError(f"--{name} {value}: expected a number above 0, up to 1")
    return options


def find_images(folders: Sequence[str]) -> list[Path]:
    """The images directly in the folders; their names must differ."""
    found: dict[str, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"--input {folder}: there is no such folder")
        for path in list_images(folder):
            if path.stem in found:
                raise InputError(f"{found[path.stem]} and {path} have the same name; rename or remove one")
            found[path.stem] = path
    if not found:
        raise InputError(f"--input {' '.join(folders)}: no PNG or JPEG files directly in there")
    return list(found.values())


def refuse_inside(images: Iterable[Path], output: Path) -> None:
    """Refuse images in the folder that is replaced: the output's symbolic links to them would break."""
    for path in images:
        if path.resolve().is_relative_to(output.resolve()):
            raise InputError(f"--input {path} lies in --output {output}, which is replaced; name another folder")


def open_data(sources: Sequence[runs.Source], path: str | None) -> Dataset:
    """The data set of the runs, which must all have the same classes."""
    runs.refuse_differences(sources, ("dataset",))
    return runs.open_data(sources[0].options, sources[0].weights, path)


def next_round(sources: Iterable[runs.Source]) -> int:
    """1 + the highest round of the pseudo labels that the runs were trained on."""
    extra = [entry for source in sources for entry in source.about.get("extra data", [])]
    return 1 + max((entry["round"] for entry in extra), default=0)


if __name__ == "__main__":
    sys.exit(exit_status("tools.pseudo_label", main, None))
