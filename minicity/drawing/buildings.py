"""Houses beside a street and at its end."""

from typing import NamedTuple

import numpy as np

from minicity.drawing.canvas import Canvas
from minicity.drawing.colors import FACADES, ROOFS, Color, pick, vary
from minicity.drawing.geometry import Line, Vector
from minicity.drawing.noise import noise

_TOWARDS_CAMERA: Vector = (0, 0, -1)
_DEPTH = 11  # of a house, meters
_FRAMES = ((225, 225, 220), (60, 60, 60), (150, 120, 90))
_SHOPS = ((160, 40, 40), (40, 80, 130), (50, 60, 50), (200, 160, 60), (90, 90, 90))


class Style(NamedTuple):
    """The look of a facade; lengths in meters."""

    color: Color
    glass: Color
    frame: Color
    roof: Color
    story_height: float
    bay: float  # width of a column of windows
    window: tuple[float, float]  # width and height as shares of a bay and a story
    shop: Color | None  # of a shop on the ground floor
    roughness: float
    height: float
    eaves: float


class Wall(NamedTuple):
    """A wall of a house: its line in the plan, its normal, and the height in meters from which it is visible."""

    line: Line
    normal: Vector
    bottom: float = 0.0


def _draw_style(rng: np.random.Generator, height: float) -> Style:
    story_height = rng.uniform(2.7, 3.8)
    is_modern = rng.random() < 0.3
    window_range = ((0.7, 0.95), (0.5, 0.7)) if is_modern else ((0.35, 0.6), (0.45, 0.6))
    return Style(
        color=vary(rng, pick(rng, FACADES)),
        glass=vary(rng, (58, 68, 78), 16),
        frame=vary(rng, pick(rng, _FRAMES), 8),
        roof=vary(rng, pick(rng, ROOFS)),
        story_height=story_height,
        bay=rng.uniform(1.6, 3.6),
        window=(rng.uniform(*window_range[0]), rng.uniform(*window_range[1])),
        shop=vary(rng, pick(rng, _SHOPS), 20) if rng.random() < 0.4 else None,
        roughness=rng.uniform(0.02, 0.09),
        height=height,
        eaves=height if is_modern else height - rng.uniform(1.5, 3.5),
    )


def house(
    canvas: Canvas, rng: np.random.Generator, line: Line, side: int, height: float, neighbor_height: float
) -> None:
    """A house along the street: its front, and the gable that faces the camera.

    Args:
        line: the front, near end first.
        side: of the street, -1 left, 1 right.
        height, neighbor_height: meters; the nearer neighbor hides the gable up to its height (0 without a neighbor).
    """
    style = _draw_style(rng, height)
    object_id = canvas.add_object("building")
    near, _ = line
    if height > neighbor_height:
        gable = ((near[0] + side * _DEPTH, near[1]), near)
        _draw_wall(canvas, rng, style, object_id, Wall(gable, _TOWARDS_CAMERA, neighbor_height))
    _draw_wall(canvas, rng, style, object_id, Wall(line, (-side, 0, 0)))


def far_house(canvas: Canvas, rng: np.random.Generator, line: Line, height: float) -> None:
    """A house across the end of the street."""
    style = _draw_style(rng, height)
    _draw_wall(canvas, rng, style, canvas.add_object("building"), Wall(line, _TOWARDS_CAMERA))


def _draw_wall(canvas: Canvas, rng: np.random.Generator, style: Style, object_id: int, wall: Wall) -> None:
    plane = canvas.camera.plane(*wall.line, wall.bottom, style.height)
    offset = rng.integers(512)
    if plane is None:
        return
    along = np.broadcast_to(plane.along, plane.height.shape)
    height = plane.height
    colors = np.empty((*height.shape, 3), np.float32)
    colors[:] = style.color
    sharpness = np.clip(canvas.camera.focal / (plane.depth * 5), 0.35, 1)[None, :, None]
    colors += _details(style, along, height, offset) * sharpness
    texture = noise(along * 14 + offset, height * 14) * np.float32(style.roughness)
    colors *= (1 + texture)[..., None]
    colors *= np.array(canvas.light.factors(wall.normal), np.float32)
    owned = (height >= wall.bottom) & (height < style.height)
    canvas.paste(plane.top, plane.left, canvas.light.apply_haze(colors, plane.depth[None]), object_id, owned)


def _details(style: Style, along: np.ndarray, height: np.ndarray, offset: np.int64) -> np.ndarray:
    """What windows, a shop, ledges and the roof add to the color of the facade, float32 (R, C, 3)."""
    column = along / np.float32(style.bay)
    row = height / np.float32(style.story_height)
    horizontal = np.abs(column % 1 - 0.5) * 2
    vertical = np.abs(row % 1 - 0.52) * 2
    window = (horizontal < style.window[0]) & (vertical < style.window[1])
    frame = (horizontal < style.window[0] + 0.12) & (vertical < style.window[1] + 0.1) & ~window
    details = np.zeros((*height.shape, 3), np.float32)
    details[frame] = np.subtract(style.frame, style.color)
    # Each pane has its own brightness: curtains, reflections.
    pane = noise(np.floor(column) * 7 + offset, np.floor(row) * 13 + offset)
    shine = (pane * 17 + row * 2)[..., None]
    details += window[..., None] * (np.subtract(style.glass, style.color).astype(np.float32) + shine)
    if style.shop:
        ground_floor = height < style.story_height
        sign = ground_floor & (height > style.story_height - 0.7)
        display = ground_floor & ~sign & (np.abs((along / (style.bay * 1.6)) % 1 - 0.5) < 0.43) & (height > 0.4)
        details[ground_floor] = np.subtract(style.shop, style.color) * 0.45
        details[sign] = np.subtract(style.shop, style.color)
        details[display] = np.subtract(style.glass, style.color) + 10
    details[(row % 1 < 0.05) & (row > 1)] += 16
    details[height > style.eaves] = np.subtract(style.roof, style.color)
    return details
