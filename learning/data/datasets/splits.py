"""Other divisions of the labelled images into training and validation than the data set's own.

Frames of one recording resemble each other, so a validation set of randomly drawn frames overestimates the score on new
recordings. Therefore whole recordings are held out, or the end of each, with a gap.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from helpers.errors import InputError
from learning.data.datasets.base import Dataset, Sample, same_name

TRAIN_ON = ("train", "trainval")
TAIL = "tail"
GAP = 3  # unused images between training and a held-out tail


def recording(name: str) -> str:
    """The recording of an image: its name up to the first underscore (a CamVid sequence, a Cityscapes city)."""
    return same_name(name).split("_")[0]


def select_train_and_val(dataset: Dataset, train_on: str = "train", holdout: str | None = None) -> Dataset:
    """The data set with another division into training and validation images; its other splits are unchanged.

    Args:
        train_on: "train", or "trainval" for the images of both splits.
        holdout: which of these become the validation images. None: the data set's own validation images stay (and with
            "trainval" are also trained on). "tail": the last fifth of every recording by name; the `GAP` images before it
            are not used. Anything else: the recordings whose names begin with it.

    Raises:
        InputError: nothing, or everything, would be held out; a split is missing.
    """
    if train_on == "train" and holdout is None:
        return dataset
    pool = dataset.split("train")
    if train_on == "trainval":
        pool = (*pool, *dataset.split("val"))
    if holdout is None:
        return replace(dataset, splits=dataset.splits | {"train": pool})
    recordings: dict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(pool, key=lambda sample: sample.name):
        recordings[recording(sample.name)].append(sample)
    train, val = _hold_out(recordings, holdout)
    if not val or not train:
        names = ", ".join(f"{name} ({len(samples)})" for name, samples in sorted(recordings.items())[:12])
        raise InputError(
            f"--holdout {holdout} holds out {'all' if val else 'none'} of the {len(pool)} images; "
            f"name a recording of {dataset.root}, or {TAIL} for the last fifth of each: {names}"
        )
    return replace(dataset, splits=dataset.splits | {"train": tuple(train), "val": tuple(val)})


def _hold_out(recordings: Mapping[str, list[Sample]], holdout: str) -> tuple[list[Sample], list[Sample]]:
    """(Training, validation) samples."""
    train = []
    val = []
    for name, samples in sorted(recordings.items()):
        if holdout == TAIL:
            first_held = len(samples) - len(samples) // 5
            gap = GAP if first_held < len(samples) else 0
            train += samples[: first_held - gap]
            val += samples[first_held:]
        elif name.startswith(same_name(holdout)):
            val += samples
        else:
            train += samples
    return train, val


def sees_val(stored: Mapping[str, object]) -> bool:
    """Whether a run with these options trains on its validation images, so that their score cannot choose weights."""
    return stored.get("train_on") == "trainval" and not stored.get("holdout")


def train_val_choices(all_options: Iterable[Mapping[str, object]]) -> set[tuple[object, object]]:
    """The different (train_on, holdout) in the options of several runs."""
    return {(stored.get("train_on") or TRAIN_ON[0], stored.get("holdout")) for stored in all_options}


def split_warnings(all_options: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Reasons why the validation scores of runs are too good; options by name of the run."""
    lines = [
        f"note: {name} was trained on the validation images, too: a score on them says nothing"
        for name, stored in all_options.items()
        if sees_val(stored)
    ]
    found = train_val_choices(all_options.values())
    if len(found) > 1 and any(holdout for _, holdout in found):
        lines.append("note: the runs hold out different images: one may have been trained on what another holds out")
    return lines
