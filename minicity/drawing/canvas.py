"""What the drawn scenes are painted with: a pinhole camera, light with haze, a picture that knows whose each pixel is.

World coordinates are metres: x to the right, y up from the ground, z forward along the street; the camera stands above
the origin. Colors are RGB in 0 .. 255, lengths in the picture are pixels, and a point of the plan is (x, z).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from helpers.labels import CITYSCAPES

NEAR = 0.6  # metres; what is nearer to the camera is not drawn
_IDS = {row.name: row.id for row in CITYSCAPES.rows}
_TILE = 512  # period of the noise, a power of two


@lru_cache(maxsize=3)
def _noise_tile(slope):
    """float32 (512, 512): periodic noise, mean 0 and standard deviation 1, its amplitudes falling as 1 / f^slope."""
    generator = np.random.Generator(np.random.Philox(key=[0, 0x7E87]))
    spectrum = np.fft.rfft2(generator.standard_normal((_TILE, _TILE)))
    frequency = np.hypot(np.fft.fftfreq(_TILE)[:, None], np.fft.rfftfreq(_TILE)[None, :])
    frequency[0, 0] = np.inf
    tile = np.fft.irfft2(spectrum / frequency**slope, (_TILE, _TILE))
    return (tile / tile.std()).astype(np.float32)


def noise(x, y, slope=0.9):
    """Noise at positions that are broadcast against each other; one cell is one unit, the period 512 units.

    Args:
        x, y: float or int arrays.
        slope: 0.9 is the grain of surfaces, 1.2 clumps of leaves, 1.6 the softness of clouds.

    Returns:
        float32 array, mean 0, standard deviation 1.
    """
    rows, columns = np.asarray(y).astype(np.int32) & (_TILE - 1), np.asarray(x).astype(np.int32) & (_TILE - 1)
    return _noise_tile(slope)[rows, columns]


class Plane(NamedTuple):
    """The part of a vertical plane that is in the picture, a box of (R, C) pixels.

    Args:
        top, left: its first pixel.
        along: float32 (C,), metres from the start of the plan.
        height: float32 (R, C), metres above ground.
        depth: float32 (C,), metres to the camera.
    """

    top: int
    left: int
    along: np.ndarray
    height: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Args:
        size: (height, width) of the picture.
        height: metres above ground.
        horizon: row of the horizon.
        focal: focal length in pixels.
        yaw: radians that the camera is turned to the right of the street's direction.
    """

    size: tuple
    height: float
    horizon: float
    focal: float
    yaw: float

    def turn(self, x, z):
        """Plan coordinates seen from the camera: (to the right, depth)."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return x * cos - z * sin, x * sin + z * cos

    def project(self, point):
        """(column, row, depth) of a world point (x, y, z)."""
        right, depth = self.turn(point[0], point[2])
        scale = self.focal / max(depth, NEAR)
        return self.size[1] / 2 + right * scale, self.horizon + (self.height - point[1]) * scale, depth

    def ground(self):
        """Where each pixel below the horizon meets the ground.

        Returns:
            (first row, x (R, W), z (R, W), depth (R, 1)), float32.
        """
        first = max(0, math.floor(self.horizon) + 1)
        rows = np.arange(first, self.size[0], dtype=np.float32)[:, None] + np.float32(0.5)
        columns = np.arange(self.size[1], dtype=np.float32)[None, :] + np.float32(0.5 - self.size[1] / 2)
        depth = np.float32(self.focal * self.height) / (rows - np.float32(self.horizon))
        right = columns * depth / np.float32(self.focal)
        cos, sin = np.float32(math.cos(self.yaw)), np.float32(math.sin(self.yaw))
        return first, right * cos + depth * sin, depth * cos - right * sin, depth

    def plane(self, start, end, bottom, top):
        """The pixels of the vertical plane over the plan from `start` to `end`, each (x, z), between two heights.

        Returns:
            Plane, or None where nothing of it is in the picture.
        """
        (x0, z0), (x1, z1) = self.turn(*start), self.turn(*end)
        if max(z0, z1) <= NEAR:
            return None
        # the plan is cut where it passes the camera
        cut = (x0 + (NEAR - z0) / (z1 - z0) * (x1 - x0), NEAR) if min(z0, z1) < NEAR else None
        ends = [(x, z) if z >= NEAR else cut for x, z in ((x0, z0), (x1, z1))]
        edges = sorted(self.size[1] / 2 + self.focal * x / z for x, z in ends)
        left, right = max(0, math.ceil(edges[0] - 0.5)), min(self.size[1], math.ceil(edges[1] - 0.5))
        closest, farthest = sorted(z for _, z in ends)
        highest = self.horizon + self.focal * (self.height - top) / (closest if top > self.height else farthest)
        lowest = self.horizon + self.focal * (self.height - bottom) / (closest if bottom < self.height else farthest)
        first, last = max(0, math.floor(highest)), min(self.size[0], math.ceil(lowest))
        if right <= left or last <= first:
            return None
        ray = (np.arange(left, right, dtype=np.float32) + np.float32(0.5 - self.size[1] / 2)) / np.float32(self.focal)
        part = np.clip((ray * z0 - x0) / ((x1 - x0) - ray * (z1 - z0)), 0, 1).astype(np.float32)
        depth = np.maximum(z0 + part * np.float32(z1 - z0), np.float32(NEAR))
        rows = np.arange(first, last, dtype=np.float32)[:, None] + np.float32(0.5 - self.horizon)
        height = np.float32(self.height) - rows * (depth / np.float32(self.focal))
        return Plane(first, left, part * np.float32(math.hypot(x1 - x0, z1 - z0)), height, depth)


@dataclass(frozen=True)
class Light:
    """The light of a scene.

    Args:
        ambient, sun: RGB factors of what comes from everywhere and of what comes from the sun.
        direction: unit vector towards the sun.
        haze: RGB that distance turns into.
        reach: metres over which a color fades to 1/e.
        zenith: RGB of the upper sky; its lower edge has the color of the haze.
    """

    ambient: tuple
    sun: tuple
    direction: tuple
    haze: tuple
    reach: float
    zenith: tuple

    @property
    def is_sunny(self):
        """Whether the sun is strong enough for shadows with edges."""
        return sum(self.sun) > 1.2

    def factor(self, normal, lit=True):
        """RGB factors on a surface with that unit normal; `lit` is False in the shadow."""
        (x, y, z), (sun_x, sun_y, sun_z) = normal, self.direction
        facing = max(0.0, x * sun_x + y * sun_y + z * sun_z) if lit else 0.0
        return [ambient + sun * facing for ambient, sun in zip(self.ambient, self.sun, strict=True)]

    def tone(self, color, depth, normal=(0.0, 0.7, -0.7), lit=True):
        """The RGB tuple of ints that the camera sees of a flat surface."""
        clear = math.exp(-depth / self.reach)
        terms = zip(color, self.factor(normal, lit), self.haze, strict=True)
        red, green, blue = [int(albedo * factor * clear + haze * (1 - clear)) for albedo, factor, haze in terms]
        return min(255, max(0, red)), min(255, max(0, green)), min(255, max(0, blue))

    def fade(self, colors, depth):
        """Put the haze over lit colors.

        Args:
            colors: float32 (R, C, 3).
            depth: metres, broadcast to (R, C).

        Returns:
            uint8 (R, C, 3)
        """
        clear = np.exp(np.asarray(depth, np.float32) / np.float32(-self.reach))[..., None]
        mixed = colors * clear + np.array(self.haze, np.float32) * (1 - clear)
        return np.clip(mixed, 0, 255, out=mixed).astype(np.uint8)


class Place(NamedTuple):
    """Where a thing stands: plan position, heading (radians, 0 ahead, positive to the right), whether in the sun."""

    x: float
    z: float
    heading: float = 0.0
    lit: bool = True

    def at(self, right, up, forward):
        """World point of a point in the thing's own frame."""
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return self.x + right * cos + forward * sin, up, self.z - right * sin + forward * cos

    def normal(self, right, up, forward):
        """World direction of a direction in the thing's own frame."""
        x, y, z = Place(0.0, 0.0, self.heading).at(right, up, forward)
        return x, y, z

    def seen_from(self):
        """(right, forward) of the camera in the thing's own frame."""
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return -self.x * cos + self.z * sin, -self.x * sin - self.z * cos


