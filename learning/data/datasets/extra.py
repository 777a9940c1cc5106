"""More training images from other folders, such as those with pseudo labels or pasted objects."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypedDict

from helpers.errors import InputError
from helpers.images import read_size
from helpers.parsing import Range
from helpers.text_files import read_json
from learning.data.datasets.base import Dataset, Extra, Sample, open_valid
from learning.data.hashes import hash_image, kept_hashes

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


def identical_images(samples: Sequence[Sample], others: Sequence[Sample]) -> Iterator[tuple[Sample, Sample]]:
    """Pairs (one of `samples`, one of `others`) that show the same pixels, under any name and in any file format.

    Only images whose size in pixels occurs on both sides are decoded.
    """
    sides = [list(samples), list(others)]
    sizes = [[read_size(sample.image) for sample in side] for side in sides]
    shared = set(sizes[0]) & set(sizes[1])
    sides = [
        [sample for sample, size in zip(side, side_sizes, strict=True) if size in shared]
        for side, side_sizes in zip(sides, sizes, strict=True)
    ]
    if not shared:
        return
    hashes = [
        kept_hashes(hash_image, [sample.image for sample in side], "comparing with the validation images")
        for side in sides
    ]
    known = dict(zip(hashes[1], sides[1], strict=True))
    for sample, found in zip(sides[0], hashes[0], strict=True):
        if found in known:
            yield sample, known[found]


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
    warnings = (*dataset.warnings, *other.warnings)
    return replace(dataset, splits=splits, extra=(*dataset.extra, extra), warnings=warnings)


def _refuse_validation_images(dataset: Dataset, folder: str | Path, samples: Sequence[Sample]) -> None:
    """Raise `InputError` where images of an extra folder are, or show parts of, validation images of the data set."""
    val = {sample.name: sample for sample in dataset.splits.get("val", ())}
    for sample, known in identical_images(samples, tuple(val.values())):
        raise InputError(
            f"--extra_data: {sample.image} is the validation image {known.image}; training on it makes the validation "
            "score meaningless; remove it"
        )
    if pasted := sorted(read_sources(folder) & set(val)):
        raise InputError(
            f"--extra_data {folder} may show parts of the validation image {val[pasted[0]].image}; training on them makes the "
            "validation score meaningless; make the folder anew with the --train_on and --holdout of this run"
        )
