"""Make new training images: objects of rare classes are pasted on images that show little of these classes.

Objects are cut out of the training images, randomly scaled, rotated and flipped, and pasted near the row where they stood, on
the ground that they belong to, as `baseline.py --copypaste` does it during training. The new images and labels (and instance
maps, where the data set has them) are written in the data set's own layout, with a training split only. The folder also holds an
overview, copypaste.png, and a record, copypaste.json.
"""

import argparse
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from helpers.errors import InputError, exit_status
from helpers.output import Record, claim_folder
from helpers.parsing import Parser
from learning.data.datasets import DATASETS, open_dataset
from learning.data.datasets.base import Dataset
from learning.data.datasets.blobs import parse_rules, rule_ids
from learning.data.datasets.extra import RECORD as RECORD_NAME
from learning.data.datasets.extra import read_sources
from learning.data.datasets.splits import TRAIN_ON, select_train_and_val
from learning.data.datasets.statistics import dataset_statistics

_PROGRAM = "python -m tools.copypaste"
_RECORD = Record(_PROGRAM, RECORD_NAME, unsigned=True)


@dataclass(frozen=True)
class Options:
    """Options of the command line."""

    dataset: str
    dataset_path: str | None
    train_on: str
    holdout: str | None
    classes: list[str]
    num: int
    objects: int
    blob_rules: str | None
    seed: int
    output: str
    force: bool


def main(argv: Sequence[str] | None = None) -> None:
    """Make the images that the command line asks for."""
    options = _parse(argv)
    data = open_dataset(options.dataset, options.dataset_path or f"./{options.dataset}")
    data = _without_held_out(data, options.train_on, options.holdout)
    classes = data.labels.train_ids(dict.fromkeys(options.classes), "--classes")
    rules = data.spec.BLOB_RULES if options.blob_rules is None else parse_rules(options.blob_rules)
    rules = rule_ids(rules, data.labels)
    output = Path(options.output).resolve()
    with _claim(output, Path(data.root).resolve(), options.force):
        older = read_sources(data.root)
        found = dataset_statistics(data, "train")

        from tools.copypaste import making

        request = making.Request(classes, rules, options.num, options.objects, options.seed, older)
        making.make(data, found, request, output, _RECORD, {"options": asdict(options)})


def _parse(argv: Sequence[str] | None) -> Options:
    parser = Parser(prog=_PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--dataset", choices=tuple(DATASETS), default="minicity", help="format (default: %(default)s)")
    add("--dataset_path", metavar="FOLDER", help="folder of the data (default: ./ and the name)")
    add("--train_on", choices=TRAIN_ON, default=TRAIN_ON[0], help="as for baseline.py (default: %(default)s)")
    add("--holdout", metavar="NAME", help="as for baseline.py: held-out images are not used")
    add("--classes", nargs="+", required=True, metavar="CLASS", help="the rare classes")
    add("--num", type=int, default=50, metavar="N", help="new images per class (default: %(default)s)")
    add("--objects", type=int, default=8, metavar="N", help="paste 1 to N objects per image (default: %(default)s)")
    add("--blob_rules", metavar="RULES", help='grounds: "road: bus, train; sidewalk: wall" (default: the data set\'s)')
    add("--seed", type=int, default=0, help="of every random choice (default: %(default)s)")
    add("--output", required=True, metavar="FOLDER", help="folder of the new data set")
    add("--force", action="store_true", help="replace FOLDER if this program made it")
    options = Options(**vars(parser.parse_args(argv)))
    for name, low, high in (("num", 1, 10000), ("objects", 1, 100), ("seed", 0, 2**63 - 1)):
        if not low <= getattr(options, name) <= high:
            raise InputError(f"--{name} {getattr(options, name)}: expected {low} .. {high}")
    return options


def _without_held_out(data: Dataset, train_on: str, holdout: str | None) -> Dataset:
    """Keep the images of the training split on which a run with these options would train."""
    chosen = set(select_train_and_val(data, train_on, holdout).split("train"))
    kept = tuple(sample for sample in data.split("train") if sample in chosen)
    if not kept:
        raise InputError(f"--holdout {holdout} holds out every image of the training split; hold out less")
    return replace(data, splits={"train": kept})


@contextmanager
def _claim(output: Path, root: Path, force: bool) -> Generator[None, None, None]:
    """Refuse a folder that holds the data set or files of others, even with --force."""
    if output == root or output in root.parents:
        raise InputError(f"--output {output} holds the data set itself; name another folder")
    with claim_folder(output, "--output", _RECORD, None, whole=True):
        if output.is_dir() and any(output.iterdir()) and not force:
            raise InputError(f"--output {output} holds images of an earlier call; name another folder, or add --force")
        yield


if __name__ == "__main__":
    sys.exit(exit_status(_PROGRAM, main, None))
