"""The runs that are combined: their weights and options, their data set, and whether they agree."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import options
from helpers import run_folder
from helpers.errors import InputError
from helpers.images import read_label, read_size
from learning.data.datasets import add_training_images, open_as_stored, splits
from tools import votes

# Of every option of baseline.py.
DEFAULTS = {action.dest: action.default for action in options.build_parser()._actions if action.dest != "help"}
DATA_OPTIONS = ("dataset", "dataset_path", "train_on", "holdout")  # what `open_data` reads


@dataclass(frozen=True)
class Source:
    """Weights of a run.

    Args:
        weights: Path of the checkpoint.
        about: dict, all that the options.json beside it says.
    """

    weights: Path
    about: dict

    @property
    def options(self):
        """dict: the options of the run."""
        return self.about["options"]

    def option(self, name):
        """The value of an option; its default where the run is older than the option."""
        return self.options.get(name, DEFAULTS.get(name))


def open_source(word):
    """The best weights of a run folder, or the checkpoint that is named.

    Returns:
        Source

    Raises:
        InputError: there are no such weights, or no options.json beside them.
    """
    path = Path(word)
    weights = run_folder.RunFolder(path).best if path.is_dir() else path
    if not weights.is_file():
        raise InputError(f"there are no weights {weights}; name a run folder, or a checkpoint in one")
    about = run_folder.read_options_file(weights.parent / "options.json")
    if not about:
        raise InputError(f"{weights} has no options.json beside it, which says how the run was made; name a run folder")
    return Source(weights, about)


def refuse_differences(sources, names):
    """Refuse runs whose options differ.

    Args:
        sources: list of Source.
        names: the options that must agree.

    Raises:
        InputError: names the first option that differs, both values and both runs.
    """
    first = sources[0]
    for source in sources[1:]:
        for name in names:
            one, other = first.option(name), source.option(name)
            if one != other:
                raise InputError(
                    f"{source.weights} cannot be combined with {first.weights}: its --{name} is {other}, not {one}"
                )


def open_data(stored, source, path=None):
    """The data set of a run, divided as there.

    Args:
        stored: dict of the run's options.
        source: where they are from, for messages.
        path: folder of the data where it is not the one that the run knew.

    Returns:
        learning.data.datasets.base.Dataset

    Raises:
        InputError: the options are damaged, or there is no such data set.
    """
    return open_as_stored(stored | ({"dataset_path": path} if path else {}), source)


def open_training_data(source):
    """The data set of a Source, with the folders that were added to its training images; as `open_data`."""
    return add_training_images(open_data(source.options, source.weights), source.options.get("extra_data"))


def open_shared_data(all_options, split, path=None):
    """The data set of several runs that show the same images in a split; says which of them were trained on it.

    Args:
        all_options: dict of where they are from -> dict of a run's options.
        split: name of the split.
        path: as for `open_data`.

    Returns:
        (learning.data.datasets.base.Dataset, dict): the first run's, and the options by which it is found.

    Raises:
        InputError: their class tables or images differ, or there is no such split.
    """
    names = list(dict.fromkeys(stored.get("dataset") for stored in all_options.values()))
    if len(names) > 1:
        raise InputError(f"the runs have different classes (--dataset {names[0]} and {names[1]}): they cannot vote")
    different = {}  # most runs are on the same data, which are looked for once
    for source, stored in all_options.items():
        different.setdefault(repr([stored.get(name) for name in DATA_OPTIONS]), (stored, source))
    first, *others = (open_data(stored, source, path) for stored, source in different.values())
    images = [sample.name for sample in first.split(split)]
    for other, (_, source) in zip(others, list(different.values())[1:], strict=True):
        if [sample.name for sample in other.split(split)] != images:
            raise InputError(f"{source} has other {split} images than {next(iter(all_options))}: they cannot vote")
    stored = next(iter(all_options.values()))
    if any(map(splits.sees_val, all_options.values())):  # whose folder this is, it has seen what any of them has
        stored = stored | {"train_on": "trainval", "holdout": None}
    if split == "val":
        print("".join(f"{line}\n" for line in splits.remarks(all_options)), end="", flush=True)
    found_by = {name: stored[name] for name in DATA_OPTIONS if stored.get(name) is not None}
    return first, found_by | {"dataset": first.name, "dataset_path": str(first.root.resolve())}


def refuse_foreign(folder, program, force, advice="--output"):
    """Refuse to write into a folder that another program or person has made.

    Args:
        folder: Path; it need not exist.
        program: the "made by" of the folder's options.json that stands for our own.
        force: whether to write all the same; into the folder of a run that can be continued, never.
        advice: the option that names the folder.

    Raises:
        InputError: says whose folder it is.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{advice} {folder} is a file; name a folder")
    if run_folder.RunFolder(folder).holds_run:
        raise InputError(f"{advice} {folder} holds a run; name another folder")
    is_ours = run_folder.read_options_file(folder / "options.json").get("made by") == program
    if folder.is_dir() and any(folder.iterdir()) and not (is_ours or force):
        raise InputError(f"{advice} {folder} was not made by {program}; name another folder, or overwrite with --force")


