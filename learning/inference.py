"""Scores and classes of images: single scale, or several scales with mirror images."""

from contextlib import nullcontext

import torch

from learning.resize import bilinear

# The tutorial's scales for --mst; each is also seen mirrored.
MST_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.2)


def image_scores(model, images, scales=(1.0,), mirror=False):
    """Class scores of a batch: the mean of the logits over scales and mirror images.

    Each scale resizes the images bilinearly (align_corners=False) to int(scale * size), and its logits back. Both mirror images
    go through the network in one batch. One scale is held in memory at a time.

    Args:
        model: images (B, 3, h, w) -> {"out": logits (B, C, h, w)}, in evaluation mode.
        images: float32 (B, 3, h, w), normalised.
        scales: factors of the size.
        mirror: whether the image mirrored left to right counts as well.

    Returns:
        float32 (B, C, h, w)
    """
    size = images.shape[-2:]
    total = None
    for scale in scales:
        scaled = bilinear(images, [int(length * scale) for length in size])
        if mirror:
            ahead, mirrored = model(torch.cat([scaled, scaled.flip(-1)]))["out"].float().chunk(2)
            logits = ahead + mirrored.flip(-1)
        else:
            logits = model(scaled)["out"].float()
        logits = bilinear(logits, size)
        total = logits if total is None else total.add_(logits)
    return total.div_(len(scales) * (2 if mirror else 1))


def enlarge(scores, size):
    """Scores at the size of the source image, where the class is then the one with the highest.

    Args:
        scores: float32 (C, h, w).
        size: (H, W).

    Returns:
        float32 (C, H, W)
    """
    return bilinear(scores[None], size)[0]


def to_classes(scores):
    """The class with the highest score.

    Args:
        scores: float (..., C, H, W).

    Returns:
        int64 (..., H, W)
    """
    return scores.max(-3).indices  # on a CPU several times as fast as argmax


@torch.inference_mode()
def predict(model, batches, scales=(1.0,), mirror=False, autocast=nullcontext):
    """Predict every image of a split at its own size.

    Args:
        model: as for `image_scores`; put into evaluation mode.
        batches: iterable of `learning.loaders.EvalBatch`.
        scales, mirror: as for `image_scores`.
        autocast: function that returns the context of a forward pass; `learning.compute.Precision.autocast`.

    Yields:
        (Sample, uint8 numpy (H, W)): train ids.
    """
    model.eval()
    for batch in batches:
        with autocast():
            scores = image_scores(model, batch.images, scales, mirror)
        for sample, score, size in zip(batch.samples, scores, batch.sizes, strict=True):
            yield sample, to_classes(enlarge(score, size)).to(torch.uint8).cpu().numpy()
