"""Scores and classes of images: single scale or several with mirror images, as a whole or in windows, in the memory there is."""

import math
import sys
from contextlib import nullcontext
from functools import partial

import torch

from helpers.errors import is_out_of_memory
from learning.inference.sliding_window import RowBuffer, window_scores
from learning.resize import bilinear, strips

# The tutorial's scales for --mst; each is also seen mirrored.
MST_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.2)
SMALLEST_TILE = 64


def image_scores(model, images, scales=(1.0,), mirror=False):
    """Class scores of a batch: the mean of the logits over scales and mirror images.

    Each scale resizes the images bilinearly (align_corners=False) to int(scale * size), and its logits back. Both mirror images
    go through the network in one batch. One scale is held in memory at a time.

    Args:
        model: images (B, 3, h, w) -> {"out": logits (B, C, h, w)}, in evaluation mode.
        images: float32 (B, 3, h, w), normalized.
        scales: factors of the size.
        mirror: whether the image mirrored left to right counts as well.

    Returns:
        float32 (B, C, h, w)
    """
    size = images.shape[-2:]
    total = None
    for scale in scales:
        scaled = bilinear(images, [int(length * scale) for length in size])
        logits = bilinear(both_mirrors(model, scaled) if mirror else model(scaled)["out"].float(), size)
        total = logits if total is None else total.add_(logits)
    return total.div_(len(scales) * (2 if mirror else 1))


def both_mirrors(model, images):
    """float32 (B, C, h, w): the sum of the logits of images and of their mirror images, from one batch."""
    ahead, mirrored = model(torch.cat([images, images.flip(-1)]))["out"].float().chunk(2)
    return ahead + mirrored.flip(-1)


def upsample_logits(scores, size):
    """Scores at the size of the source image, where the class is then the one with the highest.

    Bilinear, by the very operations that `read_classes` takes classes from, which hold a strip at a time.

    Args:
        scores: float32 (C, h, w).
        size: (H, W).

    Returns:
        float32 (C, H, W)
    """
    if tuple(scores.shape[1:]) == tuple(size):
        return scores
    result = scores.new_empty(len(scores), *size)
    rows = RowBuffer([scores]).rows
    for top, strip in strips(rows, scores.shape[1:], size, len(scores), scores.device):
        result[:, top : top + strip.shape[1]] = strip
    return result


def to_classes(scores):
    """The class with the highest score.

    Args:
        scores: float (..., C, H, W).

    Returns:
        int64 (..., H, W)
    """
    return scores.max(-3).indices  # on a CPU several times as fast as argmax


def read_classes(blocks, size, source_size, report=lambda pixels: None):
    """Classes at the size of the source image, from scores that come row by row and are enlarged strip by strip.

    Args:
        blocks: iterable of float32 (C, n, w), all rows in order; a whole image may be one block.
        size: (h, w) of the scores.
        source_size: (H, W).
        report: called with the number of pixels of every strip.

    Returns:
        uint8 numpy (H, W)
    """
    blocks = iter(blocks)
    first = next(blocks)
    reel = RowBuffer(_chain(first, blocks))
    classes = torch.empty(tuple(source_size), dtype=torch.uint8, device=first.device)
    num_channels, device = len(first), first.device
    del first
    for top, strip in strips(reel.rows, size, source_size, num_channels, device):
        classes[top : top + strip.shape[1]] = to_classes(strip)
        report(strip.shape[1] * strip.shape[2])
    return classes.cpu().numpy()


def _chain(first, others):
    yield first
    del first  # itertools.chain would keep it
    yield from others


