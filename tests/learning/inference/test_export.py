"""Exported networks give the same classes as the network itself, for images of any size."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from commands import run_baseline, train
from tiny import make_camvid

from helpers.errors import InputError
from helpers.images import read_image
from learning.inference.export import Standalone, export
from learning.inference.predictor import load_run
from learning.models import Architecture, build_model
from learning.run.prediction_files import FORMATS, check_format

MEAN, STD, SIZE = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4], (64, 96)
HAS_ONNX = all(importlib.util.find_spec(name) for name in FORMATS[".onnx"])


@pytest.fixture(scope="module")
def standalone():
    """A network whose classes all occur, because its mean logits are equal."""
    model = build_model(Architecture("UNet", 5, "batch"), 0).eval()
    last = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    with torch.no_grad():
        last.bias -= model(torch.randn(1, 3, *SIZE))["out"].mean((0, 2, 3))
    return Standalone(model, SIZE, MEAN, STD).eval()


@pytest.fixture(
    scope="module", params=[".pt2", pytest.param(".onnx", marks=pytest.mark.skipif(not HAS_ONNX, reason="extra"))]
)
def exported(request, standalone, tmp_path_factory):
    """(path, the function loaded from it)."""
    path = tmp_path_factory.mktemp("exported") / f"model{request.param}"
    return path, export(standalone, path)


def expected(model, image):
    """Classes of an image, step by step."""
    pixels = torch.from_numpy(image)[None].float() / 255
    resized = F.interpolate(pixels, SIZE, mode="bilinear", antialias=True)
    resized = (resized - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    with torch.no_grad():
        return F.interpolate(model(resized)["out"], image.shape[1:], mode="bilinear")[0].argmax(0).numpy()


def test_the_file_gives_the_networks_classes(standalone, exported):
    _, run = exported
    rng = np.random.default_rng(0)
    for size in ((64, 96), (37, 53), (130, 90)):
        image = rng.integers(0, 256, (3, *size), dtype=np.uint8)
        classes = run(image)
        assert (classes.dtype, classes.shape) == (np.uint8, size)
        assert (classes == expected(standalone.model, image)).mean() > 0.999
    assert len(np.unique(classes)) > 1


@pytest.mark.parametrize("exported", [".pt2"], indirect=True)
def test_a_pt2_needs_torch_only(standalone, exported):
    """Loaded without this program's modules, with a batch of one."""
    path, _ = exported
    program = torch.export.load(path).module()
    images = torch.randint(0, 256, (1, 3, 70, 80), dtype=torch.uint8)
    assert torch.equal(program(images), standalone(images))


def test_unknown_formats_are_refused():
    with pytest.raises(InputError, match=r"expected a name that ends with \.pt2 or \.onnx"):
        check_format(Path("model.pth"))
    check_format(Path("model.pt2"))


@pytest.mark.skipif(HAS_ONNX, reason="the extra is installed")
def test_a_missing_extra_is_named():
    with pytest.raises(InputError, match=r"needs onnx.*: pip install -r requirements-extra\.txt"):
        check_format(Path("model.onnx"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(run folder, its data set)."""
    folder = tmp_path_factory.mktemp("export")
    data = make_camvid(folder / "data", (("train", 2), ("val", 1), ("test", 1)))
    assert train(folder / "run", data, "--epochs", 1, "--seed", 0) == 0
    return folder / "run", data


@pytest.mark.slow
def test_the_command_writes_and_checks_the_file(run, tmp_path, capsys, monkeypatch):
    path = tmp_path / "model.pt2"
    arguments = ("--save_path", run[0], "--predict", "--device", "cpu", "--export", path)
    assert run_baseline(*arguments) == 0
    out = capsys.readouterr().out
    found = re.search(
        r"checked on .*0001TP_val000\.png: the class is the checkpoint's in ([\d.]+) % of 3072 pixels", out
    )
    assert float(found[1]) > 99
    assert "0 Sky, 1 Building" in out
    image = read_image(run[1] / "test" / "0001TP_test000.png")
    classes = torch.export.load(path).module()(torch.tensor(image)[None])[0].numpy()
    assert (classes == load_run(run[0]).predict(image)).mean() > 0.99
    assert list(tmp_path.iterdir()) == [path]
    assert run_baseline(*arguments) == 2
    assert "exists; name another --export, or add --force" in capsys.readouterr().err

    def quick_export(standalone, path):
        path.write_bytes(b"new")
        return lambda image: standalone(torch.tensor(image)[None])[0].detach().numpy()

    monkeypatch.setattr("learning.run.export_command.export", quick_export)
    assert run_baseline(*arguments, "--force", "--input", run[1] / "test" / "0001TP_test000.png") == 0
    assert "checked on" in capsys.readouterr().out
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("exists", [False, True])
def test_an_export_with_other_classes_is_not_kept(run, tmp_path, capsys, monkeypatch, exists):
    def wrong(standalone, path):
        path.write_bytes(b"new")
        return lambda image: np.full(image.shape[1:], 99, np.uint8)

    monkeypatch.setattr("learning.run.export_command.export", wrong)
    path = tmp_path / "model.pt2"
    if exists:
        path.write_bytes(b"old")
    assert run_baseline("--save_path", run[0], "--predict", "--device", "cpu", "--export", path, "--force") == 2
    error = capsys.readouterr().err
    assert "was not kept" in error
    assert "in only 0.000 % of the pixels" in error
    assert error.count("\n") == 1
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([b"old"] if exists else [])


def test_a_folder_is_refused_before_anything_is_exported(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("learning.run.export_command.export", lambda *_: pytest.fail("exported"))
    (tmp_path / "model.pt2").mkdir()
    assert run_baseline("--save_path", run[0], "--predict", "--export", tmp_path / "model.pt2", "--force") == 2
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--predict", "--export", "model.pth"], "ends with .pt2 or .onnx"),
        (["--predict", "--export", "nowhere/model.pt2"], "there is no folder"),
        (["--export", "model.pt2"], "belong to --predict"),
        (["--predict", "--export", "model.pt2", "--mst"], "leave out --mst"),
    ],
)
def test_invalid_arguments_are_one_line(run, capsys, arguments, message):
    assert run_baseline("--save_path", run[0], *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
