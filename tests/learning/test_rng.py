"""Random choices are functions of (seed, purpose, epoch, index), and an epoch's order contains every sample."""

import numpy as np
import pytest

from learning.rng import COPYBLOB, CUTMIX, FORWARD, INITIAL_WEIGHTS, ORDER, VIEW, draw_order, generator, torch_seed

PURPOSES = (ORDER, VIEW, CUTMIX, COPYBLOB, INITIAL_WEIGHTS, FORWARD)
KEYS = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0)]  # (epoch, index)


def draw(seed=0, purpose=VIEW, epoch=0, index=0, count=4):
    return tuple(generator(seed, purpose, epoch, index).integers(2**63, size=count).tolist())


def test_the_same_key_draws_the_same():
    assert draw(5, VIEW, 3, 7) == draw(5, VIEW, 3, 7)


def test_other_generators_have_no_influence():
    expected = draw(index=1)
    generator(0, VIEW, 0, 0).random(1000)
    np.random.default_rng(0).random(10)
    assert draw(index=1) == expected


def test_every_part_of_the_key_matters():
    draws = [draw(seed, purpose, epoch, index) for seed in (0, 1) for purpose in PURPOSES for epoch, index in KEYS]
    assert len({number for numbers in draws for number in numbers}) == 4 * len(draws)


def test_purposes_are_distinct():
    assert len(set(PURPOSES)) == len(PURPOSES)


def test_streams_of_neighboring_keys_do_not_overlap():
    """The index is not an offset into one stream: the second number of one key is not the first of the next."""
    streams = [set(draw(index=index, count=1000)) for index in range(5)]
    assert len(set.union(*streams)) == 5 * 1000


def test_the_largest_seed_is_valid():
    assert draw(2**63 - 1) != draw(2**63 - 2)
    assert 0 <= torch_seed(2**63 - 1, FORWARD) < 2**63


def test_torch_seeds_depend_on_the_key():
    seeds = [torch_seed(0, FORWARD, epoch, index) for epoch, index in KEYS]
    assert len(set(seeds)) == len(KEYS)
    assert seeds == [torch_seed(0, FORWARD, epoch, index) for epoch, index in KEYS]
    assert all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(("num_samples", "batch_size"), [(12, 4), (12, 1), (12, 12), (1, 1)])
def test_a_full_epoch_contains_every_sample_once(num_samples, batch_size):
    order = draw_order(0, 0, num_samples, batch_size)
    assert order.shape == (num_samples // batch_size, batch_size)
    assert sorted(order.ravel()) == list(range(num_samples))


@pytest.mark.parametrize(("num_samples", "batch_size", "steps"), [(13, 4, 3), (15, 4, 3), (7, 4, 1), (9, 2, 4)])
def test_an_epoch_has_only_full_batches_and_no_repeated_sample(num_samples, batch_size, steps):
    order = draw_order(0, 0, num_samples, batch_size)
    assert order.shape == (steps, batch_size)
    assert len(set(order.ravel())) == steps * batch_size
    assert order.max() < num_samples


def test_samples_left_out_of_one_epoch_are_in_another():
    shown = {draw for epoch in range(20) for draw in draw_order(0, epoch, 5, 4).ravel()}
    assert shown == set(range(5))


@pytest.mark.parametrize(("num_samples", "batch_size"), [(3, 4), (3, 8), (1, 5), (4, 8)])
def test_a_set_smaller_than_a_batch_is_repeated_with_new_keys(num_samples, batch_size):
    (batch,) = draw_order(0, 0, num_samples, batch_size).tolist()
    assert len(batch) == len(set(batch)) == batch_size
    shown = np.bincount(np.array(batch) % num_samples, minlength=num_samples)
    assert shown.max() - shown.min() <= 1, "every sample once before any is repeated"
    assert sorted(batch[:num_samples]) == list(range(num_samples))


def test_the_repeated_order_differs():
    orders = [draw_order(0, epoch, 6, 12).reshape(2, 6) % 6 for epoch in range(5)]
    assert any((first != second).any() for first, second in orders)


def test_epochs_and_seeds_have_different_orders():
    orders = {tuple(draw_order(seed, epoch, 20, 4).ravel()) for seed in (0, 1) for epoch in range(5)}
    assert len(orders) == 10
    assert tuple(draw_order(1, 3, 20, 4).ravel()) in orders


def test_every_sample_is_first_with_equal_frequency():
    first = np.bincount([draw_order(0, epoch, 4, 2)[0, 0] for epoch in range(800)], minlength=4)
    assert (abs(first - 200) < 50).all()
