"""`spare report`: runs as a static site."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="run directories")
    add("--out", required=True, metavar="DIR", help="folder of the site; index.html opens it")
    add("--suite", default="", metavar="NAME", help="only a suite's tasks on the board, averaged")
    add("--base", default="", metavar="RUN", help="compare the others with this run (the first)")
    add("--published", action="store_true", help="the rows of the SpaRE paper's Table 3, too")
    add(
        "--no-pictures",
        action="store_true",
        help="leave the benchmarks' pictures out, as most of their licences want of what is "
        "published",
    )
    add("--data", metavar="DIR", help="the benchmarks' files, if they are not where they were")
    parser.epilog = "Exit code: 0 every run is shown whole; 1 not all; 2 nothing to show."


def run(arguments: argparse.Namespace) -> int:
    from spare.leaderboards.site import report

    problems = report(
        arguments.runs,
        out=arguments.out,
        suite=arguments.suite,
        published=arguments.published,
        base=arguments.base,
        pictures=not arguments.no_pictures,
        data=arguments.data,
        on_event=lambda line: print(line, file=sys.stderr, flush=True),
    )
    for problem in problems:
        print(f"spare: {problem}", file=sys.stderr)
    print(f"{Path(arguments.out) / 'index.html'} is written; open it in a browser.")
    return 1 if problems else 0
