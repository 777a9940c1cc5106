"""Networks against torchvision's, norms against slow float64 references."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.segmentation import deeplabv3_resnet50, deeplabv3_resnet101

from learning.models import MODELS, Architecture, build_model
from learning.models.norms import (
    NORMS,
    Affine,
    EvoNormB0,
    EvoNormS0,
    PooledBatchNorm,
    convert_norms,
    group_norm,
    instance_norm,
    num_groups,
)

CLASSES = 5
SMALL = [name for name in MODELS if not name.endswith("101")]
RESNET50_BLOCKS = 16


@pytest.fixture(scope="module", autouse=True)
def _free_models():
    yield
    built.cache_clear()


@cache
def built(name, norm):
    """A shared model; tests may only change its gradients and running statistics."""
    return build_model(Architecture(name, CLASSES, norm), seed=0)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------- every model


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", SMALL)
def test_a_batch_of_one_trains_every_parameter(name, norm):
    model = built(name, norm).train()
    torch.manual_seed(0)
    outputs = model(noise(1, 3, 64, 64))
    assert outputs["out"].shape == (1, CLASSES, 64, 64)
    sum((logits * noise(*logits.shape, seed=1)).mean() for logits in outputs.values()).backward()
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    assert [key for key, gradient in gradients.items() if gradient is None] == []
    assert [key for key, gradient in gradients.items() if not torch.isfinite(gradient).all()] == []
    assert any(gradient.abs().sum() > 0 for gradient in gradients.values())
    model.zero_grad()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(65, 97), (50, 33)])
def test_any_image_size(name, norm, size):
    with torch.inference_mode():
        logits = built(name, norm).eval()(noise(1, 3, *size))["out"]
    assert logits.shape == (1, CLASSES, *size)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", [name for name in MODELS if name not in SMALL])
def test_resnet101_has_logits_of_the_image_size(name):
    with torch.inference_mode():
        outputs = build_model(Architecture(name, CLASSES, "batch"), seed=0).eval()(noise(1, 3, 33, 47))
    assert outputs["out"].shape == (1, CLASSES, 33, 47)


@pytest.mark.parametrize("name", SMALL)
def test_in_evaluation_images_of_a_batch_are_independent(name):
    images = noise(2, 3, 48, 40)
    with torch.inference_mode():
        for norm in ("batch", "evo_b0"):
            model = built(name, norm).eval()
            alone = torch.cat([model(image[None])["out"] for image in images])
            assert torch.allclose(model(images)["out"], alone, rtol=1e-3, atol=1e-4 * alone.abs().max())


def test_the_seed_determines_the_weights_and_torchs_random_state_is_unchanged():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = build_model(Architecture("UNet", CLASSES, "batch"), 1).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    again, other = (build_model(Architecture("UNet", CLASSES, "batch"), seed).state_dict() for seed in (1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


@pytest.mark.usefixtures("full_unet")
@pytest.mark.parametrize("name", MODELS)
def test_convolutions_are_initialized_as_in_torchvision(name):
    """Backbones: normal distribution of variance 2 / fan out. Others: uniform distribution of variance 1 / (3 fan in)."""
    model = build_model(Architecture(name, CLASSES, "batch"), seed=0)
    kernels = {key: value for key, value in model.named_parameters() if value.ndim == 4 and value.numel() > 5000}
    assert len(kernels) > 15
    for key, kernel in kernels.items():
        fan_out, fan_in = (kernel[0].numel() * kernel.shape[0] // kernel.shape[1], kernel[0].numel())
        expected = 2 / fan_out if key.startswith("backbone.") else 1 / (3 * fan_in)
        assert kernel.var().item() == pytest.approx(expected, rel=0.1), key
        assert abs(kernel.mean().item()) < 5 * (expected / kernel.numel()) ** 0.5, key


@pytest.mark.parametrize("name", MODELS)
def test_every_model_but_the_plain_unet_has_a_backbone(name):
    with torch.device("meta"):
        model = MODELS[name](CLASSES, "batch")
    assert hasattr(model, "backbone") == (name != "UNet")


@pytest.mark.parametrize("name", SMALL)
def test_the_norm_does_not_change_the_initial_convolutions(name):
    reference = built(name, "batch")
    kernels = {key: value for key, value in reference.named_parameters() if value.ndim == 4}
    for norm in NORMS:
        found = dict(built(name, norm).named_parameters())
        assert all(torch.equal(found[key], value) for key, value in kernels.items())


# ---------------------------------------------------------------------------------------------- torchvision


@pytest.mark.parametrize(
    ("name", "reference"),
    [("DeepLabv3_resnet50", deeplabv3_resnet50), ("DeepLabv3_resnet101", deeplabv3_resnet101)],
)
def test_weights_have_torchvisions_names_and_shapes(name, reference):
    with torch.device("meta"):
        expected = reference(weights=None, weights_backbone=None, num_classes=CLASSES).state_dict()
    found = built(name, "batch").state_dict()
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in expected.items()}


@pytest.mark.parametrize("norm", ["group", "instance", "evo", "evo_b0"])
def test_no_norm_renames_a_weight(norm):
    names = set(built("DeepLabv3_resnet50", "batch").state_dict())
    new = {key for key in set(built("DeepLabv3_resnet50", norm).state_dict()) - names if not key.endswith(".v")}
    assert new == set()


@pytest.mark.slow
def test_with_torchvisions_weights_the_logits_equal_torchvisions():
    """In evaluation with random statistics, and in training including dropout and the update of the statistics."""
    torch.manual_seed(0)
    reference = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES)
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    model = build_model(Architecture("DeepLabv3_resnet50", CLASSES, "batch"), seed=1)
    model.load_state_dict(reference.state_dict())
    images = noise(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images)["out"], reference.eval()(images)["out"])
        logits = []
        for network in (model.train(), reference.train()):
            torch.manual_seed(5)
            logits.append(network(images)["out"])
    torch.testing.assert_close(*logits)
    torch.testing.assert_close(dict(model.state_dict()), dict(reference.state_dict()))


# ---------------------------------------------------------------------------------------------- conversion


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm != "batch"])
@pytest.mark.parametrize("name", MODELS)
def test_no_batch_norm_is_left_after_a_conversion(name, norm):
    with torch.device("meta"):
        model = MODELS[name](CLASSES, norm)
    assert not [key for key, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@pytest.mark.parametrize("name", MODELS)
def test_every_batch_norm_takes_a_batch_of_one(name):
    with torch.device("meta"):
        model = MODELS[name](CLASSES, "batch")
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(module, PooledBatchNorm) for module in norms)


@pytest.mark.parametrize("norm", ["evo", "evo_b0"])
def test_evonorm_keeps_the_relus_after_the_additions_and_no_others(norm):
    relus = [key for key, module in built("DeepLabv3_resnet50", norm).named_modules() if isinstance(module, nn.ReLU)]
    assert len(relus) == RESNET50_BLOCKS
    assert all(key.startswith("backbone.layer") and key.endswith(".relu") for key in relus)
    assert not [module for module in built("UNet", norm).modules() if isinstance(module, nn.ReLU)]


def test_block_outputs_are_non_negative():
    """The ReLU after the addition is there, with every norm."""
    for norm in ("evo", "evo_b0", "batch", "group"):
        model, lows = built("DeepLabv3_resnet50", norm).eval(), []
        blocks = [block for layer in range(1, 5) for block in model.backbone[f"layer{layer}"]]
        hooks = [block.register_forward_hook(lambda _, __, out, lows=lows: lows.append(out.min())) for block in blocks]
        with torch.inference_mode():
            model(noise(1, 3, 64, 64))
        for hook in hooks:
            hook.remove()
        assert len(lows) == RESNET50_BLOCKS
        assert min(lows) >= 0


@pytest.mark.parametrize(("norm", "kind"), [("evo", EvoNormS0), ("evo_b0", EvoNormB0)])
def test_evonorm_without_a_following_activation_is_affine(norm, kind):
    model = built("DeepLabv3_resnet50", norm)
    modules = {key: module for key, module in model.named_modules() if isinstance(module, Affine)}
    affine = {key for key, module in modules.items() if type(module) is Affine}
    assert affine == {key for key in modules if key.endswith((".bn3", ".downsample.1"))}
    assert len(affine) == RESNET50_BLOCKS + 4
    assert all(type(module) is kind for key, module in modules.items() if key not in affine)
    norms = [key for key in built("DeepLabv3_resnet50", "batch").state_dict() if key.endswith("running_mean")]
    assert len(modules) == len(norms)


def test_a_relu_that_does_not_follow_a_norm_stays():
    converted = convert_norms(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)), "evo"
    )
    assert [type(child) for child in converted] == [nn.Conv2d, nn.ReLU, Affine, nn.Conv2d]


def test_a_converted_norm_replaces_the_following_relu():
    layers = nn.Sequential(nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()), nn.BatchNorm2d(4), nn.ReLU(), nn.ReLU())
    found = [type(module) for module in convert_norms(layers, "evo").modules() if not isinstance(module, nn.Sequential)]
    assert found == [EvoNormS0, nn.Identity, EvoNormS0, nn.Identity, nn.ReLU]


# ---------------------------------------------------------------------------------------------- norms


def randomized(layer, seed=0):
    """The layer with random gamma, beta and, in an EvoNorm, v."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in layer.parameters():
        parameter.data.normal_(0.7, 0.5, generator=generator)
    return layer


