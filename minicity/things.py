"""What stands and moves in a street: vehicles, cycles, people, poles, signs and lights.

Every function draws one thing at a `Place`, whose heading is the way that the thing faces, and takes the numbers it
needs from the canvas. Profiles are side views: corners (forward, up) in metres, from the front bumper over the roof to
the rear bumper.
"""

import math
from itertools import pairwise

import numpy as np

from minicity.surroundings import pick, vary

PAINTS = (
    *((28, 28, 32), (28, 28, 32), (60, 62, 66), (120, 122, 126), (176, 178, 180), (176, 178, 180), (228, 228, 226)),
    *((228, 228, 226), (132, 26, 28), (30, 52, 110), (52, 84, 120), (40, 70, 56), (186, 150, 60), (150, 132, 108)),
)
CLOTHES = (
    *((30, 32, 40), (48, 52, 74), (92, 92, 96), (150, 40, 44), (60, 90, 140), (196, 190, 180), (70, 84, 60)),
    *((200, 150, 60), (110, 70, 110), (24, 24, 26), (226, 226, 222)),
)
GLASS, TYRE, SKIN = (44, 52, 60), (22, 22, 24), ((214, 170, 144), (180, 132, 104), (120, 84, 62))

# Car bodies: ((forward, up) ...), width, and which edges of the profile are glass.
CARS = {
    "hatchback": (
        ((2.0, 0.3), (2.02, 0.68), (1.15, 0.95), (0.35, 1.44), (-1.45, 1.46), (-1.92, 0.98), (-2.0, 0.3)),
        1.74,
        (2, 4),
    ),
    "saloon": (
        ((2.3, 0.3), (2.3, 0.66), (1.2, 0.92), (0.4, 1.4), (-0.9, 1.42), (-1.6, 1.02), (-2.25, 0.98), (-2.3, 0.3)),
        1.8,
        (2, 4),
    ),
    "estate": (
        ((2.3, 0.3), (2.3, 0.68), (1.25, 0.94), (0.45, 1.44), (-1.95, 1.46), (-2.28, 0.98), (-2.3, 0.3)),
        1.8,
        (2, 4),
    ),
    "off-roader": (
        ((2.2, 0.4), (2.2, 0.95), (1.1, 1.12), (0.5, 1.74), (-1.95, 1.76), (-2.2, 1.12), (-2.22, 0.4)),
        1.9,
        (2, 4),
    ),
    "van": (
        ((2.4, 0.35), (2.4, 0.95), (1.95, 1.2), (1.25, 1.95), (-2.35, 2.0), (-2.42, 1.25), (-2.42, 0.35)),
        1.92,
        (2, 4),
    ),
}


def _prism(canvas, place, profile, width, paints, number, narrow=0.14, beltline=0.99):
    """A body with that side view; `paints[i]` colours the strip between corners i and i + 1, the last one the sides.

    Above the beltline the body is narrower by that part of its width.

    Returns:
        1 or -1, the side that the camera sees.
    """
    right, forward = place.seen_from()
    halves = [width / 2 * (1 - narrow * (up > beltline)) for _, up in profile]
    order = []
    for index in range(len(profile) - 1):
        (f0, u0), (f1, u1) = profile[index], profile[index + 1]
        normal = (u0 - u1, f1 - f0)  # (forward, up), pointing out of the body
        facing = -normal[0] * (forward - f0) - normal[1] * (canvas.camera.height - u0)
        if facing > 0:
            order.append((math.hypot(forward - f0, right), index, normal))
    for _, index, normal in sorted(order, reverse=True):
        (f0, u0), (f1, u1) = profile[index], profile[index + 1]
        length = math.hypot(*normal) or 1.0
        corners = [
            place.at(side * half, up, fore)
            for side, half, fore, up in (
                *((-1, halves[index], f0, u0), (1, halves[index], f0, u0)),
                *((1, halves[index + 1], f1, u1), (-1, halves[index + 1], f1, u1)),
            )
        ]
        facing = place.normal(0, -normal[1] / length, -normal[0] / length)
        canvas.face(corners, paints[index], number, facing, place.lit)
    side = 1 if right > 0 else -1
    if abs(right) > width * 0.35:
        corners = [place.at(side * half, up, fore) for half, (fore, up) in zip(halves, profile, strict=True)]
        canvas.face(corners, paints[-1], number, place.normal(side, 0, 0), place.lit)
    return side


