"""`spare doctor`: what is installed, and what of it works."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spare.harness.doctor import Diagnosis
    from spare.leaderboards.grids import Grid


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "engines", nargs="*", metavar="ENGINE", help="try only these; by default, all"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "Each engine is tried in a process of its own; together they take a minute or two. Exit "
        "code: 0 all that is installed works; 1 something that is installed does not."
    )


def run(arguments: argparse.Namespace) -> int:
    from spare.harness.doctor import doctor
    from spare.leaderboards.grids import show

    found = doctor(
        arguments.engines, on_event=lambda line: print(line, file=sys.stderr, flush=True)
    )
    if arguments.json:
        print(json.dumps({**asdict(found), "well": found.well}, indent=2))
    else:
        show(_grids(found))
    return 0 if found.well else 1


def _grids(found: Diagnosis) -> list[Grid]:
    from spare.leaderboards.grids import Column, Grid

    installs = dict.fromkeys(one.install for one in found.engines if one.install)
    engines = Grid(
        "Engines, and verbs that need more",
        [Column("name"), Column("state"), Column("what was found")],
        [[one.name, one.state, one.found] for one in found.engines],
        [
            "To install what is not there, in the folder of spare's repository:",
            *(f"  {one}" for one in installs),
        ]
        if installs
        else [],
        frozenset(i for i, one in enumerate(found.engines) if one.state == "broken"),
    )
    clashes = Grid(
        "Packages that clash" if found.clashes else "No packages are known to clash here.",
        [Column("packages"), Column("what happens"), Column("what to do"), Column("source")],
        [
            [
                ", ".join(f"{name} {version}" for name, version in one.packages.items()),
                *(one.problem, one.remedy, one.source),
            ]
            for one in found.clashes
        ],
    )
    packages = Grid(
        f"Python {found.python} in {found.prefix}, {found.system}",
        [Column("package"), Column("version")],
        list(map(list, found.packages.items())),
    )
    return [packages, engines, clashes]
