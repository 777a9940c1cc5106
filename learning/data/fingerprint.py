"""Identifies the data of a run, so that it can tell whether they have changed: by content, never by time stamps.

A fingerprint is "2:FILES:LABELS:IMAGES", three hashes after the version of their definition: of the names, of the decoded label
maps, and of the images' bytes. A fingerprint of version 1 is a single hash of names and sizes.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from helpers.threads import map_in_threads
from learning.data.datasets.base import Dataset, Sample, same_name
from learning.data.datasets.statistics import DatasetStatistics
from learning.data.hashes import hash_file, kept_hashes

VERSION = "2"
MOST_READ = 2**31  # bytes of images that are read again at every start; of more, hashes are kept
CHANGES = ("files were added, removed or renamed", "label maps were changed", "images were changed")


def fingerprint(dataset: Dataset, statistics: Mapping[str, DatasetStatistics], with_instances: bool = False) -> str:
    """The fingerprint of the splits that a run reads; it does not depend on the order of the files.

    Args:
        statistics: of these splits.
        with_instances: whether the run reads instance maps, too.
    """
    samples = [(split, sample) for split in sorted(statistics) for sample in dataset.split(split)]
    names = [f"{split} {_names(sample)}" for split, sample in samples]
    labels = [label for split in sorted(statistics) for label in statistics[split].label_hashes]
    if with_instances:
        labels = [
            label + (hash_file(sample.instances) if sample.instances else "")
            for label, (_, sample) in zip(labels, samples, strict=True)
        ]
    images = _image_hashes([sample.image for _, sample in samples])
    by_name = sorted(zip(names, labels, images, strict=True))
    return ":".join([VERSION, *(_combined(parts) for parts in zip(*by_name, strict=True))])


def difference(stored: object, dataset: Dataset, current: str) -> str:
    """What has changed since a fingerprint was stored, by any version; "" if nothing has.

    Args:
        current: what `fingerprint` says of the data set now.
    """
    if stored == current or stored == _version_1(dataset):
        return ""
    then = str(stored).split(":")
    now = current.split(":")
    if then[0] != VERSION or len(then) != len(now):
        return "files were added, removed or changed"
    changed = [what for what, old, new in zip(CHANGES, then[1:], now[1:], strict=True) if old != new]
    return changed[0] if changed[0] == CHANGES[0] else " and ".join(changed)


def _image_hashes(paths: list[Path]) -> list[str]:
    if sum(path.stat().st_size for path in paths) > MOST_READ:
        return kept_hashes(hash_file, paths, "reading images")
    return map_in_threads(hash_file, paths, description="reading images")


def _names(sample: Sample) -> str:
    return same_name(f"{sample.image.name} {sample.label.name if sample.label else ''}")


def _combined(parts: Iterable[str]) -> str:
    text = "\n".join(parts)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _version_1(dataset: Dataset) -> str:
    digest = hashlib.sha256()
    for split, samples in sorted(dataset.splits.items()):
        for sample in samples:
            for path in filter(None, (sample.image, sample.label)):
                digest.update(f"{split} {path.name} {path.stat().st_size}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
