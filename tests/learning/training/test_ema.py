"""Exponential moving average: exact, including running statistics, and unchanged by skipped steps."""

import copy

import pytest
import torch
from steps import CLASSES, batch, training_of
from torch import nn

from learning.models import Architecture, build_model, freeze
from learning.training import engine
from learning.training.ema import EMA
from learning.training.metrics import EpochMetrics

TAKEN = torch.tensor(True)
SKIPPED = torch.tensor(False)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


class Segmenter(nn.Module):
    """A small network with the outputs of the real ones; the weights are always the same."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, CLASSES, 1)
        )

    def forward(self, x):
        return {"out": self.layers(x)}


def values(model):
    """Weights and running statistics by name."""
    return {name: value.clone() for name, value in model.state_dict().items() if value.is_floating_point()}


def train_a_step(model, seed):
    """Change weights and running statistics."""
    generator = torch.Generator().manual_seed(seed)
    model(torch.randn(8, 3, 4, 4, generator=generator) * 3 + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)


def test_an_average_by_hand():
    """The weights of the steps are 9/10, 9/11, 9/12 ... until 1 - decay is larger."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = EMA(model, 0.25)
    for target, expected in ((1.0, 0.9), (2.0, 0.9 + 9 / 11 * 1.1), (0.0, 0.25 * 1.8)):
        model.weight.data.fill_(target)
        average.update(TAKEN)
        assert average.model.weight.item() == pytest.approx(expected)
    assert int(average.updates) == 3


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_it_equals_a_plain_loop_including_running_statistics(decay):
    model = network()
    average, expected = EMA(model, decay), values(model)
    for step in range(12):
        train_a_step(model, step)
        average.update(TAKEN)
        d = min(decay, (1 + step) / (10 + step))
        expected = {name: d * expected[name] + (1 - d) * value for name, value in values(model).items()}
    for name, value in values(average.model).items():
        assert torch.allclose(value, expected[name], rtol=1e-5, atol=1e-6), name
        assert not torch.equal(value, model.state_dict()[name]), name
    assert average.model.state_dict()["1.num_batches_tracked"] == 12


def test_a_skipped_step_changes_nothing():
    model = network()
    average = EMA(model, 0.9)
    for step, step_taken in enumerate((TAKEN, SKIPPED, TAKEN)):
        before, count = values(average.model), int(average.updates)
        train_a_step(model, step)
        average.update(step_taken)
        same = all(torch.equal(value, before[name]) for name, value in values(average.model).items())
        assert same is (not step_taken)
        assert int(average.updates) == count + bool(step_taken)


def test_restoring_its_state_is_bitwise_exact():
    model = network()
    whole = EMA(model, 0.9)
    train_a_step(model, 0)
    whole.update(TAKEN)
    other = EMA(network(), 0.9)
    other.load_state_dict(copy.deepcopy(whole.state_dict()))
    other.source_values = whole.source_values
    train_a_step(model, 1)
    whole.update(TAKEN)
    other.update(TAKEN)
    assert all(torch.equal(value, values(other.model)[name]) for name, value in values(whole.model).items())
    assert torch.equal(whole.updates, other.updates)


def test_begin_resets_it_to_the_network():
    model = network()
    average = EMA(model, 0.9)
    average.update(TAKEN)
    train_a_step(model, 0)
    average.begin()
    assert all(torch.equal(value, values(average.model)[name]) for name, value in values(model).items())
    assert int(average.updates) == 0


def test_the_averaged_network_shares_nothing_with_the_one_in_training():
    """In evaluation mode, without gradients, in the same memory format; frozen parts stay frozen."""
    model = build_model(Architecture("DeepLabv3_resnet50", CLASSES, "batch"), 0).to(memory_format=torch.channels_last)
    freeze(model.backbone)
    average = EMA(model, 0.9)
    model.train()
    assert not any(module.training for module in average.model.modules())
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    weight = model.backbone.conv1.weight
    averaged = average.model.backbone.conv1.weight
    assert weight.stride() == averaged.stride()
    assert weight.data_ptr() != averaged.data_ptr()
    frozen = values(model.backbone)
    average.update(TAKEN)
    assert all(torch.equal(value, frozen[name]) for name, value in values(average.model.backbone).items())


def test_synchronized_norms_keep_the_tensors_that_are_averaged():
    """As `distributed.wrap_ddp` converts them on GPUs, after the average was created."""
    model = network()
    average = EMA(model, 0.9)
    torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    tensors = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    assert {tensor.data_ptr() for tensor in (*average.source_values, *average.source_counts)} == tensors


def test_training_updates_the_average():
    """The average is of the weights after each step; a tolerated skipped step does not change it."""
    good = [batch(1), batch(2)]
    bad = good[0][0].clone(), good[0][1]
    bad[0][0, 0, 0, 0] = float("nan")
    averages = []
    for batches in (good, [good[0], bad, good[1]]):
        model = Segmenter()
        training = training_of(model, tolerated=1)
        training.average = EMA(model, 0.9)
        steps = []
        engine.train_epoch(
            training, batches, EpochMetrics(CLASSES, "cpu"), 0, lambda *_, m=model, s=steps: s.append(values(m))
        )
        averages.append(training.average)
    assert all(int(average.updates) == 2 for average in averages)
    first, second = (values(average.model) for average in averages)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    start = values(Segmenter())
    for name, value in first.items():
        expected = start[name].lerp(steps[0][name], 9 / 10).lerp(steps[-1][name], 9 / 11)
        assert torch.allclose(value, expected, rtol=1e-5, atol=1e-6), name
