"""Results: predictions as label ids, in colour and over the picture; folders of them are replaced as a whole."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from helpers.errors import InputError
from helpers.images import colourise, overlay, read_image, write_png
from helpers.pictures import result_files

_WAITING = 2**24  # pixels of predictions that may wait to be written while the next ones are computed


@contextmanager
def replacing_folders(*folders):
    """Fill new folders, and let them take the places of old ones when all is done.

    The block writes into temporary folders. When it ends well they are renamed, and whatever else was in the old folders is
    moved over: only files of the same name are replaced. When it fails the old folders stay as they are.

    Yields:
        list of Path: the temporary folders, in the order of `folders`.

    Raises:
        InputError: one of `folders` is a file.
    """
    folders = [Path(folder).resolve() for folder in folders]  # what a link points to is replaced, not the link
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file, but the predictions go into a folder of this name; move it away")
        _recover(folder)
    fresh = [folder.with_name(f".{folder.name}.partial") for folder in folders]
    for folder in fresh:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    try:
        yield fresh
        for new, folder in zip(fresh, folders, strict=True):
            _exchange(new, folder)
    finally:
        for folder in folders:
            _recover(folder)
        for folder in fresh:
            shutil.rmtree(folder, ignore_errors=True)


def _exchange(new, folder):
    """Rename `new` to `folder`, and move over what only the old folder has; at any moment both lie complete on the disk."""
    old = _set_aside(folder)
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    _recover(folder)


def _recover(folder):
    """Bring back from the folder that was set aside what `folder` lacks, also after a kill in the middle of an exchange."""
    old = _set_aside(folder)
    if old.exists():
        folder.mkdir(exist_ok=True)
        for path in old.iterdir():
            if not (folder / path.name).exists():
                os.replace(path, folder / path.name)
        shutil.rmtree(old)


def _set_aside(folder):
    return folder.with_name(f".{folder.name}.old")


def write_predictions(predictions, labels, ids, colours, report):
    """Write predictions of samples as they come.

    Args:
        predictions: iterable of (Sample, uint8 (H, W) of train ids).
        labels: helpers.labels.LabelTable.
        ids: folder for NAME.png, label ids.
        colours: folder for NAME_prediction.png and NAME_input.png.
        report: called after each prediction.
    """

    def write(sample, prediction):
        write_png(ids / f"{sample.name}.png", labels.ids[prediction])
        write_png(colours / f"{sample.name}_prediction.png", colourise(prediction, labels.palette))
        write_png(colours / f"{sample.name}_input.png", read_image(sample.image).transpose(1, 2, 0), compress_level=1)

    _in_threads(write, predictions, report)


def write_picture_predictions(predictions, labels, folder):
    """Write predictions of pictures as they come, each file whole or not at all.

    Args:
        predictions: iterable of (learning.pictures.Loaded, uint8 (H, W) of train ids).
        labels: helpers.labels.LabelTable.
        folder: Path, for what `helpers.pictures.result_files` names: label ids, colours, colours over the picture.
    """

    def write(loaded, prediction):
        ids, coloured, over = (folder / name for name in result_files(loaded.picture.name))
        _write_whole(ids, labels.ids[prediction], 6)
        colours = colourise(prediction, labels.palette)
        _write_whole(coloured, colours, 6)
        _write_whole(over, overlay(loaded.pixels.transpose(1, 2, 0), colours), 1)

    _in_threads(write, predictions, lambda: None)


def _write_whole(path, pixels, compress_level):
    temporary = path.with_name(f".{path.name}.tmp")
    write_png(temporary, pixels, compress_level)
    os.replace(temporary, path)


def _in_threads(write, predictions, report):
    """Call `write` with each of the predictions, in threads; at most a few wait in memory."""
    with ThreadPoolExecutor(2) as threads:
        waiting = []
        for sample, prediction in predictions:
            waiting.append((prediction.size, threads.submit(write, sample, prediction)))
            while len(waiting) > 8 or sum(size for size, _ in waiting) > max(_WAITING, waiting[-1][0]):
                waiting.pop(0)[1].result()
            report()
        for _, job in waiting:
            job.result()
