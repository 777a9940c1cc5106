"""Views against torchvision, windows computed by hand, and a slow reference of the color changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from helpers.labels import VOID
from learning.data.augmentation.resampling import resample_image, resample_label
from learning.data.augmentation.sampling import Augmentation, draw_view, needs_padding
from learning.data.augmentation.transforms import color_and_normalize, color_map, stack, view_sample, whole_view
from learning.data.augmentation.view import View
from learning.rng import VIEW, generator

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
LUMA = np.array([0.299, 0.587, 0.114])


def noise_image(rng, height, width, interleaved=True):
    """Noise, uint8 tensor (3, H, W), by default in the memory layout of a decoded file (interleaved)."""
    pixels = torch.from_numpy(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).permute(2, 0, 1)
    return pixels if interleaved else pixels.contiguous()


def labels_of(rng, *size):
    """Random train ids, uint8 tensor."""
    return torch.from_numpy(rng.integers(0, 19, size, dtype=np.uint8))


def draw_many(count=300, source=(40, 60), **changes):
    augmentation = Augmentation(**{"train_size": (40, 60), "crop_size": (20, 30), **changes})
    return [draw_view(generator(0, VIEW, 0, index), source, augmentation) for index in range(count)]


# ---------------------------------------------------------------------------------------------- drawing


@pytest.mark.parametrize(
    ("scale", "source", "train", "crop", "window"),
    [
        (1.0, (1024, 2048), (1024, 2048), (576, 1152), (576, 1152)),
        (2.0, (1024, 2048), (1024, 2048), (576, 1152), (288, 576)),
        (0.75, (1024, 2048), (1024, 2048), (576, 1152), (768, 1536)),
        (1.5, (1024, 2048), (512, 1024), (384, 768), (512, 1024)),
        (1.0, (100, 60), (50, 30), (20, 10), (40, 20)),
        (1.0, (960, 720), (360, 480), (300, 400), (600, 800)),  # 480x360
        (1.0, (365, 480), (360, 480), (360, 480), (365, 480)),  # within 2 %: 360x480
        (1.7, (360, 480), (360, 480), (360, 480), (212, 282)),
        (2.0, (10, 10), (1000, 1000), (4, 40), (1, 1)),
    ],
)
def test_the_window_is_the_crop_at_the_drawn_scale(scale, source, train, crop, window):
    (view,) = draw_many(1, source, train_size=train, crop_size=crop, scale_range=(scale, scale))
    assert (view.height, view.width) == window


def test_scales_are_uniform_and_the_same_for_both_axes():
    views = draw_many(2000, (1000, 1000), train_size=(1000, 1000), crop_size=(600, 300), scale_range=(0.75, 2.0))
    scales = np.array([600 / view.height for view in views])
    assert scales.min() == pytest.approx(0.75, abs=0.01)
    assert scales.max() == pytest.approx(2.0, abs=0.01)
    assert np.histogram(scales, 5, (0.75, 2.0))[0] == pytest.approx(400, abs=80)
    assert all(abs(view.height - 2 * view.width) <= 1 for view in views)


def test_every_offset_inside_the_image_is_drawn_including_the_last():
    views = draw_many(600, scale_range=(1.0, 1.0), crop_size=(36, 57))
    for offsets, last in (([view.top for view in views], 4), ([view.left for view in views], 3)):
        assert set(offsets) == set(range(last + 1))
        assert min(np.bincount(offsets)) > 80


def test_a_window_larger_than_the_image_gets_every_offset_that_contains_the_image():
    views = draw_many(600, scale_range=(1.0, 1.0), crop_size=(43, 62))
    assert {view.top for view in views} == {-3, -2, -1, 0}
    assert {view.left for view in views} == {-2, -1, 0}


def test_a_window_can_be_larger_than_the_image_along_one_axis_only():
    views = draw_many(300, scale_range=(1.0, 1.0), crop_size=(42, 58))
    assert {view.top for view in views} == {-2, -1, 0}
    assert {view.left for view in views} == {0, 1, 2}


@pytest.mark.parametrize(("crop", "leaves"), [((30, 45), False), ((31, 45), True), ((30, 46), True)])
def test_leaves_image_tells_whether_any_crop_is_padded(crop, leaves):
    """At scale 0.75 a crop of 30 x 45 shows 40 x 60 pixels."""
    assert needs_padding(Augmentation((40, 60), crop), (40, 60)) is leaves


@pytest.mark.parametrize("jitter", [0.0, 0.3, 0.6, 1.0])
def test_color_changes_are_drawn_within_the_jitter(jitter):
    views = draw_many(400, jitter=jitter)
    for name, center in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0)):
        values = np.array([getattr(view, name) for view in views]) - center
        assert abs(values).max() <= jitter
        assert abs(values).max() >= 0.97 * jitter
        assert abs(values.mean()) <= 0.1 * jitter
    assert all(np.isfinite(color_map(view)[0]).all() for view in views)


def test_half_of_the_views_are_flipped_and_none_without_flip():
    assert 430 < sum(view.flip for view in draw_many(1000)) < 570
    assert not any(view.flip for view in draw_many(100, flip=False))


def test_without_scale_flip_and_jitter_a_view_is_a_plain_crop():
    for view in draw_many(20, scale_range=(1.0, 1.0), flip=False, jitter=0.0):
        assert view == View(view.top, view.left, 20, 30)


# ---------------------------------------------------------------------------------------------- windows and resampling


@pytest.mark.parametrize("interleaved", [True, False])
def test_images_equal_torchvision_resized_crop(interleaved):
    rng = np.random.default_rng(1)
    for _ in range(60):
        height, width = rng.integers(2, 60, 2).tolist()
        image = noise_image(rng, height, width, interleaved)
        window_height, window_width = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
        top, left = rng.integers(height - window_height + 1), rng.integers(width - window_width + 1)
        view = View(int(top), int(left), window_height, window_width)
        size = rng.integers(1, 70, 2).tolist()
        seen, _ = view_sample(image, None, view, size, MEAN)
        box = (view.top, view.left, view.height, view.width)
        expected = tv.resized_crop(image.contiguous(), *box, size=size, antialias=True)
        assert seen.dtype == torch.uint8
        assert torch.equal(seen, expected), (box, size)


def test_labels_take_the_nearest_pixel_by_center():
    """Label values are column (or row) numbers, so the distance to the exact position can be measured."""
    rng = np.random.default_rng(2)
    for _ in range(60):
        source, size = int(rng.integers(1, 256)), int(rng.integers(1, 300))
        label = torch.arange(source, dtype=torch.uint8).tile(3, 1)
        exact = (np.arange(size) + 0.5) * source / size
        for taken in (resample_label(label, (3, size))[0], resample_label(label.T.contiguous(), (size, 3))[:, 0]):
            assert abs(taken.numpy() + 0.5 - exact).max() <= 0.5 + 1e-4


def test_labels_get_no_new_values():
    label = torch.from_numpy(np.random.default_rng(3).choice(np.array([0, 7, 200, VOID], np.uint8), (33, 47)))
    for size in ((10, 11), (33, 47), (100, 90)):
        assert set(resample_label(label, size).unique().tolist()) == {0, 7, 200, VOID}
    assert torch.equal(resample_label(label, (33, 47)), label)


@pytest.mark.parametrize("size", [(12, 23), (48, 48), (60, 101)])
def test_image_and_label_are_aligned_to_half_a_source_pixel(size):
    ramp = torch.arange(0, 192, 4, dtype=torch.uint8).expand(48, 48)
    for pixels in (ramp, ramp.T):
        image, label = view_sample(torch.stack([pixels] * 3), pixels // 4, whole_view((48, 48)), size, MEAN)
        inner = (slice(size[0] // 10, -(size[0] // 10)), slice(size[1] // 10, -(size[1] // 10)))  # no edge effects
        distance = image[0].double()[inner] / 4 - label.double()[inner]
        assert abs(distance).max() <= 0.5 + 0.125 + 1e-9, "half a pixel, and half a gray level of rounding"


def test_pixels_outside_the_image_are_the_mean_color_and_void_on_both_axes():
    rng = np.random.default_rng(4)
    image, label = noise_image(rng, 4, 5), labels_of(rng, 4, 5)
    for top, left, height, width in [(-2, -3, 9, 11), (-1, 0, 4, 5), (2, 3, 6, 6), (0, -4, 4, 6)]:
        seen, truth = view_sample(image, label, View(top, left, height, width), (height, width), MEAN)
        for row in range(height):
            for column in range(width):
                y, x = row + top, column + left
                inside = 0 <= y < 4 and 0 <= x < 5
                assert seen[:, row, column].tolist() == (image[:, y, x].tolist() if inside else [102, 128, 153])
                assert truth[row, column] == (label[y, x] if inside else VOID)


def test_the_mean_color_is_normalized_to_nearly_zero():
    seen, _ = view_sample(torch.zeros(3, 2, 2, dtype=torch.uint8), None, View(-6, -6, 5, 5), (5, 5), MEAN)
    normalized, _ = color_and_normalize(seen[None], None, [whole_view((5, 5))], MEAN, STD)
    assert normalized[..., :4, :4].abs().max() <= 0.5 / 255 / min(STD) + 1e-6


def test_views_always_have_the_crop_size():
    rng = np.random.default_rng(5)
    for index in range(60):
        source, train, crop = (tuple(rng.integers(1, 50, 2).tolist()) for _ in range(3))
        view = draw_view(generator(0, VIEW, 0, index), source, Augmentation(train, crop))
        image, label = view_sample(noise_image(rng, *source), torch.zeros(source, dtype=torch.uint8), view, crop, MEAN)
        assert image.shape == (3, *crop)
        assert label.shape == crop


def test_labels_equal_torch_nearest_exact():
    rng = np.random.default_rng(12)
    for _ in range(60):
        source, size = rng.integers(1, 90, 2).tolist(), rng.integers(1, 120, 2).tolist()
        label = labels_of(rng, *source)
        expected = torch.nn.functional.interpolate(label[None, None], size, mode="nearest-exact")[0, 0]
        assert torch.equal(resample_label(label, size), expected)


def test_float_resampling_equals_uint8_resampling_to_one_gray_level():
    """On a GPU windows are resampled as float and not rounded; here the same on a CPU."""
    rng = np.random.default_rng(13)
    for _ in range(40):
        window = noise_image(rng, *rng.integers(2, 60, 2).tolist()).permute(1, 2, 0).contiguous()
        size = rng.integers(1, 70, 2).tolist()
        assert (resample_image(window.float(), size) - resample_image(window, size)).abs().max() <= 1.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_views_on_a_gpu_equal_those_on_the_cpu():
    rng = np.random.default_rng(14)
    image, label = noise_image(rng, 50, 70), labels_of(rng, 50, 70)
    views = [draw_view(generator(0, VIEW, 0, k), (50, 70), Augmentation((50, 70), (40, 60))) for k in range(8)]
    results = []
    for device in ("cpu", "cuda"):
        seen = [view_sample(image.to(device), label.to(device), view, (40, 60), MEAN) for view in views]
        images, labels = zip(*seen, strict=True)
        results.append(
            [tensor.cpu() for tensor in color_and_normalize(stack(images), torch.stack(labels), views, MEAN, (1, 1, 1))]
        )
    contrast = 1.3**3 * 2  # upper bound of the change of one gray level under the jitter
    assert (results[0][0] - results[1][0]).abs().max() <= contrast / 255
    assert torch.equal(results[0][1], results[1][1])


# ---------------------------------------------------------------------------------------------- colors


def recolor(images, views):
    """`color_and_normalize` without normalization: float32 (B, 3, h, w), 0 .. 1."""
    return color_and_normalize(images, None, views, (0, 0, 0), (1, 1, 1))[0]


def mid_gray(seed=0, batch=1):
    """Images of values 0.4 .. 0.6, which no moderate change clamps."""
    return torch.from_numpy(np.random.default_rng(seed).integers(102, 154, (batch, 3, 9, 11), dtype=np.uint8))


def apply_in_sequence(image, view):
    """Brightness, contrast, saturation in sequence, float64 (3, h, w), 0 .. 1, unclamped."""
    pixels = image.numpy() / 255 * view.brightness
    pixels = view.contrast * pixels + (1 - view.contrast) * np.tensordot(LUMA, pixels, 1).mean()
    return view.saturation * pixels + (1 - view.saturation) * np.tensordot(LUMA, pixels, 1)


JITTERED = [
    View(0, 0, 9, 11, brightness=1.3),
    View(0, 0, 9, 11, contrast=0.7),
    View(0, 0, 9, 11, saturation=1.3),
    View(0, 0, 9, 11, brightness=0.7, contrast=1.3, saturation=0.0),
    View(0, 0, 9, 11, brightness=1.2, contrast=0.8, saturation=1.25),
    View(0, 0, 9, 11, brightness=0.8, contrast=1.25, saturation=0.75),
]


@pytest.mark.parametrize("view", JITTERED)
def test_color_changes_equal_three_steps_in_sequence(view):
    image = mid_gray()
    assert recolor(image, [view])[0].numpy() == pytest.approx(apply_in_sequence(image[0], view), abs=1e-5)


@pytest.mark.parametrize("view", JITTERED)
def test_color_changes_equal_torchvision(view):
    """To 1e-4: torchvision's luma weights have four digits and sum to 0.9999."""
    image = mid_gray()
    expected = tv.adjust_brightness(image / 255, view.brightness)
    expected = tv.adjust_saturation(tv.adjust_contrast(expected, view.contrast), view.saturation)
    assert torch.allclose(recolor(image, [view]), expected, rtol=0, atol=1e-4)


