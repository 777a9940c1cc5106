"""Networks as files that stand alone: the same classes as the network gives here, for pictures of any size."""

import importlib.util
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from commands import run_baseline, train
from tiny import make_camvid

from helpers.errors import InputError
from helpers.images import read_image
from helpers.standalone import FORMATS, check_format
from learning.inference.export import Standalone, export
from learning.inference.predictor import load_run
from learning.models import Architecture, build_model

MEAN, STD, SIZE = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4], (64, 96)
HAS_ONNX = all(importlib.util.find_spec(name) for name in FORMATS[".onnx"])


@pytest.fixture(scope="module")
def standalone():
    """A network whose classes are equally likely, so that each occurs."""
    model = build_model(Architecture("UNet", 5, "batch"), 0).eval()
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
    with pytest.raises(InputError, match=r"needs onnx.*: pip install -r requirements-extra\.txt"):
        check_format("model.onnx")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(run folder, its data set)."""
    folder = tmp_path_factory.mktemp("export")
    data = make_camvid(folder / "data")
    assert train(folder / "run", data, "--epochs", 1, "--seed", 0) == 0
    return folder / "run", data


def test_the_command_writes_checks_and_replaces_nothing(run, tmp_path, capsys):
    path = tmp_path / "model.pt2"
    words = ("--save_path", run[0], "--predict", "--device", "cpu", "--export", path)
    assert run_baseline(*words) == 0
    screen = capsys.readouterr().out
    found = re.search(
        r"checked on .*0001TP_val000\.png: the class is the checkpoint's in ([\d.]+) % of 3072 pixels", screen
    )
    assert float(found[1]) > 99
    assert "0 Sky, 1 Building" in screen
    picture = read_image(run[1] / "test" / "0001TP_test000.png")
    classes = torch.export.load(path).module()(torch.tensor(picture)[None])[0].numpy()
    assert (classes == load_run(run[0]).predict(picture)).mean() > 0.99
    assert list(tmp_path.iterdir()) == [path]
    assert run_baseline(*words) == 2
    assert "exists; name another file, or add --force" in capsys.readouterr().err
    assert run_baseline(*words, "--force", "--input", run[1] / "test" / "0001TP_test000.png") == 0
    assert "checked on" in capsys.readouterr().out


@pytest.mark.parametrize("there", [False, True])
def test_a_network_that_says_something_else_is_not_kept(run, tmp_path, capsys, monkeypatch, there):
    def wrong(standalone, path):
        path.write_bytes(b"new")
        return lambda picture: np.full(picture.shape[1:], 99, np.uint8)

    monkeypatch.setattr("learning.inference.export.export", wrong)
    path = tmp_path / "model.pt2"
    if there:
        path.write_bytes(b"old")
    assert run_baseline("--save_path", run[0], "--predict", "--device", "cpu", "--export", path, "--force") == 2
    error = capsys.readouterr().err
    assert "was not kept" in error
    assert "in only 0.000 % of the pixels" in error
    assert error.count("\n") == 1
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([b"old"] if there else [])


def test_a_folder_is_refused_before_anything_is_exported(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("learning.inference.export.export", lambda *_: pytest.fail("exported"))
    (tmp_path / "model.pt2").mkdir()
    assert run_baseline("--save_path", run[0], "--predict", "--export", tmp_path / "model.pt2", "--force") == 2
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--predict", "--export", "model.pth"], "ends with .pt2 or .onnx"),
        (["--predict", "--export", "nowhere/model.pt2"], "there is no folder"),
        (["--export", "model.pt2"], "belong to --predict"),
        (["--predict", "--export", "model.pt2", "--mst"], "leave out --mst"),
    ],
)
def test_bad_words_are_one_line(run, capsys, words, message):
    assert run_baseline("--save_path", run[0], *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
