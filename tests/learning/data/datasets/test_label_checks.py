"""Checks across the files of a data set: turned photos, palettes, masks, names, files that are not used."""

import os
import shlex
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import make_camvid, make_minicity, save

from helpers.errors import InputError
from helpers.images import read_label
from learning.data.datasets import label_checks, open_dataset
from learning.data.datasets.base import grouped_lines
from learning.data.datasets.statistics import dataset_statistics
from learning.data.predictions import find_predictions
from learning.inference.inputs import skipped_line


def all_warnings(root, name="camvid"):
    """The lines of the first screen."""
    dataset = open_dataset(name, root)
    facts = [one for split in ("train", "val") for one in dataset_statistics(dataset, split).labels]
    return grouped_lines([*dataset.warnings, *label_checks.warnings(dataset, facts)])


def turn(path, orientation):
    """Add an EXIF orientation to an image."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(path) as image:
        image.load()
        image.save(path, exif=exif)


def test_a_clean_data_set_has_no_warnings(camvid, minicity):
    assert all_warnings(camvid) == []
    assert all_warnings(minicity, "minicity") == []


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_label_that_fits_only_the_stored_image_is_named_with_its_cause(camvid, orientation):
    turn(camvid / "train/0001TP_train001.png", orientation)
    label = camvid / "trainannot/0001TP_train001.png"
    with pytest.raises(
        InputError, match=f"^{label} fits .*train001.png only as .* orientation {orientation} .*exiftool"
    ):
        dataset_statistics(open_dataset("camvid", camvid), "train")
    save(label, np.ascontiguousarray(read_label(label).T))
    assert all_warnings(camvid) == []


@pytest.mark.parametrize(("orientation", "size"), [(2, (48, 64)), (3, (48, 64)), (4, (48, 64)), (6, (48, 48))])
def test_an_orientation_that_sizes_do_not_tell_is_a_warning(tmp_path, orientation, size):
    data = make_camvid(tmp_path / "data", size=size)
    for number in (1, 2):
        turn(data / f"train/0001TP_train00{number}.png", orientation)
    (line,) = all_warnings(data)
    assert f"train001.png is turned upright by its EXIF orientation {orientation}" in line
    assert "and 1 more images" in line


def as_palette(path, colors, order):
    """Store a label map with renumbered values, each with its color."""
    label = read_label(path)
    image = Image.fromarray(np.argsort(order).astype(np.uint8)[label])
    image = image.convert("P")
    image.putpalette(np.asarray(colors, np.uint8)[order].ravel().tolist())
    image.save(path)


COLORS = np.random.default_rng(3).integers(0, 256, (12, 3))
GRAYS = np.repeat(np.arange(12)[:, None], 3, 1)


def test_palettes_that_differ_between_files_are_named_with_both(camvid):
    for split in ("train", "val"):
        for path in sorted((camvid / f"{split}annot").iterdir()):
            as_palette(path, COLORS, np.arange(12))
    assert all_warnings(camvid) == []
    as_palette(camvid / "valannot/0001TP_val002.png", COLORS, np.roll(np.arange(12), 1))
    (line,) = all_warnings(camvid)
    assert "val002.png has the color" in line
    assert "trainannot/0001TP_train000.png" in line
    assert "restore the original" in line


def test_gray_palettes_that_are_not_the_identity(camvid):
    path = camvid / "trainannot/0001TP_train003.png"
    as_palette(path, GRAYS, np.arange(12))
    assert all_warnings(camvid) == []
    as_palette(path, GRAYS, np.arange(12)[::-1])
    (line,) = all_warnings(camvid)
    assert f"{path} is a palette image in which the value" in line


def test_one_class_and_void_is_no_mask_unless_all_labels_are_such(camvid):
    mask = np.zeros((48, 64), np.uint8)
    mask[:20] = 255
    labels = [path for split in ("train", "val") for path in sorted((camvid / f"{split}annot").iterdir())]
    for path in labels[:-1]:  # the last one is a validation label
        save(path, mask)
    dataset = open_dataset("camvid", camvid)
    assert dataset_statistics(dataset, "train").pixels[0].tolist() == [28 * 64, *[0] * 10]
    save(labels[-1], mask)
    with pytest.raises(InputError, match=r"only 0 and 255, as black-and-white masks.*python -c"):
        dataset_statistics(dataset, "train")


@pytest.mark.parametrize(("name", "numbers"), [("camvid", [0, 1]), ("minicity", [7, 8])])
def test_the_command_that_converts_masks_works_twice_and_touches_nothing_else(tmp_path, name, numbers):
    make = {"camvid": make_camvid, "minicity": make_minicity}[name]
    data = make(tmp_path / "my data")
    pattern = {"camvid": "*annot/*", "minicity": "gtFine/*/*_labelIds.png"}[name]
    labels = sorted(data.glob(pattern))
    for path in labels:
        mask = np.zeros_like(read_label(path))
        mask[:, ::2] = 255
        save(path, mask)
    with pytest.raises(InputError) as error:
        dataset_statistics(open_dataset(name, data), "train")
    command = str(error.value).partition("for white: python")[2]
    folder = Path(str(error.value).partition(" and all")[0]).parent
    others = {path: path.read_bytes() for path in data.rglob("*.*") if path not in labels}
    for _ in range(2):
        subprocess.run(f"{shlex.quote(sys.executable)}{command}", shell=True, check=True)
        for path in labels:
            if path.parent == folder:
                assert np.unique(read_label(path)).tolist() == numbers
    assert others == {path: path.read_bytes() for path in others}


def test_images_labels_and_predictions_pair_in_either_unicode_form(camvid, tmp_path):
    name = "Zürich_000"
    forms = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    (camvid / "val/0001TP_val000.png").rename(camvid / f"val/{forms[0]}.png")
    (camvid / "valannot/0001TP_val000.png").rename(camvid / f"valannot/{forms[1]}.png")
    samples = [sample for sample in open_dataset("camvid", camvid).split("val") if sample.name == forms[0]]
    assert samples[0].label == camvid / f"valannot/{forms[1]}.png"
    save(tmp_path / f"results_val/{forms[1]}.png", np.zeros((48, 64), np.uint8))
    assert find_predictions(tmp_path / "results_val", samples)[0].stem == forms[1]


@pytest.mark.parametrize("name", [b"no\xffutf8", b"a\xe2\x80\xa8b", b"a\nb", b"%s {x} [1] 'q'"])
def test_odd_names_are_read(camvid, name):
    for folder in ("train", "trainannot"):
        (camvid / folder / "0001TP_train001.png").rename(camvid / folder / os.fsdecode(name + b".png"))
    assert all_warnings(camvid) == []


def test_files_that_are_not_used_are_counted(tmp_path):
    data = make_camvid(tmp_path / "camvid")
    for folder in ("train", "trainannot"):
        for number in (8, 9):
            save(data / folder / f"0001TP_train00{number}.bmp", np.zeros((48, 64), np.uint8))
    (data / "train/notes.txt").write_text("mine")
    (line,) = all_warnings(data)
    assert "train/0001TP_train008.bmp is not used (and 3 more files)" in line
    data = make_minicity(tmp_path / "minicity")
    for kind in ("color", "instanceTrainIds"):
        save(data / f"gtFine/train/tiny_000000_000019_gtFine_{kind}.png", np.zeros((48, 96), np.uint8))
    save(data / "leftImg8bit/train/other_LeftImg8bit.png", np.zeros((48, 96, 3), np.uint8))
    (line,) = all_warnings(data, "minicity")
    assert "other_LeftImg8bit.png is not used;" in line


def test_a_label_without_image_names_the_file_that_is_not_used(camvid):
    with Image.open(camvid / "train/0001TP_train001.png") as image:
        image.save(camvid / "train/0001TP_train001.bmp")
    (camvid / "train/0001TP_train001.png").unlink()
    with pytest.raises(InputError, match=r"has no image; .*train001\.bmp is not used"):
        open_dataset("camvid", camvid)


def test_files_of_an_input_folder_that_are_not_read_are_counted(tmp_path):
    for name in ("a.heic", "b.HEIC", "deep/c.gif", ".hidden.gif", "d.png", "notes.txt"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    line = skipped_line([str(tmp_path / "photos"), str(tmp_path / "photos/d.png")])
    assert line is not None
    assert "3 files of --input are not read (2 .heic, 1 .gif)" in line
    assert skipped_line([str(tmp_path / "photos/d.png")]) is None
