"""The random placement of objects in a street."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from minicity.drawing import people, roadside, street_furniture, vehicles
from minicity.drawing.buildings import far_house, house
from minicity.drawing.canvas import Canvas
from minicity.drawing.colors import pick
from minicity.drawing.street import LANE, SIDES, Street

_FAR = 115.0  # meters; farther objects are not drawn one by one
# Layers, each in front of the one before.
_SKYLINE = 0
_BACKDROP = 1
_BORDER = 2
_STREET = 3
_BORDERS = ("house", "wall", "fence", "hedge", "nothing")  # in the order of `StreetKind.borders`


def draw_objects(canvas: Canvas, rng: np.random.Generator, street: Street) -> None:
    """Draw all objects of the street, layer by layer and from far to near."""
    placement = _Placement(canvas, rng, street)
    placement.skyline()
    placement.traffic()
    for side in SIDES:
        placement.border(side)
        placement.rows(side)
        placement.street_furniture(side)
        placement.parked_cycles(side)
        placement.people(side)
    for job in sorted(placement.jobs, key=lambda job: (job.layer, -job.z)):
        job.draw()


class _Job(NamedTuple):
    """An object to draw at a distance of z meters."""

    layer: int
    z: float
    draw: Callable[[], None]


class _Placement:
    """Collects the objects of one street in any order."""

    def __init__(self, canvas: Canvas, rng: np.random.Generator, street: Street) -> None:
        self.jobs: list[_Job] = []
        self._canvas = canvas
        self._rng = rng
        self._street = street

    def _add(self, layer: int, z: float, draw: Callable[..., None], *details: object) -> None:
        self.jobs.append(_Job(layer, z, partial(draw, self._canvas, self._rng, *details)))

    def _put(self, draw: Callable[..., None], lateral: float, z: float, heading: float = 0.0, *details: object) -> None:
        """Add an object of the street layer."""
        self._add(_STREET, z, draw, self._street.place(lateral, z, heading), *details)

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability

    def skyline(self) -> None:
        """Far houses and woods at the end of the street."""
        rng = self._rng
        kind = self._street.kind
        x = -130.0
        while x < 130:
            width = rng.uniform(12, 30)
            z = rng.uniform(122, 150)
            line = ((x, z), (x + width, z))
            if self._chance(kind.far_houses):
                self._add(_SKYLINE, z, far_house, line, rng.uniform(*kind.house_heights))
            else:
                self._add(_SKYLINE, z, roadside.hedge, line, rng.uniform(8, 18))
            x += width * rng.uniform(0.7, 1.05)

    def border(self, side: int) -> None:
        """Houses, walls, fences and hedges along one side, with gaps for the side streets."""
        rng = self._rng
        z = 1.0
        neighbor_height = 0.0  # of the previous house
        while z < _FAR:
            kind = _BORDERS[rng.choice(5, p=self._street.kind.borders)]
            length = rng.uniform(8, 22) if kind == "house" else rng.uniform(7, 20)
            gap = self._gap(z, z + length)
            if gap and gap[0] - z < 4:
                z = gap[1]
                neighbor_height = 0.0
                continue
            if gap:
                length = gap[0] - z
            neighbor_height = self._border_part(kind, side, z, length, neighbor_height)
            z += length

    def _gap(self, start: float, end: float) -> tuple[float, float] | None:
        """The first side street between two distances."""
        return next(
            (crossing for crossing in self._street.crossings if start < crossing[1] and crossing[0] < end), None
        )

    def _border_part(self, kind: str, side: int, z: float, length: float, neighbor_height: float) -> float:
        """Add one part of the border; returns its height if it is a house, else 0."""
        rng = self._rng
        street = self._street
        distance = street.sides[side].border + (rng.uniform(0, 0.6) if kind == "house" else 0.1)
        line = (street.point(side * distance, z), street.point(side * distance, z + length))
        middle = z + length / 2
        if kind == "house":
            height = rng.uniform(*street.kind.house_heights)
            self._add(_BORDER, middle, house, line, side, height, neighbor_height)
            return height
        if kind == "wall":
            self._add(_BORDER, middle, roadside.wall, line, side)
        elif kind == "fence":
            self._add(_BORDER, middle, roadside.fence, line, "guard rail" if self._chance(0.05) else "fence")
        elif kind == "hedge":
            self._add(_BORDER, middle, roadside.hedge, line, rng.uniform(1, 7))
        self._backdrop(side, z, length)
        return 0.0

    def _backdrop(self, side: int, z: float, length: float) -> None:
        """Woods, a distant house and trees behind a low border."""
        rng = self._rng
        street = self._street
        border = street.sides[side].border
        lateral = side * (border + rng.uniform(5, 10))
        woods = (street.point(lateral + side * 12, z - 4), street.point(lateral + side * 12, z + length + 6))
        self._add(_BACKDROP, z + length + 30, roadside.hedge, woods, rng.uniform(7, 16))
        if self._chance(street.kind.backdrop_houses):
            line = (street.point(lateral, z), street.point(lateral, z + length))
            self._add(_BACKDROP, z + length / 2, house, line, side, rng.uniform(*street.kind.house_heights), 0.0)
        for _ in range(int(rng.integers(0, 4))):
            place = street.place(side * (border + rng.uniform(2.2, 4.5)), z + rng.uniform(0, length))
            self._add(_BACKDROP, place.z, roadside.tree, place, rng.uniform(5, 12))

    def rows(self, side: int) -> None:
        """Lamp posts, trees and bollards along one curb."""
        rng = self._rng
        street = self._street
        curb = street.sides[side].curb + 0.5
        over_road = 0.0 if side < 0 else math.pi
        if self._chance(0.85):
            self._row(street_furniture.lamp_post, side * curb, 6, rng.uniform(18, 32), over_road)
        if self._chance(street.kind.trees):
            lateral = side * max(curb + 0.3, street.sides[side].walk - 0.4)
            self._row(roadside.tree, lateral, 9, rng.uniform(8, 16), 0.0, rng.uniform(6, 12))
        if self._chance(0.12):
            self._row(street_furniture.bollard, side * (curb - 0.1), 7, rng.uniform(1.8, 3))

    def _row(
        self,
        draw: Callable[..., None],
        lateral: float,
        start: float,
        step: float,
        heading: float = 0.0,
        *details: object,
    ) -> None:
        z = start + self._rng.uniform(0, step)
        while z < _FAR:
            if not self._street.at_crossing(z, margin=1.0):
                self._put(draw, lateral, z, heading, *details)
            z += step * self._rng.uniform(0.85, 1.15)

    def street_furniture(self, side: int) -> None:
        """Signs, traffic lights and clutter along one curb."""
        rng = self._rng
        curb = self._street.sides[side].curb + 0.5
        over_road = 0.0 if side < 0 else math.pi
        for _ in range(rng.poisson(1.1)):
            self._put(street_furniture.sign_post, side * curb, rng.uniform(7, 45), rng.normal(0, 0.3))
        for start, _ in self._street.crossings:
            if self._chance(0.8):
                self._put(street_furniture.traffic_light, side * curb, start - 1.2, over_road)
        for _ in range(rng.poisson(0.5)):
            self._put(street_furniture.clutter, side * (curb + rng.uniform(0.2, 1)), rng.uniform(7, 40))

    def parked_cycles(self, side: int) -> None:
        """A row of bicycles, and a motorcycle."""
        rng = self._rng
        lateral = side * (self._street.sides[side].curb + 1.0)
        if self._chance(0.3):
            z = rng.uniform(7, 32)
            count = int(rng.integers(1, 7))
            turn = rng.uniform(0, math.pi)
            # Annotators label a rack full of bicycles as one region.
            object_id = self._canvas.add_object("bicycle") if count > 3 else None
            for index in range(count):
                self._put(people.bicycle, lateral, z + 0.75 * index, turn + rng.normal(0, 0.1), object_id)
        if self._chance(0.08):
            self._put(people.motorcycle, lateral, rng.uniform(7, 22), rng.uniform(0, 2 * math.pi))

    def people(self, side: int) -> None:
        """People on the sidewalk, alone, in small groups or in a crowd, and people who cross the road."""
        rng = self._rng
        street = self._street
        inner = street.sides[side].curb + 0.9
        outer = max(inner + 0.4, street.sides[side].walk - 0.4)
        for _ in range(rng.poisson(street.kind.people)):
            z = rng.uniform(7, 48)
            lateral = rng.uniform(inner, outer)
            heading = rng.choice((0.0, math.pi)) + rng.normal(0, 0.3)
            for _ in range(int(rng.choice((1, 2, 3), p=(0.6, 0.3, 0.1)))):
                self._put(people.person, side * (lateral + rng.normal(0, 0.5)), z + rng.normal(0, 0.5), heading)
        if self._chance(0.02 * street.kind.people):
            object_id = self._canvas.add_object("person")
            z = rng.uniform(28, 60)
            for _ in range(int(rng.integers(8, 16))):
                lateral = side * rng.uniform(inner, outer + 0.5)
                self._put(people.person, lateral, z + rng.uniform(0, 5), rng.uniform(0, 6), object_id)
        for start in street.zebra_crossings:
            if self._chance(0.3):
                for _ in range(int(rng.integers(1, 4))):
                    lateral = rng.uniform(-street.sides[-1].road_edge, street.sides[1].road_edge)
                    self._put(people.person, lateral, start + rng.uniform(0.5, 2.5), side * math.pi / 2)

    def traffic(self) -> None:
        """Moving, parked and crossing vehicles, and cyclists."""
        rng = self._rng
        street = self._street
        for side, heading in ((1, 0.0), (-1, math.pi)):
            for lane in range(street.lanes):
                self._lane(side * (lane + 0.5) * LANE, heading, is_own=side == 1 and lane == street.lanes - 1)
            if street.sides[side].parking:
                self._parked_cars(side * (street.lanes * LANE + 1.15), heading)
            if self._chance(0.1):
                draw = people.motorcyclist if self._chance(0.2) else people.cyclist
                self._put(draw, side * (street.lanes * LANE - 0.7), rng.uniform(8, 26), heading)
        if street.tramway is not None and self._chance(0.65):
            self._put(vehicles.train, street.tramway, rng.uniform(26, 55), rng.choice((0.0, math.pi)))
        for start, end in street.crossings:
            for side in SIDES:
                if self._chance(0.18):
                    draw = pick(rng, (*[vehicles.car] * 6, vehicles.truck, people.cyclist))
                    self._put(draw, rng.uniform(-15, 15), (start + end) / 2 - side * 1.7, side * math.pi / 2)

    def _lane(self, lateral: float, heading: float, is_own: bool) -> None:
        """Moving vehicles of one lane, from near to far; in the lane of the camera the first one is farther away."""
        rng = self._rng
        z = rng.uniform(10, 45) if is_own else rng.uniform(8, 50)
        while z < 100:
            event = rng.random()
            if event < 0.05:
                z += 7.5
                self._put(vehicles.bus if self._chance(0.55) else vehicles.truck, lateral, z, heading)
                z += 7
            elif event < 0.08:
                draw = people.motorcyclist if self._chance(0.45) else people.cyclist
                self._put(draw, lateral + rng.normal(0, 0.5), z, heading)
            else:
                self._put(vehicles.car, lateral + rng.normal(0, 0.15), z, heading + rng.normal(0, 0.02))
            z += rng.uniform(8, 50)

    def _parked_cars(self, lateral: float, heading: float) -> None:
        """A row of parked cars with gaps, rarely with a truck in it."""
        rng = self._rng
        full = rng.uniform(0.1, 0.7)
        z = rng.uniform(6, 14)
        while z < _FAR:
            if self._chance(full) and not self._street.at_crossing(z, margin=1.0):
                if self._chance(0.015):
                    z += 4
                    self._put(vehicles.truck, lateral, z, heading)
                    z += 3
                else:
                    turned = math.pi if self._chance(0.1) else 0.0
                    self._put(vehicles.car, lateral + rng.normal(0, 0.08), z, heading + turned + rng.normal(0, 0.02))
            z += rng.uniform(5.1, 6.6)
