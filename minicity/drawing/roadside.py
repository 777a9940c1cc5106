"""Walls, fences, hedges and trees."""

import math

import numpy as np

from minicity.drawing.canvas import Canvas
from minicity.drawing.colors import FACADES, GREENS, Color, pick, vary
from minicity.drawing.geometry import Line, Place
from minicity.drawing.noise import noise

_FENCES = ((70, 74, 70), (120, 92, 62), (190, 190, 186), (46, 70, 50), (150, 150, 155))


def wall(canvas: Canvas, rng: np.random.Generator, line: Line, side: int) -> None:
    """A free-standing wall of bricks, concrete panels or plaster, with a coping; `side` of the street is -1 or 1."""
    height = rng.uniform(1.3, 3.4)
    plane = canvas.camera.plane(*line, 0, height)
    color = vary(rng, pick(rng, FACADES))
    material = ("brick", "panels", "plaster")[rng.integers(3)]
    object_id = canvas.add_object("wall")
    if plane is None:
        return
    along = np.broadcast_to(plane.along, plane.height.shape)
    up = plane.height
    colors = np.empty((*up.shape, 3), np.float32)
    colors[:] = color
    if material == "brick":
        course = np.floor(up / 0.22)
        joint = (up % 0.22 < 0.03) | ((along + course * 0.25) % 0.5 < 0.03)
        brick = noise(np.floor(along * 2 + course * 0.5) * 3, course * 5) * 0.08
        colors *= (1 + brick - 0.25 * joint * np.clip(9 / plane.depth, 0, 1))[..., None]
    elif material == "panels":
        colors *= (1 - 0.2 * (along % 2.4 < 0.09))[..., None]
    stain = noise(along * 8 + 70, up * 8) * 0.07 - 0.18 * np.exp(-3 * np.maximum(up, 0))
    colors *= (1 + stain)[..., None]
    colors[up > height - 0.14] *= 1.2
    colors *= np.array(canvas.light.factors((-side, 0, 0)), np.float32)
    owned = (up >= 0) & (up < height)
    canvas.paste(plane.top, plane.left, canvas.light.apply_haze(colors, plane.depth[None]), object_id, owned)


def fence(canvas: Canvas, rng: np.random.Generator, line: Line, name: str = "fence") -> None:
    """A fence; it owns its gaps, which show the background. `name` may be "guard rail" (void)."""
    height = 0.8 if name == "guard rail" else rng.uniform(0.9, 2.1)
    plane = canvas.camera.plane(*line, 0, height)
    color = vary(rng, pick(rng, _FENCES))
    kind = ("palisade", "railing", "wire mesh")[rng.integers(3)]
    object_id = canvas.add_object(name)
    if plane is None:
        return
    along = np.broadcast_to(plane.along, plane.height.shape)
    up = plane.height
    pixel = (plane.depth / np.float32(canvas.camera.focal))[None, :]  # in meters; bars are never thinner
    rails = np.abs(up - height + 0.08) < np.maximum(0.06, pixel * 0.6)
    rails |= np.abs(up - 0.2) < np.maximum(0.04, pixel * 0.5)
    posts = along % 2.5 < np.maximum(0.09, pixel)
    bars = _fence_bars("guard rail" if name == "guard rail" else kind, along, up, pixel)
    owned = (up >= 0) & (up < height)
    shade = 1 + noise(along * 30, up * 6) * 0.08
    lit = np.array(color, np.float32) * np.array(canvas.light.factors((0, 0.5, -0.5)), np.float32)
    colors = canvas.light.apply_haze(lit * shade[..., None], plane.depth[None])
    canvas.paste(plane.top, plane.left, colors, object_id, owned, owned & (bars | rails | posts))


