"""What every data set is made of: samples, splits, the pairing of images with labels, and findings about the files."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from helpers.errors import InputError
from helpers.labels import LabelTable


@dataclass(frozen=True)
class Sample:
    """One image and the files that belong to it.

    Args:
        name: file name of the image without suffix; predictions carry it.
        label: None for an image without label, such as a test image.
        instances: None where there is no instance map.
    """

    name: str
    image: Path
    label: Path | None = None
    instances: Path | None = None


@dataclass(frozen=True)
class Finding:
    """One error or warning about the files of a data set.

    Args:
        kind: such as "image without label"; findings of one kind are counted together.
        path: the file or folder in question.
        what: a verb and the rest of the sentence that begins with the path.
        advice: what to do about it.
        severity: "error" (the file cannot be used as it is) or "warning".
    """

    kind: str
    split: str
    path: Path
    what: str
    advice: str
    severity: str = "error"

    def line(self, more: str = "") -> str:
        """The finding in one line; `more` is inserted before the advice."""
        return f"{self.path} {self.what}{more}; {self.advice}"


Found = tuple[dict[str, list[Sample]], str, list[Finding]]


class DatasetSpec(Protocol):
    """The module of a data set format.

    `MEAN` and `STD` are RGB, 0 .. 1; sizes are (height, width); `CLASS_WEIGHTS` are by train id, or None;
    `BLOB_RULES` maps a ground class to the classes that stand on it; `IMAGES` is how images are named; `HINT` is the
    advice where no data set is found.
    """

    LABELS: LabelTable
    SIZE: tuple[int, int]
    CROP_SIZE: tuple[int, int]
    MEAN: tuple[float, float, float]
    STD: tuple[float, float, float]
    CLASS_WEIGHTS: tuple[float, ...] | None
    BLOB_RULES: dict[str, tuple[str, ...]]
    IMAGES: str
    HINT: str

    def find(self, root: Path) -> Found:
        """Samples of each split, the encoding of the label files, and findings about files that do not pair up."""
        ...

    def sample_paths(self, split: str, name: str, suffix: str, encoding: str) -> tuple[str, str]:
        """Paths of an image (`name` with `suffix`, such as ".jpg") and of its label, relative to the root."""
        ...


@dataclass(frozen=True)
class Extra:
    """A folder whose images are added to the training images.

    Args:
        round: of self-training; 0 where no network made the labels.
    """

    folder: Path
    num_images: int
    round: int


@dataclass(frozen=True)
class Dataset:
    """A data set found on disk.

    Args:
        name: its key in `learning.data.datasets.DATASETS`.
        splits: samples by split, sorted by file name. "train" and "val" where they exist; "test" is optional.
        encoding: what the label files hold, "ids" or "train_ids" (see `helpers.labels`).
        extra: the folders whose images stand at the end of "train".
    """

    name: str
    root: Path
    splits: dict[str, tuple[Sample, ...]]
    encoding: str
    spec: DatasetSpec
    extra: tuple[Extra, ...] = ()

    @property
    def labels(self) -> LabelTable:
        """The class table."""
        return self.spec.LABELS

    @property
    def decode(self) -> np.ndarray:
        """uint8 (256,): the train id of each value in the label files."""
        return self.labels.decoder(self.encoding, "train_ids")[0]

    def split(self, name: str) -> tuple[Sample, ...]:
        """Samples of a split; raises `InputError` where it does not exist."""
        if name not in self.splits:
            known = ", ".join(self.splits)
            raise InputError(f"{self.root} has no {name} images ({self.name} data set); it has: {known}")
        return self.splits[name]


def open_valid(name: str, spec: DatasetSpec, root: str | Path) -> Dataset:
    """The data set that `search` finds, if there are no findings; raises `InputError` with the first one otherwise."""
    dataset, findings = search(name, spec, root)
    if findings:
        first = findings[0]
        num_alike = sum((finding.kind, finding.split) == (first.kind, first.split) for finding in findings)
        things = first.kind.split()[0] + "s"  # images, labels, ...
        raise InputError(first.line(f" (and {num_alike - 1} more {things})" if num_alike > 1 else ""))
    return dataset


def search(name: str, spec: DatasetSpec, root: str | Path) -> tuple[Dataset, list[Finding]]:
    """Find a data set and every error in the naming and pairing of its files.

    Returns:
        The samples (a split may be empty, a label may be missing), and the findings in the order in which they were met.

    Raises:
        InputError: there is no such folder, or none of the data set's folders in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"there is no {name} data set in {root} (no such folder). {spec.HINT}")
    splits, encoding, findings = spec.find(root)
    if not splits:
        raise InputError(f"there is no {name} data set in {root}. {spec.HINT}")
    findings += [
        Finding(
            "empty split",
            split,
            root,
            f"has no images in its {split} split ({spec.IMAGES})",
            "add some, or remove the folder",
        )
        for split, samples in splits.items()
        if not samples
    ]
    return Dataset(name, root, {split: tuple(samples) for split, samples in splits.items()}, encoding, spec), findings


def pair(
    split: str,
    images: Mapping[str, Path],
    labels: Mapping[str, Path],
    instances: Mapping[str, Path],
    label_required: bool,
    where: Path,
) -> tuple[list[Sample], list[Finding]]:
    """Samples from files that share a key.

    Args:
        label_required: whether an image without label is an error.
        where: folder of the labels, for messages.

    Returns:
        The images by file name, also those whose label is missing. Findings: images without label, then labels
        without image, by key.
    """
    findings = [
        Finding(
            "image without label",
            split,
            images[key],
            f"has no label in {where}",
            "add the label or remove the image",
        )
        for key in sorted(images)
        if label_required and key not in labels
    ]
    findings += [
        Finding("label without image", split, labels[key], "has no image", "add the image or remove the label")
        for key in sorted(labels)
        if key not in images
    ]
    samples = [
        Sample(images[key].stem, images[key], labels.get(key), instances.get(key))
        for key in sorted(images, key=lambda key: images[key].name)
    ]
    return samples, findings


def by_key(split: str, paths: Iterable[Path], key: Callable[[Path], str]) -> tuple[dict[str, Path], list[Finding]]:
    """The first file of each key, and a finding for each further file with the same key."""
    found: dict[str, Path] = {}
    findings = []
    for path in paths:
        other = found.setdefault(key(path), path)
        if other is not path:
            what = f"and {path} are two files for the same image"
            findings.append(Finding("image in two files", split, other, what, "remove one"))
    return found, findings


def missing_label_folder(split: str, folder: Path, images: Path) -> Finding:
    """The folder of a split's labels does not exist."""
    return Finding("missing folder", split, folder, "is missing", f"the labels of {images} belong there")
