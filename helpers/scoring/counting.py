"""Compare prediction files with label files: count every pixel of every image and check the files. No torch here."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from PIL import Image

from helpers.errors import InputError
from helpers.images import read_instances, read_label
from helpers.labels import LabelTable
from helpers.scoring import scores
from helpers.scoring.plausibility import encoding_note
from helpers.threads import map_in_threads

_T = TypeVar("_T")


class LabeledSample(Protocol):
    """The parts of `learning.data.datasets.base.Sample` that scoring uses."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> Path | None: ...
    @property
    def instances(self) -> Path | None: ...


class LabeledDataset(Protocol):
    """The parts of `learning.data.datasets.base.Dataset` that scoring uses."""

    @property
    def name(self) -> str: ...
    @property
    def encoding(self) -> str: ...
    @property
    def labels(self) -> LabelTable: ...
    @property
    def decode(self) -> np.ndarray: ...


def count_all(
    samples: Sequence[LabeledSample], predictions: Sequence[Path], dataset: LabeledDataset, with_instances: bool
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Count every pixel of every image, in threads; prints a note if the predictions seem to be in another encoding.

    Args:
        samples: each has a label, and an instance map if `with_instances`.
        predictions: label-id PNGs of the samples.

    Returns:
        The confusion matrix of each image, int64 (L, L) over label ids, in the order of `samples`; and with instances the
        concatenated `scores.instance_matches`, int64 (k, 4), else None.

    Raises:
        InputError: names the first image, in the order of `samples`, that cannot be scored.
    """
    # glibc returns freed memory, and the system clears it again for every image, until a block as large as this one was freed
    # (mallopt(3), M_MMAP_THRESHOLD). It is never written, so it costs nothing; on other systems it has no effect.
    np.empty(31 << 20, np.uint8)
    count = partial(count_image, dataset=dataset, with_instances=with_instances)
    counted = map_in_threads(count, samples, predictions, description="evaluating")
    matches = [found for _, found in counted if found is not None]
    confusions = [confusion for confusion, _ in counted]
    note = encoding_note(np.sum(confusions, 0), dataset.labels)
    if note:
        print(f"note: {predictions[0].parent}: {note}", file=sys.stderr)
    return confusions, np.concatenate(matches) if with_instances else None


def count_image(
    sample: LabeledSample, path: Path, dataset: LabeledDataset, with_instances: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Compare the prediction in `path` with the label of `sample`.

    Returns:
        Confusion matrix over label ids, int64 (L, L), and with instances `scores.instance_matches`, else None.

    Raises:
        InputError: unreadable files, different sizes, values that are not labels.
    """
    assert sample.label is not None, sample.name
    table = dataset.labels
    truth = read_label(sample.label)
    prediction = _read_prediction(path)
    _check_size(path, prediction, sample.label, truth)
    values = scores.confusion_matrix(truth, prediction, 256)
    truth_labels, known = table.decoder(dataset.encoding, "ids")
    _check_values(sample.label, values.sum(1), known)
    predicted_labels, known = table.decoder("ids", "ids")
    _check_values(path, values.sum(0), known)
    confusion = scores.remap_confusion(values, truth_labels, predicted_labels, len(table.rows))
    if not with_instances:
        return confusion, None
    assert sample.instances is not None, sample.name
    instances = read_instances(sample.instances)
    _check_size(sample.instances, instances, sample.label, truth)
    try:
        return confusion, scores.instance_matches(instances, prediction, table)
    except InputError as error:
        raise InputError(f"{sample.instances}: {error}") from None


def _read_prediction(path: Path) -> np.ndarray:
    try:
        return read_label(path)
    except InputError:
        with suppress(OSError, SyntaxError, Image.DecompressionBombError), Image.open(path) as image:
            if len(image.getbands()) > 1:
                raise InputError(f"{path} is a color image; use results_val, not results_color_val") from None
        raise


def _check_size(path: Path, pixels: np.ndarray, label: Path, truth: np.ndarray) -> None:
    if pixels.shape != truth.shape:
        size, expected = ("x".join(map(str, array.shape)) for array in (pixels, truth))
        raise InputError(f"{path} is {size} pixels, but {label} is {expected}; both must have the same size")


def _check_values(path: Path, counts: np.ndarray, known: np.ndarray) -> None:
    unknown = np.flatnonzero(counts * ~known)
    if len(unknown):
        also = f" (and {len(unknown) - 1} more such values)" if len(unknown) > 1 else ""
        raise InputError(
            f"{path} holds the value {unknown[0]} in {counts[unknown[0]]} pixels{also}, but labels here are "
            f"0 .. {np.flatnonzero(known[:255])[-1]}, and 255 for void"
        )