def _panel(canvas, place, right, corners, colour, number):
    """A flat patch on the side of a body: corners (forward, up) at `right` metres from its middle."""
    side = math.copysign(1.0, right)
    if side * place.seen_from()[0] > abs(right) * 0.7:
        points = [place.at(right, up, fore) for fore, up in corners]
        canvas.face(points, colour, number, place.normal(side, 0, 0), place.lit)


def _end(canvas, place, forward, box, colour, number):
    """A flat patch on the front (`forward` > 0) or the rear: box (left, low, right, high) at `forward`."""
    if math.copysign(1.0, forward) * (place.seen_from()[1] - forward) > 0:
        left, low, right, high = box
        points = [place.at(x, y, forward) for x, y in ((left, low), (right, low), (right, high), (left, high))]
        canvas.face(points, colour, number, place.normal(0, 0, math.copysign(1.0, forward)), place.lit)


def _box(fore, back, low, high):
    return ((fore, low), (fore, high), (back, high), (back, low))


def _wheel(canvas, place, right, forward, radius, number):
    circle = [(math.cos(a * math.pi / 6), math.sin(a * math.pi / 6)) for a in range(12)]
    for part, colour in ((1.0, TYRE), (0.58, (120, 120, 124))):
        outline = [(forward + part * radius * c, radius + part * radius * s) for c, s in circle]
        _panel(canvas, place, right, outline, colour, number)


def _underside(canvas, place, length, width, number, low=0.42):
    """The shadow below a body, and its tyres seen from the front or the rear."""
    half, reach = width / 2, length / 2
    corners = [
        (-half - 0.12, reach + 0.15),
        (half + 0.12, reach + 0.15),
        (half + 0.12, -reach - 0.15),
        (-half - 0.12, -reach - 0.15),
    ]
    canvas.shadow([place.at(right, 0, fore) for right, fore in corners], 0.62)
    for forward in (reach - 0.4, 0.4 - reach):
        for left in (-half + 0.02, half - 0.24):
            _end(canvas, place, forward, (left, 0, left + 0.22, low), TYRE, number)


def _lamps(canvas, place, length, width, height, number):
    for left in (-width * 0.46, width * 0.26):
        box = (left, height - 0.1, left + width * 0.2, height + 0.1)
        _end(canvas, place, length / 2 + 0.02, box, (226, 226, 214), number)
        _end(canvas, place, -length / 2 - 0.02, box, (170, 24, 24), number)
    for forward in (length / 2 + 0.02, -length / 2 - 0.02):
        _end(canvas, place, forward, (-0.26, height - 0.34, 0.26, height - 0.22), (220, 220, 214), number)


def car(canvas, rng, place):
    """A car of one of five bodies."""
    profile, width, panes = CARS[pick(rng, tuple(CARS))]
    number = canvas.thing("car", instance=True)
    paint = vary(rng, pick(rng, PAINTS), 8)
    length = profile[0][0] - profile[-1][0]
    _underside(canvas, place, length, width, number)
    paints = [GLASS if edge in panes else paint for edge in range(len(profile) - 1)]
    side = _prism(canvas, place, profile, width, [*paints, paint], number)
    belt, roof = profile[2][1] + 0.06, profile[3][1] - 0.09
    fore, back = profile[2][0] - 0.35, profile[-2][0] + 0.3
    right = side * width * 0.433
    middle = (fore + back) / 2 - 0.1
    for window in (
        ((fore, belt), (profile[3][0] - 0.02, roof), (middle + 0.06, roof), (middle + 0.06, belt)),
        ((middle - 0.06, belt), (middle - 0.06, roof), (profile[-3][0] + 0.2, roof), (back, belt)),
    ):
        _panel(canvas, place, right, window, GLASS, number)
    for forward in (profile[0][0] - 0.78, profile[-1][0] + 0.8):
        _wheel(canvas, place, side * (width / 2 + 0.01), forward, 0.34, number)
    _lamps(canvas, place, length, width, 0.72 if width < 1.85 else 0.92, number)


