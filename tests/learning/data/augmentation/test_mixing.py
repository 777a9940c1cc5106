"""CutMix, ClassMix and CopyBlob against cases computed by hand and slow references."""

import math

import numpy as np
import pytest
import torch

from helpers.errors import InputError
from helpers.labels import VOID
from learning.data.augmentation.mixing import classmix, copyblob, cutmix
from learning.data.datasets import DATASETS
from learning.data.datasets.blobs import parse_rules, rule_ids
from learning.rng import CLASSMIX, COPYBLOB, CUTMIX, generator


def batch_of(rng, batch, height, width, num_classes):
    """Labels, and images whose channels are the label, the index of the sample and the index of the pixel."""
    labels = torch.from_numpy(rng.integers(0, num_classes, (batch, height, width)))
    sample = torch.arange(batch).view(batch, 1, 1).expand_as(labels)
    pixel = torch.arange(height * width).view(1, height, width).expand_as(labels)
    return torch.stack([labels, sample, pixel], 1).float(), labels


class FixedGenerator:
    """Returns given values instead of random ones."""

    def __init__(self, beta, center, permutation):
        self.value = beta
        self.center = list(center)
        self.order = permutation

    def beta(self, a, b):
        assert (a, b) == (1.0, 1.0)
        return self.value

    def integers(self, high):
        value = self.center.pop(0)
        assert 0 <= value < high
        return value

    def permutation(self, count):
        assert count == len(self.order)
        return np.array(self.order)


# ---------------------------------------------------------------------------------------------- cutmix


@pytest.mark.parametrize(
    ("beta", "center", "box"),
    [
        (0.75, (4, 6), (2, 6, 3, 9)),  # half of each side, around the center
        (0.75, (1, 11), (0, 3, 8, 12)),  # clipped above and at the right
        (0.75, (7, 0), (5, 8, 0, 3)),  # clipped below and at the left
        (0.0, (4, 6), (0, 8, 0, 12)),  # everything
        (0.999, (4, 6), (0, 0, 0, 0)),  # nothing
    ],
)
def test_cutmix_by_hand(beta, center, box):
    images, labels = batch_of(np.random.default_rng(0), 3, 8, 12, 5)
    mixed, truth = cutmix(images, labels, FixedGenerator(beta, center, [2, 0, 1]))
    top, bottom, left, right = box
    for index, partner in enumerate([2, 0, 1]):
        for row in range(8):
            for column in range(12):
                source = partner if top <= row < bottom and left <= column < right else index
                assert torch.equal(mixed[index, :, row, column], images[source, :, row, column])
                assert truth[index, row, column] == labels[source, row, column]


def test_cutmix_keeps_images_and_labels_aligned_and_pastes_one_box():
    rng = np.random.default_rng(1)
    shares = []
    for step in range(200):
        images, labels = batch_of(rng, 4, 10, 14, 6)
        mixed, truth = cutmix(images, labels, generator(0, CUTMIX, 0, step))
        assert torch.equal(mixed[:, 0], truth.float())
        assert torch.equal(mixed[:, 2], images[:, 2]), "pixels keep their position"
        foreign = mixed[:, 1] != images[:, 1]
        for index in range(4):
            assert len(mixed[index, 1][foreign[index]].unique()) <= 1, "one partner per image"
        changed = foreign.any(0)
        shares.append(changed.float().mean().item())
        if changed.any():
            rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
            box = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert box.all(), "a box, the same for every image"
            for index in range(4):
                inside = foreign[index][changed]
                assert inside.all() or not inside.any()
    assert min(shares) < 0.02
    assert max(shares) > 0.7


def test_cutmix_does_not_change_its_inputs():
    images, labels = batch_of(np.random.default_rng(2), 3, 8, 12, 5)
    images_before = images.clone()
    labels_before = labels.clone()
    mixed, truth = cutmix(images, labels, FixedGenerator(0.0, (4, 6), [0, 1, 2]))
    mixed.zero_()
    truth.zero_()
    assert torch.equal(images, images_before)
    assert torch.equal(labels, labels_before)


