"""`spare images`: fetch the pictures that captions are about."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from spare.cli.progress import Bar, Look, shown

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
    "gone": "not there: its server, archive or folder does not have it",
    "refused": "its address leads where it must not, or its owner does not want this",
    "broken": "no picture that can be used",
}


def progress() -> AbstractContextManager[Callable[[Progress], None]]:
    """What shows events."""
    return shown(Look(_bar, _line))


def _bar(event: Progress) -> Bar:
    return Bar("pictures", event.done, event.total)


def _line(event: Progress) -> str:
    left = (event.total - event.done) / event.pace / 60 if event.pace else 0
    counts = ", ".join(f"{name} {count:,}" for name, count in event.counts.items())
    eta = f", {left:.0f} min to go" if left else ""
    return f"{event.done:,} of {event.total:,} pictures{eta}, {counts}"
