"""An image on which objects are drawn, together with the object that owns each pixel."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from helpers.labels import CITYSCAPES
from minicity.drawing.colors import Color
from minicity.drawing.geometry import NEAR, Camera, Vector
from minicity.drawing.light import Light

_LABEL_IDS = {row.name: row.id for row in CITYSCAPES.rows}
_SHADOW_COLOR = (12, 13, 18)


class Canvas:
    """A color image and, beside it, the object id of each pixel.

    Later drawing covers earlier drawing, so scenes are drawn from far to near. Polygons and bars with a point closer than
    `NEAR` are left out.
    """

    def __init__(self, camera: Camera, light: Light) -> None:
        self.camera = camera
        self.light = light
        height, width = camera.size
        self._image = Image.new("RGB", (width, height))
        self._objects = Image.new("I", (width, height))
        self._draw_color = ImageDraw.Draw(self._image)
        self._draw_object = ImageDraw.Draw(self._objects)
        self._labels = [0]  # by object id
        self._instances = [0]  # by object id
        self._num_instances: dict[int, int] = {}  # by label id

    def add_object(self, name: str, instance: bool = False) -> int:
        """A new object id for the Cityscapes class `name`; `instance` gives it an instance id of its own."""
        label = _LABEL_IDS[name]
        self._labels.append(label)
        instance_id = label
        if instance:
            counter = self._num_instances.get(label, 0)
            self._num_instances[label] = counter + 1
            instance_id = label * 1000 + counter
        self._instances.append(instance_id)
        return len(self._labels) - 1

    def polygon(
        self,
        points: Sequence[Vector],
        color: Color | None,
        object_id: int,
        normal: Vector = (0.0, 0.7, -0.7),
        lit: bool = True,
    ) -> None:
        """Fill the flat polygon of world points; `color` None only sets the owner of the pixels."""
        projected = [self.camera.project(point) for point in points]
        if min(depth for _, _, depth in projected) < NEAR:
            return
        corners = [(u, v) for u, v, _ in projected]
        if color is not None:
            self._draw_color.polygon(corners, self.light.seen_color(color, projected[0][2], normal, lit))
        self._draw_object.polygon(corners, object_id)

    def bar(self, start: Vector, end: Vector, radius: float, color: Color, object_id: int, lit: bool = True) -> None:
        """Draw a round bar between world points; `radius` is in meters, and the bar is at least a pixel wide."""
        u0, v0, z0 = self.camera.project(start)
        u1, v1, z1 = self.camera.project(end)
        if min(z0, z1) < NEAR:
            return
        half = radius * self.camera.focal / max(min(z0, z1), NEAR)
        width = max(1, round(2 * half))
        for draw, fill in (
            (self._draw_color, self.light.seen_color(color, z0, lit=lit)),
            (self._draw_object, object_id),
        ):
            draw.line((u0, v0, u1, v1), fill, width)
            if width > 2:
                for u, v in ((u0, v0), (u1, v1)):
                    draw.ellipse((u - half, v - half, u + half, v + half), fill)

    def billboard(
        self, center: Vector, outline: Sequence[tuple[float, float]], color: Color, object_id: int, lit: bool = True
    ) -> None:
        """Fill a flat polygon that faces the camera; `outline` is (right, up) in meters around a world point."""
        u, v, depth = self.camera.project(center)
        if depth < NEAR:
            return
        scale = self.camera.focal / depth
        corners = [(u + right * scale, v - up * scale) for right, up in outline]
        self._draw_color.polygon(corners, self.light.seen_color(color, depth, lit=lit))
        self._draw_object.polygon(corners, object_id)

    def shadow(self, points: Sequence[Vector], strength: float) -> None:
        """Darken a polygon of world points without changing owners; `strength` is 0 .. 1."""
        projected = [self.camera.project(point) for point in points]
        if min(depth for _, _, depth in projected) < NEAR:
            return
        columns = [u for u, _, _ in projected]
        rows = [v for _, v, _ in projected]
        left = max(0, math.floor(min(columns)))
        top = max(0, math.floor(min(rows)))
        right = min(self.camera.size[1], math.ceil(max(columns)) + 1)
        bottom = min(self.camera.size[0], math.ceil(max(rows)) + 1)
        if right <= left or bottom <= top:
            return
        mask = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(mask).polygon([(u - left, v - top) for u, v, _ in projected], round(255 * strength))
        self._image.paste(_SHADOW_COLOR, (left, top, right, bottom), mask)

    def paste(
        self,
        top: int,
        left: int,
        colors: np.ndarray,
        object_id: int | np.ndarray,
        owned: np.ndarray | None = None,
        painted: np.ndarray | None = None,
    ) -> None:
        """Paste a rectangle of pixels, uint8 (R, C, 3), that lies inside the image.

        Args:
            object_id: of all pixels, or int32 (R, C).
            owned: bool (R, C), pixels that get the object id; None for all.
            painted: bool (R, C), pixels that get the colors; None for the owned ones.
        """
        owned_mask = _mask(owned)
        painted_mask = owned_mask if painted is None else _mask(painted)
        self._image.paste(Image.fromarray(colors), (left, top), painted_mask)
        if isinstance(object_id, np.ndarray):
            self._objects.paste(Image.fromarray(object_id), (left, top), owned_mask)
        else:
            box = (left, top, left + colors.shape[1], top + colors.shape[0])
            self._objects.paste(object_id, box, owned_mask)

    def finish(self, blur: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image uint8 (H, W, 3), blurred; label ids uint8 (H, W); instance ids uint16 (H, W)."""
        objects = np.asarray(self._objects)
        image = np.asarray(self._image.filter(ImageFilter.BoxBlur(blur)))
        return image, np.array(self._labels, np.uint8)[objects], np.array(self._instances, np.uint16)[objects]


def _mask(pixels: np.ndarray | None) -> Image.Image | None:
    return None if pixels is None else Image.fromarray(pixels.astype(np.uint8) * np.uint8(255))
