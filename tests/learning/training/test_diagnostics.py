"""Training diagnostics: findings on broken networks, none on healthy ones, and no side effects."""

import copy
import math

import numpy as np
import pytest
import torch
from commands import train
from tiny import draw
from torch import nn

from helpers.labels import CAMVID, VOID
from learning.data.class_weights import enet
from learning.losses import Criterion, mean
from learning.models import MODELS, Architecture, build_model
from learning.models.norms import NORMS
from learning.training import diagnostics
from learning.training.diagnostics import (
    EpochRecord,
    LossRecord,
    check_layers,
    check_loss,
    check_predictions,
    check_weights,
)
from learning.training.diagnostics.loss import MANY_STEPS, class_frequency_loss
from learning.training.diagnostics.predictions import missing_classes
from learning.training.diagnostics.verdict import overfit_verdict
from learning.training.optim import OptimizerSettings, build_optimizer
from learning.training.schedule import RunLength

NAMES = [row.name for row in CAMVID.classes]
SHARES = torch.tensor([17.54, 24.21, 1.02, 32.96, 4.67, 10.12, 1.22, 1.17, 6.11, 0.67, 0.30])
PIXELS = (SHARES * 1e4).long()


def draw_batch(seed, size=64, count=2):
    """(float32 (B, 3, h, w), int64 (B, h, w)) of colored rectangles."""
    rng = np.random.default_rng(seed)
    images, labels = zip(*(draw(rng, CAMVID, (size, size)) for _ in range(count)), strict=True)
    labels = torch.from_numpy(np.stack(labels)).long()
    images = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    return (images - 0.4) / 0.27, torch.where(labels == CAMVID.void_id, VOID, labels)


class Network(nn.Sequential):
    """A small network with the outputs of the real ones; children with a name are not used."""

    def forward(self, x):
        for name, layer in self.named_children():
            x = layer(x) if name.isdigit() else x
        return {"out": x}


def small(*middle, width=8):
    """Conv, norm and ReLU, then `middle`, then the logits."""
    torch.manual_seed(1)
    first = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    return Network(*first, *middle, nn.Conv2d(width, len(NAMES), 1))


def trained(model, steps=2, lr=1e-2, weight_decay=1e-4, size=64, count=2):
    """(model, its initial weights, the last images) after some steps, with the gradients of the last step."""
    initial = copy.deepcopy(model.state_dict())
    optimizer = build_optimizer(model, OptimizerSettings("sgd", lr, 0.9, weight_decay))
    model.train()
    for step in range(steps):
        images, labels = draw_batch(step, size, count)
        optimizer.zero_grad()
        mean(*Criterion("ce")(model(images), labels)).backward()
        optimizer.step()
    return model, initial, images


def only(findings):
    assert len(findings) == 1, findings
    return findings[0]


# ---------------------------------------------------------------------------------------------------- healthy networks


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", MODELS)
def test_healthy_networks_have_no_findings(name, norm):
    model = build_model(Architecture(name, len(NAMES), norm), seed=0)
    steps = {"UNet": 2, "DeepLabv3_resnet50": 1}.get(name, 0)  # training the others would take long
    if steps != 1:
        assert check_layers(model, draw_batch(0, size=32 if steps else 64)[0]) == []
    if steps:
        model, initial, images = trained(model, steps, size=32)
        assert check_layers(model, images) == []
        assert check_weights(model, initial) == []


def test_a_batch_of_one_and_no_weight_decay_are_healthy():
    model, initial, images = trained(
        build_model(Architecture("DeepLabv3_resnet50", len(NAMES), "batch"), seed=0), 1, weight_decay=0.0, count=1
    )
    assert check_layers(model, images) == []
    assert check_weights(model, initial) == []


# ------------------------------------------------------------------------------------------------- weights that do not learn


