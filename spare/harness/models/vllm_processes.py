"""The processes in which vLLM computes: they end when we do, and Ctrl-C ends them in good order.

By itself vLLM leaves them running when their parent is killed, with all of the device's memory, so
that the next call finds none.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

Result = TypeVar("Result")


def begin(make: Callable[[], Result]) -> Result:
    """What `make` returns. The processes that it begins end as soon as this one does.

    It runs in another thread, since vLLM waits for its processes in a call (zmq's poll) that
    swallows what a signal's handler raises: Ctrl-C would not be heard, for minutes.
    """
    made: Future[Result] = Future()

    def work() -> None:
        try:
            made.set_result(make())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            made.set_exception(error)

    with _ours() as begun:
        threading.Thread(target=work, name="begin vllm", daemon=True).start()
        try:
            return made.result()
        except KeyboardInterrupt:
            for process in begun:
                if process.pid is not None:
                    _kill(process.pid)
            raise


@contextlib.contextmanager
def _ours() -> Iterator[list[BaseProcess]]:
    """Yields the processes that are begun inside. They do not hear Ctrl-C: a terminal sends it to
    all processes, and vLLM's would die with pages of traces."""
    start = BaseProcess.start
    begun: list[BaseProcess] = []

    def start_ours(process: BaseProcess) -> None:
        target = process._target  # type: ignore[attr-defined]
        process._target = functools.partial(run_in_ours, target)  # type: ignore[attr-defined]
        # A process inherits what its parent's thread does not listen to.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            start(process)
            begun.append(process)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    # Where it is not running yet, the first process would start it, and listen again.
    resource_tracker.ensure_running()
    BaseProcess.start = start_ours  # type: ignore[assignment, method-assign]
    try:
        yield begun
    finally:
        BaseProcess.start = start  # type: ignore[method-assign]


def run_in_ours(target: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What a process of ours does: its target, and nothing once its parent is gone."""
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    return target(*arguments, **named)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        _kill(os.getpid())


def _kill(root: int) -> None:
    """End a process and all that it has begun, at once: what is left of them would say in pages of
    traces that the others are gone."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        family = [*psutil.Process(root).children(recursive=True), psutil.Process(root)]
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
