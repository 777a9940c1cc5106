"""Bodies made of flat faces: a side view pulled out to a width, with patches on its sides and ends.

A profile is a side view: corners (forward, up) in metres, from the front over the top to the rear.
"""

import math


def prism(canvas, place, profile, width, paints, number, narrow=0.14, beltline=0.99):
    """A body with that side view; `paints[i]` colors the strip between corners i and i + 1, the last one the sides.

    Above the beltline the body is narrower by that part of its width.

    Returns:
        1 or -1, the side that the camera sees.
    """
    right, forward = place.seen_from()
    halves = [width / 2 * (1 - narrow * (up > beltline)) for _, up in profile]
    order = []
    for index in range(len(profile) - 1):
        (f0, u0), (f1, u1) = profile[index], profile[index + 1]
        normal = (u1 - u0, f0 - f1)  # (forward, up), pointing out of the body
        facing = normal[0] * (forward - f0) + normal[1] * (canvas.camera.height - u0)
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
        facing = place.normal(0, normal[1] / length, normal[0] / length)
        canvas.face(corners, paints[index], number, facing, place.lit)
    side = 1 if right > 0 else -1
    if abs(right) > width * 0.35:
        corners = [place.at(side * half, up, fore) for half, (fore, up) in zip(halves, profile, strict=True)]
        canvas.face(corners, paints[-1], number, place.normal(side, 0, 0), place.lit)
    return side


def panel(canvas, place, right, corners, color, number):
    """A flat patch on the side of a body: corners (forward, up) at `right` metres from its middle."""
    side = math.copysign(1.0, right)
    if side * place.seen_from()[0] > abs(right) * 0.7:
        points = [place.at(right, up, fore) for fore, up in corners]
        canvas.face(points, color, number, place.normal(side, 0, 0), place.lit)


def end_panel(canvas, place, forward, box, color, number):
    """A flat patch on the front (`forward` > 0) or the rear: box (left, low, right, high) at `forward`."""
    if math.copysign(1.0, forward) * (place.seen_from()[1] - forward) > 0:
        left, low, right, high = box
        points = [place.at(x, y, forward) for x, y in ((left, low), (right, low), (right, high), (left, high))]
        canvas.face(points, color, number, place.normal(0, 0, math.copysign(1.0, forward)), place.lit)


def side_box(fore, back, low, high):
    """Corners (forward, up) in metres of a rectangle in a side view."""
    return ((fore, low), (fore, high), (back, high), (back, low))


def disc(radius, corners=10):
    """Corners in metres of a regular polygon around 0, 0."""
    turns = [2 * math.pi * index / corners for index in range(corners)]
    return [(radius * math.cos(turn), radius * math.sin(turn)) for turn in turns]
