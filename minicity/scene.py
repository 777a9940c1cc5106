"""A street scene in perspective, with its labels: what stands where, drawn from one random generator an image.

Layout is in metres (see `minicity.canvas`). A place along the street is given by `side`, metres to the right of the
middle of the road, and z, metres ahead of the camera; traffic keeps to the right.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from helpers.labels import CITYSCAPES
from minicity import surroundings, things
from minicity.canvas import Camera, Canvas, Light, Place, noise
from minicity.surroundings import Strip, pick, vary

SPLITS = {"train": 0, "val": 1, "test": 2}
_PURPOSE = 0x5CE7E  # keeps these draws apart from every other use of the same seed
_FAR = 115.0  # metres; the last thing that is drawn on its own
_OUT_OF_ROI = next(row.id for row in CITYSCAPES.rows if row.name == "out of roi")
# What borders the street, by the kind of street: weights of building, wall, fence, hedge, nothing.
_BORDERS = {
    "city": (0.75, 0.06, 0.09, 0.08, 0.02),
    "suburb": (0.28, 0.19, 0.23, 0.24, 0.06),
    "park": (0.06, 0.18, 0.22, 0.4, 0.14),
}
_HEIGHTS = {"city": (9, 22), "suburb": (6, 12), "park": (6, 14)}  # of houses, metres
_LANE = 3.3


def draw_scene(seed, split, index, size):
    """Draw one image of the data set.

    The random numbers depend on nothing but these arguments, so an image is the same however many others are drawn.

    Args:
        seed: int >= 0.
        split: "train", "val" or "test".
        index: number of the image in its split, int >= 0.
        size: (height, width), at least 32 x 32.

    Returns:
        (image uint8 (H, W, 3) RGB, labels uint8 (H, W) of Cityscapes label ids, instances uint16 (H, W): label id *
        1000 + number for each thing of a class with instances, the label id for all the rest and for groups).
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, _PURPOSE], counter=[0, 0, SPLITS[split], index]))
    canvas = Canvas(_camera(rng, size), _light(rng))
    street = _street(rng, canvas.light)
    surroundings.sky(canvas, rng)
    surroundings.ground(canvas, rng, street)
    jobs = [*_skyline(canvas, rng, street), *_traffic(canvas, rng, street)]
    for way in (-1, 1):
        jobs += [
            *_border(canvas, rng, street, way),
            *_furniture(canvas, rng, street, way),
            *_people(canvas, rng, street, way),
        ]
    # Layers from the skyline to the street; within one, from far to near.
    for _, _, draw in sorted(jobs, key=lambda job: (job[0], -job[1])):
        draw()
    _bonnet(canvas, rng)
    image, labels, instances = canvas.finish(blur=rng.uniform(0.2, 0.5) * size[0] / 256)
    edge = max(1, round(size[1] / 400))
    for border in (np.s_[:, :edge], np.s_[:, size[1] - edge :], np.s_[:edge]):
        labels[border] = instances[border] = _OUT_OF_ROI
    return _sensor(rng, image), labels, instances


def _camera(rng, size):
    height, width = size
    horizon = height * (0.42 + rng.normal(0, 0.015))
    return Camera(size, rng.uniform(1.2, 1.4), horizon, width * rng.uniform(1.0, 1.15), rng.normal(0, 0.045))


