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
    add(
        "--only",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="a part: source=docci, class=projective, relation=left, form=where ...; repeat it "
        "for more columns, or more values of one",
    )
    parser.epilog = '`datasets.load_dataset("DIR")` reads it.'


def run(arguments: argparse.Namespace) -> int:
    from spare.errors import SpareError
    from spare.generation.publish import publish

    only: dict[str, list[str]] = {}
    for one in arguments.only:
        column, _, value = one.partition("=")
        if not value:
            raise SpareError("--only takes COLUMN=VALUE, such as class=projective.")
        only.setdefault(column, []).append(value)
    counts = publish(
        arguments.pairs,
        out=arguments.out,
        pictures=arguments.pictures,
        only=only,
        on_event=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(f"{counts['pairs']:,} pairs are in {arguments.out}; its README.md says what they are.")
    return 0
