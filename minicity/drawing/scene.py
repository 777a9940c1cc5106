"""A street scene in perspective with its labels, drawn from one random generator per image."""

import math

import numpy as np

from helpers.labels import CITYSCAPES
from minicity.drawing.canvas import Canvas
from minicity.drawing.colors import PAINTS, Color, pick, vary
from minicity.drawing.geometry import Camera
from minicity.drawing.ground import draw_ground, draw_sky
from minicity.drawing.light import Light
from minicity.drawing.noise import noise
from minicity.drawing.placement import draw_objects
from minicity.drawing.street import draw_street

SPLITS = {"train": 0, "val": 1, "test": 2}
_PURPOSE = 0x5CE7E  # second word of the Philox key, so that no other use of the seed shares the stream
_OUT_OF_ROI = next(row.id for row in CITYSCAPES.rows if row.name == "out of roi")


def draw_scene(seed: int, split: str, index: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one image of the data set; it depends on these arguments only.

    Args:
        seed, index: 0 or more; `index` is the number of the image in its split.
        split: "train", "val" or "test".
        size: (height, width), at least 32 x 32.

    Returns:
        Image, uint8 (H, W, 3) RGB; Cityscapes label ids, uint8 (H, W); instance ids, uint16 (H, W): label id * 1000 + counter
        for each object of a class with instances, the label id for everything else and for groups.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, _PURPOSE], counter=[0, 0, SPLITS[split], index]))
    canvas = Canvas(_camera(rng, size), _light(rng))
    street = draw_street(rng, canvas.light)
    draw_sky(canvas, rng)
    draw_ground(canvas, rng, street)
    draw_objects(canvas, rng, street)
    _hood(canvas, rng)
    image, labels, instances = canvas.finish(blur=rng.uniform(0.2, 0.5) * size[0] / 256)
    edge = max(1, round(size[1] / 400))
    for border in (np.s_[:, :edge], np.s_[:, size[1] - edge :], np.s_[:edge]):
        labels[border] = _OUT_OF_ROI
        instances[border] = _OUT_OF_ROI
    return _sensor(rng, image), labels, instances


def _camera(rng: np.random.Generator, size: tuple[int, int]) -> Camera:
    height, width = size
    horizon = height * (0.42 + rng.normal(0, 0.015))
    return Camera(size, rng.uniform(1.2, 1.4), horizon, width * rng.uniform(1.0, 1.15), rng.normal(0, 0.045))


def _light(rng: np.random.Generator) -> Light:
    """Sun, overcast or dusk."""
    weather = rng.choice(3, p=(0.5, 0.36, 0.14))
    azimuth = rng.uniform(0, 2 * math.pi)
    elevation = rng.uniform(0.35, 1.1)
    direction = (
        math.cos(azimuth) * math.cos(elevation),
        math.sin(elevation),
        math.sin(azimuth) * math.cos(elevation),
    )
    warmth = np.array([1 + rng.normal(0, 0.05), 1.0, 1 - rng.normal(0, 0.06)])
    if weather == 0:
        ambient = rng.uniform(0.42, 0.56) * np.array([0.94, 1, 1.08])
        sun = rng.uniform(0.5, 0.75) * np.array([1.06, 1, 0.88])
        haze = (222, 230, 238)
        zenith = vary(rng, (112, 156, 212), 18)
        haze_distance = rng.uniform(160, 500)
    elif weather == 1:
        ambient = rng.uniform(0.62, 0.85) * np.array([0.98, 1, 1.04])
        sun = 0.1 * np.ones(3)
        haze = vary(rng, (222, 224, 226), 12)
        zenith = vary(rng, (200, 204, 210), 16)
        haze_distance = rng.uniform(70, 260)
    else:
        ambient = rng.uniform(0.3, 0.42) * np.array([0.96, 0.98, 1.14])
        sun = 0.22 * np.array([1.3, 0.9, 0.55])
        haze = vary(rng, (206, 168, 142), 16)
        zenith = vary(rng, (96, 106, 142), 14)
        haze_distance = rng.uniform(120, 300)
    return Light(
        _color(ambient * warmth),
        _color(sun * warmth),
        direction,
        _color(np.multiply(haze, warmth)),
        haze_distance,
        zenith,
    )


def _color(values: np.ndarray) -> Color:
    red, green, blue = values
    return red, green, blue


def _hood(canvas: Canvas, rng: np.random.Generator) -> None:
    """The hood of the car that carries the camera: "ego vehicle", void."""
    height, width = canvas.camera.size
    rise = height * rng.uniform(0.05, 0.11)
    across = np.linspace(-1, 1, width, dtype=np.float32)
    edge = height - rise * (1 - 0.45 * across**2 - 0.3 * np.abs(across) ** 6)
    first = math.floor(float(edge.min()))
    rows = np.arange(first, height, dtype=np.float32)[:, None]
    owned = rows >= edge[None, :]
    paint = np.multiply(vary(rng, pick(rng, PAINTS), 5), canvas.light.factors((0, 1, 0)))
    shine = 0.55 + 0.7 * np.exp(-(rows - edge[None, :]) / np.float32(height * 0.02))
    shine = shine + 0.08 * noise(across[None, :] * 60 + rng.integers(512), rows * 200 / height)
    colors = np.clip(shine[..., None] * paint.astype(np.float32) + 6, 0, 255).astype(np.uint8)
    canvas.paste(first, 0, colors, canvas.add_object("ego vehicle"), owned)


def _sensor(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Exposure, vignetting and noise."""
    height, width = image.shape[:2]
    grain = rng.standard_normal((height, width), np.float32)[..., None] * np.float32(rng.uniform(1.0, 4.5))
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
    gain = np.float32(rng.uniform(0.86, 1.1)) * (1 - np.float32(rng.uniform(0.02, 0.12)) * (down + across))
    return np.clip(image * gain[..., None] + grain, 0, 255).astype(np.uint8)
