"""The files that --predict reads and writes with --input, and writes with --export. No torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from helpers import probabilities
from helpers.errors import InputError
from helpers.output import claim, claim_file, claim_files
from helpers.run_folder import RunFolder
from learning.inference import inputs
from learning.inference.inputs import InputImage
from options import PredictionOptions

FORMATS = {".pt2": (), ".onnx": ("onnx", "onnxscript", "onnxruntime")}  # suffix -> packages that it needs besides torch


def find_pictures(options: PredictionOptions) -> tuple[InputImage, ...]:
    """Find the images of --input, and check the format of --export.

    Raises:
        InputError: no such images, an unknown format, a missing package.
    """
    if options.export:
        check_format(Path(options.export))
    return tuple(inputs.find_images(options.input)) if options.input else ()


@contextmanager
def claim_predictions(
    options: PredictionOptions, folder: RunFolder, splits: Sequence[str], pictures: Sequence[InputImage]
) -> Generator[None, None, None]:
    """Claim what --predict writes: its own results, so that a run can be predicted from while it is trained.

    Args:
        splits: those that are predicted without --input and --export.
    """
    with ExitStack() as stack:
        if options.export:
            stack.enter_context(claim_file(Path(options.export), "--export", None, options.force))
        elif options.input:
            files = result_files(pictures, options.save_scores)
            output = output_folder(options, folder)
            stack.enter_context(claim_files(output, files, "--output", inputs.RECORD, options.force))
        else:
            for split in splits:
                stack.enter_context(claim(folder.results(split), "--save_path", is_folder=True))
        yield


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


def check_format(path: Path) -> None:
    """Refuse a file name of an unknown format, or of one that needs a missing package; nothing is imported."""
    if path.suffix not in FORMATS:
        raise InputError(f"--export {path}: expected a name that ends with {' or '.join(FORMATS)}")
    missing = [name for name in FORMATS[path.suffix] if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"--export {path} needs {', '.join(missing)}: pip install -r requirements-extra.txt, or name a .pt2 file"
        )
