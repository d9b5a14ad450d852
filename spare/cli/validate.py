"""`spare validate`: check the files of tasks without a model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from spare.errors import DataError

SHOWN = 10
"""Items that a check prints; the Python function returns more."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tasks", nargs="+", help="tasks and suites; see `spare tasks`")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder with the files")
    parser.add_argument("--split", default="", help="split to check; the default one otherwise")
    parser.add_argument("--prompt", default="", help="check one way of asking instead of all")


def run(arguments: argparse.Namespace) -> int:
    from spare.harness.validate import validate
    from spare.tasks import expand, load_task

    ok = True
    for name in expand(",".join(arguments.tasks)):
        try:
            task = load_task(name)
        except DataError as error:  # a custom task is its file
            ok = False
            print(f"{name}: NOT GOOD\n  failed  files: {error}")
            continue
        report = validate(
            task,
            arguments.data,
            arguments.split,
            arguments.prompt,
            on_picture=_counter("pictures opened"),
        )
        ok &= report.ok
        print(f"{report.task} {report.split}: {'good' if report.ok else 'NOT GOOD'}")
        for check in report.checks:
            print(f"  {check.outcome:<7} {check.name}: {check.detail}")
            for item in check.items[:SHOWN]:
                print(f"          {item}")
            if len(check.items) > SHOWN:
                print(f"          and {len(check.items) - SHOWN:,} more")
    return 0 if ok else 1


def _counter(what: str) -> Callable[[int, int], None]:
    """Shows a count on a terminal, and nothing elsewhere."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\r" if done < total else "\n"
            print(f"  {done:,} of {total:,} {what}", end=end, file=sys.stderr, flush=True)

    return show
