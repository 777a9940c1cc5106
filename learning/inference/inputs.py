"""The user's own images: which ones --input names, and the names of their results, without collisions."""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import InputError
from helpers.images import PICTURE_SUFFIXES, read_size
from helpers.output import Record
from learning.data.datasets.base import same_name

INPUT_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
RECORD = Record("baseline.py --predict --input", "predictions.json")  # lists each result with its image
RESULT_ENDINGS = (".png", "_color.png", "_overlay.png")  # label ids, colors, colors over the image


@dataclass(frozen=True)
class InputImage:
    """An image to predict.

    Args:
        name: stem of its result files, unique among the images.
        path: of the image file.
        size: (height, width) after rotation by its EXIF orientation.
    """

    name: str
    path: Path
    size: tuple[int, int]


def find_images(arguments: Iterable[str]) -> list[InputImage]:
    """The images that files, folders and glob patterns name, in this order; those of a folder or pattern are sorted.

    A folder stands for all images in it and its subfolders, except hidden ones and results listed in a `RECORD` beside them. In
    a pattern, such as "photos/*.jpg", `**` matches any subfolders. Images named twice are used once.

    Raises:
        InputError: an argument matches nothing, a folder without images, a file that cannot be read.
    """
    paths = list(dict.fromkeys(Path(path) for argument in arguments for path in _expand(argument)))
    return [InputImage(name, path, read_size(path)) for name, path in zip(unique_names(paths), paths, strict=True)]


def _expand(argument: str) -> list[Path]:
    if os.path.isfile(argument):
        return [Path(argument)]
    matches = [argument] if os.path.isdir(argument) else sorted(glob.glob(argument, recursive=True))
    if not matches:
        raise InputError(f"--input {argument}: there is no such file or folder, and no file matches it as a pattern")
    found: list[Path] = []
    for match in matches:
        found += [Path(match)] if os.path.isfile(match) else _images_inside(match)
    if not found:
        raise InputError(f"--input {argument}: there is no image in this folder ({' '.join(INPUT_SUFFIXES)})")
    return found


def _images_inside(folder: str) -> list[Path]:
    found = []
    results = set()
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        results |= {Path(place, name) for name in RECORD.files(Path(place)) or ()}
        found += [Path(place, name) for name in files if name.lower().endswith(INPUT_SUFFIXES) and name[0] != "."]
    return sorted(path for path in found if path not in results)


def skipped_line(arguments: Iterable[str]) -> str | None:
    """How many pictures in the folders of --input are not read because of their format; None if all are."""
    folders = {match for argument in arguments for match in (argument, *glob.glob(argument, recursive=True))}
    skipped = {
        os.path.realpath(os.path.join(place, name))
        for folder in folders
        for place, _, names in os.walk(folder)
        for name in names
        if name[0] != "." and name.lower().endswith(PICTURE_SUFFIXES) and not name.lower().endswith(INPUT_SUFFIXES)
    }
    if not skipped:
        return None
    kinds = Counter(os.path.splitext(path)[1].lower() for path in skipped).most_common()
    listed = ", ".join(f"{number} {suffix}" for suffix, number in kinds)
    return f"note: {len(skipped)} files of --input are not read ({listed}); convert them to one of {' '.join(INPUT_SUFFIXES)}"


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A stem for the results of each image: that of its file, longer only where results would share a file.

    Then it is preceded by the folders below the common one, then followed by the suffix, then by a number.

    Args:
        paths: all different.
    """
    absolute = [path.absolute() for path in paths]
    common = os.path.commonpath([path.parent for path in absolute]) if paths else ""
    with_folders = ["_".join(path.relative_to(common).with_suffix("").parts) for path in absolute]
    with_suffix = [f"{name}{path.suffix.replace('.', '_')}" for name, path in zip(with_folders, paths, strict=True)]
    names = [path.stem for path in paths]
    for candidates in (with_folders, with_suffix):
        for index in _collisions(names):
            names[index] = candidates[index]
    for index in sorted(_collisions(names)):
        number = 2
        while index in _collisions(names):  # the first one may keep its name after the others have changed
            names[index] = f"{with_suffix[index]}_{number}"
            number += 1
    return names


def result_files(name: str) -> list[str]:
    """Names of the result files of an image."""
    return [f"{name}{ending}" for ending in RESULT_ENDINGS]


def _collisions(names: Sequence[str]) -> set[int]:
    """Indices of names whose results would share a file, also on case-insensitive file systems."""
    files = [[same_name(file).casefold() for file in result_files(name)] for name in names]
    counts = Counter(file for group in files for file in group)
    return {index for index, group in enumerate(files) if any(counts[file] > 1 for file in group)}


def record_results(folder: Path, files: Mapping[str, Path]) -> None:
    """Make a folder of results, and list further files in its `RECORD`, each with its image. Call it before they are written."""
    folder.mkdir(parents=True, exist_ok=True)
    known = RECORD.read(folder).get("files", {})
    RECORD.write(folder, known | {name: str(path.absolute()) for name, path in files.items()})
