"""Losses against torch's and float64 references, and the properties that every loss of `LOSSES` has."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.labels import VOID
from learning.losses import LOSSES, PIXELWISE, Criterion, LossArguments, mean
from learning.losses.pixelwise import cross_entropy, focal, ohem

CLASSES = 4
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 3.5])


def case(seed=0, batch=3, size=(5, 6), spread=3.0):
    """Logits with requires_grad, and labels with some VOID."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(batch, CLASSES, *size, generator=generator)
    target = torch.randint(0, CLASSES, (batch, *size), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.3] = VOID
    return logits.requires_grad_(), target


def scene(seed=0, batch=3, size=(16, 18)):
    """Logits with requires_grad, and labels of large blocks with some VOID."""
    logits, noise = case(seed, batch, size)
    blocks = noise[:, ::9, ::9].clamp(max=CLASSES - 1)
    target = blocks.repeat_interleave(9, 1).repeat_interleave(9, 2)[:, : size[0], : size[1]].clone()
    target[:, 3, 5:] = VOID
    target[:, 12:, 2] = VOID
    return logits, target


SUMS = ("ce+dice", "10*focal+log_dice", "ce+lovasz+abl", "weighted_ce+0.5*ohem+tversky")
ARGUMENTS: dict[str, LossArguments] = {
    "weighted_ce": {"class_weights": WEIGHTS},
    "focal": {"gamma": 2.0},
    "ohem": {"threshold": 0.5, "fraction": 0.2},
}


def criterion_of(terms, **options):
    return Criterion(terms, ARGUMENTS, **options)


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


# ---------------------------------------------------------------------------------------------- each loss


@pytest.mark.parametrize("class_weights", [None, WEIGHTS])
def test_cross_entropy_equals_torch(class_weights):
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
    """-(1 - p)^gamma log p in float64, summed over the valid pixels."""
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
    with_factor = gradient(focal(logits, target, 2.0)[0], logits)
    without_factor = gradient(slow_focal(logits, target, 2.0, in_graph=False), logits)
    assert (with_factor - without_factor).abs().max() > 0.05


def test_focal_with_gamma_0_is_cross_entropy():
    logits, target = case(3)
    (total, weight), (expected, count) = focal(logits, target, 0.0), cross_entropy(logits, target)
    assert torch.allclose(total, expected, rtol=1e-6)
    assert weight == count
    assert torch.allclose(gradient(total, logits), gradient(expected, logits), atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("logit", [0.0, 20.0, 200.0, 1e4, -200.0])
def test_focal_is_finite_for_probabilities_of_0_and_1(gamma, logit):
    logits = torch.tensor([logit, 0.0]).view(1, 2, 1, 1).requires_grad_()
    total, _ = focal(logits, torch.zeros(1, 1, 1, dtype=torch.long), gamma)
    assert torch.isfinite(total)
    assert torch.isfinite(gradient(total, logits)).all()


# ------------------------------------------------------------------------------ label smoothing, class weights, OHEM


@pytest.mark.parametrize("class_weights", [None, WEIGHTS])
def test_smoothed_cross_entropy_equals_torch(class_weights):
    logits, target = case(13)
    total, weight = cross_entropy(logits, target, class_weights, label_smoothing=0.1)
    expected = torch.nn.CrossEntropyLoss(class_weights, ignore_index=VOID, label_smoothing=0.1)(logits, target)
    assert torch.allclose(mean(total, weight), expected, rtol=1e-6)
    assert torch.allclose(gradient(mean(total, weight), logits), gradient(expected, logits), rtol=1e-5, atol=1e-8)


def test_smoothed_cross_entropy_by_hand():
    logits = torch.tensor([0.0, math.log(3.0)]).view(1, 2, 1, 1)
    total, _ = cross_entropy(logits, torch.ones(1, 1, 1, dtype=torch.long), label_smoothing=0.2)
    assert total.item() == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4))


def test_weighted_focal_multiplies_each_pixel():
    logits, target = case(14)
    total, weight = focal(logits, target, 2.0, WEIGHTS)
    by_class = [focal(logits, torch.where(target == c, target, VOID), 2.0) for c in range(CLASSES)]
    assert total.item() == pytest.approx(
        sum(w * s.item() for w, (s, _) in zip(WEIGHTS.tolist(), by_class, strict=True))
    )
    assert weight.item() == pytest.approx(
        sum(w * n.item() for w, (_, n) in zip(WEIGHTS.tolist(), by_class, strict=True))
    )


