"""The light of a scene: ambient light, sun and haze."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from minicity.drawing.colors import Color
from minicity.drawing.geometry import Vector

_FACING_CAMERA: Vector = (0.0, 0.7, -0.7)  # normal of surfaces whose orientation does not matter


@dataclass(frozen=True)
class Light:
    """The light of a scene; colors are RGB in 0 .. 255."""

    ambient: Color  # RGB factors
    sun: Color  # RGB factors
    direction: Vector  # unit vector towards the sun
    haze: Color  # the color of far things
    haze_distance: float  # meters over which a color fades to 1/e
    zenith: Color  # of the upper sky; its lower edge has the color of the haze

    @property
    def is_sunny(self) -> bool:
        """Whether the sun is strong enough for shadows with edges."""
        return sum(self.sun) > 1.2

    def factors(self, normal: Vector, lit: bool = True) -> list[float]:
        """RGB factors on a surface with this unit normal; `lit` is False in the shadow."""
        x, y, z = normal
        sun_x, sun_y, sun_z = self.direction
        facing = max(0.0, x * sun_x + y * sun_y + z * sun_z) if lit else 0.0
        return [ambient + sun * facing for ambient, sun in zip(self.ambient, self.sun, strict=True)]

    def seen_color(
        self, color: Color, depth: float, normal: Vector = _FACING_CAMERA, lit: bool = True
    ) -> tuple[int, int, int]:
        """The color that the camera sees of a flat surface at `depth` meters."""
        clear = math.exp(-depth / self.haze_distance)
        terms = zip(color, self.factors(normal, lit), self.haze, strict=True)
        red, green, blue = [int(albedo * factor * clear + haze * (1 - clear)) for albedo, factor, haze in terms]
        return min(255, max(0, red)), min(255, max(0, green)), min(255, max(0, blue))

    def apply_haze(self, colors: np.ndarray, depth: ArrayLike) -> np.ndarray:
        """Mix lit colors, float32 (R, C, 3), with the haze: uint8 (R, C, 3). `depth` in meters is broadcast to (R, C)."""
        clear = np.exp(np.asarray(depth, np.float32) / np.float32(-self.haze_distance))[..., None]
        mixed = colors * clear + np.array(self.haze, np.float32) * (1 - clear)
        return np.clip(mixed, 0, 255, out=mixed).astype(np.uint8)
