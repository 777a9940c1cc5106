"""The active boundary loss: distances against brute force, the loss against hand-computed values and a loop over pixels."""

import math

import numpy as np
import pytest
import torch

from helpers.labels import VOID
from learning.losses.boundary import active_boundary, predicted_boundary, squared_distances, true_boundary

CLASSES = 4


def scene(seed=0, batch=2, size=(24, 30), void=True):
    """Smooth logits, and labels of large regions with irregular boundaries."""
    generator = torch.Generator().manual_seed(seed)

    def smooth(step):
        coarse = torch.randn(batch, CLASSES, size[0] // step + 2, size[1] // step + 2, generator=generator)
        return torch.nn.functional.interpolate(coarse.double(), size, mode="bilinear")

    logits, target = 3 * smooth(6), smooth(12).argmax(1)
    if void:
        target[0, 4:8, 10:14] = VOID
        target[torch.rand(target.shape, generator=generator) < 0.01] = VOID
    return logits.requires_grad_(), target


# ---------------------------------------------------------------------------------------------- distances


def slow_squared_distances(boundary):
    positions = np.argwhere(boundary)
    grid = np.stack(np.indices(boundary.shape), -1)
    return ((grid[:, :, None] - positions) ** 2).sum(-1).min(-1)


@pytest.mark.parametrize("size", [(17, 40), (40, 17), (1, 30), (30, 1), (25, 25)])
@pytest.mark.parametrize("share", [0.002, 0.02, 0.3])
def test_distances_agree_with_brute_force(size, share):
    rng = np.random.default_rng(size[0])
    boundary = rng.random((3, *size)) < share
    boundary[:, size[0] // 3, size[1] // 4] = True
    found = squared_distances(torch.from_numpy(boundary))
    assert found.dtype == torch.int32
    for one, expected in zip(found.numpy(), map(slow_squared_distances, boundary), strict=True):
        assert np.array_equal(one, expected)


def test_distances_agree_with_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    boundary = np.random.default_rng(0).random((1, 300, 200)) < 1e-4
    boundary[0, 0, 0] = True
    found = squared_distances(torch.from_numpy(boundary)).double().sqrt().numpy()
    assert np.allclose(found[0], ndimage.distance_transform_edt(~boundary[0]), rtol=1e-12)


def test_distances_are_constant_without_a_boundary():
    boundary = torch.zeros(2, 5, 8, dtype=torch.bool)
    boundary[1, 2, 3] = True
    found = squared_distances(boundary)
    assert (found[0] == found[0, 0, 0]).all()
    assert found[0, 0, 0] > 5**2 + 8**2
    assert found[1, 4, 7] == 2**2 + 4**2


# ---------------------------------------------------------------------------------------------- boundaries


def test_true_boundaries_by_hand():
    target = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, VOID], [0, 0, 0, 0]]])
    expected = torch.tensor([[[0, 1, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0]]]).bool()
    assert torch.equal(true_boundary(target), expected)


def test_predicted_boundaries_are_the_pixels_of_largest_change_and_their_neighbors():
    logits = torch.zeros(1, 2, 20, 20)  # 1 % are 4 pixels
    logits[0, 0, 10:, :2] = 9.0  # 2 vertical neighbors differ, 10 horizontal ones
    logits[0, 0, 10, 0] = 20.0
    valid = torch.ones(1, 20, 20, dtype=torch.bool)
    found = predicted_boundary(logits.log_softmax(1), valid)
    assert 0 < found.sum() <= 20 * 3 * 3
    assert not found[0, :7].any()
    assert not found[0, :, 5:].any()
    valid[0, 9] = False
    assert not predicted_boundary(logits.log_softmax(1), valid)[0, 9].any()
    assert not predicted_boundary(torch.zeros(1, 2, 20, 20).log_softmax(1), valid).any(), (
        "a constant prediction has none"
    )


# ---------------------------------------------------------------------------------------------- the loss