class MemoryLimits:
    """How much goes through the network at a time; where memory does not suffice, half of it, and half again.

    Args:
        tile: (height, width) of the window that slides over images, or None for whole images.
        overlap: of windows; below 1 a share of the window, otherwise pixels.
        windows: how many windows of an image form a batch.
        say: function of a line, told whenever less has to suffice.
    """

    def __init__(self, tile=None, overlap=0.25, windows=1, say=lambda line: print(line, file=sys.stderr)):
        self.tile, self.overlap, self.windows, self.say = tile, overlap, windows, say
        self.most, self.tried = None, 1  # images that go through the network in one call at most, and in the last call

    def network(self, model, autocast):
        """The model in its precision, which takes a batch in parts of at most `most` images."""

        def run(images):
            found = []
            for part in images.split(self.most or len(images)):
                self.tried = len(part)
                with autocast():
                    found.append(model(part)["out"])
            return {"out": found[0] if len(found) == 1 else torch.cat(found)}

        return run

    def halve(self, size):
        """Take half of the batch from now on, or half the window where it is one image already.

        Args:
            size: (height, width) of the image that did not fit.

        Returns:
            bool: whether there was something to halve.
        """
        if self.tried > 1:
            self.most = self.tried // 2
            self.say(f"out of memory: going on with {self.most} of an image or window at a time, not {self.tried}")
            return True
        tile = [min(pair) for pair in zip(self.tile or size, size, strict=True)]
        if max(tile) <= SMALLEST_TILE:
            return False
        self.tile = [max(SMALLEST_TILE, math.ceil(length / 2)) for length in tile]
        # Pixels shrink with the window, or it would hardly get on; half a pixel must not become a share.
        self.overlap = min(self.overlap, 0.5) if self.overlap < 1 else min(self.overlap // 2, min(self.tile) // 2)
        before, now = ("x".join(map(str, shown)) for shown in (tile, self.tile))
        words = f"--tile {self.tile[0]} {self.tile[1]} --overlap {self.overlap:g}"
        self.say(f"out of memory with {before} pixels at a time: going on in windows of {now} ({words})")
        return True


class Progress:
    """Passes on what is done of a batch, once: what another attempt does again is not reported again.

    Args:
        told: function of a number of pixels.
    """

    def __init__(self, told):
        self.told, self.done, self.most = told, 0, 0

    def again(self):
        """The batch begins, or begins anew."""
        self.done = 0

    def report(self, pixels):
        """Count pixels as done."""
        self.done += pixels
        if self.done > self.most:
            self.told(self.done - self.most)
            self.most = self.done


@torch.inference_mode()
def predict_images(
    model, batches, scales=(1.0,), mirror=False, autocast=nullcontext, room=None, keep=None, prepare=None, report=None
):
    """Predict every image of a split at its own size.

    Args:
        model: as for `image_scores`; put into evaluation mode.
        batches: iterable of `learning.data.loaders.EvalBatch`, or of batches with the same fields.
        scales, mirror: as for `image_scores`.
        autocast: function that returns the context of a forward pass; `learning.device.Precision.autocast`.
        room: Room; whole images by default.
        keep: function of (sample, (C, h, w)) that returns a function of (first row, probabilities float32 (C, n, w)), which is
            called for all rows in order: those at the size at which the network saw the image. None keeps none.
        prepare: function of images (B, 3, n, w), any rows of those of a batch, that returns what the network is to see; None
            where that is what batches hold.
        report: called with a number of pixels of source images as they are done, or None.

    Yields:
        (sample, uint8 numpy (H, W)): train ids.
    """
    model.eval()
    room = room or MemoryLimits()
    network = room.network(model, autocast)
    prepare = prepare or (lambda images: images)
    report = report or (lambda pixels: None)

    def whole(batch):
        scores = image_scores(network, prepare(batch.images), scales, mirror)
        return [[of_image] for of_image in scores]

    def in_windows(batch):
        def forward(images):
            return both_mirrors(network, images).div_(2) if mirror else network(images)["out"].float()

        size = batch.images.shape[-2:]
        for images in batch.images:
            yield window_scores(forward, _rows_of(images, prepare), size, scales, room.tile, room.overlap, room.windows)

    def attempt(batch, progress):
        progress.again()
        size, found = tuple(batch.images.shape[-2:]), []
        several = in_windows(batch) if room.tile else whole(batch)
        for blocks, sample, source_size in zip(several, batch.samples, batch.sizes, strict=True):
            blocks = kept(blocks, size, sample, keep) if keep else blocks
            found.append((sample, read_classes(blocks, size, source_size, progress.report)))
        return found

    for batch in batches:
        progress = Progress(report)
        yield from with_less_memory(partial(attempt, batch, progress), room, batch.images.shape[-2:])


def _rows_of(image, prepare):
    return lambda top, bottom: prepare(image[None, :, top:bottom])[0]


def kept(blocks, size, sample, keep):
    """The blocks, while the probabilities that they stand for are kept; arguments as for `read_classes` and `predict`."""
    write, top = None, 0
    for block in blocks:
        write = write or keep(sample, (len(block), *size))
        for part in block.split(64, 1):
            write(top, part.softmax(0).cpu().numpy())
            top += part.shape[1]
        yield block


def with_less_memory(work, room, size):
    """The result of `work()`, done again with half of the room whenever memory does not suffice.

    Args:
        work: function without arguments.
        room: Room.
        size: (height, width) of the images at work.

    Raises:
        RuntimeError or MemoryError: it does not suffice for the smallest window.
    """
    while True:
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or not room.halve(size):
                raise
        # Here, and not in the handler: the error holds on to all that was computed.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
