"""Every score against hand-computed cases and the official Cityscapes evaluation."""

import math

import numpy as np
import pytest
from PIL import Image

from helpers.errors import InputError
from helpers.labels import CAMVID, CITYSCAPES, Label, LabelTable
from helpers.scoring import scores

ROAD, SIDEWALK, PARKING, PERSON, RIDER, CAR, CARAVAN, TRAILER, BICYCLE = 7, 8, 9, 24, 25, 26, 29, 30, 33


def matrix(*counts):
    """34 x 34 confusion matrix from (truth, prediction, pixels)."""
    confusion = np.zeros((34, 34), np.int64)
    for truth, prediction, pixels in counts:
        confusion[truth, prediction] += pixels
    return confusion


def test_confusion_matrix_has_truth_in_rows():
    truth = np.array([[0, 0, 1], [2, 2, 2]], np.uint8)
    prediction = np.array([[0, 1, 1], [2, 0, 2]], np.uint8)
    confusion = scores.confusion_matrix(truth, prediction, 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert confusion.dtype == np.int64


def test_confusion_matrix_holds_every_byte():
    values = np.arange(256, dtype=np.uint8)
    confusion = scores.confusion_matrix(values, values[::-1], 256)
    assert (confusion == np.fliplr(np.eye(256))).all()


def test_confusion_matrix_refuses_values_that_would_alias():
    with pytest.raises(AssertionError):
        scores.confusion_matrix(np.zeros(2, np.uint8), np.array([0, 19], np.uint8), 19)


def test_remapping_a_confusion_matrix_remaps_both_axes():
    values = np.zeros((256, 256), np.int64)
    values[0, 255], values[7, 1], values[255, 1] = 5, 2, 3
    truth_labels, predicted_labels = np.zeros(256, np.uint8), np.ones(256, np.uint8)
    truth_labels[7], predicted_labels[255] = 1, 0
    assert scores.remap_confusion(values, truth_labels, predicted_labels, 2).tolist() == [[5, 3], [0, 2]]


def test_iou_by_hand():
    confusion = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    assert scores.iou(confusion)[:2].tolist() == [3 / 6, 4 / 7]
    assert math.isnan(scores.iou(confusion)[2])


@pytest.mark.filterwarnings("error")
def test_no_pixels_is_nan_without_warning():
    empty = np.zeros((3, 3), np.int64)
    assert np.isnan(scores.iou(empty)).all()
    assert np.isnan(scores.class_accuracy(empty)).all()
    assert math.isnan(scores.pixel_accuracy(empty))
    assert math.isnan(scores.mean([math.nan, math.nan]))
    assert math.isnan(scores.mean([]))
    found = scores.evaluate(np.zeros((34, 34), np.int64), np.zeros((0, 4), np.int64), CITYSCAPES)
    assert math.isnan(found["mean_class_niou"])
    assert math.isnan(found["mean_category_iou"])


def test_unscored_rows_give_no_false_positives_but_unscored_predictions_are_misses():
    confusion = np.array([[6, 0, 2], [1, 5, 0], [9, 9, 9]])
    scored = np.array([True, True, False])
    hits, wrong, missed = scores.pixel_counts(confusion, scored)
    assert (hits.tolist(), wrong.tolist(), missed.tolist()) == ([6, 5, 0], [1, 0, 0], [2, 1, 0])
    assert scores.iou(confusion, scored)[:2].tolist() == [6 / 9, 5 / 6]
    assert math.isnan(scores.iou(confusion, scored)[2])


def test_accuracies_by_hand():
    confusion = np.array([[6, 0, 2], [1, 5, 0], [9, 9, 9]])
    scored = np.array([True, True, False])
    assert scores.pixel_accuracy(confusion) == 20 / 41
    assert scores.pixel_accuracy(confusion, scored) == 11 / 14
    assert scores.class_accuracy(confusion, scored)[:2].tolist() == [6 / 8, 5 / 6]


def test_mean_skips_nan():
    assert scores.mean([1.0, math.nan, 0.5]) == 0.75


def test_errors_within_a_category_count_for_the_class_only():
    found = scores.evaluate(matrix((ROAD, SIDEWALK, 4), (SIDEWALK, SIDEWALK, 4)), None, CITYSCAPES)
    assert found["class_iou"]["road"] == 0
    assert found["class_iou"]["sidewalk"] == 0.5
    assert found["category_iou"]["flat"] == 1


def test_an_ignored_label_of_the_category_is_a_miss_in_category_iou_but_a_hit_in_category_niou():
    confusion = matrix((ROAD, PARKING, 1), (ROAD, ROAD, 3), (CAR, CARAVAN, 30), (ROAD, TRAILER, 10), (PARKING, CAR, 99))
    found = scores.evaluate(confusion, np.array([[CAR, 30, 0, 30]]), CITYSCAPES)
    assert found["category_iou"]["flat"] == 3 / 14
    assert found["category_iou"]["vehicle"] == 0
    assert found["class_niou"]["car"] == 0
    weighted = 12794.0202738185
    assert found["category_niou"]["vehicle"] == pytest.approx(weighted / (weighted + 10), rel=1e-15)


def test_instances_of_all_sizes_have_the_same_weight():
    # A large person is correct, a small one is wrong: IoU is 90 %, nIoU one half.
    confusion = matrix((PERSON, PERSON, 90), (PERSON, ROAD, 10))
    matches = np.array([[PERSON, 90, 90, 90], [PERSON, 10, 0, 0]])
    found = scores.evaluate(confusion, matches, CITYSCAPES)
    assert found["class_iou"]["person"] == 0.9
    assert found["class_niou"]["person"] == pytest.approx(0.5)
    assert found["category_niou"]["human"] == pytest.approx(0.5)
    assert math.isnan(found["class_niou"]["road"])
    assert math.isnan(found["category_niou"]["flat"])


def test_instance_matches_by_hand():
    instances = np.array([[24001, 24001, 24001, 24], [33002, 33002, 29001, 1000], [25001, 24000, 7, 0]], np.int32)
    prediction = np.array([[24, 25, 255, 24], [29, 33, 29, 24], [24, 24, 7, 0]], np.uint8)
    assert scores.instance_matches(instances, prediction, CITYSCAPES).tolist() == [
        [PERSON, 1, 1, 1],  # 24000: any number above 1000 is an instance
        [PERSON, 3, 1, 2],
        [RIDER, 1, 0, 1],
        [BICYCLE, 2, 1, 2],  # caravan is ignored, yet of the category
    ]


def test_instances_begin_above_1000():
    rows = (Label("void", 0, 255, "void", False, True, (0, 0, 0)), Label("a", 1, 0, "x", True, False, (1, 0, 0)))
    table = LabelTable(rows, mean_instance_size={"a": 2.0})
    instances = np.array([[1, 1000, 1001, 1001]], np.int32)
    assert scores.instance_matches(instances, np.ones((1, 4), np.uint8), table).tolist() == [[1, 2, 2, 2]]


def test_no_instances_no_matches():
    empty = scores.instance_matches(np.full((2, 2), 24, np.int32), np.zeros((2, 2), np.uint8), CITYSCAPES)
    assert empty.shape == (0, 4)


@pytest.mark.parametrize(("number", "word"), [(34001, "0 .. 33"), (7001, "road")])
def test_instances_of_impossible_classes_are_refused(number, word):
    with pytest.raises(InputError, match=rf"{number} \(4 pixels\).*{word}"):
        scores.instance_matches(np.full((2, 2), number, np.int32), np.zeros((2, 2), np.uint8), CITYSCAPES)


def test_camvid_has_no_niou_but_all_other_scores():
    found = scores.evaluate(np.eye(12, dtype=np.int64), None, CAMVID)
    assert found["class_iou"] == dict.fromkeys(CAMVID.names, 1.0)
    assert found["category_iou"] == dict.fromkeys(("ceiling", "fixed", "road", "moving"), 1.0)
    assert np.isnan(list(found["class_niou"].values())).all()
    assert found["mean_class_accuracy"] == found["labelled_accuracy"] == found["accuracy"] == 1


def test_scores_do_not_change_their_inputs():
    confusion, matches = matrix((CAR, CAR, 3)), np.array([[CAR, 3, 3, 3]])
    confusion.flags.writeable = matches.flags.writeable = False
    scores.evaluate(confusion, matches, CITYSCAPES)


def test_scores_do_not_depend_on_the_order_of_the_table():
    # Train ids in another order than label ids: values must follow the names.
    table = LabelTable(
        (
            Label("a", 0, 1, "x", False, False, (1, 0, 0)),
            Label("b", 1, 0, "y", False, False, (0, 1, 0)),
            Label("void", 2, 255, "void", False, True, (0, 0, 0)),
        )
    )
    found = scores.evaluate(np.array([[1, 1, 0], [0, 0, 2], [5, 0, 0]]), None, table)
    assert found["class_iou"] == {"a": 0.5, "b": 0.0}
    assert found["category_iou"] == {"x": 0.5, "y": 0.0}


def draw(generator, absent, grain=4):
    """Truth, instance map and prediction with instances, groups, ignored regions and ignored predictions.

    A grain of 4 pixels is a noisy prediction of small areas, which is counted by pixels; one of 16 has large areas and few
    mistakes, and is counted by runs.
    """
    height, width = 6 * grain, 10 * grain
    ids = np.setdiff1d(np.arange(34), absent).astype(np.uint8)
    truth = generator.choice(ids, (6, 10)).repeat(grain, 0).repeat(grain, 1)
    instances = truth.astype(np.int32)
    countable = np.setdiff1d(np.arange(24, 34), absent)
    for number in range(12):
        label = generator.choice(countable)
        top, left = generator.integers(0, height - 2), generator.integers(0, width - 2)
        box = np.s_[top : top + generator.integers(1, 2 * grain), left : left + generator.integers(1, 2 * grain)]
        truth[box], instances[box] = label, label if number % 4 == 0 else label * 1000 + number
    wrong = generator.random(truth.shape) < (0.4 if grain == 4 else 0.02)
    prediction = np.where(wrong, generator.choice(ids, truth.shape), truth).astype(np.uint8)
    return truth, instances, prediction


@pytest.mark.parametrize("share", [0.0, 0.002, 0.2, 1.0])
def test_counting_by_runs_equals_counting_by_pixels(share):
    generator = np.random.default_rng(3)
    truth, instances, prediction = draw(generator, [], grain=16)
    noise = generator.random(truth.shape) < share
    truth[noise], instances[noise] = PERSON, generator.choice(np.arange(24000, 24040), noise.sum())
    prediction = np.where(generator.random(truth.shape) < share, generator.integers(0, 34, truth.shape), prediction)
    prediction = prediction.astype(np.uint8)
    assert (scores._encode_runs(truth, prediction)[2] is None) == (share >= 0.2)

    confusion = np.zeros((34, 34), np.int64)
    np.add.at(confusion, (truth, prediction), 1)
    found = scores.confusion_matrix(truth, prediction, 34)
    assert found.dtype == np.int64
    assert (found == confusion).all()

    expected = []
    for number in np.unique(instances[instances > 1000]):
        row = CITYSCAPES.rows[number // 1000]
        values = prediction[instances == number]
        if not row.ignored:
            alike = [other.id for other in CITYSCAPES.rows if other.category == row.category]
            expected.append([row.id, len(values), (values == row.id).sum(), np.isin(values, alike).sum()])
    for pixels in (instances, instances.astype(np.uint16)):
        found = scores.instance_matches(pixels, prediction, CITYSCAPES)
        assert found.dtype == np.int64
        assert found.tolist() == expected


def test_the_largest_instance_number_of_16_bits():
    rows = tuple(
        Label(str(i), i, i - 1 if i else 255, "x" if i else "void", bool(i), not i, (i, 0, 0)) for i in range(66)
    )
    table = LabelTable(rows, mean_instance_size={str(i): 1.0 for i in range(1, 66)})
    found = scores.instance_matches(np.full((40, 40), 65535, np.uint16), np.full((40, 40), 65, np.uint8), table)
    assert found.tolist() == [[65, 1600, 1600, 1600]]


@pytest.fixture
def official(monkeypatch):
    """The official evaluator, without its output."""
    module = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    # The package calls a function that numpy has since renamed.
    monkeypatch.setattr(np, "in1d", lambda a, b, **options: np.isin(a, b, **options), raising=False)
    monkeypatch.setattr(module.args, "quiet", True)
    monkeypatch.setattr(module.args, "JSONOutput", False)
    return module


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("absent", [[], [PERSON, BICYCLE, CARAVAN, ROAD], [24, 25, 11, 12, 13, 14, 15, 16]])
@pytest.mark.parametrize("grain", [4, 16])
def test_equal_to_the_official_evaluation(official, tmp_path, seed, absent, grain):
    generator = np.random.default_rng([seed, len(absent)])
    confusion, matches, truths, predictions = np.zeros((34, 34), np.int64), [], [], []
    for index in range(3):
        truth, instances, prediction = draw(generator, absent, grain)
        assert (scores._encode_runs(truth, prediction)[2] is None) == (grain == 4)
        confusion += scores.confusion_matrix(truth, prediction, 34)
        matches.append(scores.instance_matches(instances, prediction, CITYSCAPES))
        truths.append(str(tmp_path / f"{index}_gtFine_labelIds.png"))
        predictions.append(str(tmp_path / f"{index}_prediction.png"))
        Image.fromarray(truth).save(truths[-1])
        Image.fromarray(prediction).save(predictions[-1])
        Image.fromarray(instances.astype(np.uint16)).save(tmp_path / f"{index}_gtFine_instanceIds.png")
    theirs = official.evaluateImgLists(predictions, truths, official.args)
    ours = scores.evaluate(confusion, np.concatenate(matches), CITYSCAPES)

    assert confusion.tolist() == theirs["confMatrix"]
    for name, key in (
        ("class_iou", "classScores"),
        ("class_niou", "classInstScores"),
        ("category_iou", "categoryScores"),
        ("category_niou", "categoryInstScores"),
    ):
        assert set(theirs[key]) >= set(ours[name])
        for row, value in theirs[key].items():
            # Rows without a score here (ignored labels, "void") are nan there.
            assert ours[name].get(row, math.nan) == pytest.approx(value, rel=1e-12, abs=0, nan_ok=True), (name, row)
    for name, key in (
        ("mean_class_iou", "averageScoreClasses"),
        ("mean_class_niou", "averageScoreInstClasses"),
        ("mean_category_iou", "averageScoreCategories"),
        ("mean_category_niou", "averageScoreInstCategories"),
    ):
        assert ours[name] == pytest.approx(theirs[key], rel=1e-12, abs=0, nan_ok=True)
    # The comparison is not of nan with nan.
    assert not math.isnan(ours["mean_class_niou"])
