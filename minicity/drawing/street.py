"""The layout of a street: its kind, its strips of ground, its side streets, and where the sun reaches it.

A place along the street is given by `side`, metres to the right of the middle of the road, and z, metres ahead of the
camera; traffic keeps to the right. `way` is -1 for the left side and 1 for the right one.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minicity.drawing.canvas import Place
from minicity.drawing.colors import pick, vary

LANE = 3.3  # width, metres
_PARKING = 2.2
_TRAMWAY = 3.4


class Kind(NamedTuple):
    """A kind of street.

    Args:
        share: how often it occurs.
        borders: probabilities of a house, a wall, a fence, a hedge, nothing.
        heights: lowest and highest house, metres.
        houses: probabilities of a house at the end of the street, and of one behind a low border.
        verge, trees: probabilities of a green strip, and of a row of trees along the kerb.
        people: mean number of groups on a sidewalk.
        dapple: how much of the ground leaves shade in the sun; the higher, the more.
        paved: probability that what lies beyond the border is paved.
    """

    share: float
    borders: tuple
    heights: tuple
    houses: tuple
    verge: float
    trees: float
    people: float
    dapple: float
    paved: float


KINDS = {
    "city": Kind(0.5, (0.76, 0.05, 0.09, 0.08, 0.02), (9, 22), (0.7, 0.7), 0.12, 0.4, 3.2, -1.0, 0.8),
    "suburb": Kind(0.31, (0.33, 0.11, 0.25, 0.23, 0.08), (6, 12), (0.4, 0.5), 0.6, 0.65, 1.2, 0.2, 0.0),
    "park": Kind(0.19, (0.1, 0.1, 0.26, 0.38, 0.16), (6, 14), (0.15, 0.12), 0.85, 0.85, 1.0, 0.6, 0.0),
}


class Strip(NamedTuple):
    """A strip of ground along the street: its class, the `side` of its right edge, its color."""

    name: str
    edge: float
    color: tuple


@dataclass(frozen=True)
class Street:
    """One street; lengths in metres.

    Args:
        kind: Kind.
        offset, curve: the middle of the road is at x = offset + curve z^2 / 2.
        lanes: number in each direction.
        edge, kerb, walk, border: by way, distances from the middle of the road to the edge of the road, to the sidewalk's two
            edges, and to what borders the street.
        parking: by way, width of the parking lane, part of the road.
        strips, road: ground from left to right (`Strip`s), and which of them is the road.
        roughness: float32, grain of each strip.
        crossings: (start, end) in z of the side streets.
        tramway: `side` of the middle of the rails, or None.
        paving: size of the sidewalk's slabs.
        paint: brightness of the markings above the road's.
        dapple: see `Kind`; without sun very low.
        shade_edge, shade_from_left: the ground left (right) of that `side` is in the houses' shadow.
    """

    kind: Kind
    offset: float
    curve: float
    lanes: int
    edge: dict
    kerb: dict
    walk: dict
    border: dict
    parking: dict
    strips: tuple
    road: int
    roughness: np.ndarray
    crossings: tuple
    tramway: float | None
    paving: float
    paint: float
    dapple: float
    shade_edge: float
    shade_from_left: bool

    def center(self, z):
        """x of the middle of the road."""
        return self.offset + self.curve * z * z / 2

    def place(self, side, z, heading=0.0):
        """A Place at `side` and z, its heading relative to the street's."""
        lit = (side > self.shade_edge) if self.shade_from_left else (side < self.shade_edge)
        return Place(self.center(z) + side, z, heading + math.atan(self.curve * z), lit)

    def point(self, side, z):
        """(x, z) of a place."""
        return self.center(z) + side, z

    @property
    def rails(self):
        """`side` of each rail."""
        return () if self.tramway is None else (self.tramway - 0.72, self.tramway + 0.72)

    @property
    def lane_lines(self):
        """`side` of the dashed lines."""
        return [way * lane * LANE for way in (-1, 1) for lane in range(1, self.lanes)] + [0.0] * (self.lanes == 1)

    @property
    def solid_lines(self):
        """`side` of the solid lines: the middle of a wide road, and the edges of parking lanes."""
        edges = [way * self.lanes * LANE for way in (-1, 1) if self.parking[way]]
        return edges + [0.0] * (self.lanes > 1)

    @property
    def zebras(self):
        """Where zebra crossings start: before the side streets."""
        return [start - 4.5 for start, _ in self.crossings if start > 9]

    def at_crossing(self, z, margin=0.0):
        """bool, or bool array like z: whether a side street leaves there."""
        found = np.zeros(np.shape(z), bool)
        for start, end in self.crossings:
            found |= (z > start - margin) & (z < end + margin)
        return found


