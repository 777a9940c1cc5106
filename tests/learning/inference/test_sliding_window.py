"""Sliding windows against sums over the whole image; out-of-memory errors; rows and strips against the whole."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from learning.data.loaders import EvalBatch
from learning.inference import predict as inference
from learning.inference.memory import MemoryLimits
from learning.inference.predict import MST_SCALES, InferenceSettings, average_logits, predict_images
from learning.inference.sliding_window import (
    RowBuffer,
    Windows,
    blend_weights,
    overlap_in_pixels,
    window_logits,
    window_starts,
)
from learning.resize import bilinear, resized_rows, resized_strips
from tests.learning.inference.test_predict import CLASSES, Network, noise

ONE = (1.0,)


def slices(x):
    return lambda top, bottom: x[:, top:bottom]


def whole(blocks):
    return torch.cat(list(blocks), 1)


def summed_windows(forward, image, tile, overlap):
    """Windows one by one, in float64 sums of weighted logits and of weights over the whole image."""
    height, width = image.shape[1:]
    tall, wide = min(tile[0], height), min(tile[1], width)

    def weights(window):
        ramp = overlap_in_pixels(overlap, window)
        place = np.minimum(np.arange(window) + 0.5, np.arange(window)[::-1] + 0.5)
        return np.sin(np.pi / 2 * np.minimum(1, place / ramp)) ** 2 if ramp else np.ones(window)

    weight = torch.from_numpy(np.outer(weights(tall), weights(wide)))
    total, amount = torch.zeros(CLASSES, height, width).double(), torch.zeros(height, width).double()
    for top in window_starts(height, tall, overlap_in_pixels(overlap, tall)):
        for left in window_starts(width, wide, overlap_in_pixels(overlap, wide)):
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
    assert window_starts(length, window, overlap) == expected
    gaps = np.diff(expected)
    assert (window - gaps >= overlap).all()


def test_overlap_is_a_share_or_pixels():
    assert [overlap_in_pixels(overlap, 64) for overlap in (0, 0.25, 0.99, 1, 20, 100)] == [0, 16, 63, 1, 20, 63]


@pytest.mark.parametrize("overlap", [0, 3, 7, 9])
def test_blend_weights_give_the_weighted_mean(overlap):
    starts = window_starts(33, 10, overlap)
    values = np.random.default_rng(0).random((len(starts), 10))
    mean = np.zeros(33)
    for start, blend, value in zip(starts, blend_weights(starts, 10, overlap), values, strict=True):
        assert blend.dtype == torch.float32
        assert float(blend.min()) > 0
        mean[start : start + 10] += blend.numpy() * (value - mean[start : start + 10])
    place = np.minimum(np.arange(10), np.arange(10)[::-1]) + 0.5
    weight = np.sin(np.pi / 2 * np.minimum(1, place / overlap)) ** 2 if overlap else np.ones(10)
    total, amount = np.zeros(33), np.zeros(33)
    for start, value in zip(starts, values, strict=True):
        total[start : start + 10] += weight * value
        amount[start : start + 10] += weight
    assert np.allclose(mean, total / amount, atol=1e-6)


@pytest.mark.parametrize("overlap", [0, 0.25, 0.8, 5])
@pytest.mark.parametrize("batch_size", [1, 4])
@torch.no_grad()
def test_windows_are_blended_by_their_weights(overlap, batch_size):
    model, image = Network().eval(), noise(3, 61, 83)

    def forward(images):
        return model(images)["out"]

    blocks = list(window_logits(forward, slices(image), (61, 83), ONE, Windows((24, 32), overlap, batch_size)))
    assert len(blocks) > 1
    assert torch.allclose(whole(blocks), summed_windows(forward, image, (24, 32), overlap), atol=1e-5)


@torch.no_grad()
def test_scales_are_the_mean_of_each_scales_windows():
    model, image, scales = Network().eval(), noise(3, 50, 66), (0.5, 1.0, 1.7)

    def forward(images):
        return model(images)["out"]

    found = whole(window_logits(forward, slices(image), (50, 66), scales, Windows((24, 32), 0.25, 2)))
    expected = []
    for scale in scales:
        size = [int(50 * scale), int(66 * scale)]
        logits = summed_windows(forward, bilinear(image[None], size)[0], (24, 32), 0.25)
        expected.append(bilinear(logits[None], (50, 66))[0])
    assert torch.allclose(found, torch.stack(expected).mean(0), atol=1e-5)


@pytest.mark.parametrize("flip", [False, True])
@torch.no_grad()
def test_a_window_larger_than_every_scale_is_the_whole_image(flip):
    model, image = Network().eval(), noise(1, 3, 20, 29)
    settings = InferenceSettings(MST_SCALES, flip)
    batch = EvalBatch(image, None, [(41, 55)], ["x"])
    ((_, untiled),) = predict_images(model, [batch], settings)
    ((_, tiled),) = predict_images(model, [batch], settings, MemoryLimits((64, 64)))
    assert (untiled == tiled).mean() > 0.999
    saved = []

    def open_probabilities(sample, shape):
        return lambda top, rows: saved.append(rows)

    list(predict_images(model, [batch], settings, MemoryLimits((64, 64)), open_probabilities))
    expected = average_logits(model, image, MST_SCALES, flip)[0].softmax(0)
    assert np.allclose(np.concatenate(saved, 1), expected, atol=1e-4)


@pytest.mark.parametrize("overlap", [0, 0.3, 0.9, 11])
def test_a_constant_stays_exactly_constant(overlap):
    constant = torch.tensor([0.1, -7.3, 1 / 3])

    def forward(images):
        return constant[None, :, None, None].expand(len(images), 3, *images.shape[-2:]).clone()

    found = whole(window_logits(forward, slices(noise(3, 70, 90)), (70, 90), ONE, Windows((23, 31), overlap, 2)))
    assert torch.equal(found, constant[:, None, None].expand(3, 70, 90))


def test_a_row_buffer_keeps_only_rows_that_may_be_requested():
    rows = noise(2, 40, 3)
    buffer = RowBuffer(rows.split([5, 1, 14, 20], 1))
    for top, bottom in ((0, 2), (1, 6), (5, 6), (5, 25), (24, 30), (38, 40)):
        assert torch.equal(buffer.rows(top, bottom), rows[:, top:bottom])
    buffer = RowBuffer(rows.split(4, 1))
    for top in range(30):
        buffer.rows(top, top + 6)
        assert buffer.held.shape[1] <= 10


# ---------------------------------------------------------------------------------------------- rows and strips

RESIZES = [((12, 20), (40, 33)), ((20, 30), (9, 7)), ((7, 5), (7, 19)), ((5, 7), (23, 7)), ((40, 60), (301, 407))]


@pytest.mark.parametrize(("old", "new"), RESIZES)
def test_strips_of_any_height_are_the_whole(monkeypatch, old, new):
    logits = noise(CLASSES, *old)
    expected = F.interpolate(logits[None], new, mode="bilinear", align_corners=False)[0]
    found = {}
    for height in (1, 3, 1000):
        monkeypatch.setitem(resized_strips.__globals__["_STRIP"], "cpu", 4 * CLASSES * new[1] * height)
        parts = list(resized_strips(slices(logits), old, new, CLASSES, logits.device))
        assert [top for top, _ in parts] == list(range(0, new[0], height))
        found[height] = torch.cat([part for _, part in parts], 1)
        assert torch.allclose(found[height], expected, atol=3e-5)  # torch versions round coordinates differently
    assert torch.equal(found[1], found[3])
    assert torch.equal(found[1], found[1000])
    take = resized_rows(slices(logits), old, new)
    rows = [take(top, min(top + 4, new[0])) for top in range(0, new[0], 4)]
    assert torch.allclose(torch.cat(rows, 1), expected, atol=3e-5)


def test_classes_by_strips_are_those_of_the_upsampled_logits():
    logits = noise(CLASSES, 40, 60)
    expected = inference.to_classes(inference.upsample_logits(logits, (301, 407)))
    for blocks in ([logits], logits.split(7, 1)):
        pixels = []
        classes = inference.read_classes(blocks, (40, 60), (301, 407), pixels.append)
        assert classes.dtype == np.uint8
        assert np.array_equal(classes, expected)
        assert sum(pixels) == 301 * 407


def test_memory_format_does_not_change_the_result():
    logits = noise(CLASSES, 40, 60)
    other = logits[None].contiguous(memory_format=torch.channels_last)[0]
    assert torch.equal(inference.upsample_logits(logits, (301, 407)), inference.upsample_logits(other, (301, 407)))


# ---------------------------------------------------------------------------------------------- memory


class Limited(Network):
    """A network that raises an error for more than a number of pixels."""

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
    logged, batch = [], batch_of(5)
    found = dict(predict_images(Limited(2 * 64 * 96, error), [batch, batch], limits=MemoryLimits(log=logged.append)))
    assert [line.split("continuing with ")[1].split(" images")[0] for line in logged] == ["2"]
    expected = dict(predict_images(Network(), [batch]))
    assert all(np.array_equal(found[index], expected[index]) for index in range(5))


def test_flips_are_predicted_one_by_one_if_a_pair_does_not_fit():
    logged, batch = [], batch_of(1)
    ((_, found),) = predict_images(
        Limited(64 * 96, ERRORS[0]), [batch], InferenceSettings(flip=True), limits=MemoryLimits(log=logged.append)
    )
    ((_, expected),) = predict_images(Network(), [batch], InferenceSettings(flip=True))
    assert len(logged) == 1
    assert np.array_equal(found, expected)


def test_an_image_that_does_not_fit_is_predicted_in_windows():
    logged, batch = [], batch_of(2, (200, 300))
    found = dict(predict_images(Limited(100 * 150, ERRORS[1]), [batch], limits=MemoryLimits(log=logged.append)))
    assert "continuing with 1 images or windows" in logged[0]
    assert "windows of 100x150" in logged[1]
    assert len(logged) == 2
    expected = dict(predict_images(Network(), [batch], limits=MemoryLimits((100, 150))))
    assert all(np.array_equal(found[index], expected[index]) for index in range(2))


def test_windows_that_do_not_fit_are_halved_and_probabilities_restart():
    logged, saved, batch = [], [], batch_of(1, (200, 300))

    def open_probabilities(sample, shape):
        saved.clear()
        return lambda top, rows: saved.append((top, rows))

    limits = MemoryLimits((160, 160), batch_size=2, log=logged.append)
    ((_, found),) = predict_images(
        Limited(80 * 80, ERRORS[0]), [batch], limits=limits, open_probabilities=open_probabilities
    )
    assert limits.tile == (80, 80)
    ((_, expected),) = predict_images(Network(), [batch], limits=MemoryLimits((80, 80)))
    assert np.array_equal(found, expected)
    assert np.concatenate([rows for _, rows in saved], 1).shape == (CLASSES, 200, 300)
    assert saved[0][0] == 0


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
    logged = []
    limits = MemoryLimits(tile, overlap, log=logged.append)
    assert limits.reduce((2000, 3000))
    assert (*limits.tile, limits.overlap) == expected
    assert hint in logged[0]


def test_repeated_pixels_are_reported_once():
    class Failing(Network):
        """Runs out of memory once, in the second image."""

        calls = 0

        def forward(self, images):
            self.calls += 1
            if self.calls == 8:
                raise MemoryError
            return super().forward(images)

    pixels, logged, batch = [], [], batch_of(2, (200, 300))
    limits = MemoryLimits((100, 100), 0, log=logged.append)
    found = list(predict_images(Failing(), [batch, batch], limits=limits, report=pixels.append))
    assert len(logged) == 1
    assert len(found) == 4
    assert sum(pixels) == 4 * 200 * 300


def test_errors_are_raised_if_no_window_fits_and_if_memory_is_not_the_cause():
    limits = MemoryLimits(log=lambda line: None)
    with pytest.raises(MemoryError):
        list(predict_images(Limited(0, ERRORS[0]), [batch_of(1)], limits=limits))
    with pytest.raises(RuntimeError, match="sizes"):
        list(predict_images(Limited(0, RuntimeError("sizes do not match")), [batch_of(4)], limits=limits))
