"""Stateless randomness: every random choice is a function of (seed, purpose, epoch, index).

A generator is created where it is needed and then discarded. The numbers do not depend on workers, devices, order or
interruptions, and no checkpoint holds a random state. The bit generator is Philox (Salmon et al., SC 2011) with
key = (seed, purpose) and counter = (0, 0, epoch, index). The low counter words count the draws.
"""

import math

import numpy as np

# One number per purpose, so that no two kinds of choice share a stream. A number is never given to another purpose.
ORDER = 1
VIEW = 2
CUTMIX = 3
COPYBLOB = 4
INITIAL_WEIGHTS = 5
FORWARD = 6
CLASSMIX = 11
COPYPASTE = 12
OBJECTS = 13


def generator(seed: int, purpose: int, epoch: int = 0, index: int = 0) -> np.random.Generator:
    """Generator for one random choice.

    Args:
        seed: 0 .. 2**63 - 1.
        purpose: one of this module's constants.
        epoch: 0 or more.
        index: 0 or more; the draw of a sample or a step of the epoch.
    """
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, epoch, index]))


def torch_seed(seed: int, purpose: int, epoch: int = 0, index: int = 0) -> int:
    """Seed for torch, 0 .. 2**63 - 1, for one random choice."""
    return int(generator(seed, purpose, epoch, index).integers(2**63))


def draw_order(seed: int, epoch: int, num_samples: int, batch_size: int) -> np.ndarray:
    """Samples of each batch of an epoch, and the keys of their views.

    An epoch is floor(N / B) full batches of a random permutation. A set smaller than a batch gives one batch, filled up from
    further permutations. The value d stands for sample d % N and is the key of its view, so that a sample that occurs twice
    is augmented in two ways.

    Args:
        num_samples: N, at least 1.
        batch_size: B, at least 1.

    Returns:
        int64 (steps, B)
    """
    steps = max(1, num_samples // batch_size)
    rounds = math.ceil(steps * batch_size / num_samples)
    order = [generator(seed, ORDER, epoch, k).permutation(num_samples) + k * num_samples for k in range(rounds)]
    return np.concatenate(order)[: steps * batch_size].reshape(steps, batch_size)
