"""One picture of a data set, looked at in full: its image, label map and instance map are decoded and judged."""

import hashlib
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.errors import InputError
from helpers.images import read_image, read_instances, read_label, read_size
from learning.data.datasets.base import Finding, Sample
from learning.data.datasets.statistics import count_label
from tools.check.masks import MISALIGNED, RAMP, misalignment, ramp_share
from tools.check.phash import difference_hash

_NEARLY_CONSTANT = 8  # gray levels between the darkest and the brightest 1 %; street scenes at dusk have more than 180
_NEARLY_VOID = 0.95  # of the pixels


@dataclass
class Picture:
    """What is kept of a picture: a few hundred bytes.

    Args:
        split, sample: where it belongs.
        size: (height, width) of the image, or None if that cannot be read.
        pixels: int64 (C,), labelled pixels of each class, or None without a readable label map; `void`: int, the others.
        digest: bytes, equal for images of equal pixels; None if the image cannot be read.
        label_digest: the same of the label map; None where it has fewer than two classes, and such maps are often equal.
        likeness: uint8 (32,), `tools.check.phash.difference_hash`; None for a nearly constant image.
        findings: list of Finding.
    """

    split: str
    sample: Sample
    size: tuple | None = None
    pixels: np.ndarray | None = None
    void: int = 0
    digest: bytes | None = None
    label_digest: bytes | None = None
    likeness: np.ndarray | None = None
    findings: list = field(default_factory=list)

    def note(self, kind, path, what, advice, severity="warning"):
        """Add a finding."""
        self.findings.append(Finding(kind, self.split, Path(path), what, advice, severity))


def examine(dataset, split, sample):
    """Decode every file of a sample and judge it on its own.

    Args:
        dataset: learning.data.datasets.base.Dataset.
        split: name of the sample's split.
        sample: learning.data.datasets.base.Sample.

    Returns:
        Picture
    """
    picture = Picture(split, sample)
    gray = _examine_image(picture)
    label = _examine_label(picture, dataset, gray) if sample.label else None
    if sample.instances:
        _examine_instances(picture, dataset, label)
    return picture


def _read(picture, read, path):
    """`read(path)`, or None after noting why it cannot be read."""
    try:
        return read(path)
    except InputError as error:
        # The message names the file, as a finding does by itself.
        what = str(error).replace(f"cannot read {path}: ", "cannot be read: ").removeprefix(f"{path} ")
        what, _, advice = what.partition("; ")
        picture.note("unreadable file", path, what, advice or "replace or remove it", "error")
        return None


def _digest(pixels):
    return hashlib.blake2b(np.ascontiguousarray(pixels), digest_size=16, key=str(pixels.shape).encode()).digest()


def _examine_image(picture):
    """Judge the image; returns it in gray as PIL image, or None."""
    path = picture.sample.image
    picture.size = _read(picture, read_size, path)
    image = _read(picture, read_image, path) if picture.size else None
    if image is None:
        return None
    image = image.transpose(1, 2, 0)
    picture.digest = _digest(image)
    gray = Image.fromarray(np.ascontiguousarray(image)).convert("L")
    shares = np.cumsum(gray.histogram()) / image.shape[0] / image.shape[1]
    darkest, brightest = np.searchsorted(shares, (0.01, 0.99))
    if brightest - darkest <= _NEARLY_CONSTANT:
        what = f"is nearly constant (gray {darkest} .. {brightest} of 0 .. 255)"
        picture.note("nearly constant image", path, what, "look at it; remove it if it shows nothing")
    else:
        picture.likeness = difference_hash(gray)
    if (turn := _orientation(path)) not in (0, 1):
        what = f"asks viewers to turn it (EXIF orientation {turn}), which training does not do"
        picture.note("image to be turned", path, what, "check that its label is stored the same way up")
    return gray


def _orientation(path):
    """The EXIF tag Orientation of a photograph; 1 is upright."""
    with Image.open(path) as header, suppress(SyntaxError, ValueError, OSError, struct.error):
        # Pillow would decode a whole PNG once more to look for the tag.
        return header.getexif().get(0x0112, 1) if header.format == "JPEG" else 1
    return 1  # a damaged tag, which viewers disregard


def _examine_label(picture, dataset, gray):
    """Judge the label map; returns it as uint8 (H, W) if it can be compared with other files, or None."""
    path = picture.sample.label
    label = _read(picture, read_label, path)
    if label is None:
        return None
    num_classes = len(dataset.labels.classes)
    counts, errors = count_label(label, picture.size, picture.sample, dataset, picture.split)
    picture.pixels, picture.void = counts[:num_classes], int(counts[num_classes:].sum())
    picture.findings += errors
    with Image.open(path) as header:
        if header.format == "JPEG":
            what = "is a JPEG file, whose compression changes class numbers"
            picture.note("JPEG label", path, what, "make label maps anew as PNG")
    if (share := ramp_share(label)) > RAMP:
        what = f"looks interpolated: {100 * share:.0f} % of its borders run over class numbers in between"
        picture.note("interpolated label", path, what, "resize label maps by nearest neighbor, without smooth edges")
    if errors:
        return label if label.shape == picture.size else None
    _judge_content(picture, dataset, label)
    if gray is not None and picture.label_digest:
        gain, down, right = misalignment(gray, label)
        if gain > MISALIGNED:
            where = (
                f"{abs(down)} pixels {'up' if down < 0 else 'down'} and {abs(right)} {'left' if right < 0 else 'right'}"
            )
            what = f"does not fit its image: its borders would fit better moved {where}"
            picture.note(
                "misaligned label", path, what, "lay it over its image; it may be shifted, or of another picture"
            )
    return label


def _judge_content(picture, dataset, label):
    classes = np.flatnonzero(picture.pixels)
    path, share = picture.sample.label, picture.void / label.size
    if share >= _NEARLY_VOID:
        what = "is all void" if share == 1 else f"is void in {100 * share:.1f} % of its pixels"
        picture.note("void label", path, what, "there is next to nothing to learn from it; complete or remove it")
    elif len(classes) == 1:
        what = f"holds a single class, {dataset.labels.names[classes[0]]}"
        picture.note("single class", path, what, "check that the label is complete")
    if len(classes) > 1:
        picture.label_digest = _digest(label)


def _examine_instances(picture, dataset, label):
    path = picture.sample.instances
    instances = _read(picture, read_instances, path)
    if instances is None or label is None:
        return
    if instances.shape != label.shape:
        sizes = ["x".join(map(str, map_.shape)) for map_ in (instances, label)]
        what = f"is {sizes[0]} but its label {picture.sample.label} is {sizes[1]}"
        picture.note("instances of another size", path, what, "both must have the image's size", "error")
        return
    stated = np.clip(np.where(instances >= 1000, instances // 1000, instances), 0, 255).astype(np.uint8)
    if dataset.encoding == "train_ids":
        stated = dataset.labels.decoder("ids", "train_ids")[0][stated]
    differ = (stated != label) & (label != 255)
    if num := np.count_nonzero(differ):
        row, column = np.unravel_index(differ.argmax(), differ.shape)
        what = (
            f"contradicts its label map in {num} pixels ({100 * num / label.size:.2g} %), first in row {row}, column "
            f"{column}: instance number {instances[row, column]}, label {label[row, column]}"
        )
        picture.note("instances contradict label", path, what, "make both from the same annotation")
