"""People and what they ride; each is drawn at a `Place` whose heading is the way that they face."""

import math
from itertools import pairwise

from minicity.drawing.colors import CLOTHES, PAINTS, SKIN, TYRE, pick, vary
from minicity.drawing.solids import disc


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
        for part, color in ((0.31, TYRE), (0.17, (130, 130, 134))):
            canvas.face([place.at(0, 0.31 + part * s, forward + part * c) for c, s in ring], color, number, lit=lit)
        canvas.limb(place.at(0, 0.08, forward), place.at(0, 0.5, forward), 0.08, TYRE, number, lit)
    bars = (
        *(((0.68, 0.31), (0.42, 1.0), 0.07, (90, 90, 94)), ((0.3, 0.8), (-0.15, 0.78), 0.17, paint)),
        *(((-0.1, 0.82), (-0.75, 0.88), 0.12, (30, 30, 32)), ((0.2, 0.42), (-0.25, 0.42), 0.19, (70, 70, 74))),
        ((-0.55, 0.4), (-0.7, 0.75), 0.1, paint),
    )
    for (f0, u0), (f1, u1), radius, color in bars:
        canvas.limb(place.at(0, u0, f0), place.at(0, u1, f1), radius, color, number, lit)
    canvas.limb(place.at(-0.36, 1.08, 0.32), place.at(0.36, 1.08, 0.32), 0.035, TYRE, number, lit)
    canvas.shape(place.at(0, 0.9, 0.5), disc(0.1), (230, 230, 215), number, lit)


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
    _torso(canvas, place, k, coat, number, -stride)
    _head(canvas, place, 1.62 * k, 0.02, skin, hair, number)
    if rng.random() < 0.25:
        canvas.limb(
            place.at(0.3 * k, 0.75 * k, 0), place.at(0.3 * k, 0.55 * k, 0), 0.14 * k, pick(rng, CLOTHES), number, lit
        )


def _torso(canvas, place, k, coat, number, swing):
    """Chest and hanging arms of a person of `k` times 1.75 m; `swing` is how far the hands are from the hips."""
    low, high = 0.92 * k, 1.38 * k
    dark = tuple(0.86 * channel for channel in coat)
    for side in (-1, 1):
        shoulder = place.at(side * 0.2 * k, high, 0)
        elbow = place.at(side * 0.27 * k, high - 0.3 * k, side * swing * 0.4)
        canvas.limb(shoulder, elbow, 0.06 * k, dark, number, place.lit)
        canvas.limb(elbow, place.at(side * 0.26 * k, high - 0.55 * k, side * swing), 0.05 * k, dark, number, place.lit)
    for side in (-0.08, 0.08):
        canvas.limb(place.at(side * k, low, 0), place.at(side * 1.25 * k, high, 0), 0.125 * k, coat, number, place.lit)


def _head(canvas, place, height, forward, skin, hair, number):
    center = place.at(0, height, forward)
    canvas.limb(place.at(0, height - 0.2, forward), center, 0.06, skin, number, place.lit)
    canvas.shape(center, [(0.8 * x, y) for x, y in disc(0.135)], skin, number, place.lit)
    behind = place.seen_from()[1] < 0
    canvas.shape(
        place.at(0, height + (0.02 if behind else 0.07), forward),
        [(0.85 * x, 0.8 * y) for x, y in disc(0.13)],
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
