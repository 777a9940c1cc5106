"""Scores over scales and mirror images against a plain double loop; classes at the size of the source image."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learning.data.loaders import EvalBatch
from learning.inference.predict import MST_SCALES, image_scores, predict_images, to_classes, upsample_logits

CLASSES = 4


class Network(nn.Module):
    """Two convolutions at half of the resolution, enlarged again: small, and neither linear nor symmetric."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Tanh(), nn.Conv2d(8, CLASSES, 3, 1, 1))
            self.layers[2].weight.data *= 10
        self.dropout = nn.Dropout(0.5)
        self.seen = []

    def forward(self, images):
        self.seen.append(tuple(images.shape))
        logits = F.interpolate(self.layers(images), images.shape[-2:], mode="bilinear", align_corners=False)
        return {"out": self.dropout(logits)}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def resized(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def double_loop(model, images, scales, mirror):
    """One image, one scale and one mirror image at a time; the mean of the logits at the images' size."""
    height, width = images.shape[-2:]
    means = []
    for image in images:
        votes = []
        for scale in scales:
            for flipped in (False, True) if mirror else (False,):
                seen = resized(image[None], (int(height * scale), int(width * scale)))
                logits = model(seen.flip(-1) if flipped else seen)["out"]
                votes.append(resized(logits.flip(-1) if flipped else logits, (height, width)))
        means.append(torch.cat(votes).mean(0))
    return torch.stack(means)


@pytest.fixture
def model():
    return Network().eval()


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0), (0.75, 2.2), MST_SCALES])
@torch.no_grad()
def test_scores_agree_with_a_double_loop(model, scales, mirror):
    images = noise(3, 3, 20, 29)
    expected = double_loop(model, images, scales, mirror)
    assert expected.std() > 0.5
    assert torch.allclose(image_scores(model, images, scales, mirror), expected, atol=1e-4)


def test_the_scales_are_the_tutorials():
    assert MST_SCALES == (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.2)


@torch.no_grad()
def test_one_scale_is_the_plain_forward(model):
    images = noise(2, 3, 17, 23)
    assert torch.equal(image_scores(model, images), model(images)["out"])


@torch.no_grad()
def test_mirror_images_share_a_batch_and_scales_are_cut_to_whole_pixels(model):
    image_scores(model, noise(2, 3, 10, 15), (0.5, 2.2), mirror=True)
    assert model.seen == [(4, 3, 5, 7), (4, 3, 22, 33)]


@torch.no_grad()
def test_mirrored_input_gives_mirrored_scores(model):
    images = noise(2, 3, 16, 21)
    for scales in ((1.0,), (0.5, 1.5)):
        scores = image_scores(model, images, scales, mirror=True)
        assert torch.allclose(image_scores(model, images.flip(-1), scales, mirror=True), scores.flip(-1), atol=1e-5)
    assert not torch.allclose(image_scores(model, images.flip(-1)), image_scores(model, images).flip(-1), atol=1e-1)


@torch.no_grad()
def test_scores_are_float32_and_images_stay(model):
    images = noise(1, 3, 12, 12)
    kept = images.clone()

    def half(batch):
        return {"out": model(batch)["out"].bfloat16()}

    assert image_scores(half, images, (0.5, 1.0), mirror=True).dtype == torch.float32
    assert torch.equal(images, kept)


@pytest.mark.parametrize("size", [(12, 20), (9, 7), (40, 33)])
def test_enlarge_is_bilinear_between_pixel_centers(size):
    scores = noise(CLASSES, 12, 20)
    assert torch.allclose(upsample_logits(scores, size), resized(scores[None], size)[0], atol=3e-5)


def test_enlarge_by_hand():
    assert upsample_logits(torch.tensor([[[0.0, 4.0]]]), (1, 4)).tolist() == [[[0.0, 1.0, 3.0, 4.0]]]


def test_the_class_is_the_one_with_the_highest_score():
    scores = noise(2, CLASSES, 3, 5)
    classes = to_classes(scores)
    assert torch.equal(classes, scores.argmax(1))
    assert torch.equal(to_classes(scores[1]), classes[1])
    assert classes.dtype == torch.int64


# ---------------------------------------------------------------------------------------------- predictions

SIZES = [(24, 32), (50, 31), (24, 32), (13, 70), (5, 6)]


def batches(images, batch_size):
    """The images as `EvalBatch`es of sources of different sizes, named by their index."""
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        yield EvalBatch(images[part], None, SIZES[part], list(range(len(images)))[part])


@pytest.mark.parametrize(("scales", "mirror"), [((1.0,), False), ((0.5, 1.25), True)])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_predictions_have_the_source_sizes_whatever_the_batch_size(model, batch_size, scales, mirror):
    images = noise(5, 3, 16, 24)
    found = list(predict_images(model, batches(images, batch_size), scales, mirror))
    assert [sample for sample, _ in found] == [0, 1, 2, 3, 4]
    for (_, classes), image, size in zip(found, images, SIZES, strict=True):
        assert classes.shape == size
        assert classes.dtype == np.uint8
        with torch.no_grad():
            scores = resized(double_loop(model, image[None], scales, mirror), size)[0]
        best = scores.topk(2, 0).values
        clear = (best[0] - best[1] > 1e-3).numpy()  # ties may fall either way
        assert clear.mean() > 0.95
        assert np.array_equal(classes[clear], scores.argmax(0).numpy()[clear])


def test_the_class_is_taken_after_the_scores_are_enlarged(model):
    image = noise(1, 3, 8, 8)
    ((_, classes),) = predict_images(model, [EvalBatch(image, None, [(64, 64)], ["sample"])])
    with torch.no_grad():
        scores = model(image)["out"]
    assert np.array_equal(classes, resized(scores, (64, 64)).argmax(1)[0])
    blocks = scores.argmax(1, keepdim=True).repeat_interleave(8, 2).repeat_interleave(8, 3)[0, 0]
    assert (classes != blocks.numpy()).mean() > 0.05


def test_predicting_switches_dropout_off_and_records_no_gradients(model):
    model.train()
    image = noise(1, 3, 16, 16)
    first, second = (next(predict_images(model, [EvalBatch(image, None, [(16, 16)], ["x"])]))[1] for _ in range(2))
    assert not model.training
    assert np.array_equal(first, second)
    assert torch.is_grad_enabled()