def slow_loss(logits, target):
    """The docstring's definition, pixel by pixel; sum over images."""
    result = torch.zeros((), dtype=logits.dtype)
    height, width = target.shape[1:]
    for log_p, labels in zip(logits.log_softmax(1), target, strict=True):
        fixed = log_p.detach()

        def at(y, x, labels=labels):
            return 0 <= y < height and 0 <= x < width and labels[y, x] != VOID

        def divergence(a, b):
            return (a.exp() * (a - b)).sum()

        change = torch.zeros(height, width, dtype=logits.dtype)
        boundary = np.zeros((height, width), bool)
        for y in range(height):
            for x in range(width):
                for v, u in ((y + 1, x), (y, x + 1)):
                    if v < height and u < width:
                        boundary[y, x] |= bool(labels[y, x] != labels[v, u])
                        if at(y, x) and at(v, u):
                            change[y, x] += divergence(fixed[:, y, x], fixed[:, v, u])
                boundary[y, x] |= bool(labels[y, x] == VOID)
        least = max(change.flatten().sort(descending=True).values[max(1, height * width // 100) - 1].item(), 1e-5)
        around = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        edges = {(y + v, x + u) for y, x in np.argwhere((change >= least).numpy()).tolist() for v, u in around}
        squared = slow_squared_distances(boundary) if boundary.any() else np.full((height, width), 10**6)
        losses = []
        for y, x in sorted(edges):
            near = [(y + v, x + u) for v, u in around if (v, u) != (0, 0) and at(y + v, x + u)]
            if not at(y, x) or not near or min(squared[position] for position in near) >= squared[y, x]:
                continue
            log_q = torch.stack([divergence(fixed[:, v, u], log_p[:, y, x]) for v, u in near]).log_softmax(0)
            nearest = min(range(len(near)), key=lambda i: squared[near[i]])
            cross_entropy = -0.8 * log_q[nearest] - 0.2 * log_q.mean()
            losses.append(cross_entropy * min(math.sqrt(squared[y, x]), 20) / 20)
        if losses:
            result = result + sum(losses) / len(losses)
    return result


@pytest.mark.parametrize(("seed", "size"), [(0, (24, 30)), (1, (30, 24)), (2, (10, 60)), (3, (40, 40))])
def test_the_loss_and_its_gradient_agree_with_a_loop(seed, size):
    logits, target = scene(seed, size=size)
    total, weight = active_boundary(logits, target)
    expected = slow_loss(logits, target)
    assert weight == 2
    assert expected > 0.01
    assert total.item() == pytest.approx(expected.item(), rel=1e-10)
    assert torch.allclose(*(torch.autograd.grad(x, logits)[0] for x in (total, expected)), rtol=0, atol=1e-12)


def test_by_hand():
    """One row of 100 pixels: the predicted boundary is pixel 9, dilated 8 to 10; the true boundary is pixel 12."""
    logits = torch.zeros(1, 2, 1, 100, dtype=torch.float64)
    logits[..., 0, 0, :10], logits[..., 1, 0, 10:] = 4.0, 4.0
    target = (torch.arange(100) > 12).long().expand(1, 1, 100)
    assert squared_distances(true_boundary(target))[0, 0, 8:13].tolist() == [16, 9, 4, 1, 0]
    divergence = 4 * (2 / (1 + math.exp(-4)) - 1)  # of the two sides of the step
    large, small = (
        math.log1p(math.exp(-divergence)),
        math.log1p(math.exp(divergence)),
    )  # -log softmax of (divergence, 0)
    uniform = 0.2 * (large + small) / 2
    # The direction is right: from 8 the divergences are equal; from 9 it crosses the step; from 10 it leads away.
    expected = (4 * math.log(2) + 3 * (0.8 * large + uniform) + 2 * (0.8 * small + uniform)) / 20 / 3
    total, weight = active_boundary(logits, target)
    assert weight == 1
    assert total.item() == pytest.approx(expected, rel=1e-12)


def test_the_weight_of_the_distance_is_capped_at_20_pixels():
    losses = []
    for step in (22, 30, 60):
        logits = torch.zeros(1, 2, 4, 100, dtype=torch.float64)
        logits[:, 0, :, :10], logits[:, 1, :, 10:] = 4.0, 4.0
        target = (torch.arange(100) > 10 + step).long().expand(1, 4, 100)
        losses.append(active_boundary(logits, target)[0].item())
    assert losses[0] > 0.1
    assert losses[1] == losses[2] == pytest.approx(losses[0], rel=1e-12)


def test_the_loss_is_0_without_a_boundary_and_small_for_an_aligned_one():
    logits, target = scene(4, void=False)
    assert active_boundary(logits, torch.zeros_like(target))[0] == 0, "no true boundary"
    assert active_boundary(torch.zeros_like(logits), target)[0] == 0, "no predicted one"
    right = 20.0 * torch.nn.functional.one_hot(target, CLASSES).permute(0, 3, 1, 2).double()
    aligned, shifted = active_boundary(right, target)[0], active_boundary(right.roll(6, 3), target)[0]
    assert 0 < 2 * aligned < shifted


def test_descent_moves_the_boundary_to_the_true_one():
    """Gradient descent on logits with a step at column 8, for a label with a step at column 14."""
    target = (torch.arange(30) >= 14).long().expand(1, 20, 30)
    logits = torch.stack([torch.sigmoid(8.0 - torch.arange(30)), torch.sigmoid(torch.arange(30) - 8.0)])
    logits = (6 * logits)[None, :, None].repeat(1, 1, 20, 1).requires_grad_()
    before = (logits.argmax(1) != target).sum().item()
    optimizer = torch.optim.SGD([logits], lr=200.0)
    for _ in range(60):
        optimizer.zero_grad()
        active_boundary(logits, target)[0].backward()
        optimizer.step()
    assert (logits.argmax(1) != target).sum().item() < 0.7 * before


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2), (2, 64)])
def test_the_smallest_images(size):
    logits = torch.randn(2, CLASSES, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.randint(0, CLASSES, (2, *size), generator=torch.Generator().manual_seed(1))
    total, _ = active_boundary(logits.requires_grad_(), target)
    assert total.item() == pytest.approx(slow_loss(logits, target).item(), rel=1e-10, abs=1e-15)
    assert torch.autograd.grad(total, logits)[0].isfinite().all()
