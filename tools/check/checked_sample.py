"""Checks of one sample: its image, label map and instance map are decoded in full."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from helpers.errors import InputError
from helpers.image_file import ImageHeader, read_image_header
from helpers.images import read_image, read_instances, read_label_file
from learning.data.datasets.base import Dataset, Finding, Sample
from learning.data.datasets.label_checks import LabelFacts
from learning.data.datasets.statistics import count_label
from tools.check.masks import MISALIGNED, RAMP, misalignment, ramp_share
from tools.check.phash import difference_hash

_NEARLY_CONSTANT = 8  # gray levels from the 1st to the 99th percentile; street scenes at dusk have more than 180
_NEARLY_VOID = 0.95  # of the pixels
_Content = TypeVar("_Content")


@dataclass
class CheckedSample:
    """The results of the checks of one sample: a few hundred bytes.

    Args:
        split, sample: the sample and its split.
        header: of the image, or None if it cannot be read.
        label: facts of the label map, or None without a readable one.
        pixels: int64 (C,), labelled pixels of each class, or None without a readable label map.
        void: number of the other pixels.
        digest: equal for images of equal pixels; None if the image cannot be read.
        label_digest: the same for the label map; None with fewer than two classes, because such maps are often equal.
        image_hash: uint8 (32,), `tools.check.phash.difference_hash`; None for a nearly constant image.
        findings: what is wrong with this sample.
    """

    split: str
    sample: Sample
    header: ImageHeader | None = None
    label: LabelFacts | None = None
    pixels: np.ndarray | None = None
    void: int = 0
    digest: bytes | None = None
    label_digest: bytes | None = None
    image_hash: np.ndarray | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the image, or None if it cannot be read."""
        return self.header.size if self.header else None

    def note(self, kind: str, path: Path, what: str, advice: str, severity: str = "warning") -> None:
        """Add a finding."""
        self.findings.append(Finding(kind, self.split, path, what, advice, severity))


def check_sample(dataset: Dataset, split: str, sample: Sample) -> CheckedSample:
    """Decode and check every file of a sample."""
    checked = CheckedSample(split, sample)
    gray = _check_image(checked)
    label = _check_label(checked, sample.label, dataset, gray) if sample.label else None
    if sample.instances:
        _check_instances(checked, sample.instances, dataset, label)
    return checked


def _read(checked: CheckedSample, read: Callable[[Path], _Content], path: Path) -> _Content | None:
    """`read(path)`, or None after adding the finding that it cannot be read."""
    try:
        return read(path)
    except InputError as error:
        # The message contains the path, and so does a finding.
        what = str(error).replace(f"cannot read {path}: ", "cannot be read: ").removeprefix(f"{path} ")
        what, _, advice = what.partition("; ")
        checked.note("unreadable file", path, what, advice or "replace or remove it", "error")
        return None


def _digest(pixels: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16, key=str(pixels.shape).encode()).digest()


def _check_image(checked: CheckedSample) -> Image.Image | None:
    """Check the image; returns it in mode L, or None if it cannot be read."""
    path = checked.sample.image
    checked.header = _read(checked, read_image_header, path)
    pixels = _read(checked, read_image, path) if checked.header else None
    if pixels is None:
        return None
    pixels = pixels.transpose(1, 2, 0)
    checked.digest = _digest(pixels)
    gray = Image.fromarray(np.ascontiguousarray(pixels)).convert("L")
    shares = np.cumsum(gray.histogram()) / pixels.shape[0] / pixels.shape[1]
    darkest, brightest = np.searchsorted(shares, (0.01, 0.99))
    if brightest - darkest <= _NEARLY_CONSTANT:
        what = f"is nearly constant (gray {darkest} .. {brightest} of 0 .. 255)"
        checked.note("nearly constant image", path, what, "look at it; remove it if it shows nothing")
    else:
        checked.image_hash = difference_hash(gray)
    return gray


def _check_label(checked: CheckedSample, path: Path, dataset: Dataset, gray: Image.Image | None) -> np.ndarray | None:
    """Check the label map; returns it as uint8 (H, W) if it can be compared with other files, or None."""
    file = _read(checked, read_label_file, path)
    if file is None:
        return None
    label = file.values
    checked.label = LabelFacts.of(checked.split, checked.sample, checked.header, file)
    num_classes = len(dataset.labels.classes)
    counts, errors = count_label(label, checked.header, checked.sample, dataset, checked.split)
    pixels = counts[:num_classes]
    checked.pixels = pixels
    checked.void = int(counts[num_classes:].sum())
    checked.findings += errors
    with Image.open(path) as header:
        if header.format == "JPEG":
            what = "is a JPEG file, whose compression changes class numbers"
            checked.note("JPEG label", path, what, "create label maps anew as PNG")
    if (share := ramp_share(label)) > RAMP:
        what = f"looks interpolated: {100 * share:.0f} % of its borders have intermediate class numbers"
        checked.note("interpolated label", path, what, "resize label maps by nearest neighbor, without antialiasing")
    if errors:
        return label if label.shape == checked.size else None
    _check_classes(checked, path, label, [dataset.labels.names[index] for index in np.flatnonzero(pixels)])
    if gray is not None and checked.label_digest:
        _check_alignment(checked, path, gray, label)
    return label


def _check_classes(checked: CheckedSample, path: Path, label: np.ndarray, classes: Sequence[str]) -> None:
    """Check the share of void and the names of the `classes` in the label map."""
    share = checked.void / label.size
    if share >= _NEARLY_VOID:
        what = "is all void" if share == 1 else f"is void in {100 * share:.1f} % of its pixels"
        checked.note("void label", path, what, "it hardly contributes to training; complete or remove it")
    elif len(classes) == 1:
        what = f"holds a single class, {classes[0]}"
        checked.note("single class", path, what, "check that the label is complete")
    if len(classes) > 1:
        checked.label_digest = _digest(label)


def _check_alignment(checked: CheckedSample, path: Path, gray: Image.Image, label: np.ndarray) -> None:
    gain, down, right = misalignment(gray, label)
    if gain > MISALIGNED:
        vertical = "up" if down < 0 else "down"
        horizontal = "left" if right < 0 else "right"
        shift = f"{abs(down)} pixels {vertical} and {abs(right)} {horizontal}"
        what = f"does not fit its image: its borders would fit better moved {shift}"
        checked.note("misaligned label", path, what, "overlay it on its image; it may be shifted, or of another image")


def _check_instances(checked: CheckedSample, path: Path, dataset: Dataset, label: np.ndarray | None) -> None:
    instances = _read(checked, read_instances, path)
    if instances is None or label is None:
        return
    if instances.shape != label.shape:
        sizes = ["x".join(map(str, map_.shape)) for map_ in (instances, label)]
        what = f"is {sizes[0]} but its label {checked.sample.label} is {sizes[1]}"
        checked.note("instances of another size", path, what, "both must have the image's size", "error")
        return
    classes = np.where(instances >= 1000, instances // 1000, instances)
    expected = np.clip(classes, 0, 255).astype(np.uint8)
    if dataset.encoding == "train_ids":
        expected = dataset.labels.decoder("ids", "train_ids")[0][expected]
    differ = (expected != label) & (label != 255)
    if num := np.count_nonzero(differ):
        row, column = np.unravel_index(differ.argmax(), differ.shape)
        what = (
            f"contradicts its label map in {num} pixels ({100 * num / label.size:.2g} %), first in row {row}, column "
            f"{column}: instance number {instances[row, column]}, label {label[row, column]}"
        )
        checked.note("instances contradict label", path, what, "create both from the same annotation")
