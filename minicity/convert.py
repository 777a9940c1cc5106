"""Arrange the official Cityscapes download as MiniCity: 200 training, 100 validation and 200 test images.

The split is the one that the VIPriors challenge published (split.json): its training and validation images are Cityscapes
training images, its test images Cityscapes validation images under a number, without labels. Nothing is written unless every
file is there.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from helpers.errors import InputError, exit_status
from helpers.images import read_size
from helpers.parsing import Parser
from minicity.layout import (
    IMAGE,
    IMAGES,
    LABELS,
    command_options,
    new_data_set,
    paths,
    refuse_existing,
)

_DOWNLOADS = {IMAGES: "leftImg8bit_trainvaltest.zip", LABELS: "gtFine_trainvaltest.zip"}


class Item(NamedTuple):
    """One image to arrange: `sources` are its image and, unless it is for testing, its label ids and instance ids;
    `targets` are the same files' places below the data set's folder."""

    sources: tuple
    targets: tuple


def main(argv=None):
    """Arrange the data set that the words of `argv` name.

    Raises:
        InputError: a missing or damaged file, sizes that differ, or an output folder that is taken.
    """
    options = _parse(argv)
    refuse_existing(options.output)
    items = plan(read_split(), options.cityscapes)
    _check_folders(Path(options.cityscapes))
    _check_files(items)
    with new_data_set(options.output) as folder:
        num_links = sum(
            _arrange(item, folder, options.copy) for item in tqdm(items, desc="arranging", unit="image", disable=None)
        )
    how = "copied" if num_links == 0 else "hard links" if num_links == len(items) else "hard links and copies"
    print(
        f"{len(items)} images ({how}) are in {options.output}; "
        f"next: python baseline.py{command_options(options.output)}"
    )


def _parse(argv):
    parser = Parser(
        prog="python -m minicity.prepare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cityscapes", metavar="CITYSCAPES_DIR", help=f"folder that holds {IMAGES} and {LABELS}")
    parser.add_argument("--output", default="./minicity", help="folder of the new data set (default: %(default)s)")
    parser.add_argument(
        "--copy",
        action="store_true",
        help="copy the files; otherwise they are hard links where the file system can (no space, but an edit changes both)",
    )
    return parser.parse_args(argv)


def read_split():
    """The published split.

    Returns:
        dict: "train" and "val" are lists of Cityscapes names (CITY_SEQUENCE_FRAME), "test" is a dict from such a name to
        the number that the challenge gave it.
    """
    return json.loads(Path(__file__).with_name("split.json").read_text(encoding="utf-8"))


def plan(split, cityscapes):
    """What goes where.

    Args:
        split: as from `read_split`.
        cityscapes: folder of the official download, with a folder a city.

    Returns:
        list of Item
    """
    items = []
    for name in ("train", "val"):
        for image in split[name]:
            items.append(Item(_official(cityscapes, "train", image), paths("", name, image)))
    for image, number in split["test"].items():
        target = Path(IMAGES, "test", f"{number}{IMAGE}")
        items.append(Item(_official(cityscapes, "val", image)[:1], (target,)))
    return items


def _official(cityscapes, split, name):
    return paths(cityscapes, f"{split}/{name.split('_')[0]}", name)


def _check_folders(cityscapes):
    for name, download in _DOWNLOADS.items():
        if not (cityscapes / name).is_dir():
            raise InputError(
                f"{cityscapes / name} is missing: unpack {download} from cityscapes-dataset.com there, "
                f"or name the folder that holds {IMAGES} and {LABELS}"
            )


def _check_files(items):
    """Every file must exist, and label maps must have their image's size; only headers are read."""
    sources = [source for item in items for source in item.sources]
    missing = [source for source in sources if not source.is_file()]
    if missing:
        parts = dict.fromkeys(_DOWNLOADS[LABELS if "_gtFine_" in source.name else IMAGES] for source in missing)
        raise InputError(
            f"{missing[0]} is missing, {len(missing)} of {len(sources)} files in all; unpack {' and '.join(parts)} again"
        )
    for item in tqdm(items, desc="checking", unit="image", disable=None):
        image, *maps = item.sources
        size = read_size(image)
        for path in maps:
            if (found := read_size(path)) != size:
                raise InputError(
                    f"{image} is {size[0]}x{size[1]} but {path} is {found[0]}x{found[1]}; unpack the downloads again"
                )


def _arrange(item, folder, copy):
    """Put the files of one image below `folder`; returns whether all of them became hard links."""
    linked = True
    for source, target in zip(item.sources, item.targets, strict=True):
        target = folder / target
        target.parent.mkdir(parents=True, exist_ok=True)
        linked &= not copy and _link(source, target)
        if not target.exists():
            shutil.copyfile(source, target)
    return linked


def _link(source, target):
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one that knows no hard links
        return False
    return True


if __name__ == "__main__":
    sys.exit(exit_status("python -m minicity.prepare", main, None))
