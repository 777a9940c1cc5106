"""The well-known tutorial's way of doing things, in own words: what the benchmark compares with.

Written from the description of what it does, without its mistakes, and without detours that only cost time: it is not slowed
down on purpose, and where a choice was open the faster one was taken.
"""

import random

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.models import segmentation
from torchvision.transforms import functional as transforms

from helpers.labels import VOID
from learning.data.augmentation.sampling import SCALE_RANGE
from learning.models import Architecture, build_model

_NETWORKS = {
    "DeepLabv3_resnet50": segmentation.deeplabv3_resnet50,
    "DeepLabv3_resnet101": segmentation.deeplabv3_resnet101,
}


class Views(Dataset):
    """Training samples as the tutorial makes them: the whole image is resized before a part of it is cut out.

    Args:
        samples: sequence of `learning.data.datasets.base.Sample` with labels.
        decode: uint8 (256,), the train id of each value in the label files.
        train_size, crop_size: (height, width).
        mean, std: RGB mean and standard deviation, 0 .. 1.
        jitter: brightness, contrast and saturation are drawn from 1 - jitter .. 1 + jitter, hue from -jitter .. jitter.
    """

    def __init__(self, samples, decode, train_size, crop_size, mean, std, jitter=0.3):
        self.samples, self.decode, self.jitter = samples, decode, jitter
        self.train_size, self.crop_size, self.mean, self.std = train_size, crop_size, mean, std

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        """(float32 (3, h, w), normalized; int64 (h, w) of train ids)"""
        sample = self.samples[index]
        with Image.open(sample.image) as file:
            image = file.convert("RGB")
        with Image.open(sample.label) as file:
            label = file.copy()
        scale = random.uniform(*SCALE_RANGE)
        height, width = (int(length * scale) for length in self.train_size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
        label = label.resize((width, height), Image.Resampling.NEAREST)
        rows, columns = self.crop_size
        top, left = random.randint(0, max(0, height - rows)), random.randint(0, max(0, width - columns))
        box = (left, top, left + columns, top + rows)  # black where it leaves the image
        image, label = self._jitter(image.crop(box)), label.crop(box)
        if random.random() < 0.5:
            image, label = transforms.hflip(image), transforms.hflip(label)
        pixels = transforms.normalize(transforms.to_tensor(image), self.mean, self.std)
        return pixels, torch.from_numpy(self.decode[np.asarray(label)]).long()

    def _jitter(self, image):
        """Pillow's brightness, contrast, saturation and hue, one after another."""
        low, high = 1 - self.jitter, 1 + self.jitter
        for adjust in (transforms.adjust_brightness, transforms.adjust_contrast, transforms.adjust_saturation):
            image = adjust(image, random.uniform(low, high))
        return transforms.adjust_hue(image, random.uniform(-min(self.jitter, 0.5), min(self.jitter, 0.5)))


def loader(views, batch_size, num_workers, pin_memory):
    """torch's loader of shuffled batches, whose workers start anew in every epoch; full batches only."""
    return DataLoader(views, batch_size, shuffle=True, drop_last=True, num_workers=num_workers, pin_memory=pin_memory)


def build_network(name, num_classes, device):
    """torchvision's network, without any weights, contiguous, float32; where torchvision has none, ours.

    Args:
        name: a key of `learning.models.MODELS`.
        num_classes: number of its outputs.

    Returns:
        torch.nn.Module: images (B, 3, h, w) -> {"out": logits (B, C, h, w)}
    """
    if name not in _NETWORKS:
        return build_model(Architecture(name, num_classes, "batch"), seed=0).to(device)
    return _NETWORKS[name](weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=False).to(device)


def train_epoch(model, batches, optimizer, device):
    """One epoch in float32: after every step the host waits for the loss and the number of right pixels.

    Returns:
        (float, float): mean loss and mean accuracy of the batches.
    """
    model.train()
    losses, accuracies = [], []
    for images, labels in batches:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        scores = model(images)["out"]
        loss = F.cross_entropy(scores, labels, ignore_index=VOID)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        right = (scores.argmax(1) == labels).sum().item()
        accuracies.append(right / max(1, (labels != VOID).sum().item()))
    return sum(losses) / len(losses), sum(accuracies) / len(accuracies)


@torch.no_grad()
def predict(model, image, scales, mirror):
    """Classes of one image: every scale and every mirror image passes the network on its own, in float32.

    Args:
        model: as `build_network`, in evaluation mode.
        image: float32 (1, 3, h, w), normalized.
        scales: factors of the size.
        mirror: whether mirror images count as well.

    Returns:
        int64 numpy (h, w)
    """
    size, total = image.shape[-2:], 0.0
    for scale in scales:
        scaled = image
        if scale != 1:
            scaled = F.interpolate(
                image, [int(length * scale) for length in size], mode="bilinear", align_corners=False
            )
        total = total + F.interpolate(model(scaled)["out"], size, mode="bilinear", align_corners=False)
        if mirror:
            scores = model(scaled.flip(-1))["out"].flip(-1)
            total = total + F.interpolate(scores, size, mode="bilinear", align_corners=False)
    return total.argmax(1)[0].cpu().numpy()
