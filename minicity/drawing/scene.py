"""A street scene in perspective, with its labels, drawn from one random generator an image."""

import math

import numpy as np

from helpers.labels import CITYSCAPES
from minicity.drawing import ground
from minicity.drawing.arrangement import draw_things
from minicity.drawing.canvas import Camera, Canvas, Light, noise
from minicity.drawing.colors import PAINTS, pick, vary
from minicity.drawing.street import draw_street

SPLITS = {"train": 0, "val": 1, "test": 2}
_PURPOSE = 0x5CE7E  # keeps these draws apart from every other use of the same seed
_OUT_OF_ROI = next(row.id for row in CITYSCAPES.rows if row.name == "out of roi")


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
    street = draw_street(rng, canvas.light)
    ground.sky(canvas, rng)
    ground.ground(canvas, rng, street)
    draw_things(canvas, rng, street)
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


def _bonnet(canvas, rng):
    """The bonnet of the car that carries the camera: "ego vehicle", void."""
    height, width = canvas.camera.size
    rise = height * rng.uniform(0.05, 0.11)
    across = np.linspace(-1, 1, width, dtype=np.float32)
    edge = height - rise * (1 - 0.45 * across**2 - 0.3 * np.abs(across) ** 6)
    first = math.floor(float(edge.min()))
    rows = np.arange(first, height, dtype=np.float32)[:, None]
    owned = rows >= edge[None, :]
    paint = np.multiply(vary(rng, pick(rng, PAINTS), 5), canvas.light.factor((0, 1, 0)))
    shine = 0.55 + 0.7 * np.exp(-(rows - edge[None, :]) / np.float32(height * 0.02))
    shine = shine + 0.08 * noise(across[None, :] * 60 + rng.integers(512), rows * 200 / height)
    colors = np.clip(shine[..., None] * paint.astype(np.float32) + 6, 0, 255).astype(np.uint8)
    canvas.paste(first, 0, colors, canvas.thing("ego vehicle"), owned)


def _sensor(rng, image):
    """What the camera does to the picture: surfaces' fine grain, exposure, fall-off to the corners, noise."""
    height, width = image.shape[:2]
    grain = rng.standard_normal((height, width), np.float32)[..., None] * np.float32(rng.uniform(1.0, 4.5))
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
    gain = np.float32(rng.uniform(0.86, 1.1)) * (1 - np.float32(rng.uniform(0.02, 0.12)) * (down + across))
    return np.clip(image * gain[..., None] + grain, 0, 255).astype(np.uint8)
