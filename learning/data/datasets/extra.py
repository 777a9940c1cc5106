"""More training images from other folders, such as those with pseudo labels or pasted objects."""

import filecmp
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.errors import InputError

PROVENANCE = "pseudo_labels.json"  # in a folder whose labels a network has made: which, and how
RECORD = "copypaste.json"  # in a folder of images with pasted objects: from which images these and the objects are


@dataclass(frozen=True)
class Extra:
    """What a folder adds to the training images.

    Args:
        folder: Path.
        num_images: number of them.
        round: of self-training; 0 where a network has not made the labels.
    """

    folder: Path
    num_images: int
    round: int


def read_provenance(folder):
    """dict: who made the labels of a folder, as its pseudo_labels.json says; empty where there is none.

    Raises:
        InputError: the file is damaged.
    """
    path = Path(folder) / PROVENANCE
    if not path.is_file():
        return {}
    try:
        provenance = json.loads(path.read_text(encoding="utf-8"))
        if provenance["round"] >= 1 and isinstance(provenance["dataset"], str):
            return provenance
        reason = f"round {provenance['round']} of {provenance['dataset']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise InputError(f"{path} is damaged ({reason}); make the folder anew with tools.pseudo_label")


def read_sources(folder):
    """frozenset of str: names of the images that those of a folder were pasted together from; empty where none were.

    Raises:
        InputError: the record of tools.copypaste is damaged, or from before it named these images.
    """
    path = Path(folder) / RECORD
    if not path.is_file():
        return frozenset()
    try:
        sources = json.loads(path.read_text(encoding="utf-8"))["sources"]
        if isinstance(sources, list) and all(isinstance(name, str) for name in sources):
            return frozenset(sources)
        reason = "sources are no list of names"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise InputError(
        f"{path} does not say which images were pasted together ({reason}); make the folder anew with tools.copypaste"
    )


def same_pictures(samples, others):
    """Pairs of samples whose images are the same file, byte for byte, whatever they are called.

    Yields:
        (Sample, Sample): one of `samples`, one of `others`.
    """
    by_size = defaultdict(list)
    for other in others:
        by_size[other.image.stat().st_size].append(other)
    for sample in samples:
        for other in by_size.get(sample.image.stat().st_size, ()):
            if filecmp.cmp(sample.image, other.image, shallow=False):
                yield sample, other


def with_extra(dataset, folders, open_dataset):
    """A data set whose training images are followed by those of other folders.

    Args:
        dataset: learning.data.datasets.base.Dataset.
        folders: each holds the training images of a data set of the same format; its other splits are left alone.
        open_dataset: function of (name, folder), `learning.data.datasets.open_dataset`.

    Returns:
        Dataset

    Raises:
        InputError: a folder that holds another data set, no training images, labels of another kind, a validation image, or
            images with parts of one.
    """
    for folder in folders:
        provenance = read_provenance(folder)
        if provenance and provenance["dataset"] != dataset.name:
            raise InputError(
                f"--extra_data {folder} has labels of {provenance['dataset']}, but the data set is {dataset.name}"
            )
        other = open_dataset(dataset.name, folder)
        samples = other.split("train")
        if other.encoding != dataset.encoding:
            raise InputError(
                f"--extra_data {folder} holds {other.encoding} in its labels, but {dataset.root} holds "
                f"{dataset.encoding}; convert one of them"
            )
        scored = {sample.name: sample for sample in dataset.splits.get("val", ())}
        for sample, known in same_pictures(samples, scored.values()):
            raise InputError(
                f"--extra_data: {sample.image} is the validation image {known.image}, which would then say nothing; remove it"
            )
        if pasted := sorted(read_sources(folder) & set(scored)):
            raise InputError(
                f"--extra_data {folder} may show parts of the validation image {scored[pasted[0]].image}, which would then "
                "say nothing; make it anew with the --train_on and --holdout of this run"
            )
        extra = Extra(other.root.resolve(), len(samples), provenance.get("round", 0))
        splits = dataset.splits | {"train": (*dataset.split("train"), *samples)}
        dataset = replace(dataset, splits=splits, extra=(*dataset.extra, extra))
    return dataset
