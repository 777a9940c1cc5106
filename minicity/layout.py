"""MiniCity's layout on disk, and how a data set gets there: whole or not at all."""

import shlex
from contextlib import contextmanager
from pathlib import Path

from helpers.errors import InputError
from helpers.output import refuse_unwritable, temporary

IMAGES, LABELS = "leftImg8bit", "gtFine"
IMAGE, LABEL_IDS, INSTANCE_IDS = "_leftImg8bit.png", "_gtFine_labelIds.png", "_gtFine_instanceIds.png"


def refuse_existing(output):
    """Check that `output` is free for a data set; nothing is touched.

    Raises:
        InputError: it is a file, or already holds one of the data set's folders.
    """
    output = Path(output)
    refuse_unwritable(output, "--output", is_folder=True)
    for name in (IMAGES, LABELS):
        if (output / name).exists():
            raise InputError(
                f"{output / name} is already there and is left as it is; name another folder with --output, "
                f"or move {output / IMAGES} and {output / LABELS} away first"
            )


@contextmanager
def new_data_set(output):
    """A temporary folder in `output` to build `leftImg8bit` and `gtFine` in; they move into place when the block ends.

    If the block fails, the temporary folder is removed, and so is `output` if it was not there before.

    Yields:
        Path of the temporary folder.

    Raises:
        InputError: `output` is taken (see `refuse_existing`) or cannot be written to.
    """
    output = Path(output)
    refuse_existing(output)
    is_new = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        with temporary(output / IMAGES) as partial:
            partial.mkdir()
            yield partial
            refuse_existing(output)
            for name in (LABELS, IMAGES):  # images last: without them there is no data set
                (partial / name).rename(output / name)
    except OSError as error:
        raise InputError(
            f"cannot build the data set in {output}: {error}; make room there, or name another --output"
        ) from None
    finally:
        if is_new and output.is_dir() and not any(output.iterdir()):
            output.rmdir()


def paths(root, split, name):
    """Where the files of one image stand.

    Returns:
        (image, label ids, instance ids), Paths
    """
    root = Path(root)
    labels = root / LABELS / split
    return root / IMAGES / split / f"{name}{IMAGE}", labels / f"{name}{LABEL_IDS}", labels / f"{name}{INSTANCE_IDS}"


def command_options(output):
    """What a program's command line needs to find a data set in `output`: "" for the usual folder."""
    return "" if Path(output).resolve() == Path("minicity").resolve() else f" --dataset_path {shlex.quote(str(output))}"
