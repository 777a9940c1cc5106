"""What label maps and photos say about each other across a data set: turned photos, palettes, black-and-white masks."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np

from helpers.image_file import ImageHeader
from helpers.images import LabelFile
from learning.data.datasets.base import Dataset, Finding, Sample

_RENUMBERED = "if a PNG optimizer made it, restore the original files (optipng -nx and oxipng --nx keep the numbers)"


@dataclass(frozen=True)
class LabelFacts:
    """What the checks across files need of one sample with a label map.

    Args:
        path: of the label map.
        image: of its image, with its `header`; None if it cannot be read.
        values: bool (256,), the values in the label map.
        palette: as in `LabelFile`.
    """

    split: str
    path: Path
    image: Path
    header: ImageHeader | None
    values: np.ndarray
    palette: np.ndarray | None

    @classmethod
    def of(cls, split: str, sample: Sample, header: ImageHeader | None, label: LabelFile) -> "LabelFacts":
        """The facts of a label map that was read."""
        assert sample.label is not None
        values = np.bincount(label.values.ravel(), minlength=256) > 0
        return cls(split, sample.label, sample.image, header, values, label.palette)


def size_finding(split: str, sample: Sample, header: ImageHeader, shape: tuple[int, ...]) -> Finding | None:
    """The finding for a label map of another size than its image."""
    if shape == header.size:
        return None
    assert sample.label is not None
    if shape == header.stored_size:
        what = (
            f"fits {sample.image} only as that is stored: EXIF orientation {header.orientation} turns the image by 90 degrees, "
            "and its label is not turned"
        )
        advice = "turn the label too, or remove the orientation from the image (exiftool -Orientation= IMAGE)"
        return Finding("label of a turned image", split, sample.label, what, advice)
    height, width = header.size
    what = f"is {height}x{width} but its label {sample.label} is {shape[0]}x{shape[1]}"
    return Finding(
        "image and label of different sizes", split, sample.image, what, "a label must have its image's size"
    )


def black_and_white(dataset: Dataset, facts: Sequence[LabelFacts]) -> list[Finding]:
    """An error if all label maps together hold only 0 and 255: one of them may be of class 0 and void, but not all."""
    values = np.any([one.values for one in facts], axis=0) if facts else np.zeros(256, bool)
    if np.flatnonzero(values).tolist() != [0, 255]:
        return []
    first = facts[0]
    what = "and all other labels hold only 0 and 255, as black-and-white masks, but 255 means void here"
    decode = dataset.decode
    black, white = map(int, np.flatnonzero(decode < len(dataset.labels.names))[:2])
    names = [dataset.labels.names[decode[value]] for value in (black, white)]
    beside = [one.path.name[::-1] for one in facts if one.path.parent == first.path.parent]
    common = takewhile(lambda characters: len(set(characters)) == 1, zip(*beside, strict=False))
    ending = "".join(characters[0] for characters in common)[::-1]  # instance maps may be beside the label maps
    advice = (
        f"write class numbers, such as {black} ({names[0]}) for black and {white} ({names[1]}) for white: "
        f"python -c \"import sys; from PIL import Image; [Image.open(f).convert('L').point(lambda v: "
        f'{{0: {black}, 255: {white}}}.get(v, v)).save(f) for f in sys.argv[1:]]" '
        f"{shlex.quote(str(first.path.parent))}/*{shlex.quote(ending)}"
    )
    return [Finding("black-and-white mask", first.split, first.path, what, advice)]


def warnings(dataset: Dataset, facts: Iterable[LabelFacts]) -> list[Finding]:
    """What cannot be decided from the files, but may mean that labels are read wrongly."""
    facts = list(facts)
    return _turned(facts) + _palettes(dataset, facts)


def _turned(facts: Iterable[LabelFacts]) -> list[Finding]:
    """Turned images whose label has the same size turned or not."""
    return [
        Finding(
            "image turned by EXIF",
            one.split,
            one.image,
            f"is turned upright by its EXIF orientation {one.header.orientation}, and the size of its label fits both ways",
            "overlay them; if the label fits the stored image, remove the orientation (exiftool -Orientation= IMAGE)",
            "warning",
        )
        for one in facts
        if one.header and one.header.orientation != 1 and one.header.size == one.header.stored_size
    ]


def _palettes(dataset: Dataset, facts: Iterable[LabelFacts]) -> list[Finding]:
    """Palette images whose colors say that their values were renumbered."""
    class_colors = dataset.labels.palette[dataset.decode]
    known: dict[int, tuple[tuple[int, ...], Path]] = {}
    findings = []
    for one in facts:
        if one.palette is None:
            continue
        used = [int(value) for value in np.flatnonzero(one.values) if value < len(one.palette)]
        is_gray = (one.palette == one.palette[:, :1]).all()
        wrong = [v for v in used if one.palette[v, 0] != v and not np.array_equal(one.palette[v], class_colors[v])]
        if is_gray and wrong:
            what = f"is a palette image in which the value {wrong[0]} is gray {one.palette[wrong[0], 0]}"
            advice = f"labels are the values; {_RENUMBERED} or convert it to gray with Pillow's convert('L')"
            findings.append(Finding("palette of other grays", one.split, one.path, what, advice, "warning"))
        if is_gray:
            continue
        colors = {value: tuple(one.palette[value].tolist()) for value in used}
        differing = [value for value in used if value in known and known[value][0] != colors[value]]
        if differing:
            color, other = known[differing[0]]
            what = f"has the color {colors[differing[0]]} for the value {differing[0]}, which is {color} in {other}"
            findings.append(Finding("palette that differs", one.split, one.path, what, _RENUMBERED, "warning"))
        for value in used:
            known.setdefault(value, (colors[value], one.path))
    return findings
