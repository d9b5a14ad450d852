"""`spare compare`: is a new model better, worse, or merely luckier?"""

from __future__ import annotations

import argparse
from pathlib import Path

FORMATS = ("rich", "markdown", "html", "json", "junit")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("base", metavar="BASE", help="run of the model before")
    add("new", metavar="NEW", help="run of the model now")
    add(
        "--max-drop",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="what a figure may fall by, in per cent of its full range (1.0): percentage points of "
        "an accuracy, 20 of MME's 2,000 points",
    )
    add(
        "--alpha",
        type=float,
        default=0.05,
        metavar="P",
        help="accepted chance of a false alarm over all tasks together (0.05)",
    )
    add("--by", default="", metavar="TAG", help="compare the parts by relation, category ..., too")
    add("--format", choices=FORMATS, default="rich", help="how to show it (rich: the terminal)")
    add("--out", metavar="FILE", help="write it there; the screen gets the verdict")
    parser.epilog = (
        "A regression is a drop by more than --max-drop that is significant after Holm's "
        "correction, in a task's headline figure or, with --by, in a part. Exit code: 0 no "
        "regression; 1 regression; 2 something could not be compared, since the runs differ in "
        "task version, prompt, rules, questions or pictures."
    )


def run(arguments: argparse.Namespace) -> int:
    from spare.harness.comparison import compare
    from spare.leaderboards.comparisons import as_json, as_junit, grids, verdict
    from spare.leaderboards.grids import show, write, written

    found = compare(
        arguments.base,
        arguments.new,
        max_drop=arguments.max_drop,
        alpha=arguments.alpha,
        by=arguments.by.strip(),
    )
    if arguments.format == "rich" and not arguments.out:
        show(grids(found))
        print(f"\n{verdict(found)}")
        return found.exit_code
    if arguments.format == "json":
        text = as_json(found)
    elif arguments.format == "junit":
        text = as_junit(found)
    else:
        text = written(grids(found), arguments.format)
    if arguments.out:
        write(Path(arguments.out), text)
        print(f"{verdict(found)} {arguments.out} is written.")
    else:
        print(text, end="")
    return found.exit_code
