"""Residual networks: blocks against torchvision's, in every norm, and blocks that begin as their shortcuts."""

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


def enliven(model, seed=0):
    """The model with statistics, gains and offsets of its batch norms that do something."""
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
def test_blocks_are_torchvisions(name, stride, training):
    theirs, ours = getattr(resnet, name), {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}[name]
    wide = 8 * theirs.expansion
    shortcut = nn.Sequential(nn.Conv2d(6, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))
    reference = enliven(theirs(6, 8, stride, shortcut))
    block = ours(6, 8, stride, nn.Sequential(nn.Conv2d(6, wide, 1, stride, bias=False), nn.BatchNorm2d(wide)))
    block.load_state_dict(reference.state_dict())
    x = noise(2, 6, 9, 7)
    torch.testing.assert_close(block.train(training)(x), reference.train(training)(x))
    torch.testing.assert_close(dict(block.state_dict()), dict(reference.state_dict()))


@pytest.mark.parametrize(("name", "stride"), [("resnet34", 32), ("resnet50", 16), ("resnet50", 8)])
def test_networks_have_torchvisions_names_shapes_and_sizes(name, stride):
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


@pytest.mark.parametrize(
    ("name", "norm"), [*(("UNet_resnet34", norm) for norm in NORMS), ("DeepLabv3plus_resnet50", "evo_b0")]
)
def test_zero_init_begins_with_the_shortcuts_and_changes_nothing_else(name, norm):
    plain = build_model(Architecture(name, CLASSES, norm), seed=0).state_dict()
    model = build_model(Architecture(name, CLASSES, norm, zero_init=True), seed=0).train()
    blocks = {key: module for key, module in model.named_modules() if isinstance(module, Residual)}
    assert len(blocks) == RESIDUAL_MODELS[name]
    ends = {f"{key}.{'bn2' if name == 'UNet_resnet34' else 'bn3'}.weight" for key in blocks}
    assert {key for key, value in model.state_dict().items() if not torch.equal(value, plain[key])} == ends
    if norm.startswith("evo"):
        assert all(type(block.last_norm) is Affine for block in blocks.values())
    seen = {}
    handles = [
        block.register_forward_hook(lambda _, inputs, out, key=key: seen.update({key: (inputs[0], out)}))
        for key, block in blocks.items()
    ]
    with torch.no_grad():
        model(noise(2, 3, 64, 64))
        for handle in handles:
            handle.remove()
        for key, (x, out) in seen.items():
            shortcut = x if blocks[key].downsample is None else blocks[key].downsample(x)
            assert torch.equal(out, shortcut.relu()), key
    assert len(seen) == len(blocks)
    identities = [key for key, (x, out) in seen.items() if torch.equal(x, out)]
    assert len(identities) >= len(blocks) - 4  # all but those that change the size, and the first behind an EvoNorm


def test_blocks_that_begin_as_shortcuts_learn():
    """Gamma learns in the first step, and with it everything in the second."""
    model = build_model(Architecture("UNet_resnet34", CLASSES, "batch", zero_init=True), seed=0).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(2):
        optimizer.zero_grad()
        (model(noise(2, 3, 64, 64, seed=step))["out"] * noise(2, CLASSES, 64, 64, seed=9)).mean().backward()
        optimizer.step()
    still = [key for key, parameter in model.named_parameters() if not parameter.grad.any()]
    assert still == []


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


def test_instance_norm_of_one_value_is_its_offset():
    """As its formula says: a value is its own mean. torch refuses it, and a ResNet comes down to it at 32 pixels."""
    layer = norms.instance_norm(3)
    layer.weight.data, layer.bias.data = torch.tensor([2.0, 3.0, 4.0]), torch.tensor([0.5, -1.0, 0.0])
    x = noise(2, 3, 1, 1).requires_grad_()
    y = layer(x)
    assert torch.equal(y, layer.bias[:, None, None].expand(2, 3, 1, 1))
    y.sum().backward()
    assert all(torch.isfinite(slope).all() for slope in (x.grad, layer.weight.grad, layer.bias.grad))
    with torch.inference_mode():
        model = build_model(Architecture("UNet_resnet34", CLASSES, "instance"), seed=0).eval()
        assert model(noise(1, 3, 32, 32))["out"].isfinite().all()
