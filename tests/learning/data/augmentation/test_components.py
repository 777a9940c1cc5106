"""Connected components against a flood fill."""

import numpy as np
import pytest

from learning.data.augmentation.components import components


def flood_fill(mask):
    height, width = mask.shape
    numbers = np.zeros(mask.shape, int)
    count = 0
    for start in zip(*np.nonzero(mask), strict=True):
        if numbers[start]:
            continue
        count += 1
        numbers[start] = count
        stack = [start]
        while stack:
            row, column = stack.pop()
            for y in range(max(0, row - 1), min(height, row + 2)):
                for x in range(max(0, column - 1), min(width, column + 2)):
                    if mask[y, x] and not numbers[y, x]:
                        numbers[y, x] = count
                        stack.append((y, x))
    return numbers


@pytest.mark.parametrize("density", [0.1, 0.3, 0.45, 0.6, 0.9])
def test_random_masks_agree_with_a_flood_fill(density):
    rng = np.random.default_rng(0)
    for _ in range(60):
        mask = rng.random(tuple(rng.integers(1, 16, 2))) < density
        np.testing.assert_array_equal(components(mask), flood_fill(mask))


def test_shapes_that_join_in_later_rows():
    rows = ["#.#.#..#", "#.#.#.#.", "#.###.#.", "#.....#.", "#####..#", "........", "#.......", "########"]
    mask = np.array([[mark == "#" for mark in row] for row in rows])
    numbers = components(mask)
    np.testing.assert_array_equal(numbers, flood_fill(mask))
    assert numbers.max() == 4


def test_runs_do_not_continue_in_the_next_row():
    mask = np.zeros((3, 4), bool)
    mask[0, 3] = mask[1, 0] = mask[2, 3] = True
    assert components(mask)[mask].tolist() == [1, 2, 3]


@pytest.mark.parametrize("value", [False, True])
def test_uniform_masks(value):
    assert (components(np.full((5, 7), value)) == int(value)).all()