def _light(rng):
    """Sun, overcast or dusk."""
    weather = rng.choice(3, p=(0.5, 0.36, 0.14))
    turn, rise = rng.uniform(0, 2 * math.pi), rng.uniform(0.35, 1.1)
    direction = (math.cos(turn) * math.cos(rise), math.sin(rise), math.sin(turn) * math.cos(rise))
    warm = np.array([1 + rng.normal(0, 0.05), 1.0, 1 - rng.normal(0, 0.06)])
    if weather == 0:
        ambient, sun = (
            rng.uniform(0.42, 0.56) * np.array([0.94, 1, 1.08]),
            rng.uniform(0.5, 0.75) * np.array([1.06, 1, 0.88]),
        )
        haze, zenith, reach = (222, 230, 238), vary(rng, (112, 156, 212), 18), rng.uniform(160, 500)
    elif weather == 1:
        level = rng.uniform(0.62, 0.85)
        ambient, sun = level * np.array([0.98, 1, 1.04]), 0.1 * np.ones(3)
        haze, zenith, reach = vary(rng, (222, 224, 226), 12), vary(rng, (200, 204, 210), 16), rng.uniform(70, 260)
    else:
        ambient, sun = rng.uniform(0.3, 0.42) * np.array([0.96, 0.98, 1.14]), 0.22 * np.array([1.3, 0.9, 0.55])
        haze, zenith, reach = vary(rng, (206, 168, 142), 16), vary(rng, (96, 106, 142), 14), rng.uniform(120, 300)
    return Light(tuple(ambient * warm), tuple(sun * warm), direction, tuple(np.multiply(haze, warm)), reach, zenith)


@dataclass
class Street:
    """The layout of a street; lengths in metres, places across it as `side`.

    Args:
        kind: a key of the table of borders.
        offset, curve: the middle of the road is at x = offset + curve z^2 / 2.
        left, right: edges of the road.
        walk, border: by way (-1 left, 1 right), the outer edge of the sidewalk and what borders the street.
        strips, road: ground from left to right (`Strip`s), and which of them is the road.
        roughness: float32, grain of each strip.
        lanes: number in each direction; `parking`, by way: width of the parking lane.
        crossings: (start, end) in z of the side streets.
        tramway: `side` of the middle of the rails, or None.
        shade_edge, shade_from_left: the ground left (right) of that edge is in the houses' shadow.
    """

    kind: str
    offset: float
    curve: float
    left: float
    right: float
    walk: dict
    border: dict
    strips: tuple
    road: int
    roughness: np.ndarray
    lanes: int
    parking: dict
    crossings: tuple
    tramway: float | None
    paving: float
    paint: float
    dapple: float
    shade_edge: float
    shade_from_left: bool

    def centre(self, z):
        """x of the middle of the road."""
        return self.offset + self.curve * z * z / 2

    def place(self, side, z, heading=0.0):
        """A Place at `side` and z, its heading relative to the street's."""
        lit = (side > self.shade_edge) if self.shade_from_left else (side < self.shade_edge)
        return Place(self.centre(z) + side, z, heading + math.atan(self.curve * z), lit)

    def point(self, side, z):
        """(x, z) of a place."""
        return self.centre(z) + side, z

    @property
    def kerbs(self):
        """`side` of the edges of the carriageway."""
        return self.left, self.right

    @property
    def rails(self):
        """`side` of each rail."""
        return () if self.tramway is None else (self.tramway - 0.72, self.tramway + 0.72)

    @property
    def lane_lines(self):
        """`side` of the dashed lines."""
        return [way * lane * _LANE for way in (-1, 1) for lane in range(1, self.lanes)] + [0.0] * (self.lanes == 1)

    @property
    def solid_lines(self):
        """`side` of the solid lines: the middle of a wide road, and the edges of parking lanes."""
        edges = [way * self.lanes * _LANE for way in (-1, 1) if self.parking[way]]
        return edges + [0.0] * (self.lanes > 1)

    @property
    def zebras(self):
        """Where zebra crossings start: before the side streets."""
        return [start - 4.5 for start, _ in self.crossings if start > 9]

    def blocks(self, z):
        """Whether a side street leaves at z."""
        return any(start - 1 < z < end + 1 for start, end in self.crossings)


