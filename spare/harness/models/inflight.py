"""Asking something slow about many items, a bounded number of them at any time."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
C = TypeVar("C")

GRACE = 30.0
"""Seconds that work under way still gets when something else has ended it all."""

_END: Any = object()
"""Comes after the last item, and after the last result."""


def in_flight(
    items: Iterator[T],
    connect: Callable[[], AbstractAsyncContextManager[C]],
    work: Callable[[C, T, asyncio.Event], Awaitable[R | None]],
    concurrency: int,
) -> Generator[R, None, None]:
    """`work(connection, item, ended)` for every item, results as they come.

    All of it runs in one event loop in a background thread; items are read in threads of their own,
    no more than twice `concurrency` beyond the results that were taken. What reading or working
    raises is raised here, after the results of what was under way; `ended` is set then, and work
    that sees it may return None instead of waiting any longer. Closing the generator drops
    everything at once.
    """
    source = _Source(items, 2 * concurrency)
    arrived: queue.SimpleQueue[R] = queue.SimpleQueue()

    async def serve(connection: C) -> None:
        while (item := await source.next()) is not _END:
            result = await work(connection, item, source.ended)
            if result is None:
                return
            arrived.put(result)

    async def run() -> None:
        async with connect() as connection:
            workers = [asyncio.create_task(serve(connection)) for _ in range(concurrency)]
            try:
                await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
                source.end()
                await asyncio.wait(workers, timeout=GRACE)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
            for worker in workers:
                if not worker.cancelled():
                    worker.result()

    loop = asyncio.new_event_loop()
    task = loop.create_task(run())
    task.add_done_callback(lambda _: arrived.put(_END))
    # A daemon, so that even a process that ends without closing this does not wait for a server.
    thread = threading.Thread(target=_drive, args=(loop, task), name="in flight", daemon=True)
    thread.start()
    try:
        while (result := arrived.get()) is not _END:
            yield result
            source.make_room()
        task.result()
    finally:
        source.close()
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def _drive(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    loop.run_until_complete(asyncio.wait({task}))
    loop.run_until_complete(loop.shutdown_default_executor())


class _Source(Generic[T]):
    """Items, read one at a time.

    Args:
        items: read by nobody else.
        room: how many may be read beyond those whose results were taken.

    Attributes:
        ended: nothing more will be read, and nothing is worth waiting for.
    """

    def __init__(self, items: Iterator[T], room: int) -> None:
        self._items = items
        self._room = threading.Semaphore(room)
        self._closed = False
        self._reading = asyncio.Lock()
        self.ended = asyncio.Event()

    async def next(self) -> T:
        """The next item, when there is room for it; or the end."""
        async with self._reading:
            return await asyncio.to_thread(self._read)

    def _read(self) -> T:
        self._room.acquire()
        item: T = _END if self._closed else next(self._items, _END)
        if item is _END:
            self.close()
        return item

    def make_room(self) -> None:
        """A result was taken."""
        self._room.release()

    def close(self) -> None:
        """From now on there are no more items. Any thread may call it."""
        self._closed = True
        self._room.release()

    def end(self) -> None:
        """Close it, and say so to work that waits. For the event loop's thread."""
        self.close()
        self.ended.set()