class Canvas:
    """A color picture and, beside it, the number of the thing that each pixel belongs to.

    What is painted later covers what was painted before, so a scene is painted from far to near.
    """

    def __init__(self, camera, light):
        self.camera, self.light = camera, light
        height, width = camera.size
        self._image, self._numbers = Image.new("RGB", (width, height)), Image.new("I", (width, height))
        self._draw, self._own = ImageDraw.Draw(self._image), ImageDraw.Draw(self._numbers)
        self._labels, self._instances, self._counts = [0], [0], {}

    def thing(self, name, instance=False):
        """A number for a thing of the Cityscapes class `name`; `instance` gives it an instance id of its own."""
        label = _IDS[name]
        self._labels.append(label)
        if instance:
            self._counts[label] = self._counts.get(label, -1) + 1
            label = label * 1000 + self._counts[label]
        self._instances.append(label)
        return len(self._labels) - 1

    def face(self, points, color, number, normal=(0.0, 0.7, -0.7), lit=True):
        """Fill the flat polygon of world points; `color` None leaves the picture and only claims the pixels."""
        seen = [self.camera.project(point) for point in points]
        if min(depth for _, _, depth in seen) < NEAR:
            return
        corners = [(u, v) for u, v, _ in seen]
        if color is not None:
            self._draw.polygon(corners, self.light.tone(color, seen[0][2], normal, lit))
        self._own.polygon(corners, number)

    def limb(self, start, end, radius, color, number, lit=True):
        """A round bar from one world point to another, `radius` metres thick and never thinner than a pixel."""
        u0, v0, z0 = self.camera.project(start)
        u1, v1, z1 = self.camera.project(end)
        if min(z0, z1) < NEAR:
            return
        half = radius * self.camera.focal / max(min(z0, z1), NEAR)
        width, color = max(1, round(2 * half)), self.light.tone(color, z0, lit=lit)
        for draw, fill in ((self._draw, color), (self._own, number)):
            draw.line((u0, v0, u1, v1), fill, width)
            if width > 2:
                for u, v in ((u0, v0), (u1, v1)):
                    draw.ellipse((u - half, v - half, u + half, v + half), fill)

    def shape(self, center, outline, color, number, lit=True):
        """A flat polygon that faces the camera: `outline` are (right, up) metres around a world point."""
        u, v, depth = self.camera.project(center)
        if depth < NEAR:
            return
        scale = self.camera.focal / depth
        corners = [(u + right * scale, v - up * scale) for right, up in outline]
        self._draw.polygon(corners, self.light.tone(color, depth, lit=lit))
        self._own.polygon(corners, number)

    def shadow(self, points, strength):
        """Darken a polygon of world points; the pixels keep their owner. `strength` 0 .. 1."""
        seen = [self.camera.project(point) for point in points]
        if min(depth for _, _, depth in seen) < NEAR:
            return
        left, top = (max(0, math.floor(min(p[axis] for p in seen))) for axis in (0, 1))
        right = min(self.camera.size[1], math.ceil(max(p[0] for p in seen)) + 1)
        bottom = min(self.camera.size[0], math.ceil(max(p[1] for p in seen)) + 1)
        if right <= left or bottom <= top:
            return
        mask = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(mask).polygon([(u - left, v - top) for u, v, _ in seen], round(255 * strength))
        self._image.paste((12, 13, 18), (left, top, right, bottom), mask)

    def paste(self, top, left, colors, number, owned=None, painted=None):
        """Lay a piece of picture on the canvas.

        Args:
            top, left: where, pixels; the piece lies inside the picture.
            colors: uint8 (R, C, 3).
            number: the thing's, or int32 (R, C) of numbers.
            owned: bool (R, C), pixels that become the thing's; None for all.
            painted: bool (R, C), pixels that get the colors; None for the owned ones.
        """
        owned = _mask(owned)
        painted = owned if painted is None else _mask(painted)
        self._image.paste(Image.fromarray(colors), (left, top), painted)
        if isinstance(number, np.ndarray):
            self._numbers.paste(Image.fromarray(number), (left, top), owned)
        else:
            box = (left, top, left + colors.shape[1], top + colors.shape[0])
            self._numbers.paste(number, box, owned)

    def finish(self, blur):
        """What was painted, with the colors blurred.

        Returns:
            (image uint8 (H, W, 3), labels uint8 (H, W), instances uint16 (H, W))
        """
        numbers = np.asarray(self._numbers)
        image = np.asarray(self._image.filter(ImageFilter.BoxBlur(blur)))
        return image, np.array(self._labels, np.uint8)[numbers], np.array(self._instances, np.uint16)[numbers]


def _mask(pixels):
    return None if pixels is None else Image.fromarray(pixels.astype(np.uint8) * np.uint8(255))
