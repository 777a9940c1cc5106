"""Compare predictions with the truth: every pixel of every image, and what is wrong with the files. No torch here."""

from contextlib import suppress
from functools import partial

import numpy as np
from PIL import Image

from helpers.errors import InputError
from helpers.images import read_instances, read_label
from helpers.scoring import scores
from helpers.threads import map_in_threads


def count_all(samples, predictions, dataset, with_instances):
    """Count every pixel of every image, in threads: decoding, three quarters of the work, lets other threads run.

    Args:
        samples: sequence of `learning.data.datasets.base.Sample` with labels.
        predictions: their label-id PNGs.
        dataset: learning.data.datasets.base.Dataset.
        with_instances: whether instances are matched, too.

    Returns:
        (list of int64 (n, n), int64 (k, 4) or None): the confusion matrix over label ids of each image, in the order of
        `samples`, and the `scores.instance_matches` of all, if they were asked for.

    Raises:
        InputError: names the first image, in the order of `samples`, that cannot be scored.
    """
    # glibc gives freed memory back, and the system clears it anew for every image, until a block as large as this one was
    # freed (mallopt(3), M_MMAP_THRESHOLD). It is never written, so it costs nothing; elsewhere it does nothing.
    np.empty(31 << 20, np.uint8)
    count = partial(count_image, dataset=dataset, with_instances=with_instances)
    confusions, matches = zip(*map_in_threads(count, samples, predictions, description="evaluating"), strict=True)
    return list(confusions), None if matches[0] is None else np.concatenate(matches)


def count_image(sample, path, dataset, with_instances):
    """Compare the prediction in `path` with the truth of `sample`.

    Returns:
        (int64 (n, n), int64 (k, 4) or None): confusion matrix over label ids, and `scores.instance_matches`.

    Raises:
        InputError: unreadable files, different sizes, values that are no labels.
    """
    table = dataset.labels
    truth, prediction = read_label(sample.label), _read_prediction(path)
    _check_size(path, prediction, sample.label, truth)
    values = scores.confusion_matrix(truth, prediction, 256)
    truth_labels, known = table.decoder(dataset.encoding, "ids")
    _check_values(sample.label, values.sum(1), known)
    predicted_labels, known = table.decoder("ids", "ids")
    _check_values(path, values.sum(0), known)
    confusion = scores.merge(values, truth_labels, predicted_labels, len(table.rows))
    if not with_instances:
        return confusion, None
    instances = read_instances(sample.instances)
    _check_size(sample.instances, instances, sample.label, truth)
    try:
        return confusion, scores.instance_matches(instances, prediction, table)
    except InputError as error:
        raise InputError(f"{sample.instances}: {error}") from None


def _read_prediction(path):
    try:
        return read_label(path)
    except InputError:
        with suppress(OSError, SyntaxError, Image.DecompressionBombError), Image.open(path) as image:
            if len(image.getbands()) > 1:
                raise InputError(f"{path} is a color picture; use results_val, not results_color_val") from None
        raise


def _check_size(path, pixels, label, truth):
    if pixels.shape != truth.shape:
        size, expected = ("x".join(map(str, array.shape)) for array in (pixels, truth))
        raise InputError(f"{path} is {size} pixels, but {label} is {expected}; both must have the same size")


def _check_values(path, counts, known):
    unknown = np.flatnonzero(counts * ~known)
    if len(unknown):
        also = f" (and {len(unknown) - 1} more such values)" if len(unknown) > 1 else ""
        raise InputError(
            f"{path} holds the value {unknown[0]} in {counts[unknown[0]]} pixels{also}, but labels here are "
            f"0 .. {np.flatnonzero(known[:255])[-1]}, and 255 for void"
        )
