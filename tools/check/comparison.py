"""Checks across the samples of a data set: absent classes, duplicates, unusual sizes."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from learning.data.datasets.base import Dataset, Finding
from learning.data.datasets.label_checks import black_and_white, warnings
from tools.check.checked_sample import CheckedSample
from tools.check.phash import NEAR, NUM_BITS, distances

_RARE = 2  # a class in at most so many images of a split
_MIN_IMAGES_FOR_RARE = 20  # in smaller splits every class is rare


def compare(dataset: Dataset, samples: Sequence[CheckedSample]) -> list[Finding]:
    """Check the samples of all splits, in the order of the splits, against each other."""
    splits = {split: [sample for sample in samples if sample.split == split] for split in dataset.splits}
    findings = _unusual_sizes(samples)
    for split, members in splits.items():
        findings += _absent_classes(dataset, split, members)
        findings += _rare_classes(dataset, split, members)
    findings += _duplicates(samples)
    for later, earlier in (("val", "train"), ("test", "train"), ("test", "val")):
        findings += _near_duplicates(splits.get(later, []), splits.get(earlier, []))
        findings += _shared_recordings(splits.get(later, []), splits.get(earlier, []), samples)
    labels = [checked.label for checked in samples if checked.label]
    return findings + _equal_labels(samples) + black_and_white(dataset, labels) + warnings(dataset, labels)


def _warning(kind: str, checked: CheckedSample, what: str, advice: str) -> Finding:
    return Finding(kind, checked.split, checked.sample.image, what, advice, "warning")


def _unusual_sizes(samples: Sequence[CheckedSample]) -> list[Finding]:
    sizes = Counter(checked.size for checked in samples if checked.size)
    total = sum(sizes.values())
    if not sizes:
        return []
    (usual, number) = sizes.most_common(1)[0]
    if 2 * number <= total:
        return []  # images of many sizes are normal for this data set
    return [
        _warning(
            "unusual size",
            checked,
            f"is {checked.size[0]}x{checked.size[1]}, while {number} of {total} images are {usual[0]}x{usual[1]}",
            "check that it belongs to this data set",
        )
        for checked in samples
        if checked.size and checked.size != usual
    ]


def _images_of_each_class(labelled: Sequence[CheckedSample]) -> np.ndarray:
    """Number of images that contain each class, int64 (C,)."""
    return (np.stack([checked.pixels for checked in labelled if checked.pixels is not None]) > 0).sum(0)


def _absent_classes(dataset: Dataset, split: str, members: Sequence[CheckedSample]) -> list[Finding]:
    """Classes that no label map of the split contains."""
    labelled = [checked for checked in members if checked.pixels is not None]
    if not labelled:
        return []
    images = _images_of_each_class(labelled)
    absent = [name for name, number in zip(dataset.labels.names, images, strict=True) if number == 0]
    if not absent:
        return []
    what = f"has no pixel of {', '.join(absent)} in its {split} split"
    advice = "what it lacks cannot be learned" if split == "train" else "what it lacks has no IoU there"
    return [Finding("absent class", split, dataset.root, what, advice, "warning")]


def _rare_classes(dataset: Dataset, split: str, members: Sequence[CheckedSample]) -> list[Finding]:
    """Classes in only one or two label maps of the split."""
    labelled = [checked for checked in members if checked.pixels is not None]
    if len(labelled) < _MIN_IMAGES_FOR_RARE:
        return []
    images = _images_of_each_class(labelled)
    findings = []
    for index in np.flatnonzero((images > 0) & (images <= _RARE)):
        number = images[index]
        share = "the only one" if number == 1 else f"one of only {number}"
        what = f"is {share} of {len(labelled)} {split} images with {dataset.labels.names[index]}"
        advice = "too few images to learn this class" if split == "train" else "the IoU of this class depends on them"
        first = next(checked for checked in labelled if checked.pixels is not None and checked.pixels[index])
        findings.append(_warning("rare class", first, what, advice))
    return findings


def _and_more(number: int, things: str) -> str:
    return f" (and {number} more {things})" if number else ""


def _duplicates(samples: Iterable[CheckedSample]) -> list[Finding]:
    """Groups of images with exactly the same pixels in one split."""
    groups = defaultdict(list)
    for checked in samples:
        if checked.digest:
            groups[checked.split, checked.digest].append(checked)
    findings = []
    for first, *others in groups.values():
        if others:
            what = f"has the same pixels as {others[0].sample.image}" + _and_more(len(others) - 1, "images")
            labels = {checked.label_digest for checked in (first, *others)} - {None}
            what += ", but another label" if len(labels) > 1 else ""
            findings.append(_warning("duplicate image", first, what, "keep one of them"))
    return findings


def _near_duplicates(later: Iterable[CheckedSample], earlier: Iterable[CheckedSample]) -> list[Finding]:
    """Images of one split that look like an image of another."""
    candidates = [checked for checked in earlier if checked.image_hash is not None]
    if not candidates:
        return []
    hashes = np.stack([checked.image_hash for checked in candidates if checked.image_hash is not None])
    findings = []
    for checked in later:
        if checked.image_hash is None:
            continue
        bits = distances(hashes, checked.image_hash)
        if bits.min() <= NEAR:
            other = candidates[bits.argmin()]
            more = _and_more(int((bits <= NEAR).sum()) - 1, f"of {other.split}")
            what = f"has the same pixels as {other.sample.image}{more}"
            if other.digest != checked.digest:
                what = f"looks like {other.sample.image}{more}: their hashes differ in {bits.min()} of {NUM_BITS} bits"
            advice = (
                f"keep such images in one split: scores on images that resemble those of {other.split} are too high"
            )
            findings.append(_warning("near duplicate across splits", checked, what, advice))
    return findings


def _recording(checked: CheckedSample) -> str:
    """The file name up to its last number."""
    return re.sub(r"\d+\D*$", "", checked.sample.name)


def _shared_recordings(
    later: Sequence[CheckedSample], earlier: Sequence[CheckedSample], samples: Iterable[CheckedSample]
) -> list[Finding]:
    """Recordings (file names that differ in their last number only) with frames in two splits."""
    if len({_recording(checked) for checked in samples}) < 2:
        return []  # one name for all, as in image_0001, is not a recording
    frames = Counter(map(_recording, earlier))
    # A name with a single frame in the other split is not a recording, either.
    shared = {_recording(checked) for checked in later if frames[_recording(checked)] > 1} - {""}
    findings = []
    for name in sorted(shared):
        first, *others = [checked for checked in later if _recording(checked) == name]
        also = f", as are {len(others)} more of the {len(later)} {first.split} images," if others else ""
        frames_there = f"{earlier[0].split} holds {frames[name]} of it"
        what = f"is a frame of the recording {name.strip('_-. ')}{also} and {frames_there}"
        advice = "scores on recordings seen in training are too high; keep each recording in one split"
        findings.append(_warning("recording in two splits", first, what, advice))
    return findings


def _equal_labels(samples: Iterable[CheckedSample]) -> list[Finding]:
    """Equal label maps of images that do not look alike."""
    groups = defaultdict(list)
    for checked in samples:
        if checked.label_digest and checked.digest:
            groups[checked.label_digest].append(checked)
    findings = []
    for first, *others in groups.values():
        different = [checked for checked in others if not _look_alike(checked, first)]
        if different:
            what = f"equals the label map {different[0].sample.label}" + _and_more(len(different) - 1, "label maps")
            advice = "the images differ: one of the label maps belongs to another image"
            findings.append(Finding("equal label maps", first.split, first.sample.label, what, advice, "warning"))
    return findings


def _look_alike(one: CheckedSample, other: CheckedSample) -> bool:
    if one.digest == other.digest:
        return True
    if one.image_hash is None or other.image_hash is None:
        return False
    return bool(distances(one.image_hash[None], other.image_hash)[0] <= NEAR)