def test_hue_rotation_keeps_luma_and_gray():
    luma = torch.tensor(LUMA, dtype=torch.float32)
    image = mid_gray()
    for hue in (-0.5, -0.2, 0.1, 0.25, 0.5):
        turned = recolor(image, [View(0, 0, 9, 11, hue=hue)])
        assert torch.allclose(luma @ turned.flatten(2), luma @ (image / 255).flatten(2), rtol=0, atol=1e-5)
        assert (turned - image / 255).abs().max() > 0.02
    gray = image[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(recolor(gray, [View(0, 0, 9, 11, hue=0.3)]), gray / 255, rtol=0, atol=1e-5)


def test_hue_is_in_turns():
    image = mid_gray()
    whole_turn = recolor(image, [View(0, 0, 9, 11, hue=1.0)])
    assert torch.allclose(whole_turn, image / 255, rtol=0, atol=1e-5)
    gray = np.tensordot(LUMA, image[0].numpy() / 255, 1)
    half_turn = recolor(image, [View(0, 0, 9, 11, hue=0.5)])[0].numpy()
    assert half_turn == pytest.approx(2 * gray - image[0].numpy() / 255, abs=1e-5), "the complementary color"


def test_contrast_uses_the_mean_luma_of_each_image():
    images = torch.cat([mid_gray(0), mid_gray(1) // 2, mid_gray(2) // 3])
    view = View(0, 0, 9, 11, contrast=0.5)
    separate = torch.cat([recolor(image[None], [view]) for image in images])
    assert torch.allclose(recolor(images, [view] * 3), separate, rtol=0, atol=1e-6)


def test_a_view_without_changes_is_normalized_only():
    images = torch.from_numpy(np.random.default_rng(8).integers(0, 256, (2, 3, 16, 16), dtype=np.uint8))
    images[0, :, 0, 0] = 0
    images[0, :, 0, 1] = 255
    seen, labels = color_and_normalize(images, None, [whole_view((16, 16))] * 2, MEAN, STD)
    expected = (images.numpy() / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    assert seen.numpy() == pytest.approx(expected, abs=1e-6)
    assert seen.dtype == torch.float32
    assert labels is None


@pytest.mark.parametrize("size", [(2, 5), (7, 9)])
def test_flip_reverses_image_and_label_left_to_right(size):
    rng = np.random.default_rng(15)
    image, label = noise_image(rng, 2, 5), labels_of(rng, 2, 5)
    plain, truth = view_sample(image, label, View(0, 0, 2, 5), size, MEAN)
    flipped, flipped_truth = view_sample(image, label, View(0, 0, 2, 5, flip=True), size, MEAN)
    assert torch.equal(flipped, plain.flip(-1))
    assert torch.equal(flipped_truth, truth.flip(-1))
    assert not torch.equal(flipped, plain)


def test_labels_become_int64_with_the_same_values():
    images = torch.zeros(2, 3, 2, 5, dtype=torch.uint8)
    labels = torch.tensor([0, VOID], dtype=torch.uint8).expand(2, 5, 2).mT
    truth = color_and_normalize(images, labels, [whole_view((2, 5))] * 2, MEAN, STD)[1]
    assert truth.dtype == torch.int64
    assert torch.equal(truth, labels.long())


def test_a_stack_is_channels_last_and_normalized_as_any_other_batch():
    images = torch.from_numpy(np.random.default_rng(16).integers(0, 256, (3, 3, 6, 7), dtype=np.uint8))
    stacked = stack(images)
    assert torch.equal(stacked, images)
    assert stacked.is_contiguous(memory_format=torch.channels_last)
    views = draw_many(3)
    normalized, _ = color_and_normalize(stacked, None, views, MEAN, STD)
    assert torch.equal(normalized, color_and_normalize(images, None, views, MEAN, STD)[0])


def slow_color_and_normalize(image, view):
    """One image, step by step in float64."""
    pixels = apply_in_sequence(image, view)
    to_yiq = np.array([LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
    luma, *chroma = np.tensordot(to_yiq, pixels, 1)
    chroma = (chroma[0] + 1j * chroma[1]) * np.exp(2j * np.pi * view.hue)
    pixels = np.tensordot(np.linalg.inv(to_yiq), np.stack([luma, chroma.real, chroma.imag]), 1)
    mean, std = np.reshape(MEAN, (3, 1, 1)), np.reshape(STD, (3, 1, 1))
    return (np.clip(pixels, 0, 1) - mean) / std


@pytest.mark.parametrize("jitter", [0.3, 1.0])
def test_color_and_normalize_agrees_with_a_slow_reference(jitter):
    rng = np.random.default_rng(9)
    images = torch.from_numpy(rng.integers(0, 256, (16, 3, 12, 14), dtype=np.uint8))
    views = draw_many(16, jitter=jitter)
    seen, _ = color_and_normalize(images, None, views, MEAN, STD)
    for index, view in enumerate(views):
        assert seen[index].numpy() == pytest.approx(slow_color_and_normalize(images[index], view), abs=2e-5)


def test_colors_stay_within_0_and_1():
    images = torch.from_numpy(np.random.default_rng(10).integers(0, 256, (8, 3, 12, 12), dtype=np.uint8))
    seen = recolor(images, [replace(view, brightness=1.9) for view in draw_many(8, jitter=1.0)])
    assert seen.min() >= 0
    assert 0.99 < seen.max() <= 1


def test_inputs_are_not_modified():
    rng = np.random.default_rng(11)
    image, label = noise_image(rng, 9, 9), labels_of(rng, 9, 9)
    image_before = image.clone()
    label_before = label.clone()
    for view in (whole_view((9, 9)), View(-2, 3, 8, 8), View(2, 2, 4, 4), View(0, 0, 9, 9, flip=True)):
        seen, truth = view_sample(image, label, view, (9, 9), MEAN)
        color_and_normalize(seen[None], truth[None], [replace(view, brightness=0.5)], MEAN, STD)[0].zero_()
    assert torch.equal(image, image_before)
    assert torch.equal(label, label_before)
    color_and_normalize(image[None], label[None], [whole_view((9, 9))], MEAN, STD)[1].zero_()
    assert torch.equal(label, label_before)
