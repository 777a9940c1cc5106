"""What a street runs through: sky, ground, buildings, walls, fences, hedges and trees."""

import math
from typing import NamedTuple

import numpy as np

from minicity.canvas import noise

FACADES = (
    *((196, 180, 150), (214, 204, 184), (150, 150, 150), (152, 92, 72), (186, 142, 92), (178, 148, 138)),
    *((225, 222, 215), (160, 168, 150), (140, 152, 166), (118, 84, 70), (205, 188, 130), (98, 98, 102)),
)
ROOFS = ((112, 62, 50), (70, 70, 76), (92, 84, 80), (130, 78, 60))
GREENS = ((66, 92, 38), (84, 104, 42), (52, 78, 40), (98, 104, 52), (74, 86, 58), (118, 100, 48))


def pick(rng, options):
    """One of a sequence."""
    return options[int(rng.integers(len(options)))]


def vary(rng, colour, amount=14):
    """A colour near another, float tuple."""
    shift = rng.normal(0, amount)
    return tuple(min(250.0, max(8.0, channel + shift + rng.normal(0, amount / 3))) for channel in colour)


def sky(canvas, rng):
    """The whole picture becomes sky, with a gradient and clouds."""
    height, width = canvas.camera.size
    light = canvas.light
    horizon = max(1.0, canvas.camera.horizon)
    up = np.clip(1 - np.arange(height, dtype=np.float32) / np.float32(horizon), 0, 1)[:, None]
    stretch = 160 / horizon
    rows, columns = np.arange(height)[:, None] * stretch * 1.6, np.arange(width)[None, :] * stretch * 0.45
    cover = noise(columns + rng.integers(512), rows + rng.integers(512), slope=1.6)
    clouds = np.clip(cover * rng.uniform(0, 0.6) + rng.uniform(-0.6, 0.5), 0, 1)[..., None]
    zenith, haze = np.array(light.zenith, np.float32), np.array(light.haze, np.float32)
    colours = haze + (zenith - haze) * (up**0.8)[..., None]
    bright = np.minimum(255, haze * 1.06 + 6)
    mixed = colours * (1 - clouds) + bright * clouds
    canvas.paste(0, 0, np.clip(mixed, 0, 255).astype(np.uint8), canvas.thing("sky"))


class Strip(NamedTuple):
    """A strip of ground along the street: its class, its right edge metres right of the road's middle, its colour."""

    name: str
    edge: float
    colour: tuple


def ground(canvas, rng, street):
    """Everything below the horizon: the street's strips, its crossings, markings, kerbs, paving and shade."""
    first, x, z, depth = canvas.camera.ground()
    if first >= canvas.camera.size[0]:
        return
    side = x - street.centre(z)
    strip = np.digitize(side, [strip.edge for strip in street.strips[:-1]]).astype(np.uint8)
    inside = (side > street.left) & (side < street.right)
    for start, end in street.crossings:
        strip[(z > start) & (z < end) & ~inside] = street.road
    colours = np.array([strip.colour for strip in street.strips], np.float32)[strip]
    names = np.array([strip.name for strip in street.strips])
    detail = np.clip(16 / depth, 0, 1)  # fine patterns would flicker far away
    grain = noise(x * 22 + 900, z * 22 + 900) * (0.05 + street.roughness[strip] * detail)
    stains = noise(x * 3.1 + 77, z * 0.9 + 300) * 0.06
    colours *= (1 + grain + stains)[..., None]
    paved = names[strip] == "sidewalk"
    joints = ((x % street.paving < 0.05) | (z % street.paving < 0.05)) & paved
    colours *= 1 - (0.22 * detail * joints)[..., None]
    colours += (_markings(street, side, z) & (strip == street.road))[..., None] * np.float32(street.paint)
    for edge in street.kerbs:
        kerb = (np.abs(side - edge) < 0.13) & ~_at_crossing(street, z)
        colours += kerb[..., None] * np.float32(34)
    for rail in street.rails:
        colours[np.abs(side - rail) < 0.06] = (88, 84, 82)
    colours = _in_sunlight(canvas.light, street, colours, side, x, z)
    numbers = np.array([canvas.thing(strip.name) for strip in street.strips], np.int32)[strip]
    canvas.paste(first, 0, canvas.light.fade(colours, depth), numbers)


