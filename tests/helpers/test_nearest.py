"""Nearest-neighbor resampling against torch and by hand."""

import numpy as np
import pytest
import torch

from helpers.nearest import nearest_indices, resize_nearest


@pytest.mark.parametrize("size", [(3, 5), (7, 9), (20, 4), (1, 1), (6, 11)])
def test_resizing_is_nearest_exact(size):
    label = np.random.default_rng(2).integers(0, 9, (7, 9)).astype(np.uint8)
    expected = torch.nn.functional.interpolate(torch.tensor(label)[None, None], size, mode="nearest-exact")[0, 0]
    assert np.array_equal(resize_nearest(label, size), expected.numpy())


def test_indices_by_hand():
    assert nearest_indices(4, 2).tolist() == [1, 3], "a tie takes the later pixel"
    assert nearest_indices(6, 2).tolist() == [1, 4]
    assert nearest_indices(2, 5).tolist() == [0, 0, 1, 1, 1]
    assert nearest_indices(5, 5).tolist() == [0, 1, 2, 3, 4]


def test_indices_are_the_pixels_at_the_centers():
    rng = np.random.default_rng(0)
    for old, new in rng.integers(1, 3000, (100, 2)).tolist():
        indices = nearest_indices(old, new)
        centers = (np.arange(new) + 0.5) * old / new
        assert indices.shape == (new,)
        assert abs(indices + 0.5 - centers).max() <= 0.5 + 1e-3
        assert 0 <= indices.min() <= indices.max() < old
