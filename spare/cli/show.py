"""`spare show`: the scores of a run."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from spare.errors import SpareError

if TYPE_CHECKING:
    from spare.harness.run import Run
    from spare.leaderboards.breakdown import Slice
    from spare.leaderboards.unread import Unread


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run directory, finished or not")
    parser.add_argument(
        "--by",
        default="",
        metavar="TAG[,TAG]",
        help="one row for each value of a tag: relation, class, category, subject ...",
    )
    parser.add_argument(
        "--unread",
        action="store_true",
        help="the replies that no answer was read from, by why, with the reply",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    from spare.harness.run import load_run
    from spare.leaderboards.breakdown import breakdown
    from spare.leaderboards.tables import print_breakdown, print_scores
    from spare.leaderboards.unread import print_unread, unread

    run = load_run(arguments.run)
    by = [tag.strip() for tag in arguments.by.split(",") if tag.strip()]
    if by and arguments.unread:
        raise SpareError("--by and --unread are two different things to show; choose one.")
    if arguments.unread and arguments.json:
        print(
            json.dumps({"run": str(run.path), "unread": [*map(_unread_row, unread(run))]}, indent=2)
        )
    elif arguments.unread:
        print_unread(run)
    elif arguments.json:
        rows = (
            [_row(by, part) for part in breakdown(run, by)]
            if by
            else [asdict(score) for score in run.scores]
        )
        shown = {"run": str(run.path), "unfinished": _unfinished(run)}
        print(json.dumps({**shown, "slices" if by else "scores": rows}, indent=2))
    elif by:
        print_breakdown(run, by)
    else:
        print_scores(run)
    return 0


NAMED = ("task", "version", "split", "layout", "prompt", "rules")
"""What a figure belongs to."""


def _unfinished(run: Run) -> list[dict[str, object]]:
    """The tasks begun that have no scores, and how many of their questions are answered."""
    answered = run.answered() if run.unfinished else {}
    return [
        {
            **{name: entry[name] for name in ("task", "split", "prompt", "samples")},
            "answered": answered[entry["task"], entry["split"], entry["prompt"]],
        }
        for entry in run.unfinished
    ]


def _unread_row(one: Unread) -> dict[str, object]:
    row: dict[str, object] = {name: getattr(one.score, name) for name in NAMED}
    return row | {
        name: getattr(one, name) for name in ("status", "id", "target", "reply", "finish")
    }


def _row(by: list[str], part: Slice) -> dict[str, object]:
    """A slice as JSON: what it belongs to, the tags, the figures (null where there are none)."""
    row: dict[str, object] = {name: getattr(part.score, name) for name in (*NAMED, "breakdown")}
    row["tags"] = dict(zip(by, part.values, strict=True))
    row["class"] = part.relation_class
    figures = asdict(part.estimate)
    row["estimate"] = {name: None if one != one else one for name, one in figures.items()}
    return row | {name: getattr(part, name) for name in ("samples", "asked", "unread", "errors")}
