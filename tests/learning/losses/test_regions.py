"""Dice, log Dice, Tversky and Lovász-Softmax against hand-computed values and slow references in float64."""

import math

import pytest
import torch

from helpers.labels import VOID
from learning.losses.regions import dice, log_dice, lovasz, tversky

CLASSES = 4


def case(seed=0, batch=3, size=(6, 7), spread=3.0):
    """Logits with requires_grad, and labels with some VOID; not every image has every class."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(batch, CLASSES, *size, generator=generator, dtype=torch.float64)
    target = torch.randint(0, CLASSES, (batch, *size), generator=generator)
    target[-1][target[-1] == 2] = 0
    target[torch.rand(target.shape, generator=generator) < 0.3] = VOID
    return logits.requires_grad_(), target


def sum_over_images(logits, target, of_class):
    """Sum over images of the mean over their classes; `of_class` gets p (n,), y (n,) of the valid pixels."""
    result = torch.zeros((), dtype=logits.dtype)
    for p, labels in zip(logits.softmax(1), target, strict=True):
        valid = labels != VOID
        classes = labels[valid].unique().tolist()
        for c in classes:
            result = result + of_class(p[c][valid], (labels[valid] == c).to(logits.dtype)) / len(classes)
    return result


def slow_dice(p, y):
    return (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)


def slow_tversky(p, y, alpha=0.3, beta=0.7):
    tp, fp, fn = (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()
    return (tp + 1) / (tp + alpha * fp + beta * fn + 1)


def jaccard_loss(mistaken, y):
    """1 - |true and predicted| / |true or predicted|, the prediction being y but for the mistaken pixels."""
    both = sum(bool(y[i]) for i in range(len(y)) if i not in mistaken)
    either = sum(bool(y[i]) or i in mistaken for i in range(len(y)))
    return 1 - both / either


def slow_lovasz(p, y):
    """The definition: errors in descending order, each times its increase of the Jaccard loss."""
    errors = torch.where(y > 0, 1 - p, p)
    order = sorted(range(len(y)), key=lambda i: -errors[i].item())
    loss, mistaken = 0, set()
    for i in order:
        before = jaccard_loss(mistaken, y)
        mistaken.add(i)
        loss = loss + errors[i] * (jaccard_loss(mistaken, y) - before)
    return loss


REFERENCES = {
    dice: lambda p, y: 1 - slow_dice(p, y),
    log_dice: lambda p, y: -slow_dice(p, y).log(),
    tversky: lambda p, y: 1 - slow_tversky(p, y),
    lovasz: slow_lovasz,
}


@pytest.mark.parametrize("loss", REFERENCES)
@pytest.mark.parametrize("seed", range(3))
def test_losses_and_gradients_agree_with_slow_references(loss, seed):
    logits, target = case(seed)
    total, weight = loss(logits, target)
    expected = sum_over_images(logits, target, REFERENCES[loss])
    assert weight == 3
    assert total.item() == pytest.approx(expected.item(), rel=1e-12)
    assert torch.allclose(*(torch.autograd.grad(x, logits)[0] for x in (total, expected)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", REFERENCES)
def test_float32_is_as_good_as_float64(loss):
    logits, target = case(3, size=(64, 96), spread=1.0)
    exact, _ = loss(logits, target)
    single = logits.detach().float().requires_grad_()
    total, _ = loss(single, target)
    assert total.item() == pytest.approx(exact.item(), rel=1e-5)
    slopes, expected = torch.autograd.grad(total, single)[0], torch.autograd.grad(exact, logits)[0]
    # The order of nearly equal errors may differ, which changes the gradient slightly.
    assert (slopes - expected).abs().max() < 2e-3 * expected.abs().max()


def test_by_hand():
    """One image, two classes; p of class 1 is 3/4 1/4 1/2 for labels 1 0 1, and there is a void pixel."""
    p = torch.tensor([0.75, 0.25, 0.5, 0.9])
    logits = torch.stack([(1 - p).log(), p.log()])[None, :, None]
    target = torch.tensor([[[1, 0, 1, VOID]]])
    ones, zeros = (2 * 1.25 + 1) / (1.5 + 2 + 1), (2 * 0.75 + 1) / (1.5 + 1 + 1)
    assert dice(logits, target)[0].item() == pytest.approx(1 - (ones + zeros) / 2)
    assert log_dice(logits, target)[0].item() == pytest.approx(-math.log(ones * zeros) / 2)
    ones, zeros = 2.25 / (1.25 + 0.3 * 0.25 + 0.7 * 0.75 + 1), 1.75 / (0.75 + 0.3 * 0.75 + 0.7 * 0.25 + 1)
    assert tversky(logits, target)[0].item() == pytest.approx(1 - (ones + zeros) / 2)
    # Class 1: errors 1/2 (true), 1/4 (true), 1/4 (false): the Jaccard loss is 0, 1/2, 1, 1. Class 0: 1/2, 1/4, 1/4, one
    # of the last two true: in the order of the sort 1/2 (false), 1/4 (false), 1/4 (true): 0, 1/2, 2/3, 1.
    ones, zeros = 0.5 * 0.5 + 0.25 * 0.5, 0.5 * 0.5 + 0.25 * (2 / 3 - 1 / 2) + 0.25 / 3
    assert lovasz(logits, target)[0].item() == pytest.approx((ones + zeros) / 2)


@pytest.mark.parametrize("loss", REFERENCES)
def test_correct_predictions_have_loss_0_and_wrong_ones_1(loss):
    target = torch.zeros(1, 20, 20, dtype=torch.long)
    target[:, 10:] = 1
    logits = 100.0 * torch.nn.functional.one_hot(target, 2).permute(0, 3, 1, 2)
    assert loss(logits, target)[0].item() == pytest.approx(0, abs=1e-6)
    wrong = loss(logits.flip(1), target)[0].item()
    assert wrong > 0.99 if loss is not log_dice else wrong == pytest.approx(math.log(401))


def test_dice_is_tversky_with_alpha_and_beta_of_a_half():
    logits, target = case(4, size=(40, 50))
    assert tversky(logits, target, 0.5, 0.5)[0].item() == pytest.approx(dice(logits, target)[0].item(), rel=0.05)


@pytest.mark.parametrize("loss", REFERENCES)
def test_losses_are_computed_per_image(loss):
    logits, target = case(5)
    target[2] = VOID
    total, weight = loss(logits, target)
    alone = [loss(logits[i : i + 1], target[i : i + 1]) for i in range(3)]
    assert [w.item() for _, w in alone] == [1, 1, 0]
    assert weight == 2
    assert total.item() == pytest.approx(sum(value.item() for value, _ in alone), rel=1e-12)
    assert alone[2][0] == 0


@pytest.mark.parametrize("loss", REFERENCES)
def test_an_absent_class_has_no_term_but_its_probability_affects_the_others(loss):
    logits, target = case(6, batch=2)
    target[target == 3] = 0
    total, _ = loss(logits, target)
    assert torch.autograd.grad(total, logits)[0][:, 3].abs().max() > 0
    less = logits.detach().clone()
    less[:, 3] = -50.0
    assert loss(less, target)[0] < total


def test_lovasz_of_hard_predictions_is_the_mean_jaccard_loss():
    logits, target = case(7)
    prediction = logits.argmax(1)
    hard = 1e4 * torch.nn.functional.one_hot(prediction, CLASSES).permute(0, 3, 1, 2).double()
    expected = 0.0
    for guess, labels in zip(prediction, target, strict=True):
        guess, labels = guess[labels != VOID], labels[labels != VOID]
        ious = [((guess == c) & (labels == c)).sum() / ((guess == c) | (labels == c)).sum() for c in labels.unique()]
        expected += 1 - sum(ious).item() / len(ious)
    assert lovasz(hard, target)[0].item() == pytest.approx(expected, rel=1e-6)


def test_losses_agree_with_segmentation_models_pytorch():
    losses = pytest.importorskip("segmentation_models_pytorch").losses
    logits, target = case(8, batch=1)
    logits = logits.float()
    present = len(target[target != VOID].unique())
    options = {"mode": "multiclass", "ignore_index": VOID}
    # Theirs divides by all classes. Their smooth = 0.5 is ours of 1, whose numerator and denominator are twice as large.
    assert losses.DiceLoss(**options, smooth=0.5)(logits, target).item() * CLASSES / present == pytest.approx(
        dice(logits, target)[0].item(), rel=1e-5
    )
    assert losses.DiceLoss(**options, smooth=0.5, log_loss=True)(logits, target).item() * CLASSES / present == (
        pytest.approx(log_dice(logits, target)[0].item(), rel=1e-5)
    )
    theirs = losses.TverskyLoss(**options, smooth=1.0, alpha=0.3, beta=0.7)(logits, target)
    assert theirs.item() * CLASSES / present == pytest.approx(tversky(logits, target)[0].item(), rel=1e-5)
    theirs = losses.LovaszLoss("multiclass", per_image=True, ignore_index=VOID)(logits, target)
    assert theirs.item() == pytest.approx(lovasz(logits, target)[0].item(), rel=1e-5)