def vectors(layer):
    """Its parameters as float64 (C,) by name."""
    return {name: parameter.detach().double().numpy() for name, parameter in layer.named_parameters()}


def slow_s0(x, parameters, groups, eps=1e-5):
    """EvoNorm-S0 value by value."""
    y = np.empty_like(x)
    size = x.shape[1] // groups
    for b, c, row, column in np.ndindex(x.shape):
        members = x[b, c // size * size : (c // size + 1) * size]
        deviation = np.sqrt(((members - members.mean()) ** 2).mean() + eps)
        value = x[b, c, row, column]
        gate = 1 / (1 + np.exp(-parameters["v"][c] * value))
        y[b, c, row, column] = parameters["weight"][c] * value * gate / deviation + parameters["bias"][c]
    return y


def biased_variance(values):
    return ((values - values.mean()) ** 2).mean()


def slow_b0(x, parameters, batch_variance, eps=1e-5):
    """EvoNorm-B0 value by value, for a given batch variance (C,)."""
    y = np.empty_like(x)
    for b, c, row, column in np.ndindex(x.shape):
        value = x[b, c, row, column]
        own = parameters["v"][c] * value + np.sqrt(biased_variance(x[b, c]) + eps)
        divisor = max(np.sqrt(batch_variance[c] + eps), own)
        y[b, c, row, column] = parameters["weight"][c] * value / divisor + parameters["bias"][c]
    return y


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (6, 6), (40, 20), (34, 17)])
@pytest.mark.parametrize("training", [True, False])
def test_evonorm_s0_follows_its_formula(channels, groups, training):
    layer = randomized(EvoNormS0(channels)).train(training)
    x = 2 * noise(2, channels, 3, 4) + 1
    expected = slow_s0(x.double().numpy(), vectors(layer), groups)
    assert layer(x).detach().numpy() == pytest.approx(expected, abs=1e-5, rel=1e-5)