def test_consecutive_zero_initialized_layers():
    middle = [nn.Conv2d(8, 8, 1), nn.ReLU()]
    model = small(*middle)
    for layer in (middle[0], model[-1]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    model, initial, images = trained(model)
    finding = only([line for line in check_weights(model, initial) if "exactly 0" in line])
    assert "3.weight (all 0)" in finding
    assert "5.weight (all 0)" in finding
    assert "bias" not in finding
    assert "zero at every pixel: 3 (100% of its channels)" in only(check_layers(model, images))


def test_a_single_zero_initialized_layer_learns():
    model = small()
    nn.init.zeros_(model[-1].weight)
    model, initial, _ = trained(model)
    assert check_weights(model, initial) == []


def test_layers_blocked_by_zero_init_learn_from_the_second_step_on():
    norm = nn.BatchNorm2d(8)
    nn.init.zeros_(norm.weight)  # as --zero_init: the gradient of earlier layers is 0 until this weight has changed
    model, initial, _ = trained(small(nn.Conv2d(8, 8, 3, padding=1), norm), steps=1)
    assert check_weights(model, initial, only_step=True) == []
    assert "the gradient is exactly 0 for 0.weight" in only(check_weights(model, initial))
    model[4].weight.data = initial["4.weight"].clone()  # a weight that stays 0 is a finding
    assert "the gradient is exactly 0 for" in " ".join(check_weights(model, initial, only_step=True))


def test_an_unused_layer():
    model = small()
    model.extra = nn.Conv2d(8, 8, 3)
    model, initial, _ = trained(model)
    finding = only(check_weights(model, initial))
    assert finding.startswith("no gradient at all for extra.weight: ")


def test_at_most_three_names_are_listed():
    model = small()
    model.extra = nn.ModuleList(nn.Conv2d(8, 8, 3) for _ in range(5))
    model, initial, _ = trained(model)
    assert "extra.0.weight, extra.1.weight, extra.2.weight and 2 more:" in only(check_weights(model, initial))


def test_no_findings_for_frozen_weights_and_an_unused_auxiliary_head():
    model = small()
    model.aux_classifier = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 3, 1))
    model[0].requires_grad_(False)
    model, initial, _ = trained(model)
    assert check_weights(model, initial) == []
    model.aux_classifier[0].weight.grad = torch.ones(8, 8, 1, 1)
    assert "aux_classifier.1.weight" in " ".join(check_weights(model, initial))


def test_an_unchanged_bias_is_a_finding_unless_it_is_before_a_norm():
    model, initial, _ = trained(small(), weight_decay=0.0)
    model[0].bias.data = initial["0.bias"].clone()
    assert check_weights(model, initial) == []
    model[-1].bias.data = initial["3.bias"].clone()
    assert "not moved so far: 3.bias;" in only(check_weights(model, initial))
    model[-1].weight.data = initial["3.weight"].clone()
    assert "not moved so far: 3.weight;" in only(check_weights(model, initial))


def test_a_learning_rate_of_zero():
    model, initial, _ = trained(small(), lr=0.0)
    assert "none of the 6 weight tensors moved so far: check --lr_init" in only(check_weights(model, initial))


def test_no_findings_for_cleared_gradients_and_a_last_batch_of_void():
    model, initial, _ = trained(small())
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    assert check_weights(model, initial) == []
    model.zero_grad(set_to_none=True)
    assert check_weights(model, initial) == []
    model[-1].weight.data = initial["3.weight"].clone()
    assert "3.weight" in only(check_weights(model, initial))


# ------------------------------------------------------------------------------------------------------------- activations


def test_a_dead_layer_is_named_and_the_layers_after_it_are_not():
    dead = nn.Conv2d(8, 8, 3, padding=1)
    model = small(dead, nn.ReLU(inplace=True), nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    nn.init.constant_(dead.bias, -100.0)
    assert "zero at every pixel: 4 (100% of its channels);" in only(check_layers(model, draw_batch(0)[0]))
    dead.bias.data[0] = 100.0  # 7 of 8 channels are below the threshold
    assert check_layers(model, draw_batch(0)[0]) == []


def test_a_functional_dead_relu_is_reported_at_the_next_layer():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 11, 1)

        def forward(self, x):
            return {"out": self.second(torch.relu(self.first(x)))}

    model = Functional()
    nn.init.constant_(model.first.bias, -100.0)
    assert "the input of second is zero at every pixel" in only(check_layers(model, draw_batch(0)[0]))


def test_exploding_and_nan_layers():
    model, images = small(nn.Conv2d(8, 8, 1), nn.ReLU()), draw_batch(0)[0]
    model[3].weight.data *= 1e6
    finding = only(check_layers(model, images))
    assert finding.startswith("values explode in 3 (up to ")
    assert 1e5 < float(finding.split("up to ")[1].split(")")[0]) < 1e7
    model[3].weight.data[0, 0] = math.nan
    assert "values explode in 3 (up to nan)" in only(check_layers(model, images))
    images[0, 0, 0, 0] = math.inf
    assert "the input of 0 is too large or not finite" in only(check_layers(small(), images))


