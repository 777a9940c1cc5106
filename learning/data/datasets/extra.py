"""More training images from other folders, such as those with pseudo labels or pasted objects."""

import filecmp
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypedDict

from helpers.errors import InputError
from helpers.parsing import Range
from helpers.text_files import read_json
from learning.data.datasets.base import Dataset, Extra, Sample, open_valid

PROVENANCE = "pseudo_labels.json"  # in a folder of pseudo labels: how they were made
RECORD = "copypaste.json"  # in a folder of images with pasted objects: the images that were pasted together


class Provenance(TypedDict):
    """What programs read again of pseudo_labels.json; `round` is of self-training."""

    round: Annotated[int, Range("1 or more", at_least=1)]
    dataset: str


class _Pasted(TypedDict):
    sources: list[str]


def read_provenance(folder: str | Path) -> Provenance | None:
    """How the pseudo labels of a folder were made; None for other folders.

    Raises:
        InputError: pseudo_labels.json is damaged.
    """
    path = Path(folder) / PROVENANCE
    if not path.is_file():
        return None
    return read_json(path, Provenance, "make the folder anew with tools.pseudo_label")


def read_sources(folder: str | Path) -> frozenset[str]:
    """Names of the images that the images of a folder were pasted together from; empty for other folders.

    Raises:
        InputError: copypaste.json is damaged, or was written by a version that did not name these images.
    """
    path = Path(folder) / RECORD
    if not path.is_file():
        return frozenset()
    return frozenset(read_json(path, _Pasted, "make the folder anew with tools.copypaste")["sources"])


def identical_images(samples: Iterable[Sample], others: Iterable[Sample]) -> Iterator[tuple[Sample, Sample]]:
    """Pairs (one of `samples`, one of `others`) whose image files are the same byte for byte, under any name."""
    by_size = defaultdict(list)
    for other in others:
        by_size[other.image.stat().st_size].append(other)
    for sample in samples:
        for other in by_size.get(sample.image.stat().st_size, ()):
            if filecmp.cmp(sample.image, other.image, shallow=False):
                yield sample, other


def add_training_images(dataset: Dataset, folders: Sequence[str | Path] | None) -> Dataset:
    """The data set with the training images of other folders after its own.

    Args:
        folders: data sets of the same format, whose other splits are not used.

    Raises:
        InputError: a folder that holds another data set, no training images, labels in another encoding, a validation image,
            or images with parts of one.
    """
    for folder in folders or ():
        dataset = _add_folder(dataset, folder)
    return dataset


def _add_folder(dataset: Dataset, folder: str | Path) -> Dataset:
    provenance = read_provenance(folder)
    if provenance and provenance["dataset"] != dataset.name:
        raise InputError(
            f"--extra_data {folder} has labels of {provenance['dataset']}, but the data set is {dataset.name}"
        )
    other = open_valid(dataset.name, dataset.spec, folder)
    samples = other.split("train")
    if other.encoding != dataset.encoding:
        raise InputError(
            f"--extra_data {folder} holds {other.encoding} in its labels, but {dataset.root} holds "
            f"{dataset.encoding}; convert one of them"
        )
    _refuse_validation_images(dataset, folder, samples)
    extra = Extra(other.root.resolve(), len(samples), provenance["round"] if provenance else 0)
    splits = dataset.splits | {"train": (*dataset.split("train"), *samples)}
    return replace(dataset, splits=splits, extra=(*dataset.extra, extra))


def _refuse_validation_images(dataset: Dataset, folder: str | Path, samples: Sequence[Sample]) -> None:
    """Raise `InputError` where images of an extra folder are, or show parts of, validation images of the data set."""
    val = {sample.name: sample for sample in dataset.splits.get("val", ())}
    for sample, known in identical_images(samples, val.values()):
        raise InputError(
            f"--extra_data: {sample.image} is the validation image {known.image}; training on it makes the validation "
            "score meaningless; remove it"
        )
    if pasted := sorted(read_sources(folder) & set(val)):
        raise InputError(
            f"--extra_data {folder} may show parts of the validation image {val[pasted[0]].image}; training on them makes the "
            "validation score meaningless; make the folder anew with the --train_on and --holdout of this run"
        )
