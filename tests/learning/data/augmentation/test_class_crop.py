"""Class-aware crops: rare classes are drawn more often, and the crop always shows the drawn class."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from streets import Memory
from tiny import make_camvid

from helpers.labels import VOID
from learning.data.augmentation.class_crop import draw_class_crop, rarity
from learning.data.augmentation.sampling import Augmentation, draw_view, offset_ranges
from learning.data.augmentation.transforms import view_sample
from learning.data.augmentation.view import View
from learning.data.cache import FilePixels
from learning.data.datasets import open_dataset
from learning.data.datasets.statistics import dataset_statistics
from learning.data.loaders import LoaderConfig, TrainBatches
from learning.rng import VIEW, generator


def test_rarity_is_the_inverse_square_root_of_the_share():
    assert rarity([[10, 0, 60], [6, 0, 24]]) == pytest.approx([2.5, 0, (100 / 84) ** 0.5])
    assert not rarity([[0, 0]]).any()


def test_classes_are_drawn_by_weight():
    label = torch.zeros(40, 40, dtype=torch.uint8)
    label[:20] = 1
    label[39, 39] = 2
    weights = np.array([1.0, 1.0, 2.0])
    found = []
    for index in range(1000):
        view = draw_class_crop(generator(0, VIEW, 0, index), View(0, 0, 1, 1), label, (1, 1), weights)
        found.append(int(label[view.top, view.left]))
    assert np.bincount(found) == pytest.approx([250, 250, 500], abs=60)


def test_the_window_of_an_image_without_labeled_pixels_is_unchanged():
    view = View(3, 4, 10, 10)
    label = torch.full((40, 40), VOID, dtype=torch.uint8)
    assert draw_class_crop(generator(0, VIEW), view, label, (10, 10), np.zeros(3)) == view


@pytest.mark.parametrize("scale", [0.3, 0.75, 1.0, 3.0])
@pytest.mark.parametrize("rotation", [0.0, 20.0, 180.0])
def test_a_single_pixel_of_the_class_is_shown(scale, rotation):
    """Also if the window is downsampled so that most pixels are skipped, and if the pixel is in a corner."""
    rng = np.random.default_rng(1)
    image = torch.zeros(3, 50, 70, dtype=torch.uint8)
    settings = Augmentation((50, 70), (24, 30), scale_range=(scale, scale), rotation=rotation)
    for index in range(60):
        row, column = (0, 69) if index % 4 == 0 else (int(rng.integers(50)), int(rng.integers(70)))
        label = torch.zeros(50, 70, dtype=torch.uint8)
        label[row, column] = 1
        view_rng = generator(3, VIEW, 0, index)
        view = draw_view(view_rng, (50, 70), settings)
        moved = draw_class_crop(view_rng, view, label, (24, 30), np.array([0.0, 1.0]))
        assert moved == replace(view, top=moved.top, left=moved.left)
        assert (view_sample(image, label, moved, (24, 30), (0, 0, 0))[1] == 1).any(), (index, moved)
        if not rotation and scale >= 1:
            rows, columns = offset_ranges((50, 70), view.window, (24, 30), 0.0)
            assert rows[0] <= moved.top <= rows[1], "the window stays inside the image"
            assert columns[0] <= moved.left <= columns[1]


def test_the_pixel_can_be_anywhere_in_the_crop():
    label = torch.zeros(200, 200, dtype=torch.uint8)
    label[100, 100] = 1
    positions = []
    for index in range(400):
        view = draw_class_crop(generator(0, VIEW, 0, index), View(0, 0, 20, 30), label, (20, 30), np.array([0, 1]))
        positions.append((100 - view.top, 100 - view.left))
    rows, columns = np.array(positions).T
    assert set(rows) == set(range(20))
    assert np.histogram(columns, 3, (0, 30))[0] == pytest.approx(400 / 3, abs=45)


@pytest.fixture
def data(tmp_path):
    return open_dataset("camvid", make_camvid(tmp_path / "data", size=(48, 64)))


def batches_of(data, pixels, share, workers=0):
    settings = Augmentation((48, 64), (16, 16), class_crop=share, rotation=15.0)
    config = LoaderConfig((0.4,) * 3, (0.2,) * 3, torch.device("cpu"), workers)
    counts = dataset_statistics(data, "train").pixels
    return TrainBatches(pixels, config, 5, settings, 0, counts=counts)


def test_class_crops_do_not_depend_on_the_number_of_workers(data):
    files = FilePixels(data.split("train"), data.decode)
    without_workers = batches_of(data, files, 0.5)
    with_workers = batches_of(data, files, 0.5, workers=2)
    for epoch in (0, 1):
        for first, second in zip(without_workers.epoch(epoch), with_workers.epoch(epoch), strict=True):
            assert torch.equal(first[0], second[0])
            assert torch.equal(first[1], second[1])


def test_class_crops_show_rare_classes_more_often(data):
    """Compares probabilities 0 and 1."""
    rarest = int(np.argmax(rarity(dataset_statistics(data, "train").pixels)))
    files = FilePixels(data.split("train"), data.decode)
    pixels = Memory([files.label(index).numpy() for index in range(len(files))])
    counts = []
    for share in (0.0, 1.0):
        batches = batches_of(data, pixels, share)
        labels = torch.cat([labels for epoch in range(40) for _, labels in batches.epoch(epoch)])
        counts.append(int((labels == rarest).flatten(1).any(1).sum()))
    assert counts[1] > 1.2 * counts[0]
