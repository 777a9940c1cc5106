"""Epoch statistics against plain loops; means are over pixels, never over batches."""

import math

import numpy as np
import pytest
import torch

from helpers.labels import VOID
from learning.training.metrics import EpochMetrics

CLASSES = 5


def metrics():
    return EpochMetrics(CLASSES, torch.device("cpu"))


def random_pair(seed, shape=(2, 7, 9)):
    rng = np.random.default_rng(seed)
    target = rng.choice([*range(CLASSES), VOID], shape)
    return rng.integers(0, CLASSES, shape), target


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
def test_the_confusion_matrix_agrees_with_a_loop_and_ignores_void(dtype):
    found, expected = metrics(), np.zeros((CLASSES, CLASSES), np.int64)
    for seed, shape in enumerate([(2, 7, 9), (1, 4, 4), (3, 3)]):
        prediction, target = random_pair(seed, shape)
        found.add_prediction(torch.from_numpy(prediction), torch.from_numpy(target).to(dtype))
        for predicted, true in zip(prediction.ravel(), target.ravel(), strict=True):
            if true != VOID:
                expected[true, predicted] += 1
    assert found.confusion.dtype == torch.int64
    assert np.array_equal(found.confusion.numpy(), expected)


def test_void_is_not_counted_as_the_last_class():
    found = metrics()
    found.add_prediction(torch.full((2, 3), CLASSES - 1), torch.tensor([[CLASSES - 1] * 3, [VOID] * 3]))
    assert found.confusion.sum() == 3
    assert found.confusion[-1, -1] == 3


def test_inputs_are_not_modified():
    prediction, target = map(torch.from_numpy, random_pair(0))
    before = prediction.clone(), target.clone()
    metrics().add_prediction(prediction, target)
    assert torch.equal(prediction, before[0])
    assert torch.equal(target, before[1])


def test_the_loss_is_a_mean_over_pixels_not_over_batches():
    found = metrics()
    found.add_loss(torch.tensor([100.0]), torch.tensor([10.0]))
    found.add_loss(torch.tensor([1.0]), torch.tensor([1.0]))
    found.add_loss(torch.tensor([0.0]), torch.tensor([0.0]))  # a batch of void only
    assert found.mean_loss() == pytest.approx(101 / 11)


def test_the_loss_is_summed_in_float64_and_detached():
    found = metrics()
    value = torch.tensor([0.1], requires_grad=True)
    for _ in range(1000):
        found.add_loss(value * 1, torch.tensor([1.0]))
    found.add_loss(torch.tensor([2.0**25]), torch.tensor([2.0**25]))
    found.add_loss(torch.tensor([1.0]), torch.tensor([1.0]))
    assert not found.loss.requires_grad
    assert found.loss.tolist() == [[pytest.approx(100 + 2.0**25 + 1, abs=1e-4)], [1000 + 2.0**25 + 1]]


def test_each_term_of_a_loss_has_its_own_weight():
    found = EpochMetrics(CLASSES, torch.device("cpu"), num_terms=2)
    found.add_loss(torch.tensor([100.0, 3.0]), torch.tensor([10.0, 2.0]))
    found.add_loss(torch.tensor([1.0, 0.5]), torch.tensor([1.0, 1.0]))
    assert found.term_losses() == [pytest.approx(101 / 11), pytest.approx(3.5 / 3)]
    assert found.mean_loss() == pytest.approx(101 / 11 + 3.5 / 3)


def test_restored_counts_continue():
    found, again = (EpochMetrics(CLASSES, torch.device("cpu"), num_terms=2) for _ in range(2))
    found.add_loss(torch.tensor([100.0, 3.0]), torch.tensor([10.0, 2.0]))
    again.load_state_dict(found.state_dict())
    assert torch.equal(again.loss, found.loss)
    before = metrics()  # older checkpoints hold a loss of one term without that dimension
    before.load_state_dict({"confusion": found.confusion, "loss": torch.tensor([6.0, 4.0])})
    assert before.mean_loss() == 1.5
    other = metrics()
    other.load_state_dict(found.state_dict())
    assert math.isnan(other.mean_loss()), "a loss with another number of terms is not restored"


def test_statistics_of_no_pixels_are_nan():
    found = metrics()
    for _ in range(2):
        assert math.isnan(found.mean_loss())
        assert math.isnan(found.accuracy())
        assert all(math.isnan(value) for value in found.summary().values())
        found.add_prediction(torch.zeros(2, 2, dtype=torch.long), torch.full((2, 2), VOID))


def test_the_summary_by_hand():
    found = EpochMetrics(3, torch.device("cpu"))
    target = torch.tensor([0, 0, 0, 0, 1, 1, VOID, VOID])
    prediction = torch.tensor([0, 0, 0, 1, 1, 1, 2, 0])
    found.add_prediction(prediction, target)
    found.add_loss(torch.tensor([3.0]), torch.tensor([6.0]))
    assert found.accuracy() == pytest.approx(5 / 6)
    assert found.summary() == {
        "loss": pytest.approx(0.5),
        "acc": pytest.approx(5 / 6),
        "macc": pytest.approx((3 / 4 + 2 / 2) / 2),
        "miou": pytest.approx((3 / 4 + 2 / 3) / 2),  # class 2 neither occurs nor is predicted on valid pixels
    }
