"""World coordinates, the places of objects, and a pinhole camera.

World coordinates are in meters: x to the right, y up from the ground, z forward along the street. The camera is above the origin.
A plan point is (x, z). Coordinates in the image are in pixels.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

NEAR = 0.6  # meters; closer objects are not drawn

Vector: TypeAlias = tuple[float, float, float]  # (x, y, z), a world point or direction
PlanPoint: TypeAlias = tuple[float, float]  # (x, z)
Line: TypeAlias = tuple[PlanPoint, PlanPoint]  # from one plan point to another


class Place(NamedTuple):
    """Position and orientation of an object; its own frame is (right, up, forward)."""

    x: float
    z: float
    heading: float = 0.0  # radians, 0 ahead, positive to the right
    lit: bool = True  # in the sun

    def at(self, right: float, up: float, forward: float) -> Vector:
        """World point of a point in the object's frame."""
        cos = math.cos(self.heading)
        sin = math.sin(self.heading)
        return self.x + right * cos + forward * sin, up, self.z - right * sin + forward * cos

    def normal(self, right: float, up: float, forward: float) -> Vector:
        """World direction of a direction in the object's frame."""
        return Place(0.0, 0.0, self.heading).at(right, up, forward)

    def camera_position(self) -> PlanPoint:
        """(right, forward) of the camera in the object's frame."""
        cos = math.cos(self.heading)
        sin = math.sin(self.heading)
        return -self.x * cos + self.z * sin, -self.x * sin - self.z * cos


class Plane(NamedTuple):
    """The visible part of a vertical plane, a box of (R, C) pixels."""

    top: int
    left: int
    along: np.ndarray  # float32 (C,), meters from the start of the plan
    height: np.ndarray  # float32 (R, C), meters above ground
    depth: np.ndarray  # float32 (C,), meters to the camera


@dataclass(frozen=True)
class Camera:
    """A pinhole camera."""

    size: tuple[int, int]  # (height, width) of the image
    height: float  # meters above ground
    horizon: float  # row of the horizon
    focal: float  # focal length in pixels
    yaw: float  # radians, to the right of the street's direction

    def to_camera(self, x: float, z: float) -> PlanPoint:
        """Plan point in the frame of the camera: (right, depth)."""
        cos = math.cos(self.yaw)
        sin = math.sin(self.yaw)
        return x * cos - z * sin, x * sin + z * cos

    def project(self, point: Vector) -> tuple[float, float, float]:
        """(column, row, depth) of a world point."""
        right, depth = self.to_camera(point[0], point[2])
        scale = self.focal / max(depth, NEAR)
        return self.size[1] / 2 + right * scale, self.horizon + (self.height - point[1]) * scale, depth

    def ground(self) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
        """The ground point of each pixel below the horizon: first row, x (R, W), z (R, W), depth (R, 1), float32."""
        first = max(0, math.floor(self.horizon) + 1)
        rows = np.arange(first, self.size[0], dtype=np.float32)[:, None] + np.float32(0.5)
        columns = np.arange(self.size[1], dtype=np.float32)[None, :] + np.float32(0.5 - self.size[1] / 2)
        depth = np.float32(self.focal * self.height) / (rows - np.float32(self.horizon))
        right = columns * depth / np.float32(self.focal)
        cos = np.float32(math.cos(self.yaw))
        sin = np.float32(math.sin(self.yaw))
        return first, right * cos + depth * sin, depth * cos - right * sin, depth

    def plane(self, start: PlanPoint, end: PlanPoint, bottom: float, top: float) -> Plane | None:
        """The pixels of the vertical plane from `start` to `end` between two heights; None if it is not in the image."""
        x0, z0 = self.to_camera(*start)
        x1, z1 = self.to_camera(*end)
        if max(z0, z1) <= NEAR:
            return None
        ends = [(x0, z0), (x1, z1)]
        if min(z0, z1) < NEAR:  # cut the plane where it passes the camera
            cut = (x0 + (NEAR - z0) / (z1 - z0) * (x1 - x0), NEAR)
            ends = [(x, z) if z >= NEAR else cut for x, z in ends]
        edges = sorted(self.size[1] / 2 + self.focal * x / z for x, z in ends)
        left = max(0, math.ceil(edges[0] - 0.5))
        right = min(self.size[1], math.ceil(edges[1] - 0.5))
        closest, farthest = sorted(z for _, z in ends)
        highest = self.horizon + self.focal * (self.height - top) / (closest if top > self.height else farthest)
        lowest = self.horizon + self.focal * (self.height - bottom) / (closest if bottom < self.height else farthest)
        first = max(0, math.floor(highest))
        last = min(self.size[0], math.ceil(lowest))
        if right <= left or last <= first:
            return None
        ray = (np.arange(left, right, dtype=np.float32) + np.float32(0.5 - self.size[1] / 2)) / np.float32(self.focal)
        part = np.clip((ray * z0 - x0) / ((x1 - x0) - ray * (z1 - z0)), 0, 1).astype(np.float32)
        depth = np.maximum(z0 + part * np.float32(z1 - z0), np.float32(NEAR))
        rows = np.arange(first, last, dtype=np.float32)[:, None] + np.float32(0.5 - self.horizon)
        height = np.float32(self.height) - rows * (depth / np.float32(self.focal))
        return Plane(first, left, part * np.float32(math.hypot(x1 - x0, z1 - z0)), height, depth)
