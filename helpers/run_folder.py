"""The run folder: its files and options.json."""

import json
import shlex
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from helpers.errors import naming
from helpers.output import temporary, write_text
from helpers.text_files import read_json

StoredOptions = dict[str, Any]  # plain JSON values


class ExtraRecord(TypedDict):
    """A folder of --extra_data in options.json; `round` is of self-training, 0 for other folders."""

    folder: str
    round: int


# What programs read again of options.json besides the options; it holds more.
_Provenance = TypedDict(
    "_Provenance",
    {
        "typed": list[str],
        "external weights": str,
        "extra data": list[ExtraRecord],
        "made by": str,
        "votes": dict[str, Any],
    },
    total=False,
)


class _DataOptions(TypedDict, total=False):
    """The options by which other programs find the data of a run; `learning.run.command_line` checks all of them."""

    dataset: str | None
    dataset_path: str | None
    train_on: str | None
    holdout: str | None
    extra_data: list[str] | None


class _OptionsFile(_Provenance):
    options: _DataOptions


@dataclass(frozen=True)
class RunFolder:
    """A folder with everything needed to understand, resume, predict from or compare a run; it need not exist yet."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """The last state of the run."""
        return self.path / "checkpoint.pth.tar"

    @property
    def previous(self) -> Path:
        """The checkpoint before the last."""
        return self.path / "checkpoint_previous.pth.tar"

    @property
    def nonfinite(self) -> Path:
        """The step whose loss or gradient was NaN or infinite, for --replay."""
        return self.path / "nonfinite.pth.tar"

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.checkpoint if self.checkpoint.exists() else self.previous

    @property
    def best(self) -> Path:
        """The weights with the best validation mIoU."""
        return self.path / "best_weights.pth.tar"

    @property
    def options(self) -> Path:
        """Every option of the run, versions and data fingerprint."""
        return self.path / "options.json"

    @property
    def images(self) -> Path:
        """Folder of the training batch and the first validation batch as images."""
        return self.path / "images"

    def scores(self, split: str) -> Path:
        """Folder of the class probabilities of a split."""
        return self.path / f"scores_{split}"

    def results(self, split: str, color: bool = False) -> Path:
        """Folder of the predictions of a split, as label ids or in color."""
        return self.path / f"results_{'color_' if color else ''}{split}"

    @property
    def holds_run(self) -> bool:
        """Whether a run can be resumed from here; a folder without a checkpoint may be reused."""
        return self.checkpoint.exists() or self.previous.exists()

    @property
    def resume_options(self) -> str:
        """The options that resume the run."""
        return f"--save_path {shlex.quote(str(self.path))} --resume"

    def create(self) -> None:
        """Make the folder and images/; raises `OSError` where it cannot be made or written."""
        with naming(self.path):
            self.images.mkdir(parents=True, exist_ok=True)
            with temporary(self.path / "probe") as probe:
                probe.touch()


def read_options(path: Path) -> StoredOptions:
    """The options in an options.json; {} if there is no such file.

    Raises:
        InputError: the file is damaged.
    """
    return read_options_file(path).get("options", {})


def read_options_file(path: Path) -> StoredOptions:
    """The whole content of an options.json, as written by `write_options`; {} if there is no such file.

    Raises:
        InputError: the file is damaged.
    """
    if not Path(path).is_file():
        return {}
    return {**read_json(path, _OptionsFile, "restore it, or remove it and type every option of the run")}


def write_options(path: Path, options: Mapping[str, object], provenance: Mapping[str, object]) -> None:
    """Write options.json: {"options": {...}} and what else explains the run, such as versions and the data fingerprint."""
    write_text(path, json.dumps({"options": options, **provenance}, indent=2, sort_keys=False) + "\n")


def source_commit() -> str:
    """Commit of this program, followed by "+" if files have been modified; "unknown" outside a git checkout."""
    folder = str(Path(__file__).parent)
    command = ["git", "-C", folder, "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    return "unknown"
