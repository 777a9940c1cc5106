"""Drawing Views: pinned draws of the default set, frequencies of the sets, windows of rotated views."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from learning.data.augmentation.effects import EFFECTS
from learning.data.augmentation.sampling import (
    SETS,
    Augmentation,
    Zoom,
    describe,
    draw_view,
    needs_padding,
    offset_ranges,
)
from learning.data.augmentation.view import View
from learning.rng import VIEW, generator
from learning.run.build_data import build_augmentation
from learning.run.command_line import parse

SIZE, CROP = (360, 480), (300, 420)


def draw(index, settings, source=SIZE, crop=CROP, seed=5):
    return draw_view(generator(seed, VIEW, 2, index), source, Augmentation(SIZE, crop, **settings))


@cache
def views_of(name):
    """6000 views of a set; drawing them takes longer than what the tests do with them."""
    return [draw(index, SETS[name]) for index in range(6000)]


def draw_set(name, count=3000, **changes):
    return [draw(index, SETS[name] | changes) for index in range(count)]


def share(views, condition):
    """Share of the views that meet a condition."""
    return np.mean([bool(condition(view)) for view in views])


def test_the_views_of_the_tutorial_set_are_pinned():
    pinned = [
        ((39, 138, 230, 321), (1.2958092612741345, 1.2442357433806417, 0.7458298322713542, 0.07142549074734539)),
        ((-5, -39, 398, 557), (1.154773481349348, 1.0245731283734092, 1.0012317795546923, 0.06533880255707569)),
        ((5, 2, 331, 463), (1.2835702832728555, 0.8259952655076805, 1.2940540970616532, 0.08180482216147084)),
    ]
    for index, (window, colors) in enumerate(pinned):
        assert draw(index, SETS["tutorial"]) == draw(index, {}) == View(*window, False, *colors)
    small = Augmentation((512, 1024), (384, 768), flip=0.0, jitter=0.1)
    colors = 0.9533388780167885, 1.093610636535807, 1.0252857253276477, -0.05159511626254239
    view = draw_view(generator(5, VIEW, 2, 7), (1024, 2048), small)
    assert view == View(23, 500, 404, 809, False, *colors)


@pytest.mark.parametrize("source", [(480, 360), (600, 600), (720, 1280), (1000, 300)])
def test_an_image_of_another_shape_is_scaled_alike_along_both_axes(source):
    """At scale 1 it has the area of the train size: neither squashed nor seen at another scale."""
    step = math.sqrt(math.prod(source) / math.prod(SIZE))  # source pixels for a pixel of the crop
    (view,) = {replace(draw(index, SETS["base"], source), top=0, left=0, flip=False) for index in range(50)}
    assert view.window == pytest.approx((CROP[0] * step, CROP[1] * step), abs=1.0)
    for index in range(50):
        view = draw(index, {}, source)
        assert view.height / CROP[0] == pytest.approx(view.width / CROP[1], rel=0.01)


def test_padding_is_announced_for_images_of_another_shape():
    settings = Augmentation(SIZE, SIZE, scale_range=(1.0, 1.0))
    assert not needs_padding(settings, (720, 960))
    assert needs_padding(settings, (960, 720))
    assert not needs_padding(replace(settings, crop_size=(360, 360)), (960, 720))


def augmentation(argv):
    found, _ = parse(argv)
    return build_augmentation(found.data, found.augmentation, overfit=False)


def test_default_options_give_the_tutorial_set():
    argv = ["--train_size", "360", "480", "--crop_size", "300", "420"]
    assert augmentation(argv) == Augmentation((360, 480), (300, 420))


def test_options_override_the_set():
    argv = ["--train_size", "64", "--crop_size", "64", "--augment", "hard", "--rotation", "25", "--no-hflip"]
    argv += ["--colorjitter_factor", "0.2", "--scale_range", "0.5", "1.5", "--class_crop", "0.25"]
    expected = {"rotation": 25.0, "flip": 0.0, "jitter": 0.2, "scale_range": (0.5, 1.5), "class_crop": 0.25}
    assert augmentation(argv) == Augmentation((64, 64), (64, 64), **(SETS["hard"] | expected))


def test_zero_overrides_the_set():
    settings = augmentation(["--train_size", "64", "--crop_size", "64", "--augment", "hard", "--rotation", "0"])
    drawn = [draw_view(generator(0, VIEW, 0, k), (64, 64), settings) for k in range(1000)]
    assert not any(view.rotation for view in drawn)
    assert share(drawn, lambda view: view.flip) == pytest.approx(0.375, abs=0.05)


def test_base_only_flips():
    views = draw_set("base")
    assert share(views, lambda view: view.flip) == pytest.approx(0.5, abs=0.03)
    assert {replace(view, flip=False, top=0, left=0) for view in views} == {View(0, 0, *CROP)}


@pytest.mark.parametrize("name", ["hard", "mask"])
def test_hard_and_mask_flip_or_rotate_or_neither(name):
    views = views_of(name)[:3000]
    assert share(views, lambda view: view.flip) == pytest.approx(0.375, abs=0.03)
    assert share(views, lambda view: view.rotation) == pytest.approx(0.375, abs=0.03)
    assert not share(views, lambda view: view.rotation and view.flip)
    angles = np.array([view.rotation for view in views if view.rotation])
    assert -10 <= angles.min() < -9.8
    assert 9.8 < angles.max() <= 10
    assert abs(angles.mean()) < 0.7


@pytest.mark.parametrize("name", ["hard", "mask"])
def test_square_crops_of_hard_and_mask_have_the_published_sides_and_weights(name):
    views = views_of(name)
    for side, weight in ((334, 0.7), (384, 0.8), (448, 0.9), (496, 1.0)):
        window = tuple(round(extent * side / 512) for extent in CROP)
        found = share(views, lambda view, window=window: (view.height, view.width) == window)
        assert found == pytest.approx(0.3 * weight / 3.4, abs=0.015)
    assert share(views, lambda view: (view.height, view.width) == CROP) == pytest.approx(0.7, abs=0.03)


def test_every_effect_of_hard_has_probability_15_percent():
    views = views_of("hard")
    shown = {
        "brightness_contrast": lambda view: view.brightness != 1,
        "hsv": lambda view: view.hue,
        "gamma": lambda view: view.gamma != 1,
        "noise": lambda view: view.noise,
        "sharpen": lambda view: view.sharpen,
    }
    for name, applies in shown.items():
        assert share(views, applies) == pytest.approx(0.15, abs=0.015), name
    shifted = 1 - 0.85**3  # by brightness_contrast, brightness or hsv
    assert share(views, lambda view: view.shift) == pytest.approx(shifted, abs=0.02)
    noises = np.array([view.noise for view in views if view.noise]) * 255
    assert noises.max() <= 5
    assert (noises**2).mean() == pytest.approx(12.5, abs=1.0), "the variance is drawn uniformly from 0 .. 25"
    assert len({view.noise_seed for view in views if view.noise}) == len(noises)


def test_mask_has_holes_in_75_percent_of_the_views():
    views = views_of("mask")[:3000]
    assert share(views, lambda view: view.holes) == pytest.approx(0.75, abs=0.03)
    assert {view.holes[0] for view in views if view.holes} == {6}


def test_style_crops_have_the_ranges_of_area_and_aspect():
    views = draw_set("style_crop", 2000)
    areas = np.array([view.height * view.width for view in views]) / math.prod(CROP)
    aspects = np.array([view.height / view.width for view in views]) * CROP[1] / CROP[0]
    assert 0.075 <= areas.min() < 0.1
    assert 0.95 < areas.max() <= 1
    assert 0.74 < aspects.min() < 0.77
    assert 1.3 < aspects.max() < 1.36


def test_zooms_exclude_each_other_and_may_not_apply():
    zooms = Zoom(0.2, (0.25, 0.25)), Zoom(0.3, (0.0625, 0.0625))
    views = draw_set("base", 2000, zooms=zooms)
    for height, expected in ((300, 0.5), (150, 0.2), (75, 0.3)):
        assert share(views, lambda view, height=height: view.height == height) == pytest.approx(expected, abs=0.035)


def test_every_effect_is_in_a_set_and_changes_colors_only():
    assert {name for settings in SETS.values() for name, _ in settings.get("effects", ())} == set(EFFECTS)
    plain = draw(0, SETS["base"])
    for name in EFFECTS:
        changed = draw(0, SETS["base"] | {"effects": ((name, 1.0),)})
        assert changed != plain
        assert (changed.top, changed.left, changed.flip) == (plain.top, plain.left, plain.flip)


def test_rotation_is_uniform_and_independent_of_the_flip():
    views = draw_set("tutorial", rotation=30.0)
    assert np.histogram([view.rotation for view in views], 3, (-30, 30))[0] == pytest.approx(1000, abs=90)
    assert share(views, lambda view: view.flip and view.rotation > 0) == pytest.approx(0.25, abs=0.03)


def test_corners_of_rotated_windows_are_inside_if_there_is_room():
    for index in range(500):
        view = draw(index, {"rotation": 15.0, "scale_range": (2.0, 3.0)})
        angle = math.radians(view.rotation)
        down = np.array([-1, -1, 1, 1]) * CROP[0] / 2
        across = np.array([-1, 1, 1, -1]) * CROP[1] / 2
        rows = math.cos(angle) * down + math.sin(angle) * across
        columns = math.cos(angle) * across - math.sin(angle) * down
        rows = view.top + view.height / 2 + rows * view.height / CROP[0]
        columns = view.left + view.width / 2 + columns * view.width / CROP[1]
        assert rows.min() >= 0
        assert rows.max() <= SIZE[0]
        assert columns.min() >= 0
        assert columns.max() <= SIZE[1]


def test_a_rotated_window_without_room_for_its_corners_is_centered():
    assert offset_ranges((100, 100), (90, 90), (90, 90), 45.0) == [(5, 5), (5, 5)]
    assert offset_ranges((100, 100), (120, 90), (120, 90), 0.0) == [(-20, 0), (0, 10)]
    assert offset_ranges((100, 100), (100, 100), (100, 100), 10.0) == [(0, 0), (0, 0)]


@pytest.mark.parametrize(
    ("rotation", "source", "leaves"),
    [
        (0.0, (30, 40), False),
        (90.0, (49, 51), True),
        (90.0, (51, 51), False),
        (10.0, (36, 44), True),
        (10, (37, 45), False),
    ],
)
def test_leaves_image_considers_rotated_corners(rotation, source, leaves):
    """A crop of 30x40 needs 50x50 when its diagonal is vertical, 36.5 x 44.6 at 10 degrees."""
    chosen = Augmentation(source, (30, 40), scale_range=(1.0, 1.0), rotation=rotation)
    assert needs_padding(chosen, source) is leaves


def test_description():
    assert describe(Augmentation(SIZE, CROP)) == "scale 0.75 .. 2, flip 0.5, color jitter by 0.3"
    hard = describe(Augmentation(SIZE, CROP, class_crop=0.5, **SETS["hard"]))
    assert hard.startswith("scale 1, zoom 0.3, flip 0.375 or rotation up to 10 degrees 0.375, brightness contrast 0.15")
    assert hard.endswith("sharpen 0.15, class crop 0.5")
