"""Cars, buses, trams and lorries; each is drawn at a `Place` whose heading is the way that it faces."""

import math

import numpy as np

from minicity.drawing.colors import BUS_PAINTS, GLASS, PAINTS, TYRE, pick, vary
from minicity.drawing.solids import end_panel, panel, prism, side_box

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


def _wheel(canvas, place, right, forward, radius, number):
    circle = [(math.cos(a * math.pi / 6), math.sin(a * math.pi / 6)) for a in range(12)]
    for part, color in ((1.0, TYRE), (0.58, (120, 120, 124))):
        outline = [(forward + part * radius * c, radius + part * radius * s) for c, s in circle]
        panel(canvas, place, right, outline, color, number)


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
            end_panel(canvas, place, forward, (left, 0, left + 0.22, low), TYRE, number)


def _lamps(canvas, place, length, width, height, number):
    for left in (-width * 0.46, width * 0.26):
        box = (left, height - 0.1, left + width * 0.2, height + 0.1)
        end_panel(canvas, place, length / 2 + 0.02, box, (226, 226, 214), number)
        end_panel(canvas, place, -length / 2 - 0.02, box, (170, 24, 24), number)
    for forward in (length / 2 + 0.02, -length / 2 - 0.02):
        end_panel(canvas, place, forward, (-0.26, height - 0.34, 0.26, height - 0.22), (220, 220, 214), number)


def car(canvas, rng, place):
    """A car of one of five bodies."""
    profile, width, panes = CARS[pick(rng, tuple(CARS))]
    number = canvas.thing("car", instance=True)
    paint = vary(rng, pick(rng, PAINTS), 8)
    length = profile[0][0] - profile[-1][0]
    _underside(canvas, place, length, width, number)
    paints = [GLASS if edge in panes else paint for edge in range(len(profile) - 1)]
    side = prism(canvas, place, profile, width, [*paints, paint], number)
    belt, roof = profile[2][1] + 0.06, profile[3][1] - 0.09
    fore, back = profile[2][0] - 0.35, profile[-2][0] + 0.3
    right = side * width * 0.433
    middle = (fore + back) / 2 - 0.1
    for window in (
        ((fore, belt), (profile[3][0] - 0.02, roof), (middle + 0.06, roof), (middle + 0.06, belt)),
        ((middle - 0.06, belt), (middle - 0.06, roof), (profile[-3][0] + 0.2, roof), (back, belt)),
    ):
        panel(canvas, place, right, window, GLASS, number)
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
    side = prism(canvas, place, profile, width, paints, number, narrow=0.0)
    right = side * (width / 2 + 0.01)
    panel(canvas, place, right, side_box(reach, -reach, 0.28, 0.95), stripe, number)
    first, last = reach - front - 0.3, rear - reach + 0.3
    bays = max(3, round((first - last) / 1.5))
    step = (first - last) / bays
    for bay in range(bays):
        door = bay % 4 == 0
        box = side_box(
            first - bay * step - 0.06, first - (bay + 1) * step + 0.06, 0.45 if door else 1.25, height - 0.65
        )
        panel(canvas, place, right, box, GLASS, number)
    if name == "bus":
        for forward in (reach - 2.4, 2.8 - reach):
            _wheel(canvas, place, right, forward, 0.48, number)
        end_panel(canvas, place, reach + 0.02, (-0.8, height - 0.33, 0.8, height - 0.08), (230, 150, 40), number)
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
        side = prism(
            canvas, place, cab, width - 0.1, [cab_paint, GLASS, *[cab_paint] * 4], number, narrow=0.04, beltline=1.4
        )
        window = ((reach - 0.35, 1.5), (reach - 0.5, 2.3), (reach - 1.3, 2.3), (reach - 1.3, 1.5))
        panel(canvas, place, side * (width / 2 - 0.08), window, GLASS, number)

    def draw_bed():
        side = prism(canvas, place, bed, width, [cargo_paint] * 4, number, narrow=0.0)
        frame = side_box(reach - 2.0, 0.1 - reach, 0.6, 0.95)
        panel(canvas, place, side * width * 0.4, frame, (44, 44, 46), number)
        if kind == 1:  # ribs of a tarpaulin
            for rib in np.arange(0.8 - reach, reach - 2.4, 0.9):
                dark = tuple(0.8 * channel for channel in cargo_paint)
                panel(canvas, place, side * (width / 2 + 0.01), side_box(rib + 0.06, rib, 0.95, top), dark, number)
        if kind != 2:
            end_panel(canvas, place, -reach - 0.01, (-0.03, 1.0, 0.03, top), (70, 70, 70), number)

    parts = (draw_bed, draw_cab) if place.seen_from()[1] > 0 else (draw_cab, draw_bed)
    for draw in parts:
        draw()
    side = math.copysign(1.0, place.seen_from()[0])
    for forward in (reach - 1.0, 1.3 - reach, 2.4 - reach):
        _wheel(canvas, place, side * (width / 2 + 0.01), forward, 0.5, number)
    _lamps(canvas, place, total, width, 1.32, number)