def _street(rng, light):
    kind = rng.choice(tuple(_BORDERS), p=(0.5, 0.31, 0.19))
    lanes = 1 if rng.random() < 0.68 else 2
    parking = {way: 2.2 if rng.random() < 0.42 else 0.0 for way in (-1, 1)}
    tram = rng.random() < 0.15
    right = lanes * _LANE + parking[1]
    left = -(lanes * _LANE + parking[-1])
    walk, border, strips = {}, {}, {}
    for way, edge in ((-1, left), (1, right)):
        start = abs(edge) + (3.4 if tram and way == -1 else 0)
        walk[way] = start + rng.uniform(1.6, 4.6)
        verge = rng.uniform(1.5, 5) if rng.random() < {"city": 0.12, "suburb": 0.6, "park": 0.85}[kind] else 0.0
        border[way] = walk[way] + verge
        strips[way] = _side_strips(
            rng, kind, start, walk[way], border[way], tram and way == -1, abs(edge), parking[way]
        )
    asphalt = vary(rng, (112, 112, 114), 14)
    ordered = [Strip(name, -inner, colour) for name, inner, _, colour in reversed(strips[-1])]
    ordered.append(Strip("road", strips[1][0][1], asphalt))
    ordered += [Strip(name, outer, colour) for name, _, outer, colour in strips[1]]
    rough = {"terrain": 0.16, "sidewalk": 0.05, "road": rng.uniform(0.01, 0.05)}
    first = rng.uniform(11, 38)
    crossings = [(first, first + rng.uniform(7, 11))] if rng.random() < 0.65 else []
    if rng.random() < 0.4:
        second = first + rng.uniform(28, 50)
        crossings.append((second, second + rng.uniform(7, 10)))
    sunny = sum(light.sun) > 1.2
    reach = rng.uniform(6, 14) * abs(light.direction[0]) / max(light.direction[1], 0.2)
    from_left = light.direction[0] < 0
    shade = (-border[-1] + reach) if from_left else (border[1] - reach)
    if not sunny or kind == "park":
        shade = -1e3 if from_left else 1e3
    return Street(
        kind=kind,
        offset=-_LANE * (lanes - 0.5) + rng.normal(0, 0.2),
        curve=rng.normal(0, 0.003),
        left=-abs(left),
        right=right,
        walk=walk,
        border=border,
        strips=tuple(ordered),
        road=len(strips[-1]),
        roughness=np.array([rough.get(strip.name, 0.06) for strip in ordered], np.float32),
        lanes=lanes,
        parking=parking,
        crossings=tuple(crossings),
        tramway=left - 1.7 if tram else None,
        paving=rng.uniform(0.4, 1.0),
        paint=rng.uniform(40, 95),
        dapple={"city": -1.0, "suburb": 0.2, "park": 0.6}[kind] if sunny else -9.0,
        shade_edge=shade,
        shade_from_left=from_left,
    )


def _side_strips(rng, kind, start, walk, border, tram, edge, parking):
    """Strips of one side, outwards: (class, inner, outer, colour), at distances from the middle of the road."""
    grass = vary(rng, pick(rng, ((92, 112, 52), (112, 116, 66), (126, 112, 82))), 8)
    paving = vary(rng, pick(rng, ((146, 142, 136), (128, 128, 130), (160, 146, 130), (142, 124, 116))), 10)
    strips = []
    if parking and rng.random() < 0.12:
        strips.append(("parking", edge - parking, edge, vary(rng, (124, 118, 114), 8)))
    if tram:
        strips.append(("rail track", edge, start, vary(rng, pick(rng, ((118, 112, 104), (104, 116, 70))), 8)))
    strips.append(("sidewalk", start, walk, paving))
    if border > walk:
        strips.append(("terrain", walk, border, grass))
    beyond = "sidewalk" if kind == "city" and rng.random() < 0.8 else "terrain"
    strips.append((beyond, border, 1e6, paving if beyond == "sidewalk" else grass))
    return strips


def _skyline(canvas, rng, street):
    """What closes the view: far houses and woods."""
    jobs, x = [], -130.0
    while x < 130:
        width, z = rng.uniform(12, 30), rng.uniform(122, 150)
        start, end = (x, z), (x + width, z)
        if rng.random() < {"city": 0.7, "suburb": 0.4, "park": 0.15}[street.kind]:
            height = rng.uniform(*_HEIGHTS[street.kind])
            draw = partial(surroundings.far_house, canvas, rng, start, end, height)
        else:
            draw = partial(surroundings.hedge, canvas, rng, start, end, rng.uniform(8, 18))
        jobs.append((0, z, draw))
        x += width * rng.uniform(0.7, 1.05)
    return jobs


