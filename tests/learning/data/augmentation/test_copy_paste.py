"""Copy-paste: where objects are pasted, on samples and in runs."""

import numpy as np
import pytest
import torch
from commands import train
from streets import BUILDING, PAVEMENT, PEDESTRIAN, ROAD, Memory, gray, street
from tiny import make_camvid

from helpers.labels import CAMVID, VOID
from learning.data.augmentation.copy_paste import (
    CopyPaste,
    Paste,
    draw_pastes,
    grounds_of,
    paste,
    transform_object,
)
from learning.data.augmentation.object_bank import Bank, Object, build_bank, make_canvas
from learning.data.augmentation.sampling import Augmentation
from learning.data.loaders import LoaderConfig, TrainBatches
from learning.models import MODELS
from learning.rng import COPYPASTE, generator


class TinyNetwork(torch.nn.Module):
    """One convolution."""

    def __init__(self, num_classes, norm):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, num_classes, 3, padding=1)

    def forward(self, images):
        return {"out": self.layer(images)}


@pytest.fixture
def tiny_network(monkeypatch):
    """`--model UNet` is one convolution, for tests of what a run is trained on."""
    monkeypatch.setitem(MODELS, "UNet", TinyNetwork)


# ---------------------------------------------------------------------------------------------- pasting


def slow_paste(image, label, pastes):
    image, label = image.clone(), label.clone()
    for one in pastes:
        for y, x in zip(*np.nonzero(one.mask), strict=True):
            row, column = int(y) + one.top, int(x) + one.left
            if 0 <= row < label.shape[0] and 0 <= column < label.shape[1]:
                label[row, column] = one.train_id
                image[:, row, column] = torch.from_numpy(one.pixels[y, x].copy())
    return image, label


def test_pasting_agrees_with_a_slow_reference_inside_and_beyond_the_borders():
    rng = np.random.default_rng(0)
    for _ in range(60):
        image = torch.from_numpy(rng.integers(0, 256, (9, 11, 3), np.uint8)).permute(2, 0, 1)
        label = torch.from_numpy(rng.integers(0, 5, (9, 11), np.uint8))
        image_before = image.clone()
        label_before = label.clone()
        pastes = []
        for train_id in range(5, 8):
            size = tuple(rng.integers(1, 8, 2))
            top, left = rng.integers(-9, 13, 2).tolist()
            pixels = rng.integers(0, 256, (*size, 3), np.uint8)
            pastes.append(Paste(train_id, pixels, rng.random(size) < 0.6, top, left))
        result, expected = paste(image, label, pastes), slow_paste(image, label, pastes)
        assert torch.equal(result[0], expected[0])
        assert torch.equal(result[1], expected[1])
        assert torch.equal(image, image_before)
        assert torch.equal(label, label_before)


def object_of(mask, **changes):
    """A pedestrian of value 200 on black."""
    mask = np.asarray(mask, bool)
    pixels = np.where(mask, 200, 0).astype(np.uint8)[:, :, None].repeat(3, 2)
    defaults = {"foot": 0.6, "ground": ROAD, "image": 0, "image_size": (100, 80)}
    return Object(PEDESTRIAN, pixels, mask, **(defaults | changes))


def test_objects_are_unchanged_at_scale_1_and_angle_0_and_can_be_flipped():
    one = object_of(np.random.default_rng(0).random((7, 5)) < 0.5)
    pixels, mask = transform_object(one, 1.0, 0.0, False)
    np.testing.assert_array_equal(pixels, one.pixels)
    np.testing.assert_array_equal(mask, one.mask)
    np.testing.assert_array_equal(transform_object(one, 1.0, 0.0, True)[1], one.mask[:, ::-1])


def test_rotation_and_scale_keep_mask_and_pixels_aligned():
    block = np.zeros((24, 14), bool)
    block[2:22, 2:12] = True
    for scale, angle in ((0.75, 0), (1.3, 7), (2.0, -10), (0.5, 3)):
        pixels, mask = transform_object(object_of(block), scale, angle, False)
        assert mask.sum() == pytest.approx(200 * scale**2, rel=0.12)
        assert pixels[mask].min() >= 200 * 127 / 255 - 3, "more object than surroundings"
        assert pixels[~mask].max() <= 200 * 128 / 255 + 3
    rows, columns = np.nonzero(transform_object(object_of(block), 1.0, 10, False)[1])
    upper, lower = columns[rows < 6].mean(), columns[rows > 20].mean()
    assert upper < lower, "counterclockwise: the upper part moves to the left"


