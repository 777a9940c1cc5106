"""Poles, traffic signs, traffic lights and clutter."""

from minicity.drawing.colors import PAINTS, pick, vary
from minicity.drawing.solids import disc, prism


def lamp_post(canvas, rng, place):
    """A tall pole with an arm over the road (`right` of its place is where the arm points)."""
    number, color = canvas.thing("pole"), vary(rng, (104, 108, 110), 22)
    height, radius = rng.uniform(5, 9), rng.uniform(0.06, 0.11)
    canvas.limb(place.at(0, 0, 0), place.at(0, height, 0), radius, color, number, place.lit)
    if rng.random() < 0.6:
        canvas.limb(place.at(0, height, 0), place.at(1.6, height + 0.3, 0), 0.05, color, number, place.lit)
        canvas.limb(
            place.at(1.2, height + 0.22, 0), place.at(1.9, height + 0.34, 0), 0.1, (150, 150, 148), number, place.lit
        )


def bollard(canvas, rng, place):
    """A short post at the kerb."""
    number, color = canvas.thing("pole"), vary(rng, pick(rng, ((96, 96, 98), (150, 60, 50), (60, 60, 62))))
    canvas.limb(place.at(0, 0, 0), place.at(0, rng.uniform(0.7, 1.1), 0), 0.07, color, number, place.lit)


WHITE, RED, BLUE, YELLOW = (232, 232, 228), (186, 26, 32), (28, 72, 156), (232, 190, 40)
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


def sign_post(canvas, rng, place):
    """A pole with one or two traffic signs; now and then one sees their gray backs."""
    number, height = canvas.thing("pole"), rng.uniform(2.4, 3.4)
    canvas.limb(place.at(0, 0, 0), place.at(0, height, 0), 0.045, vary(rng, (130, 132, 134), 10), number, place.lit)
    back = rng.random() < 0.2
    for level in range(2 if rng.random() < 0.35 else 1):
        _plate(canvas, rng, place.at(0, height - 0.35 - 0.82 * level, 0), back, place.lit)


def _plate(canvas, rng, center, back, lit):
    outline, rim, middle = pick(rng, PLATES)
    sign = canvas.thing("traffic sign")
    tint = rng.normal(0, 10)
    rim, middle = (tuple(channel + tint for channel in color) for color in (rim, middle))
    if back:
        rim = middle = (120, 122, 124)
    canvas.shape(center, outline, rim, sign, lit)
    canvas.shape(center, [(0.7 * x, 0.7 * y) for x, y in outline], middle, sign, lit)
    if not back and rng.random() < 0.5:
        canvas.shape(center, [(0.3 * x, 0.12 * y + 0.02) for x, y in outline], (24, 24, 26), sign, lit)


def traffic_light(canvas, rng, place):
    """A pole with a signal head, and a second one over the road on a long arm (`right` points there) now and then."""
    number, color = canvas.thing("pole"), vary(rng, (90, 94, 92), 16)
    arm = rng.random() < 0.35
    height = 5.4 if arm else rng.uniform(2.9, 3.5)
    state, back = int(rng.integers(3)), rng.random() < 0.3
    canvas.limb(place.at(0, 0, 0), place.at(0, height, 0), 0.07, color, number, place.lit)
    heads = [place.at(0, 2.6, -0.1)]
    if arm:
        canvas.limb(place.at(0, height, 0), place.at(3.6, height, 0), 0.06, color, number, place.lit)
        heads.append(place.at(3.4, height - 0.4, -0.1))
    for head in heads:
        _signal_head(canvas, head, state, back, place.lit)


def _signal_head(canvas, center, state, back, lit):
    light = canvas.thing("traffic light")
    canvas.shape(center, [(-0.19, 0.52), (0.19, 0.52), (0.19, -0.52), (-0.19, -0.52)], (26, 30, 28), light, lit)
    if back:
        return
    lamps = ((250, 50, 40), (250, 190, 50), (70, 240, 150))
    for index, color in enumerate(lamps):
        seen = color if index == state else tuple(0.22 * channel for channel in color)
        outline = [(x, y + 0.33 * (1 - index)) for x, y in disc(0.12, 8)]
        canvas.shape(center, outline, seen, light, lit)


def clutter(canvas, rng, place):
    """A litter bin, a switch box, a planter, somebody's luggage: of Cityscapes' void classes."""
    number, color = canvas.thing(pick(rng, ("static", "dynamic", "unlabeled"))), vary(rng, pick(rng, PAINTS))
    length, height, width = rng.uniform(0.4, 1.3), rng.uniform(0.7, 1.4), rng.uniform(0.4, 0.7)
    profile = ((length / 2, 0.0), (length / 2, height), (-length / 2, height), (-length / 2, 0.0))
    prism(canvas, place, profile, width, [color] * 4, number, narrow=0.0)
