"""Networks as files that stand alone: the same classes as the network gives here, for pictures of any size."""

import importlib.util

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.errors import InputError
from learning.export import Standalone, check_format, export
from learning.models import build_model

MEAN, STD, SIZE = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4], (64, 96)
HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript"))


@pytest.fixture(scope="module")
def standalone():
    """A network whose classes are equally likely, so that each occurs."""
    model = build_model("UNet", 5, "batch", 0).eval()
    last = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    with torch.no_grad():
        last.bias -= model(torch.randn(1, 3, *SIZE))["out"].mean((0, 2, 3))
    return Standalone(model, SIZE, MEAN, STD).eval()


def expected(model, picture):
    """What the network says of a picture, step by step."""
    pixels = torch.from_numpy(picture)[None].float() / 255
    seen = F.interpolate(pixels, SIZE, mode="bilinear", antialias=True)
    seen = (seen - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    with torch.no_grad():
        return F.interpolate(model(seen)["out"], picture.shape[1:], mode="bilinear")[0].argmax(0).numpy()


@pytest.mark.parametrize(
    "suffix", [".pt2", pytest.param(".onnx", marks=pytest.mark.skipif(not HAS_ONNX, reason="extra"))]
)
def test_the_file_says_what_the_network_says(standalone, tmp_path, suffix):
    run = export(standalone, tmp_path / f"model{suffix}")
    rng = np.random.default_rng(0)
    for size in ((64, 96), (37, 53), (130, 90)):
        picture = rng.integers(0, 256, (3, *size), dtype=np.uint8)
        classes = run(picture)
        assert (classes.dtype, classes.shape) == (np.uint8, size)
        assert (classes == expected(standalone.model, picture)).mean() > 0.999
    assert len(np.unique(classes)) > 1


def test_a_pt2_needs_torch_only(standalone, tmp_path):
    """Read without this program's modules, with a batch of one."""
    export(standalone, tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    pictures = torch.randint(0, 256, (1, 3, 70, 80), dtype=torch.uint8)
    assert torch.equal(program(pictures), standalone(pictures))


def test_unknown_formats_are_refused():
    with pytest.raises(InputError, match=r"expected a name that ends with \.pt2 or \.onnx"):
        check_format("model.pth")
    check_format("model.pt2")


@pytest.mark.skipif(HAS_ONNX, reason="the extra is installed")
def test_a_missing_extra_is_named():
    with pytest.raises(InputError, match=r"needs the package onnx\w*: pip install -r requirements-extra\.txt"):
        check_format("model.onnx")
