"""Cars, buses, trams and trucks; the heading of their place is the direction in which they face."""

import math
from dataclasses import dataclass

import numpy as np

from minicity.drawing.canvas import Canvas
from minicity.drawing.colors import BUS_PAINTS, GLASS, PAINTS, TIRE, Color, pick, scale, vary
from minicity.drawing.geometry import Place
from minicity.drawing.solids import Body, side_box

_HEADLIGHT = (226, 226, 214)
_TAILLIGHT = (170, 24, 24)
_LICENSE_PLATE = (220, 220, 214)
_TRUCK_WIDTH = 2.4
_CARGO = ("box", "tarpaulin", "open")
_CIRCLE = [(math.cos(step * math.pi / 6), math.sin(step * math.pi / 6)) for step in range(12)]

# Car bodies: profile, width, and the edges of the profile that are glass.
CARS = {
    "hatchback": (
        ((2.0, 0.3), (2.02, 0.68), (1.15, 0.95), (0.35, 1.44), (-1.45, 1.46), (-1.92, 0.98), (-2.0, 0.3)),
        1.74,
        (2, 4),
    ),
    "sedan": (
        ((2.3, 0.3), (2.3, 0.66), (1.2, 0.92), (0.4, 1.4), (-0.9, 1.42), (-1.6, 1.02), (-2.25, 0.98), (-2.3, 0.3)),
        1.8,
        (2, 4),
    ),
    "station wagon": (
        ((2.3, 0.3), (2.3, 0.68), (1.25, 0.94), (0.45, 1.44), (-1.95, 1.46), (-2.28, 0.98), (-2.3, 0.3)),
        1.8,
        (2, 4),
    ),
    "SUV": (
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


def car(canvas: Canvas, rng: np.random.Generator, place: Place) -> None:
    """A car with one of five bodies."""
    profile, width, panes = CARS[pick(rng, tuple(CARS))]
    body = Body(canvas, place, canvas.add_object("car", instance=True))
    paint = vary(rng, pick(rng, PAINTS), 8)
    length = profile[0][0] - profile[-1][0]
    _underside(body, length, width)
    paints = [GLASS if edge in panes else paint for edge in range(len(profile) - 1)]
    side = body.prism(profile, width, [*paints, paint])
    belt = profile[2][1] + 0.06
    roof = profile[3][1] - 0.09
    front = profile[2][0] - 0.35
    back = profile[-2][0] + 0.3
    middle = (front + back) / 2 - 0.1
    for window in (
        ((front, belt), (profile[3][0] - 0.02, roof), (middle + 0.06, roof), (middle + 0.06, belt)),
        ((middle - 0.06, belt), (middle - 0.06, roof), (profile[-3][0] + 0.2, roof), (back, belt)),
    ):
        body.panel(side * width * 0.433, window, GLASS)
    for forward in (profile[0][0] - 0.78, profile[-1][0] + 0.8):
        _wheel(body, side * (width / 2 + 0.01), forward, 0.34)
    _lights(body, length, width, 0.72 if width < 1.85 else 0.92)


def _wheel(body: Body, right: float, forward: float, radius: float) -> None:
    for part, color in ((1.0, TIRE), (0.58, (120, 120, 124))):
        outline = [(forward + part * radius * cos, radius + part * radius * sin) for cos, sin in _CIRCLE]
        body.panel(right, outline, color)


def _underside(body: Body, length: float, width: float, clearance: float = 0.42) -> None:
    """The shadow below a vehicle, and its tires seen from the front or the rear, up to `clearance` meters."""
    half_width = width / 2
    half_length = length / 2
    right = half_width + 0.12
    front = half_length + 0.15
    body.shadow([(-right, front), (right, front), (right, -front), (-right, -front)], 0.62)
    for forward in (half_length - 0.4, 0.4 - half_length):
        for left in (-half_width + 0.02, half_width - 0.24):
            body.end_panel(forward, (left, 0, left + 0.22, clearance), TIRE)


def _lights(body: Body, length: float, width: float, height: float) -> None:
    """Headlights, taillights and license plates."""
    front = length / 2 + 0.02
    rear = -length / 2 - 0.02
    for left in (-width * 0.46, width * 0.26):
        box = (left, height - 0.1, left + width * 0.2, height + 0.1)
        body.end_panel(front, box, _HEADLIGHT)
        body.end_panel(rear, box, _TAILLIGHT)
    for forward in (front, rear):
        body.end_panel(forward, (-0.26, height - 0.34, 0.26, height - 0.22), _LICENSE_PLATE)


@dataclass(frozen=True)
class Coach:
    """A bus or one car of a tram: a long box with a band of windows and doors; lengths in meters."""

    length: float
    height: float
    width: float
    slant: float  # how far an end with a cab leans back
    paint: Color
    stripe: Color

    def draw(self, body: Body, ends: tuple[bool, bool] = (True, True)) -> int:
        """Draw it; `ends` says whether the front and the rear have a cab. Returns the visible side, 1 (right) or -1."""
        half = self.length / 2
        height = self.height
        front = half - (self.slant if ends[0] else 0.0)  # of the roof
        rear = (self.slant if ends[1] else 0.0) - half
        _underside(body, self.length, self.width, clearance=0.55)
        profile = (
            *((half, 0.28), (half, 1.15), (front, height - 0.35), (front, height)),
            *((rear, height), (rear, height - 0.35), (-half, 1.15), (-half, 0.28)),
        )
        paint = self.paint
        stripe = self.stripe
        paints = [stripe, GLASS, paint, paint, paint, GLASS, stripe, paint]
        side = body.prism(profile, self.width, paints, narrow=0.0)
        right = side * (self.width / 2 + 0.01)
        body.panel(right, side_box(half, -half, 0.28, 0.95), stripe)
        first = front - 0.3
        last = rear + 0.3
        num_bays = max(3, round((first - last) / 1.5))
        step = (first - last) / num_bays
        for bay in range(num_bays):
            is_door = bay % 4 == 0
            start = first - bay * step - 0.06
            end = first - (bay + 1) * step + 0.06
            body.panel(right, side_box(start, end, 0.45 if is_door else 1.25, height - 0.65), GLASS)
        return side


def bus(canvas: Canvas, rng: np.random.Generator, place: Place) -> None:
    """A city bus."""
    length = rng.uniform(10, 12.5)
    height = rng.uniform(2.9, 3.2)
    body = Body(canvas, place, canvas.add_object("bus", instance=True))
    paint = vary(rng, pick(rng, BUS_PAINTS))
    stripe = vary(rng, pick(rng, BUS_PAINTS))
    coach = Coach(length, height, 2.5, slant=0.12, paint=paint, stripe=stripe)
    side = coach.draw(body)
    half = length / 2
    for forward in (half - 2.4, 2.8 - half):
        _wheel(body, side * (coach.width / 2 + 0.01), forward, 0.48)
    display = (-0.8, height - 0.33, 0.8, height - 0.08)
    body.end_panel(half + 0.02, display, (230, 150, 40))
    _lights(body, length, coach.width, 0.75)


def train(canvas: Canvas, rng: np.random.Generator, place: Place) -> None:
    """A tram of two or three cars on its rails, with a pantograph."""
    length = rng.uniform(9, 11)
    height = rng.uniform(3.3, 3.6)
    object_id = canvas.add_object("train", instance=True)
    paint = vary(rng, pick(rng, BUS_PAINTS))
    stripe = vary(rng, pick(rng, BUS_PAINTS))
    coach = Coach(length, height, 2.45, slant=0.9, paint=paint, stripe=stripe)
    count = int(rng.integers(2, 4))
    offsets = [(index - (count - 1) / 2) * (length + 0.5) for index in range(count)]
    forward = place.camera_position()[1]
    for offset in sorted(offsets, key=lambda offset: -abs(offset - forward)):  # from far to near
        x, _, z = place.at(0, 0, offset)
        body = Body(canvas, place._replace(x=x, z=z), object_id)
        coach.draw(body, ends=(offset == offsets[-1], offset == offsets[0]))
        _lights(body, length, coach.width, 0.75)
    for direction in (1, -1):
        top = place.at(0, height + 0.9, direction * 0.8)
        canvas.bar(place.at(0, height, 0), top, 0.04, (50, 50, 54), object_id)


def truck(canvas: Canvas, rng: np.random.Generator, place: Place) -> None:
    """A truck: a cab and, behind a gap, a box, a tarpaulin or an open bed."""
    body = Body(canvas, place, canvas.add_object("truck", instance=True))
    length = rng.uniform(4.5, 8.0) + 2.3
    cargo_height = rng.uniform(2.9, 3.7)
    kind = _CARGO[rng.integers(3)]
    cargo_paint = vary(rng, pick(rng, BUS_PAINTS))
    cab_paint = vary(rng, pick(rng, PAINTS))
    _underside(body, length, _TRUCK_WIDTH, clearance=0.75)
    half = length / 2
    cargo_top = 1.7 if kind == "open" else cargo_height
    if place.camera_position()[1] > 0:  # seen from the front
        _draw_cargo(body, half, cargo_top, cargo_paint, kind)
        _draw_cab(body, half, cab_paint)
    else:
        _draw_cab(body, half, cab_paint)
        _draw_cargo(body, half, cargo_top, cargo_paint, kind)
    side = math.copysign(1.0, place.camera_position()[0])
    for forward in (half - 1.0, 1.3 - half, 2.4 - half):
        _wheel(body, side * (_TRUCK_WIDTH / 2 + 0.01), forward, 0.5)
    _lights(body, length, _TRUCK_WIDTH, 1.32)


def _draw_cab(body: Body, half: float, paint: Color) -> None:
    """The cab of a truck that is 2 * `half` meters long."""
    profile = (
        *((half, 0.45), (half, 1.35), (half - 0.25, 2.5)),
        *((half - 0.5, 2.7), (half - 2.0, 2.7), (half - 2.0, 0.5)),
    )
    side = body.prism(profile, _TRUCK_WIDTH - 0.1, [paint, GLASS, *[paint] * 4], narrow=0.04, beltline=1.4)
    window = ((half - 0.35, 1.5), (half - 0.5, 2.3), (half - 1.3, 2.3), (half - 1.3, 1.5))
    body.panel(side * (_TRUCK_WIDTH / 2 - 0.08), window, GLASS)


def _draw_cargo(body: Body, half: float, top: float, paint: Color, kind: str) -> None:
    """The cargo area behind the cab, up to `top` meters."""
    profile = ((half - 2.25, 0.95), (half - 2.25, top), (-half, top), (-half, 0.95))
    side = body.prism(profile, _TRUCK_WIDTH, [paint] * 4, narrow=0.0)
    body.panel(side * _TRUCK_WIDTH * 0.4, side_box(half - 2.0, 0.1 - half, 0.6, 0.95), (44, 44, 46))
    if kind == "tarpaulin":
        for rib in np.arange(0.8 - half, half - 2.4, 0.9):
            body.panel(side * (_TRUCK_WIDTH / 2 + 0.01), side_box(rib + 0.06, rib, 0.95, top), scale(paint, 0.8))
    if kind != "open":  # the gap between the doors
        body.end_panel(-half - 0.01, (-0.03, 1.0, 0.03, top), (70, 70, 70))
