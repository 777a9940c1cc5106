"""The layout of a street: its kind, its strips of ground, its side streets, and its shade.

A place along the street is given by `lateral`, meters to the right of the middle of the road, and z, meters ahead of the camera.
Traffic keeps to the right. `side` is -1 for the left side and 1 for the right side.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minicity.drawing.colors import Color, pick, vary
from minicity.drawing.geometry import Place, PlanPoint
from minicity.drawing.light import Light

SIDES = (-1, 1)
LANE = 3.3  # width, meters
_PARKING = 2.2
_TRAMWAY = 3.4
_GRASS = ((92, 112, 52), (112, 116, 66), (126, 112, 82))
_PAVING = ((146, 142, 136), (128, 128, 130), (160, 146, 130), (142, 124, 116))
_TRACK = ((118, 112, 104), (104, 116, 70))
_ROUGHNESS = {"terrain": 0.16, "sidewalk": 0.05}


@dataclass(frozen=True)
class StreetKind:
    """A kind of street; shares are probabilities, lengths are in meters."""

    share: float  # of all streets
    borders: tuple[float, float, float, float, float]  # shares of house, wall, fence, hedge and nothing
    house_heights: tuple[float, float]  # lowest and highest
    far_houses: float  # share of houses at the end of the street
    backdrop_houses: float  # share of houses behind a low border
    verge: float  # share of streets with a green strip
    trees: float  # share of streets with a row of trees along the curb
    people: float  # mean number of groups on a sidewalk
    dapple: float  # amount of shade by leaves; more is higher
    paved: float  # share of streets that are paved beyond the border


KINDS = {
    "city": StreetKind(0.5, (0.76, 0.05, 0.09, 0.08, 0.02), (9, 22), 0.7, 0.7, 0.12, 0.4, 3.2, -1.0, 0.8),
    "suburb": StreetKind(0.31, (0.33, 0.11, 0.25, 0.23, 0.08), (6, 12), 0.4, 0.5, 0.6, 0.65, 1.2, 0.2, 0.0),
    "park": StreetKind(0.19, (0.1, 0.1, 0.26, 0.38, 0.16), (6, 14), 0.15, 0.12, 0.85, 0.85, 1.0, 0.6, 0.0),
}


class Side(NamedTuple):
    """One side of a street, in meters from the middle of the road, outwards."""

    road_edge: float
    curb: float  # inner edge of the sidewalk
    walk: float  # outer edge of the sidewalk
    border: float  # the houses, walls, fences and hedges
    parking: float  # width of the parking lane, which is part of the road


class Strip(NamedTuple):
    """A strip of ground along the street."""

    name: str  # of its class
    edge: float  # lateral of its right edge
    color: Color


@dataclass(frozen=True)
class Street:
    """One street; lengths in meters. The middle of the road is at x = offset + curve z^2 / 2."""

    kind: StreetKind
    offset: float
    curve: float
    lanes: int  # in each direction
    sides: dict[int, Side]
    strips: tuple[Strip, ...]  # from left to right
    road: int  # index of the road among the strips
    roughness: np.ndarray  # float32, grain of each strip
    crossings: tuple[tuple[float, float], ...]  # (start, end) in z of the side streets
    tramway: float | None  # lateral of the middle of the rails
    paving: float  # size of the sidewalk's slabs
    paint: float  # brightness of the markings above that of the road
    dapple: float  # as in `StreetKind`; very low without sun
    shade_edge: float  # the ground on one side of this lateral is in the shadow of the houses
    shade_from_left: bool  # which side

    def center(self, z: float) -> float:
        """x of the middle of the road."""
        return self.offset + self.curve * z * z / 2

    def lateral(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Lateral of plan points."""
        return x - (self.offset + self.curve * z * z / 2)

    def place(self, lateral: float, z: float, heading: float = 0.0) -> Place:
        """A Place with its heading relative to that of the street."""
        lit = (lateral > self.shade_edge) if self.shade_from_left else (lateral < self.shade_edge)
        return Place(self.center(z) + lateral, z, heading + math.atan(self.curve * z), lit)

    def point(self, lateral: float, z: float) -> PlanPoint:
        """The plan point of a place."""
        return self.center(z) + lateral, z

    @property
    def rails(self) -> tuple[float, ...]:
        """Lateral of each rail."""
        return () if self.tramway is None else (self.tramway - 0.72, self.tramway + 0.72)

    @property
    def dashed_lines(self) -> list[float]:
        """Lateral of the lines between lanes of the same direction, and in the middle of a narrow road."""
        lines = [side * lane * LANE for side in SIDES for lane in range(1, self.lanes)]
        return [*lines, 0.0] if self.lanes == 1 else lines

    @property
    def solid_lines(self) -> list[float]:
        """Lateral of the lines in the middle of a wide road and at the edges of parking lanes."""
        edges = [side * self.lanes * LANE for side in SIDES if self.sides[side].parking]
        return [*edges, 0.0] if self.lanes > 1 else edges

    @property
    def zebra_crossings(self) -> list[float]:
        """z at which each starts: before the side streets."""
        return [start - 4.5 for start, _ in self.crossings if start > 9]

    def at_crossing(self, z: float, margin: float = 0.0) -> bool:
        """Whether a side street begins at z."""
        return any(start - margin < z < end + margin for start, end in self.crossings)

    def crossing_mask(self, z: np.ndarray) -> np.ndarray:
        """`at_crossing` of each element, bool."""
        found = np.zeros(z.shape, bool)
        for start, end in self.crossings:
            found |= (z > start) & (z < end)
        return found


