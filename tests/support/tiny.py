"""Tiny data sets, drawn with fixed seeds: a class is a color, so that a network can learn them in a few steps."""

import numpy as np
from PIL import Image

from helpers.labels import CAMVID, CITYSCAPES


def draw(rng, table, size, num_blocks=12):
    """(uint8 (H, W, 3), uint8 (H, W) of label ids): rectangles of random classes, noisy class colors."""
    height, width = size
    ids = [row.id for row in table.classes]
    label = np.full(size, ids[0], np.uint8)
    for _ in range(num_blocks):
        top, left = rng.integers(height), rng.integers(width)
        label[top : top + rng.integers(4, height // 2), left : left + rng.integers(4, width // 2)] = rng.choice(ids)
    colors = np.zeros((256, 3))
    colors[[row.id for row in table.rows]] = [row.color for row in table.rows]
    image = np.clip(colors[label] + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)
    label[: height // 8, : width // 4] = table.void_id
    return image, label


def save(path, pixels):
    """Write an image, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def make_camvid(root, counts=(("train", 5), ("val", 3), ("test", 2)), size=(48, 64), seed=0, suffix=".png"):
    """Write a CamVid-like data set, without test labels; returns its folder."""
    rng = np.random.default_rng(seed)
    for split, count in counts:
        for index in range(count):
            image, label = draw(rng, CAMVID, size)
            name = f"0001TP_{split}{index:03d}"
            save(root / split / f"{name}{suffix}", image)
            if split != "test":
                save(root / f"{split}annot" / f"{name}.png", label)
    return root


def make_minicity(root, counts=(("train", 5), ("val", 3), ("test", 2)), size=(48, 96), seed=0):
    """Write a MiniCity-like data set with instance maps, flat folders, without test labels; returns its folder."""
    rng = np.random.default_rng(seed)
    for split, count in counts:
        for index in range(count):
            image, label = draw(rng, CITYSCAPES, size)
            name = f"tiny_{index:06d}_000019"
            save(root / "leftImg8bit" / split / f"{name}_leftImg8bit.png", image)
            if split != "test":
                has_instances = np.isin(label, [row.id for row in CITYSCAPES.rows if row.has_instances])
                instances = np.where(has_instances, label.astype(np.uint16) * 1000 + 1, label).astype(np.uint16)
                save(root / "gtFine" / split / f"{name}_gtFine_labelIds.png", label)
                save(root / "gtFine" / split / f"{name}_gtFine_instanceIds.png", instances)
    return root