def vote_weights(mix, words):
    """list of int: what each run counts in a vote.

    Args:
        mix: list of float, --mix; None for the same weights.
        words: the runs of the command line.

    Raises:
        InputError: another number of weights than of runs, or weights that cannot be counted.
    """
    if mix and len(mix) != len(words):
        raise InputError(f"--mix has {len(mix)} weights for {len(words)} runs: give one for each")
    return votes.whole_weights(mix or [1] * len(words))


def load(sources, data, device):
    """The networks of several runs, ready to predict.

    Args:
        sources: list of Source.
        data: learning.data.datasets.base.Dataset whose classes they must have.
        device: "auto", or the name of a device.

    Returns:
        list of learning.inference.predictor.Predictor

    Raises:
        InputError: weights that cannot be read or have other classes, a device that is not there.
    """
    from learning.device import pick_device
    from learning.inference.predictor import Predictor

    device = pick_device(device)
    predictors = [Predictor(source.weights, device) for source in sources]
    for source, predictor in zip(sources, predictors, strict=True):
        if predictor.labels.names != data.labels.names:
            raise InputError(f"{source.weights} was trained on other classes than those of the {data.name} data set")
    return predictors


def scales(mst):
    """tuple of float: the scales of --mst, or the only one."""
    from learning.inference.predict import MST_SCALES

    return MST_SCALES if mst else (1.0,)


def describe(source):
    """dict of plain values: where weights lie, and their hash."""
    from learning.checkpoint import file_hash

    return {"weights": str(source.weights.resolve()), "sha256": file_hash(source.weights)}


def find_results(word, split):
    """The folder of predictions that a word of the command line names: it, or results_SPLIT in it.

    Returns:
        Path

    Raises:
        InputError: there is no such folder.
    """
    folder = Path(word)
    folder = folder.resolve() if folder.name in ("", "..") else folder
    inside = run_folder.RunFolder(folder).results(split)
    if inside.is_dir():
        return inside
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; name a run, or a folder of predictions")
    if (folder / "options.json").exists():
        raise InputError(f"{folder} has no {inside.name}; predict first: python baseline.py --save_path RUN --predict")
    return folder


def read_prediction(path, sample, table):
    """A prediction, which must fit its image.

    Args:
        path: PNG of label ids.
        sample: learning.data.datasets.base.Sample of the image.
        table: helpers.labels.LabelTable whose label ids it must hold.

    Returns:
        uint8 (H, W): label ids, or 255 for void.

    Raises:
        InputError: unreadable, another size than the image, or values that are no labels.
    """
    label, size = read_label(path), read_size(sample.image)
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