def test_evonorm_b0_follows_its_formula_in_training_and_updates_the_running_variance():
    layer = randomized(EvoNormB0(5)).train()
    running = np.ones(5)
    for step in range(3):
        x = (step + 1) * noise(3, 5, 3, 4, seed=step) + 0.5
        values = x.double().numpy()
        variance = np.array([biased_variance(values[:, c]) for c in range(5)])
        running = 0.9 * running + 0.1 * variance
        expected = slow_b0(values, vectors(layer), variance)
        assert layer(x).detach().numpy() == pytest.approx(expected, abs=1e-5, rel=1e-5)
        assert layer.running_var.numpy() == pytest.approx(running, rel=1e-6)


def test_evonorm_b0_uses_the_unchanged_running_variance_in_evaluation():
    layer = randomized(EvoNormB0(5)).eval()
    layer.running_var.copy_(torch.tensor([0.2, 0.5, 1.0, 2.0, 9.0]))
    running = layer.running_var.double().numpy()
    x = noise(3, 5, 3, 4)
    expected = slow_b0(x.double().numpy(), vectors(layer), running)
    assert layer(x).detach().numpy() == pytest.approx(expected, abs=1e-5, rel=1e-5)
    assert layer.running_var.double().numpy() == pytest.approx(running)


@pytest.mark.parametrize("kind", [EvoNormS0, EvoNormB0])
def test_evonorm_gradients_agree_with_float64(kind):
    layer, x = randomized(kind(6)).train(), noise(2, 6, 3, 3)
    reference = kind(6).double()
    reference.load_state_dict(layer.state_dict())
    # The layers compute in float32, so the reference's derivative is a finite difference of the formula.
    direction, step = noise(*x.shape, seed=1), 1e-4
    x.requires_grad_()
    (layer(x) * noise(*x.shape, seed=2)).sum().backward()

    def formula(values):
        if kind is EvoNormS0:
            return slow_s0(values, vectors(layer), 6)
        return slow_b0(values, vectors(layer), np.array([biased_variance(values[:, c]) for c in range(6)]))

    ends = [formula(x.detach().double().numpy() + sign * step * direction.double().numpy()) for sign in (1, -1)]
    expected = ((ends[0] - ends[1]) * noise(*x.shape, seed=2).double().numpy()).sum() / (2 * step)
    assert (x.grad * direction).sum().item() == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("kind", [EvoNormS0, EvoNormB0])