def slow_ohem(logits, target, threshold, fraction, class_weights=None):
    """Sum over images of the mean over their hard pixels, pixel by pixel in float64."""
    result = 0.0
    for image_logits, labels in zip(logits.double(), target, strict=True):
        pixels = [(y, x) for y in range(labels.shape[0]) for x in range(labels.shape[1]) if labels[y, x] != VOID]
        if not pixels:
            continue
        losses = {(y, x): -image_logits[:, y, x].log_softmax(0)[labels[y, x]] for y, x in pixels}
        order = sorted(pixels, key=lambda at: -losses[at].item())
        hard = set(order[: math.ceil(fraction * len(pixels))])
        hard |= {at for at in pixels if losses[at].exp() ** -1 < threshold}
        weights = {at: 1.0 if class_weights is None else class_weights[labels[at]].item() for at in hard}
        result = result + sum(weights[at] * losses[at] for at in hard) / sum(weights.values())
    return result


@pytest.mark.parametrize(("threshold", "fraction"), [(0.7, 1 / 16), (0.0, 0.25), (0.05, 0.5), (1.0, 0.1), (0.3, 1.0)])
@pytest.mark.parametrize("class_weights", [None, WEIGHTS])
def test_ohem_agrees_with_a_loop(threshold, fraction, class_weights):
    logits, target = case(15)
    target[1] = VOID
    total, weight = ohem(logits, target, threshold, fraction, class_weights)
    expected = slow_ohem(logits, target, threshold, fraction, class_weights)
    assert weight == 2
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(gradient(total, logits), gradient(expected, logits), atol=1e-6)


def test_ohem_by_hand():
    """Probabilities of the true class: 3/4 and 1/4, then 3/4 and 3/4."""
    pixel = [0.0, math.log(3.0)]
    logits = torch.tensor([[pixel, pixel], [pixel, pixel]]).permute(0, 2, 1)[:, :, None]  # (2, 2, 1, 2)
    target = torch.tensor([[[1, 0]], [[1, 1]]])
    total, weight = ohem(logits, target, threshold=0.7, fraction=0.1)
    assert weight == 2
    assert total.item() == pytest.approx(math.log(4) + math.log(4 / 3))  # only the hardest pixel of the second image
    total, _ = ohem(logits, target, threshold=0.8, fraction=0.1)
    assert total.item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2 + math.log(4 / 3))


# ---------------------------------------------------------------------------------------------- every loss


@pytest.mark.parametrize("name", [*LOSSES, *SUMS])
def test_void_pixels_have_no_gradient_and_do_not_count(name):
    logits, target = scene(4)
    total, weight = criterion_of(name)({"out": logits}, target)
    gradients = gradient(total.sum(), logits)
    void = (target == VOID)[:, None].expand_as(gradients)
    assert (gradients[void] == 0).all()
    assert (gradients[~void] != 0).any()
    changed = torch.where(void, torch.full_like(logits, 50.0), logits)
    again, same_weight = criterion_of(name)({"out": changed}, target)
    assert torch.equal(again, total)
    assert torch.equal(same_weight, weight)


@pytest.mark.parametrize("name", [*LOSSES, *SUMS])
def test_micro_batches_add_up(name):
    logits, target = scene(5, batch=5)
    target[2] = VOID
    total, weight = criterion_of(name)({"out": logits}, target)
    slices = slice(0, 2), slice(2, 3), slice(3, 5)
    parts = [criterion_of(name)({"out": logits[part]}, target[part]) for part in slices]
    assert torch.allclose(sum(part[0] for part in parts), total, rtol=1e-6)
    assert torch.allclose(sum(part[1] for part in parts), weight, rtol=1e-6)


@pytest.mark.parametrize("name", [*LOSSES, *SUMS])
def test_micro_batches_have_the_gradient_of_the_batch(name):
    logits, target = scene(16, batch=4)
    logits = logits.detach().double().requires_grad_()
    target[1] = VOID
    criterion = criterion_of(name)
    whole = gradient(mean(*criterion({"out": logits}, target)), logits)
    weight = criterion.weight(target)
    parts = [criterion({"out": logits[part]}, target[part])[0] for part in (slice(0, 1), slice(1, 2), slice(2, 4))]
    assert (gradient(sum(mean(part, weight) for part in parts), logits) - whole).abs().max() <= 1e-10
    assert whole.abs().max() > 1e-4