def _fence_bars(kind: str, along: np.ndarray, up: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """Which points of a fence are bars, bool; `pixel` is the size of a pixel in meters."""
    if kind == "guard rail":
        return (up > 0.45) & (up < 0.78)
    if kind == "palisade":
        return along % 0.22 < 0.13
    if kind == "railing":
        return along % 0.3 < np.maximum(0.05, pixel * 0.6)
    wire = np.maximum(0.02, pixel * 0.45)
    return ((along + up) % 0.24 < wire) | ((along - up) % 0.24 < wire)


def hedge(canvas: Canvas, rng: np.random.Generator, line: Line, height: float) -> None:
    """Vegetation along a line, with a ragged upper edge."""
    ragged = 0.25  # share of the height
    plane = canvas.camera.plane(*line, 0, height)
    color = vary(rng, pick(rng, GREENS), 10)
    offset = rng.integers(512)
    object_id = canvas.add_object("vegetation")
    if plane is None:
        return
    along = np.broadcast_to(plane.along, plane.height.shape)
    up = plane.height
    clumps = noise(along * (26 / height) + offset, up * (26 / height) + offset)
    leaves = noise(along * 13 + offset, up * 13)
    owned = (up >= 0) & (up < height * (1 - ragged) + clumps * (height * ragged * 0.45) + leaves * 0.05)
    brightness = 0.62 + 0.22 * leaves + 0.16 * clumps + 0.25 * np.clip(up / height, 0, 1)
    colors = _leaf_colors(canvas, color, brightness, plane.depth[None])
    canvas.paste(plane.top, plane.left, colors, object_id, owned)


def tree(canvas: Canvas, rng: np.random.Generator, place: Place, height: float) -> None:
    """A tree, `height` meters tall in total; some have few leaves."""
    object_id = canvas.add_object("vegetation")
    color = vary(rng, pick(rng, GREENS), 12)
    radius = height * rng.uniform(0.24, 0.36)
    offset = rng.integers(512)
    stem = height * rng.uniform(0.22, 0.4)
    bark = vary(rng, (78, 64, 50), 10)
    stem_top = place.at(rng.normal(0, 0.1), stem + 0.5, 0)
    canvas.bar(place.at(0, 0, 0), stem_top, height * 0.018 + 0.05, bark, object_id)
    u, v, depth = canvas.camera.project(place.at(0, (stem + height) / 2, 0))
    pixels_per_meter = canvas.camera.focal / depth
    half_width = radius * pixels_per_meter * 1.15
    half_height = (height - stem) / 2 * pixels_per_meter * 1.15
    left = max(0, math.floor(u - half_width))
    right = min(canvas.camera.size[1], math.ceil(u + half_width))
    top = max(0, math.floor(v - half_height))
    bottom = min(canvas.camera.size[0], math.ceil(v + half_height))
    if depth < 3 or right <= left or bottom <= top:
        return
    across = (np.arange(left, right, dtype=np.float32)[None, :] - np.float32(u)) / np.float32(half_width)
    upward = (np.float32(v) - np.arange(top, bottom, dtype=np.float32)[:, None]) / np.float32(half_height)
    clumps = noise(across * 70 + 600 + offset, upward * 70 + 600 + offset, slope=1.2)
    leaves = noise(
        across * half_width / pixels_per_meter * 24 + 600 + offset, upward * half_height / pixels_per_meter * 24 + 600
    )
    owned = across**2 + upward**2 < 0.7 + 0.22 * clumps + 0.04 * leaves
    painted = owned & (leaves + clumps > rng.uniform(-3.2, -1.6))
    brightness = 0.68 + 0.22 * leaves + 0.15 * clumps + 0.22 * (upward + across * canvas.light.direction[0])
    colors = _leaf_colors(canvas, color, brightness, np.float32(depth))
    canvas.paste(top, left, colors, object_id, owned, painted)


def _leaf_colors(canvas: Canvas, color: Color, brightness: np.ndarray, depth: np.ndarray | np.float32) -> np.ndarray:
    lit = np.array(color, np.float32) * np.array(canvas.light.factors((0, 0.9, -0.4)), np.float32)
    return canvas.light.apply_haze(lit * np.clip(brightness, 0.12, 1.6)[..., None], depth)
