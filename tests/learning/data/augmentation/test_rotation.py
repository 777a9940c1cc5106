"""Rotated views against rot90, torchvision and patterns whose color encodes their class or position."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from helpers.labels import VOID
from learning.data.augmentation.rotation import source_pixel, window_pixel
from learning.data.augmentation.sampling import SETS, Augmentation, draw_view
from learning.data.augmentation.transforms import view_sample
from learning.data.augmentation.view import View
from learning.rng import VIEW, generator

MEAN = (0.4, 0.5, 0.6)


def noise_image(seed, height, width, coarse=1):
    """Noise in blocks, uint8 (3, H, W), interleaved."""
    pixels = np.random.default_rng(seed).integers(
        0, 256, (-(-height // coarse), -(-width // coarse), 3), dtype=np.uint8
    )
    return torch.from_numpy(pixels.repeat(coarse, 0).repeat(coarse, 1)[:height, :width].copy()).permute(2, 0, 1)


def random_label(seed, height, width):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 19, (height, width), dtype=np.uint8))


@pytest.mark.parametrize(("angle", "turns"), [(90.0, 1), (180.0, 2), (-90.0, -1)])
@pytest.mark.parametrize("side", [16, 17])
@pytest.mark.parametrize("flip", [False, True])
def test_right_angles_equal_rot90(angle, turns, side, flip):
    image, label = noise_image(0, 30, 40), random_label(1, 30, 40)
    view = View(5, 11, side, side, flip, rotation=angle)
    seen, truth = view_sample(image, label, view, (side, side), MEAN)
    expected = image[:, 5 : 5 + side, 11 : 11 + side].rot90(turns, (1, 2))
    assert torch.equal(seen, expected.flip(2) if flip else expected)
    expected = label[5 : 5 + side, 11 : 11 + side].rot90(turns)
    assert torch.equal(truth, expected.flip(1) if flip else expected)


@pytest.mark.parametrize("angle", [-170.0, -30.0, 7.0, 45.0])
@pytest.mark.parametrize("size", [(48, 64), (49, 63)])
def test_a_rotated_image_equals_torchvision(angle, size):
    """Inside: at the border torchvision blends the fill differently. Its labels come from the same pixels, apart from ties."""
    image, label = noise_image(2, *size), random_label(3, *size)
    seen, truth = view_sample(image, label, View(0, 0, *size, rotation=angle), size, MEAN)
    expected = tv.rotate(image.float(), angle, tv.InterpolationMode.BILINEAR)
    inside = tv.rotate(torch.ones(1, *size), angle, tv.InterpolationMode.BILINEAR)[0] > 1 - 1e-5
    assert inside.float().mean() > 0.4
    assert (seen.float() - expected)[:, inside].abs().max() <= 0.6
    expected = tv.rotate(label[None], angle, tv.InterpolationMode.NEAREST, fill=VOID)[0]
    assert (truth == expected).float().mean() > 0.985


@pytest.mark.parametrize("window", [(24, 32), (96, 128)])
def test_a_scaled_and_rotated_view_equals_torchvision_resize_then_rotate(window):
    """For smooth images, where interpolation in one step or two hardly differs."""
    rng = np.random.default_rng(4)
    smooth = tv.resize(torch.from_numpy(rng.integers(0, 256, (3, 8, 10), dtype=np.uint8)), [150, 200]).float()
    image = smooth.round().to(torch.uint8)
    view = View(20, 30, *window, rotation=20.0)
    seen, _ = view_sample(image, None, view, (48, 64), MEAN)
    # The window with a margin of 50 %, so that the rotation reads the surroundings.
    top, left, height, width = 20 - window[0] // 4, 30 - window[1] // 4, window[0] * 3 // 2, window[1] * 3 // 2
    framed = tv.resized_crop(image.float(), top, left, height, width, [72, 96], antialias=True)
    expected = tv.center_crop(tv.rotate(framed, 20.0, tv.InterpolationMode.BILINEAR), [48, 64])
    row, column = max(0, -top), max(0, -left)  # pixels outside have another color
    inner = (slice(None), slice(16 if row else 4, -4), slice(16 if column else 4, -4))
    assert (seen.float() - expected)[inner].abs().max() < 6
    assert (seen.float() - expected)[inner].abs().mean() < 0.7


@pytest.mark.parametrize("name", [*SETS, "rotation"])
def test_images_and_labels_stay_aligned(name):
    """An image whose gray is 12 times its class: after any view, away from edges, the same holds."""
    coarse = random_label(5, 6, 8).repeat_interleave(30, 0).repeat_interleave(30, 1)
    image = (coarse * 12)[None].expand(3, -1, -1)
    settings = {"rotation": 60.0} if name == "rotation" else SETS[name]
    chosen = Augmentation((180, 240), (100, 120), **settings)
    compared = 0
    rotated = 0
    for index in range(25):
        view = draw_view(generator(1, VIEW, 0, index), (180, 240), chosen)
        seen, truth = view_sample(image, coarse, view, (100, 120), MEAN)
        # If the eight neighbors at distance two are of the same class, interpolation blends nothing.
        same = torch.ones(96, 116, dtype=torch.bool)
        for down in (0, 2, 4):
            for across in (0, 2, 4):
                same &= truth[down : down + 96, across : across + 116] == truth[2:98, 2:118]
        same &= truth[2:98, 2:118] != VOID
        wrong = (seen[0, 2:98, 2:118].int() - 12 * truth[2:98, 2:118].int()).abs()[same]
        compared += int(same.sum())
        rotated += bool(view.rotation)
        assert wrong.max() <= 1, (index, view)
    assert compared > 25 * 100 * 120 * 0.4
    assert (rotated > 0) == (name in ("hard", "mask", "rotation"))


@pytest.mark.parametrize("size", [(60, 80), (120, 160), (31, 33)])
@pytest.mark.parametrize("angle", [10.0, -75.0, 133.0])
def test_image_and_label_of_a_rotated_view_come_from_the_same_position(size, angle):
    """A ramp whose gray is its row or column: label and image differ by half a source pixel and rounding."""
    ramp = torch.arange(0, 240, 2, dtype=torch.uint8).expand(120, 120)
    for pixels in (ramp, ramp.T):
        view = View(40, 35, 44, 50, rotation=angle)
        image, label = view_sample(torch.stack([pixels] * 3), pixels // 2, view, size, MEAN)
        distance = (image[0].double() / 2 - label.double())[label != VOID]
        assert abs(distance).max() <= 0.5 + 0.25 + 1e-3
        assert abs(distance.mean()) < 0.1


def test_pixels_outside_are_the_mean_color_and_void():
    image, label = torch.zeros(3, 40, 40, dtype=torch.uint8), torch.zeros(40, 40, dtype=torch.uint8)
    seen, truth = view_sample(image, label, View(0, 0, 40, 40, rotation=45.0), (40, 40), MEAN)
    for row, column in ((0, 0), (0, 39), (39, 0), (39, 39)):
        assert seen[:, row, column].tolist() == [102, 128, 153]
        assert truth[row, column] == VOID
    assert set(truth.unique().tolist()) == {0, VOID}
    assert truth[20, 0] == truth[0, 20] == 0
    # An octagon remains: 1 - 2 * (1 - 1 / sqrt(2))**2 of the square.
    assert (truth == 0).double().mean().item() == pytest.approx(1 - 2 * (1 - 0.5**0.5) ** 2, abs=0.01)


def test_a_tiny_angle_changes_hardly_anything():
    image, label = (
        noise_image(6, 90, 120, coarse=8),
        random_label(7, 15, 20).repeat_interleave(6, 0).repeat_interleave(6, 1),
    )
    for window in ((30, 40), (80, 100)):
        plain, truth = view_sample(image, label, View(5, 10, *window), (50, 60), MEAN)
        turned, turned_truth = view_sample(image, label, View(5, 10, *window, rotation=1e-3), (50, 60), MEAN)
        inner = (slice(None), slice(3, -3), slice(3, -3))
        assert (plain.float() - turned.float())[inner].abs().mean() < 3
        assert (truth == turned_truth).float().mean() > 0.9


def test_source_pixels_match_the_label_and_are_inverted_by_window_pixel():
    label = torch.arange(200, dtype=torch.uint8).expand(200, 200)
    for rotation in (0.0, 33.0, -120.0):
        view, size = View(60, 70, 40, 50, rotation=rotation), (60, 45)
        columns = view_sample(torch.zeros(3, 200, 200, dtype=torch.uint8), label, view, size, MEAN)[1]
        rows = view_sample(torch.zeros(3, 200, 200, dtype=torch.uint8), label.T.contiguous(), view, size, MEAN)[1]
        for pixel in ((0, 0), (59, 44), (30, 7), (13, 31)):
            source = source_pixel(view, size, pixel)
            assert (source + np.array([view.top, view.left])).tolist() == [rows[pixel], columns[pixel]]
            assert abs(window_pixel(view, size, source) - pixel).max() <= 1


def test_float_rotation_equals_uint8_rotation():
    """On a GPU images are float; here the same on a CPU."""
    image = noise_image(8, 80, 100)
    for window in ((24, 30), (70, 90)):
        view = View(3, 5, *window, rotation=12.0)
        seen, _ = view_sample(image, None, view, (40, 50), MEAN)
        floats, _ = view_sample(image.float(), None, view, (40, 50), MEAN)
        assert floats.dtype == torch.float32
        assert (seen.float() - floats).abs().max() <= 1.51


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_rotated_views_on_a_gpu_equal_those_on_the_cpu():
    image, label = noise_image(9, 80, 100), random_label(10, 80, 100)
    view = View(3, 5, 70, 90, rotation=12.0)
    seen, truth = view_sample(image, label, view, (40, 50), MEAN)
    gpu, gpu_truth = view_sample(image.cuda(), label.cuda(), view, (40, 50), MEAN)
    assert (seen.float() - gpu.cpu()).abs().max() <= 1.51
    assert (truth == gpu_truth.cpu()).float().mean() > 0.999
