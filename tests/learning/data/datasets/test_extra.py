"""Images of --extra_data that are validation images, under any name and in any file format."""

import numpy as np
import pytest
from commands import train
from PIL import Image
from tiny import make_camvid

from learning.data import hashes
from learning.data.datasets import open_dataset
from learning.data.datasets.extra import identical_images


@pytest.fixture
def extra(tmp_path):
    return make_camvid(tmp_path / "extra", (("train", 2), ("val", 1)), seed=7)


def hidden(image, path, form):
    """Save an image again without loss."""
    if form == "recompressed":
        image.save(path, compress_level=1)
    elif form == "with metadata":
        image.save(path, dpi=(72, 72))
    else:
        image.convert("RGBA").save(path)


@pytest.mark.parametrize("form", ["recompressed", "with metadata", "with an opaque alpha channel"])
def test_a_validation_image_that_was_saved_again_is_found(camvid, extra, tmp_path, capsys, form):
    original = camvid / "val" / "0001TP_val001.png"
    copy = extra / "train" / "0001TP_train001.png"
    hidden(Image.open(original), copy, form)
    assert copy.read_bytes() != original.read_bytes()
    assert train(tmp_path / "run", camvid, "--extra_data", extra) == 2
    error = capsys.readouterr().err
    assert f"{copy} is the validation image {original}" in error


def test_a_jpeg_and_a_png_of_the_same_pixels_are_the_same(tmp_path):
    root = make_camvid(tmp_path / "data", (("train", 2), ("val", 2)), suffix=".jpg")
    other = make_camvid(tmp_path / "other", (("train", 2), ("val", 1)), seed=3)
    Image.open(root / "val" / "0001TP_val000.jpg").save(other / "train" / "0001TP_train000.png")
    samples, val = open_dataset("camvid", other).split("train"), open_dataset("camvid", root).split("val")
    assert [(one.name, two.name) for one, two in identical_images(samples, val)] == [
        ("0001TP_train000", "0001TP_val000")
    ]


def test_a_single_other_pixel_is_another_image(camvid, extra):
    pixels = np.asarray(Image.open(camvid / "val" / "0001TP_val001.png")).copy()
    pixels[3, 5, 1] ^= 1
    Image.fromarray(pixels).save(extra / "train" / "0001TP_train001.png")
    samples, val = open_dataset("camvid", extra).split("train"), open_dataset("camvid", camvid).split("val")
    assert list(identical_images(samples, val)) == []


def test_only_images_of_equal_size_are_decoded_and_only_once(camvid, tmp_path, monkeypatch):
    other = make_camvid(tmp_path / "other", (("train", 2), ("val", 1)), size=(32, 32))
    decoded = []
    original = hashes.read_image
    monkeypatch.setattr(hashes, "read_image", lambda path: decoded.append(path) or original(path))
    samples, val = open_dataset("camvid", other).split("train"), open_dataset("camvid", camvid).split("val")
    assert list(identical_images(samples, val)) == []
    assert decoded == []
    for _ in range(2):
        assert len(list(identical_images(val, val))) == 3
        assert len(decoded) == 3
