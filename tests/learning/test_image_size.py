"""The one rule for the size of an image in the network."""

import math

import numpy as np
import pytest

from learning.image_size import MIN_SIDE, fitted_size, scaled_size

ASKED = [(360, 480), (1024, 2048), (480, 360), (768, 768)]


def test_sizes_by_hand():
    assert fitted_size((720, 960), (96, 128)) == (96, 128)
    assert fitted_size((960, 720), (96, 128)) == (128, 96)
    assert fitted_size((100, 200), (96, 128)) == (78, 157)
    assert fitted_size((1, 10000), (64, 64)) == (64, 6400)
    assert scaled_size((333, 100), 1.0) == (333, 100)
    assert scaled_size((333, 100), 0.5) == (166, 64)


@pytest.mark.parametrize("asked", ASKED)
def test_other_shapes_keep_their_shape_at_the_area_asked_for(asked):
    rng = np.random.default_rng(0)
    for height, width in rng.integers(200, 5000, (500, 2)).tolist():
        found = fitted_size((height, width), asked)
        if found == asked:
            assert math.isclose(height * asked[1], width * asked[0], rel_tol=0.02)
            continue
        factor = math.sqrt(math.prod(asked) / (height * width))
        exact = (height * factor, width * factor)
        assert math.isclose(math.prod(exact), math.prod(asked))
        assert all(abs(side - whole) <= 0.5 for side, whole in zip(exact, found, strict=True))


@pytest.mark.parametrize("asked", ASKED)
def test_shapes_within_two_percent_get_exactly_the_size_asked_for(asked):
    for scale in (0.5, 1, 3.7):
        for stretch in (1 / 1.019, 1 / 1.01, 1, 1.01, 1.019):
            assert fitted_size((1000 * scale * asked[0] * stretch, 1000 * scale * asked[1]), asked) == asked
        for stretch in (1 / 1.021, 1.021):
            assert fitted_size((1000 * scale * asked[0] * stretch, 1000 * scale * asked[1]), asked) != asked


@pytest.mark.parametrize("asked", ASKED)
def test_a_taller_image_is_never_lower_nor_wider(asked):
    sizes = [
        fitted_size((height, 1000), asked) for height in np.geomspace(1, 1_000_000, 2000).round().astype(int).tolist()
    ]
    heights, widths = zip(*sizes, strict=True)
    assert list(heights) == sorted(heights)
    assert list(widths) == sorted(widths, reverse=True)
    assert min(map(min, sizes)) == MIN_SIDE


def test_a_turned_image_gets_the_turned_size():
    rng = np.random.default_rng(1)
    for height, width in rng.integers(1, 5000, (200, 2)).tolist():
        for asked in ASKED:
            assert fitted_size((width, height), asked[::-1]) == fitted_size((height, width), asked)[::-1]
