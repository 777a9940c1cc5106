"""DeepLabs: the auxiliary head against torchvision's, DeepLabV3+ against plain operations, output strides."""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from commands import run_baseline, train
from torch import nn
from torchvision.models import resnet50
from torchvision.models.segmentation import deeplabv3_resnet50, deeplabv3_resnet101

import options
from learning.inference.predictor import load_run
from learning.models import MODELS, Architecture, build_model, resnet
from learning.training import diagnostics
from learning.training.diagnostics.loss import class_frequency_loss
from tests.learning.models.test_resnet import noise, randomize_norms

CLASSES = 5
DEEPLABS = [name for name in MODELS if name.startswith("DeepLab")]
SMALL = ("DeepLabv3_resnet50", "DeepLabv3plus_resnet50")


def on_meta(name, **arguments):
    with torch.device("meta"):
        return MODELS[name](CLASSES, "batch", **arguments)


def feature_sizes(model, size):
    """Sizes of the backbone's feature maps in their order, on the meta device."""
    features = model.backbone(torch.empty(1, 3, *size, device="meta"))
    return [tuple(values.shape[-2:]) for values in features.values()]


# ---------------------------------------------------------------------------------------------- the auxiliary head


@pytest.mark.parametrize(
    ("name", "reference"),
    [("DeepLabv3_resnet50", deeplabv3_resnet50), ("DeepLabv3_resnet101", deeplabv3_resnet101)],
)
def test_with_an_auxiliary_head_names_and_shapes_are_those_of_torchvision(name, reference):
    with torch.device("meta"):
        expected = reference(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True).state_dict()
    found = on_meta(name, aux=True).state_dict()
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in expected.items()}


def test_with_torchvisions_weights_both_outputs_equal_torchvisions():
    torch.manual_seed(0)
    reference = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)
    model = build_model(Architecture("DeepLabv3_resnet50", CLASSES, "batch", aux=True), seed=1)
    model.load_state_dict(randomize_norms(reference).state_dict())
    outputs = []
    with torch.no_grad():
        for network in (model.train(), reference.train()):
            torch.manual_seed(5)
            outputs.append(dict(network(noise(2, 3, 64, 64))))
    assert set(outputs[0]) == {"out", "aux"}
    torch.testing.assert_close(*outputs)


