"""`spare validate`: check the files of tasks without a model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from spare.leaderboards.screen import wrap

SHOWN = 10
"""Items that a check prints; the Python function returns more."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tasks", nargs="+", help="tasks and suites; see `spare tasks`")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder with the files")
    parser.add_argument("--split", default="", help="split to check; the default one otherwise")
    parser.add_argument("--prompt", default="", help="check one way of asking instead of all")


def run(arguments: argparse.Namespace) -> int:
    from spare.harness.validate import validate
    from spare.tasks import expand

    ok = True
    for name in expand(",".join(arguments.tasks)):
        report = validate(
            name,
            arguments.data,
            arguments.split,
            arguments.prompt,
            on_picture=_counter("pictures opened"),
        )
        ok &= report.ok
        print(" ".join([report.task, report.split]).strip(), end=": ")
        print("good" if report.ok else "NOT GOOD")
        for check in report.checks:
            print_text(f"{check.name}: {check.detail}", first=f"  {check.outcome:<7} ")
            for item in check.items[:SHOWN]:
                print_text(item, first=" " * 10)
            if len(check.items) > SHOWN:
                print(f"          and {len(check.items) - SHOWN:,} more")
    return 0 if ok else 1


def print_text(text: str, first: str) -> None:
    """Print lines under each other in a column behind `first`, none wider than the screen. What
    cannot be printed (ids are the data's) is spelled out."""
    margin = " " * len(first)
    for number, line in enumerate(text.split("\n")):
        shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)
        indent = " " * (len(shown) - len(shown.lstrip()))
        start = (margin if number else first) + indent
        print("\n".join(wrap(shown.lstrip(), first=start, rest=f"{margin}{indent}  ")))


def _counter(what: str) -> Callable[[int, int], None]:
    """Shows a count on a terminal, and nothing elsewhere."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\r" if done < total else "\n"
            print(f"  {done:,} of {total:,} {what}", end=end, file=sys.stderr, flush=True)

    return show
