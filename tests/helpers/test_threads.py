"""Functions mapped over items in threads: order, the budget of items ahead, errors."""

import threading

import pytest

from helpers.threads import map_ahead, map_in_threads


def test_results_are_in_the_order_of_the_items():
    assert map_in_threads(lambda a, b: a - b, [5, 6, 7], [1, 2, 3], description="x") == [4, 4, 4]
    assert list(map_ahead(lambda item: item * 2, range(20), cost=lambda _: 1, budget=3)) == list(range(0, 40, 2))
    assert list(map_ahead(abs, [], cost=lambda _: 1, budget=3)) == []


@pytest.mark.parametrize(
    ("costs", "budget", "ahead"), [([1] * 6, 3, 3), ([2, 2, 2], 3, 1), ([9, 9], 3, 1), ([1, 1, 9], 3, 2)]
)
def test_items_are_computed_ahead_within_the_budget(costs, budget, ahead):
    taken = []

    def items():
        for index in range(len(costs)):
            taken.append(index)
            yield index

    results = map_ahead(lambda index: index, items(), cost=costs.__getitem__, budget=budget)
    assert next(results) == 0
    assert len(taken) == min(ahead + 1, len(costs)), "those that are submitted, and the one that does not fit"
    assert list(results) == list(range(1, len(costs)))


def test_errors_are_raised_in_order():
    done = threading.Event()

    def work(item):
        if item == 1:
            raise ValueError("one")
        done.set()
        return item

    results = map_ahead(work, range(3), cost=lambda _: 1, budget=10)
    assert next(results) == 0
    with pytest.raises(ValueError, match="one"):
        next(results)
    assert done.is_set()
