"""People, bicycles and motorcycles; the heading of their place is the direction in which they face."""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from minicity.drawing.canvas import Canvas
from minicity.drawing.colors import CLOTHES, PAINTS, SKIN, TIRE, Color, pick, scale, vary
from minicity.drawing.geometry import Place
from minicity.drawing.solids import Body, ProfilePoint, disc

_CYCLE_SHADOW = ((-0.2, 0.9), (0.2, 0.9), (0.2, -0.9), (-0.2, -0.9))
_PERSON_SHADOW = ((-0.3, 0.25), (0.3, 0.25), (0.3, -0.25), (-0.3, -0.25))
_CIRCLE = [(math.cos(step * math.pi / 6), math.sin(step * math.pi / 6)) for step in range(13)]  # closed
_HAIR = ((40, 30, 24), (110, 80, 50), (160, 150, 140))
# Tubes of a bicycle frame: (forward, up) of both ends.
_BICYCLE_FRAME = (
    *(((0.52, 0.34), (0.4, 0.95)), ((0.42, 0.82), (-0.15, 0.85)), ((0.42, 0.78), (-0.02, 0.34))),
    *(((-0.02, 0.34), (-0.2, 0.95)), ((-0.52, 0.34), (-0.16, 0.8)), ((-0.52, 0.34), (-0.02, 0.34))),
)


class Pose(NamedTuple):
    """How a rider sits; points are (forward, up) in meters."""

    saddle: ProfilePoint
    pedal: ProfilePoint
    grip: ProfilePoint
    lean: float  # how far the shoulders are in front of the saddle


_ON_BICYCLE = Pose(saddle=(-0.2, 1.0), pedal=(0.0, 0.3), grip=(0.36, 1.02), lean=0.12)
_ON_MOTORCYCLE = Pose(saddle=(-0.3, 0.95), pedal=(0.0, 0.32), grip=(0.32, 1.08), lean=0.1)


def bicycle(canvas: Canvas, rng: np.random.Generator, place: Place, object_id: int | None = None) -> None:
    """A bicycle; it owns the discs of its wheels, although they are transparent. `object_id` joins it to a group."""
    if object_id is None:
        object_id = canvas.add_object("bicycle", instance=True)
    body = Body(canvas, place, object_id)
    frame = vary(rng, pick(rng, PAINTS), 20)
    body.shadow(_CYCLE_SHADOW, 0.4)
    for forward in (0.52, -0.52):
        rim = [(0, 0.34 + 0.33 * sin, forward + 0.33 * cos) for cos, sin in _CIRCLE]
        canvas.polygon([place.at(*point) for point in rim], None, object_id)
        for start, end in pairwise(rim):
            body.bar(start, end, 0.028, TIRE)
    for (f0, u0), (f1, u1) in _BICYCLE_FRAME:
        body.bar((0, u0, f0), (0, u1, f1), 0.03, frame)
    body.bar((-0.27, 1.0, 0.36), (0.27, 1.0, 0.36), 0.028, TIRE)
    body.bar((0, 0.97, -0.1), (0, 0.97, -0.32), 0.06, TIRE)


def motorcycle(canvas: Canvas, rng: np.random.Generator, place: Place) -> None:
    """A motorcycle or a scooter: thick wheels, a closed body, a wide handlebar."""
    body = Body(canvas, place, canvas.add_object("motorcycle", instance=True))
    paint = vary(rng, pick(rng, PAINTS), 16)
    body.shadow(_CYCLE_SHADOW, 0.4)
    for forward in (0.68, -0.62):
        for radius, color in ((0.31, TIRE), (0.17, (130, 130, 134))):
            circle = [place.at(0, 0.31 + radius * sin, forward + radius * cos) for cos, sin in _CIRCLE[:-1]]
            canvas.polygon(circle, color, body.object_id, lit=place.lit)
        body.bar((0, 0.08, forward), (0, 0.5, forward), 0.08, TIRE)
    parts = (
        *(((0.68, 0.31), (0.42, 1.0), 0.07, (90, 90, 94)), ((0.3, 0.8), (-0.15, 0.78), 0.17, paint)),
        *(((-0.1, 0.82), (-0.75, 0.88), 0.12, (30, 30, 32)), ((0.2, 0.42), (-0.25, 0.42), 0.19, (70, 70, 74))),
        ((-0.55, 0.4), (-0.7, 0.75), 0.1, paint),
    )
    for (f0, u0), (f1, u1), radius, color in parts:
        body.bar((0, u0, f0), (0, u1, f1), radius, color)
    body.bar((-0.36, 1.08, 0.32), (0.36, 1.08, 0.32), 0.035, TIRE)
    body.billboard((0, 0.9, 0.5), disc(0.1), (230, 230, 215))