def test_a_layer_with_constant_output():
    model = small(nn.Conv2d(8, 8, 1))
    model[3].weight.data.zero_()
    finding = only(check_layers(model, draw_batch(0)[0]))
    assert "the same value at every pixel: 3 (100% of its channels)" in finding


# --------------------------------------------------------------------------------------------------------- predictions


def test_missing_large_classes_are_findings_and_rare_ones_are_not():
    confusion = torch.diag(PIXELS)
    assert check_predictions(confusion, NAMES) == []
    assert missing_classes(confusion, NAMES) == ""
    for rare in (2, 10):
        confusion[rare, 3], confusion[rare, rare] = confusion[rare, rare].clone(), 0
    assert check_predictions(confusion, NAMES) == []
    expected = "never predicted so far: Pole (1.0% of the pixels), Bicyclist (0.3% of the pixels)"
    assert missing_classes(confusion.numpy(), NAMES) == expected
    confusion[3, 10] = 1
    assert missing_classes(confusion, NAMES).startswith("hardly predicted so far: ")
    confusion[1, 3], confusion[1, 1] = confusion[1, 1].clone(), 0
    assert "Building (24.2% of the pixels): too large to be missed" in only(check_predictions(confusion, NAMES))


def test_one_class_nearly_everywhere():
    confusion = torch.zeros(11, 11, dtype=torch.int64)
    confusion[:, 3] = PIXELS
    assert "100.0% of the pixels are predicted as Road, which 33.0% are" in only(check_predictions(confusion, NAMES))
    background = torch.tensor([[950, 0], [45, 5]])
    assert check_predictions(background, ["background", "crack"]) == []
    assert check_predictions(torch.zeros(2, 2, dtype=torch.int64), ["a", "b"]) == []
    assert check_predictions(confusion, NAMES, MANY_STEPS - 1) == [], "normal in the first steps"


# ------------------------------------------------------------------------------------------- the class-frequency baseline


def test_the_baseline_of_cross_entropy_is_the_entropy_of_the_weighted_class_frequencies():
    shares = PIXELS.double() / PIXELS.sum()
    assert class_frequency_loss(PIXELS, Criterion("ce")) == pytest.approx(-(shares * shares.log()).sum().item())
    weights = torch.from_numpy(enet(PIXELS[None].numpy())).float()
    weighted = weights.double() * PIXELS / (weights.double() * PIXELS).sum()
    expected = -(weighted * weighted.log()).sum().item()
    assert class_frequency_loss(
        PIXELS, Criterion("weighted_ce", {"weighted_ce": {"class_weights": weights}})
    ) == pytest.approx(expected, rel=1e-5)
    assert class_frequency_loss(torch.tensor([3, 0, 1]), Criterion("ce")) == pytest.approx(0.5623351446)
    assert class_frequency_loss(torch.tensor([3, 0]), Criterion("ce")) == 0