def bus(canvas, rng, place):
    """A city bus: one long box with a band of windows and doors."""
    length, height, width = rng.uniform(10, 12.5), rng.uniform(2.9, 3.2), 2.5
    _long_body(canvas, rng, place, length, height, width, "bus", slant=0.12)


def train(canvas, rng, place):
    """A tram of two or three cars on its rails, with slanted ends and a pantograph."""
    length, height, width = rng.uniform(9, 11), rng.uniform(3.3, 3.6), 2.45
    number = canvas.thing("train", instance=True)
    look = vary(rng, pick(rng, BUS_PAINTS)), vary(rng, pick(rng, BUS_PAINTS))
    count = int(rng.integers(2, 4))
    offsets = [(index - (count - 1) / 2) * (length + 0.5) for index in range(count)]
    forward = place.seen_from()[1]
    for offset in sorted(offsets, key=lambda offset: -abs(offset - forward)):
        x, _, z = place.at(0, 0, offset)
        part = place._replace(x=x, z=z)
        ends = (offset == offsets[-1], offset == offsets[0])
        _long_body(canvas, rng, part, length, height, width, "train", slant=0.9, number=number, look=look, ends=ends)
    for way in (1, -1):
        start, end = place.at(0, height, 0), place.at(0, height + 0.9, way * 0.8)
        canvas.limb(start, end, 0.04, (50, 50, 54), number)


BUS_PAINTS = (
    (196, 30, 36),
    (226, 196, 60),
    (232, 232, 228),
    (40, 90, 150),
    (60, 130, 80),
    (222, 214, 190),
    (120, 124, 128),
)


def _long_body(canvas, rng, place, length, height, width, name, slant, number=None, look=None, ends=(True, True)):
    """The box of a bus or of a tram's car; `ends` says whether its front and its rear are slanted ends with a cab."""
    if number is None:
        number = canvas.thing(name, instance=True)
    paint, stripe = look or (vary(rng, pick(rng, BUS_PAINTS)), vary(rng, pick(rng, BUS_PAINTS)))
    reach = length / 2
    _underside(canvas, place, length, width, number, low=0.55)
    front, rear = (slant if end else 0.0 for end in ends)
    profile = (
        *((reach, 0.28), (reach, 1.15), (reach - front, height - 0.35), (reach - front, height)),
        *((rear - reach, height), (rear - reach, height - 0.35), (-reach, 1.15), (-reach, 0.28)),
    )
    paints = [stripe, GLASS, paint, paint, paint, GLASS, stripe, paint]
    side = _prism(canvas, place, profile, width, paints, number, narrow=0.0)
    right = side * (width / 2 + 0.01)
    _panel(canvas, place, right, _box(reach, -reach, 0.28, 0.95), stripe, number)
    first, last = reach - front - 0.3, rear - reach + 0.3
    bays = max(3, round((first - last) / 1.5))
    step = (first - last) / bays
    for bay in range(bays):
        door = bay % 4 == 0
        box = _box(first - bay * step - 0.06, first - (bay + 1) * step + 0.06, 0.45 if door else 1.25, height - 0.65)
        _panel(canvas, place, right, box, GLASS, number)
    if name == "bus":
        for forward in (reach - 2.4, 2.8 - reach):
            _wheel(canvas, place, right, forward, 0.48, number)
        _end(canvas, place, reach + 0.02, (-0.8, height - 0.33, 0.8, height - 0.08), (230, 150, 40), number)
    _lamps(canvas, place, length, width, 0.75, number)


