"""The U-Net with a ResNet-34 encoder: encoder against torchvision's, decoder against plain operations, pretrained weights."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.models import resnet34

from learning import checkpoint
from learning.models import Architecture, build_model, freeze
from tests.learning.models.test_deeplab import conv_norm_relu
from tests.learning.models.test_resnet import noise, randomize_norms

CLASSES = 5


def stages(reference, images):
    """Features of torchvision's ResNet at every scale, finest first."""
    x = reference.relu(reference.bn1(reference.conv1(images)))
    found = [x]
    x = reference.maxpool(x)
    for layer in (reference.layer1, reference.layer2, reference.layer3, reference.layer4):
        x = layer(x)
        found.append(x)
    return found


@pytest.mark.parametrize("size", [(64, 96), (33, 65), (50, 47)])
def test_with_torchvisions_weights_the_features_are_torchvisions(size):
    torch.manual_seed(0)
    reference = randomize_norms(resnet34(weights=None)).eval()
    model = build_model(Architecture("UNet_resnet34", CLASSES, "batch"), seed=1).eval()
    missing, unexpected = model.backbone.load_state_dict(reference.state_dict(), strict=False)
    assert (missing, set(unexpected)) == ([], {"fc.weight", "fc.bias"})
    with torch.no_grad():
        found = list(model.backbone(noise(2, 3, *size)).values())
        expected = stages(reference, noise(2, 3, *size))
    assert [features.shape[1] for features in found] == [64, 64, 128, 256, 512]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("size", [(64, 96), (37, 71)])
def test_the_decoder_agrees_with_plain_operations(size):
    """In float64: upsample, concatenate the skip connection, two convolutions; the logits at half the size are upsampled."""
    model = randomize_norms(build_model(Architecture("UNet_resnet34", CLASSES, "batch"), seed=0)).double().eval()
    weights = model.state_dict()
    with torch.no_grad():
        *skips, x = model.backbone(noise(1, 3, *size).double()).values()
        for index, skip in enumerate(reversed(skips)):
            x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
            x = conv_norm_relu(torch.cat([skip, x], 1), weights, f"up.{index}.0", f"up.{index}.1")
            x = conv_norm_relu(x, weights, f"up.{index}.3", f"up.{index}.4")
        assert tuple(x.shape) == (1, 32, -(-size[0] // 2), -(-size[1] // 2))
        logits = F.conv2d(x, weights["classifier.weight"], weights["classifier.bias"])
        expected = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(model(noise(1, 3, *size).double())["out"], expected, rtol=1e-9, atol=1e-9)


def test_it_has_24_million_parameters():
    counts = {
        part: sum(parameter.numel() for parameter in module.parameters())
        for part, module in build_model(Architecture("UNet_resnet34", 19, "batch"), seed=0).named_children()
    }
    with torch.device("meta"):
        reference = resnet34(weights=None)
    assert counts["backbone"] == sum(p.numel() for name, p in reference.named_parameters() if "fc" not in name)
    assert counts["backbone"] == 21_284_672
    assert sum(counts.values()) == 24_429_875


def test_a_torchvision_backbone_can_be_loaded_and_frozen(tmp_path):
    torch.manual_seed(3)
    weights = resnet34(weights=None).state_dict()
    torch.save(weights, tmp_path / "resnet34.pth")
    model = build_model(Architecture("UNet_resnet34", CLASSES, "batch"), seed=0)
    loaded, skipped = checkpoint.load_pretrained(model, tmp_path / "resnet34.pth")
    assert set(skipped) == {"backbone.fc.weight", "backbone.fc.bias"}
    assert set(loaded) == {f"backbone.{key}" for key in weights} - set(skipped)
    freeze(model.backbone)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    (model.train()(noise(2, 3, 64, 64))["out"] * noise(2, CLASSES, 64, 64)).mean().backward()
    optimizer.step()
    assert all(torch.equal(value, weights[key]) for key, value in model.backbone.state_dict().items())
    assert all(parameter.grad.any() for name, parameter in model.up.named_parameters() if name.endswith("weight"))
