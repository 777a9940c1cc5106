"""IoU, nIoU, category scores and accuracies of predictions: the only definition of each in the program.

The definitions are those of the Cityscapes benchmark (Cordts et al., CVPR 2016, section 3.2, and
evalPixelLevelSemanticLabeling.py of cityscapesScripts). Pixels are counted in int64 and divided once, in float64. A score
that is 0 / 0 is NaN, and means skip NaN.

Shapes: a confusion matrix over n labels is int64 (n, n), rows are the truth. L is the number of label ids of a table, C the
number of its classes. `scored` is bool (n,), the rows that are evaluated; None means all. Ratios are 0 .. 1.
"""

from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np

from helpers.errors import InputError
from helpers.labels import Label, LabelTable

INSTANCE_BASE = 1000  # an instance id is label id * 1000 + a counter


class Scores(TypedDict):
    """All scores of a set of images, by class or category name; NaN where undefined.

    `accuracy` is correct pixels / all pixels, void included, as the VIPriors challenge kit defines it; `labelled_accuracy`
    is over the pixels of scored classes.
    """

    class_iou: dict[str, float]
    class_niou: dict[str, float]
    class_accuracy: dict[str, float]
    category_iou: dict[str, float]
    category_niou: dict[str, float]
    mean_class_iou: float
    mean_class_niou: float
    mean_class_accuracy: float
    mean_category_iou: float
    mean_category_niou: float
    accuracy: float
    labelled_accuracy: float


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, num_labels: int) -> np.ndarray:
    """Count the pixels of each pair of true and predicted value, int64 (n, n).

    Args:
        truth, prediction: uint8 of the same shape, values below `num_labels`.
        num_labels: n, at most 256.
    """
    assert truth.shape == prediction.shape, (truth.shape, prediction.shape)
    assert max(truth.max(initial=0), prediction.max(initial=0)) < num_labels <= 256, "value outside the matrix"
    truth, prediction, lengths = _encode_runs(truth, prediction)
    pairs = truth.astype(np.uint16)  # two bytes hold every pair, and counting small keys is fastest
    pairs *= np.uint16(num_labels)
    pairs += prediction
    return _count_keys(pairs, lengths, num_labels**2).reshape(num_labels, num_labels)


def _encode_runs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Run-length encode the pairs of values of two maps: (k,) values of each map and the int64 (k,) run lengths.

    Label maps consist of areas, so few runs remain. Noisy maps are faster to count by pixel: for them the values are the
    pixels themselves and the lengths are None.
    """
    first = first.ravel()
    second = second.ravel()
    is_start = np.ones(first.shape, bool)
    np.not_equal(first[1:], first[:-1], out=is_start[1:])
    is_start[1:] |= second[1:] != second[:-1]
    if np.count_nonzero(is_start) > len(is_start) // 8:
        return first, second, None
    starts = np.flatnonzero(is_start)
    return first[starts], second[starts], np.diff(starts, append=len(is_start))


def _count_keys(keys: np.ndarray, lengths: np.ndarray | None, num_keys: int) -> np.ndarray:
    # With weights, numpy counts in float64, which is exact up to 2^53 pixels.
    return np.bincount(keys, lengths, num_keys).astype(np.int64, copy=False)


def remap_confusion(
    confusion: np.ndarray, truth_labels: np.ndarray, predicted_labels: np.ndarray, num_labels: int
) -> np.ndarray:
    """Turn a confusion matrix over file values, int64 (256, 256), into one over labels.

    Args:
        truth_labels, predicted_labels: uint8 (256,), the label of each file value, below `num_labels`. Values may share one.
    """
    truth, predicted = np.nonzero(confusion)
    remapped = np.zeros((num_labels, num_labels), np.int64)
    np.add.at(remapped, (truth_labels[truth], predicted_labels[predicted]), confusion[truth, predicted])
    return remapped


def pixel_counts(confusion: np.ndarray, scored: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positives, false positives and false negatives of each label, int64 (n,) each; zeros for unscored labels.

    An unscored label predicted on a scored row is a false negative. Predictions on unscored rows are not counted.
    """
    scored = _rows(confusion, scored)
    valid = confusion * scored[:, None]
    tp = np.diagonal(valid)
    return tp.copy(), (valid.sum(0) - tp) * scored, valid.sum(1) - tp


