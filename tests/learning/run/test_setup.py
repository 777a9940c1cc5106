"""What is refused before torch is imported: data from which nothing can be learned, or nothing measured."""

import numpy as np
import pytest
from commands import train
from PIL import Image
from tiny import make_camvid

from learning.data.datasets.statistics import dataset_statistics, refuse_unlabeled
from learning.run.setup import setup_run
from tools.check.__main__ import main as check


def make_void(*folders, value=255, keep=0):
    """Replace the labels of folders, but for the first ones, by a constant."""
    for folder in folders:
        for path in sorted(folder.iterdir())[keep:]:
            Image.fromarray(np.full_like(np.asarray(Image.open(path)), value)).save(path)


# 255 is void in every encoding, 11 is CamVid's own value for it.
@pytest.mark.parametrize("value", [255, 11])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_a_labeled_pixel_is_refused(camvid, tmp_path, capsys, split, value):
    make_void(camvid / f"{split}annot", value=value)
    assert train(tmp_path / "run", camvid, "--epochs", 1) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"the {split} images of {camvid} have no labeled pixel" in error
    assert f"{split}annot/0001TP_{split}000.png" in error
    assert ("and 2 more" if split == "train" else "0001TP_val002.png") in error.replace("\n", ";")
    assert not (tmp_path / "run").exists()
    assert check(["--dataset", "camvid", "--dataset_path", str(camvid)]) == 1
    assert f"has no labeled pixel in its {split} split; write class numbers" in capsys.readouterr().out


def test_the_split_that_an_option_makes_is_judged(camvid, tmp_path, capsys):
    """--overfit takes the first images, --holdout the last of a recording; a later label would hide what they lack."""
    make_void(camvid / "valannot")
    labels = sorted((camvid / "trainannot").iterdir())
    for path in labels[:2]:
        make_void_file(path)
    assert train(tmp_path / "run", camvid, "--overfit", 2) == 2
    assert "the train images" in capsys.readouterr().err
    for path in labels[2:]:
        for folder, name in ((camvid / "trainannot", path.name), (camvid / "train", path.name)):
            (folder / name).rename(folder / name.replace("0001TP", "0002TP"))
    assert train(tmp_path / "run", camvid, "--holdout", "0001TP") == 2
    assert "the val images" in capsys.readouterr().err


def make_void_file(path):
    Image.fromarray(np.full_like(np.asarray(Image.open(path)), 255)).save(path)


def test_extra_images_without_a_labeled_pixel_are_refused_by_their_folder(camvid, tmp_path, capsys):
    good, void = (make_camvid(tmp_path / name, (("train", 2), ("val", 1)), seed=4) for name in ("good", "void"))
    make_camvid(void, (("train", 2), ("val", 1)), seed=5)
    make_void(void / "trainannot")
    assert train(tmp_path / "run", camvid, "--epochs", 1, "--extra_data", void, good) == 2
    error = capsys.readouterr().err
    assert f"--extra_data {void} have no labeled pixel" in error
    assert str(good) not in error


def test_a_single_label_is_enough_and_a_batch_of_void_costs_nothing(camvid, tmp_path, capsys):
    """Four of five batches have no labeled pixel: their loss is 0, and nothing becomes NaN."""
    make_void(camvid / "trainannot", camvid / "valannot", keep=1)
    run = tmp_path / "run"
    assert train(run, camvid, "--epochs", 1, "--batch_size", 1, "--no-hflip", "--seed", 1) == 0
    assert "nan" not in (run / "log_epoch.csv").read_text().splitlines()[1]


def test_prediction_needs_no_labels(camvid, tmp_path):
    run = tmp_path / "run"
    assert train(run, camvid, "--epochs", 1) == 0
    make_void(camvid / "valannot")
    words = ["--save_path", str(run), "--predict", "--device", "cpu"]
    assert setup_run(words).statistics["val"].pixels.sum() == 0


def test_the_parts_of_the_training_split_are_told_apart(camvid):
    """The data set's own labels may be void where the extra ones are not."""
    make_void(camvid / "trainannot", keep=4)
    dataset = setup_run(["--dataset", "camvid", "--dataset_path", str(camvid), "--save_path", "new"]).dataset
    statistics = dataset_statistics(dataset, "train")
    assert (statistics.pixels.sum(1) > 0).tolist() == [True] * 4 + [False]
    refuse_unlabeled(dataset, "train", statistics)
