"""Color changes beyond an affine map, against torchvision, convolutions and slow references."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from learning.data.augmentation.effects import EFFECTS
from learning.data.augmentation.filters import TILES, clahe, grid, noise, sharpen
from learning.data.augmentation.sampling import SETS, Augmentation, draw_view
from learning.data.augmentation.transforms import color_and_normalize, color_map, stack, view_sample
from learning.data.augmentation.view import View
from learning.device import set_determinism
from learning.rng import VIEW, generator

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
PLAIN = View(0, 0, 32, 40)


def images_of(batch=1, seed=0, size=(32, 40)):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (batch, 3, *size), dtype=np.uint8))


def recolor(images, *views):
    """`color_and_normalize` with the normalization undone: 0 .. 1."""
    seen, _ = color_and_normalize(images, None, list(views), MEAN, STD)
    return seen * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]


def test_gamma_equals_torchvision():
    images = images_of()
    for gamma in (0.8, 1.2):
        expected = tv.adjust_gamma(images / 255, gamma)
        assert torch.allclose(recolor(images, replace(PLAIN, gamma=gamma)), expected, rtol=0, atol=2e-4)


def test_a_gain_and_a_shift_are_one_affine_map():
    images = images_of()
    seen = recolor(images, replace(PLAIN, brightness=1.2, shift=-0.1))
    assert torch.allclose(seen, (images / 255 * 1.2 - 0.1).clamp(0, 1), rtol=0, atol=1e-5)


def test_combined_effects_equal_single_effects_in_sequence():
    images = torch.from_numpy(np.random.default_rng(1).integers(115, 140, (1, 3, 32, 40), dtype=np.uint8))
    for index in range(8):
        rng_combined = generator(0, VIEW, 0, index)
        rng_single = generator(0, VIEW, 0, index)
        combined = PLAIN
        pixels = images[0].double() / 255
        for name in ("brightness_contrast", "brightness", "hsv", "brightness_contrast"):
            combined = EFFECTS[name](rng_combined, combined)
            single = EFFECTS[name](rng_single, PLAIN)
            pixels = torch.tensordot(torch.from_numpy(color_map(single)[0]), pixels, 1) + single.shift
        expected = pixels.clamp(0, 1).float()
        assert torch.allclose(recolor(images, combined)[0], expected, rtol=0, atol=2e-5)


def test_sharpening_equals_a_convolution_with_its_kernel():
    image = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
    kernel = torch.full((3, 3), -1.0)
    kernel[1, 1] = 8 + 0.7
    padded = torch.nn.functional.pad(image[:, None], (1, 1, 1, 1), mode="reflect")
    convolved = torch.nn.functional.conv2d(padded, kernel[None, None])[:, 0]
    assert torch.allclose(sharpen(image, 0.3, 0.7), 0.7 * image + 0.3 * convolved, rtol=0, atol=1e-5)


def test_sharpening_keeps_uniform_areas_and_steepens_edges():
    image = torch.full((1, 3, 12, 12), 100, dtype=torch.uint8)
    image[..., 6:] = 150
    seen = recolor(image, replace(PLAIN, sharpen=0.2, lightness=1.0))[0, 0] * 255
    assert seen[:, [0, 1, 2, 10]].numpy() == pytest.approx(np.tile([100, 100, 100, 150], (12, 1)), abs=1e-3)
    assert seen[0, 6] - seen[0, 5] > 60


def test_noise_has_its_standard_deviation_is_drawn_per_channel_and_is_reproducible():
    images = torch.full((1, 3, 200, 200), 128, dtype=torch.uint8)
    view = replace(PLAIN, noise=5 / 255, noise_seed=3)
    seen = recolor(images, view)[0] * 255
    assert seen.mean(dim=(1, 2)).numpy() == pytest.approx(128, abs=0.15)
    assert seen.std(dim=(1, 2)).numpy() == pytest.approx(5, abs=0.1)
    assert abs(np.corrcoef(seen.flatten(1).numpy()) - np.eye(3)).max() < 0.03
    assert torch.equal(recolor(images, view)[0] * 255, seen)
    assert not torch.equal(recolor(images, replace(view, noise_seed=4))[0] * 255, seen)
    assert torch.equal(noise((3, 20), 7), noise((3, 20), 7))


def test_there_are_36_holes_of_the_mean_color():
    hidden = grid((60, 120), 6, 0.0, 0.0)
    expected = torch.zeros(60, 120, dtype=torch.bool)
    for row in range(6):
        for column in range(6):
            expected[row * 10 : row * 10 + 5, column * 20 : column * 20 + 10] = True
    assert torch.equal(hidden, expected)
    seen, _ = color_and_normalize(images_of(1, 2, (60, 120)), None, [replace(PLAIN, holes=(6, 0.0, 0.0))], MEAN, STD)
    assert (seen[0, :, hidden] == 0).all()
    assert (seen[0, :, ~hidden] != 0).float().mean() > 0.95


def test_holes_move_within_their_cells():
    corners = {}
    for step in range(100):
        hidden = grid((60, 120), 6, step / 100, 1 - (step + 1) / 100).nonzero()
        corners.setdefault("rows", set()).add(int(hidden[:, 0].min()))
        corners.setdefault("columns", set()).add(int(hidden[:, 1].min()))
        assert len(hidden) == 36 * 50
    assert corners == {"rows": set(range(6)), "columns": set(range(11))}


@pytest.mark.parametrize("size", [(5, 3), (61, 100)])
def test_images_of_any_size_have_holes(size):
    assert 0 < grid(size, 6, 0.99, 0.99).sum() < size[0] * size[1] / 2


def slow_clahe(luma, limit):
    """CLAHE of a whole number of tiles, pixel by pixel."""
    height, width = luma.shape
    tile_height, tile_width = height // TILES, width // TILES
    mappings = np.zeros((TILES, TILES, 256))
    for row in range(TILES):
        for column in range(TILES):
            tile = luma[row * tile_height : (row + 1) * tile_height, column * tile_width : (column + 1) * tile_width]
            counts = np.bincount(tile.ravel(), minlength=256).astype(float)
            most = max(1, int(limit * tile.size / 256))
            cut = np.maximum(counts - most, 0).sum()
            mappings[row, column] = np.cumsum(np.minimum(counts, most) + cut / 256) * 255 / tile.size
    result = np.zeros(luma.shape)
    for y in range(height):
        for x in range(width):
            down, across = (y + 0.5) / tile_height - 0.5, (x + 0.5) / tile_width - 0.5
            top, left = int(np.floor(down)), int(np.floor(across))
            for row, share in ((top, 1 - (down - top)), (top + 1, down - top)):
                for column, other in ((left, 1 - (across - left)), (left + 1, across - left)):
                    near = mappings[min(max(row, 0), TILES - 1), min(max(column, 0), TILES - 1)]
                    result[y, x] += share * other * near[luma[y, x]]
    return result


@pytest.mark.parametrize("limit", [1.0, 2.5, 40.0])
def test_clahe_agrees_with_a_slow_reference(limit):
    rng = np.random.default_rng(3)
    luma = rng.normal(110, 12, (64, 80)).round().astype(np.uint8)
    seen = clahe(torch.from_numpy(luma).float().expand(3, -1, -1), limit)
    assert seen[0].numpy() == pytest.approx(slow_clahe(luma, limit), abs=0.51)
    assert torch.equal(seen[0], seen[1])


def test_clahe_raises_contrast_and_keeps_color_differences():
    rng = np.random.default_rng(4)
    gray = torch.from_numpy(rng.normal(110, 4, (1, 61, 90)).round()).float()
    image = gray + torch.tensor([0.0, 5.0, 10.0]).view(3, 1, 1)
    seen = clahe(image, 4.0)
    assert seen[0].std() > 1.5 * image[0].std()
    assert (seen[2] - seen[0]).numpy() == pytest.approx(10, abs=1)


def test_clahe_uses_each_image_separately_and_does_not_change_the_input():
    images = images_of(3)
    before = images.clone()
    separate = recolor(images[1:2], replace(PLAIN, clahe=2.0))
    seen = recolor(images, PLAIN, replace(PLAIN, clahe=2.0), PLAIN)
    assert torch.allclose(seen[1:2], separate, rtol=0, atol=1e-6)
    assert torch.allclose(seen[0], images[0] / 255, rtol=0, atol=1e-5)
    assert not torch.allclose(seen[1], images[1] / 255, rtol=0, atol=1e-2)
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", list(SETS))
def test_a_batch_equals_its_images_one_by_one(name):
    """No view affects its neighbors, and every one gives finite colors between black and white."""
    images = images_of(12, 5, (60, 80))
    label = torch.zeros(60, 80, dtype=torch.uint8)
    chosen = Augmentation((60, 80), (32, 40), **SETS[name])
    views = [draw_view(generator(6, VIEW, 0, index), (60, 80), chosen) for index in range(12)]
    seen = [view_sample(image, label, view, (32, 40), MEAN)[0] for image, view in zip(images, views, strict=True)]
    together = recolor(stack(seen), *views)
    for index, view in enumerate(views):
        assert torch.allclose(together[index], recolor(seen[index][None], view)[0], rtol=0, atol=1e-5)
    assert together.min() >= -1e-5
    assert together.max() <= 1 + 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only CUDA has nondeterministic operations")
@pytest.mark.parametrize("name", list(SETS))
def test_on_a_gpu_every_set_is_deterministic_and_close_to_the_cpu(name):
    images = images_of(12, 5, (60, 80))
    chosen = Augmentation((60, 80), (60, 80), **SETS[name])
    views = [draw_view(generator(6, VIEW, 0, index), (60, 80), chosen) for index in range(12)]
    set_determinism(True)
    try:
        first, again = (color_and_normalize(images.cuda(), None, views, MEAN, STD)[0].cpu() for _ in range(2))
    finally:
        set_determinism(False)
    assert torch.equal(first, again)
    close = torch.isclose(first, color_and_normalize(images, None, views, MEAN, STD)[0], rtol=0, atol=1e-3)
    assert close.float().mean() > 0.99, "luma may be rounded differently"