def test_evonorm_statistics_are_float32_for_half_precision(kind):
    """The squares of values around 300 exceed the range of float16."""
    layer = kind(4).train()
    x = (300 * noise(2, 4, 8, 8)).half()
    y = layer.half()(x) if kind is EvoNormS0 else layer(x)
    assert torch.isfinite(y).all()
    assert torch.allclose(y.float(), kind(4).train()(x.float()), rtol=1e-2, atol=1e-2)


def test_evonorm_is_initialized_as_in_the_paper():
    for layer in (EvoNormS0(3), EvoNormB0(3)):
        assert {name: values.tolist() for name, values in vectors(layer).items()} == {
            "weight": [1.0] * 3,
            "bias": [0.0] * 3,
            "v": [1.0] * 3,
        }
        assert layer.eps == 1e-5


def test_affine_is_gamma_and_beta_only():
    layer = Affine(2)
    layer.weight.data, layer.bias.data = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0])
    x = noise(2, 2, 3, 3)
    assert torch.allclose(layer(x), torch.stack([2 * x[:, 0] + 0.5, 3 - x[:, 1]], 1))
    assert torch.equal(Affine(2)(x), x)


@pytest.mark.parametrize("channels", range(1, 65))
def test_groups_are_the_largest_divisor_up_to_32(channels):
    groups = num_groups(channels)
    assert groups == max(count for count in range(1, 33) if channels % count == 0)
    x = noise(2, channels, 2, 2)
    assert group_norm(channels)(x).shape == x.shape
    assert group_norm(channels).num_groups == EvoNormS0(channels).groups == groups


def test_instance_norm_has_gamma_and_beta_and_normalizes_each_image():
    layer = instance_norm(3)
    assert set(layer.state_dict()) == {"weight", "bias"}
    x = noise(2, 3, 4, 4)
    assert torch.allclose(layer.eval()(x)[:1], layer.train()(x[:1]), atol=1e-6)


# ---------------------------------------------------------------------------------------------- single values


def test_pooled_batch_norm_normalizes_one_value_by_unchanged_running_statistics():
    layer = randomized(PooledBatchNorm(3)).train()
    layer.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    layer.running_var.copy_(torch.tensor([4.0, 1.0, 0.25]))
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    x = noise(1, 3, 1, 1).requires_grad_()
    y = layer(x)
    weight, bias = before["weight"], before["bias"]
    expected = (x.flatten() - before["running_mean"]) / (before["running_var"] + 1e-5).sqrt() * weight + bias
    assert torch.allclose(y.flatten(), expected, atol=1e-6)
    assert all(torch.equal(layer.state_dict()[key], before[key]) for key in before)
    y.sum().backward()
    assert all(torch.isfinite(gradient).all() for gradient in (x.grad, layer.weight.grad, layer.bias.grad))


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (1, 3, 1, 2), (4, 3, 5, 5)])
@pytest.mark.parametrize("training", [True, False])
def test_pooled_batch_norm_otherwise_equals_batch_norm(shape, training):
    layer, reference = PooledBatchNorm(3).train(training), nn.BatchNorm2d(3).train(training)
    x = noise(*shape)
    assert torch.equal(layer(x), reference(x))
    assert torch.equal(layer.running_var, reference.running_var)
    assert layer.num_batches_tracked == reference.num_batches_tracked


def test_evonorm_b0_normalizes_one_value_by_the_unchanged_running_variance():
    """The variance of one value is 0: dividing by the square root of eps would scale it 300 times."""
    layer = EvoNormB0(3).train()
    layer.running_var.copy_(torch.tensor([4.0, 1.0, 0.25]))
    x = torch.tensor([-2.0, -1.0, 0.5]).view(1, 3, 1, 1)
    y = layer(x)
    expected = slow_b0(x.double().numpy(), vectors(layer), np.array([4.0, 1.0, 0.25]))
    assert y.detach().numpy() == pytest.approx(expected, abs=1e-5)
    assert layer.running_var.tolist() == [4.0, 1.0, 0.25]


def test_the_image_level_branch_has_no_instance_norm():
    """The branch's map is one pixel, whose instance norm is constant; without it the convolution still learns."""
    branch = built("DeepLabv3_resnet50", "instance").classifier[0].convs[-1].train()
    image = noise(1, 2048, 8, 8)
    assert branch(image).std() > 0.01
    assert not any(isinstance(module, nn.InstanceNorm2d) for module in branch.modules())
