"""Copy-paste: what is cut out, where it is pasted, and the program that makes new training images."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from commands import train
from tiny import make_camvid, save

from helpers.errors import InputError
from helpers.labels import CAMVID, CITYSCAPES, VOID
from learning.data.augmentation import object_bank
from learning.data.augmentation.copy_paste import CopyPaste, Paste, draw_pastes, grounds_of, paste, turn
from learning.data.augmentation.object_bank import Bank, Object, build_bank, choose_canvases, cut_out
from learning.data.augmentation.sampling import Augmentation
from learning.data.datasets.statistics import DatasetStatistics
from learning.data.loaders import LoaderConfig, TrainBatches
from learning.rng import COPYPASTE, generator

BUILDING, ROAD, PAVEMENT, PEDESTRIAN = (
    CAMVID.names.index(name) for name in ("Building", "Road", "Pavement", "Pedestrian")
)


class Memory:
    """Pixels that lie in memory, as `learning.data.cache.Files` gives them: a class is a gray of its own."""

    device = torch.device("cpu")

    def __init__(self, labels, instances=None):
        self.labels = [np.asarray(label, np.uint8) for label in labels]
        self.samples = [SimpleNamespace(instances=instances) for _ in labels]

    def __len__(self):
        return len(self.labels)

    def image(self, index):
        return torch.from_numpy(np.repeat(gray(self.labels[index])[:, :, None], 3, 2)).permute(2, 0, 1)

    def label(self, index):
        return torch.from_numpy(self.labels[index])

    def survey(self, num_classes=11):
        sizes = np.array([label.shape for label in self.labels])
        pixels = np.array([np.bincount(label.ravel(), minlength=256)[:num_classes] for label in self.labels])
        return DatasetStatistics(sizes, pixels, sizes.prod(1) - pixels.sum(1))


def gray(label):
    return np.where(label == VOID, 0, label * 20 + 10).astype(np.uint8)


def street(height=40, width=60):
    """Building above, pavement below it, road at the bottom."""
    label = np.full((height, width), BUILDING, np.uint8)
    label[height // 2 :] = PAVEMENT
    label[3 * height // 4 :] = ROAD
    return label


# ---------------------------------------------------------------------------------------------- cutting out


def test_whole_components_are_cut_out():
    label = street()
    label[10:24, 20:25] = PEDESTRIAN  # stands on the pavement
    label[24, 22] = PEDESTRIAN  # a foot, on pavement, too
    label[5:12, 50:54] = PEDESTRIAN  # hangs before the building
    label[30, 40] = PEDESTRIAN  # too small: 2 pixels are 0.05 % of 2400, this is one
    label[20:26, :4] = label[20:26, 57:] = label[36:, 30:33] = PEDESTRIAN  # cut by the borders
    label[0:3, 30:33] = PEDESTRIAN  # the upper border does not count
    found = cut_out(Memory([label]), 0, [PEDESTRIAN], CAMVID)
    assert [int(one.mask.sum()) for one in found] == [9, 28, 71]
    top, hanging, standing = found
    assert standing.mask.shape == (15 + 4, 5 + 4)
    assert (standing.foot, standing.ground) == (25 / 40, PAVEMENT)
    assert (hanging.foot, hanging.ground) == (12 / 40, BUILDING)
    assert top.mask.shape == (3 + 2, 3 + 4), "no margin beyond the image"
    np.testing.assert_array_equal(standing.pixels[:, :, 0], gray(label[8:27, 18:27]))
    assert (standing.pixels[standing.mask] == gray(np.array([PEDESTRIAN]))).all()
    assert {(one.train_id, one.image, one.image_height) for one in found} == {(PEDESTRIAN, 0, 40)}


def test_objects_that_are_too_large_are_left_out():
    label = street()
    label[5:25, 10:25] = PEDESTRIAN  # 300 of 2400 pixels are one eighth
    assert len(cut_out(Memory([label]), 0, [PEDESTRIAN], CAMVID)) == 1
    label[25, 10] = PEDESTRIAN
    assert not cut_out(Memory([label]), 0, [PEDESTRIAN], CAMVID)


def test_instances_are_objects_where_there_are_maps_of_them(tmp_path):
    person, sign = CITYSCAPES.names.index("person"), CITYSCAPES.names.index("traffic sign")
    label = np.zeros((40, 60), np.uint8)
    label[10:20, 10:20] = person  # two persons side by side, and a group
    label[30:34, 10:20] = person
    label[5:9, 40:44] = sign
    instances = np.full(label.shape, 7, np.uint16)
    instances[10:20, 10:14], instances[10:20, 14:20], instances[30:34, 10:20] = 24000, 24001, 24
    instances[5:9, 40:44] = 20
    pixels = Memory([label], save(tmp_path / "instances.png", instances))
    found = cut_out(pixels, 0, [person, sign], CITYSCAPES)
    assert [(one.train_id, int(one.mask.sum())) for one in found] == [(person, 40), (person, 60), (sign, 16)]
    assert len(cut_out(Memory([label]), 0, [person], CITYSCAPES)) == 2, "components where there is no map"


def test_the_ground_of_an_object_on_another_of_its_class_is_not_known(tmp_path):
    person = CITYSCAPES.names.index("person")
    label, instances = np.zeros((40, 60), np.uint8), np.full((40, 60), 7, np.uint16)
    label[10:30, 10:15] = person
    instances[10:20, 10:15], instances[20:30, 10:15] = 24000, 24001
    found = cut_out(Memory([label], save(tmp_path / "instances.png", instances)), 0, [person], CITYSCAPES)
    assert [one.ground for one in found] == [VOID, 0]


def test_canvases_are_the_half_with_the_smallest_share_of_the_classes():
    labels = [street() for _ in range(5)]
    for index, count in enumerate((3, 0, 9, 0, 1)):
        labels[index][0, :count] = PEDESTRIAN
    labels[4] = np.full((4, 5), ROAD)  # small, so that its one pixel is much
    labels[4][0, 0] = PEDESTRIAN
    chosen = choose_canvases(Memory(labels).survey(), [PEDESTRIAN], 0)
    assert (sorted(chosen[:2]), chosen[2]) == ([1, 3], 0)


def test_canvases_without_the_classes_are_from_everywhere():
    labels = [street()] * 40
    found = Memory(labels).survey()
    chosen = choose_canvases(found, [PEDESTRIAN], 1)
    assert len(set(chosen)) == 20
    assert 5 <= sum(index < 20 for index in chosen) <= 15, "not the first half by file name"
    assert choose_canvases(found, [PEDESTRIAN], 1) == chosen != choose_canvases(found, [PEDESTRIAN], 2)


def test_a_bank_is_bounded_and_depends_on_its_seed_alone(monkeypatch):
    labels = [street() for _ in range(8)]
    for label in labels:
        label[10:22, 8:12] = label[10:22, 28:32] = label[10:22, 48:52] = PEDESTRIAN
    pixels = Memory(labels)

    def sources(seed):
        return [
            one.image for one in build_bank(pixels, pixels.survey(), [PEDESTRIAN], CAMVID, seed).objects[PEDESTRIAN]
        ]

    assert len(sources(0)) == 24
    assert sources(0) == sources(0) != sources(1)
    monkeypatch.setattr(object_bank, "MAX_OBJECTS", 7)
    assert len(sources(0)) == 7
    monkeypatch.setattr(object_bank, "MAX_BYTES", 4 * 16 * 8 * 4)  # 16x8 pixels with margin, of 3 + 1 bytes
    assert len(sources(0)) == 4


def test_a_class_without_objects_is_named():
    pixels = Memory([street()])
    with pytest.raises(InputError, match="no whole object of Pedestrian"):
        build_bank(pixels, pixels.survey(), [PEDESTRIAN], CAMVID, 0)


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


def test_pasting_agrees_with_a_slow_reference_also_beyond_the_borders():
    rng = np.random.default_rng(0)
    for _ in range(60):
        image = torch.from_numpy(rng.integers(0, 256, (9, 11, 3), np.uint8)).permute(2, 0, 1)
        label = torch.from_numpy(rng.integers(0, 5, (9, 11), np.uint8))
        kept = image.clone(), label.clone()
        pastes = []
        for train_id in range(5, 8):
            size = tuple(rng.integers(1, 8, 2))
            place = (int(value) for value in rng.integers(-9, 13, 2))
            pastes.append(Paste(train_id, rng.integers(0, 256, (*size, 3), np.uint8), rng.random(size) < 0.6, *place))
        result, expected = paste(image, label, pastes), slow_paste(image, label, pastes)
        assert torch.equal(result[0], expected[0])
        assert torch.equal(result[1], expected[1])
        assert torch.equal(image, kept[0])
        assert torch.equal(label, kept[1])


def object_of(mask, **facts):
    mask = np.asarray(mask, bool)
    pixels = np.where(mask, 200, 0).astype(np.uint8)[:, :, None].repeat(3, 2)
    known = {"foot": 0.6, "ground": ROAD, "image": 0, "image_height": 100}
    return Object(PEDESTRIAN, pixels, mask, **(known | facts))


def test_turning_by_nothing_and_mirroring():
    one = object_of(np.random.default_rng(0).random((7, 5)) < 0.5)
    pixels, mask = turn(one, 1.0, 0.0, False)
    np.testing.assert_array_equal(pixels, one.pixels)
    np.testing.assert_array_equal(mask, one.mask)
    np.testing.assert_array_equal(turn(one, 1.0, 0.0, True)[1], one.mask[:, ::-1])


def test_turning_and_scaling_keep_mask_and_pixels_together():
    block = np.zeros((24, 14), bool)
    block[2:22, 2:12] = True
    for scale, angle in ((0.75, 0), (1.3, 7), (2.0, -10), (0.5, 3)):
        pixels, mask = turn(object_of(block), scale, angle, False)
        assert mask.sum() == pytest.approx(200 * scale**2, rel=0.12)
        assert pixels[mask].min() >= 200 * 127 / 255 - 3, "more object than surroundings"
        assert pixels[~mask].max() <= 200 * 128 / 255 + 3
    rows, columns = np.nonzero(turn(object_of(block), 1.0, 10, False)[1])
    upper, lower = columns[rows < 6].mean(), columns[rows > 20].mean()
    assert upper < lower, "counter-clockwise: what is above goes to the left"


def canvas_of(label, seed=0):
    return object_bank.look_at(np.asarray(label, np.uint8), np.random.default_rng(seed))


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


def test_an_object_without_place_is_not_pasted():
    mask = np.ones((8, 4), bool)
    bank = Bank({PEDESTRIAN: [object_of(mask, foot=0.1, ground=ROAD)]}, {1: canvas_of(street())})
    rng = np.random.default_rng(0)
    assert not draw_pastes(rng, bank, (PEDESTRIAN,), {}, 1, 3), "no road near the top"
    bank = Bank({PEDESTRIAN: [object_of(mask, image=1)]}, bank.canvases)
    assert not draw_pastes(rng, bank, (PEDESTRIAN,), {}, 1, 3), "no object is pasted on its own image"
    bank = Bank({PEDESTRIAN: [object_of(mask, foot=0.1, ground=VOID)]}, bank.canvases)
    assert len(draw_pastes(rng, bank, (PEDESTRIAN,), {}, 1, 3)) == 3, "an unknown ground may be any"


def test_scale_follows_the_height_of_the_canvas_and_near_objects_cover_far_ones():
    block = np.zeros((24, 14), bool)
    block[2:22, 2:12] = True
    bank = Bank(
        {PEDESTRIAN: [object_of(block, ground=VOID, foot=foot) for foot in (0.3, 0.9)]}, {1: canvas_of(street(200, 80))}
    )
    areas, feet = [], []
    for step in range(60):
        pastes = draw_pastes(generator(0, COPYPASTE, 0, step), bank, (PEDESTRIAN,), {}, 1, 4)
        areas += [one.mask.sum() / 200 for one in pastes]
        feet.append([one.top + np.flatnonzero(one.mask.any(1))[-1] for one in pastes])
    assert 4 * 0.75**2 * 0.9 < min(areas) < 4 * 0.7
    assert 4 * 1.5 < max(areas) < 4 * (4 / 3) ** 2 * 1.1
    assert all(each == sorted(each) for each in feet)


def test_grounds_by_the_rules():
    assert grounds_of([9, 2], [(9, 4), (7, 4), (9, 3)]) == {9: (4, 3)}


# ---------------------------------------------------------------------------------------------- samples


@pytest.fixture
def pasting():
    """(Memory, CopyPaste): three streets with a pedestrian and three without, which are the canvases."""
    labels = [street(80, 120) for _ in range(6)]
    for index in (0, 2, 4):
        labels[index][30:50, 50:58] = PEDESTRIAN
    pixels = Memory(labels)
    bank = build_bank(pixels, pixels.survey(), [PEDESTRIAN], CAMVID, 0)
    return pixels, CopyPaste(bank, {}, most=3, seed=7)


def test_a_canvas_gets_objects_and_other_images_stay_as_they_are(pasting):
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
        own, ground = int(gray(np.array([PEDESTRIAN]))[0]), int(gray(np.array([BUILDING]))[0])
        assert (colors > (own + ground) / 2 - 3).all(), "nearer to the color of the class than to what was around it"
        assert (colors == own).float().mean() > 0.5


def test_the_same_for_any_number_of_workers_and_another_in_each_epoch(pasting):
    pixels, apply = pasting

    def labels(workers, epoch, paste=apply):
        feed = LoaderConfig((0.5,) * 3, (0.5,) * 3, torch.device("cpu"), workers)
        whole = Augmentation((80, 120), (80, 120), scale_range=(1, 1), flip=0.0, jitter=0.0)
        batches = TrainBatches(pixels, feed, 3, whole, 1, paste=paste)
        return [tuple(batch) for batch in batches.epoch(epoch)]

    for one, other in zip(labels(0, 0), labels(2, 0), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    count = [sum(int((label == PEDESTRIAN).sum()) for _, label in labels(0, epoch)) for epoch in range(3)]
    assert len(set(count)) == 3
    assert min(count) > sum(int((label == PEDESTRIAN).sum()) for _, label in labels(0, 0, None))


def test_a_run_trains_with_every_mixer_and_says_what_is_pasted(tmp_path, capsys):
    data = make_camvid(tmp_path / "data", size=(64, 96))
    mixers = (
        "--copypaste",
        "Pole",
        "Car",
        "--copyblob",
        "--blob_rules",
        "Road: Car",
        "--blob_foot",
        "--classmix",
        "--cutmix",
    )
    for name in ("a", "b"):
        assert train(tmp_path / name, data, "--epochs", 1, "--seed", 5, *mixers) == 0
    screen = capsys.readouterr().out
    assert "ce + copypaste + copyblob + classmix + cutmix" in screen
    assert "Pole" in screen.split("objects   ")[1].split("\n")[0]
    logs = [(tmp_path / name / "log_epoch.csv").read_bytes() for name in ("a", "b")]
    assert logs[0] == logs[1]
    assert train(tmp_path / "c", data, "--epochs", 1, "--seed", 5, *mixers[3:]) == 0
    assert (tmp_path / "c" / "log_epoch.csv").read_bytes() != logs[0]


@pytest.mark.parametrize(
    ("words", "expected"),
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
def test_options_that_cannot_be(tmp_path, camvid, capsys, words, expected):
    assert train(tmp_path / "run", camvid, *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in expected), error
    assert not (tmp_path / "run").exists()


def test_copy_paste_needs_no_partner(tmp_path, capsys):
    data = make_camvid(tmp_path / "data", size=(64, 96))
    assert train(tmp_path / "run", data, "--batch_size", 1, "--copypaste", "Car", "--epochs", 1, "--norm", "group") == 0
