"""What happens to a batch: CutMix, ClassMix and CopyBlob, as tensor expressions on the batch's device."""

import numpy as np
import torch

from helpers.labels import VOID


def cutmix(images, labels, rng):
    """CutMix (Yun et al., arXiv 1905.04899) for dense labels: one box and one permutation for the batch.

    lambda ~ Beta(1, 1); the box has sqrt(1 - lambda) of each side, a uniform center, and is clipped to the image. Inside it
    every image and label shows the sample that the permutation names.

    Args:
        images: float (B, 3, h, w).
        labels: int64 (B, h, w).
        rng: numpy.random.Generator.

    Returns:
        (float (B, 3, h, w), int64 (B, h, w)): new tensors.
    """
    batch, height, width = labels.shape
    side = np.sqrt(1 - rng.beta(1.0, 1.0))
    box_height, box_width = int(height * side), int(width * side)
    center_y, center_x = rng.integers(height), rng.integers(width)
    top, bottom = np.clip((center_y - box_height // 2, center_y - box_height // 2 + box_height), 0, height)
    left, right = np.clip((center_x - box_width // 2, center_x - box_width // 2 + box_width), 0, width)
    partner = _send(rng.permutation(batch), images.device)
    images, labels = images.clone(), labels.clone()
    images[..., top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    labels[..., top:bottom, left:right] = labels[partner, top:bottom, left:right]
    return images, labels


def classmix(images, labels, num_classes, rng):
    """ClassMix (Olsson et al., arXiv 2007.07936) with true labels: half of the classes of another image, where they are.

    Each image receives from one other image of the batch (a random cycle through all of them) the pixels of a random half of
    the classes in that image's label, rounded up as the authors do. VOID is no class and is never pasted.

    Args:
        images: float (B, 3, h, w), B at least 2.
        labels: int64 (B, h, w) of train ids.
        num_classes: C, train ids are below it.
        rng: numpy.random.Generator.

    Returns:
        (float (B, 3, h, w), int64 (B, h, w)): new tensors.
    """
    batch = len(labels)
    device = labels.device
    partner = _send(_draw_partners(batch, rng), device)
    order = rng.permuted(np.tile(np.arange(num_classes), (batch, 1)), axis=1)  # the first of those present are taken
    order, place = _send(order, device), _send(order.argsort(1), device)
    source = labels[partner].flatten(1)  # (B, h*w)
    present = torch.zeros(batch, VOID + 1, dtype=torch.bool, device=device).scatter_(1, source, True)
    present = present.gather(1, order)  # (B, C), in the random order
    running = present.cumsum(1)
    taken = (present & (2 * running <= running[:, -1:] + 1)).gather(1, place)  # (B, C), by class
    table = torch.zeros(batch, VOID + 1, dtype=torch.bool, device=device)
    table[:, :num_classes] = taken
    pasted = table.gather(1, source).view_as(labels)
    return torch.where(pasted[:, None], images[partner], images), torch.where(pasted, labels[partner], labels)


def copyblob(images, labels, rules, rng, by_foot=False):
    """CopyBlob, the tutorial's own: paste all pixels of a class onto the class they stand on in another image.

    Each image receives from one other image of the batch (a random cycle through all of them). For each rule, the blob is
    placed so that its top-left-most pixel (least row + column, then least row) falls on a random pixel of the ground class;
    what falls outside is dropped. Blobs are taken from, and placed by, the images as they were before any paste; later rules
    cover earlier ones.

    Args:
        images: float (B, 3, h, w), B at least 2.
        labels: int64 (B, h, w) of train ids.
        rules: list of (blob class, ground class), train ids.
        rng: numpy.random.Generator.
        by_foot: whether the blob's foot falls on the ground pixel, not its top-left-most pixel: the leftmost pixel of its
            lowest row, so that the blob stands on its ground instead of hanging from it.

    Returns:
        (float (B, 3, h, w), int64 (B, h, w)): new tensors.
    """
    batch, height, width = labels.shape
    device = labels.device
    partner = _send(_draw_partners(batch, rng), device)
    source_labels = labels[partner].flatten(1)  # (B, h*w)
    source_images = images[partner].flatten(2)  # (B, 3, h*w)
    rows = torch.arange(height, device=device)[:, None].expand(height, width).flatten()
    columns = torch.arange(width, device=device).repeat(height)
    # The blob's pixel with the least number is its anchor; numbers are unique, so that it is one pixel.
    anchor_order = (height - 1 - rows) * width + columns if by_foot else (rows + columns) * height + rows
    mixed_images, mixed_labels = images.flatten(2), labels.flatten(1)
    for blob, ground in rules:
        is_blob, is_ground = source_labels == blob, labels.flatten(1) == ground
        anchor = torch.where(is_blob, anchor_order, anchor_order.max() + 1).argmin(1)  # (B,)
        # The k-th ground pixel, k uniform: where the running count first exceeds k.
        share = _send(rng.random(batch).astype(np.float32), device)
        running = is_ground.cumsum(1)
        k = torch.minimum((share * running[:, -1]).long(), running[:, -1] - 1)
        target = (running <= k[:, None]).sum(1).clamp(max=height * width - 1)
        from_row = rows - (rows[target] - rows[anchor])[:, None]  # (B, h*w): where each pixel would come from
        from_column = columns - (columns[target] - columns[anchor])[:, None]
        inside = (from_row >= 0) & (from_row < height) & (from_column >= 0) & (from_column < width)
        origin = torch.where(inside, from_row * width + from_column, 0)
        pasted = inside & is_blob.gather(1, origin) & (is_ground.any(1) & is_blob.any(1))[:, None]
        mixed_labels = torch.where(pasted, blob, mixed_labels)
        brought = source_images.gather(2, origin[:, None].expand(-1, 3, -1))
        mixed_images = torch.where(pasted[:, None], brought, mixed_images)
    return mixed_images.view_as(images), mixed_labels.view_as(labels)


def _draw_partners(batch, rng):
    """int64 (B,): another image for each image, along a random cycle through all of them."""
    cycle = rng.permutation(batch)
    partner = np.empty(batch, np.int64)
    partner[cycle] = np.roll(cycle, 1)
    return partner


def _send(array, device):
    """A small array on a device, without waiting for what the device is doing."""
    return torch.from_numpy(array).to(device, non_blocking=True)
