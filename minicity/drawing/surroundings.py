"""What a street runs between: houses, walls, fences, hedges and trees."""

import math
from typing import NamedTuple

import numpy as np

from minicity.drawing.canvas import noise
from minicity.drawing.colors import FACADES, GREENS, ROOFS, pick, vary


class Style(NamedTuple):
    """How a facade looks; lengths in metres."""

    color: tuple
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
        color=vary(rng, pick(rng, FACADES)),
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
        hidden: height up to which the nearer neighbor hides the gable; 0 without one.
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
    colors = np.empty((*height.shape, 3), np.float32)
    colors[:] = style.color
    detail = np.zeros_like(colors)
    detail[frame] = np.subtract(style.frame, style.color)
    # every pane has a brightness of its own: curtains, reflections
    pane = noise(np.floor(column) * 7 + offset, np.floor(row) * 13 + offset)
    shine = (pane * 17 + row * 2)[..., None]
    detail += window[..., None] * (np.subtract(style.glass, style.color).astype(np.float32) + shine)
    if style.shop:
        below = height < style.storey
        board = below & (height > style.storey - 0.7)
        display = below & ~board & (np.abs((along / (style.bay * 1.6)) % 1 - 0.5) < 0.43) & (height > 0.4)
        detail[below] = np.subtract(style.shop, style.color) * 0.45
        detail[board] = np.subtract(style.shop, style.color)
        detail[display] = np.subtract(style.glass, style.color) + 10
    detail[(row % 1 < 0.05) & (row > 1)] += 16
    detail[height > style.eaves] = np.subtract(style.roof, style.color)
    colors += detail * crisp
    texture = noise(along * 14 + offset, height * 14) * np.float32(style.rough)
    colors *= (1 + texture)[..., None]
    colors *= np.array(canvas.light.factor(normal), np.float32)
    owned = (height >= bottom) & (height < style.height)
    canvas.paste(plane.top, plane.left, canvas.light.fade(colors, plane.depth[None]), number, owned)


def wall(canvas, rng, start, end, way):
    """A free-standing wall: plaster, concrete panels or bricks, with a coping on top."""
    height = rng.uniform(1.3, 3.4)
    plane = canvas.camera.plane(start, end, 0, height)
    color, kind = vary(rng, pick(rng, FACADES)), rng.integers(3)
    number = canvas.thing("wall")
    if plane is None:
        return
    along, up = np.broadcast_to(plane.along, plane.height.shape), plane.height
    colors = np.empty((*up.shape, 3), np.float32)
    colors[:] = color
    if kind == 0:
        course = np.floor(up / 0.22)
        joint = (up % 0.22 < 0.03) | ((along + course * 0.25) % 0.5 < 0.03)
        brick = noise(np.floor(along * 2 + course * 0.5) * 3, course * 5) * 0.08
        colors *= (1 + brick - 0.25 * joint * np.clip(9 / plane.depth, 0, 1))[..., None]
    elif kind == 1:
        colors *= (1 - 0.2 * (along % 2.4 < 0.09))[..., None]
    stain = noise(along * 8 + 70, up * 8) * 0.07 - 0.18 * np.exp(-3 * np.maximum(up, 0))
    colors *= (1 + stain)[..., None]
    colors[up > height - 0.14] *= 1.2
    colors *= np.array(canvas.light.factor((-way, 0, 0)), np.float32)
    owned = (up >= 0) & (up < height)
    canvas.paste(plane.top, plane.left, canvas.light.fade(colors, plane.depth[None]), number, owned)


def fence(canvas, rng, start, end, name="fence"):
    """A see-through fence; its gaps show what is behind and belong to it. `name` may be "guard rail" (void)."""
    height = 0.8 if name == "guard rail" else rng.uniform(0.9, 2.1)
    plane = canvas.camera.plane(start, end, 0, height)
    color = vary(rng, pick(rng, ((70, 74, 70), (120, 92, 62), (190, 190, 186), (46, 70, 50), (150, 150, 155))))
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
    colors = (np.array(color, np.float32) * np.array(canvas.light.factor((0, 0.5, -0.5)), np.float32)) * shade[
        ..., None
    ]
    painted = owned & (bars | rails | posts)
    canvas.paste(plane.top, plane.left, canvas.light.fade(colors, plane.depth[None]), number, owned, painted)


def hedge(canvas, rng, start, end, height, ragged=0.25):
    """Vegetation along a line, its upper edge ragged by that part of its height."""
    plane = canvas.camera.plane(start, end, 0, height)
    color, offset = vary(rng, pick(rng, GREENS), 10), rng.integers(512)
    number = canvas.thing("vegetation")
    if plane is None:
        return
    along, up = np.broadcast_to(plane.along, plane.height.shape), plane.height
    clumps = noise(along * (26 / height) + offset, up * (26 / height) + offset)
    leaves = noise(along * 13 + offset, up * 13)
    owned = (up >= 0) & (up < height * (1 - ragged) + clumps * (height * ragged * 0.45) + leaves * 0.05)
    tone = 0.62 + 0.22 * leaves + 0.16 * clumps + 0.25 * np.clip(up / height, 0, 1)
    _leafy(canvas, plane.top, plane.left, color, tone, owned, plane.depth[None], number)


def _leafy(canvas, top, left, color, tone, owned, depth, number, painted=None):
    lit = np.array(color, np.float32) * np.array(canvas.light.factor((0, 0.9, -0.4)), np.float32)
    colors = lit * np.clip(tone, 0.12, 1.6)[..., None]
    canvas.paste(top, left, canvas.light.fade(colors, depth), number, owned, painted)


def tree(canvas, rng, place, height):
    """A trunk and a crown of leaves, `height` metres tall in all; sometimes bare of half its leaves."""
    number = canvas.thing("vegetation")
    color = vary(rng, pick(rng, GREENS), 12)
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
    clumps = noise(across * 70 + 600 + offset, upward * 70 + 600 + offset, slope=1.2)
    leaves = noise(across * half[0] / scale * 24 + 600 + offset, upward * half[1] / scale * 24 + 600)
    owned = across**2 + upward**2 < 0.7 + 0.22 * clumps + 0.04 * leaves
    painted = owned & (leaves + clumps > rng.uniform(-3.2, -1.6))
    sun = canvas.light.direction
    tone = 0.68 + 0.22 * leaves + 0.15 * clumps + 0.22 * (upward + across * sun[0])
    _leafy(canvas, top, left, color, tone, owned, np.float32(depth), number, painted)
