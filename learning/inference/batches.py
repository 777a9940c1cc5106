"""Batches of pictures of any size, read ahead in threads."""

import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from helpers.images import read_picture
from learning.data.augmentation.transforms import color_and_normalize, resample_image, stack, whole_view
from learning.inference.inputs import Picture

SHORTEST = (
    64  # pixels that the network sees of a side at least, for which every network has room, with small scales too
)
_AHEAD = 2**24  # pixels of pictures that may be read before their turn, and that form a batch


class Loaded(NamedTuple):
    """A picture and its pixels.

    Args:
        picture: learning.inference.inputs.Picture.
        pixels: uint8 (3, H, W), RGB.
    """

    picture: Picture
    pixels: np.ndarray

    @property
    def name(self):
        """str: what its results are called."""
        return self.picture.name


class PictureBatch(NamedTuple):
    """Pictures that the network sees at one size; the same fields as `learning.data.loaders.EvalBatch`, colors as in the files.

    Args:
        images: uint8 (B, 3, h, w) on the CPU.
        sizes: list of B (H, W), the pictures' own.
        samples: list of B Loaded.
    """

    images: torch.Tensor
    sizes: list
    samples: list


def seen_size(size, test_size, factor=None):
    """The size at which the network sees a picture: its own shape, as many pixels as validation images have.

    A picture with the shape of `test_size` is seen at exactly that size. No side gets less than `SHORTEST` pixels.

    Args:
        size: (height, width) of the picture.
        test_size: (height, width) of the network's input in validation.
        factor: what the picture's size is multiplied by instead, whatever number of pixels that gives.

    Returns:
        (height, width)
    """
    factor = factor or math.sqrt(math.prod(test_size) / math.prod(size))
    return tuple(max(SHORTEST, round(length * factor)) for length in size)


class PictureBatches:
    """Pictures in order, resized; neighbors that are seen at one size share a batch.

    Args:
        pictures: list of learning.inference.inputs.Picture.
        seen: list of (height, width) at which the network sees them.
        batch_size: pictures a batch at most.
        feed: learning.data.loaders.LoaderConfig.
    """

    def __init__(self, pictures, seen, batch_size, feed):
        self.pictures, self.seen, self.batch_size, self.feed = pictures, seen, batch_size, feed

    def _groups(self):
        group, pixels = [], 0
        for index, picture in enumerate(self.pictures):
            pixels += math.prod(picture.size)
            fits = group and self.seen[index] == self.seen[group[0]] and pixels <= _AHEAD
            if group and not (fits and len(group) < self.batch_size):
                yield group
                group, pixels = [], math.prod(picture.size)
            group = [*group, index]
        yield group

    def _read(self, index):
        pixels = read_picture(self.pictures[index].path)
        image = resample_image(torch.from_numpy(pixels).permute(1, 2, 0), self.seen[index])
        return Loaded(self.pictures[index], pixels), image.permute(2, 0, 1)

    def __iter__(self):
        """Yields `PictureBatch`es; raises `InputError` with the name of a file that cannot be read."""
        coming, waiting = deque(range(len(self.pictures))), deque()
        with ThreadPoolExecutor(max(1, self.feed.workers)) as threads:

            def look_ahead(number):
                while coming and (
                    len(waiting) < number
                    or sum(math.prod(self.pictures[index].size) for index in (*(i for i, _ in waiting), coming[0]))
                    <= _AHEAD
                ):
                    index = coming.popleft()
                    waiting.append((index, threads.submit(self._read, index)))

            for group in self._groups():
                look_ahead(len(group))
                loaded, images = zip(*[waiting.popleft()[1].result() for _ in group], strict=True)
                look_ahead(0)
                images = stack(images) if len(images) > 1 else images[0][None]  # a copy only where there are several
                batch = PictureBatch(images, [self.pictures[index].size for index in group], list(loaded))
                del loaded, images
                yield batch
                del batch

    def finish(self, images):
        """float32 (B, 3, n, w) on the device, normalized, of uint8 rows of a batch."""
        whole = [whole_view(images.shape[-2:])] * len(images)
        feed = self.feed
        return color_and_normalize(feed.to_device(images), None, whole, feed.mean, feed.std)[0]