@pytest.mark.parametrize(("name", "norm"), [("DeepLabv3_resnet50", "batch"), ("DeepLabv3plus_resnet50", "evo")])
def test_the_auxiliary_head_learns_and_does_not_run_in_evaluation(name, norm):
    model = build_model(Architecture(name, CLASSES, norm, aux=True), seed=0).train()
    calls = []
    model.aux_classifier.register_forward_hook(lambda *_: calls.append(1))
    outputs = model(noise(1, 3, 64, 96))
    assert {key: tuple(logits.shape) for key, logits in outputs.items()} == dict.fromkeys(
        ("out", "aux"), (1, CLASSES, 64, 96)
    )
    assert all(logits.dtype == torch.float32 for logits in outputs.values())
    (outputs["aux"] * noise(1, CLASSES, 64, 96)).mean().backward()
    trained = {key.split(".")[0] for key, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {"backbone", "aux_classifier"}
    assert all(parameter.grad is None for parameter in model.backbone.layer4.parameters())
    with torch.inference_mode():
        assert set(model.eval()(noise(1, 3, 64, 96))) == {"out"}
    assert len(calls) == 1


def test_the_auxiliary_head_changes_no_other_initial_weight():
    without_aux, with_aux = (
        build_model(Architecture("DeepLabv3plus_resnet50", CLASSES, "batch", aux=aux), seed=0).state_dict()
        for aux in (False, True)
    )
    assert {key for key in set(with_aux) - set(without_aux) if not key.startswith("aux_classifier.")} == set()
    assert all(torch.equal(with_aux[key], without_aux[key]) for key in without_aux)


# ---------------------------------------------------------------------------------------------- output strides


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("name", DEEPLABS)
def test_the_output_stride_determines_sizes_and_dilations(name, stride):
    model = on_meta(name, output_stride=stride, aux=True)
    *fine, aux, last = feature_sizes(model, (128, 192))
    assert last == (128 // stride, 192 // stride)
    assert aux == ((16, 24) if stride == 8 else (8, 12))
    assert fine == ([(32, 48)] if "plus" in name else [])
    dilations = [m.dilation[0] for m in model.classifier.modules() if isinstance(m, nn.Conv2d) and m.dilation[0] > 1]
    assert dilations == ([12, 24, 36] if stride == 8 else [6, 12, 18])


@pytest.mark.parametrize("name", DEEPLABS)
def test_default_output_strides(name):
    stride = options.OUTPUT_STRIDES[name]
    assert stride == (16 if "plus" in name else 8)
    assert inspect.signature(MODELS[name]).parameters["output_stride"].default == stride
    assert feature_sizes(on_meta(name), (64, 96))[-1] == (64 // stride, 96 // stride)


def test_the_option_lists_the_models_that_take_an_output_stride():
    takes = {name for name, make in MODELS.items() if "output_stride" in inspect.signature(make).parameters}
    assert takes == set(options.OUTPUT_STRIDES)


@pytest.mark.parametrize("name", SMALL)
def test_the_output_stride_changes_no_weight(name):
    """So a network trained with stride 16 can predict with stride 8."""
    coarse, fine = (
        build_model(Architecture(name, CLASSES, "batch", output_stride=stride), seed=0).state_dict()
        for stride in (16, 8)
    )
    assert list(coarse) == list(fine)
    assert all(torch.equal(coarse[key], fine[key]) for key in coarse)


# ---------------------------------------------------------------------------------------------- DeepLabV3+


def conv_norm_relu(x, weights, conv, norm, dilation=1):
    """By their formulas, with the weights of a state dict."""
    kernel = weights[f"{conv}.weight"]
    x = F.conv2d(x, kernel, padding=dilation * (kernel.shape[-1] // 2), dilation=dilation)
    mean, variance, gamma, beta = (
        weights[f"{norm}.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return ((x - mean) / (variance + 1e-5).sqrt() * gamma + beta).clamp(min=0)


@pytest.mark.parametrize(("stride", "size"), [(16, (64, 96)), (8, (33, 65))])
def test_deeplabv3plus_agrees_with_plain_operations(stride, size):
    """In float64, in evaluation mode: torchvision's backbone, then ASPP, skip connection and decoder step by step."""
    model = randomize_norms(
        build_model(Architecture("DeepLabv3plus_resnet50", CLASSES, "batch", output_stride=stride), seed=0)
    )
    model = model.double().eval()
    backbone = resnet50(replace_stride_with_dilation=[False, stride == 8, True]).double().eval()
    backbone.load_state_dict(model.backbone.state_dict(), strict=False)
    w = {key.removeprefix("classifier."): value for key, value in model.state_dict().items()}
    with torch.no_grad():
        images = noise(1, 3, *size).double()
        x = backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(images))))
        fine = backbone.layer1(x)
        coarse = backbone.layer4(backbone.layer3(backbone.layer2(fine)))
        branches = [conv_norm_relu(coarse, w, "aspp.convs.0.0", "aspp.convs.0.1")]
        for index, rate in enumerate((12, 24, 36) if stride == 8 else (6, 12, 18), 1):
            branches.append(conv_norm_relu(coarse, w, f"aspp.convs.{index}.0", f"aspp.convs.{index}.1", rate))
        pooled = conv_norm_relu(coarse.mean((2, 3), keepdim=True), w, "aspp.convs.4.1", "aspp.convs.4.2")
        branches.append(pooled.expand_as(branches[0]))
        context = conv_norm_relu(torch.cat(branches, 1), w, "aspp.project.0", "aspp.project.1")
        context = F.interpolate(context, fine.shape[-2:], mode="bilinear", align_corners=False)
        skip = conv_norm_relu(fine, w, "skip.0", "skip.1")
        assert skip.shape[1] == 48
        x = conv_norm_relu(torch.cat([skip, context], 1), w, "decoder.0", "decoder.1")
        x = conv_norm_relu(x, w, "decoder.3", "decoder.4")
        logits = F.conv2d(x, w["scores.weight"], w["scores.bias"])
        expected = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(model(images)["out"], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", ["group", "evo"])
def test_groups_divide_the_channels_of_the_skip(norm):
    skip_norm = build_model(Architecture("DeepLabv3plus_resnet50", CLASSES, norm), seed=0).classifier.skip[1]
    assert (skip_norm.num_groups if norm == "group" else skip_norm.groups) == 24


# ---------------------------------------------------------------------------------------------- from stored options


def test_stored_options_determine_the_network():
    stored = {"model": "DeepLabv3_resnet50", "norm": "group", "output_stride": 16, "aux": 0.4, "zero_init": True}
    model = build_model(Architecture.from_stored(stored, CLASSES), seed=3, recompute=True)
    expected = build_model(
        Architecture("DeepLabv3_resnet50", CLASSES, "group", output_stride=16, aux=True, zero_init=True), 3
    ).state_dict()
    assert list(model.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert model.backbone.layer4[0].recompute
    assert tuple(model.backbone(noise(1, 3, 64, 64))["out"].shape[-2:]) == (4, 4)


def test_options_that_older_runs_lack_have_their_default_of_that_time():
    model = build_model(Architecture.from_stored({"model": "DeepLabv3_resnet50", "norm": "batch"}, CLASSES), seed=3)
    assert model.aux_classifier is None
    assert tuple(model.backbone(noise(1, 3, 64, 64))["out"].shape[-2:]) == (8, 8)
    assert all(block.last_norm.weight.all() for block in model.backbone.layer3)


@pytest.mark.slow
def test_a_run_with_an_auxiliary_head(tmp_path, camvid, capsys, monkeypatch):
    """The head is used in training only; --output_stride may change for predictions, and not when a run is resumed."""
    run = tmp_path / "run"
    examined = []
    monkeypatch.setitem(resnet._LAYERS, "resnet50", (resnet.Bottleneck, (1, 1, 1, 1)))
    monkeypatch.setattr(diagnostics, "examine", lambda model, epoch: examined.append(epoch) or "")
    arguments = ("--model", "DeepLabv3plus_resnet50", "--aux", 0.4, "--seed", 1)
    assert train(run, camvid, *arguments, "--epochs", 1) == 0
    shown = capsys.readouterr().out
    assert "DeepLabv3plus_resnet50, output stride 16, auxiliary head with 0.4 of its loss, batch norm" in shown
    # The class-frequency baseline includes the auxiliary head's loss, as the training loss does.
    assert class_frequency_loss(torch.ones(11), examined[0].criterion) == pytest.approx(1.4 * math.log(11), rel=1e-5)

    predicted = run / "results_val"
    before = {path.name: path.read_bytes() for path in predicted.iterdir()}
    assert run_baseline("--save_path", run, "--predict", "--output_stride", 8, "--num_workers", 0) == 0
    assert {path.name: path.read_bytes() for path in predicted.iterdir()} != before
    predictor = load_run(run)
    assert predictor.model.aux_classifier is not None
    assert tuple(predictor.model.backbone(noise(1, 3, 64, 64))["out"].shape[-2:]) == (4, 4)

    capsys.readouterr()
    assert run_baseline("--save_path", run, "--predict", "--aux", 0) == 2
    assert "--aux 0.0 differs from the run's 0.4" in capsys.readouterr().err
    assert train(run, camvid, *arguments, "--epochs", 2, "--resume", "--output_stride", 8) == 2
    assert "--output_stride 8 differs from the run's 16" in capsys.readouterr().err
