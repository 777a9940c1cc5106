"""Predictions in another encoding are noticed, and those of a poor network are not accused of it."""

import numpy as np
import pytest

from helpers.errors import InputError
from helpers.labels import CAMVID, CITYSCAPES, VOID
from helpers.scoring import scores
from helpers.scoring.plausibility import encoding_note, refuse_only_void


def drawn(table, seed, quality, size=4000, evenness=0.3):
    """(truth, prediction) in train ids: a share `quality` of the pixels is right; void in a few; random class shares."""
    rng = np.random.default_rng(seed)
    num_classes = len(table.classes)
    shares = rng.dirichlet(np.full(num_classes, evenness))
    truth = rng.choice(num_classes, size, p=shares)
    prediction = np.where(rng.random(size) < quality, truth, rng.choice(num_classes, size, p=shares))
    return np.where(rng.random(size) < 0.05, VOID, truth), prediction


def confusion_of(table, truth, values):
    """The confusion matrix of predicted file values, as `count_image` makes it."""
    decode, known = table.decoder("ids", "ids")
    assert known[values].all()
    return scores.confusion_matrix(table.ids[truth], decode[values], len(table.rows))


@pytest.mark.parametrize("quality", [0.3, 0.6, 0.95])
def test_train_ids_are_noticed(quality):
    truth, prediction = drawn(CITYSCAPES, 1, quality)
    note = encoding_note(confusion_of(CITYSCAPES, truth, prediction), CITYSCAPES)
    assert note.startswith("the predictions seem to hold train ids: ")
    share = np.mean(prediction[truth != VOID] == truth[truth != VOID])
    assert f"{share:.1%} of the labeled pixels are right" in note
    assert "7 for road, not 0" in note


@pytest.mark.parametrize("table", [CITYSCAPES, CAMVID])
def test_train_ids_with_void_at_0_are_noticed(table):
    truth, prediction = drawn(table, 2, 0.7)
    note = encoding_note(confusion_of(table, truth, prediction + 1), table)
    assert "train ids that begin with 1" in note


@pytest.mark.parametrize("table", [CITYSCAPES, CAMVID])
def test_no_class_at_all(table):
    truth, _ = drawn(table, 3, 1)
    note = encoding_note(confusion_of(table, truth, np.full_like(truth, VOID)), table)
    assert note.startswith("no predicted pixel is of a class")


@pytest.mark.parametrize("table", [CITYSCAPES, CAMVID])
def test_networks_of_any_quality_are_not_accused(table):
    """From random over collapsed to good ones, also where only one or two classes are ever predicted."""
    num_classes = len(table.classes)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        truth, prediction = drawn(table, seed, rng.choice([0.0, 0.02, 0.1, 0.5, 1.0]), size=600)
        keep = rng.choice(num_classes, rng.integers(1, num_classes + 1), replace=False)
        if rng.random() < 0.7:
            prediction = np.where(np.isin(prediction, keep), prediction, keep[0])
        assert encoding_note(confusion_of(table, truth, table.ids[prediction]), table) == "", (seed, keep)


def test_labels_of_void_are_nothing_to_score_against():
    confusion = np.zeros((34, 34), np.int64)
    confusion[[0, 4], [7, 8]] = 5
    with pytest.raises(InputError, match=r"2 label maps are void, a\.png first"):
        refuse_only_void(confusion, ["a.png", "b.png"], CITYSCAPES)
    confusion[7, 0] = 1
    refuse_only_void(confusion, ["a.png", "b.png"], CITYSCAPES)
