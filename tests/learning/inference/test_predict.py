"""Logits over scales and flips against a plain double loop; classes at the size of the source image."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learning.data.loaders import EvalBatch
from learning.inference.predict import (
    MST_SCALES,
    InferenceSettings,
    average_logits,
    predict_images,
    to_classes,
    upsample_logits,
)

CLASSES = 4


class Network(nn.Module):
    """Two convolutions at half the resolution, upsampled: small, and neither linear nor symmetric."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Tanh(), nn.Conv2d(8, CLASSES, 3, 1, 1))
            self.layers[2].weight.data *= 10
        self.dropout = nn.Dropout(0.5)
        self.input_shapes = []

    def forward(self, images):
        self.input_shapes.append(tuple(images.shape))
        logits = F.interpolate(self.layers(images), images.shape[-2:], mode="bilinear", align_corners=False)
        return {"out": self.dropout(logits)}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def resized(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def double_loop(model, images, scales, flip):
    """One image, one scale and one flip at a time; the mean of the logits at the images' size."""
    height, width = images.shape[-2:]
    means = []
    for image in images:
        found = []
        for scale in scales:
            for flipped in (False, True) if flip else (False,):
                scaled = resized(image[None], (int(height * scale), int(width * scale)))
                logits = model(scaled.flip(-1) if flipped else scaled)["out"]
                found.append(resized(logits.flip(-1) if flipped else logits, (height, width)))
        means.append(torch.cat(found).mean(0))
    return torch.stack(means)


@pytest.fixture
def model():
    return Network().eval()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0), (0.75, 2.2), MST_SCALES])
@torch.no_grad()
def test_logits_equal_a_double_loop(model, scales, flip):
    images = noise(3, 3, 20, 29)
    expected = double_loop(model, images, scales, flip)
    assert expected.std() > 0.5
    assert torch.allclose(average_logits(model, images, scales, flip), expected, atol=1e-4)


def test_mst_scales_are_the_tutorials():
    assert MST_SCALES == (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.2)


@torch.no_grad()
def test_one_scale_is_the_plain_forward(model):
    images = noise(2, 3, 17, 23)
    assert torch.equal(average_logits(model, images), model(images)["out"])


@torch.no_grad()
def test_flips_share_a_batch_and_sizes_are_rounded_down(model):
    average_logits(model, noise(2, 3, 10, 15), (0.5, 2.2), flip=True)
    assert model.input_shapes == [(4, 3, 5, 7), (4, 3, 22, 33)]


@torch.no_grad()
def test_flipped_images_give_flipped_logits(model):
    images = noise(2, 3, 16, 21)
    for scales in ((1.0,), (0.5, 1.5)):
        logits = average_logits(model, images, scales, flip=True)
        assert torch.allclose(average_logits(model, images.flip(-1), scales, flip=True), logits.flip(-1), atol=1e-5)
    assert not torch.allclose(average_logits(model, images.flip(-1)), average_logits(model, images).flip(-1), atol=1e-1)


@torch.no_grad()
def test_logits_are_float32_and_images_are_not_modified(model):
    images = noise(1, 3, 12, 12)
    before = images.clone()

    def half(batch):
        return {"out": model(batch)["out"].bfloat16()}

    assert average_logits(half, images, (0.5, 1.0), flip=True).dtype == torch.float32
    assert torch.equal(images, before)


@pytest.mark.parametrize("size", [(12, 20), (9, 7), (40, 33)])
def test_upsampling_is_bilinear_between_pixel_centers(size):
    logits = noise(CLASSES, 12, 20)
    assert torch.allclose(upsample_logits(logits, size), resized(logits[None], size)[0], atol=3e-5)


def test_upsampling_by_hand():
    assert upsample_logits(torch.tensor([[[0.0, 4.0]]]), (1, 4)).tolist() == [[[0.0, 1.0, 3.0, 4.0]]]


def test_the_class_has_the_highest_logit():
    logits = noise(2, CLASSES, 3, 5)
    classes = to_classes(logits)
    assert torch.equal(classes, logits.argmax(1))
    assert torch.equal(to_classes(logits[1]), classes[1])
    assert classes.dtype == torch.int64


# ---------------------------------------------------------------------------------------------- predict_images

SIZES = [(24, 32), (50, 31), (24, 32), (13, 70), (5, 6)]


def batches(images, batch_size):
    """The images as `EvalBatch`es of sources of different sizes, named by their index."""
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        yield EvalBatch(images[part], None, SIZES[part], list(range(len(images)))[part])


@pytest.mark.parametrize(("scales", "flip"), [((1.0,), False), ((0.5, 1.25), True)])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_predictions_have_the_source_sizes_for_every_batch_size(model, batch_size, scales, flip):
    images = noise(5, 3, 16, 24)
    found = list(predict_images(model, batches(images, batch_size), InferenceSettings(scales, flip)))
    assert [sample for sample, _ in found] == [0, 1, 2, 3, 4]
    for (_, classes), image, size in zip(found, images, SIZES, strict=True):
        assert classes.shape == size
        assert classes.dtype == np.uint8
        with torch.no_grad():
            logits = resized(double_loop(model, image[None], scales, flip), size)[0]
        best = logits.topk(2, 0).values
        clear = (best[0] - best[1] > 1e-3).numpy()  # ties may be broken either way
        assert clear.mean() > 0.95
        assert np.array_equal(classes[clear], logits.argmax(0).numpy()[clear])


def test_the_class_is_taken_after_upsampling(model):
    image = noise(1, 3, 8, 8)
    ((_, classes),) = predict_images(model, [EvalBatch(image, None, [(64, 64)], ["sample"])])
    with torch.no_grad():
        logits = model(image)["out"]
    assert np.array_equal(classes, resized(logits, (64, 64)).argmax(1)[0])
    blocks = logits.argmax(1, keepdim=True).repeat_interleave(8, 2).repeat_interleave(8, 3)[0, 0]
    assert (classes != blocks.numpy()).mean() > 0.05


def test_predicting_disables_dropout_and_records_no_gradients(model):
    model.train()
    image = noise(1, 3, 16, 16)
    first, second = (next(predict_images(model, [EvalBatch(image, None, [(16, 16)], ["x"])]))[1] for _ in range(2))
    assert not model.training
    assert np.array_equal(first, second)
    assert torch.is_grad_enabled()
