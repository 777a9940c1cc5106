"""Results: predictions as label ids, in color and over the picture; folders of them are replaced as a whole."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from helpers.errors import InputError


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