def _border(canvas, rng, street, way):
    """Buildings, walls, fences and hedges along one side, and what stands behind the low ones."""
    jobs, z, hidden = [], 1.0, 0.0
    while z < _FAR:
        kind = rng.choice(5, p=_BORDERS[street.kind])
        length = rng.uniform(8, 22) if kind == 0 else rng.uniform(7, 20)
        stop = next((start for start, end in street.crossings if z < end and start < z + length), None)
        if stop is not None and stop - z < 4:
            z, hidden = next(end for start, end in street.crossings if start == stop), 0.0
            continue
        length = length if stop is None else stop - z
        side = way * (street.border[way] + (rng.uniform(0, 0.6) if kind == 0 else 0.1))
        start, end = street.point(side, z), street.point(side, z + length)
        middle, normal = z + length / 2, (-way, 0, 0)
        if kind == 0:
            height = rng.uniform(*_HEIGHTS[street.kind])
            jobs.append((2, middle, partial(surroundings.house, canvas, rng, start, end, way, height, hidden)))
            hidden = height
        elif kind == 1:
            jobs.append((2, middle, partial(surroundings.wall, canvas, rng, start, end, normal)))
        elif kind == 2:
            name = "guard rail" if street.kind == "park" and rng.random() < 0.25 else "fence"
            jobs.append((2, middle, partial(surroundings.fence, canvas, rng, start, end, name)))
        elif kind == 3:
            jobs.append((2, middle, partial(surroundings.hedge, canvas, rng, start, end, rng.uniform(1, 7))))
        if kind != 0:
            jobs += _backdrop(canvas, rng, street, way, z, length)
            hidden = 0.0
        z += length
    return jobs


def _backdrop(canvas, rng, street, way, z, length):
    """Behind a low border: a house further back, a row of tall shrubs, trees."""
    jobs, side = [], way * (street.border[way] + rng.uniform(5, 10))
    start, end = street.point(side, z), street.point(side, z + length)
    woods = street.point(side + way * 12, z - 4), street.point(side + way * 12, z + length + 6)
    jobs.append((1, z + length + 30, partial(surroundings.hedge, canvas, rng, *woods, rng.uniform(7, 16))))
    if rng.random() < {"city": 0.7, "suburb": 0.5, "park": 0.12}[street.kind]:
        height = rng.uniform(*_HEIGHTS[street.kind])
        jobs.append((1, z + length / 2, partial(surroundings.house, canvas, rng, start, end, way, height, 0.0)))
    for _ in range(int(rng.integers(0, 4))):
        place = street.place(way * (street.border[way] + rng.uniform(2.2, 4.5)), z + rng.uniform(0, length))
        jobs.append((1, place.z, partial(surroundings.tree, canvas, rng, place, rng.uniform(5, 12))))
    return jobs