def _at_crossing(street, z):
    found = np.zeros(z.shape, bool)
    for start, end in street.crossings:
        found |= (z > start) & (z < end)
    return found


def _markings(street, side, z):
    """bool: painted lines, dashed between lanes, solid at the edges, and zebra crossings."""
    lines = np.zeros(side.shape, bool)
    for lane in street.lane_lines:
        lines |= (np.abs(side - lane) < 0.09) & (z % 9 < 4)
    for lane in street.solid_lines:
        lines |= np.abs(side - lane) < 0.08
    lines &= ~_at_crossing(street, z)
    for start in street.zebras:
        lines |= (z > start) & (z < start + 3) & (side % 1.0 < 0.5)
    return lines


def _in_sunlight(light, street, colours, side, x, z):
    """Lit ground: the sun's part is missing where the houses' shadow lies, and dappled under trees."""
    sun, ambient = np.array(light.factor((0, 1, 0)), np.float32), np.array(light.ambient, np.float32)
    edge = street.shade_edge + np.float32(1.5) * np.sign(noise(z * 1.2 + 40, 0 * z))
    shaded = (side < edge) if street.shade_from_left else (side > edge)
    dapple = noise(x * 9 + 15, z * 5 + 15) + street.dapple > 1.6
    return colours * np.where((shaded | dapple)[..., None], ambient, sun)


class Style(NamedTuple):
    """How a facade looks; lengths in metres."""

    colour: tuple
    glass: tuple
    frame: tuple
    roof: tuple
    storey: float
    bay: float
    window: tuple
    shop: tuple | None
    rough: float
    height: float
    eaves: float


def _style(rng, height):
    storey = rng.uniform(2.7, 3.8)
    modern = rng.random() < 0.3
    return Style(
        colour=vary(rng, pick(rng, FACADES)),
        glass=vary(rng, (58, 68, 78), 16),
        frame=vary(rng, pick(rng, ((225, 225, 220), (60, 60, 60), (150, 120, 90))), 8),
        roof=vary(rng, pick(rng, ROOFS)),
        storey=storey,
        bay=rng.uniform(1.6, 3.6),
        window=(rng.uniform(0.7, 0.95), rng.uniform(0.5, 0.7))
        if modern
        else (rng.uniform(0.35, 0.6), rng.uniform(0.45, 0.6)),
        shop=vary(rng, pick(rng, ((160, 40, 40), (40, 80, 130), (50, 60, 50), (200, 160, 60), (90, 90, 90))), 20)
        if rng.random() < 0.4
        else None,
        rough=rng.uniform(0.02, 0.09),
        height=height,
        eaves=height if modern else height - rng.uniform(1.5, 3.5),
    )


def house(canvas, rng, start, end, way, height, hidden):
    """A house along one side: its street front, and the gable that faces the camera.

    Args:
        start, end: plan points of the front, the nearer one first.
        way: -1 on the left of the street, 1 on its right.
        height: metres.
        hidden: height up to which the nearer neighbour hides the gable; 0 without one.
    """
    style, number = _style(rng, height), canvas.thing("building")
    if height > hidden:
        _facade(canvas, rng, style, number, (start[0] + way * 11, start[1]), start, (0, 0, -1), hidden)
    _facade(canvas, rng, style, number, start, end, (-way, 0, 0))


def far_house(canvas, rng, start, end, height):
    """A house across the end of the street."""
    _facade(canvas, rng, _style(rng, height), canvas.thing("building"), start, end, (0, 0, -1))


