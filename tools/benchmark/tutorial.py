"""An implementation of the well-known tutorial's method, which the benchmark compares with.

Written from its description, without its bugs and without needless work: it is not slowed down on purpose, and where the
description leaves a choice the faster one was taken.
"""

import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.models import segmentation
from torchvision.transforms import functional

from helpers.labels import VOID
from learning.data.augmentation.sampling import SCALE_RANGE
from learning.data.datasets.base import Sample
from learning.models import Architecture, build_model

JITTER = 0.3  # brightness, contrast, saturation in 1 - JITTER .. 1 + JITTER, hue in -JITTER .. JITTER
transforms: Any = functional  # its functions accept PIL images, but are annotated for tensors only
_NETWORKS = {
    "DeepLabv3_resnet50": segmentation.deeplabv3_resnet50,
    "DeepLabv3_resnet101": segmentation.deeplabv3_resnet101,
}


class Views(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Training samples of the tutorial: the whole image is resized before it is cropped.

    Args:
        samples: with labels.
        decode: uint8 (256,), the train id of each value in the label files.
        train_size, crop_size: (height, width).
        mean, std: of RGB, 0 .. 1.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        decode: np.ndarray,
        train_size: Sequence[int],
        crop_size: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self.samples = samples
        self.decode = decode
        self.train_size = train_size
        self.crop_size = crop_size
        self.mean = mean
        self.std = std

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalized image float32 (3, h, w), and train ids int64 (h, w)."""
        sample = self.samples[index]
        with Image.open(sample.image) as file:
            image = file.convert("RGB")
        assert sample.label
        with Image.open(sample.label) as file:
            label = file.copy()
        scale = random.uniform(*SCALE_RANGE)
        height, width = (int(length * scale) for length in self.train_size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
        label = label.resize((width, height), Image.Resampling.NEAREST)
        rows, columns = self.crop_size
        top = random.randint(0, max(0, height - rows))
        left = random.randint(0, max(0, width - columns))
        box = (left, top, left + columns, top + rows)  # black outside the image
        image = _jitter_color(image.crop(box))
        label = label.crop(box)
        if random.random() < 0.5:
            image = transforms.hflip(image)
            label = transforms.hflip(label)
        pixels = transforms.normalize(transforms.to_tensor(image), self.mean, self.std)
        return pixels, torch.from_numpy(self.decode[np.asarray(label)]).long()


def _jitter_color(image: Image.Image) -> Image.Image:
    """Pillow's brightness, contrast, saturation and hue, one after another."""
    for adjust in (transforms.adjust_brightness, transforms.adjust_contrast, transforms.adjust_saturation):
        image = adjust(image, random.uniform(1 - JITTER, 1 + JITTER))
    return transforms.adjust_hue(image, random.uniform(-JITTER, JITTER))


def loader(views: Views, batch_size: int, num_workers: int, pin_memory: bool) -> DataLoader:
    """Shuffled full batches; the workers are started again in every epoch."""
    return DataLoader(views, batch_size, shuffle=True, drop_last=True, num_workers=num_workers, pin_memory=pin_memory)


def build_network(name: str, num_classes: int, device: torch.device) -> torch.nn.Module:
    """torchvision's network with random weights, contiguous, float32; our implementation of those torchvision lacks.

    Args:
        name: a key of `learning.models.MODELS`.

    Returns:
        images (B, 3, h, w) -> {"out": logits (B, C, h, w)}
    """
    if name not in _NETWORKS:
        return build_model(Architecture(name, num_classes, "batch"), seed=0).to(device)
    return _NETWORKS[name](weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=False).to(device)


def train_epoch(
    model: torch.nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> tuple[float, float]:
    """One epoch in float32: after every step the host waits for the loss and the number of correct pixels.

    Returns:
        mean loss and mean accuracy of the batches.
    """
    model.train()
    losses = []
    accuracies = []
    for images, labels in batches:
        images = images.to(device)
        labels = labels.to(device)
        optimizer.zero_grad()
        logits = model(images)["out"]
        loss = F.cross_entropy(logits, labels, ignore_index=VOID)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        correct = (logits.argmax(1) == labels).sum().item()
        accuracies.append(correct / max(1, (labels != VOID).sum().item()))
    return sum(losses) / len(losses), sum(accuracies) / len(accuracies)


@torch.no_grad()
def predict_classes(model: torch.nn.Module, image: torch.Tensor, scales: Iterable[float], flip: bool) -> np.ndarray:
    """Classes of one image: the sum of the logits over scales and flips, each in a forward pass of its own, in float32.

    Args:
        model: as `build_network`, in evaluation mode.
        image: float32 (1, 3, h, w), normalized.
        scales: factors of the size.
        flip: whether to add the logits of the horizontally flipped image.

    Returns:
        int64 (h, w)
    """
    height, width = image.shape[-2:]
    total = torch.zeros((), device=image.device)
    for scale in scales:
        scaled = image
        if scale != 1:
            scaled = _resize(image, (int(height * scale), int(width * scale)))
        total = total + _resize(model(scaled)["out"], (height, width))
        if flip:
            logits = model(scaled.flip(-1))["out"].flip(-1)
            total = total + _resize(logits, (height, width))
    return total.argmax(1)[0].cpu().numpy()


def _resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