def _furniture(canvas, rng, street, way):
    """Trees, poles, signs, lights, bins and parked cycles along one kerb."""
    jobs = []
    edge = abs(street.left if way < 0 else street.right) + (3.4 if street.tramway and way < 0 else 0)
    kerb, over = edge + 0.5, 0.0 if way < 0 else math.pi

    def row(draw, start, step, side, *extra, heading=0.0):
        z = start + rng.uniform(0, step)
        while z < _FAR:
            if not street.blocks(z):
                jobs.append((3, z, partial(draw, canvas, rng, street.place(way * side, z, heading), *extra)))
            z += step * rng.uniform(0.85, 1.15)

    if rng.random() < 0.85:
        row(things.lamp_post, 6, rng.uniform(18, 32), kerb, heading=over)
    if rng.random() < {"city": 0.4, "suburb": 0.65, "park": 0.85}[street.kind]:
        row(surroundings.tree, 9, rng.uniform(8, 16), max(kerb + 0.3, street.walk[way] - 0.4), rng.uniform(6, 12))
    if rng.random() < 0.12:
        row(things.bollard, 7, rng.uniform(1.8, 3), kerb - 0.1)
    for _ in range(rng.poisson(1.1)):
        place = street.place(way * kerb, rng.uniform(7, 45), rng.normal(0, 0.3))
        jobs.append((3, place.z, partial(things.sign_post, canvas, rng, place)))
    for start, _ in street.crossings:
        if rng.random() < 0.8:
            place = street.place(way * kerb, start - 1.2, over)
            jobs.append((3, place.z, partial(things.traffic_light, canvas, rng, place)))
    for _ in range(rng.poisson(0.5)):
        place = street.place(way * (kerb + rng.uniform(0.2, 1)), rng.uniform(7, 40))
        jobs.append((3, place.z, partial(things.clutter, canvas, rng, place)))
    return jobs + _parked_cycles(canvas, rng, street, way, kerb)


def _parked_cycles(canvas, rng, street, way, kerb):
    jobs, z = [], rng.uniform(7, 32)
    number = None
    if rng.random() < 0.3:
        count = int(rng.integers(1, 7))
        if count > 3:  # a rack full of bicycles is annotated as one region
            number = canvas.thing("bicycle")
        turn = rng.uniform(0, math.pi)
        for index in range(count):
            place = street.place(way * (kerb + 0.6), z + 0.75 * index, turn + rng.normal(0, 0.1))
            jobs.append((3, place.z, partial(things.bicycle, canvas, rng, place, number)))
    if rng.random() < 0.14:
        place = street.place(way * (kerb + 0.5), rng.uniform(7, 22), rng.uniform(0, 2 * math.pi))
        jobs.append((3, place.z, partial(things.motorcycle, canvas, rng, place)))
    return jobs


def _people(canvas, rng, street, way):
    """People on the sidewalk, alone, in twos and threes or in a crowd, and some who cross the road."""
    jobs = []
    inner = abs(street.left if way < 0 else street.right) + 0.9 + (3.4 if street.tramway and way < 0 else 0)
    outer = max(inner + 0.4, street.walk[way] - 0.4)
    for _ in range(rng.poisson({"city": 3.2, "suburb": 1.2, "park": 1.0}[street.kind])):
        z, side = rng.uniform(7, 48), rng.uniform(inner, outer)
        heading = rng.choice((0.0, math.pi)) + rng.normal(0, 0.3)
        for _ in range(int(rng.choice((1, 2, 3), p=(0.6, 0.3, 0.1)))):
            place = street.place(way * (side + rng.normal(0, 0.5)), z + rng.normal(0, 0.5), heading)
            jobs.append((3, place.z, partial(things.person, canvas, rng, place)))
    if street.kind == "city" and rng.random() < 0.06:
        number, z = canvas.thing("person"), rng.uniform(28, 60)
        for _ in range(int(rng.integers(8, 16))):
            place = street.place(way * rng.uniform(inner, outer + 0.5), z + rng.uniform(0, 5), rng.uniform(0, 6))
            jobs.append((3, place.z, partial(things.person, canvas, rng, place, number)))
    for start in street.zebras:
        if rng.random() < 0.3:
            for _ in range(int(rng.integers(1, 4))):
                side = rng.uniform(street.left, street.right)
                place = street.place(side, start + rng.uniform(0.5, 2.5), way * math.pi / 2)
                jobs.append((3, place.z, partial(things.person, canvas, rng, place)))
    return jobs


