"""Working ahead in background threads, within bounds, so that the model never waits for a picture."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

QUEUE = 256
"""Items that may wait to be worked on. They are light; only results have weight."""


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; while the caller is busy with one, the next is fetched in the background."""
    end = object()
    with ThreadPoolExecutor(1, "read") as pool:
        future: Future[T | object] = pool.submit(next, items, end)
        while (item := future.result()) is not end:
            future = pool.submit(next, items, end)
            yield item  # type: ignore[misc]


def work_ahead(
    items: Iterable[T],
    work: Callable[[T], R],
    weigh: Callable[[R], int],
    limit: int,
    threads: int,
) -> Iterator[R]:
    """`work(item)` for every item, in order, done by `threads` threads while the caller is busy.

    No further work is begun while the results that wait weigh `limit` or more, so memory is
    bounded. Closing the generator (which leaving a loop over it by an exception does not do by
    itself: use `contextlib.closing`) drops what waits and returns when the work begun is done.
    """
    room = threading.Condition()
    waiting = taken = 0  # weight of results not yet taken; number of results taken
    closed = False

    def step(number: int, item: T) -> R | None:
        nonlocal waiting
        with room:
            # The next result to be taken may always be made, or all could wait for one another.
            room.wait_for(lambda: closed or waiting < limit or number == taken)
            if closed:
                return None
        result = work(item)
        with room:
            waiting += weigh(result)
        return result

    def take(future: Future[R | None]) -> R:
        nonlocal waiting, taken
        result = future.result()
        assert result is not None  # nothing is taken once the generator is closed
        with room:
            waiting -= weigh(result)
            taken += 1
            room.notify_all()
        return result

    pending: deque[Future[R | None]] = deque()
    pool = ThreadPoolExecutor(threads, "prepare")
    try:
        for number, item in enumerate(items):
            pending.append(pool.submit(step, number, item))
            if len(pending) >= QUEUE:
                yield take(pending.popleft())
        while pending:
            yield take(pending.popleft())
    finally:
        with room:
            closed = True
            room.notify_all()
        pool.shutdown(cancel_futures=True)