def person(canvas: Canvas, rng: np.random.Generator, place: Place, object_id: int | None = None) -> None:
    """A walking or standing person, sometimes a child. `object_id` joins them to a group."""
    if object_id is None:
        object_id = canvas.add_object("person", instance=True)
    body = Body(canvas, place, object_id)
    size = rng.normal(1.72, 0.08) if rng.random() < 0.88 else rng.uniform(1.0, 1.4)
    k = size / 1.75
    coat = vary(rng, pick(rng, CLOTHES))
    pants = vary(rng, pick(rng, CLOTHES))
    skin = pick(rng, SKIN)
    hair = vary(rng, pick(rng, _HAIR))
    stride = rng.uniform(-0.36, 0.36) * k
    body.shadow(_PERSON_SHADOW, 0.4)
    for side, step in ((-1, stride), (1, -stride)):
        foot = side * 0.11 * k
        knee = (foot, 0.46 * k, step * 0.55 + 0.04)
        body.bar((side * 0.1 * k, 0.86 * k, 0), knee, 0.095 * k, pants)
        body.bar(knee, (foot, 0.06, step), 0.07 * k, pants)
        body.bar((foot, 0.05, step), (foot, 0.05, step + 0.16), 0.05, TIRE)
    _torso(body, k, coat, -stride)
    _head(body, 1.62 * k, 0.02, skin, hair)
    if rng.random() < 0.25:  # a bag
        body.bar((0.3 * k, 0.75 * k, 0), (0.3 * k, 0.55 * k, 0), 0.14 * k, pick(rng, CLOTHES))


def _torso(body: Body, k: float, coat: Color, swing: float) -> None:
    """Chest and arms of a person of `k` times 1.75 m; `swing` is the distance of the hands from the hips."""
    low = 0.92 * k
    high = 1.38 * k
    dark = scale(coat, 0.86)
    for side in (-1, 1):
        elbow = (side * 0.27 * k, high - 0.3 * k, side * swing * 0.4)
        body.bar((side * 0.2 * k, high, 0), elbow, 0.06 * k, dark)
        body.bar(elbow, (side * 0.26 * k, high - 0.55 * k, side * swing), 0.05 * k, dark)
    for right in (-0.08, 0.08):
        body.bar((right * k, low, 0), (right * 1.25 * k, high, 0), 0.125 * k, coat)


def _head(body: Body, height: float, forward: float, skin: Color, hair: Color) -> None:
    center = (0, height, forward)
    body.bar((0, height - 0.2, forward), center, 0.06, skin)
    body.billboard(center, [(0.8 * x, y) for x, y in disc(0.135)], skin)
    is_from_behind = body.place.camera_position()[1] < 0
    hair_height = height + (0.02 if is_from_behind else 0.07)
    body.billboard((0, hair_height, forward), [(0.85 * x, 0.8 * y) for x, y in disc(0.13)], hair)


def cyclist(canvas: Canvas, rng: np.random.Generator, place: Place) -> None:
    """A rider on a bicycle."""
    bicycle(canvas, rng, place)
    _rider(canvas, rng, place, _ON_BICYCLE, helmet=rng.random() < 0.6)


def motorcyclist(canvas: Canvas, rng: np.random.Generator, place: Place) -> None:
    """A rider on a motorcycle."""
    motorcycle(canvas, rng, place)
    _rider(canvas, rng, place, _ON_MOTORCYCLE, helmet=True)


def _rider(canvas: Canvas, rng: np.random.Generator, place: Place, pose: Pose, helmet: bool) -> None:
    body = Body(canvas, place, canvas.add_object("rider", instance=True))
    saddle_forward, saddle_up = pose.saddle
    grip_forward, grip_up = pose.grip
    shoulder_forward = saddle_forward + pose.lean
    coat = vary(rng, pick(rng, CLOTHES))
    pants = vary(rng, pick(rng, CLOTHES))
    turn = rng.uniform(0, math.pi)  # of the cranks
    for side in (-1, 1):
        foot_forward = pose.pedal[0] + side * 0.16 * math.cos(turn)
        foot_up = pose.pedal[1] + side * 0.16 * math.sin(turn)
        knee = (side * 0.14, (saddle_up + foot_up) / 2 + 0.06, (saddle_forward + foot_forward) / 2 + 0.26)
        body.bar((side * 0.1, saddle_up, saddle_forward), knee, 0.095, pants)
        body.bar(knee, (side * 0.11, foot_up, foot_forward), 0.07, pants)
    top = saddle_up + 0.52
    for side in (-1, 1):
        body.bar((side * 0.2, top, shoulder_forward), (side * 0.26, grip_up, grip_forward), 0.06, coat)
        body.bar((side * 0.08, saddle_up, saddle_forward), (side * 0.11, top, shoulder_forward), 0.13, coat)
    hair = vary(rng, pick(rng, PAINTS)) if helmet else (50, 38, 30)
    _head(body, top + 0.26, shoulder_forward + 0.06, pick(rng, SKIN), hair)