def draw_street(rng: np.random.Generator, light: Light) -> Street:
    """Draw the random layout of a street."""
    kind = KINDS[rng.choice(tuple(KINDS), p=[kind.share for kind in KINDS.values()])]
    lanes = 1 if rng.random() < 0.68 else 2
    parking = {side: _PARKING if rng.random() < 0.42 else 0.0 for side in SIDES}
    has_tramway = rng.random() < 0.15
    edge = {side: lanes * LANE + parking[side] for side in SIDES}
    curb = {-1: edge[-1] + (_TRAMWAY if has_tramway else 0.0), 1: edge[1]}
    walk = {side: curb[side] + rng.uniform(1.6, 4.6) for side in SIDES}
    border = {side: walk[side] + (rng.uniform(2, 6.5) if rng.random() < kind.verge else 0.0) for side in SIDES}
    sides = {side: Side(edge[side], curb[side], walk[side], border[side], parking[side]) for side in SIDES}
    left = _side_strips(rng, kind, sides[-1])
    right = _side_strips(rng, kind, sides[1])
    strips = [Strip(name, -inner, color) for name, inner, _, color in reversed(left)]
    strips.append(Strip("road", right[0][1], vary(rng, (112, 112, 114), 14)))
    strips += [Strip(name, outer, color) for name, _, outer, color in right]
    roughness = _ROUGHNESS | {"road": rng.uniform(0.01, 0.05)}
    shade_edge, shade_from_left = _draw_shade(rng, light, kind, sides)
    return Street(
        kind=kind,
        offset=-LANE * (lanes - 0.5) + rng.normal(0, 0.2),
        curve=rng.normal(0, 0.003),
        lanes=lanes,
        sides=sides,
        strips=tuple(strips),
        road=len(left),
        roughness=np.array([roughness.get(strip.name, 0.06) for strip in strips], np.float32),
        crossings=_draw_crossings(rng),
        tramway=-edge[-1] - _TRAMWAY / 2 if has_tramway else None,
        paving=rng.uniform(0.4, 1.0),
        paint=rng.uniform(40, 95),
        dapple=kind.dapple if light.is_sunny else -9.0,
        shade_edge=shade_edge,
        shade_from_left=shade_from_left,
    )


def _side_strips(rng: np.random.Generator, kind: StreetKind, side: Side) -> list[tuple[str, float, float, Color]]:
    """Strips of one side, outwards: class, inner and outer distance from the middle of the road, color."""
    grass = vary(rng, pick(rng, _GRASS), 8)
    paving = vary(rng, pick(rng, _PAVING), 10)
    strips = []
    if side.parking and rng.random() < 0.12:  # marked for parking, which annotators do not label as road
        strips.append(("parking", side.road_edge - side.parking, side.road_edge, vary(rng, (124, 118, 114), 8)))
    if side.curb > side.road_edge:
        strips.append(("rail track", side.road_edge, side.curb, vary(rng, pick(rng, _TRACK), 8)))
    strips.append(("sidewalk", side.curb, side.walk, paving))
    if side.border > side.walk:
        strips.append(("terrain", side.walk, side.border, grass))
    if rng.random() < kind.paved:
        strips.append(("sidewalk", side.border, math.inf, paving))
    else:
        strips.append(("terrain", side.border, math.inf, grass))
    return strips


def _draw_crossings(rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """(start, end) of up to two side streets."""
    first = rng.uniform(11, 38)
    second = first + rng.uniform(28, 50)
    crossings = []
    if rng.random() < 0.65:
        crossings.append((first, first + rng.uniform(7, 11)))
    if rng.random() < 0.4:
        crossings.append((second, second + rng.uniform(7, 10)))
    return tuple(crossings)


def _draw_shade(rng: np.random.Generator, light: Light, kind: StreetKind, sides: dict[int, Side]) -> tuple[float, bool]:
    """Edge of the shadow of the houses, and whether it falls from the left."""
    from_left = light.direction[0] < 0
    length = rng.uniform(6, 14) * abs(light.direction[0]) / max(light.direction[1], 0.2)
    if not light.is_sunny or kind.borders[0] < 0.2:
        return (-math.inf if from_left else math.inf), from_left
    return (length - sides[-1].border if from_left else sides[1].border - length), from_left
