"""What every data set is made of: samples, splits, the pairing of images with labels, and findings about the files."""

import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from helpers.errors import InputError
from helpers.images import PICTURE_SUFFIXES, SUFFIXES
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
        warnings: about its files, such as those that are not used.
    """

    name: str
    root: Path
    splits: dict[str, tuple[Sample, ...]]
    encoding: str
    spec: DatasetSpec
    extra: tuple[Extra, ...] = ()
    warnings: tuple[Finding, ...] = ()

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
    """The data set that `search` finds, with its warnings; raises `InputError` with the first error, if there are any."""
    dataset, findings = search(name, spec, root)
    errors = [finding for finding in findings if finding.severity == "error"]
    unused = [finding for finding in findings if finding.severity != "error"]
    if errors:
        hint = next((f" ({line})" for line in grouped_lines(unused) if errors[0].kind != "missing folder"), "")
        raise InputError(grouped_lines(errors)[0] + hint)
    return replace(dataset, warnings=tuple(unused))


def grouped_lines(findings: Iterable[Finding]) -> list[str]:
    """One line for the findings of each kind and split: the first, and how many there are besides."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.kind, finding.split), []).append(finding)
    return [
        first.line(f" (and {len(others)} more {kind.split()[0]}s)" if others else "")  # images, labels, ...
        for (kind, _), (first, *others) in groups.items()
    ]


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
        other = found.setdefault(same_name(key(path)), path)
        if other is not path:
            what = f"and {path} are two files for the same image"
            findings.append(Finding("image in two files", split, other, what, "remove one"))
    return found, findings


def same_name(name: str) -> str:
    """A name in one Unicode form (NFC): file systems and archives store the same letters in two."""
    return unicodedata.normalize("NFC", name)


def unused_files(
    split: str, folder: Path, used: Iterable[Path], expected: str, others: tuple[str, ...] = ()
) -> list[Finding]:
    """A warning for each picture below a folder that is not used, because of its format, its name or its place.

    Args:
        expected: how used files are named.
        others: endings of the names, without suffix, of files that belong to the format and are not used.
    """
    known = set(used)
    advice = f"convert or rename it if it belongs to the data set ({expected}; {' '.join(SUFFIXES)})"
    findings = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(place, name) for name in sorted(names) if not name.startswith(".")):
            is_other = path.suffix.lower() in SUFFIXES and path.stem.endswith(others)
            if path.suffix.lower() in PICTURE_SUFFIXES and path not in known and not is_other:
                findings.append(Finding("file that is not used", split, path, "is not used", advice, "warning"))
    return findings


def missing_label_folder(split: str, folder: Path, images: Path) -> Finding:
    """The folder of a split's labels does not exist."""
    return Finding("missing folder", split, folder, "is missing", f"the labels of {images} belong there")