def canvas_of(label, seed=0):
    return make_canvas(np.asarray(label, np.uint8), np.random.default_rng(seed))


@pytest.mark.parametrize("ground", [ROAD, PAVEMENT])
def test_an_object_stands_on_its_ground_near_the_row_where_it_stood(ground):
    label = street(100, 80)  # pavement in rows 50 .. 74, road below
    mask = np.zeros((20, 9), bool)
    mask[2:18, 2:7] = True
    foot = {ROAD: 0.78, PAVEMENT: 0.52}[ground]
    bank = Bank({PEDESTRIAN: [object_of(mask, foot=foot, ground=ROAD)]}, {3: canvas_of(label)})
    grounds = {PEDESTRIAN: (PAVEMENT,)} if ground == PAVEMENT else {}
    rows = []
    for step in range(100):
        (one,) = draw_pastes(generator(0, COPYPASTE, 0, step), bank, (PEDESTRIAN,), grounds, 3, 1)
        row = np.flatnonzero(one.mask.any(1))[-1]
        column = one.mask[row].argmax()
        assert label[row + one.top, column + one.left] == ground
        rows.append((row + one.top + 1) / 100)
    assert min(rows) >= max(foot - 0.05, {ROAD: 0.76, PAVEMENT: 0.51}[ground]) - 1e-9
    assert max(rows) <= foot + 0.05 + 1e-9
    assert len(set(rows)) > 5


def test_an_object_without_a_position_is_not_pasted():
    mask = np.ones((8, 4), bool)
    bank = Bank({PEDESTRIAN: [object_of(mask, foot=0.1, ground=ROAD)]}, {1: canvas_of(street())})
    rng = np.random.default_rng(0)
    assert not draw_pastes(rng, bank, (PEDESTRIAN,), {}, 1, 3), "no road near the top"
    bank = Bank({PEDESTRIAN: [object_of(mask, image=1)]}, bank.canvases)
    assert not draw_pastes(rng, bank, (PEDESTRIAN,), {}, 1, 3), "no object is pasted on its own image"
    bank = Bank({PEDESTRIAN: [object_of(mask, foot=0.1, ground=VOID)]}, bank.canvases)
    assert len(draw_pastes(rng, bank, (PEDESTRIAN,), {}, 1, 3)) == 3, "an unknown ground may be any"


@pytest.mark.parametrize("size", [(200, 160), (160, 200)])
def test_scale_follows_the_area_of_the_canvas_and_near_objects_cover_far_ones(size):
    block = np.zeros((24, 14), bool)
    block[2:22, 2:12] = True
    objects = [object_of(block, ground=VOID, foot=foot) for foot in (0.3, 0.9)]
    bank = Bank({PEDESTRIAN: objects}, {1: canvas_of(street(*size))})
    areas, feet = [], []
    for step in range(60):
        pastes = draw_pastes(generator(0, COPYPASTE, 0, step), bank, (PEDESTRIAN,), {}, 1, 4)
        areas += [one.mask.sum() / 200 for one in pastes]
        feet.append([one.top + np.flatnonzero(one.mask.any(1))[-1] for one in pastes])
    assert 4 * 0.75**2 * 0.9 < min(areas) < 4 * 0.7
    assert 4 * 1.5 < max(areas) < 4 * (4 / 3) ** 2 * 1.1
    assert all(each == sorted(each) for each in feet)


def test_grounds_follow_the_rules():
    assert grounds_of([9, 2], [(9, 4), (7, 4), (9, 3)]) == {9: (4, 3)}


# ---------------------------------------------------------------------------------------------- samples


@pytest.fixture
def pasting():
    """Memory and CopyPaste: three streets with a pedestrian, and three without, which are the canvases."""
    labels = [street(80, 120) for _ in range(6)]
    for index in (0, 2, 4):
        labels[index][30:50, 50:58] = PEDESTRIAN
    pixels = Memory(labels)
    bank = build_bank(pixels, pixels.statistics(), [PEDESTRIAN], CAMVID, 0)
    return pixels, CopyPaste(bank, {}, max_objects=3, seed=7)