@pytest.mark.parametrize("gamma", [0.0, 2.0, 5.0])
def test_the_baseline_of_the_focal_loss_is_close_to_the_optimum(gamma):
    criterion, shares = Criterion("focal", {"focal": {"gamma": gamma}}), PIXELS / PIXELS.sum()
    logits = shares.log().requires_grad_()
    optimizer = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        outputs = {"out": logits[None, :, None, None]}
        losses = [criterion(outputs, torch.full((1, 1, 1), c))[0][0] for c in range(11)]
        loss = (shares * torch.stack(losses)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    optimum = closure().item()
    assert optimum * (1 - 1e-6) <= class_frequency_loss(PIXELS, criterion) <= 1.02 * optimum


def found_in(terms, criterion, pixels=PIXELS, **known):
    """The findings on a loss; after many steps, unless `known` says otherwise."""
    return check_loss(LossRecord(terms, **({"total_steps": MANY_STEPS} | known)), pixels, criterion)


def test_a_loss_that_is_not_below_the_baseline_after_many_steps():
    criterion = Criterion("ce")
    baseline = class_frequency_loss(PIXELS, criterion)
    assert found_in([0.97 * baseline], criterion) == []
    finding = only(found_in([0.99 * baseline], criterion))
    assert (
        f"{0.99 * baseline:.3g}, is not below {baseline:.3g}, the class-frequency baseline, after 150 steps" in finding
    )
    assert found_in([0.99 * baseline], criterion, total_steps=MANY_STEPS - 1) == []
    assert "the training loss is nan: " in only(found_in([math.nan], criterion, total_steps=1))
    assert found_in([0.0], criterion, torch.tensor([5, 0])) == []


def test_the_trend_within_an_epoch():
    """High at first is healthy if it falls; what stays or rises is not. A few steps are no trend."""
    criterion = Criterion("ce")
    high = [1.3 * class_frequency_loss(PIXELS, criterion)]
    steps = {"num_steps": 20, "total_steps": 20}
    assert found_in(high, criterion, trend=(2.6, 2.3), **steps) == []
    assert found_in(high, criterion, trend=(2.49, 2.41), **steps) == [], "slowly, as with a small --lr_init"
    assert found_in(high, criterion, trend=(1.88, 1.83), num_steps=20) != [], "but not after many steps"
    assert found_in(high, criterion, trend=(2.6, 2.3)) != [], "the trend of an epoch of unknown length"
    assert found_in(high, criterion, trend=(2.6, 2.3), num_steps=20) == [], "it still falls"
    assert "does not fall (2.41 at the start of the epoch, 2.4 at its end)" in only(
        found_in(high, criterion, trend=(2.41, 2.40), **steps)
    )
    assert "the training loss rises (2.4 at the start of the epoch, 31 at its end): lower --lr_init" in only(
        found_in([9.0], criterion, trend=(2.4, 31.0), **steps)
    )
    few = {"num_steps": 15, "total_steps": 15}
    for trend in ((2.41, 2.40), (2.4, 31.0), (math.nan, math.nan)):
        assert found_in(high, criterion, trend=trend, **few) == []
    assert found_in([0.5], criterion, trend=(0.5, 0.5), **steps) == [], "below the baseline it may stay"


@pytest.mark.parametrize(
    ("steps_per_epoch", "total", "expected"),
    [
        (100, 1000, [0, 1]),
        (1, 400, [9, 149]),
        (1, 4, [3]),
        (200, 300, [0]),
        (50, 160, [0, 2]),
        (6, 20, [1]),
        (10, 10, [0]),
    ],
)
def test_the_doctor_looks_at_a_run_after_10_and_150_steps_or_at_its_end(steps_per_epoch, total, expected):
    length = RunLength(steps_per_epoch, total)
    assert [epoch for epoch in range(length.epochs) if diagnostics.is_due(length, epoch)] == expected


def test_the_baseline_of_smoothed_labels():
    shares = 0.9 * PIXELS.double() / PIXELS.sum() + 0.1 / len(PIXELS)
    criterion = Criterion("ce", {"ce": {"label_smoothing": 0.1}})
    assert class_frequency_loss(PIXELS, criterion) == pytest.approx(-(shares * shares.log()).sum().item(), rel=1e-6)


def test_only_the_pixelwise_terms_of_a_sum_are_compared():
    baseline = class_frequency_loss(PIXELS, Criterion("ce"))
    criterion = Criterion("dice+2*ce")
    assert class_frequency_loss(PIXELS, criterion) == pytest.approx(2 * baseline, rel=1e-6)
    assert found_in([0.9, 1.9 * baseline], criterion) == []
    assert "the training loss of ce, " in only(found_in([0.0, 2 * baseline], criterion))
    assert found_in([5.0], Criterion("dice")) == []
    assert "is nan" in only(found_in([math.nan], Criterion("dice")))


# ------------------------------------------------------------------------------------------------------------------ the text


def test_a_healthy_run_is_one_line():
    model, initial, images = trained(small())
    confusion = torch.diag(PIXELS)
    epoch = EpochRecord(initial, images, confusion, NAMES, LossRecord([1.0]), Criterion("ce"))
    assert diagnostics.examine(model, epoch) == "doctor: every layer learns; every class is predicted"
    confusion[3, 3], confusion[2, 3] = confusion[2, 2] + confusion[3, 3], confusion[2, 2].clone()
    confusion[2, 2] = 0
    text = diagnostics.examine(model, epoch)
    assert text.startswith("doctor: every layer learns; never predicted so far: Pole (")


def test_many_findings_are_six_lines_at_most():
    layers = [nn.Conv2d(8, 8, 1) for _ in range(12)]
    for layer in layers[::3]:
        nn.init.constant_(layer.weight, 1e6)
    for layer in layers[1::3]:
        nn.init.zeros_(layer.weight)
    model = small(*layers)
    model.unused = nn.Conv2d(8, 8, 1)
    model, initial, images = trained(model)
    confusion = torch.zeros(11, 11, dtype=torch.int64)
    confusion[:, 3] = PIXELS
    text = diagnostics.examine(
        model,
        EpochRecord(initial, images, confusion, NAMES, LossRecord([2.4], total_steps=MANY_STEPS), Criterion("ce")),
    )
    assert text.startswith("doctor: the training loss, 2.4, is not below 1.")
    assert 3 < len(text.splitlines()) <= diagnostics.LINES
    assert max(map(len, text.splitlines())) <= diagnostics.WIDTH
    assert "findings left out" in text


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", ["batch", "evo_b0"])
def test_examine_has_no_side_effects(norm, training):
    network = build_model(Architecture("UNet", len(NAMES), norm), seed=0)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout2d(0.5), nn.BatchNorm2d(3), nn.ReLU(inplace=True), network)
    model, initial, images = trained(model, 1, size=32)
    model.train(training)
    network.down[1].eval()  # modes of the modules differ

    def snapshot():
        gradients = {name: weight.grad.clone() for name, weight in model.named_parameters()}
        modes = [module.training for module in model.modules()]
        hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
        return copy.deepcopy(model.state_dict()), gradients, modes, hooks, torch.get_rng_state(), images.clone()

    before = snapshot()
    diagnostics.examine(
        model, EpochRecord(initial, images, torch.diag(PIXELS), NAMES, LossRecord([1.0]), Criterion("ce"))
    )
    after = snapshot()
    for old, new in zip(before[:2], after[:2], strict=True):
        assert old.keys() == new.keys()
        assert all(torch.equal(old[name], new[name]) for name in old)
    assert before[2:4] == after[2:4]
    assert torch.equal(before[4], after[4])
    assert torch.equal(before[5], after[5])


