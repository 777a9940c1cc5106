"""What stands where in a street."""

import math
from functools import partial

from minicity.drawing import furniture, people, surroundings, vehicles
from minicity.drawing.colors import pick
from minicity.drawing.street import LANE

_FAR = 115.0  # metres; the last thing that is drawn on its own
_SKYLINE, _BACKDROP, _BORDER, _STREET = range(4)  # layers, each in front of the one before


def draw_things(canvas, rng, street):
    """Draw everything that stands in the street, layer by layer and from far to near."""
    Arrangement(canvas, rng, street).draw()


class Arrangement:
    """The things of one street, gathered in any order.

    Args:
        canvas: Canvas to draw on.
        rng: numpy Generator of the image.
        street: Street.
    """

    def __init__(self, canvas, rng, street):
        self._canvas, self._rng, self._street = canvas, rng, street
        self._jobs = []
        self._skyline()
        self._traffic()
        for way in (-1, 1):
            self._border(way)
            self._rows(way)
            self._furniture(way)
            self._parked_cycles(way)
            self._people(way)

    def draw(self):
        """Draw what was gathered."""
        for _, _, job in sorted(self._jobs, key=lambda job: (job[0], -job[1])):
            job()

    def _add(self, layer, z, draw, *details):
        self._jobs.append((layer, z, partial(draw, self._canvas, self._rng, *details)))

    def _put(self, draw, side, z, heading=0.0, *details):
        """Add a thing of the street at a place."""
        self._add(_STREET, z, draw, self._street.place(side, z, heading), *details)

    def _chance(self, probability):
        return self._rng.random() < probability

    def _skyline(self):
        """What closes the view: far houses and woods."""
        rng, kind, x = self._rng, self._street.kind, -130.0
        while x < 130:
            width, z = rng.uniform(12, 30), rng.uniform(122, 150)
            if self._chance(kind.houses[0]):
                draw, height = surroundings.far_house, rng.uniform(*kind.heights)
            else:
                draw, height = surroundings.hedge, rng.uniform(8, 18)
            self._add(_SKYLINE, z, draw, (x, z), (x + width, z), height)
            x += width * rng.uniform(0.7, 1.05)

    def _border(self, way):
        """Houses, walls, fences and hedges along one side, with gaps for the side streets."""
        rng, street, z, hidden = self._rng, self._street, 1.0, 0.0
        while z < _FAR:
            kind = rng.choice(5, p=street.kind.borders)
            length = rng.uniform(8, 22) if kind == 0 else rng.uniform(7, 20)
            gap = next(((start, end) for start, end in street.crossings if z < end and start < z + length), None)
            if gap and gap[0] - z < 4:
                z, hidden = gap[1], 0.0
                continue
            length = gap[0] - z if gap else length
            side = way * (street.border[way] + (rng.uniform(0, 0.6) if kind == 0 else 0.1))
            line, middle = (street.point(side, z), street.point(side, z + length)), z + length / 2
            height = rng.uniform(*street.kind.heights) if kind == 0 else 0.0
            if kind == 0:
                self._add(_BORDER, middle, surroundings.house, *line, way, height, hidden)
            elif kind == 1:
                self._add(_BORDER, middle, surroundings.wall, *line, way)
            elif kind == 2:
                self._add(_BORDER, middle, surroundings.fence, *line, "guard rail" if self._chance(0.05) else "fence")
            elif kind == 3:
                self._add(_BORDER, middle, surroundings.hedge, *line, rng.uniform(1, 7))
            if kind != 0:
                self._backdrop(way, z, length)
            z, hidden = z + length, height

    def _backdrop(self, way, z, length):
        """Behind a low border: woods, a house further back, trees."""
        rng, street = self._rng, self._street
        side = way * (street.border[way] + rng.uniform(5, 10))
        woods = street.point(side + way * 12, z - 4), street.point(side + way * 12, z + length + 6)
        self._add(_BACKDROP, z + length + 30, surroundings.hedge, *woods, rng.uniform(7, 16))
        if self._chance(street.kind.houses[1]):
            line = street.point(side, z), street.point(side, z + length)
            height = rng.uniform(*street.kind.heights)
            self._add(_BACKDROP, z + length / 2, surroundings.house, *line, way, height, 0.0)
        for _ in range(int(rng.integers(0, 4))):
            place = street.place(way * (street.border[way] + rng.uniform(2.2, 4.5)), z + rng.uniform(0, length))
            self._add(_BACKDROP, place.z, surroundings.tree, place, rng.uniform(5, 12))

    def _rows(self, way):
        """Lamp posts, trees and bollards along one kerb."""
        rng, street, kerb = self._rng, self._street, self._street.kerb[way] + 0.5
        over_road = 0.0 if way < 0 else math.pi
        if self._chance(0.85):
            self._row(furniture.lamp_post, way * kerb, 6, rng.uniform(18, 32), over_road)
        if self._chance(street.kind.trees):
            side = way * max(kerb + 0.3, street.walk[way] - 0.4)
            self._row(surroundings.tree, side, 9, rng.uniform(8, 16), 0.0, rng.uniform(6, 12))
        if self._chance(0.12):
            self._row(furniture.bollard, way * (kerb - 0.1), 7, rng.uniform(1.8, 3))

    def _row(self, draw, side, start, step, heading=0.0, *details):
        z = start + self._rng.uniform(0, step)
        while z < _FAR:
            if not self._street.at_crossing(z, margin=1.0):
                self._put(draw, side, z, heading, *details)
            z += step * self._rng.uniform(0.85, 1.15)

    def _furniture(self, way):
        """Signs, traffic lights and clutter along one kerb."""
        rng, kerb = self._rng, self._street.kerb[way] + 0.5
        over_road = 0.0 if way < 0 else math.pi
        for _ in range(rng.poisson(1.1)):
            self._put(furniture.sign_post, way * kerb, rng.uniform(7, 45), rng.normal(0, 0.3))
        for start, _ in self._street.crossings:
            if self._chance(0.8):
                self._put(furniture.traffic_light, way * kerb, start - 1.2, over_road)
        for _ in range(rng.poisson(0.5)):
            self._put(furniture.clutter, way * (kerb + rng.uniform(0.2, 1)), rng.uniform(7, 40))

    def _parked_cycles(self, way):
        """Bicycles side by side, and a motorcycle."""
        rng, side = self._rng, way * (self._street.kerb[way] + 1.0)
        if self._chance(0.3):
            z, count, turn = rng.uniform(7, 32), int(rng.integers(1, 7)), rng.uniform(0, math.pi)
            # a rack full of bicycles is one region to the annotators
            number = self._canvas.thing("bicycle") if count > 3 else None
            for index in range(count):
                self._put(people.bicycle, side, z + 0.75 * index, turn + rng.normal(0, 0.1), number)
        if self._chance(0.08):
            self._put(people.motorcycle, side, rng.uniform(7, 22), rng.uniform(0, 2 * math.pi))

    def _people(self, way):
        """People on the sidewalk, alone, in twos and threes or in a crowd, and some who cross the road."""
        rng, street = self._rng, self._street
        inner = street.kerb[way] + 0.9
        outer = max(inner + 0.4, street.walk[way] - 0.4)
        for _ in range(rng.poisson(street.kind.people)):
            z, side = rng.uniform(7, 48), rng.uniform(inner, outer)
            heading = rng.choice((0.0, math.pi)) + rng.normal(0, 0.3)
            for _ in range(int(rng.choice((1, 2, 3), p=(0.6, 0.3, 0.1)))):
                self._put(people.person, way * (side + rng.normal(0, 0.5)), z + rng.normal(0, 0.5), heading)
        if self._chance(0.02 * street.kind.people):
            number, z = self._canvas.thing("person"), rng.uniform(28, 60)
            for _ in range(int(rng.integers(8, 16))):
                side = way * rng.uniform(inner, outer + 0.5)
                self._put(people.person, side, z + rng.uniform(0, 5), rng.uniform(0, 6), number)
        for start in street.zebras:
            if self._chance(0.3):
                for _ in range(int(rng.integers(1, 4))):
                    side = rng.uniform(-street.edge[-1], street.edge[1])
                    self._put(people.person, side, start + rng.uniform(0.5, 2.5), way * math.pi / 2)

    def _traffic(self):
        """Vehicles that drive, park and cross, and cyclists between them."""
        rng, street = self._rng, self._street
        for way, heading in ((1, 0.0), (-1, math.pi)):
            for lane in range(street.lanes):
                self._lane(way * (lane + 0.5) * LANE, heading, is_own=way == 1 and lane == street.lanes - 1)
            if street.parking[way]:
                self._parked_cars(way * (street.lanes * LANE + 1.15), heading)
            if self._chance(0.1):
                draw = people.motorcyclist if self._chance(0.2) else people.cyclist
                self._put(draw, way * (street.lanes * LANE - 0.7), rng.uniform(8, 26), heading)
        if street.tramway is not None and self._chance(0.65):
            self._put(vehicles.train, street.tramway, rng.uniform(26, 55), rng.choice((0.0, math.pi)))
        for start, end in street.crossings:
            for way in (-1, 1):
                if self._chance(0.18):
                    draw = pick(rng, (*[vehicles.car] * 6, vehicles.truck, people.cyclist))
                    self._put(draw, rng.uniform(-15, 15), (start + end) / 2 - way * 1.7, way * math.pi / 2)

    def _lane(self, side, heading, is_own):
        """Moving vehicles of one lane, from near to far; the camera's own lane keeps its distance."""
        rng = self._rng
        z = rng.uniform(10, 45) if is_own else rng.uniform(8, 50)
        while z < 100:
            fate = rng.random()
            if fate < 0.05:
                z += 7.5
                self._put(vehicles.bus if self._chance(0.55) else vehicles.truck, side, z, heading)
                z += 7
            elif fate < 0.08:
                draw = people.motorcyclist if self._chance(0.45) else people.cyclist
                self._put(draw, side + rng.normal(0, 0.5), z, heading)
            else:
                self._put(vehicles.car, side + rng.normal(0, 0.15), z, heading + rng.normal(0, 0.02))
            z += rng.uniform(8, 50)

    def _parked_cars(self, side, heading):
        """A row of parked cars with gaps, seldom with a lorry in it."""
        rng = self._rng
        full, z = rng.uniform(0.1, 0.7), rng.uniform(6, 14)
        while z < _FAR:
            if self._chance(full) and not self._street.at_crossing(z, margin=1.0):
                if self._chance(0.015):
                    z += 4
                    self._put(vehicles.truck, side, z, heading)
                    z += 3
                else:
                    turned = math.pi if self._chance(0.1) else 0.0
                    self._put(vehicles.car, side + rng.normal(0, 0.08), z, heading + turned + rng.normal(0, 0.02))
            z += rng.uniform(5.1, 6.6)
