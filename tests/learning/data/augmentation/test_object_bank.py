"""The object bank: which objects are cut out, and which images are canvases."""

import numpy as np
import pytest
from streets import BUILDING, PAVEMENT, PEDESTRIAN, ROAD, Memory, gray, street
from tiny import save

from helpers.errors import InputError
from helpers.labels import CAMVID, CITYSCAPES, VOID
from learning.data.augmentation import object_bank
from learning.data.augmentation.object_bank import build_bank, choose_canvases, cut_objects


def test_whole_components_are_cut_objects():
    label = street()
    label[10:24, 20:25] = PEDESTRIAN  # stands on the pavement
    label[24, 22] = PEDESTRIAN  # its foot, also on the pavement
    label[5:12, 50:54] = PEDESTRIAN  # above a part of the building
    label[30, 40] = PEDESTRIAN  # too small: 2 pixels are 0.05 % of 2400, this is one
    label[20:26, :4] = PEDESTRIAN  # cut by the left border
    label[20:26, 57:] = PEDESTRIAN  # cut by the right border
    label[36:, 30:33] = PEDESTRIAN  # cut by the lower border
    label[0:3, 30:33] = PEDESTRIAN  # the upper border is allowed
    found = cut_objects(Memory([label]), 0, [PEDESTRIAN], CAMVID)
    assert [int(one.mask.sum()) for one in found] == [9, 28, 71]
    top, high, standing = found
    assert standing.mask.shape == (15 + 4, 5 + 4)
    assert (standing.foot, standing.ground) == (25 / 40, PAVEMENT)
    assert (high.foot, high.ground) == (12 / 40, BUILDING)
    assert top.mask.shape == (3 + 2, 3 + 4), "no margin beyond the image"
    np.testing.assert_array_equal(standing.pixels[:, :, 0], gray(label[8:27, 18:27]))
    assert (standing.pixels[standing.mask] == gray(np.array([PEDESTRIAN]))).all()
    assert {(one.train_id, one.image, one.image_size) for one in found} == {(PEDESTRIAN, 0, (40, 60))}


def test_too_large_objects_are_left_out():
    label = street()
    label[5:25, 10:25] = PEDESTRIAN  # 300 of 2400 pixels are one eighth
    assert len(cut_objects(Memory([label]), 0, [PEDESTRIAN], CAMVID)) == 1
    label[25, 10] = PEDESTRIAN
    assert not cut_objects(Memory([label]), 0, [PEDESTRIAN], CAMVID)


def test_objects_are_instances_if_there_are_instance_maps(tmp_path):
    person, sign = CITYSCAPES.names.index("person"), CITYSCAPES.names.index("traffic sign")
    label = np.zeros((40, 60), np.uint8)
    label[10:20, 10:20] = person  # two adjacent persons
    label[30:34, 10:20] = person  # a group
    label[5:9, 40:44] = sign
    instances = np.full(label.shape, 7, np.uint16)
    instances[10:20, 10:14] = 24000
    instances[10:20, 14:20] = 24001
    instances[30:34, 10:20] = 24
    instances[5:9, 40:44] = 20
    pixels = Memory([label], save(tmp_path / "instances.png", instances))
    found = cut_objects(pixels, 0, [person, sign], CITYSCAPES)
    assert [(one.train_id, int(one.mask.sum())) for one in found] == [(person, 40), (person, 60), (sign, 16)]
    assert len(cut_objects(Memory([label]), 0, [person], CITYSCAPES)) == 2, "components without an instance map"


def test_the_ground_of_an_object_on_another_of_its_class_is_unknown(tmp_path):
    person = CITYSCAPES.names.index("person")
    label = np.zeros((40, 60), np.uint8)
    instances = np.full((40, 60), 7, np.uint16)
    label[10:30, 10:15] = person
    instances[10:20, 10:15] = 24000
    instances[20:30, 10:15] = 24001
    found = cut_objects(Memory([label], save(tmp_path / "instances.png", instances)), 0, [person], CITYSCAPES)
    assert [one.ground for one in found] == [VOID, 0]


def test_canvases_are_the_half_with_the_smallest_share_of_the_classes():
    labels = [street() for _ in range(5)]
    for index, count in enumerate((3, 0, 9, 0, 1)):
        labels[index][0, :count] = PEDESTRIAN
    labels[4] = np.full((4, 5), ROAD)  # small, so that its one pixel is a large share
    labels[4][0, 0] = PEDESTRIAN
    chosen = choose_canvases(Memory(labels).statistics(), [PEDESTRIAN], 0)
    assert (sorted(chosen[:2]), chosen[2]) == ([1, 3], 0)


def test_canvases_with_equal_shares_come_from_the_whole_split():
    labels = [street()] * 40
    statistics = Memory(labels).statistics()
    chosen = choose_canvases(statistics, [PEDESTRIAN], 1)
    assert len(set(chosen)) == 20
    assert 5 <= sum(index < 20 for index in chosen) <= 15, "not the first half by file name"
    assert choose_canvases(statistics, [PEDESTRIAN], 1) == chosen != choose_canvases(statistics, [PEDESTRIAN], 2)


def test_a_bank_is_bounded_and_depends_on_its_seed_alone(monkeypatch):
    labels = [street() for _ in range(8)]
    for label in labels:
        label[10:22, 8:12] = label[10:22, 28:32] = label[10:22, 48:52] = PEDESTRIAN
    pixels = Memory(labels)

    def sources(seed):
        bank = build_bank(pixels, pixels.statistics(), [PEDESTRIAN], CAMVID, seed)
        return [one.image for one in bank.objects[PEDESTRIAN]]

    assert len(sources(0)) == 24
    assert sources(0) == sources(0) != sources(1)
    monkeypatch.setattr(object_bank, "MAX_OBJECTS", 7)
    assert len(sources(0)) == 7
    monkeypatch.setattr(object_bank, "MAX_BYTES", 4 * 16 * 8 * 4)  # 16x8 pixels with margin, of 3 + 1 bytes
    assert len(sources(0)) == 4


def test_a_class_without_objects_is_an_error():
    pixels = Memory([street()])
    with pytest.raises(InputError, match="no whole object of Pedestrian"):
        build_bank(pixels, pixels.statistics(), [PEDESTRIAN], CAMVID, 0)
