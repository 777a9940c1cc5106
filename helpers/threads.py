"""Map a function over items in threads; decoding and encoding images releases Python's global interpreter lock."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

NUM_THREADS = min(8, os.cpu_count() or 1)


def map_in_threads(
    function: Callable[..., Result], *arguments: Sequence, description: str, unit: str = "img"
) -> list[Result]:
    """`function(*items)` for the items of all sequences, in their order, with a progress bar if it takes over a second."""
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        results = threads.map(function, *arguments)
        return list(show_progress(results, len(arguments[0]), description, unit))


def show_progress(items: Iterable[Item], total: int, description: str, unit: str = "img") -> Iterable[Item]:
    """The items, with a progress bar on a terminal. Without tqdm there is none: scoring needs NumPy and Pillow only."""
    if not (sys.stderr and sys.stderr.isatty()):  # importing tqdm takes as long as scoring thirty small images
        return items
    with suppress(ImportError):
        from tqdm import tqdm

        return tqdm(items, total=total, desc=description, unit=unit, delay=1, leave=False)
    return items


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    cost: Callable[[Item], float],
    budget: float,
    num_threads: int = NUM_THREADS,
) -> Iterator[Result]:
    """`function(item)` of each item, in order, computed in threads ahead of the consumer.

    Items are submitted while the total cost of those not yet returned is within the budget; at least one always is.
    """
    pending: deque[tuple[float, Future[Result]]] = deque()
    with ThreadPoolExecutor(num_threads) as threads:
        for item in items:
            item_cost = cost(item)
            while pending and item_cost + sum(other for other, _ in pending) > budget:
                yield pending.popleft()[1].result()
            pending.append((item_cost, threads.submit(function, item)))
        while pending:
            yield pending.popleft()[1].result()
