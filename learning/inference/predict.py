"""Logits and classes of images: at one or several scales, with or without flip, as a whole or in sliding windows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from learning.inference.memory import MemoryLimits, Model, retry_with_less_memory
from learning.inference.sliding_window import RowBuffer, Windows, window_logits
from learning.resize import bilinear, resized_strips

MST_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.2)  # the tutorial's, each with and without flip
_SOFTMAX_ROWS = 64  # at a time

Size = tuple[int, int]  # (height, width)
SampleT = TypeVar("SampleT")
SampleT_co = TypeVar("SampleT_co", covariant=True)
# (first row, probabilities float32 (C, n, w)), called for all rows in order.
WriteRows = Callable[[int, np.ndarray], object]


class ImageBatch(Protocol[SampleT_co]):
    """Images (B, 3, h, w), the (H, W) of their sources, and what they are; such as `learning.data.loaders.EvalBatch`."""

    @property
    def images(self) -> torch.Tensor: ...

    @property
    def sizes(self) -> Sequence[Size]: ...

    @property
    def samples(self) -> Sequence[SampleT_co]: ...


@dataclass(frozen=True)
class InferenceSettings:
    """How images are predicted.

    Args:
        scales: factors of the input size; their logits are averaged.
        flip: average over the horizontally flipped images as well.
        autocast: returns the context of a forward pass; `learning.device.Precision.autocast`.
        preprocess: images of a batch, or rows of them, (B, 3, n, w) -> network input of the same shape.
    """

    scales: Sequence[float] = (1.0,)
    flip: bool = False
    autocast: Callable[[], AbstractContextManager] = nullcontext
    preprocess: Callable[[torch.Tensor], torch.Tensor] = lambda images: images


def average_logits(
    model: Model, images: torch.Tensor, scales: Sequence[float] = (1.0,), flip: bool = False
) -> torch.Tensor:
    """Logits of a batch, averaged over scales and flips.

    Each scale resizes the images bilinearly (align_corners=False) to int(scale * size), and the logits back. An image and its
    flip are one batch. The logits of one scale are in memory at a time.

    Args:
        model: in evaluation mode.
        images: float32 (B, 3, h, w), normalized.

    Returns:
        float32 (B, C, h, w)
    """
    size = images.shape[-2:]
    total = None
    for scale in scales:
        scaled = bilinear(images, [int(length * scale) for length in size])
        logits = bilinear(flip_logits(model, scaled) if flip else model(scaled)["out"].float(), size)
        total = logits if total is None else total.add_(logits)
    assert total is not None, "at least one scale is required"
    return total.div_(len(scales))


def flip_logits(model: Model, images: torch.Tensor) -> torch.Tensor:
    """Logits of images, averaged with those of the horizontally flipped images; float32 (B, C, h, w)."""
    logits, flipped = model(torch.cat([images, images.flip(-1)]))["out"].float().chunk(2)
    return (logits + flipped.flip(-1)).div_(2)


def upsample_logits(logits: torch.Tensor, size: Size) -> torch.Tensor:
    """Logits float32 (C, h, w) resized bilinearly to (C, H, W).

    Uses the same operations as `read_classes`, which needs memory for a strip only; the classes are equal.
    """
    if tuple(logits.shape[1:]) == tuple(size):
        return logits
    result = logits.new_empty(len(logits), *size)
    rows = RowBuffer([logits]).rows
    for top, strip in resized_strips(rows, logits.shape[1:], size, len(logits), logits.device):
        result[:, top : top + strip.shape[1]] = strip
    return result


def to_classes(logits: torch.Tensor) -> torch.Tensor:
    """The class with the highest logit: float (..., C, H, W) -> int64 (..., H, W)."""
    return logits.max(-3).indices  # on a CPU several times as fast as argmax


def read_classes(
    blocks: Iterable[torch.Tensor], size: Size, source_size: Size, report: Callable[[int], object] = lambda pixels: None
) -> np.ndarray:
    """Classes at the size of the source image; the logits are upsampled in strips.

    Args:
        blocks: logits float32 (C, n, w), all rows in order; a whole image may be one block.
        size: (h, w) of the logits.
        source_size: (H, W).
        report: called with the number of pixels of each strip.

    Returns:
        uint8 (H, W)
    """
    buffer = RowBuffer(blocks)
    num_classes, device = buffer.peek()
    classes = torch.empty(tuple(source_size), dtype=torch.uint8, device=device)
    for top, strip in resized_strips(buffer.rows, size, source_size, num_classes, device):
        classes[top : top + strip.shape[1]] = to_classes(strip)
        report(strip.shape[1] * strip.shape[2])
    return classes.cpu().numpy()


class _BatchProgress:
    """Reports the pixels of a batch once, even if a part of it is repeated after an out-of-memory error."""

    def __init__(self, report: Callable[[int], object]) -> None:
        self._report = report
        self._done = 0
        self._reported = 0

    def reset(self) -> None:
        """Begin, or repeat, the batch."""
        self._done = 0

    def add(self, pixels: int) -> None:
        self._done += pixels
        if self._done > self._reported:
            self._report(self._done - self._reported)
            self._reported = self._done


@torch.inference_mode()
def predict_images(
    model: nn.Module,
    batches: Iterable[ImageBatch[SampleT]],
    settings: InferenceSettings | None = None,
    limits: MemoryLimits | None = None,
    open_probabilities: Callable[[SampleT, tuple[int, int, int]], WriteRows] | None = None,
    report: Callable[[int], object] = lambda pixels: None,
) -> Iterator[tuple[SampleT, np.ndarray]]:
    """Predict images at the size of their sources.

    Args:
        model: images -> {"out": logits}; put into evaluation mode.
        settings: by default a single scale.
        limits: by default whole images.
        open_probabilities: called with a sample and the shape (C, h, w) of its probabilities at network input size; returns
            the function that receives them.
        report: called with the number of source pixels after each strip.

    Yields:
        Sample and train ids, uint8 (H, W).
    """
    model.eval()
    settings = settings or InferenceSettings()
    limits = limits or MemoryLimits()
    network = limits.in_chunks(model, settings.autocast)

    def attempt(batch: ImageBatch[SampleT], progress: _BatchProgress) -> list[tuple[SampleT, np.ndarray]]:
        progress.reset()
        size = (batch.images.shape[-2], batch.images.shape[-1])
        predictions = []
        logits = _batch_logits(network, batch.images, settings, limits)
        for blocks, sample, source_size in zip(logits, batch.samples, batch.sizes, strict=True):
            if open_probabilities:
                blocks = _save_probabilities(blocks, partial(open_probabilities, sample), size)
            predictions.append((sample, read_classes(blocks, size, source_size, progress.add)))
        return predictions

    for batch in batches:
        size = (batch.images.shape[-2], batch.images.shape[-1])
        yield from retry_with_less_memory(partial(attempt, batch, _BatchProgress(report)), limits, size)


def _batch_logits(
    network: Model, images: torch.Tensor, settings: InferenceSettings, limits: MemoryLimits
) -> Iterator[Iterable[torch.Tensor]]:
    """For each image of a batch its logits as blocks (C, n, w); one image at a time if there are windows."""
    if limits.tile is None:
        for logits in average_logits(network, settings.preprocess(images), settings.scales, settings.flip):
            yield [logits]
        return

    def forward(windows: torch.Tensor) -> torch.Tensor:
        return flip_logits(network, windows) if settings.flip else network(windows)["out"].float()

    size = (images.shape[-2], images.shape[-1])
    windows = Windows(limits.tile, limits.overlap, limits.batch_size)
    for image in images:
        yield window_logits(forward, partial(_network_rows, image, settings.preprocess), size, settings.scales, windows)


def _network_rows(
    image: torch.Tensor, preprocess: Callable[[torch.Tensor], torch.Tensor], top: int, bottom: int
) -> torch.Tensor:
    return preprocess(image[None, :, top:bottom])[0]


def _save_probabilities(
    blocks: Iterable[torch.Tensor], open_file: Callable[[tuple[int, int, int]], WriteRows], size: Size
) -> Iterator[torch.Tensor]:
    """Pass blocks of logits on, and write their softmax."""
    write = None
    top = 0
    for block in blocks:
        if write is None:
            write = open_file((len(block), *size))
        for rows in block.split(_SOFTMAX_ROWS, 1):
            write(top, rows.softmax(0).cpu().numpy())
            top += rows.shape[1]
        yield block
