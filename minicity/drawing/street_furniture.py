"""Poles, traffic signs, traffic lights and clutter."""

import numpy as np

from minicity.drawing.canvas import Canvas
from minicity.drawing.colors import PAINTS, pick, scale, vary
from minicity.drawing.geometry import Place
from minicity.drawing.solids import Body, disc

WHITE = (232, 232, 228)
RED = (186, 26, 32)
BLUE = (28, 72, 156)
YELLOW = (232, 190, 40)
_TRIANGLE = [(0.0, 0.42), (-0.48, -0.4), (0.48, -0.4)]
_SQUARE = [(-0.4, 0.4), (0.4, 0.4), (0.4, -0.4), (-0.4, -0.4)]
_DIAMOND = [(0.0, 0.46), (0.46, 0.0), (0.0, -0.46), (-0.46, 0.0)]
_BOARD = [(-0.7, 0.28), (0.7, 0.28), (0.7, -0.28), (-0.7, -0.28)]
# Outlines with the colors of rim and middle.
PLATES = (
    *((disc(0.38), RED, WHITE), (disc(0.38), BLUE, BLUE), (disc(0.38), RED, BLUE), (disc(0.38), RED, RED)),
    *((_TRIANGLE, RED, WHITE), (_SQUARE, BLUE, WHITE), (_DIAMOND, WHITE, YELLOW), (_BOARD, YELLOW, YELLOW)),
    *((_BOARD, BLUE, BLUE), (_BOARD, WHITE, WHITE), (_SQUARE, WHITE, (60, 60, 60))),
)
_PLATE_BACK = (120, 122, 124)
_HOUSING = [(-0.19, 0.52), (0.19, 0.52), (0.19, -0.52), (-0.19, -0.52)]  # of a signal head
_LAMPS = ((250, 50, 40), (250, 190, 50), (70, 240, 150))


def lamp_post(canvas: Canvas, rng: np.random.Generator, place: Place) -> None:
    """A tall pole with an arm over the road, to the right of its place."""
    pole = Body(canvas, place, canvas.add_object("pole"))
    color = vary(rng, (104, 108, 110), 22)
    height = rng.uniform(5, 9)
    pole.bar((0, 0, 0), (0, height, 0), rng.uniform(0.06, 0.11), color)
    if rng.random() < 0.6:
        pole.bar((0, height, 0), (1.6, height + 0.3, 0), 0.05, color)
        pole.bar((1.2, height + 0.22, 0), (1.9, height + 0.34, 0), 0.1, (150, 150, 148))


def bollard(canvas: Canvas, rng: np.random.Generator, place: Place) -> None:
    """A short post at the curb."""
    pole = Body(canvas, place, canvas.add_object("pole"))
    color = vary(rng, pick(rng, ((96, 96, 98), (150, 60, 50), (60, 60, 62))))
    pole.bar((0, 0, 0), (0, rng.uniform(0.7, 1.1), 0), 0.07, color)


def sign_post(canvas: Canvas, rng: np.random.Generator, place: Place) -> None:
    """A pole with one or two traffic signs, sometimes seen from behind."""
    pole = Body(canvas, place, canvas.add_object("pole"))
    height = rng.uniform(2.4, 3.4)
    pole.bar((0, 0, 0), (0, height, 0), 0.045, vary(rng, (130, 132, 134), 10))
    is_from_behind = rng.random() < 0.2
    for level in range(2 if rng.random() < 0.35 else 1):
        _plate(canvas, rng, place, height - 0.35 - 0.82 * level, is_from_behind)


def _plate(canvas: Canvas, rng: np.random.Generator, place: Place, height: float, is_from_behind: bool) -> None:
    outline, rim, middle = pick(rng, PLATES)
    sign = Body(canvas, place, canvas.add_object("traffic sign"))
    tint = rng.normal(0, 10)
    rim = (rim[0] + tint, rim[1] + tint, rim[2] + tint)
    middle = (middle[0] + tint, middle[1] + tint, middle[2] + tint)
    if is_from_behind:
        rim = _PLATE_BACK
        middle = _PLATE_BACK
    center = (0, height, 0)
    sign.billboard(center, outline, rim)
    sign.billboard(center, [(0.7 * x, 0.7 * y) for x, y in outline], middle)
    if not is_from_behind and rng.random() < 0.5:
        sign.billboard(center, [(0.3 * x, 0.12 * y + 0.02) for x, y in outline], (24, 24, 26))


def traffic_light(canvas: Canvas, rng: np.random.Generator, place: Place) -> None:
    """A pole with a signal head, sometimes with a second one on a long arm over the road, to the right of its place."""
    pole = Body(canvas, place, canvas.add_object("pole"))
    color = vary(rng, (90, 94, 92), 16)
    has_arm = rng.random() < 0.35
    height = 5.4 if has_arm else rng.uniform(2.9, 3.5)
    state = int(rng.integers(3))
    is_from_behind = rng.random() < 0.3
    pole.bar((0, 0, 0), (0, height, 0), 0.07, color)
    heads = [(0.0, 2.6)]
    if has_arm:
        pole.bar((0, height, 0), (3.6, height, 0), 0.06, color)
        heads.append((3.4, height - 0.4))
    for right, up in heads:
        head = Body(canvas, place, canvas.add_object("traffic light"))
        center = (right, up, -0.1)
        head.billboard(center, _HOUSING, (26, 30, 28))
        for index, lamp in enumerate(() if is_from_behind else _LAMPS):
            outline = [(x, y + 0.33 * (1 - index)) for x, y in disc(0.12, 8)]
            head.billboard(center, outline, lamp if index == state else scale(lamp, 0.22))


def clutter(canvas: Canvas, rng: np.random.Generator, place: Place) -> None:
    """A box such as a litter bin, a planter or luggage, of one of the void classes of Cityscapes."""
    body = Body(canvas, place, canvas.add_object(pick(rng, ("static", "dynamic", "unlabeled"))))
    color = vary(rng, pick(rng, PAINTS))
    half_length = rng.uniform(0.4, 1.3) / 2
    height = rng.uniform(0.7, 1.4)
    width = rng.uniform(0.4, 0.7)
    profile = ((half_length, 0.0), (half_length, height), (-half_length, height), (-half_length, 0.0))
    body.prism(profile, width, [color] * 4, narrow=0.0)