def truck(canvas, rng, place):
    """A lorry: a cab and, behind a gap, a box, a tarpaulin or an open bed."""
    number = canvas.thing("truck", instance=True)
    width, length, high = 2.4, rng.uniform(4.5, 8.0), rng.uniform(2.9, 3.7)
    kind = rng.integers(3)
    cargo_paint, cab_paint = vary(rng, pick(rng, BUS_PAINTS)), vary(rng, pick(rng, PAINTS))
    total = length + 2.3
    _underside(canvas, place, total, width, number, low=0.75)
    reach = total / 2
    cab = (
        (reach, 0.45),
        (reach, 1.35),
        (reach - 0.25, 2.5),
        (reach - 0.5, 2.7),
        (reach - 2.0, 2.7),
        (reach - 2.0, 0.5),
    )
    top = 1.7 if kind == 2 else high
    bed = ((reach - 2.25, 0.95), (reach - 2.25, top), (-reach, top), (-reach, 0.95))

    def draw_cab():
        side = _prism(
            canvas, place, cab, width - 0.1, [cab_paint, GLASS, *[cab_paint] * 4], number, narrow=0.04, beltline=1.4
        )
        window = ((reach - 0.35, 1.5), (reach - 0.5, 2.3), (reach - 1.3, 2.3), (reach - 1.3, 1.5))
        _panel(canvas, place, side * (width / 2 - 0.08), window, GLASS, number)

    def draw_bed():
        side = _prism(canvas, place, bed, width, [cargo_paint] * 4, number, narrow=0.0)
        frame = _box(reach - 2.0, 0.1 - reach, 0.6, 0.95)
        _panel(canvas, place, side * width * 0.4, frame, (44, 44, 46), number)
        if kind == 1:  # ribs of a tarpaulin
            for rib in np.arange(0.8 - reach, reach - 2.4, 0.9):
                dark = tuple(0.8 * channel for channel in cargo_paint)
                _panel(canvas, place, side * (width / 2 + 0.01), _box(rib + 0.06, rib, 0.95, top), dark, number)
        if kind != 2:
            _end(canvas, place, -reach - 0.01, (-0.03, 1.0, 0.03, top), (70, 70, 70), number)

    parts = (draw_bed, draw_cab) if place.seen_from()[1] > 0 else (draw_cab, draw_bed)
    for draw in parts:
        draw()
    side = math.copysign(1.0, place.seen_from()[0])
    for forward in (reach - 1.0, 1.3 - reach, 2.4 - reach):
        _wheel(canvas, place, side * (width / 2 + 0.01), forward, 0.5, number)
    _lamps(canvas, place, total, width, 0.85, number)


def _cycle_shadow(canvas, place):
    canvas.shadow([place.at(x, 0, z) for x, z in ((-0.2, 0.9), (0.2, 0.9), (0.2, -0.9), (-0.2, -0.9))], 0.4)


def bicycle(canvas, rng, place, number=None):
    """A bicycle; its wheels' discs belong to it although one sees through. `number` joins it to a group."""
    number = canvas.thing("bicycle", instance=True) if number is None else number
    frame, lit = vary(rng, pick(rng, PAINTS), 20), place.lit
    _cycle_shadow(canvas, place)
    ring = [(math.cos(a * math.pi / 6), math.sin(a * math.pi / 6)) for a in range(13)]
    for forward in (0.52, -0.52):
        rim = [place.at(0, 0.34 + 0.33 * s, forward + 0.33 * c) for c, s in ring]
        canvas.face(rim, None, number)
        for start, end in pairwise(rim):
            canvas.limb(start, end, 0.028, TYRE, number, lit)
    bars = (
        *(((0.52, 0.34), (0.4, 0.95)), ((0.42, 0.82), (-0.15, 0.85)), ((0.42, 0.78), (-0.02, 0.34))),
        *(((-0.02, 0.34), (-0.2, 0.95)), ((-0.52, 0.34), (-0.16, 0.8)), ((-0.52, 0.34), (-0.02, 0.34))),
    )
    for (f0, u0), (f1, u1) in bars:
        canvas.limb(place.at(0, u0, f0), place.at(0, u1, f1), 0.03, frame, number, lit)
    canvas.limb(place.at(-0.27, 1.0, 0.36), place.at(0.27, 1.0, 0.36), 0.028, TYRE, number, lit)
    canvas.limb(place.at(0, 0.97, -0.1), place.at(0, 0.97, -0.32), 0.06, TYRE, number, lit)