def test_a_failing_forward_pass_leaves_modes_and_hooks_unchanged():
    model = small()
    with pytest.raises(RuntimeError):
        check_layers(model.eval(), torch.zeros(2, 5, 8, 8))
    assert not model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


# ------------------------------------------------------------------------------------------------------ the end of --overfit


def history_of(losses, acc, val_acc):
    return {"train_loss": losses, "train_acc": [acc], "train_miou": [0.7], "val_acc": [val_acc], "miou": [0.7]}


@pytest.mark.parametrize(
    ("losses", "acc", "val_acc", "steps", "expected"),
    [
        (
            [2.0, 1.0, 0.2, 0.1],
            0.98,
            0.97,
            600,
            "the network can learn these 4 images (training accuracy 0.980, mIoU 0.700",
        ),
        ([2.0, 1.0, 0.2, 0.1], 0.98, math.nan, 600, "the network can learn these 4 images"),
        ([2.0, 1.0, 0.2, 0.1], 0.98, 0.5, 600, "validation accuracy is 0.500: --test_size"),
        ([2.0, 1.5, 1.4, 1.2], 0.6, 0.6, 600, "has not learned these 4 images"),
        ([2.0, 1.5, 1.4, 1.2], 0.6, 0.6, 600, "raise --epochs"),
        ([2.0], 0.6, 0.6, 5, "raise --epochs"),
        (
            [2.0, 1.9, 1.9, 1.9],
            0.6,
            0.6,
            600,
            "look at images/train_batch.png whether the labels fit, and change --lr_init",
        ),
    ],
)
def test_the_verdict_of_overfit(losses, acc, val_acc, steps, expected):
    assert expected in overfit_verdict(history_of(losses, acc, val_acc), 4, steps)
    assert "this image" in overfit_verdict(history_of(losses, acc, val_acc), 1, steps)


def test_overfit_ends_with_a_verdict(camvid, tmp_path, capsys):
    assert train(tmp_path / "run", camvid, "--overfit", 2, "--epochs", 2) == 0
    out = capsys.readouterr().out
    assert "verdict: after 2 steps the network has not learned these 2 images" in out
    assert train(tmp_path / "other", camvid, "--epochs", 1) == 0
    assert "verdict" not in capsys.readouterr().out
