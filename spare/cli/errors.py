"""`spare errors`: the failures of a run on a page, for a person to label."""

from __future__ import annotations

import argparse
from pathlib import Path

from spare.errors import SpareError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", metavar="RUN", help="run directory")
    add("--relation", default="", metavar="NAME", help="only this relation: facing, left of ...")
    add(
        "--tag",
        action="append",
        default=[],
        metavar="TAG=VALUE",
        help="only samples with this tag; repeat it for several",
    )
    add("--task", default="", metavar="NAME", help="only this task")
    add("--rules", default="", metavar="NAME", help="judged so; each task's first rules otherwise")
    add("-n", type=int, default=100, metavar="N", help="at most so many, from everywhere (100)")
    add("--data", metavar="DIR", help="the benchmark's files, if they are not where they were")
    add("--out", required=True, metavar="FILE", help="the page (HTML, pictures inside)")


def run(arguments: argparse.Namespace) -> int:
    from spare.harness.run import load_run
    from spare.leaderboards.errors_page import errors
    from spare.leaderboards.grids import write

    tags = {"relation": arguments.relation} if arguments.relation else {}
    for text in arguments.tag:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise SpareError(f"--tag takes TAG=VALUE (category=Orientation), and not {text!r}.")
        tags[name.strip()] = value.strip()
    page = errors(
        load_run(arguments.run),
        tags=tags,
        task=arguments.task,
        rules=arguments.rules,
        number=arguments.n,
        data=arguments.data,
    )
    write(Path(arguments.out), page)
    print(f"{arguments.out} is written; open it in a browser.")
    return 0
