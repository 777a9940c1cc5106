"""The learning rate as a function of the step, and the optimizer's parameters."""

import itertools
import math

import pytest
import torch
from torch import nn

from learning.optim import build_optimizer, scheduled_rate, set_learning_rate


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


def test_the_rate_equals_torchs_cosine_schedule():
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
    assert rates(4, lr=1.0, warmup=4) == [0.25, 0.5, 0.75, 1.0], "nothing but warm-up"


def test_the_optimizer_holds_every_parameter_and_what_was_asked():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    optimizer = build_optimizer(model, 0.1, 0.9, 1e-4)
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert {id(parameter) for parameter in held} == {id(parameter) for parameter in model.parameters()}
    assert len(held) == 4
    for group in optimizer.param_groups:
        assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 1e-4)


def test_a_step_by_hand():
    """Weight decay joins the gradient, momentum keeps 0.9 of it: 1 - 0.1 * 1.2, then velocity 0.9 * 1.2 + 1.176."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    optimizer = build_optimizer(model, 0.1, 0.9, 0.2)
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
