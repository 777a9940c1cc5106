"""The layout of MiniCity on disk, and how a new data set is written: completely or not at all."""

import shlex
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from helpers.errors import InputError, naming
from helpers.lock import refuse_other_writer
from helpers.output import claim, refuse_unwritable, temporary

IMAGES = "leftImg8bit"
LABELS = "gtFine"
IMAGE = "_leftImg8bit.png"
LABEL_IDS = "_gtFine_labelIds.png"
INSTANCE_IDS = "_gtFine_instanceIds.png"


def refuse_existing(output: Path) -> None:
    """Check that no data set is in `output`, and that none is being written; changes nothing.

    Raises:
        InputError: it is a file, or already contains one of the data set's folders, or has a writer.
    """
    refuse_unwritable(output, "--output", is_folder=True)
    refuse_other_writer(output, "--output")
    for name in (IMAGES, LABELS):
        if (output / name).exists() and not _half_moved(output):
            raise InputError(
                f"{output / name} already exists and is not overwritten; name another folder with --output, "
                f"or move {output / IMAGES} and {output / LABELS} away first"
            )


def _half_moved(output: Path) -> Path | None:
    """The temporary folder of a process that was killed when it had moved the labels of a data set, and not yet the images."""
    if (output / IMAGES).exists() or not (output / LABELS).exists():
        return None
    found = (path.parent for path in output.glob(f".partial-*/{IMAGES}"))
    return next((folder for folder in found if not (folder / LABELS).exists()), None)


@contextmanager
def new_data_set(output: Path) -> Generator[Path, None, None]:
    """Claim `output`, and yield a temporary folder in it for `IMAGES` and `LABELS`, which are moved into place at the end.

    If the block fails, the temporary folder is removed, and so is `output` if it did not exist before.

    Raises:
        InputError: `output` already contains a data set (see `refuse_existing`) or cannot be written to.
        OSError: names `output`, such as on a full disk.
    """
    with claim(output, "--output", is_folder=True), naming(output):
        refuse_existing(output)
        is_new = not output.exists()
        try:
            if half := _half_moved(output):
                (output / LABELS).rename(half / LABELS)  # what is left there is cleared next
            output.mkdir(parents=True, exist_ok=True)
            with temporary(output / IMAGES) as partial:
                partial.mkdir()
                yield partial
                refuse_existing(output)
                for name in (LABELS, IMAGES):  # images last: without them no data set is found
                    (partial / name).rename(output / name)
        finally:
            if is_new and output.is_dir() and not any(output.iterdir()):
                output.rmdir()


def paths(root: str | Path, split: str, name: str) -> tuple[Path, Path, Path]:
    """The image, label-id and instance-id files of one image."""
    labels = Path(root, LABELS, split)
    return Path(root, IMAGES, split, f"{name}{IMAGE}"), labels / f"{name}{LABEL_IDS}", labels / f"{name}{INSTANCE_IDS}"


def command_options(output: Path) -> str:
    """The options with which baseline.py finds a data set in `output`: "" for its default folder."""
    return "" if output.resolve() == Path("minicity").resolve() else f" --dataset_path {shlex.quote(str(output))}"
