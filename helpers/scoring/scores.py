"""Scores of predictions: the only definition of IoU, nIoU, category scores and accuracies in the program.

The definitions are those of the Cityscapes benchmark (Cordts et al., CVPR 2016, section 3.2, and the evaluation in
cityscapesScripts). Everything is counted in int64 first and divided once, in float64. A score without a single pixel to
judge it by (0 / 0) is nan, and means skip nan.
"""

import numpy as np

from helpers.errors import InputError

INSTANCE_BASE = 1000  # an instance's number in an instance map is its label id x 1000 + a counter


def confusion_matrix(truth, prediction, num_labels):
    """Count the pixels of each pair of true and predicted value.

    Args:
        truth, prediction: uint8, of the same shape, values below `num_labels`.
        num_labels: n, at most 256.

    Returns:
        int64 (n, n): rows are the truth, columns the prediction.
    """
    assert truth.shape == prediction.shape, (truth.shape, prediction.shape)
    assert max(truth.max(initial=0), prediction.max(initial=0)) < num_labels <= 256, "value outside the matrix"
    truth, prediction, pixels = _runs(truth, prediction)
    pairs = truth.astype(np.uint16)  # two bytes hold any pair, and small keys are what makes the count fast
    pairs *= np.uint16(num_labels)
    pairs += prediction
    return _bincount(pairs, pixels, num_labels**2).reshape(num_labels, num_labels)


def _runs(first, second):
    """The pixels of two maps, row after row, those alike in a row as one: label maps are areas, so few are left.

    Returns:
        ((k,), (k,), int64 (k,) or None): values of the runs in both maps, and how many pixels each stands for. Maps that
        are mostly noise are faster pixel by pixel: then these are the pixels themselves, and None.
    """
    first, second = first.ravel(), second.ravel()
    begins = np.ones(first.shape, bool)
    np.not_equal(first[1:], first[:-1], out=begins[1:])
    begins[1:] |= second[1:] != second[:-1]
    if np.count_nonzero(begins) > len(begins) // 8:
        return first, second, None
    starts = np.flatnonzero(begins)
    return first[starts], second[starts], np.diff(starts, append=len(begins))


def _bincount(keys, pixels, length):
    # With weights numpy counts in float64, which is exact up to 2^53 pixels.
    return np.bincount(keys, pixels, length).astype(np.int64, copy=False)


def merge(confusion, truth_labels, predicted_labels, num_labels):
    """Confusion matrix over labels from one over the values that stand in files.

    Args:
        confusion: int64 (256, 256), rows are the truth.
        truth_labels, predicted_labels: uint8 (256,), the label of each value, below n; several values may share one.
        num_labels: n.

    Returns:
        int64 (n, n)
    """
    values, predicted = np.nonzero(confusion)
    merged = np.zeros((num_labels, num_labels), np.int64)
    np.add.at(merged, (truth_labels[values], predicted_labels[predicted]), confusion[values, predicted])
    return merged


def pixel_counts(confusion, scored=None):
    """True positives, false positives and false negatives of each label.

    Predicting an unscored label on a scored row is a false negative; on an unscored row no prediction is a mistake.

    Args:
        confusion: int64 (n, n), rows are the truth.
        scored: bool (n,), the rows that are evaluated; None is all.

    Returns:
        (int64 (n,), int64 (n,), int64 (n,)): TP, FP, FN; zeros for unscored labels.
    """
    scored = _scored(confusion, scored)
    valid = confusion * scored[:, None]
    hits = np.diagonal(valid)
    return hits.copy(), (valid.sum(0) - hits) * scored, valid.sum(1) - hits


def class_counts(confusions, table):
    """Pixels of each class in each image.

    Args:
        confusions: sequence of n int64 (L, L), over the label ids of `table`.
        table: helpers.labels.LabelTable of C classes.

    Returns:
        (int64 (n, C), int64 (n, C), int64 (n, C)): TP, FP, FN.
    """
    scored, ids = scored_rows(table), [row.id for row in table.classes]
    counted = [pixel_counts(confusion, scored) for confusion in confusions]
    return tuple(np.array(part)[:, ids] for part in zip(*counted, strict=True))


def iou(confusion, scored=None):
    """Intersection over union of each label, TP / (TP + FP + FN), as Cityscapes counts them.

    Args:
        confusion: int64 (n, n), rows are the truth.
        scored: bool (n,), the rows that are evaluated; None is all.

    Returns:
        float64 (n,): 0 .. 1; nan for unscored labels and those that neither occur nor are predicted.
    """
    return iou_of_counts(*pixel_counts(confusion, scored))


