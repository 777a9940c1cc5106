"""Sky and ground: what fills the whole picture before anything stands in it."""

import numpy as np

from minicity.drawing.canvas import noise


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
    colors = haze + (zenith - haze) * (up**0.8)[..., None]
    bright = np.minimum(255, haze * 1.06 + 6)
    mixed = colors * (1 - clouds) + bright * clouds
    canvas.paste(0, 0, np.clip(mixed, 0, 255).astype(np.uint8), canvas.thing("sky"))


def ground(canvas, rng, street):
    """Everything below the horizon: the street's strips, its crossings, markings, kerbs, paving and shade."""
    first, x, z, depth = canvas.camera.ground()
    if first >= canvas.camera.size[0]:
        return
    side = x - street.center(z)
    strip = np.digitize(side, [strip.edge for strip in street.strips[:-1]]).astype(np.uint8)
    crossing = street.at_crossing(z)
    strip[crossing & ((side < -street.edge[-1]) | (side > street.edge[1]))] = street.road
    colors = np.array([strip.color for strip in street.strips], np.float32)[strip]
    names = np.array([strip.name for strip in street.strips])
    # patterns lie elsewhere in every image
    x, z_pattern = x + np.float32(rng.uniform(200, 400)), z + np.float32(rng.uniform(0, 200))
    detail = np.clip(16 / depth, 0, 1)  # fine patterns would flicker far away
    grain = noise(x * 22, z_pattern * 22) * (0.05 + street.roughness[strip] * detail)
    stains = noise(x * 3.1, z_pattern * 0.9) * 0.06
    colors *= (1 + grain + stains)[..., None]
    paved = names[strip] == "sidewalk"
    joints = ((x % street.paving < 0.05) | (z_pattern % street.paving < 0.05)) & paved
    colors *= 1 - (0.22 * detail * joints)[..., None]
    lines = _dashes(street, side, z_pattern) & ~crossing | _zebras(street, side, z)
    colors += (lines & (strip == street.road))[..., None] * np.float32(street.paint)
    for way, edge in street.edge.items():
        kerb = (np.abs(side - way * edge) < 0.13) & ~crossing
        colors += kerb[..., None] * np.float32(34)
    for rail in street.rails:
        colors[np.abs(side - rail) < 0.06] = (88, 84, 82)
    colors = _in_sunlight(canvas.light, street, colors, side, x, z_pattern)
    numbers = np.array([canvas.thing(strip.name) for strip in street.strips], np.int32)[strip]
    canvas.paste(first, 0, canvas.light.fade(colors, depth), numbers)


def _dashes(street, side, z):
    """bool: painted lines, dashed between lanes, solid at the edges."""
    lines = np.zeros(side.shape, bool)
    for lane in street.lane_lines:
        lines |= (np.abs(side - lane) < 0.09) & (z % 9 < 4)
    for lane in street.solid_lines:
        lines |= np.abs(side - lane) < 0.08
    return lines


def _zebras(street, side, z):
    """bool: zebra crossings."""
    lines = np.zeros(side.shape, bool)
    for start in street.zebras:
        lines |= (z > start) & (z < start + 3) & (side % 1.0 < 0.5)
    return lines


def _in_sunlight(light, street, colors, side, x, z):
    """Lit ground: the sun's part is missing where the houses' shadow lies, and dappled under trees."""
    sun, ambient = np.array(light.factor((0, 1, 0)), np.float32), np.array(light.ambient, np.float32)
    edge = street.shade_edge + np.float32(1.5) * np.sign(noise(z * 1.2, 0 * z))
    shaded = (side < edge) if street.shade_from_left else (side > edge)
    dapple = noise(x * 9, z * 5, slope=1.2) + street.dapple > 1.6
    return colors * np.where((shaded | dapple)[..., None], ambient, sun)
