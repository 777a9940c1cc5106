"""Runs that are combined: their weights and options, their data set, and whether they agree."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import options
from helpers import run_folder
from helpers.errors import InputError
from helpers.images import read_label, read_size
from helpers.labels import LabelTable
from helpers.output import Record, claim, claim_folder
from learning.data.datasets import add_training_images, open_dataset_from_options, splits
from learning.data.datasets.base import Dataset, Sample
from tools import votes

# Of every option of baseline.py.
DEFAULTS = options.Options().stored()
DATA_OPTIONS = ("dataset", "dataset_path", "train_on", "holdout")  # the options that `open_data` reads


@dataclass(frozen=True)
class Source:
    """Weights of a run.

    Args:
        about: content of the options.json beside them.
    """

    weights: Path
    about: dict[str, Any]

    @property
    def options(self) -> dict[str, Any]:
        """The options of the run."""
        return self.about["options"]

    def option(self, name: str) -> Any:
        """The value of an option; its default where the run is older than the option."""
        return self.options.get(name, DEFAULTS.get(name))


def open_source(argument: str) -> Source:
    """The best weights of a run folder, or the checkpoint that is named; options.json must lie beside them."""
    path = Path(argument)
    weights = run_folder.RunFolder(path).best if path.is_dir() else path
    if not weights.is_file():
        raise InputError(f"there are no weights {weights}; name a run folder, or a checkpoint in one")
    about = run_folder.read_options_file(weights.parent / "options.json")
    if not about:
        raise InputError(f"{weights} has no options.json beside it, which says how the run was made; name a run folder")
    return Source(weights, about)


def refuse_differences(sources: Sequence[Source], names: Iterable[str]) -> None:
    """Refuse runs that differ in one of these options."""
    first = sources[0]
    for source in sources[1:]:
        for name in names:
            one, other = first.option(name), source.option(name)
            if one != other:
                raise InputError(
                    f"{source.weights} cannot be combined with {first.weights}: its --{name} is {other}, not {one}"
                )


def open_data(stored: dict[str, Any], source: Path | str, path: str | None = None) -> Dataset:
    """The data set of a run, with its division into training and validation images.

    Args:
        stored: the run's options.
        source: where they are from, for messages.
        path: folder of the data, if it has moved.
    """
    return open_dataset_from_options(stored | ({"dataset_path": path} if path else {}), source)


def open_training_data(source: Source) -> Dataset:
    """The data set of a run, with the folders that were added to its training images."""
    return add_training_images(open_data(source.options, source.weights), source.options.get("extra_data"))


def open_shared_data(
    all_options: Mapping[str, dict[str, Any]], split: str, path: str | None = None
) -> tuple[Dataset, dict[str, Any]]:
    """The data set of several runs, whose classes and images in a split must agree; notes on the split are printed.

    Args:
        all_options: where they are from -> the options of a run.
        path: as for `open_data`.

    Returns:
        The first run's data set, and the options that find it.
    """
    names = list(dict.fromkeys(stored.get("dataset") for stored in all_options.values()))
    if len(names) > 1:
        raise InputError(f"the runs have different classes (--dataset {names[0]} and {names[1]}): they cannot vote")
    different = {}  # most runs use the same data, which are opened once
    for source, stored in all_options.items():
        different.setdefault(repr([stored.get(name) for name in DATA_OPTIONS]), (stored, source))
    opened = {source: open_data(stored, source, path) for stored, source in different.values()}
    first = next(iter(opened.values()))
    images = [sample.name for sample in first.split(split)]
    for source, data in opened.items():
        if [sample.name for sample in data.split(split)] != images:
            raise InputError(f"{source} has other {split} images than {next(iter(all_options))}: they cannot vote")
    stored = next(iter(all_options.values()))
    if any(map(splits.sees_val, all_options.values())):  # the vote has seen every image that one of the runs has seen
        stored = stored | {"train_on": "trainval", "holdout": None}
    if split == "val":
        print("".join(f"{line}\n" for line in splits.split_warnings(all_options)), end="", flush=True)
    found_by = {name: stored[name] for name in DATA_OPTIONS if stored.get(name) is not None}
    return first, found_by | {"dataset": first.name, "dataset_path": str(first.root.resolve())}


@contextmanager
def claim_run_folder(folder: Path, program: str, force: bool) -> Generator[None, None, None]:
    """Refuse an output folder that others made; one with a run that can be continued even with `force`."""
    with claim(folder, "--output", is_folder=True):
        if run_folder.RunFolder(folder).holds_run:
            raise InputError(f"--output {folder} holds a run; name another folder")
        with claim_folder(folder, "--output", Record(program, "options.json"), force):
            yield


def vote_weights(mix: Sequence[float] | None, num_runs: int) -> list[int]:
    """The weight of each run in a vote, from --mix; None for equal weights."""
    if mix and len(mix) != num_runs:
        raise InputError(f"--mix has {len(mix)} weights for {num_runs} runs: give one for each")
    return votes.whole_weights(mix or [1] * num_runs)


def find_results(argument: str, split: str) -> Path:
    """The folder of predictions that an argument names: results_SPLIT in it, or the folder itself."""
    folder = Path(argument)
    folder = folder.resolve() if folder.name in ("", "..") else folder
    inside = run_folder.RunFolder(folder).results(split)
    if inside.is_dir():
        return inside
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; name a run, or a folder of predictions")
    if (folder / "options.json").exists():
        raise InputError(f"{folder} has no {inside.name}; predict first: python baseline.py --save_path RUN --predict")
    return folder


def read_prediction(path: Path, sample: Sample, table: LabelTable) -> np.ndarray:
    """A prediction, uint8 (H, W) of label ids or 255 for void; refuses values that are no labels and another size."""
    label = read_label(path)
    size = read_size(sample.image)
    if label.shape != size:
        shown = ["x".join(map(str, lengths)) for lengths in (label.shape, size)]
        raise InputError(f"{path} is {shown[0]} pixels, but {sample.image} is {shown[1]}; predictions have its size")
    known = table.decoder("ids", "ids")[1]
    values = np.flatnonzero(np.bincount(label.ravel(), minlength=256))
    unknown = values[~known[values]]
    if len(unknown):
        raise InputError(
            f"{path} holds the value {unknown[0]}, but labels here are 0 .. {len(table.rows) - 1}, and 255 for void; "
            "name a folder of label ids"
        )
    return label