def iou_of_counts(hits, false_positives, misses):
    """Intersection over union of counts that were added up already, TP / (TP + FP + FN).

    Args:
        hits, false_positives, misses: numbers of pixels, of the same shape.

    Returns:
        float64, of their shape: 0 .. 1; nan where all three are 0.
    """
    return _ratio(hits, false_positives, misses)


def class_accuracy(confusion, scored=None):
    """Share of each label's pixels that is predicted right (recall).

    Args:
        confusion: int64 (n, n), rows are the truth.
        scored: bool (n,), the rows that are evaluated; None is all.

    Returns:
        float64 (n,): 0 .. 1; nan for unscored labels and those that do not occur.
    """
    hits, _, misses = pixel_counts(confusion, scored)
    return _ratio(hits, 0, misses)


def pixel_accuracy(confusion, scored=None):
    """Share of the pixels of scored rows that is predicted right.

    Args:
        confusion: int64 (n, n), rows are the truth.
        scored: bool (n,), the rows that are evaluated; None is all.

    Returns:
        float: 0 .. 1; nan without such pixels.
    """
    hits, _, misses = pixel_counts(confusion, scored)
    return float(_ratio(hits.sum(), 0, misses.sum()))


def mean(values):
    """Mean of the values that are not nan; nan when there are none.

    Args:
        values: float64 (n,), or any iterable of numbers.

    Returns:
        float
    """
    values = np.array(list(values), np.float64)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def category_iou(confusion, table):
    """IoU of each category; mistaking one class for another of the same category is no mistake.

    Args:
        confusion: int64 (n, n) over label ids, rows are the truth.
        table: helpers.labels.LabelTable with n rows.

    Returns:
        float64 (k,), in the order of `table.categories`.
    """
    scores = []
    for name, rows in table.categories.items():
        inside = [row.id for row in rows if not row.ignored]
        hits = confusion[np.ix_(inside, inside)].sum()
        scores.append(_ratio(hits, _taken_for(name, inside, confusion, table), confusion[inside].sum() - hits))
    return np.array(scores, np.float64)


def _taken_for(category, ids, confusion, table):
    """Number of pixels of scored classes of other categories that are predicted as one of `ids`."""
    others = [row.id for row in table.classes if row.category != category]
    return confusion[np.ix_(others, ids)].sum()


def instance_matches(instances, prediction, table):
    """Count for each instance of an image how many of its pixels are predicted right.

    Values of 1000 and below are regions, or groups of objects that were not told apart: no instances. Instances of
    ignored classes do not count either.

    Args:
        instances: uint16 or int32 (H, W), label id x 1000 + counter for an instance.
        prediction: uint8 (H, W), label ids; other values match nothing.
        table: helpers.labels.LabelTable.

    Returns:
        int64 (k, 4), by ascending instance number: label id, pixels, pixels predicted as this label, and pixels
        predicted as any label of its category, ignored ones too.

    Raises:
        InputError: the class of an instance is not in the table, or is a class without instances.
    """
    assert instances.shape == prediction.shape, (instances.shape, prediction.shape)
    numbers, predicted, pixels = _runs(instances, prediction)
    where = np.flatnonzero(numbers > INSTANCE_BASE)
    numbers, predicted, pixels = numbers[where], predicted[where], None if pixels is None else pixels[where]
    present = np.zeros(int(numbers.max(initial=0)) + 1, bool)  # by instance number: much faster than sorting the pixels
    present[numbers] = True
    index = np.cumsum(present) - 1
    keys, numbers = index[numbers] * 256 + predicted, np.flatnonzero(present)
    counts = _bincount(keys, pixels, len(numbers) * 256).reshape(-1, 256)
    rows = [_instance_row(*instance, table) for instance in zip(numbers, counts.sum(1), strict=True)]
    counts = counts[[not row.ignored for row in rows]]
    labels = np.array([row.id for row in rows if not row.ignored], np.int64)
    names = [row.category for row in table.rows]
    category = np.array([names.index(name) for name in names] + [-1] * (256 - len(names)))  # of each value
    in_category = counts * (category == category[labels][:, None])
    return np.stack([labels, counts.sum(1), counts[np.arange(len(labels)), labels], in_category.sum(1)], 1)


