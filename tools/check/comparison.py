"""All pictures of a data set together: classes that are missing, pictures that occur twice, sizes that stand out."""

import re
from collections import Counter, defaultdict

import numpy as np
from PIL import Image

from learning.data.datasets.base import Finding
from tools.check.phash import NEAR, NUM_BITS, distances

_RARE = 2  # a class in so few images of a split
_SPLIT_WORTH_COUNTING = 20  # images; in smaller splits every class is rare


def compare(dataset, pictures):
    """Judge the pictures of all splits against each other.

    Args:
        dataset: learning.data.datasets.base.Dataset.
        pictures: list of tools.check.picture.Picture, in the order of the splits.

    Returns:
        list of Finding, all of them warnings.
    """
    splits = {split: [picture for picture in pictures if picture.split == split] for split in dataset.splits}
    findings = _odd_sizes(pictures)
    for split, members in splits.items():
        findings += _classes(dataset, split, [picture for picture in members if picture.pixels is not None])
        findings += _unused_files(dataset, split, members)
    findings += _duplicates(pictures)
    for later, earlier in (("val", "train"), ("test", "train"), ("test", "val")):
        findings += _near_duplicates(splits.get(later, []), splits.get(earlier, []))
        findings += _recordings(splits.get(later, []), splits.get(earlier, []), pictures)
    return findings + _equal_labels(pictures)


def _warning(kind, picture, what, advice):
    return Finding(kind, picture.split, picture.sample.image, what, advice, "warning")


def _odd_sizes(pictures):
    sizes = Counter(picture.size for picture in pictures if picture.size)
    usual, number = sizes.most_common(1)[0] if sizes else (None, 0)
    if 2 * number <= sum(sizes.values()):
        return []  # sizes vary by nature
    return [
        _warning(
            "unusual size",
            picture,
            f"is {picture.size[0]}x{picture.size[1]}, while {number} of {sum(sizes.values())} images are "
            f"{usual[0]}x{usual[1]}",
            "look whether it belongs here",
        )
        for picture in pictures
        if picture.size not in (None, usual)
    ]


def _classes(dataset, split, labelled):
    """Classes that no label map of the split holds, or only one or two."""
    if not labelled:
        return []
    images = (np.stack([picture.pixels for picture in labelled]) > 0).sum(0)
    findings = []
    if absent := [name for name, number in zip(dataset.labels.names, images, strict=True) if number == 0]:
        what = f"has no pixel of {', '.join(absent)} in its {split} split"
        advice = "nothing can be learned of it there" if split == "train" else "it has no score there"
        findings.append(Finding("absent class", split, dataset.root, what, advice, "warning"))
    if len(labelled) >= _SPLIT_WORTH_COUNTING:
        for index in np.flatnonzero((images > 0) & (images <= _RARE)):
            holders = [picture for picture in labelled if picture.pixels[index]]
            what = f"is one of only {len(holders)} of {len(labelled)} {split} images with {dataset.labels.names[index]}"
            what = what.replace("one of only 1 of", "the only one of")
            advice = (
                "there is next to nothing to learn from" if split == "train" else "the score of this class hangs on it"
            )
            findings.append(_warning("rare class", holders[0], what, advice))
    return findings


def _unused_files(dataset, split, members):
    """Pictures beside the images whose names or formats make them no part of the data set."""
    used = {picture.sample.image.with_suffix("") for picture in members}
    findings = []
    for folder in sorted({picture.sample.image.parent for picture in members}):
        others = [
            path
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in Image.registered_extensions() and path.with_suffix("") not in used
        ]
        others = [path for path in others if path.is_file() and not path.name.startswith(".")]
        if others:
            what = "is not used" + _and_more(len(others) - 1, "files")
            advice = f"if it is an image of the data set, name it as the others ({dataset.spec.IMAGES})"
            findings.append(Finding("unused file", split, others[0], what, advice, "warning"))
    return findings


def _and_more(number, things):
    return f" (and {number} more {things})" if number else ""


def _duplicates(pictures):
    """Groups of images with exactly the same pixels in one split."""
    groups = defaultdict(list)
    for picture in pictures:
        if picture.digest:
            groups[picture.split, picture.digest].append(picture)
    findings = []
    for first, *others in groups.values():
        if others:
            what = f"has the same pixels as {others[0].sample.image}" + _and_more(len(others) - 1, "images")
            labels = {picture.label_digest for picture in (first, *others)} - {None}
            what += ", but another label" if len(labels) > 1 else ""
            findings.append(_warning("duplicate image", first, what, "keep one of them"))
    return findings


def _near_duplicates(later, earlier):
    """Images of one split that look like an image of another."""
    candidates = [picture for picture in earlier if picture.likeness is not None]
    if not candidates:
        return []
    hashes = np.stack([picture.likeness for picture in candidates])
    findings = []
    for picture in later:
        if picture.likeness is None:
            continue
        bits = distances(hashes, picture.likeness)
        if bits.min() <= NEAR:
            other = candidates[bits.argmin()]
            more = _and_more(int((bits <= NEAR).sum()) - 1, f"of {other.split}")
            what = f"has the same pixels as {other.sample.image}{more}"
            if other.digest != picture.digest:
                what = f"looks like {other.sample.image}{more}: their hashes differ in {bits.min()} of {NUM_BITS} bits"
            advice = f"keep such pictures in one split: a score on what {other.split} holds flatters"
            findings.append(_warning("near duplicate across splits", picture, what, advice))
    return findings


def _recordings(later, earlier, pictures):
    """Recordings (file names that differ in their last number only) of which two splits hold frames."""
    of = {id(picture): re.sub(r"\d+\D*$", "", picture.sample.name) for picture in pictures}
    sizes = Counter(of.values())
    frames = Counter(of[id(picture)] for picture in earlier)
    findings = []
    # One name for all, as in image_0001, is no recording; nor is a name with a single frame in the other split.
    shared = {of[id(picture)] for picture in later if frames[of[id(picture)]] > 1} - {""} if len(sizes) > 1 else ()
    for name in sorted(shared):
        first, *others = [picture for picture in later if of[id(picture)] == name]
        also = f", as are {len(others)} more of the {len(later)} {first.split} images," if others else ""
        what = (
            f"is a frame of the recording {name.strip('_-. ')}{also} and {earlier[0].split} holds {frames[name]} of it"
        )
        advice = "a score on a recording that training knows flatters; keep each recording in one split"
        findings.append(_warning("recording in two splits", first, what, advice))
    return findings


def _equal_labels(pictures):
    """Label maps that are equal although their images are not even alike."""
    groups = defaultdict(list)
    for picture in pictures:
        if picture.label_digest and picture.digest:
            groups[picture.label_digest].append(picture)
    findings = []
    for first, *others in groups.values():
        others = [picture for picture in others if not _alike(picture, first)]
        if others:
            what = f"equals the label map {others[0].sample.label}" + _and_more(len(others) - 1, "label maps")
            path, advice = first.sample.label, "the images differ: one of the label maps belongs to another picture"
            findings.append(Finding("equal label maps", first.split, path, what, advice, "warning"))
    return findings


def _alike(one, other):
    if one.digest == other.digest:
        return True
    if one.likeness is None or other.likeness is None:
        return False
    return distances(one.likeness[None], other.likeness)[0] <= NEAR
