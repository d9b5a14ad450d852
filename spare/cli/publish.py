"""`spare publish`: write the pairs that were kept as a data set with its card."""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("pairs", metavar="PAIRS", help="folder of `spare generate`")
    add("--out", required=True, metavar="DIR", help="folder of the data set")
    add(
        "--pictures",
        choices=("none", "free", "all"),
        default="none",
        help="pixels in the shards: none; free, those that may be passed on; all, for a copy that "
        "stays at home (%(default)s)",
    )
    parser.epilog = '`datasets.load_dataset("DIR")` reads it.'


def run(arguments: argparse.Namespace) -> int:
    from spare.generation.publish import publish

    counts = publish(
        arguments.pairs,
        out=arguments.out,
        pictures=arguments.pictures,
        on_event=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(f"{counts['pairs']:,} pairs are in {arguments.out}; its README.md says what they are.")
    return 0
