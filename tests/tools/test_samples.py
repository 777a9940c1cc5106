"""The image of what each augmentation does."""

from itertools import starmap

import numpy as np
import pytest
import torch
from commands import SMALL, small_run
from PIL import Image
from tiny import make_camvid

from helpers.errors import exit_status
from learning.data.datasets import open_dataset
from learning.data.datasets.statistics import dataset_statistics
from learning.run import build, setup
from learning.run.command_line import parse
from tools.samples import __main__ as program
from tools.samples import rows as samples

ALL = ["as in the files", "crop and scale", *samples.ROWS, "as the options say"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_camvid(tmp_path_factory.mktemp("samples") / "data", (("train", 9), ("val", 2)), (64, 96))


def run(data, *words):
    words = ["--dataset", "camvid", "--dataset_path", data, *SMALL, *words]
    return exit_status("tools.samples", program.main, list(map(str, words)))


def rows_of(data, *words, num=3):
    found, _ = parse(["--dataset", "camvid", "--dataset_path", str(data), *SMALL, *words])
    dataset = open_dataset("camvid", data)
    args = setup.fill_defaults(found, dataset)
    statistics = dataset_statistics(dataset, "train")
    return samples.draw_rows(samples.Sampler(args.data, args.augmentation, args.run.seed, dataset, statistics, num))


def changed(rows, name):
    """Share of the pixels whose label is not that of the row without augmentation but crop and scale."""
    pairs = zip(rows[name], rows["crop and scale"], strict=True)
    return np.mean(list(starmap(lambda one, plain: (one[1] != plain[1]).mean(), pairs)))


def test_each_row_shows_its_augmentation_alone(data):
    rows = rows_of(data, "--seed", "3", "--copypaste", "Car", "Pole", "--blob_rules", "Road: Car; Sky: Tree")
    assert list(rows) == ALL
    assert all(len(row) == 3 for row in rows.values())
    assert changed(rows, "color") == 0
    assert any((one[0] != plain[0]).any() for one, plain in zip(rows["color"], rows["crop and scale"], strict=True))
    for (image, label), (plain, plain_label) in zip(rows["flip"], rows["crop and scale"], strict=True):
        assert any((image == either).all() for either in (plain, plain[:, ::-1]))
        assert any((label == either).all() for either in (plain_label, plain_label[:, ::-1]))
    for name in ("copypaste", "copyblob", "classmix", "cutmix"):
        assert 0 < changed(rows, name) < 1, name
    for image, label in rows["copypaste"]:
        assert (image.shape, label.shape) == ((64, 64, 3), (64, 64))


def test_the_last_row_is_the_network_input(data, tmp_path):
    words = ("--seed", "4", "--batch_size", "3", "--classmix", "--cutmix", "--colorjitter_factor", "0.2")
    command = setup.setup_run(small_run(tmp_path / "run", data, *words))
    dataset = command.dataset
    built = build.build_run(command)
    images, labels = built.training.mix(*next(iter(built.train_batches.epoch(0))), 0, 0)
    shown = rows_of(data, *words)["as the options say"]
    std, mean = (torch.tensor(values)[:, None, None] for values in (dataset.spec.STD, dataset.spec.MEAN))
    expected = ((images * std + mean) * 255).permute(0, 2, 3, 1).numpy()
    for index, (image, label) in enumerate(shown):
        np.testing.assert_array_equal(label, labels[index].numpy())
        np.testing.assert_allclose(image, expected[index], atol=0.51)


@pytest.mark.slow
def test_rows_without_an_augmentation_are_left_out_and_named(data, tmp_path, capsys):
    assert run(data, "--output", tmp_path / "a.png", "--num", 2) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "not shown" in last
    assert last.endswith(": copypaste")


@pytest.mark.slow
def test_the_same_seed_draws_the_same_image_and_foreign_files_stay(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(samples, "ROWS", {name: samples.ROWS[name] for name in ("color", "cutmix")})  # takes less time
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    assert run(data, "--output", first, "--seed", 1, "--num", 2) == 0
    assert run(data, "--output", second, "--seed", 1, "--num", 2) == 0
    assert first.read_bytes() == second.read_bytes()
    assert run(data, "--output", first, "--seed", 2, "--num", 2) == 0, "an image of this program may be replaced"
    assert first.read_bytes() != second.read_bytes()
    with Image.open(first) as picture:
        assert picture.width == 1920
    second.write_text("mine")
    assert run(data, "--output", second, "--num", 2) == 2
    assert "--force" in capsys.readouterr().err
    assert second.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--num", "1"), ("--num 1", "2 .. 8")),
        (("--output", "no/such/folder/a.png"), ("--output", "there is no folder")),
        (("--output", "a.txt"), ("a.txt", ".png")),
        (("--no_such_option",), ("--no_such_option",)),
        (("--copypaste", "Tram"), ("'Tram'", "Sky, Building")),
        (("--batch_size", "1", "--cutmix"), ("--cutmix", "--batch_size")),
        (("--extra_data", "nowhere"), ("nowhere", "no camvid data set")),
        (("--overfit", "2"), ("--overfit", "leave it out")),
        (("--resume",), ("--resume", "leave it out")),
        (("--predict", "--weights", "x.pth.tar"), ("--predict", "leave it out")),
    ],
)
def test_mistakes(data, tmp_path, capsys, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    assert run(data, *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in expected), error
    assert not list(tmp_path.iterdir())
