"""The files that --predict reads and writes with --input, and writes with --export. No torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from helpers import probabilities
from helpers.errors import InputError
from helpers.output import claim_file, claim_files
from helpers.run_folder import RunFolder
from learning.inference import inputs
from learning.inference.inputs import InputImage
from options import PredictionOptions

FORMATS = {".pt2": (), ".onnx": ("onnx", "onnxscript", "onnxruntime")}  # suffix -> packages that it needs besides torch


def check_files(options: PredictionOptions, folder: RunFolder) -> tuple[InputImage, ...]:
    """Find the images of --input, and check that the results of --input or --export may be written.

    Raises:
        InputError: no such images, or existing files that may not be replaced.
    """
    pictures = tuple(inputs.find_images(options.input)) if options.input else ()
    if options.export:
        check_export_file(Path(options.export), options.force)
    elif options.input:
        files = result_files(pictures, options.save_scores)
        claim_files(output_folder(options, folder), files, "--output", inputs.RECORD, options.force)
    return pictures


def output_folder(options: PredictionOptions, folder: RunFolder) -> Path:
    """Where the results of --input go."""
    return Path(options.output or folder.results("input"))


def result_files(pictures: Sequence[InputImage], save_scores: str | None) -> dict[str, Path]:
    """The path of each result, relative to the output folder -> its image."""
    files = {}
    for picture in pictures:
        names = [*inputs.result_files(picture.name)]
        if save_scores:
            names.append(f"scores/{picture.name}{probabilities.SUFFIX}")
        files |= dict.fromkeys(names, picture.path)
    return files


def check_export_file(path: Path, force: bool) -> None:
    """Refuse a file that --export cannot or may not write.

    Raises:
        InputError: no such folder, an existing file or folder, an unknown format, a missing package.
    """
    claim_file(path, "--export", None, force)
    check_format(path)


def check_format(path: Path) -> None:
    """Refuse a file name of an unknown format, or of one that needs a missing package; nothing is imported."""
    if path.suffix not in FORMATS:
        raise InputError(f"--export {path}: expected a name that ends with {' or '.join(FORMATS)}")
    missing = [name for name in FORMATS[path.suffix] if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"--export {path} needs {', '.join(missing)}: pip install -r requirements-extra.txt, or name a .pt2 file"
        )
