"""Bodies made of bars and flat faces, in the frame of the object.

Points are (right, up, forward) in meters from the object's place. A profile is the outline of a side view: corners (forward, up),
from the front over the top to the rear.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from minicity.drawing.canvas import Canvas
from minicity.drawing.colors import Color
from minicity.drawing.geometry import Place, Vector

ProfilePoint: TypeAlias = tuple[float, float]  # (forward, up)
Outline: TypeAlias = Sequence[tuple[float, float]]  # of a billboard: (right, up)


@dataclass(frozen=True)
class Body:
    """An object at a place on a canvas."""

    canvas: Canvas
    place: Place
    object_id: int

    def bar(self, start: Vector, end: Vector, radius: float, color: Color) -> None:
        """A round bar between two points."""
        place = self.place
        self.canvas.bar(place.at(*start), place.at(*end), radius, color, self.object_id, place.lit)

    def billboard(self, center: Vector, outline: Outline, color: Color) -> None:
        """A flat polygon around a point that faces the camera."""
        self.canvas.billboard(self.place.at(*center), outline, color, self.object_id, self.place.lit)

    def shadow(self, corners: Sequence[tuple[float, float]], strength: float) -> None:
        """Darken a polygon on the ground, corners (right, forward)."""
        self.canvas.shadow([self.place.at(right, 0, forward) for right, forward in corners], strength)

    def panel(self, right: float, corners: Sequence[ProfilePoint], color: Color) -> None:
        """A flat patch on the side of a body: corners (forward, up) at `right` meters from its middle."""
        side = math.copysign(1.0, right)
        if side * self.place.camera_position()[0] > abs(right) * 0.7:
            points = [self.place.at(right, up, forward) for forward, up in corners]
            self._face(points, color, self.place.normal(side, 0, 0))

    def end_panel(self, forward: float, box: tuple[float, float, float, float], color: Color) -> None:
        """A flat patch on the front (`forward` > 0) or the rear: box (left, low, right, high) at `forward`."""
        end = math.copysign(1.0, forward)
        if end * (self.place.camera_position()[1] - forward) > 0:
            left, low, right, high = box
            corners = ((left, low), (right, low), (right, high), (left, high))
            points = [self.place.at(x, y, forward) for x, y in corners]
            self._face(points, color, self.place.normal(0, 0, end))

    def prism(
        self,
        profile: Sequence[ProfilePoint],
        width: float,
        paints: Sequence[Color],
        narrow: float = 0.14,
        beltline: float = 0.99,
    ) -> int:
        """Extrude a profile to a width; returns the visible side, 1 (right) or -1.

        Args:
            paints: colors of the strips between corners i and i + 1, and of the sides.
            narrow: share of the width by which the body is narrower above the beltline.
            beltline: height in meters.
        """
        place = self.place
        right, forward = place.camera_position()
        halves = [width / 2 * (1 - narrow * (up > beltline)) for _, up in profile]
        visible = []
        for index in range(len(profile) - 1):
            f0, u0 = profile[index]
            f1, u1 = profile[index + 1]
            normal = (u1 - u0, f0 - f1)  # (forward, up), pointing out of the body
            if normal[0] * (forward - f0) + normal[1] * (self.canvas.camera.height - u0) > 0:
                visible.append((math.hypot(forward - f0, right), index, normal))
        for _, index, normal in sorted(visible, reverse=True):  # from far to near
            f0, u0 = profile[index]
            f1, u1 = profile[index + 1]
            half0 = halves[index]
            half1 = halves[index + 1]
            corners = ((-half0, u0, f0), (half0, u0, f0), (half1, u1, f1), (-half1, u1, f1))
            length = math.hypot(*normal) or 1.0
            direction = place.normal(0, normal[1] / length, normal[0] / length)
            self._face([place.at(*corner) for corner in corners], paints[index], direction)
        side = 1 if right > 0 else -1
        if abs(right) > width * 0.35:
            outline = [place.at(side * half, up, f) for half, (f, up) in zip(halves, profile, strict=True)]
            self._face(outline, paints[-1], place.normal(side, 0, 0))
        return side

    def _face(self, points: Sequence[Vector], color: Color, normal: Vector) -> None:
        self.canvas.polygon(points, color, self.object_id, normal, self.place.lit)


def side_box(front: float, back: float, low: float, high: float) -> tuple[ProfilePoint, ...]:
    """Corners (forward, up) of a rectangle in a side view."""
    return ((front, low), (front, high), (back, high), (back, low))


def disc(radius: float, num_corners: int = 10) -> list[tuple[float, float]]:
    """Corners in meters of a regular polygon around (0, 0)."""
    angles = [2 * math.pi * index / num_corners for index in range(num_corners)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]
