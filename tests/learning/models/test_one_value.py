"""A single value per channel or group, as a batch of one gives where a map is 1x1: every norm trains."""

import pytest
import torch

from learning.models import MODELS
from learning.models.norms import NORMS, group_norm


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("channels", [1, 8, 32, 64])
def test_every_norm_trains_on_one_value(norm, channels):
    layer = NORMS[norm].build(channels).train()
    x = torch.randn(1, channels, 1, 1, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.shape == x.shape
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["UNet", "UNet_resnet34", "DeepLabv3plus_resnet50"])
def test_every_norm_trains_with_a_batch_of_one_and_the_smallest_crop(norm, name):
    torch.manual_seed(0)
    model = MODELS[name](5, norm).train()
    model(torch.randn(1, 3, 64, 64))["out"].mean().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters() if weight.grad is not None)


def test_group_norm_is_torchs_where_torch_has_one():
    ours = group_norm(64)
    torchs = torch.nn.GroupNorm(32, 64)
    x = torch.randn(2, 64, 3, 3)
    assert torch.equal(ours(x), torchs(x))
    assert ours.state_dict().keys() == torchs.state_dict().keys()
