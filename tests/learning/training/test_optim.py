"""The learning rate as a function of the step, and the optimizer's parameters."""

import itertools
import math

import pytest
import torch
from torch import nn

from helpers.errors import InputError
from learning.training.optim import (
    OPTIMIZERS,
    OptimizerSettings,
    build_optimizer,
    load_optimizer,
    scheduled_rate,
    set_learning_rate,
)


def rates(total, lr=0.1, warmup=0):
    return [scheduled_rate(step, total, lr, warmup) for step in range(total)]


def test_the_rate_starts_at_lr_init_and_ends_near_0():
    values = rates(1000)
    assert values[0] == 0.1
    assert 0 < values[-1] < 1e-6
    assert scheduled_rate(1000, 1000, 0.1) == pytest.approx(0, abs=1e-17)


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (25, (1 + math.sqrt(0.5)) / 2), (50, 0.5), (75, 0.1464466094)])
def test_the_rate_is_a_half_cosine(step, share):
    assert scheduled_rate(step, 100, 0.01) == pytest.approx(0.01 * share)


def test_the_rate_equals_the_cosine_schedule_of_torch():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40)
    for step in range(40):
        assert scheduled_rate(step, 40, 0.1) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (10, 0), (50, 1), (50, 10), (7, 6)])
def test_the_rate_rises_in_the_warm_up_and_falls_after_it(total, warmup):
    values = rates(total, warmup=warmup)
    before, after = values[:warmup], values[warmup:]
    assert all(earlier < later for earlier, later in itertools.pairwise(before))
    assert all(earlier > later for earlier, later in itertools.pairwise(after))
    assert all(0 < value <= 0.1 + 1e-9 for value in values)


def test_warm_up_values():
    values = rates(14, lr=1.0, warmup=4)
    assert values[:4] == [0.25, 0.5, 0.75, 1.0]
    assert values[4:] == pytest.approx(rates(10, lr=1.0))
    assert rates(4, lr=1.0, warmup=4) == [0.25, 0.5, 0.75, 1.0], "warm-up only"


def test_the_optimizer_has_every_parameter_and_its_settings():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    optimizer = build_optimizer(model, OptimizerSettings("sgd", 0.1, 0.9, 1e-4))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert {id(parameter) for parameter in parameters} == {id(parameter) for parameter in model.parameters()}
    assert len(parameters) == 4
    for group in optimizer.param_groups:
        assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 1e-4)


def test_a_step_by_hand():
    """With weight decay the first gradient is 1.2, and the second 1.176: velocity 1.2, then 0.9 * 1.2 + 1.176."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    optimizer = build_optimizer(model, OptimizerSettings("sgd", 0.1, 0.9, 0.2))
    for expected in (0.88, 0.88 - 0.1 * (0.9 * 1.2 + 1.176)):
        optimizer.zero_grad()
        model(torch.ones(1, 1)).sum().backward()
        optimizer.step()
        assert model.weight.item() == pytest.approx(expected)


def test_the_rate_reaches_every_group():
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [first]}, {"params": [second], "lr": 5.0}], lr=1.0)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (25, 0.75**0.9), (50, 0.5**0.9), (99, 0.01**0.9)])
def test_the_poly_schedule_is_a_power(step, share):
    assert scheduled_rate(step, 100, 0.01, schedule="poly") == pytest.approx(0.01 * share)
    assert scheduled_rate(step + 10, 110, 0.01, 10, "poly") == pytest.approx(0.01 * share)
    assert scheduled_rate(100, 100, 0.01, schedule="poly") == 0
    assert scheduled_rate(101, 100, 0.01, schedule="poly") == 0, "not the power of a negative number"


class WithBackbone(nn.Module):
    """Four parameters in a backbone, three in a head."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.head = nn.Sequential(nn.Conv2d(4, 2, 1, bias=False), nn.BatchNorm2d(2))

    def forward(self, x):
        return self.head(self.backbone(x))


