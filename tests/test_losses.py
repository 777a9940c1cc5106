"""Losses against torch's own, float64 references and the promises that every loss of the table makes."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.labels import VOID
from learning.losses import LOSSES, Criterion, cross_entropy, enet_weights, focal, mean

CLASSES = 4
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 3.5])


def case(seed=0, batch=3, size=(5, 6), spread=3.0):
    """Logits that ask for gradients, and labels with some VOID."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(batch, CLASSES, *size, generator=generator)
    target = torch.randint(0, CLASSES, (batch, *size), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.3] = VOID
    return logits.requires_grad_(), target


def criterion_of(name):
    return Criterion(name, WEIGHTS, focal_gamma=2.0)


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


# ---------------------------------------------------------------------------------------------- each loss


@pytest.mark.parametrize("class_weights", [None, WEIGHTS])
def test_cross_entropy_equals_torchs(class_weights):
    logits, target = case()
    total, weight = cross_entropy(logits, target, class_weights)
    torch_sum = torch.nn.CrossEntropyLoss(class_weights, ignore_index=VOID, reduction="sum")(logits, target)
    torch_mean = torch.nn.CrossEntropyLoss(class_weights, ignore_index=VOID)(logits, target)
    assert torch.allclose(total, torch_sum, rtol=1e-6)
    assert torch.allclose(mean(total, weight), torch_mean, rtol=1e-6)
    assert torch.allclose(gradient(mean(total, weight), logits), gradient(torch_mean, logits), rtol=1e-5, atol=1e-8)


def test_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)], [0.0, 0.0]]).T[None, :, None]  # (1, 2, 1, 3)
    target = torch.tensor([[[1, 0, VOID]]])
    total, weight = cross_entropy(logits, target)
    assert total.item() == pytest.approx(math.log(4 / 3) + math.log(4))
    assert weight == 2
    total, weight = cross_entropy(logits, target, torch.tensor([10.0, 1.0]))
    assert total.item() == pytest.approx(math.log(4 / 3) + 10 * math.log(4))
    assert weight == 11


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_by_hand(gamma):
    """p of the true class is 3/4, then 1/4; the third pixel is void."""
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)], [9.0, -9.0]]).T[None, :, None]
    total, weight = focal(logits, torch.tensor([[[1, 0, VOID]]]), gamma)
    assert total.item() == pytest.approx(0.25**gamma * math.log(4 / 3) + 0.75**gamma * math.log(4))
    assert weight == 2


def slow_focal(logits, target, gamma, in_graph=True):
    """-(1 - p)^gamma log p in float64, summed over the labelled pixels."""
    p = logits.double().softmax(1)
    p = p.gather(1, target.clamp(max=CLASSES - 1)[:, None])[:, 0][target != VOID]
    factor = (1 - p) ** gamma
    return -((factor if in_graph else factor.detach()) * p.log()).sum()


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.5])
def test_focal_and_its_gradient_agree_with_float64(gamma):
    logits, target = case(1)
    total, _ = focal(logits, target, gamma)
    expected = slow_focal(logits, target, gamma)
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(gradient(total, logits), gradient(expected, logits), rtol=0, atol=1e-5)


def test_the_gradient_flows_through_the_focal_factor():
    logits, target = case(2)
    found = gradient(focal(logits, target, 2.0)[0], logits)
    without = gradient(slow_focal(logits, target, 2.0, in_graph=False), logits)
    assert (found - without).abs().max() > 0.05


