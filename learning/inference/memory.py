"""Retries inference with smaller batches or windows when memory is exhausted."""

import math
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TypeVar

import torch

from helpers.errors import is_out_of_memory

MIN_TILE = 64  # pixels of a side

Model = Callable[[torch.Tensor], Mapping[str, torch.Tensor]]  # images (B, 3, h, w) -> {"out": logits (B, C, h, w)}
Result = TypeVar("Result")


class MemoryLimits:
    """How many pixels pass through the network at once. `reduce` halves the batch, then the window.

    Args:
        tile: (height, width) of the sliding window; None for whole images.
        overlap: of windows; a fraction if below 1, otherwise pixels.
        batch_size: number of windows of an image that form a batch.
        log: called with a line for the user after each reduction.
    """

    def __init__(
        self,
        tile: tuple[int, int] | None = None,
        overlap: float = 0.25,
        batch_size: int = 1,
        log: Callable[[str], object] = lambda line: print(line, file=sys.stderr),
    ) -> None:
        self.tile = tile
        self.overlap = overlap
        self.batch_size = batch_size
        self.log = log
        self.max_images: int | None = None  # per forward pass
        self.last_images = 1  # in the last forward pass

    def in_chunks(self, model: Model, autocast: Callable[[], AbstractContextManager]) -> Model:
        """The model under `autocast`, applied to at most `max_images` images at a time."""

        def forward(images: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = []
            for chunk in images.split(self.max_images or len(images)):
                self.last_images = len(chunk)
                with autocast():
                    logits.append(model(chunk)["out"])
            return {"out": logits[0] if len(logits) == 1 else torch.cat(logits)}

        return forward

    def reduce(self, size: tuple[int, int]) -> bool:
        """Halve the batch, or the window if the batch is a single image already.

        Args:
            size: (height, width) of the image that did not fit.

        Returns:
            False if the window cannot be made smaller.
        """
        if self.last_images > 1:
            self.max_images = self.last_images // 2
            self.log(
                f"out of memory: continuing with {self.max_images} images or windows at a time instead of "
                f"{self.last_images}"
            )
            return True
        height, width = self.tile or size
        height = min(height, size[0])
        width = min(width, size[1])
        if max(height, width) <= MIN_TILE:
            return False
        self.tile = (max(MIN_TILE, math.ceil(height / 2)), max(MIN_TILE, math.ceil(width / 2)))
        # An overlap in pixels shrinks with the window; it stays whole, because values below 1 are fractions.
        self.overlap = min(self.overlap, 0.5) if self.overlap < 1 else min(self.overlap // 2, min(self.tile) // 2)
        options = f"--tile {self.tile[0]} {self.tile[1]} --overlap {self.overlap:g}"
        self.log(
            f"out of memory with {height}x{width} pixels at a time: continuing with windows of "
            f"{self.tile[0]}x{self.tile[1]} ({options})"
        )
        return True


def retry_with_less_memory(work: Callable[[], Result], limits: MemoryLimits, size: tuple[int, int]) -> Result:
    """The result of `work()`, repeated with reduced `limits` until it fits into memory.

    Args:
        size: (height, width) of the images.

    Raises:
        RuntimeError, MemoryError: not even the smallest window fits.
    """
    while True:
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or not limits.reduce(size):
                raise
        # Outside the handler, where the traceback would keep all tensors alive.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
