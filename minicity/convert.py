"""Convert the official Cityscapes download to MiniCity: 200 training, 100 validation and 200 test images.

The split is the one published by the VIPriors challenge (split.json): its training and validation images are Cityscapes training
images; its test images are Cityscapes validation images, named by a number, without labels. All files are checked before
anything is written.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from tqdm import tqdm

from helpers.errors import InputError, exit_status
from helpers.images import read_size
from helpers.parsing import Parser
from minicity.layout import IMAGE, IMAGES, LABELS, command_options, new_data_set, paths, refuse_existing

_DOWNLOADS = {IMAGES: "leftImg8bit_trainvaltest.zip", LABELS: "gtFine_trainvaltest.zip"}


class Split(TypedDict):
    """The published split: Cityscapes names (CITY_SEQUENCE_FRAME), and for test images the number in the challenge."""

    train: list[str]
    val: list[str]
    test: dict[str, str]


class Item(NamedTuple):
    """The files of one image: the image and, unless it is a test image, its label ids and instance ids.

    `targets` are relative to the folder of the data set.
    """

    sources: tuple[Path, ...]
    targets: tuple[Path, ...]


def main(argv: Sequence[str] | None = None) -> None:
    """Convert the data set.

    Raises:
        InputError: a missing or damaged file, different sizes, or an output folder that already has a data set.
    """
    options = _parse(argv)
    cityscapes = Path(options.cityscapes)
    output = Path(options.output)
    refuse_existing(output)
    items = plan(read_split(), cityscapes)
    _check_folders(cityscapes)
    _check_files(items)
    with new_data_set(output) as folder:
        bar = tqdm(items, desc="converting", unit="image", disable=None)
        num_linked = sum(_link_or_copy(item, folder, options.copy) for item in bar)
    how = {0: "copied", len(items): "hard links"}.get(num_linked, "hard links and copies")
    print(
        f"{len(items)} images ({how}) are in {output}; next, to see how long a run takes: "
        f"python baseline.py{command_options(output)} --dry_run"
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m minicity.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cityscapes", metavar="CITYSCAPES_DIR", help=f"folder that contains {IMAGES} and {LABELS}")
    parser.add_argument("--output", default="./minicity", help="folder of the new data set (default: %(default)s)")
    parser.add_argument(
        "--copy",
        action="store_true",
        help="copy the files; by default they are hard links where possible, which take no space but share later edits",
    )
    return parser.parse_args(argv)


def read_split() -> Split:
    """Read the published split from split.json."""
    return json.loads(Path(__file__).with_name("split.json").read_text(encoding="utf-8"))


def plan(split: Split, cityscapes: Path) -> list[Item]:
    """Source and target files of every image; `cityscapes` is the official download, with a folder per city."""
    items = []
    for name, images in (("train", split["train"]), ("val", split["val"])):
        items += [Item(_official_paths(cityscapes, "train", image), paths("", name, image)) for image in images]
    for image, number in split["test"].items():
        target = Path(IMAGES, "test", f"{number}{IMAGE}")
        items.append(Item(_official_paths(cityscapes, "val", image)[:1], (target,)))
    return items


def _official_paths(cityscapes: Path, split: str, name: str) -> tuple[Path, Path, Path]:
    city = name.split("_")[0]
    return paths(cityscapes, f"{split}/{city}", name)


def _check_folders(cityscapes: Path) -> None:
    for name, download in _DOWNLOADS.items():
        if not (cityscapes / name).is_dir():
            raise InputError(
                f"{cityscapes / name} is missing: unpack {download} from cityscapes-dataset.com there, "
                f"or name the folder that contains {IMAGES} and {LABELS}"
            )


def _check_files(items: Sequence[Item]) -> None:
    """Check that every file exists and that label maps have the size of their image; reads headers only."""
    sources = [source for item in items for source in item.sources]
    missing = [source for source in sources if not source.is_file()]
    if missing:
        kinds = [LABELS if "_gtFine_" in source.name else IMAGES for source in missing]
        downloads = [_DOWNLOADS[kind] for kind in dict.fromkeys(kinds)]
        raise InputError(
            f"{missing[0]} is missing, {len(missing)} of {len(sources)} files in total; "
            f"unpack {' and '.join(downloads)} again"
        )
    for item in tqdm(items, desc="checking", unit="image", disable=None):
        image, *maps = item.sources
        size = read_size(image)
        for path in maps:
            found = read_size(path)
            if found != size:
                raise InputError(
                    f"{image} is {size[0]}x{size[1]} but {path} is {found[0]}x{found[1]}; unpack the downloads again"
                )


def _link_or_copy(item: Item, folder: Path, copy: bool) -> bool:
    """Create the files of one image below `folder`; returns whether all of them became hard links."""
    linked = True
    for source, target in zip(item.sources, item.targets, strict=True):
        target = folder / target
        target.parent.mkdir(parents=True, exist_ok=True)
        if copy or not _link(source, target):
            shutil.copyfile(source, target)
            linked = False
    return linked


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        return False
    return True


if __name__ == "__main__":
    sys.exit(exit_status("python -m minicity.convert", main, None))