def test_focal_with_gamma_0_is_cross_entropy():
    logits, target = case(3)
    (total, weight), (expected, count) = focal(logits, target, 0.0), cross_entropy(logits, target)
    assert torch.allclose(total, expected, rtol=1e-6)
    assert weight == count
    assert torch.allclose(gradient(total, logits), gradient(expected, logits), atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("logit", [0.0, 20.0, 200.0, 1e4, -200.0])
def test_focal_is_finite_for_certain_pixels(gamma, logit):
    logits = torch.tensor([logit, 0.0]).view(1, 2, 1, 1).requires_grad_()
    total, _ = focal(logits, torch.zeros(1, 1, 1, dtype=torch.long), gamma)
    assert torch.isfinite(total)
    assert torch.isfinite(gradient(total, logits)).all()


# ---------------------------------------------------------------------------------------------- every loss


@pytest.mark.parametrize("name", LOSSES)
def test_void_pixels_have_no_gradient_and_do_not_count(name):
    logits, target = case(4)
    total, weight = criterion_of(name)({"out": logits}, target)
    slopes = gradient(total, logits)
    void = (target == VOID)[:, None].expand_as(slopes)
    assert (slopes[void] == 0).all()
    assert (slopes[~void] != 0).any()
    changed = torch.where(void, torch.full_like(logits, 50.0), logits)
    again, same_weight = criterion_of(name)({"out": changed}, target)
    assert again == total
    assert same_weight == weight


@pytest.mark.parametrize("name", LOSSES)
def test_parts_of_a_batch_add_up(name):
    logits, target = case(5, batch=5)
    target[2] = VOID
    total, weight = criterion_of(name)({"out": logits}, target)
    thirds = slice(0, 2), slice(2, 3), slice(3, 5)
    parts = [criterion_of(name)({"out": logits[part]}, target[part]) for part in thirds]
    assert sum(part[0].item() for part in parts) == pytest.approx(total.item(), rel=1e-6)
    assert sum(part[1].item() for part in parts) == pytest.approx(weight.item(), rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_without_a_labelled_pixel_loss_and_gradients_are_zero(name):
    logits, target = case(6)
    total, weight = criterion_of(name)({"out": logits}, torch.full_like(target, VOID))
    assert weight == 0
    loss = mean(total, weight)
    assert loss == 0
    assert (gradient(loss, logits) == 0).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_computed_in_float32(name, dtype):
    logits, target = case(7)
    low = logits.detach().to(dtype)
    total, weight = criterion_of(name)({"out": low}, target)
    assert total.dtype == weight.dtype == torch.float32
    assert total.shape == weight.shape == ()
    assert torch.equal(total, criterion_of(name)({"out": low.float()}, target)[0])


@pytest.mark.parametrize("name", LOSSES)
def test_the_auxiliary_head_adds_to_the_sum_and_not_to_the_weight(name):
    (logits, target), (aux, _) = case(8), case(9)
    out_total, out_weight = criterion_of(name)({"out": logits}, target)
    aux_total, _ = criterion_of(name)({"out": aux}, target)
    total, weight = Criterion(name, WEIGHTS, 2.0, aux_weight=0.25)({"out": logits, "aux": aux}, target)
    assert total.item() == pytest.approx(out_total.item() + 0.25 * aux_total.item(), rel=1e-6)
    assert weight == out_weight
    default, _ = criterion_of(name)({"out": logits, "aux": aux}, target)
    assert default.item() == pytest.approx(out_total.item() + 0.4 * aux_total.item(), rel=1e-6)
    assert gradient(total, aux).abs().sum() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_losses_leave_their_inputs_unchanged(name):
    logits, target = case(10)
    kept = logits.detach().clone(), target.clone()
    criterion_of(name)({"out": logits}, target)
    assert torch.equal(logits, kept[0])
    assert torch.equal(target, kept[1])


# ---------------------------------------------------------------------------------------------- options and weights


def test_each_name_builds_the_loss_it_says():
    logits, target = case(11)
    outputs = {"out": logits}
    assert criterion_of("ce")(outputs, target)[0] == cross_entropy(logits, target)[0]
    assert criterion_of("weighted_ce")(outputs, target) == cross_entropy(logits, target, WEIGHTS)
    assert Criterion("focal", WEIGHTS, 0.7)(outputs, target) == focal(logits, target, 0.7)


def test_mean_divides_once():
    assert mean(torch.tensor(6.0), torch.tensor(4.0)) == 1.5


def test_enet_weights_follow_the_formula():
    weights = enet_weights([60, 30, 10, 0])
    expected = [1 / math.log(1.02 + share) for share in (0.6, 0.3, 0.1, 0.0)]
    assert weights.tolist() == pytest.approx(expected, rel=1e-6)
    assert weights.dtype == torch.float32
    assert enet_weights(torch.tensor([1, 1]), c=1.1).tolist() == pytest.approx([1 / math.log(1.6)] * 2)


def test_weighted_pixels_pull_in_proportion():
    """The gradient of each pixel is its class's weight times that of plain cross entropy."""
    logits, target = case(12)
    plain = gradient(cross_entropy(logits, target)[0], logits)
    weighted = gradient(cross_entropy(logits, target, WEIGHTS)[0], logits)
    factor = F.pad(WEIGHTS, (0, VOID + 1 - CLASSES))[target][:, None]
    assert torch.allclose(weighted, factor * plain, atol=1e-6)