def test_canvases_get_objects_and_other_images_are_unchanged(pasting):
    pixels, apply = pasting
    assert sorted(apply.bank.canvases) == [1, 3, 5]
    for index in range(6):
        image, label = pixels.image(index), pixels.label(index)
        mixed, truth = apply(image, label, index, 0, index)
        if index % 2 == 0:
            assert mixed is image
            assert truth is label
            continue
        pasted = truth != label
        assert pasted.any()
        assert (truth[pasted] == PEDESTRIAN).all()
        assert torch.equal(mixed[:, ~pasted], image[:, ~pasted])
        colors = mixed[:, pasted].int()
        own = int(gray(np.array([PEDESTRIAN]))[0])
        ground = int(gray(np.array([BUILDING]))[0])
        assert (colors > (own + ground) / 2 - 3).all(), "closer to the color of the class than to its surroundings"
        assert (colors == own).float().mean() > 0.5


def test_pastes_do_not_depend_on_workers_and_differ_between_epochs(pasting):
    pixels, apply = pasting

    def batches_of(workers, epoch, paste=apply):
        config = LoaderConfig((0.5,) * 3, (0.5,) * 3, torch.device("cpu"), workers)
        whole = Augmentation((80, 120), (80, 120), scale_range=(1, 1), flip=0.0, jitter=0.0)
        batches = TrainBatches(pixels, config, 3, whole, 1, paste=paste)
        return [tuple(batch) for batch in batches.epoch(epoch)]

    for one, other in zip(batches_of(0, 0), batches_of(2, 0), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])

    def count(epoch, paste=apply):
        return sum(int((label == PEDESTRIAN).sum()) for _, label in batches_of(0, epoch, paste))

    counts = [count(epoch) for epoch in range(3)]
    assert len(set(counts)) == 3
    assert min(counts) > count(0, None)


def test_a_run_trains_with_every_mixer_and_prints_the_objects(tmp_path, capsys, tiny_network):
    data = make_camvid(tmp_path / "data", size=(64, 96))
    copypaste = ("--copypaste", "Pole", "Car")
    mixers = ("--copyblob", "--blob_rules", "Road: Car", "--blob_foot", "--classmix", "--cutmix")
    for name in ("a", "b"):
        assert train(tmp_path / name, data, "--epochs", 1, "--seed", 4, *copypaste, *mixers) == 0
    output = capsys.readouterr().out
    assert "ce + copypaste + copyblob + classmix + cutmix" in output
    assert "Pole" in output.split("objects   ")[1].split("\n")[0]
    logs = [(tmp_path / name / "log_epoch.csv").read_bytes() for name in ("a", "b")]
    assert logs[0] == logs[1]
    assert train(tmp_path / "c", data, "--epochs", 1, "--seed", 4, *mixers) == 0
    assert (tmp_path / "c" / "log_epoch.csv").read_bytes() != logs[0]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("--copypaste", "Car", "Tram"), ("--copypaste", "'Tram'", "Sky, Building, Pole")),
        (("--copypaste",), ("--copypaste",)),
        (("--copypaste", "Car", "--copypaste_objects", "0"), ("--copypaste_objects 0",)),
        (("--overfit", "2", "--copypaste", "Car"), ("--overfit", "--copypaste")),
        (("--overfit", "2", "--classmix"), ("--overfit", "--classmix")),
        (("--batch_size", "1", "--classmix"), ("--classmix", "--batch_size")),
        (("--copyblob", "--blob_rules", "Road: Tram"), ("--blob_rules: ", "'Tram'", "Sky, Building, Pole")),
        (("--copyblob", "--blob_rules", "Road"), ("--blob_rules", "'Road'", "road: bus, train")),
        (("--blob_rules", "Road: Car"), ("--blob_rules", "--copyblob", "--copypaste")),
        (("--copypaste_objects", "3"), ("--copypaste_objects", "add it")),
        (("--blob_foot",), ("--blob_foot", "--copyblob")),
    ],
)
def test_invalid_options(tmp_path, camvid, capsys, argv, expected):
    assert train(tmp_path / "run", camvid, *argv) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in expected), error
    assert not (tmp_path / "run").exists()


def test_copy_paste_works_with_a_batch_of_one(tmp_path, tiny_network):
    data = make_camvid(tmp_path / "data", size=(64, 96))
    assert train(tmp_path / "run", data, "--batch_size", 1, "--copypaste", "Car", "--epochs", 1, "--norm", "group") == 0