def motorcycle(canvas, rng, place):
    """A motorcycle or a scooter: thick wheels, a closed body, a wide handlebar."""
    number = canvas.thing("motorcycle", instance=True)
    paint, lit = vary(rng, pick(rng, PAINTS), 16), place.lit
    _cycle_shadow(canvas, place)
    ring = [(math.cos(a * math.pi / 6), math.sin(a * math.pi / 6)) for a in range(12)]
    for forward in (0.68, -0.62):
        for part, colour in ((0.31, TYRE), (0.17, (130, 130, 134))):
            canvas.face([place.at(0, 0.31 + part * s, forward + part * c) for c, s in ring], colour, number, lit=lit)
        canvas.limb(place.at(0, 0.08, forward), place.at(0, 0.5, forward), 0.08, TYRE, number, lit)
    bars = (
        *(((0.68, 0.31), (0.42, 1.0), 0.07, (90, 90, 94)), ((0.3, 0.8), (-0.15, 0.78), 0.17, paint)),
        *(((-0.1, 0.82), (-0.75, 0.88), 0.12, (30, 30, 32)), ((0.2, 0.42), (-0.25, 0.42), 0.19, (70, 70, 74))),
        ((-0.55, 0.4), (-0.7, 0.75), 0.1, paint),
    )
    for (f0, u0), (f1, u1), radius, colour in bars:
        canvas.limb(place.at(0, u0, f0), place.at(0, u1, f1), radius, colour, number, lit)
    canvas.limb(place.at(-0.36, 1.08, 0.32), place.at(0.36, 1.08, 0.32), 0.035, TYRE, number, lit)
    canvas.shape(place.at(0, 0.9, 0.5), _round(0.1), (230, 230, 215), number, lit)


def _round(radius, corners=10):
    turns = [2 * math.pi * index / corners for index in range(corners)]
    return [(radius * math.cos(turn), radius * math.sin(turn)) for turn in turns]


def person(canvas, rng, place, number=None):
    """Somebody who walks or stands, a child now and then. `number` joins them to a group."""
    number = canvas.thing("person", instance=True) if number is None else number
    size = rng.normal(1.72, 0.08) if rng.random() < 0.88 else rng.uniform(1.0, 1.4)
    k, lit = size / 1.75, place.lit
    coat, trousers = vary(rng, pick(rng, CLOTHES)), vary(rng, pick(rng, CLOTHES))
    skin, hair = pick(rng, SKIN), vary(rng, pick(rng, ((40, 30, 24), (110, 80, 50), (160, 150, 140))))
    stride = rng.uniform(-0.36, 0.36) * k
    canvas.shadow([place.at(x, 0, z) for x, z in ((-0.3, 0.25), (0.3, 0.25), (0.3, -0.25), (-0.3, -0.25))], 0.4)
    for side, step in ((-1, stride), (1, -stride)):
        hip, knee = place.at(side * 0.1 * k, 0.86 * k, 0), place.at(side * 0.11 * k, 0.46 * k, step * 0.55 + 0.04)
        canvas.limb(hip, knee, 0.095 * k, trousers, number, lit)
        canvas.limb(knee, place.at(side * 0.11 * k, 0.06, step), 0.07 * k, trousers, number, lit)
        canvas.limb(
            place.at(side * 0.11 * k, 0.05, step), place.at(side * 0.11 * k, 0.05, step + 0.16), 0.05, TYRE, number, lit
        )
    _torso(canvas, rng, place, k, (0.92, 1.38), (0, 0), coat, number, -stride)
    _head(canvas, place, 1.62 * k, 0.02, skin, hair, number)
    if rng.random() < 0.25:
        canvas.limb(
            place.at(0.3 * k, 0.75 * k, 0), place.at(0.3 * k, 0.55 * k, 0), 0.14 * k, pick(rng, CLOTHES), number, lit
        )


def _torso(canvas, rng, place, k, heights, forwards, coat, number, swing):
    """Chest, shoulders and hanging arms."""
    low, high = (height * k for height in heights)
    back, front = forwards
    dark = tuple(0.86 * channel for channel in coat)
    for side in (-1, 1):
        shoulder = place.at(side * 0.2 * k, high, front)
        elbow = place.at(side * 0.27 * k, high - 0.3 * k, front + side * swing * 0.4)
        canvas.limb(shoulder, elbow, 0.06 * k, dark, number, place.lit)
        canvas.limb(
            elbow, place.at(side * 0.26 * k, high - 0.55 * k, front + side * swing), 0.05 * k, dark, number, place.lit
        )
    for side in (-0.08, 0.08):
        canvas.limb(
            place.at(side * k, low, back), place.at(side * 1.25 * k, high, front), 0.125 * k, coat, number, place.lit
        )