@pytest.mark.parametrize("name", [*LOSSES, *SUMS])
def test_the_gradient_agrees_with_finite_differences(name):
    logits, target = scene(17, batch=2, size=(4, 12))
    logits = logits.detach().double()
    criterion = criterion_of(name)
    if "abl" in name:  # its detached terms differ; see test_active_boundary.py
        criterion = criterion_of(name.replace("+abl", "").replace("abl", "ce"))
    assert torch.autograd.gradcheck(
        lambda x: mean(*criterion({"out": x}, target)), logits.requires_grad_(), eps=1e-7, atol=1e-5
    )


@pytest.mark.parametrize("name", [*LOSSES, *SUMS])
def test_without_a_valid_pixel_loss_and_gradients_are_zero(name):
    logits, target = scene(6)
    total, weight = criterion_of(name)({"out": logits}, torch.full_like(target, VOID))
    assert (weight == 0).all()
    loss = mean(total, weight)
    assert loss == 0
    assert (gradient(loss, logits) == 0).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_computed_in_float32(name, dtype):
    logits, target = scene(7)
    low = logits.detach().to(dtype)
    total, weight = criterion_of(name)({"out": low}, target)
    assert total.dtype == weight.dtype == torch.float32
    assert total.shape == weight.shape == (len(criterion_of(name).names),)
    assert torch.equal(total, criterion_of(name)({"out": low.float()}, target)[0])


@pytest.mark.parametrize("name", [*LOSSES, *SUMS])
def test_the_auxiliary_head_adds_to_the_sum_and_not_to_the_weight(name):
    (logits, target), (aux, _) = scene(8), scene(9)
    out_total, out_weight = criterion_of(name)({"out": logits}, target)
    aux_total, _ = criterion_of(name)({"out": aux}, target)
    total, weight = criterion_of(name, aux_weight=0.25)({"out": logits, "aux": aux}, target)
    assert torch.allclose(total, out_total + 0.25 * aux_total, rtol=1e-6)
    assert torch.equal(weight, out_weight)
    default, _ = criterion_of(name)({"out": logits, "aux": aux}, target)
    assert torch.equal(default, out_total)
    assert gradient(total.sum(), aux).abs().sum() > 0


@pytest.mark.parametrize("name", [*LOSSES, *SUMS])
def test_losses_leave_their_inputs_unchanged(name):
    logits, target = scene(10)
    before = logits.detach().clone(), target.clone()
    criterion_of(name)({"out": logits}, target)
    assert torch.equal(logits, before[0])
    assert torch.equal(target, before[1])


# ---------------------------------------------------------------------------------------------- terms and weights


def test_each_name_selects_its_loss_and_arguments():
    logits, target = case(11)
    outputs = {"out": logits}
    assert criterion_of("ce")(outputs, target)[0] == cross_entropy(logits, target)[0]
    total, weight = criterion_of("weighted_ce")(outputs, target)
    assert (total, weight) == cross_entropy(logits, target, WEIGHTS)
    assert Criterion("focal", {"focal": {"gamma": 0.7}})(outputs, target) == focal(logits, target, 0.7)


def test_each_term_of_a_sum_is_divided_by_its_own_weight():
    logits, target = case(11)
    target[0] = VOID
    criterion = criterion_of("2*ce+0.5*dice")
    totals, weights = criterion({"out": logits}, target)
    ce, dice = (LOSSES[name](logits, target) for name in ("ce", "dice"))
    assert criterion.names == ("ce", "dice")
    assert weights.tolist() == [(target != VOID).sum().item(), 2]
    assert mean(totals, weights).item() == pytest.approx((2 * mean(*ce) + 0.5 * mean(*dice)).item())


@pytest.mark.parametrize("name", LOSSES)
def test_means_over_images_count_each_image_once(name):
    """An image with few valid pixels counts as much as the others, but in the pixelwise losses."""
    _, target = case(11)
    target[0, 1:] = VOID
    target[0, 0, :2] = 0
    pixels = (target != VOID).sum().item()
    weight = Criterion(name).weight(target).item()
    assert weight == (pixels if name in PIXELWISE else 3)


def test_mean_divides_once():
    assert mean(torch.tensor(6.0), torch.tensor(4.0)) == 1.5
    assert mean(torch.tensor([6.0, 1.0, 0.0]), torch.tensor([4.0, 2.0, 0.0])) == 2.0


def test_class_weights_scale_the_gradient():
    """The gradient of each pixel is its class's weight times that without weights."""
    logits, target = case(12)
    plain = gradient(cross_entropy(logits, target)[0], logits)
    weighted = gradient(cross_entropy(logits, target, WEIGHTS)[0], logits)
    factor = F.pad(WEIGHTS, (0, VOID + 1 - CLASSES))[target][:, None]
    assert torch.allclose(weighted, factor * plain, atol=1e-6)
