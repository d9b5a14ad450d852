"""`spare captions`: read hyper-detailed captions."""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from spare.generation.sources import SOURCES

    add = parser.add_argument
    add("source", metavar="SOURCE", help=f"where they come from: {', '.join(SOURCES)}")
    add("--data", required=True, metavar="DIR", help="folder with the published files")
    add("--out", required=True, metavar="DIR", help="folder for captions of any of the sources")
    parser.epilog = (
        "Pictures that lie below --data are found there; the others are named by their addresses, "
        "which `spare images` fetches. Faulty lines are counted and told."
    )


def run(arguments: argparse.Namespace) -> int:
    from spare.errors import counted
    from spare.generation.captions import captions
    from spare.leaderboards.grids import Column, Grid, show

    manifest = captions(
        arguments.source,
        data=arguments.data,
        out=arguments.out,
        on_event=lambda line: print(line, file=sys.stderr, flush=True),
    )
    columns = [Column(""), Column("count", numeric=True)]
    rows = [(name, f"{count:,}") for name, count in manifest["counts"].items()]
    title = f"{arguments.source}: {counted(manifest['counts']['captions'], 'caption')}"
    show([Grid(title, columns, rows, manifest["faults"])])
    return 0
