"""`spare images`: fetch the pictures that captions are about."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spare.generation.images import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("captions", metavar="CAPTIONS", help="folder of `spare captions`")
    add("--out", required=True, metavar="BLOBS", help="the store; one that is there goes on")
    add("--connections", type=int, default=32, metavar="N", help="side by side (%(default)s)")
    add(
        "--allow-private",
        action="append",
        default=[],
        metavar="HOST",
        help="a host that may be in a private network and at any port, as a mirror of your own is",
    )
    parser.epilog = (
        "Addresses come out of data sets, so none may lead to a private network, on any redirect. "
        "Exit code: 0 every picture is there; 1 some could not be had (the counts say why); the "
        "same command asks again for those that may pass."
    )


def run(arguments: argparse.Namespace) -> int:
    from spare.errors import SpareError
    from spare.generation.fetching import Limits
    from spare.generation.images import fetch_images
    from spare.leaderboards.grids import Column, Grid, show

    if arguments.connections < 1:
        raise SpareError("--connections must be at least 1.")
    with progress() as on_event:
        counts = fetch_images(
            arguments.captions,
            out=arguments.out,
            connections=arguments.connections,
            limits=Limits(private=frozenset(arguments.allow_private)),
            on_event=on_event,
        )
    if not counts:
        raise SpareError(
            f"No caption in {arguments.captions} names a picture that can be fetched: put the "
            "pictures below the folder that --data named, and run `spare captions` again."
        )
    rows = [(name, f"{counts[name]:,}", about) for name, about in ABOUT.items() if counts[name]]
    columns = [Column("pictures"), Column("count", True), Column("")]
    show([Grid(f"{sum(counts.values()):,} pictures", columns, rows)])
    return 0 if set(counts) <= {"ok"} else 1


ABOUT = {
    "ok": "there, and decoded whole",
    "transient": "not now; the same command asks again",
    "gone": "the server has it no more",
    "refused": "its address leads where it must not, or its owner does not want this",
    "broken": "no picture that can be used",
}


@contextlib.contextmanager
def progress() -> Iterator[Callable[[Progress], None]]:
    """A live bar on a terminal, a line every half minute elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("ETA"), TimeRemainingColumn())
        with Bars(*columns, console=Console(stderr=True)) as bars:
            bar = bars.add_task("pictures", total=None)
            yield lambda event: bars.update(bar, total=event.total, completed=event.done)
        return
    printed = time.monotonic()

    def show(event: Progress) -> None:
        nonlocal printed
        if time.monotonic() - printed > 30 or event.done == event.total:
            printed = time.monotonic()
            left = (event.total - event.done) / event.pace / 60 if event.pace else 0
            counts = ", ".join(f"{name} {count:,}" for name, count in event.counts.items())
            print(
                f"{event.done:,} of {event.total:,} pictures, {left:.0f} min to go {counts}",
                file=sys.stderr,
                flush=True,
            )

    yield show
