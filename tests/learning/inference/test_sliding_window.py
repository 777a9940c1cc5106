"""Sliding windows against a plain whole accumulation; memory that does not suffice; rows and strips against the whole."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from learning.data.loaders import EvalBatch
from learning.inference import predict as inference
from learning.inference.memory import MemoryLimits
from learning.inference.predict import MST_SCALES, image_scores, predict_images
from learning.inference.sliding_window import RowBuffer, overlap_in_pixels, shares, starts, window_scores
from learning.resize import bilinear, resized, strips
from tests.learning.inference.test_predict import CLASSES, Network, noise

ONE = (1.0,)


def slices(x):
    return lambda top, bottom: x[:, top:bottom]


def scores_of(blocks):
    return torch.cat(list(blocks), 1)


def plainly(forward, image, tile, overlap):
    """Every window on its own into whole sums of weighted scores and of weights, float64."""
    height, width = image.shape[1:]
    tall, wide = min(tile[0], height), min(tile[1], width)

    def weights(window):
        ramp = overlap_in_pixels(overlap, window)
        place = np.minimum(np.arange(window) + 0.5, np.arange(window)[::-1] + 0.5)
        return np.sin(np.pi / 2 * np.minimum(1, place / ramp)) ** 2 if ramp else np.ones(window)

    weight = torch.from_numpy(np.outer(weights(tall), weights(wide)))
    total, amount = torch.zeros(CLASSES, height, width).double(), torch.zeros(height, width).double()
    for top in starts(height, tall, overlap_in_pixels(overlap, tall)):
        for left in starts(width, wide, overlap_in_pixels(overlap, wide)):
            window = (slice(None), slice(top, top + tall), slice(left, left + wide))
            total[window] += forward(image[window][None])[0] * weight
            amount[window[1:]] += weight
    return (total / amount).float()


@pytest.mark.parametrize(
    ("length", "window", "overlap", "expected"),
    [
        (10, 10, 3, [0]),
        (5, 10, 3, [0]),
        (20, 10, 0, [0, 10]),
        (21, 10, 0, [0, 6, 11]),
        (40, 16, 4, [0, 12, 24]),
        (9, 4, 3, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_windows_are_evenly_spaced_and_reach_both_edges(length, window, overlap, expected):
    assert starts(length, window, overlap) == expected
    gaps = np.diff(expected)
    assert (window - gaps >= overlap).all()


def test_overlap_is_a_share_or_pixels():
    assert [overlap_in_pixels(overlap, 64) for overlap in (0, 0.25, 0.99, 1, 20, 100)] == [0, 16, 63, 1, 20, 63]


@pytest.mark.parametrize("overlap", [0, 3, 7, 9])
def test_shares_are_those_of_a_weighted_mean(overlap):
    begins = starts(33, 10, overlap)
    values = np.random.default_rng(0).random((len(begins), 10))
    mean = np.zeros(33)
    for begin, share, value in zip(begins, shares(begins, 10, overlap), values, strict=True):
        assert share.dtype == torch.float32
        assert float(share.min()) > 0
        mean[begin : begin + 10] += share.numpy() * (value - mean[begin : begin + 10])
    place = np.minimum(np.arange(10), np.arange(10)[::-1]) + 0.5
    weight = np.sin(np.pi / 2 * np.minimum(1, place / overlap)) ** 2 if overlap else np.ones(10)
    total, amount = np.zeros(33), np.zeros(33)
    for begin, value in zip(begins, values, strict=True):
        total[begin : begin + 10] += weight * value
        amount[begin : begin + 10] += weight
    assert np.allclose(mean, total / amount, atol=1e-6)


@pytest.mark.parametrize("overlap", [0, 0.25, 0.8, 5])
@pytest.mark.parametrize("windows", [1, 4])
@torch.no_grad()
def test_windows_are_blended_by_their_weights(overlap, windows):
    model, image = Network().eval(), noise(3, 61, 83)

    def forward(images):
        return model(images)["out"]

    blocks = list(window_scores(forward, slices(image), (61, 83), ONE, (24, 32), overlap, windows))
    assert len(blocks) > 1
    assert torch.allclose(scores_of(blocks), plainly(forward, image, (24, 32), overlap), atol=1e-5)


@torch.no_grad()
def test_scales_are_the_mean_of_each_scales_windows():
    model, image, scales = Network().eval(), noise(3, 50, 66), (0.5, 1.0, 1.7)

    def forward(images):
        return model(images)["out"]

    found = scores_of(window_scores(forward, slices(image), (50, 66), scales, (24, 32), 0.25, 2))
    expected = []
    for scale in scales:
        size = [int(50 * scale), int(66 * scale)]
        scores = plainly(forward, bilinear(image[None], size)[0], (24, 32), 0.25)
        expected.append(bilinear(scores[None], (50, 66))[0])
    assert torch.allclose(found, torch.stack(expected).mean(0), atol=1e-5)


@pytest.mark.parametrize("mirror", [False, True])
@torch.no_grad()
def test_a_window_larger_than_every_scale_is_the_whole_image(mirror):
    model, image = Network().eval(), noise(1, 3, 20, 29)
    batch = EvalBatch(image, None, [(41, 55)], ["x"])
    ((_, whole),) = predict_images(model, [batch], MST_SCALES, mirror)
    ((_, tiled),) = predict_images(model, [batch], MST_SCALES, mirror, room=MemoryLimits((64, 64)))
    assert (whole == tiled).mean() > 0.999
    kept = []
    keep = lambda _, shape: lambda top, rows: kept.append(rows)  # noqa: E731
    list(predict_images(model, [batch], MST_SCALES, mirror, room=MemoryLimits((64, 64)), keep=keep))
    expected = image_scores(model, image, MST_SCALES, mirror)[0].softmax(0)
    assert np.allclose(np.concatenate(kept, 1), expected, atol=1e-4)


@pytest.mark.parametrize("overlap", [0, 0.3, 0.9, 11])
def test_a_constant_stays_exactly_constant(overlap):
    constant = torch.tensor([0.1, -7.3, 1 / 3])

    def forward(images):
        return constant[None, :, None, None].expand(len(images), 3, *images.shape[-2:]).clone()

    found = scores_of(window_scores(forward, slices(noise(3, 70, 90)), (70, 90), ONE, (23, 31), overlap, 2))
    assert torch.equal(found, constant[:, None, None].expand(3, 70, 90))


def test_a_reel_keeps_only_what_is_still_asked_for():
    whole = noise(2, 40, 3)
    reel = RowBuffer(whole.split([5, 1, 14, 20], 1))
    for top, bottom in ((0, 2), (1, 6), (5, 6), (5, 25), (24, 30), (38, 40)):
        assert torch.equal(reel.rows(top, bottom), whole[:, top:bottom])
    reel = RowBuffer(whole.split(4, 1))
    for top in range(30):
        reel.rows(top, top + 6)
        assert reel.held.shape[1] <= 10


# ---------------------------------------------------------------------------------------------- rows and strips

RESIZES = [((12, 20), (40, 33)), ((20, 30), (9, 7)), ((7, 5), (7, 19)), ((5, 7), (23, 7)), ((40, 60), (301, 407))]


@pytest.mark.parametrize(("old", "new"), RESIZES)
def test_strips_are_the_whole_whatever_their_height(monkeypatch, old, new):
    scores = noise(CLASSES, *old)
    whole = F.interpolate(scores[None], new, mode="bilinear", align_corners=False)[0]
    found = {}
    for height in (1, 3, 1000):
        monkeypatch.setitem(inference.strips.__globals__["_STRIP"], "cpu", 4 * CLASSES * new[1] * height)
        parts = list(strips(slices(scores), old, new, CLASSES, scores.device))
        assert [top for top, _ in parts] == list(range(0, new[0], height))
        found[height] = torch.cat([part for _, part in parts], 1)
        assert torch.allclose(found[height], whole, atol=3e-5)  # torch versions place pixels with other roundings
    assert torch.equal(found[1], found[3])
    assert torch.equal(found[1], found[1000])
    take = resized(slices(scores), old, new)
    rows = [take(top, min(top + 4, new[0])) for top in range(0, new[0], 4)]
    assert torch.allclose(torch.cat(rows, 1), whole, atol=3e-5)


def test_classes_by_strips_are_those_of_the_enlarged_scores():
    scores = noise(CLASSES, 40, 60)
    expected = inference.to_classes(inference.upsample_logits(scores, (301, 407)))
    for blocks in ([scores], scores.split(7, 1)):
        pixels = []
        classes = inference.read_classes(blocks, (40, 60), (301, 407), pixels.append)
        assert classes.dtype == np.uint8
        assert np.array_equal(classes, expected)
        assert sum(pixels) == 301 * 407


def test_layout_in_memory_changes_nothing():
    scores = noise(CLASSES, 40, 60)
    other = scores[None].contiguous(memory_format=torch.channels_last)[0]
    assert torch.equal(inference.upsample_logits(scores, (301, 407)), inference.upsample_logits(other, (301, 407)))


# ---------------------------------------------------------------------------------------------- memory


class Small(Network):
    """A network on a device that holds so many pixels at a time."""

    def __init__(self, pixels, error):
        super().__init__()
        self.pixels, self.error = pixels, error

    def forward(self, images):
        if images.numel() // 3 > self.pixels:
            raise self.error
        return super().forward(images)


ERRORS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
]


def batch_of(number, size=(64, 96)):
    return EvalBatch(noise(number, 3, *size), None, [size] * number, list(range(number)))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_batch_that_does_not_fit_is_halved(error):
    said, batch = [], batch_of(5)
    found = dict(predict_images(Small(2 * 64 * 96, error), [batch, batch], room=MemoryLimits(say=said.append)))
    assert [line.split("going on with ")[1].split(" of")[0] for line in said] == ["2"]
    expected = dict(predict_images(Network(), [batch]))
    assert all(np.array_equal(found[index], expected[index]) for index in range(5))


def test_mirror_images_go_one_by_one_where_a_pair_does_not_fit():
    said, batch = [], batch_of(1)
    ((_, found),) = predict_images(Small(64 * 96, ERRORS[0]), [batch], mirror=True, room=MemoryLimits(say=said.append))
    ((_, expected),) = predict_images(Network(), [batch], mirror=True)
    assert len(said) == 1
    assert np.array_equal(found, expected)


def test_an_image_that_does_not_fit_is_seen_in_windows():
    said, batch = [], batch_of(2, (200, 300))
    found = dict(predict_images(Small(100 * 150, ERRORS[1]), [batch], room=MemoryLimits(say=said.append)))
    assert "1 of an image" in said[0]
    assert "windows of 100x150" in said[1]
    assert len(said) == 2
    expected = dict(predict_images(Network(), [batch], room=MemoryLimits((100, 150))))
    assert all(np.array_equal(found[index], expected[index]) for index in range(2))


def test_windows_that_do_not_fit_are_halved_and_kept_scores_begin_anew():
    said, kept, batch = [], [], batch_of(1, (200, 300))

    def keep(sample, shape):
        kept.clear()
        return lambda top, rows: kept.append((top, rows))

    room = MemoryLimits((160, 160), windows=2, say=said.append)
    ((_, found),) = predict_images(Small(80 * 80, ERRORS[0]), [batch], room=room, keep=keep)
    assert room.tile == [80, 80]
    ((_, expected),) = predict_images(Network(), [batch], room=MemoryLimits((80, 80)))
    assert np.array_equal(found, expected)
    assert np.concatenate([rows for _, rows in kept], 1).shape == (CLASSES, 200, 300)
    assert kept[0][0] == 0


@pytest.mark.parametrize(
    ("tile", "overlap", "expected", "hint"),
    [
        ((512, 512), 200, (256, 256, 100), "--tile 256 256 --overlap 100"),
        ((512, 128), 120, (256, 64, 32), "--tile 256 64 --overlap 32"),
        ((512, 512), 1, (256, 256, 0), "--overlap 0"),
        ((512, 512), 0.25, (256, 256, 0.25), "--overlap 0.25"),
        ((512, 512), 0.9, (256, 256, 0.5), "--overlap 0.5"),
    ],
)
def test_the_overlap_is_halved_with_the_window(tile, overlap, expected, hint):
    said = []
    room = MemoryLimits(tile, overlap, say=said.append)
    assert room.halve((2000, 3000))
    assert (*room.tile, room.overlap) == expected
    assert hint in said[0]


def test_pixels_that_are_done_again_are_reported_once():
    class Failing(Network):
        """Runs out of memory once, in the second image."""

        calls = 0

        def forward(self, images):
            self.calls += 1
            if self.calls == 8:
                raise MemoryError
            return super().forward(images)

    pixels, said, batch = [], [], batch_of(2, (200, 300))
    room = MemoryLimits((100, 100), 0, say=said.append)
    found = list(predict_images(Failing(), [batch, batch], room=room, report=pixels.append))
    assert len(said) == 1
    assert len(found) == 4
    assert sum(pixels) == 4 * 200 * 300


def test_memory_that_never_suffices_and_other_errors_are_passed_on():
    with pytest.raises(MemoryError):
        list(predict_images(Small(0, ERRORS[0]), [batch_of(1)], room=MemoryLimits(say=lambda line: None)))
    with pytest.raises(RuntimeError, match="sizes"):
        list(
            predict_images(
                Small(0, RuntimeError("sizes do not match")), [batch_of(4)], room=MemoryLimits(say=lambda line: None)
            )
        )
