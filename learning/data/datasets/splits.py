"""Which labelled images are trained on and which are validated on, where that is not the data set's own division.

Frames of one recording resemble each other, so images drawn at random from a data set of recordings say nothing of new ones: a
recording is held out whole, or its end, with a gap.
"""

from collections import defaultdict
from dataclasses import replace

from helpers.errors import InputError

TRAIN_ON = ("train", "trainval")
TAIL = "tail"
GAP = 3  # images between training and a held-out tail that are neither


def recording(name):
    """str: the recording of an image: its name up to the first underscore (a CamVid sequence, a Cityscapes city)."""
    return name.split("_")[0]


def select(dataset, train_on="train", holdout=None):
    """A data set with other training and validation images; its other splits stay as they are.

    Args:
        dataset: learning.data.datasets.base.Dataset.
        train_on: "train", or "trainval" for the images of both splits.
        holdout: what of these is held out, in place of the data set's own validation images: None for nothing; "tail" for
            the last fifth of every recording, in the order of the names (the `GAP` images before it are left out); or the
            beginning of the names of recordings, which are held out whole.

    Returns:
        Dataset: without `holdout`, "trainval" validates on images that it has trained on.

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
    recordings = defaultdict(list)
    for sample in sorted(pool, key=lambda sample: sample.name):
        recordings[recording(sample.name)].append(sample)
    train, val = [], []
    for name, samples in sorted(recordings.items()):
        if holdout == TAIL:
            num_held = len(samples) // 5
            train += samples[: len(samples) - num_held - (GAP if num_held else 0)]
            val += samples[len(samples) - num_held :]
        else:
            (val if name.startswith(holdout) else train).extend(samples)
    if not val or not train:
        names = ", ".join(f"{name} ({len(samples)})" for name, samples in sorted(recordings.items())[:12])
        raise InputError(
            f"--holdout {holdout} holds out {'all' if val else 'none'} of the {len(pool)} images; "
            f"name a recording of {dataset.root}, or {TAIL} for the last fifth of each: {names}"
        )
    return replace(dataset, splits=dataset.splits | {"train": tuple(train), "val": tuple(val)})


def sees_val(stored):
    """Whether the validation images are among those that are trained on, so that their score cannot choose weights.

    Args:
        stored: dict of the options of a run.
    """
    return stored.get("train_on") == "trainval" and not stored.get("holdout")


def divisions(all_options):
    """set of (train_on, holdout): how runs divide the images; all_options are dicts of their options."""
    return {(stored.get("train_on") or TRAIN_ON[0], stored.get("holdout")) for stored in all_options}


def remarks(all_options):
    """list of str: why a score of runs on their validation images is too good.

    Args:
        all_options: dict of the name of a run -> dict of its options.
    """
    lines = [
        f"note: {name} was trained on the validation images, too: a score on them says nothing"
        for name, stored in all_options.items()
        if sees_val(stored)
    ]
    found = divisions(all_options.values())
    if len(found) > 1 and any(holdout for _, holdout in found):
        lines.append("note: the runs hold out different images: one may have been trained on what another holds out")
    return lines
