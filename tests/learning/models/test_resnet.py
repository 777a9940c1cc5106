"""Residual networks: blocks against torchvision's, every norm, zero initialization."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet

from learning.models import Architecture, build_model, norms
from learning.models.norms import NORMS, Affine
from learning.models.resnet import BasicBlock, Bottleneck, Residual
from learning.models.resnet import resnet as features_of

CLASSES = 5
RESIDUAL_MODELS = {"UNet_resnet34": 16, "DeepLabv3plus_resnet50": 16}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomize_norms(model, seed=0):
    """The model with random statistics, gamma and beta in its batch norms."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
    return model


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", ["BasicBlock", "Bottleneck"])
def test_blocks_equal_those_of_torchvision(name, stride, training):
    theirs = getattr(resnet, name)
    ours = {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}[name]
    channels = 8 * theirs.expansion

    def shortcut():
        return nn.Sequential(nn.Conv2d(6, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    reference = randomize_norms(theirs(6, 8, stride, shortcut()))
    block = ours(6, 8, stride, shortcut())
    block.load_state_dict(reference.state_dict())
    x = noise(2, 6, 9, 7)
    torch.testing.assert_close(block.train(training)(x), reference.train(training)(x))
    torch.testing.assert_close(dict(block.state_dict()), dict(reference.state_dict()))


@pytest.mark.parametrize(("name", "stride"), [("resnet34", 32), ("resnet50", 16), ("resnet50", 8)])
def test_networks_have_the_names_and_shapes_of_torchvision(name, stride):
    dilated = [stride < 16, stride < 32]
    with torch.device("meta"):
        reference = getattr(resnet, name)(replace_stride_with_dilation=[False, *dilated])
        network = features_of(name, {"layer4": "last"}, stride)
        features = network(torch.empty(2, 3, 65, 97))["last"]
    expected = {key: value.shape for key, value in reference.state_dict().items() if not key.startswith("fc.")}
    assert {key: value.shape for key, value in network.state_dict().items()} == expected
    assert [m.dilation for m in network.modules() if isinstance(m, nn.Conv2d)] == [
        m.dilation for m in reference.modules() if isinstance(m, nn.Conv2d)
    ]
    assert tuple(features.shape[-2:]) == (-(-65 // stride), -(-97 // stride))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "norm"), [*(("UNet_resnet34", norm) for norm in NORMS), ("DeepLabv3plus_resnet50", "evo_b0")]
)
def test_zero_init_starts_with_the_shortcuts_and_changes_no_other_weight(name, norm):
    plain = build_model(Architecture(name, CLASSES, norm), seed=0).state_dict()
    model = build_model(Architecture(name, CLASSES, norm, zero_init=True), seed=0).train()
    blocks = {key: module for key, module in model.named_modules() if isinstance(module, Residual)}
    assert len(blocks) == RESIDUAL_MODELS[name]
    ends = {f"{key}.{'bn2' if name == 'UNet_resnet34' else 'bn3'}.weight" for key in blocks}
    assert {key for key, value in model.state_dict().items() if not torch.equal(value, plain[key])} == ends
    if norm.startswith("evo"):
        assert all(type(block.last_norm) is Affine for block in blocks.values())
    recorded = {}
    handles = [
        block.register_forward_hook(lambda _, inputs, out, key=key: recorded.update({key: (inputs[0], out)}))
        for key, block in blocks.items()
    ]
    with torch.no_grad():
        model(noise(2, 3, 64, 64))
        for handle in handles:
            handle.remove()
        for key, (x, out) in recorded.items():
            shortcut = x if blocks[key].downsample is None else blocks[key].downsample(x)
            assert torch.equal(out, shortcut.relu()), key
    assert len(recorded) == len(blocks)
    identities = [key for key, (x, out) in recorded.items() if torch.equal(x, out)]
    assert len(identities) >= len(blocks) - 4  # not those that change the size, and the first after an EvoNorm


def test_zero_initialized_blocks_learn():
    """Gamma has a gradient in the first step, and all weights in the second."""
    model = build_model(Architecture("UNet_resnet34", CLASSES, "batch", zero_init=True), seed=0).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(2):
        optimizer.zero_grad()
        (model(noise(2, 3, 64, 64, seed=step))["out"] * noise(2, CLASSES, 64, 64, seed=9)).mean().backward()
        optimizer.step()
    without_gradient = [key for key, parameter in model.named_parameters() if not parameter.grad.any()]
    assert without_gradient == []


@pytest.mark.parametrize("norm", ["evo", "evo_b0"])
def test_evonorm_keeps_the_relus_after_the_additions_and_no_others(norm):
    for name, count in RESIDUAL_MODELS.items():
        model = build_model(Architecture(name, CLASSES, norm), seed=0)
        relus = [key for key, module in model.named_modules() if isinstance(module, nn.ReLU)]
        assert len(relus) == count
        assert all(key.startswith("backbone.layer") and key.endswith(".relu") for key in relus)
        affine = [key for key, module in model.named_modules() if type(module) is Affine]
        last = "bn2" if name == "UNet_resnet34" else "bn3"
        assert all(key.endswith((f".{last}", ".downsample.1")) for key in affine)
        assert sum(key.endswith(last) for key in affine) == count


def test_instance_norm_of_one_value_is_beta():
    """A value is its own mean. torch raises an error, and a ResNet has 1x1 maps for images of 32 pixels."""
    layer = norms.instance_norm(3)
    layer.weight.data, layer.bias.data = torch.tensor([2.0, 3.0, 4.0]), torch.tensor([0.5, -1.0, 0.0])
    x = noise(2, 3, 1, 1).requires_grad_()
    y = layer(x)
    assert torch.equal(y, layer.bias[:, None, None].expand(2, 3, 1, 1))
    y.sum().backward()
    assert all(torch.isfinite(gradient).all() for gradient in (x.grad, layer.weight.grad, layer.bias.grad))
    with torch.inference_mode():
        model = build_model(Architecture("UNet_resnet34", CLASSES, "instance"), seed=0).eval()
        assert model(noise(1, 3, 32, 32))["out"].isfinite().all()