def _head(canvas, place, height, forward, skin, hair, number):
    centre = place.at(0, height, forward)
    canvas.limb(place.at(0, height - 0.2, forward), centre, 0.06, skin, number, place.lit)
    canvas.shape(centre, [(0.8 * x, y) for x, y in _round(0.135)], skin, number, place.lit)
    behind = place.seen_from()[1] < 0
    canvas.shape(
        place.at(0, height + (0.02 if behind else 0.07), forward),
        [(0.85 * x, 0.8 * y) for x, y in _round(0.13)],
        hair,
        number,
        place.lit,
    )


def cyclist(canvas, rng, place):
    """A rider on a bicycle."""
    bicycle(canvas, rng, place)
    _rider(
        canvas,
        rng,
        place,
        saddle=(-0.2, 1.0),
        pedal=(0.0, 0.3),
        grip=(0.36, 1.02),
        lean=0.12,
        helmet=rng.random() < 0.6,
    )


def motorcyclist(canvas, rng, place):
    """A rider on a motorcycle."""
    motorcycle(canvas, rng, place)
    _rider(canvas, rng, place, saddle=(-0.3, 0.95), pedal=(0.0, 0.32), grip=(0.32, 1.08), lean=0.1, helmet=True)


def _rider(canvas, rng, place, saddle, pedal, grip, lean, helmet):
    number = canvas.thing("rider", instance=True)
    lit = place.lit
    coat, trousers = vary(rng, pick(rng, CLOTHES)), vary(rng, pick(rng, CLOTHES))
    turn = rng.uniform(0, math.pi)
    for side in (-1, 1):
        foot = (pedal[0] + side * 0.16 * math.cos(turn), pedal[1] + side * 0.16 * math.sin(turn))
        knee = ((saddle[0] + foot[0]) / 2 + 0.26, (saddle[1] + foot[1]) / 2 + 0.06)
        bent = place.at(side * 0.14, knee[1], knee[0])
        canvas.limb(place.at(side * 0.1, saddle[1], saddle[0]), bent, 0.095, trousers, number, lit)
        canvas.limb(bent, place.at(side * 0.11, foot[1], foot[0]), 0.07, trousers, number, lit)
    top = saddle[1] + 0.52
    for side in (-1, 1):
        canvas.limb(
            place.at(side * 0.2, top, saddle[0] + lean),
            place.at(side * 0.26, grip[1], grip[0]),
            0.06,
            coat,
            number,
            lit,
        )
        canvas.limb(
            place.at(side * 0.08, saddle[1], saddle[0]),
            place.at(side * 0.11, top, saddle[0] + lean),
            0.13,
            coat,
            number,
            lit,
        )
    hair = vary(rng, pick(rng, PAINTS)) if helmet else (50, 38, 30)
    _head(canvas, place, top + 0.26, saddle[0] + lean + 0.06, pick(rng, SKIN), hair, number)


def lamp_post(canvas, rng, place):
    """A tall pole with an arm over the road (`right` of its place is where the arm points)."""
    number, colour = canvas.thing("pole"), vary(rng, (104, 108, 110), 22)
    height, radius = rng.uniform(5, 9), rng.uniform(0.06, 0.11)
    canvas.limb(place.at(0, 0, 0), place.at(0, height, 0), radius, colour, number, place.lit)
    if rng.random() < 0.6:
        canvas.limb(place.at(0, height, 0), place.at(1.6, height + 0.3, 0), 0.05, colour, number, place.lit)
        canvas.limb(
            place.at(1.2, height + 0.22, 0), place.at(1.9, height + 0.34, 0), 0.1, (150, 150, 148), number, place.lit
        )


def bollard(canvas, rng, place):
    """A short post at the kerb."""
    number, colour = canvas.thing("pole"), vary(rng, pick(rng, ((96, 96, 98), (150, 60, 50), (60, 60, 62))))
    canvas.limb(place.at(0, 0, 0), place.at(0, rng.uniform(0.7, 1.1), 0), 0.07, colour, number, place.lit)


