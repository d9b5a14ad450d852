"""Working ahead in background threads, within bounds, so that the model need not wait."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

QUEUE = 128
"""Items that are fetched before their turn. They are light; only results have weight."""


def preparing_threads() -> int:
    """Threads that prepare pictures. On the processor the model needs its share of the cores."""
    return max(1, min(8, (os.cpu_count() or 1) // 2))


class _End:
    """Comes after the last item."""


END: Final = _End()


def work_ahead(
    items: Iterator[T],
    work: Callable[[T], R],
    weigh: Callable[[R], int],
    limit: int,
    threads: int,
) -> Generator[R, None, None]:
    """`work(item)` for every item, in order, while the caller is busy with an earlier one.

    One thread fetches the items, `threads` others work on them. No work is begun while the results
    that wait weigh `limit` or more, so memory is bounded. What fetching or working raises is raised
    here when its turn comes. Closing the generator drops what waits and returns as soon as what was
    begun is done; leaving a loop over it does not close it, so use `contextlib.closing`.
    """
    room = threading.Condition()
    waiting = taken = 0  # weight of results not yet taken; number of results taken
    closed = False

    def step(number: int, fetched: Future[T | _End]) -> R | _End:
        nonlocal waiting
        item = fetched.result()
        with room:
            # The next result to be taken may always be made, or all would wait for one another.
            room.wait_for(lambda: closed or waiting < limit or number == taken)
        if closed or isinstance(item, _End):
            return END
        result = work(item)
        with room:
            waiting += weigh(result)
        return result

    def take(future: Future[R | _End]) -> R | _End:
        nonlocal waiting, taken
        result = future.result()
        with room:
            waiting -= 0 if isinstance(result, _End) else weigh(result)
            taken += 1
            room.notify_all()
        return result

    reader = ThreadPoolExecutor(1, "read")
    workers = ThreadPoolExecutor(threads, "prepare")

    def begin(number: int) -> Future[R | _End]:
        return workers.submit(step, number, reader.submit(next, items, END))

    try:
        pending = deque(begin(number) for number in range(QUEUE))
        while not isinstance(result := take(pending.popleft()), _End):
            pending.append(begin(taken - 1 + QUEUE))
            yield result
    finally:
        with room:
            closed = True
            room.notify_all()
        reader.shutdown(cancel_futures=True)
        workers.shutdown(cancel_futures=True)
