"""Synthetic street labels with pedestrians, and decoded pixels made of them."""

from types import SimpleNamespace

import numpy as np
import torch

from helpers.labels import CAMVID, VOID
from learning.data.datasets.statistics import DatasetStatistics

BUILDING, ROAD, PAVEMENT, PEDESTRIAN = (
    CAMVID.names.index(name) for name in ("Building", "Road", "Pavement", "Pedestrian")
)


class Memory:
    """Decoded pixels, as `learning.data.cache.FilePixels` returns them; each class has its own gray value."""

    device = torch.device("cpu")

    def __init__(self, labels, instances=None):
        self.labels = [np.asarray(label, np.uint8) for label in labels]
        self.samples = [SimpleNamespace(instances=instances) for _ in labels]

    def __len__(self):
        return len(self.labels)

    def image(self, index):
        return torch.from_numpy(np.repeat(gray(self.labels[index])[:, :, None], 3, 2)).permute(2, 0, 1)

    def label(self, index):
        return torch.from_numpy(self.labels[index])

    def statistics(self, num_classes=11):
        sizes = np.array([label.shape for label in self.labels])
        pixels = np.array([np.bincount(label.ravel(), minlength=256)[:num_classes] for label in self.labels])
        return DatasetStatistics(sizes, pixels, sizes.prod(1) - pixels.sum(1))


def gray(label):
    """The gray value of each class."""
    return np.where(label == VOID, 0, label * 20 + 10).astype(np.uint8)


def street(height=40, width=60):
    """Building above, pavement below it, road at the bottom."""
    label = np.full((height, width), BUILDING, np.uint8)
    label[height // 2 :] = PAVEMENT
    label[3 * height // 4 :] = ROAD
    return label