def class_counts(confusions: Iterable[np.ndarray], table: LabelTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """TP, FP and FN of each class in each image, int64 (N, C) each, from N confusion matrices over label ids."""
    scored = scored_rows(table)
    ids = [row.id for row in table.classes]
    tp, fp, fn = zip(*(pixel_counts(confusion, scored) for confusion in confusions), strict=True)
    return np.array(tp)[:, ids], np.array(fp)[:, ids], np.array(fn)[:, ids]


def iou(confusion: np.ndarray, scored: np.ndarray | None = None) -> np.ndarray:
    """Intersection over union of each label, float64 (n,); NaN for unscored labels and for absent, unpredicted ones."""
    return iou_of_counts(*pixel_counts(confusion, scored))


def iou_of_counts(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """Intersection over union, TP / (TP + FP + FN), elementwise; NaN where all three are 0."""
    return _ratio(tp, fp, fn)


def class_accuracy(confusion: np.ndarray, scored: np.ndarray | None = None) -> np.ndarray:
    """Recall of each label, TP / (TP + FN), float64 (n,); NaN for unscored labels and those that do not occur."""
    tp, _, fn = pixel_counts(confusion, scored)
    return _ratio(tp, 0, fn)


def pixel_accuracy(confusion: np.ndarray, scored: np.ndarray | None = None) -> float:
    """Correct share of the pixels of scored rows; NaN if there are none."""
    tp, _, fn = pixel_counts(confusion, scored)
    return float(_ratio(tp.sum(), 0, fn.sum()))


def mean(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    array = np.array(list(values), np.float64)
    array = array[~np.isnan(array)]
    return float(array.mean()) if len(array) else float("nan")


def category_iou(confusion: np.ndarray, table: LabelTable) -> np.ndarray:
    """IoU of each category, float64, in the order of `table.categories`.

    Confusing two classes of a category is not an error. Ignored labels belong to no category here.
    """
    values = []
    for name, rows in table.categories.items():
        ids = [row.id for row in rows if not row.ignored]
        tp = confusion[np.ix_(ids, ids)].sum()
        values.append(_ratio(tp, _category_fp(name, ids, confusion, table), confusion[ids].sum() - tp))
    return np.array(values, np.float64)


def _category_fp(category: str, ids: Sequence[int], confusion: np.ndarray, table: LabelTable) -> np.int64:
    """Number of pixels of scored classes of other categories that are predicted as one of `ids`."""
    others = [row.id for row in table.classes if row.category != category]
    return confusion[np.ix_(others, ids)].sum()


def instance_matches(instances: np.ndarray, prediction: np.ndarray, table: LabelTable) -> np.ndarray:
    """Count the correctly predicted pixels of each instance in an image.

    Instance ids up to 1000 are regions without instances, or groups that were not annotated one by one; they are skipped, as
    are instances of ignored classes.

    Args:
        instances: uint16 or int32 (H, W), label id * 1000 + counter for an instance.
        prediction: uint8 (H, W), label ids; other values match nothing.

    Returns:
        int64 (k, 4), by ascending instance id: label id, pixels, pixels predicted as this label, and pixels predicted as any
        label of its category, ignored ones included.

    Raises:
        InputError: the class of an instance is not in the table, or is a class without instances.
    """
    assert instances.shape == prediction.shape, (instances.shape, prediction.shape)
    numbers, counts = _prediction_histograms(instances, prediction)
    rows = [_instance_row(number, count, table) for number, count in zip(numbers, counts.sum(1), strict=True)]
    counts = counts[[not row.ignored for row in rows]]
    labels = np.array([row.id for row in rows if not row.ignored], np.int64)
    names = [row.category for row in table.rows]
    category = np.full(256, -1)  # of each predicted value
    category[: len(names)] = [names.index(name) for name in names]
    in_category = counts * (category == category[labels][:, None])
    return np.stack([labels, counts.sum(1), counts[np.arange(len(labels)), labels], in_category.sum(1)], 1)


def _prediction_histograms(instances: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Instance ids (k,) above 1000, ascending, and int64 (k, 256), how often each value is predicted in each instance."""
    numbers, predicted, lengths = _encode_runs(instances, prediction)
    kept = np.flatnonzero(numbers > INSTANCE_BASE)
    numbers = numbers[kept]
    if lengths is not None:
        lengths = lengths[kept]
    present = np.zeros(int(numbers.max(initial=0)) + 1, bool)  # much faster than sorting the pixels
    present[numbers] = True
    index = np.cumsum(present) - 1
    keys = index[numbers] * 256 + predicted[kept]
    found = np.flatnonzero(present)
    return found, _count_keys(keys, lengths, len(found) * 256).reshape(-1, 256)


def _instance_row(number: int, pixels: int, table: LabelTable) -> Label:
    label = number // INSTANCE_BASE
    if label >= len(table.rows):
        raise InputError(
            f"instance {number} ({pixels} pixels) is of class {label}, but class numbers are 0 .. {len(table.rows) - 1}"
        )
    row = table.rows[label]
    if not row.ignored and not row.has_instances:
        raise InputError(f"instance {number} ({pixels} pixels) is of class {label}, {row.name}, which has no instances")
    return row


def instance_iou(confusion: np.ndarray, matches: np.ndarray, table: LabelTable) -> tuple[np.ndarray, np.ndarray]:
    """nIoU (iIoU in the paper), iTP / (iTP + FP + iFN), by label id and by category.

    The TP and FN pixels of each instance are weighted by mean instance size of its class / its own size. FP is unweighted, as
    in the IoU, because a prediction does not separate instances.

    Args:
        confusion: over label ids.
        matches: int64 (k, 4), the concatenated `instance_matches` of all images.

    Returns:
        float64 (L,), NaN for unscored labels and classes without instances; float64 in the order of `table.categories`, NaN
        for categories that contain a class without instances.
    """
    names = tuple(table.categories)
    category_of = np.array([names.index(row.category) if row.category in names else -1 for row in table.rows])
    mean_size = np.array([table.mean_instance_size[row.name] if row.has_instances else 0.0 for row in table.rows])
    label, size, in_class, in_category = matches.T
    weight = mean_size[label] / size

    def weighted_sum(group: np.ndarray, pixels: np.ndarray, num_groups: int) -> np.ndarray:
        # bincount adds in the order of the images, so the sum is the same on every machine.
        return np.bincount(group, pixels * weight, num_groups)

    num_labels = len(table.rows)
    tp = weighted_sum(label, in_class, num_labels)
    fn = weighted_sum(label, size - in_class, num_labels)
    classes = _ratio(tp, pixel_counts(confusion, scored_rows(table))[1], fn)
    classes[[row.ignored or not row.has_instances for row in table.rows]] = np.nan

    category = category_of[label]
    tp = weighted_sum(category, in_category, len(names))
    fn = weighted_sum(category, size - in_category, len(names))
    # Unlike in the category IoU, ignored labels belong to the category: predicting them elsewhere is a false positive.
    fp = [_category_fp(name, [row.id for row in rows], confusion, table) for name, rows in table.categories.items()]
    categories = _ratio(tp, np.array(fp), fn)
    categories[[not all(row.has_instances for row in rows) for rows in table.categories.values()]] = np.nan
    return classes, categories


def evaluate(confusion: np.ndarray, matches: np.ndarray | None, table: LabelTable) -> Scores:
    """All scores of a set of images.

    Args:
        confusion: over label ids, summed over the images.
        matches: int64 (k, 4), the concatenated `instance_matches` of all images; None without instance maps.
    """
    scored = scored_rows(table)
    by_label_niou = np.full(len(confusion), np.nan)
    by_category_niou = np.full(len(table.categories), np.nan)
    if matches is not None:
        by_label_niou, by_category_niou = instance_iou(confusion, matches, table)
    class_ious = _by_class(iou(confusion, scored), table)
    class_nious = _by_class(by_label_niou, table)
    class_accuracies = _by_class(class_accuracy(confusion, scored), table)
    category_ious = _by_category(category_iou(confusion, table), table)
    category_nious = _by_category(by_category_niou, table)
    return {
        "class_iou": class_ious,
        "class_niou": class_nious,
        "class_accuracy": class_accuracies,
        "category_iou": category_ious,
        "category_niou": category_nious,
        "mean_class_iou": mean(class_ious.values()),
        "mean_class_niou": mean(class_nious.values()),
        "mean_class_accuracy": mean(class_accuracies.values()),
        "mean_category_iou": mean(category_ious.values()),
        "mean_category_niou": mean(category_nious.values()),
        "accuracy": pixel_accuracy(confusion),
        "labelled_accuracy": pixel_accuracy(confusion, scored),
    }


def _by_class(values: np.ndarray, table: LabelTable) -> dict[str, float]:
    return {row.name: float(values[row.id]) for row in table.classes}


def _by_category(values: np.ndarray, table: LabelTable) -> dict[str, float]:
    return dict(zip(table.categories, values.tolist(), strict=True))


def scored_rows(table: LabelTable) -> np.ndarray:
    """Which rows of a confusion matrix over label ids are evaluated, bool (L,)."""
    return np.array([not row.ignored for row in table.rows])


def _rows(confusion: np.ndarray, scored: np.ndarray | None) -> np.ndarray:
    return np.ones(len(confusion), bool) if scored is None else np.asarray(scored, bool)


def _ratio(tp: np.ndarray | np.integer, fp: np.ndarray | np.integer | int, fn: np.ndarray | np.integer) -> np.ndarray:
    total = np.asarray(tp + fp + fn, np.float64)
    return np.divide(tp, total, out=np.full(total.shape, np.nan), where=total > 0)
