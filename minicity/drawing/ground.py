"""Sky and ground, which fill the whole image before objects are drawn."""

import numpy as np

from minicity.drawing.canvas import Canvas
from minicity.drawing.light import Light
from minicity.drawing.noise import noise
from minicity.drawing.street import Street


def draw_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    """Fill the image with sky: a gradient and clouds."""
    height, width = canvas.camera.size
    light = canvas.light
    horizon = max(1.0, canvas.camera.horizon)
    up = np.clip(1 - np.arange(height, dtype=np.float32) / np.float32(horizon), 0, 1)[:, None]
    stretch = 160 / horizon
    rows = np.arange(height)[:, None] * stretch * 1.6
    columns = np.arange(width)[None, :] * stretch * 0.45
    cover = noise(columns + rng.integers(512), rows + rng.integers(512), slope=1.6)
    clouds = np.clip(cover * rng.uniform(0, 0.6) + rng.uniform(-0.6, 0.5), 0, 1)[..., None]
    zenith = np.array(light.zenith, np.float32)
    haze = np.array(light.haze, np.float32)
    colors = haze + (zenith - haze) * (up**0.8)[..., None]
    bright = np.minimum(255, haze * 1.06 + 6)
    mixed = colors * (1 - clouds) + bright * clouds
    canvas.paste(0, 0, np.clip(mixed, 0, 255).astype(np.uint8), canvas.add_object("sky"))


def draw_ground(canvas: Canvas, rng: np.random.Generator, street: Street) -> None:
    """Fill everything below the horizon: strips, side streets, markings, curbs, paving and shade."""
    first, x, z, depth = canvas.camera.ground()
    if first >= canvas.camera.size[0]:
        return
    lateral = street.lateral(x, z)
    strip = np.digitize(lateral, [strip.edge for strip in street.strips[:-1]]).astype(np.uint8)
    crossing = street.crossing_mask(z)
    strip[crossing & ((lateral < -street.sides[-1].road_edge) | (lateral > street.sides[1].road_edge))] = street.road
    colors = np.array([strip.color for strip in street.strips], np.float32)[strip]
    names = np.array([strip.name for strip in street.strips])
    # Shift the patterns, so that they differ between images.
    x = x + np.float32(rng.uniform(200, 400))
    z_pattern = z + np.float32(rng.uniform(0, 200))
    detail = np.clip(16 / depth, 0, 1)  # fine patterns would flicker far away
    grain = noise(x * 22, z_pattern * 22) * (0.05 + street.roughness[strip] * detail)
    stains = noise(x * 3.1, z_pattern * 0.9) * 0.06
    colors *= (1 + grain + stains)[..., None]
    paved = names[strip] == "sidewalk"
    joints = ((x % street.paving < 0.05) | (z_pattern % street.paving < 0.05)) & paved
    colors *= 1 - (0.22 * detail * joints)[..., None]
    lines = _lane_lines(street, lateral, z_pattern) & ~crossing | _zebra_stripes(street, lateral, z)
    colors += (lines & (strip == street.road))[..., None] * np.float32(street.paint)
    for sign, side in street.sides.items():
        curb = (np.abs(lateral - sign * side.road_edge) < 0.13) & ~crossing
        colors += curb[..., None] * np.float32(34)
    for rail in street.rails:
        colors[np.abs(lateral - rail) < 0.06] = (88, 84, 82)
    colors = _in_sunlight(canvas.light, street, colors, lateral, x, z_pattern)
    object_ids = np.array([canvas.add_object(strip.name) for strip in street.strips], np.int32)[strip]
    canvas.paste(first, 0, canvas.light.apply_haze(colors, depth), object_ids)


def _lane_lines(street: Street, lateral: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Which points are on a lane line, bool."""
    lines = np.zeros(lateral.shape, bool)
    for lane in street.dashed_lines:
        lines |= (np.abs(lateral - lane) < 0.09) & (z % 9 < 4)
    for lane in street.solid_lines:
        lines |= np.abs(lateral - lane) < 0.08
    return lines


def _zebra_stripes(street: Street, lateral: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Which points are on a stripe of a zebra crossing, bool."""
    lines = np.zeros(lateral.shape, bool)
    for start in street.zebra_crossings:
        lines |= (z > start) & (z < start + 3) & (lateral % 1.0 < 0.5)
    return lines


def _in_sunlight(
    light: Light, street: Street, colors: np.ndarray, lateral: np.ndarray, x: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Light the ground: ambient light only in the shadow of houses and in the dappled shade of trees."""
    sun = np.array(light.factors((0, 1, 0)), np.float32)
    ambient = np.array(light.ambient, np.float32)
    edge = street.shade_edge + np.float32(1.5) * np.sign(noise(z * 1.2, 0 * z))
    shaded = (lateral < edge) if street.shade_from_left else (lateral > edge)
    dapple = noise(x * 9, z * 5, slope=1.2) + street.dapple > 1.6
    return colors * np.where((shaded | dapple)[..., None], ambient, sun)