def _facade(canvas, rng, style, number, start, end, normal, bottom=0.0):
    plane = canvas.camera.plane(start, end, bottom, style.height)
    offset = rng.integers(512)
    if plane is None:
        return
    along, height = np.broadcast_to(plane.along, plane.height.shape), plane.height
    column, row = along / np.float32(style.bay), height / np.float32(style.storey)
    wide, tall = np.abs(column % 1 - 0.5) * 2, np.abs(row % 1 - 0.52) * 2
    window = (wide < style.window[0]) & (tall < style.window[1])
    frame = (wide < style.window[0] + 0.12) & (tall < style.window[1] + 0.1) & ~window
    crisp = np.clip(canvas.camera.focal / (plane.depth * 5), 0.35, 1)[None, :, None]
    colours = np.empty((*height.shape, 3), np.float32)
    colours[:] = style.colour
    detail = np.zeros_like(colours)
    detail[frame] = np.subtract(style.frame, style.colour)
    # every pane has a brightness of its own: curtains, reflections
    pane = noise(np.floor(column) * 7 + offset, np.floor(row) * 13 + offset)
    shine = (pane * 17 + row * 2)[..., None]
    detail += window[..., None] * (np.subtract(style.glass, style.colour).astype(np.float32) + shine)
    if style.shop:
        below = height < style.storey
        board = below & (height > style.storey - 0.7)
        display = below & ~board & (np.abs((along / (style.bay * 1.6)) % 1 - 0.5) < 0.43) & (height > 0.4)
        detail[below] = np.subtract(style.shop, style.colour) * 0.45
        detail[board] = np.subtract(style.shop, style.colour)
        detail[display] = np.subtract(style.glass, style.colour) + 10
    detail[(row % 1 < 0.05) & (row > 1)] += 16
    detail[height > style.eaves] = np.subtract(style.roof, style.colour)
    colours += detail * crisp
    texture = noise(along * 14 + offset, height * 14) * np.float32(style.rough)
    colours *= (1 + texture)[..., None]
    colours *= np.array(canvas.light.factor(normal), np.float32)
    owned = (height >= bottom) & (height < style.height)
    canvas.paste(plane.top, plane.left, canvas.light.fade(colours, plane.depth[None]), number, owned)


def wall(canvas, rng, start, end, normal):
    """A free-standing wall: plaster, concrete panels or bricks, with a coping on top."""
    height = rng.uniform(1.3, 3.4)
    plane = canvas.camera.plane(start, end, 0, height)
    colour, kind = vary(rng, pick(rng, FACADES)), rng.integers(3)
    number = canvas.thing("wall")
    if plane is None:
        return
    along, up = np.broadcast_to(plane.along, plane.height.shape), plane.height
    colours = np.empty((*up.shape, 3), np.float32)
    colours[:] = colour
    if kind == 0:
        course = np.floor(up / 0.22)
        joint = (up % 0.22 < 0.03) | ((along + course * 0.25) % 0.5 < 0.03)
        brick = noise(np.floor(along * 2 + course * 0.5) * 3, course * 5) * 0.08
        colours *= (1 + brick - 0.25 * joint * np.clip(9 / plane.depth, 0, 1))[..., None]
    elif kind == 1:
        colours *= (1 - 0.2 * (along % 2.4 < 0.09))[..., None]
    stain = noise(along * 8 + 70, up * 8) * 0.07 - 0.18 * np.exp(-up * 3)
    colours *= (1 + stain)[..., None]
    colours[up > height - 0.14] *= 1.2
    colours *= np.array(canvas.light.factor(normal), np.float32)
    owned = (up >= 0) & (up < height)
    canvas.paste(plane.top, plane.left, canvas.light.fade(colours, plane.depth[None]), number, owned)


def fence(canvas, rng, start, end, name="fence"):
    """A see-through fence; its gaps show what is behind and belong to it. `name` may be "guard rail" (void)."""
    height = 0.8 if name == "guard rail" else rng.uniform(0.9, 2.1)
    plane = canvas.camera.plane(start, end, 0, height)
    colour = vary(rng, pick(rng, ((70, 74, 70), (120, 92, 62), (190, 190, 186), (46, 70, 50), (150, 150, 155))))
    kind = rng.integers(3)
    number = canvas.thing(name)
    if plane is None:
        return
    along, up = np.broadcast_to(plane.along, plane.height.shape), plane.height
    pixel = (plane.depth / np.float32(canvas.camera.focal))[None, :]  # metres; bars are never thinner than one
    rails = (np.abs(up - height + 0.08) < np.maximum(0.06, pixel * 0.6)) | (
        np.abs(up - 0.2) < np.maximum(0.04, pixel * 0.5)
    )
    posts = along % 2.5 < np.maximum(0.09, pixel)
    if name == "guard rail":
        bars = (up > 0.45) & (up < 0.78)
    elif kind == 0:  # palisade
        bars = along % 0.22 < 0.13
    elif kind == 1:  # railing
        bars = along % 0.3 < np.maximum(0.05, pixel * 0.6)
    else:  # wire mesh
        bars = ((along + up) % 0.24 < np.maximum(0.02, pixel * 0.45)) | (
            (along - up) % 0.24 < np.maximum(0.02, pixel * 0.45)
        )
    owned = (up >= 0) & (up < height)
    shade = 1 + noise(along * 30, up * 6) * 0.08
    colours = (np.array(colour, np.float32) * np.array(canvas.light.factor((0, 0.5, -0.5)), np.float32)) * shade[
        ..., None
    ]
    painted = owned & (bars | rails | posts)
    canvas.paste(plane.top, plane.left, canvas.light.fade(colours, plane.depth[None]), number, owned, painted)


