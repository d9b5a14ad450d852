"""Where long work stands: live bars on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

E = TypeVar("E")

SECONDS = 30.0
"""Between two lines of a log."""


class Bar(NamedTuple):
    """What a bar shows of an event."""

    name: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Look(Generic[E]):
    """How the events of a verb are shown.

    Attributes:
        bar: of an event.
        line: an event as a line of a log.
        state: what stands behind its bar.
        waiting: what has been awaited for so long that it must be said, even while no event comes;
            "" if nothing has.
        left: what stands in front of the time that is left.
        stays: a bar that is full is still shown.
    """

    bar: Callable[[E], Bar]
    line: Callable[[E], str]
    state: Callable[[E], str] = lambda event: ""
    waiting: Callable[[E], str] = lambda event: ""
    left: str = "ETA"
    stays: bool = True


@contextlib.contextmanager
def shown(look: Look[E]) -> Iterator[Callable[[E | str], None]]:
    """What shows events; those that are texts are printed as they are."""
    with _bars(look) if sys.stderr.isatty() else _lines(look) as show:
        yield show


@contextlib.contextmanager
def _bars(look: Look[E]) -> Iterator[Callable[[E | str], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class State(ProgressColumn):
        """Drawn ten times a second, so that a wait is seen to grow."""

        def render(self, task: Task) -> Text:
            parts = (task.fields["state"], look.waiting(task.fields["event"]))
            return Text(", ".join(filter(None, parts)))

    bars: dict[str, TaskID] = {}
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TextColumn(look.left),
        TimeRemainingColumn(),
        State(),
        console=Console(stderr=True),
    ) as progress:

        def show(event: E | str) -> None:
            if isinstance(event, str):
                progress.console.print(event, highlight=False, markup=False)
                return
            name, done, total = look.bar(event)
            fields: dict[str, Any] = {"state": look.state(event), "event": event}
            fields["visible"] = look.stays or done < total
            if name in bars:
                progress.update(bars[name], completed=done, total=total, **fields)
            else:
                bars[name] = progress.add_task(name, completed=done, total=total, **fields)

        yield show


@contextlib.contextmanager
def _lines(look: Look[E]) -> Iterator[Callable[[E | str], None]]:
    lines = _Lines(look)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(SECONDS / 10):
            lines.tell_wait()

    watching = threading.Thread(target=watch, name="progress", daemon=True)
    watching.start()
    try:
        yield lines.show
    finally:
        ended.set()
        watching.join()


class _Lines(Generic[E]):
    """Lines for a log: the texts, and where the work stands every half minute and at its end."""

    def __init__(self, look: Look[E]) -> None:
        self._look = look
        self._printed = time.monotonic()
        self._last: E | None = None
        self._over: E | None = None
        self._printing = threading.Lock()

    def show(self, event: E | str) -> None:
        if isinstance(event, str):
            _print(event)
            return
        self._last = event
        _, done, total = self._look.bar(event)
        over = done >= total and event is not self._over
        if over or time.monotonic() - self._printed > SECONDS:
            self._over = event if over else self._over
            self._tell(event)

    def tell_wait(self) -> None:
        """A line while no event comes, if something is awaited."""
        if self._last is not None and time.monotonic() - self._printed > SECONDS:
            waiting = self._look.waiting(self._last)
            if waiting:
                self._tell(self._last)

    def _tell(self, event: E) -> None:
        with self._printing:
            self._printed = time.monotonic()
            _print(", ".join(filter(None, (self._look.line(event), self._look.waiting(event)))))


def _print(line: str) -> None:
    # Whoever read our progress may have gone (`2>&1 | head`); the work goes on.
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)
