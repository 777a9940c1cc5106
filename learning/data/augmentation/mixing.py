"""Mix the images of a batch: CutMix, ClassMix and CopyBlob, as tensor expressions on the batch's device."""

from collections.abc import Sequence

import numpy as np
import torch

from helpers.labels import VOID


def cutmix(images: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """CutMix (Yun et al., arXiv 1905.04899) for dense labels: one box and one permutation for the batch.

    lambda ~ Beta(1, 1). The box has sqrt(1 - lambda) of each side and a uniform center, and is clipped to the image. Inside it
    every image and label shows the permuted sample.

    Args:
        images: float (B, 3, h, w).
        labels: int64 (B, h, w).

    Returns:
        new images and labels
    """
    batch, height, width = labels.shape
    side = np.sqrt(1 - rng.beta(1.0, 1.0))
    box_height = int(height * side)
    box_width = int(width * side)
    first_row = int(rng.integers(height)) - box_height // 2
    first_column = int(rng.integers(width)) - box_width // 2
    rows = slice(max(0, first_row), min(height, first_row + box_height))
    columns = slice(max(0, first_column), min(width, first_column + box_width))
    partner = _send(rng.permutation(batch), images.device)
    images = images.clone()
    labels = labels.clone()
    images[..., rows, columns] = images[partner, :, rows, columns]
    labels[..., rows, columns] = labels[partner, rows, columns]
    return images, labels


def classmix(
    images: torch.Tensor, labels: torch.Tensor, num_classes: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """ClassMix (Olsson et al., arXiv 2007.07936) with true labels: paste half of the classes of another image.

    Each image receives from one other image of the batch (along a random cycle) the pixels of a random half of the classes in
    that image's label, rounded up as the authors do. VOID is not a class and is never pasted.

    Args:
        images: float (B, 3, h, w), B at least 2.
        labels: int64 (B, h, w) of train ids.
        num_classes: C; train ids are below it.

    Returns:
        new images and labels
    """
    batch = len(labels)
    device = labels.device
    partner = _send(_draw_partners(batch, rng), device)
    drawn = rng.permuted(np.tile(np.arange(num_classes), (batch, 1)), axis=1)
    order = _send(drawn, device)  # (B, C): the first half of the present classes in this order is pasted
    rank = _send(drawn.argsort(1), device)
    source = labels[partner].flatten(1)  # (B, h*w)
    present = torch.zeros(batch, VOID + 1, dtype=torch.bool, device=device).scatter_(1, source, True)
    present = present.gather(1, order)  # (B, C), in the random order
    running = present.cumsum(1)
    chosen = (present & (2 * running <= running[:, -1:] + 1)).gather(1, rank)  # (B, C), by class
    table = torch.zeros(batch, VOID + 1, dtype=torch.bool, device=device)
    table[:, :num_classes] = chosen
    pasted = table.gather(1, source).view_as(labels)
    return torch.where(pasted[:, None], images[partner], images), torch.where(pasted, labels[partner], labels)


def copyblob(
    images: torch.Tensor,
    labels: torch.Tensor,
    rules: Sequence[tuple[int, int]],
    rng: np.random.Generator,
    by_foot: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """CopyBlob, the tutorial's own: paste all pixels of a class onto the class they stand on in another image.

    Each image receives from one other image of the batch (along a random cycle). For each rule, the blob is placed so that its
    anchor falls on a random pixel of the ground class; pixels outside the image are dropped. Blobs are taken from, and placed
    by, the images before any paste; later rules cover earlier ones.

    Args:
        images: float (B, 3, h, w), B at least 2.
        labels: int64 (B, h, w) of train ids.
        rules: (blob class, ground class), train ids.
        by_foot: the anchor is the leftmost pixel of the blob's lowest row, so that the blob stands on its ground. Otherwise it
            is the top-left-most pixel (least row + column, then least row).

    Returns:
        new images and labels
    """
    batch, height, width = labels.shape
    device = labels.device
    partner = _send(_draw_partners(batch, rng), device)
    old_labels = labels.flatten(1)  # (B, h*w)
    source_labels = old_labels[partner]
    source_images = images.flatten(2)[partner]  # (B, 3, h*w)
    rows = torch.arange(height, device=device)[:, None].expand(height, width).flatten()
    columns = torch.arange(width, device=device).repeat(height)
    # The anchor is the blob's pixel with the lowest rank; ranks are unique.
    rank = (height - 1 - rows) * width + columns if by_foot else (rows + columns) * height + rows
    mixed_images = images.flatten(2)
    mixed_labels = old_labels
    for blob, ground in rules:
        is_blob = source_labels == blob
        is_ground = old_labels == ground
        anchor = torch.where(is_blob, rank, rank.max() + 1).argmin(1)  # (B,)
        target = _random_pixel(is_ground, rng)
        from_row = rows - (rows[target] - rows[anchor])[:, None]  # (B, h*w): the source of each pixel
        from_column = columns - (columns[target] - columns[anchor])[:, None]
        inside = (from_row >= 0) & (from_row < height) & (from_column >= 0) & (from_column < width)
        origin = torch.where(inside, from_row * width + from_column, 0)
        pasted = inside & is_blob.gather(1, origin) & (is_ground.any(1) & is_blob.any(1))[:, None]
        mixed_labels = torch.where(pasted, blob, mixed_labels)
        moved = source_images.gather(2, origin[:, None].expand(-1, 3, -1))
        mixed_images = torch.where(pasted[:, None], moved, mixed_images)
    return mixed_images.view_as(images), mixed_labels.view_as(labels)


def _random_pixel(mask: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """A random true pixel of each row of a mask (B, n): int64 (B,); arbitrary for a row without one."""
    share = _send(rng.random(len(mask)).astype(np.float32), mask.device)
    running = mask.cumsum(1)
    count = running[:, -1]
    k = torch.minimum((share * count).long(), count - 1)
    return (running <= k[:, None]).sum(1).clamp(max=mask.shape[1] - 1)  # where the running count first exceeds k


def _draw_partners(batch: int, rng: np.random.Generator) -> np.ndarray:
    """For each image another one, along a random cycle through all of them: int64 (B,)."""
    cycle = rng.permutation(batch)
    partner = np.empty(batch, np.int64)
    partner[cycle] = np.roll(cycle, 1)
    return partner


def _send(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """A small array on a device, without waiting for what the device is doing."""
    return torch.from_numpy(array).to(device, non_blocking=True)