def draw_street(rng, light):
    """Draw the layout of a street.

    Returns:
        Street
    """
    kind = KINDS[rng.choice(tuple(KINDS), p=[kind.share for kind in KINDS.values()])]
    lanes = 1 if rng.random() < 0.68 else 2
    parking = {way: _PARKING if rng.random() < 0.42 else 0.0 for way in (-1, 1)}
    tram = {-1: _TRAMWAY if rng.random() < 0.15 else 0.0, 1: 0.0}
    edge = {way: lanes * LANE + parking[way] for way in (-1, 1)}
    kerb = {way: edge[way] + tram[way] for way in (-1, 1)}
    walk = {way: kerb[way] + rng.uniform(1.6, 4.6) for way in (-1, 1)}
    border = {way: walk[way] + (rng.uniform(2, 6.5) if rng.random() < kind.verge else 0.0) for way in (-1, 1)}
    sides = {way: _side(rng, kind, edge[way], kerb[way], walk[way], border[way], parking[way]) for way in (-1, 1)}
    strips = [Strip(name, -inner, color) for name, inner, _, color in reversed(sides[-1])]
    strips.append(Strip("road", sides[1][0][1], vary(rng, (112, 112, 114), 14)))
    strips += [Strip(name, outer, color) for name, _, outer, color in sides[1]]
    rough = {"terrain": 0.16, "sidewalk": 0.05, "road": rng.uniform(0.01, 0.05)}
    shade_edge, from_left = _shade(rng, light, kind, border)
    return Street(
        kind=kind,
        offset=-LANE * (lanes - 0.5) + rng.normal(0, 0.2),
        curve=rng.normal(0, 0.003),
        lanes=lanes,
        edge=edge,
        kerb=kerb,
        walk=walk,
        border=border,
        parking=parking,
        strips=tuple(strips),
        road=len(sides[-1]),
        roughness=np.array([rough.get(strip.name, 0.06) for strip in strips], np.float32),
        crossings=_crossings(rng),
        tramway=-edge[-1] - _TRAMWAY / 2 if tram[-1] else None,
        paving=rng.uniform(0.4, 1.0),
        paint=rng.uniform(40, 95),
        dapple=kind.dapple if light.is_sunny else -9.0,
        shade_edge=shade_edge,
        shade_from_left=from_left,
    )


def _side(rng, kind, edge, kerb, walk, border, parking):
    """Strips of one side, outwards: (class, inner, outer, color), at distances from the middle of the road."""
    grass = vary(rng, pick(rng, ((92, 112, 52), (112, 116, 66), (126, 112, 82))), 8)
    paving = vary(rng, pick(rng, ((146, 142, 136), (128, 128, 130), (160, 146, 130), (142, 124, 116))), 10)
    strips = []
    if parking and rng.random() < 0.12:  # marked as a place to park, and then no road to the annotators
        strips.append(("parking", edge - parking, edge, vary(rng, (124, 118, 114), 8)))
    if kerb > edge:
        strips.append(("rail track", edge, kerb, vary(rng, pick(rng, ((118, 112, 104), (104, 116, 70))), 8)))
    strips.append(("sidewalk", kerb, walk, paving))
    if border > walk:
        strips.append(("terrain", walk, border, grass))
    beyond = ("sidewalk", paving) if rng.random() < kind.paved else ("terrain", grass)
    strips.append((beyond[0], border, math.inf, beyond[1]))
    return strips


def _crossings(rng):
    """(start, end) of up to two side streets."""
    first = rng.uniform(11, 38)
    second = first + rng.uniform(28, 50)
    found = [(first, first + rng.uniform(7, 11))] if rng.random() < 0.65 else []
    if rng.random() < 0.4:
        found.append((second, second + rng.uniform(7, 10)))
    return tuple(found)


def _shade(rng, light, kind, border):
    """Edge of the houses' shadow, and whether it falls from the left."""
    from_left = light.direction[0] < 0
    reach = rng.uniform(6, 14) * abs(light.direction[0]) / max(light.direction[1], 0.2)
    if not light.is_sunny or kind.borders[0] < 0.2:
        return (-math.inf if from_left else math.inf), from_left
    return (reach - border[-1] if from_left else border[1] - reach), from_left
