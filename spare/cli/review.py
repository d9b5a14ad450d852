"""`spare review`: have a person check a sample of the pairs."""

from __future__ import annotations

import argparse
from pathlib import Path

from spare.errors import SpareError, counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("pairs", metavar="PAIRS", nargs="?", default="", help="folder of `spare generate`")
    add("-n", type=int, metavar="N", help="how many; by default enough for 5 points")
    add("--seed", type=int, default=0, metavar="N", help="which ones (0)")
    add("--out", default="review.html", metavar="FILE", help="the page (%(default)s)")
    add("--labels", default="", metavar="CSV", help="what the page saved: says how much is wrong")


def run(arguments: argparse.Namespace) -> int:
    if arguments.labels:
        return _rates(arguments.labels, arguments.pairs)
    if not arguments.pairs:
        raise SpareError("Name the folder of pairs, or the labels with --labels.")
    if arguments.n is not None and arguments.n < 1:
        raise SpareError("-n must be at least 1.")
    from spare.generation.review import sheet
    from spare.leaderboards.grids import write
    from spare.leaderboards.tables import print_lines

    page, shown, total = sheet(arguments.pairs, arguments.n or 0, arguments.seed)
    write(Path(arguments.out), page)
    print_lines(
        [
            f"{arguments.out} has {shown:,} of {total:,} pairs. Open it, set labels, save them, "
            f"and name the file: spare review {arguments.pairs} --labels labels.csv"
        ]
    )
    return 0


def _rates(path: str, pairs: str) -> int:
    from spare.generation.review import rates
    from spare.leaderboards.grids import Column, Grid, show

    found, dropped = rates(path, pairs)
    rows = [
        (one.label, f"{one.count:,}", f"{one.share:.1f} %", f"{one.low:.1f} to {one.high:.1f}")
        for one in found
    ]
    columns = [Column("label"), *(Column(name, True) for name in ("pairs", "share", "95 %"))]
    title = f"{found[0].of:,} pairs that a person looked at"
    notes = [
        f"Left out: {counted(dropped, 'labelled pair')} that the present thresholds drop; the "
        "shares are of pairs that are kept."
    ]
    last = frozenset({len(rows) - 1})
    show([Grid(title, columns, rows, notes if dropped else [], strong=last)])
    return 0