def groups_of(optimizer):
    """Learning rate and weight decay by parameter name."""
    return {name: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for name in g["param_names"]}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rate_and_decay_of_every_parameter(name):
    optimizer = build_optimizer(
        WithBackbone(), OptimizerSettings(name, 0.1, 0.9, 1e-4, lr_backbone=0.02, decay_norms=False)
    )
    set_learning_rate(optimizer, 0.05)  # half of the base learning rates
    slow, fast = pytest.approx(0.01), pytest.approx(0.05)
    assert groups_of(optimizer) == {
        "backbone.0.weight": (slow, 1e-4),
        "backbone.0.bias": (slow, 0),
        "backbone.1.weight": (slow, 0),
        "backbone.1.bias": (slow, 0),
        "head.0.weight": (fast, 1e-4),
        "head.1.weight": (fast, 0),
        "head.1.bias": (fast, 0),
    }
    plain = build_optimizer(WithBackbone(), OptimizerSettings(name, 0.1, 0.9, 1e-4))
    assert set(groups_of(plain).values()) == {(0.1, 1e-4)}
    assert len(plain.param_groups) == 1


def test_lr_backbone_of_a_model_without_backbone():
    with pytest.raises(InputError, match="no backbone"):
        build_optimizer(nn.Linear(1, 1), OptimizerSettings("sgd", 0.1, 0.9, 0.0, lr_backbone=0.01))


def steps(model, optimizer, inputs):
    """Train on the mean square of the outputs; None is a step that is skipped."""
    for x in inputs:
        optimizer.zero_grad()
        model(torch.full((4, 3, 2, 2), float("nan")) if x is None else x).square().mean().backward()
        if optimizer.defaults["fused"]:
            optimizer.found_inf = torch.tensor(float(x is None))
        optimizer.step()


def inputs_of(count):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, 2, 2, generator=generator) for _ in range(count)]


def convolutions():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))


REFERENCES = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, 0.1, betas=(0.9, 0.999), weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_equal_those_of_unfused_optimizers(name):
    ours, reference = convolutions(), convolutions()
    steps(ours, build_optimizer(ours, OptimizerSettings(name, 0.1, 0.9, 0.1, nesterov=name == "sgd")), inputs_of(5))
    steps(reference, REFERENCES[name](reference.parameters()), inputs_of(5))
    for one, other in zip(ours.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("first", [True, False])
def test_a_skipped_step_changes_nothing(name, first):
    """Neither in the weights nor in the optimizer state, including AdamW's step count."""
    with_skipped, without = convolutions(), convolutions()
    optimizers = [build_optimizer(model, OptimizerSettings(name, 0.1, 0.9, 0.1)) for model in (with_skipped, without)]
    inputs = inputs_of(3)
    steps(with_skipped, optimizers[0], [None, *inputs] if first else [*inputs[:2], None, inputs[2]])
    steps(without, optimizers[1], inputs)
    assert all(
        torch.equal(one, other) for one, other in zip(with_skipped.parameters(), without.parameters(), strict=True)
    )
    assert torch.equal(with_skipped[0].weight, without[0].weight)
    states = [list(optimizer.state.values()) for optimizer in optimizers]
    for one, other in zip(*states, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_is_loaded_by_parameter_name_into_other_groups(name):
    """Learning rates and weight decay are those of the new optimizer."""
    model = WithBackbone()
    before = build_optimizer(model, OptimizerSettings(name, 0.1, 0.9, 1e-4))
    steps(model, before, inputs_of(2))
    expected = {key: {k: v.clone() for k, v in values.items()} for key, values in before.state.items()}
    after = build_optimizer(model, OptimizerSettings(name, 0.3, 0.9, 1e-2, lr_backbone=0.1, decay_norms=False))
    load_optimizer(after, before.state_dict())
    for parameter, values in expected.items():
        assert after.state[parameter].keys() == values.keys()
        assert all(torch.equal(after.state[parameter][key], value) for key, value in values.items())
    assert groups_of(after)["head.0.weight"] == (0.3, 1e-2)
    assert groups_of(after)["head.1.bias"] == (0.3, 0)
    steps(model, after, inputs_of(1))


def test_state_without_parameter_names_is_loaded_in_order():
    """As in checkpoints of older runs."""
    model = convolutions()
    optimizer = build_optimizer(model, OptimizerSettings("sgd", 0.1, 0.9, 0.0))
    steps(model, optimizer, inputs_of(1))
    state = optimizer.state_dict()
    del state["param_groups"][0]["param_names"]
    fresh = build_optimizer(model, OptimizerSettings("sgd", 0.1, 0.9, 0.0))
    load_optimizer(fresh, state)
    for parameter in model.parameters():
        assert torch.equal(fresh.state[parameter]["momentum_buffer"], optimizer.state[parameter]["momentum_buffer"])
        assert fresh.state[parameter]["momentum_buffer"].any()
