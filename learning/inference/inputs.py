"""The user's own pictures: found by files, folders and patterns, named so that no result takes the place of another."""

import glob
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import InputError
from helpers.images import read_picture_size
from helpers.output import Record

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
RECORD = Record("baseline.py --predict --input", "predictions.json")  # also says from which image each file was made
ENDS = (
    ".png",
    "_color.png",
    "_overlay.png",
)  # of the results of a picture: label ids, colors, colors over the picture


@dataclass(frozen=True)
class Picture:
    """A picture to predict.

    Args:
        name: what its results are called; no other picture's results have their names.
        path: Path of the file.
        size: (height, width), upright.
    """

    name: str
    path: Path
    size: tuple


def find_pictures(words):
    """The pictures that files, folders and patterns stand for.

    A folder stands for all pictures in it and in its folders, but for hidden ones and results that a `RECORD` beside them
    lists; a pattern, such as "photos/*.jpg", for what it matches, `**` for any folders. What is named twice counts once.

    Args:
        words: list of str.

    Returns:
        list of Picture, in the order of the words, a folder's and a pattern's sorted.

    Raises:
        InputError: something is not there or matches nothing, a folder without pictures, a file that cannot be read.
    """
    paths = list(dict.fromkeys(Path(path) for word in words for path in _expand(word)))
    return [Picture(name, path, read_picture_size(path)) for name, path in zip(unique_names(paths), paths, strict=True)]


def _expand(word):
    if os.path.isfile(word):
        return [word]
    if os.path.isdir(word):
        found = _inside(word)
    else:
        matches = sorted(glob.glob(word, recursive=True))
        if not matches:
            raise InputError(f"--input {word}: there is no such file or folder, and no file matches it as a pattern")
        found = [path for match in matches for path in ([match] if os.path.isfile(match) else _inside(match))]
    if not found:
        raise InputError(f"--input {word}: there is no picture in this folder ({' '.join(SUFFIXES)})")
    return found


def _inside(folder):
    """list of Path: sorted."""
    found, ours = [], set()
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        ours |= {Path(place, name) for name in RECORD.files(Path(place)) or ()}
        found += [Path(place, name) for name in files if name.lower().endswith(SUFFIXES) and name[0] != "."]
    return sorted(path for path in found if path not in ours)


def unique_names(paths):
    """A name for the results of each picture: its file's, longer where results of two pictures would have the same.

    Then it is preceded by the folders below the one they share, then followed by the suffix, then numbered.

    Args:
        paths: list of Path, each different.

    Returns:
        list of str
    """
    absolute = [path.absolute() for path in paths]
    shared = os.path.commonpath([path.parent for path in absolute]) if paths else ""
    inside = [path.relative_to(shared).with_suffix("").parts for path in absolute]
    names = [path.stem for path in paths]
    longer = ["_".join(parts) for parts in inside]
    with_suffix = [f"{name}{path.suffix.replace('.', '_')}" for name, path in zip(longer, paths, strict=True)]
    for candidates in (longer, with_suffix):
        clashes = _clashes(names)
        names = [candidates[index] if index in clashes else name for index, name in enumerate(names)]
    for index in sorted(_clashes(names)):
        number = 2
        while index in _clashes(names):  # an earlier one may keep the plain name once the later ones have changed
            names[index] = f"{with_suffix[index]}_{number}"
            number += 1
    return names


def result_files(name):
    """list of str: the files that the results of a picture go into."""
    return [f"{name}{end}" for end in ENDS]


def _clashes(names):
    """Set of the indices of names whose results would share a file, on systems that take A for a as well."""
    files = [[file.casefold() for file in result_files(name)] for name in names]
    counts = Counter(file for of_name in files for file in of_name)
    return {index for index, of_name in enumerate(files) if any(counts[file] > 1 for file in of_name)}


def record_results(folder, files):
    """Make a folder of results, and list further files in its `RECORD`. Call it before they are written.

    Args:
        files: dict: name of a file -> Path of the image that it is made from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = RECORD.read(folder).get("files", {})
    RECORD.write(folder, known | {name: str(path.absolute()) for name, path in files.items()})
