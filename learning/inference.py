"""Scores and classes of images: single scale, or several scales with mirror images."""

import torch
import torch.nn.functional as F

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
    total = 0
    for scale in scales:
        scaled = _resize(images, [int(length * scale) for length in size])
        if mirror:
            ahead, mirrored = model(torch.cat([scaled, scaled.flip(-1)]))["out"].float().chunk(2)
            logits = ahead + mirrored.flip(-1)
        else:
            logits = model(scaled)["out"].float()
        total = total + _resize(logits, size)
    return total / (len(scales) * (2 if mirror else 1))


def enlarge(scores, size):
    """Scores at the size of the source image, where the class is then the one with the highest.

    Args:
        scores: float32 (C, h, w).
        size: (H, W).

    Returns:
        float32 (C, H, W)
    """
    return _resize(scores[None], size)[0]


def to_classes(scores):
    """The class with the highest score.

    Args:
        scores: float (..., C, H, W).

    Returns:
        int64 (..., H, W)
    """
    return scores.max(-3).indices  # on a CPU several times as fast as argmax


@torch.inference_mode()
def predict(model, batches, scales=(1.0,), mirror=False):
    """Predict every image of a split at its own size.

    Args:
        model: as for `image_scores`; put into evaluation mode.
        batches: iterable of `learning.loaders.EvalBatch`.

    Yields:
        (Sample, uint8 numpy (H, W)): train ids.
    """
    model.eval()
    for batch in batches:
        scores = image_scores(model, batch.images, scales, mirror)
        for sample, score, size in zip(batch.samples, scores, batch.sizes, strict=True):
            yield sample, to_classes(enlarge(score, size)).to(torch.uint8).cpu().numpy()


def _resize(x, size):
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)