def _instance_row(number, pixels, table):
    label = number // INSTANCE_BASE
    if label >= len(table.rows):
        raise InputError(
            f"instance {number} ({pixels} pixels) is of class {label}, but class numbers are 0 .. {len(table.rows) - 1}"
        )
    row = table.rows[label]
    if not row.ignored and not row.has_instances:
        raise InputError(f"instance {number} ({pixels} pixels) is of class {label}, {row.name}, which has no instances")
    return row


def instance_iou(confusion, matches, table):
    """nIoU (iIoU in the paper): iTP / (iTP + FP + iFN).

    The pixels of every instance are weighted by the mean size of its class / its own size, so that small ones count.
    FP is unweighted, as in the IoU: a prediction does not say which pixels make up one instance.

    Args:
        confusion: int64 (n, n) over label ids, rows are the truth.
        matches: int64 (k, 4), the `instance_matches` of all images, one after the other.
        table: helpers.labels.LabelTable with n rows.

    Returns:
        (float64 (n,), float64 (m,)): by label id, and by category in the order of `table.categories`; nan for unscored
        labels, for classes without instances, and for categories that have such a class.
    """
    names, scored = tuple(table.categories), scored_rows(table)
    category_of = np.array([names.index(row.category) if row.category in names else -1 for row in table.rows])
    mean_size = np.array([table.mean_instance_size[row.name] if row.has_instances else 0.0 for row in table.rows])
    label, size, in_class, in_category = matches.T
    weight = mean_size[label] / size

    def total(group, pixels, num_groups):
        # Adds one by one in the order of the images, so the sum is the same on every machine.
        return np.bincount(group, pixels * weight, num_groups)

    num_labels = len(table.rows)
    hits, misses = total(label, in_class, num_labels), total(label, size - in_class, num_labels)
    classes = _ratio(hits, pixel_counts(confusion, scored)[1], misses)
    classes[[row.ignored or not row.has_instances for row in table.rows]] = np.nan

    category = category_of[label]
    hits, misses = total(category, in_category, len(names)), total(category, size - in_category, len(names))
    # Unlike in the category IoU, ignored labels belong to the category: predicting them elsewhere is a false positive.
    wrong = [_taken_for(name, [row.id for row in rows], confusion, table) for name, rows in table.categories.items()]
    categories = _ratio(hits, np.array(wrong), misses)
    categories[[not all(row.has_instances for row in rows) for rows in table.categories.values()]] = np.nan
    return classes, categories


def evaluate(confusion, matches, table):
    """All scores of a set of images.

    Args:
        confusion: int64 (n, n) over label ids, rows are the truth.
        matches: int64 (k, 4), the `instance_matches` of all images, or None where instances are not known.
        table: helpers.labels.LabelTable with n rows.

    Returns:
        dict: "class_iou", "class_niou", "class_accuracy" by class name, "category_iou", "category_niou" by category name, the
        mean of each as "mean_...", "accuracy" (right pixels / all pixels, void ones too, as the VIPriors challenge defines
        it) and "labelled_accuracy" (of the pixels of scored classes). Floats, nan where undefined.
    """
    scored = scored_rows(table)
    if matches is None:
        class_niou, category_niou = np.full(len(confusion), np.nan), np.full(len(table.categories), np.nan)
    else:
        class_niou, category_niou = instance_iou(confusion, matches, table)
    by_class = {
        "class_iou": iou(confusion, scored),
        "class_niou": class_niou,
        "class_accuracy": class_accuracy(confusion, scored),
    }
    by_category = {"category_iou": category_iou(confusion, table), "category_niou": category_niou}
    scores = {name: {row.name: float(values[row.id]) for row in table.classes} for name, values in by_class.items()}
    scores |= {name: dict(zip(table.categories, values.tolist(), strict=True)) for name, values in by_category.items()}
    scores |= {f"mean_{name}": mean(values.values()) for name, values in scores.items()}
    return scores | {"accuracy": pixel_accuracy(confusion), "labelled_accuracy": pixel_accuracy(confusion, scored)}


def scored_rows(table):
    """bool (n,): which rows of a confusion matrix over the label ids of `table` are evaluated."""
    return np.array([not row.ignored for row in table.rows])


def _scored(confusion, scored):
    return np.ones(len(confusion), bool) if scored is None else np.asarray(scored, bool)


def _ratio(hits, false_positives, misses):
    whole = np.asarray(hits + false_positives + misses, np.float64)
    return np.divide(hits, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