def hedge(canvas, rng, start, end, height, ragged=0.25):
    """Vegetation along a line, its upper edge ragged by that part of its height."""
    plane = canvas.camera.plane(start, end, 0, height)
    colour, offset = vary(rng, pick(rng, GREENS), 10), rng.integers(512)
    number = canvas.thing("vegetation")
    if plane is None:
        return
    along, up = np.broadcast_to(plane.along, plane.height.shape), plane.height
    clumps = noise(along * (26 / height) + offset, up * (26 / height) + offset)
    leaves = noise(along * 13 + offset, up * 13)
    owned = (up >= 0) & (up < height * (1 - ragged) + clumps * (height * ragged * 0.45) + leaves * 0.05)
    tone = 0.62 + 0.22 * leaves + 0.16 * clumps + 0.25 * np.clip(up / height, 0, 1)
    _leafy(canvas, plane.top, plane.left, colour, tone, owned, plane.depth[None], number)


def _leafy(canvas, top, left, colour, tone, owned, depth, number, painted=None):
    lit = np.array(colour, np.float32) * np.array(canvas.light.factor((0, 0.9, -0.4)), np.float32)
    colours = lit * np.clip(tone, 0.12, 1.6)[..., None]
    canvas.paste(top, left, canvas.light.fade(colours, depth), number, owned, painted)


def tree(canvas, rng, place, height):
    """A trunk and a crown of leaves, `height` metres tall in all; sometimes bare of half its leaves."""
    number = canvas.thing("vegetation")
    colour = vary(rng, pick(rng, GREENS), 12)
    radius, offset = height * rng.uniform(0.24, 0.36), rng.integers(512)
    stem = height * rng.uniform(0.22, 0.4)
    bark = vary(rng, (78, 64, 50), 10)
    canvas.limb(place.at(0, 0, 0), place.at(rng.normal(0, 0.1), stem + 0.5, 0), height * 0.018 + 0.05, bark, number)
    middle = (stem + height) / 2
    u, v, depth = canvas.camera.project(place.at(0, middle, 0))
    scale = canvas.camera.focal / depth
    half = (radius * scale * 1.15, (height - stem) / 2 * scale * 1.15)
    left, right = max(0, math.floor(u - half[0])), min(canvas.camera.size[1], math.ceil(u + half[0]))
    top, bottom = max(0, math.floor(v - half[1])), min(canvas.camera.size[0], math.ceil(v + half[1]))
    if depth < 3 or right <= left or bottom <= top:
        return
    across = (np.arange(left, right, dtype=np.float32)[None, :] - np.float32(u)) / np.float32(half[0])
    upward = (np.float32(v) - np.arange(top, bottom, dtype=np.float32)[:, None]) / np.float32(half[1])
    clumps = noise(across * 70 + 600 + offset, upward * 70 + 600 + offset, slope=1.6)
    leaves = noise(across * half[0] / scale * 24 + 600 + offset, upward * half[1] / scale * 24 + 600)
    owned = across**2 + upward**2 < 0.72 + 0.2 * clumps + 0.04 * leaves
    painted = owned & (leaves + clumps > rng.uniform(-3.2, -1.6))
    sun = canvas.light.direction
    tone = 0.68 + 0.22 * leaves + 0.15 * clumps + 0.22 * (upward + across * sun[0])
    _leafy(canvas, top, left, colour, tone, owned, np.float32(depth), number, painted)
