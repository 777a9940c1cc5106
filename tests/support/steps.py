"""Training steps on random batches, without data sets."""

import numpy as np
import torch

from helpers.labels import VOID
from learning.device import Precision
from learning.losses import Criterion
from learning.training.engine import Training
from learning.training.nonfinite import NonFiniteGuard

CPU = torch.device("cpu")
CLASSES = 5


def batch(seed, size=4, dtype=torch.float32):
    """Noise and random labels of 64x64 pixels; the parts of a batch have different numbers of valid pixels."""
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.normal(size=(size, 3, 64, 64))).to(dtype)
    labels = torch.from_numpy(rng.choice([0, 1, 2, 3, 4, VOID], (size, 64, 64)))
    labels[0, :40] = VOID
    return images, labels


def training_of(model, accumulate=1, loss="ce", precision="off", lr=0.1, tolerated=0, optimized=None):
    """learner.Training of a model without mixing; `optimized` is the model itself where `model` wraps it."""
    optimized = optimized or model
    return Training(
        model=model,
        mix=lambda images, labels, *_: (images, labels),
        criterion=Criterion(loss, {"weighted_ce": {"class_weights": torch.linspace(0.5, 1.5, CLASSES)}}),
        optimizer=torch.optim.SGD(optimized.parameters(), lr, momentum=0.9, fused=True),
        rate_at=lambda *_: lr,
        precision=Precision(precision, CPU),
        guard=NonFiniteGuard(optimized, tolerated),
        seed=0,
        accumulate=accumulate,
    )


def without_dropout(model):
    """The model, with dropout that drops nothing."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model
