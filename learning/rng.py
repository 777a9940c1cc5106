"""Randomness without state: every random choice is a function of (seed, purpose, epoch, index).

A generator is made where it is needed and thrown away, so what is drawn depends on no worker, device, order or stop, and no
checkpoint holds a random state. The bit generator is Philox (Salmon et al., SC 2011), whose key and counter are free to
choose: key = (seed, purpose), counter = (0, 0, epoch, index). The low counter words count the draws.
"""

import numpy as np

# One number a purpose, so that no two kinds of choice share a stream. Numbers in use are never given to another purpose.
ORDER, VIEW, CUTMIX, COPYBLOB, INITIAL_WEIGHTS, FORWARD = 1, 2, 3, 4, 5, 6
CLASSMIX, COPYPASTE, OBJECTS = 11, 12, 13


def generator(seed, purpose, epoch=0, index=0):
    """numpy.random.Generator for one random choice.

    Args:
        seed: 0 .. 2**63 - 1.
        purpose: one of this module's constants.
        epoch, index: 0 or more; index is a sample's draw or a step of the epoch.
    """
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, epoch, index]))


def torch_seed(seed, purpose, epoch=0, index=0):
    """int, 0 .. 2**63 - 1: what to re-seed torch with for one random choice."""
    return int(generator(seed, purpose, epoch, index).integers(2**63))


def draw_order(seed, epoch, num_samples, batch_size):
    """Which samples an epoch shows, and under which key their views are drawn.

    An epoch is floor(N / B) full batches of a random order; where the set is smaller than a batch, one batch filled up from
    further orders. The value d stands for sample d % N, and is itself the key of that showing's view, so that a sample
    shown twice is seen in two ways.

    Args:
        num_samples: N, at least 1.
        batch_size: B, at least 1.

    Returns:
        int64 (steps, B)
    """
    steps = max(1, num_samples // batch_size)
    rounds = -(-steps * batch_size // num_samples)
    order = [generator(seed, ORDER, epoch, k).permutation(num_samples) + k * num_samples for k in range(rounds)]
    return np.concatenate(order)[: steps * batch_size].reshape(steps, batch_size)