def test_cutmix_depends_only_on_its_generator():
    images, labels = batch_of(np.random.default_rng(3), 4, 16, 16, 5)
    first, again, other = (cutmix(images, labels, generator(0, CUTMIX, 0, step))[0] for step in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# ---------------------------------------------------------------------------------------------- copyblob


def upper_left(pixels):
    return min(pixels, key=lambda pixel: (sum(pixel), pixel[0]))


def slow_copyblob(images, labels, rules, rng, anchor_of=upper_left):
    """The definition, pixel by pixel, with partners and ground pixels from the same draws."""
    batch, height, width = labels.shape
    cycle = rng.permutation(batch).tolist()
    partner = {receiver: cycle[position - 1] for position, receiver in enumerate(cycle)}
    mixed_images, mixed_labels = images.clone(), labels.clone()
    for blob, ground in rules:
        shares = rng.random(batch).astype(np.float32)
        for index in range(batch):
            source = partner[index]
            pixels = [(y, x) for y in range(height) for x in range(width)]
            blobs = [(y, x) for y, x in pixels if labels[source, y, x] == blob]
            grounds = [(y, x) for y, x in pixels if labels[index, y, x] == ground]
            if not blobs or not grounds:
                continue
            corner = anchor_of(blobs)
            target = grounds[min(int(shares[index] * len(grounds)), len(grounds) - 1)]
            for y, x in blobs:
                row, column = y - corner[0] + target[0], x - corner[1] + target[1]
                if 0 <= row < height and 0 <= column < width:
                    mixed_labels[index, row, column] = blob
                    mixed_images[index, :, row, column] = images[source, :, y, x]
    return mixed_images, mixed_labels


@pytest.mark.parametrize("seed", range(40))
def test_copyblob_agrees_with_a_slow_reference(seed):
    """Blobs of one rule are the ground of another, so that a cascade of pastes would be detected."""
    rng = np.random.default_rng(seed)
    batch, height, width = (int(rng.integers(low, high)) for low, high in ((2, 5), (1, 8), (1, 8)))
    images, labels = batch_of(rng, batch, height, width, int(rng.integers(2, 7)))
    rules = [tuple(rng.choice(5, 2, replace=False).tolist()) for _ in range(int(rng.integers(1, 4)))]
    mixed, truth = copyblob(images, labels, rules, generator(seed, COPYBLOB))
    expected, expected_truth = slow_copyblob(images, labels, rules, generator(seed, COPYBLOB))
    assert torch.equal(truth, expected_truth)
    assert torch.equal(mixed, expected)
    assert torch.equal(mixed[:, 0], truth.float()), "the pasted pixels are those of the label"


def test_copyblob_changes_nothing_without_class_or_ground():
    images, labels = batch_of(np.random.default_rng(4), 3, 6, 7, 4)
    for rules in ([], [(9, 1)], [(1, 9)], [(8, 9)]):
        mixed, truth = copyblob(images, labels, rules, generator(0, COPYBLOB))
        assert torch.equal(mixed, images)
        assert torch.equal(truth, labels)


def test_copyblob_pastes_from_every_other_image_and_never_from_the_image_itself():
    images, labels = batch_of(np.random.default_rng(5), 4, 6, 6, 2)
    pairs = set()
    for step in range(100):
        mixed, _ = copyblob(images, labels, [(1, 0)], generator(0, COPYBLOB, 0, step))
        for index in range(4):
            foreign = set(mixed[index, 1].unique().tolist()) - {index}
            assert len(foreign) == 1, "always one other image"
            moved = (mixed[index, 1] == index) & (mixed[index, 2] != images[index, 2])
            assert not moved.any(), "its own pixels do not move"
            pairs.add((index, *foreign))
    assert len(pairs) == 4 * 3


def test_copyblob_uses_every_ground_pixel():
    """A blob of one pixel lands on each of the five ground pixels about equally often."""
    labels = torch.full((2, 3, 4), 9)
    labels[0, 1, 2] = 1
    grounds = [(0, 0), (0, 3), (1, 1), (2, 0), (2, 3)]
    for y, x in grounds:
        labels[1, y, x] = 0
    images = torch.zeros(2, 3, 3, 4)
    hits = torch.zeros(3, 4)
    for step in range(500):
        hits += copyblob(images, labels, [(1, 0)], generator(0, COPYBLOB, 0, step))[1][1] == 1
    assert hits.sum() == 500
    assert all(60 < hits[y, x] < 140 for y, x in grounds)


def test_copyblob_anchor_has_the_least_row_plus_column_then_the_least_row():
    labels = torch.full((2, 5, 5), 9)
    for y, x in [(2, 1), (1, 2), (3, 0), (4, 4)]:  # three pixels share row + column = 3
        labels[0, y, x] = 1
    labels[1, 2, 3] = 0
    _, truth = copyblob(torch.zeros(2, 3, 5, 5), labels, [(1, 0)], generator(0, COPYBLOB))
    assert (truth[1] == 1).nonzero().tolist() == [[2, 3], [3, 2], [4, 1]], "the fourth pixel falls outside"


def test_copyblob_does_not_wrap_around():
    labels = torch.full((2, 4, 6), 9)
    labels[0, :, :] = 1  # the blob fills the image; its anchor is the first pixel
    labels[1, 3, 4] = 0
    _, truth = copyblob(torch.zeros(2, 3, 4, 6), labels, [(1, 0)], generator(0, COPYBLOB))
    assert (truth[1] == 1).nonzero().tolist() == [[3, 4], [3, 5]]


def test_copyblob_lets_later_rules_cover_earlier_ones():
    labels = torch.full((2, 2, 2), 9)
    labels[0, 0, 0] = 1
    labels[0, 0, 1] = 2
    labels[1, 1, 0] = 0
    for first, second in ((1, 2), (2, 1)):
        rules = [(first, 0), (second, 0)]
        _, truth = copyblob(torch.zeros(2, 3, 2, 2), labels, rules, generator(0, COPYBLOB))
        assert truth[1, 1, 0] == second


def test_copyblob_does_not_change_its_inputs():
    images, labels = batch_of(np.random.default_rng(6), 3, 5, 6, 3)
    images_before = images.clone()
    labels_before = labels.clone()
    copyblob(images, labels, [(1, 0), (2, 1)], generator(0, COPYBLOB))
    assert torch.equal(images, images_before)
    assert torch.equal(labels, labels_before)


def foot_of(pixels):
    return max(pixels, key=lambda pixel: (pixel[0], -pixel[1]))


@pytest.mark.parametrize("seed", range(20))
def test_copyblob_by_foot_agrees_with_a_slow_reference(seed):
    rng = np.random.default_rng(seed)
    batch, height, width = (int(rng.integers(low, high)) for low, high in ((2, 5), (1, 8), (1, 8)))
    images, labels = batch_of(rng, batch, height, width, int(rng.integers(2, 7)))
    rules = [tuple(rng.choice(5, 2, replace=False).tolist()) for _ in range(int(rng.integers(1, 4)))]
    mixed, truth = copyblob(images, labels, rules, generator(seed, COPYBLOB), by_foot=True)
    expected, expected_truth = slow_copyblob(images, labels, rules, generator(seed, COPYBLOB), foot_of)
    assert torch.equal(truth, expected_truth)
    assert torch.equal(mixed, expected)


def test_copyblob_by_foot_anchors_the_leftmost_pixel_of_the_lowest_row():
    labels = torch.full((2, 6, 6), 9)
    for y, x in [(0, 3), (1, 2), (2, 2), (2, 3), (2, 4)]:  # the foot is (2, 2)
        labels[0, y, x] = 1
    labels[1, 5, 1] = 0
    _, truth = copyblob(torch.zeros(2, 3, 6, 6), labels, [(1, 0)], generator(0, COPYBLOB), by_foot=True)
    assert (truth[1] == 1).nonzero().tolist() == [[3, 2], [4, 1], [5, 1], [5, 2], [5, 3]]


# ---------------------------------------------------------------------------------------------- classmix


def slow_classmix(images, labels, num_classes, rng):
    """The definition, image by image and pixel by pixel, with partners and orders of the classes from the same draws."""
    batch, height, width = labels.shape
    cycle = rng.permutation(batch).tolist()
    partner = {receiver: cycle[position - 1] for position, receiver in enumerate(cycle)}
    orders = rng.permuted(np.tile(np.arange(num_classes), (batch, 1)), axis=1)
    mixed_images, mixed_labels = images.clone(), labels.clone()
    for index in range(batch):
        source = partner[index]
        classes = [c for c in orders[index].tolist() if (labels[source] == c).any()]
        chosen = classes[: math.ceil(len(classes) / 2)]
        for y in range(height):
            for x in range(width):
                if int(labels[source, y, x]) in chosen:
                    mixed_labels[index, y, x] = labels[source, y, x]
                    mixed_images[index, :, y, x] = images[source, :, y, x]
    return mixed_images, mixed_labels


@pytest.mark.parametrize("seed", range(40))
def test_classmix_agrees_with_a_slow_reference(seed):
    rng = np.random.default_rng(seed)
    batch, height, width, present = (int(rng.integers(low, high)) for low, high in ((2, 6), (1, 7), (1, 7), (1, 8)))
    images, labels = batch_of(rng, batch, height, width, present)
    labels[torch.from_numpy(rng.random(labels.shape) < 0.2)] = VOID
    images[:, 0] = labels
    mixed, truth = classmix(images, labels, 7, generator(seed, CLASSMIX))
    expected, expected_truth = slow_classmix(images, labels, 7, generator(seed, CLASSMIX))
    assert torch.equal(truth, expected_truth)
    assert torch.equal(mixed, expected)
    assert torch.equal(mixed[:, 0], truth.float()), "the pasted pixels are those of the label"
    assert torch.equal(mixed[:, 2], images[:, 2]), "pixels keep their position"
    assert not ((truth == VOID) & (labels != VOID)).any(), "void is never pasted"


@pytest.mark.parametrize(("present", "chosen"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_classmix_pastes_half_of_the_classes_rounded_up_with_equal_frequency(present, chosen):
    """The partner has `present` classes, one per row, and a row of void; the image has another class."""
    labels = torch.full((2, present + 1, 2), 8)
    labels[0] = torch.tensor([*range(present), VOID])[:, None]
    counts = torch.zeros(present)
    for step in range(200):
        _, truth = classmix(torch.zeros(2, 3, present + 1, 2), labels, 9, generator(0, CLASSMIX, 0, step))
        rows = truth[1] != 8
        assert torch.equal(rows[:, 0], rows[:, 1]), "whole classes"
        assert not rows[-1].any(), "void is not pasted"
        assert rows[:, 0].sum() == chosen
        counts += rows[:-1, 0]
    expected = 200 * chosen / present
    assert ((counts - expected).abs() < 45).all()


def test_classmix_of_void_labels_changes_nothing():
    images, labels = batch_of(np.random.default_rng(7), 3, 4, 5, 3)
    labels[:] = VOID
    mixed, truth = classmix(images, labels, 3, generator(0, CLASSMIX))
    assert torch.equal(mixed, images)
    assert torch.equal(truth, labels)


def test_classmix_depends_only_on_its_generator_and_does_not_change_its_inputs():
    images, labels = batch_of(np.random.default_rng(8), 4, 8, 8, 6)
    images_before = images.clone()
    labels_before = labels.clone()
    first, again, other = (classmix(images, labels, 6, generator(0, CLASSMIX, 0, step))[0] for step in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    first.zero_()
    assert torch.equal(images, images_before)
    assert torch.equal(labels, labels_before)


# ---------------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize("name", DATASETS)
def test_default_rules_use_classes_of_the_data_set(name):
    labels, rules = DATASETS[name].LABELS, DATASETS[name].BLOB_RULES
    found = {(labels.names[blob], labels.names[ground]) for blob, ground in rule_ids(rules, labels)}
    assert found == {(blob, ground) for ground, blobs in rules.items() for blob in blobs}


def test_default_rules_of_minicity_are_the_tutorials():
    spec = DATASETS["minicity"]
    assert rule_ids(spec.BLOB_RULES, spec.LABELS) == [(3, 1), (4, 1), (15, 0), (16, 0)]
    assert parse_rules("sidewalk: wall, fence; road: bus, train") == spec.BLOB_RULES


def test_rules_are_parsed():
    assert parse_rules(" road:bus ,traffic light; ;sidewalk : wall; road: car") == {
        "road": ("bus", "traffic light", "car"),
        "sidewalk": ("wall",),
    }


@pytest.mark.parametrize("text", ["", " ; ", "road", "road:", ": bus", "road: bus,, train", "road bus; sidewalk: wall"])
def test_malformed_rules(text):
    with pytest.raises(InputError, match=r"--blob_rules.*road: bus, train; sidewalk: wall"):
        parse_rules(text)


def test_rules_with_unknown_classes_list_the_known_ones():
    with pytest.raises(InputError, match=r"tram.*road, sidewalk, building"):
        rule_ids({"road": ("bus", "tram")}, DATASETS["minicity"].LABELS)