WHITE, RED, BLUE, YELLOW = (232, 232, 228), (186, 26, 32), (28, 72, 156), (232, 190, 40)
_TRIANGLE = [(0.0, 0.42), (-0.48, -0.4), (0.48, -0.4)]
_SQUARE = [(-0.4, 0.4), (0.4, 0.4), (0.4, -0.4), (-0.4, -0.4)]
_DIAMOND = [(0.0, 0.46), (0.46, 0.0), (0.0, -0.46), (-0.46, 0.0)]
_BOARD = [(-0.7, 0.28), (0.7, 0.28), (0.7, -0.28), (-0.7, -0.28)]
# Outlines with the colours of rim and middle.
PLATES = (
    *((_round(0.38), RED, WHITE), (_round(0.38), BLUE, BLUE), (_round(0.38), RED, BLUE), (_round(0.38), RED, RED)),
    *((_TRIANGLE, RED, WHITE), (_SQUARE, BLUE, WHITE), (_DIAMOND, WHITE, YELLOW), (_BOARD, YELLOW, YELLOW)),
    *((_BOARD, BLUE, BLUE), (_BOARD, WHITE, WHITE), (_SQUARE, WHITE, (60, 60, 60))),
)


def sign_post(canvas, rng, place):
    """A pole with one or two traffic signs; now and then one sees their grey backs."""
    number, height = canvas.thing("pole"), rng.uniform(2.4, 3.4)
    canvas.limb(place.at(0, 0, 0), place.at(0, height, 0), 0.045, vary(rng, (130, 132, 134), 10), number, place.lit)
    back = rng.random() < 0.2
    for level in range(2 if rng.random() < 0.35 else 1):
        _plate(canvas, rng, place.at(0, height - 0.35 - 0.82 * level, 0), back, place.lit)


def _plate(canvas, rng, centre, back, lit):
    outline, rim, middle = pick(rng, PLATES)
    sign = canvas.thing("traffic sign")
    tint = rng.normal(0, 10)
    rim, middle = (tuple(channel + tint for channel in colour) for colour in (rim, middle))
    if back:
        rim = middle = (120, 122, 124)
    canvas.shape(centre, outline, rim, sign, lit)
    canvas.shape(centre, [(0.7 * x, 0.7 * y) for x, y in outline], middle, sign, lit)
    if not back and rng.random() < 0.5:
        canvas.shape(centre, [(0.3 * x, 0.12 * y + 0.02) for x, y in outline], (24, 24, 26), sign, lit)


def traffic_light(canvas, rng, place):
    """A pole with a signal head, and a second one over the road on a long arm (`right` points there) now and then."""
    number, colour = canvas.thing("pole"), vary(rng, (90, 94, 92), 16)
    arm = rng.random() < 0.35
    height = 5.4 if arm else rng.uniform(2.9, 3.5)
    state, back = int(rng.integers(3)), rng.random() < 0.3
    canvas.limb(place.at(0, 0, 0), place.at(0, height, 0), 0.07, colour, number, place.lit)
    heads = [place.at(0, 2.6, -0.1)]
    if arm:
        canvas.limb(place.at(0, height, 0), place.at(3.6, height, 0), 0.06, colour, number, place.lit)
        heads.append(place.at(3.4, height - 0.4, -0.1))
    for head in heads:
        _signal_head(canvas, head, state, back, place.lit)


def _signal_head(canvas, centre, state, back, lit):
    light = canvas.thing("traffic light")
    canvas.shape(centre, [(-0.19, 0.52), (0.19, 0.52), (0.19, -0.52), (-0.19, -0.52)], (26, 30, 28), light, lit)
    if back:
        return
    lamps = ((250, 50, 40), (250, 190, 50), (70, 240, 150))
    for index, colour in enumerate(lamps):
        seen = colour if index == state else tuple(0.22 * channel for channel in colour)
        outline = [(x, y + 0.33 * (1 - index)) for x, y in _round(0.12, 8)]
        canvas.shape(centre, outline, seen, light, lit)


def clutter(canvas, rng, place):
    """A litter bin, a switch box, a planter, somebody's luggage: of Cityscapes' void classes."""
    number, colour = canvas.thing(pick(rng, ("static", "dynamic", "unlabeled"))), vary(rng, pick(rng, PAINTS))
    length, height, width = rng.uniform(0.4, 1.3), rng.uniform(0.7, 1.4), rng.uniform(0.4, 0.7)
    profile = ((length / 2, 0.0), (length / 2, height), (-length / 2, height), (-length / 2, 0.0))
    _prism(canvas, place, profile, width, [colour] * 4, number, narrow=0.0)