def _traffic(canvas, rng, street):
    """Vehicles that drive, park and cross, and cyclists between them."""
    jobs = []

    def add(draw, side, z, heading=0.0):
        place = street.place(side, z, heading)
        jobs.append((3, place.z, partial(draw, canvas, rng, place)))

    for way, heading in ((1, 0.0), (-1, math.pi)):
        for lane in range(street.lanes):
            _lane(rng, add, way * (lane + 0.5) * _LANE, heading, is_own=way == 1 and lane == street.lanes - 1)
        if street.parking[way]:
            _parked_cars(rng, add, street, way, heading)
        if rng.random() < 0.1:
            side = way * (street.lanes * _LANE - 0.7)
            add(things.motorcyclist if rng.random() < 0.2 else things.cyclist, side, rng.uniform(8, 26), heading)
    if street.tramway is not None and rng.random() < 0.65:
        add(things.train, street.tramway, rng.uniform(26, 55), rng.choice((0.0, math.pi)))
    for start, end in street.crossings:
        for way in (-1, 1):
            if rng.random() < 0.18:
                draw = pick(rng, (*[things.car] * 6, things.truck, things.cyclist))
                add(draw, rng.uniform(-15, 15), (start + end) / 2 - way * 1.7, way * math.pi / 2)
    return jobs


def _lane(rng, add, side, heading, is_own):
    """Moving vehicles of one lane, from near to far; the camera's own lane keeps its distance."""
    z = rng.uniform(10, 45) if is_own else rng.uniform(8, 50)
    while z < 100:
        fate = rng.random()
        if fate < 0.045:
            z += 7.5
            add(things.bus if rng.random() < 0.45 else things.truck, side, z, heading)
            z += 7
        elif fate < 0.075:
            add(things.motorcyclist if rng.random() < 0.45 else things.cyclist, side + rng.normal(0, 0.5), z, heading)
        else:
            add(things.car, side + rng.normal(0, 0.15), z, heading + rng.normal(0, 0.02))
        z += rng.uniform(8, 50)


def _parked_cars(rng, add, street, way, heading):
    """A row of parked cars with gaps, seldom with a lorry in it."""
    full, z = rng.uniform(0.1, 0.7), rng.uniform(6, 14)
    side = way * (street.lanes * _LANE + 1.15)
    while z < _FAR:
        if rng.random() < full and not street.blocks(z):
            if rng.random() < 0.02:
                z += 4
                add(things.truck, side, z, heading)
                z += 3
            else:
                turned = math.pi if rng.random() < 0.1 else 0.0
                add(things.car, side + rng.normal(0, 0.08), z, heading + turned + rng.normal(0, 0.02))
        z += rng.uniform(5.1, 6.6)


def _bonnet(canvas, rng):
    """The bonnet of the car that carries the camera: "ego vehicle", void."""
    height, width = canvas.camera.size
    rise = height * rng.uniform(0.05, 0.11)
    across = np.linspace(-1, 1, width, dtype=np.float32)
    edge = height - rise * (1 - 0.45 * across**2 - 0.3 * np.abs(across) ** 6)
    first = math.floor(float(edge.min()))
    rows = np.arange(first, height, dtype=np.float32)[:, None]
    owned = rows >= edge[None, :]
    paint = np.multiply(vary(rng, pick(rng, things.PAINTS), 5), canvas.light.factor((0, 1, 0)))
    shine = 0.55 + 0.7 * np.exp(-(rows - edge[None, :]) / np.float32(height * 0.02))
    shine = shine + 0.08 * noise(across[None, :] * 60 + rng.integers(512), rows * 200 / height)
    colours = np.clip(shine[..., None] * paint.astype(np.float32) + 6, 0, 255).astype(np.uint8)
    canvas.paste(first, 0, colours, canvas.thing("ego vehicle"), owned)


def _sensor(rng, image):
    """What the camera does to the picture: surfaces' fine grain, exposure, fall-off to the corners, noise."""
    height, width = image.shape[:2]
    grain = rng.standard_normal((height, width), np.float32)[..., None] * np.float32(rng.uniform(1.0, 4.5))
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
    gain = np.float32(rng.uniform(0.86, 1.1)) * (1 - np.float32(rng.uniform(0.02, 0.12)) * (down + across))
    return np.clip(image * gain[..., None] + grain, 0, 255).astype(np.uint8)
