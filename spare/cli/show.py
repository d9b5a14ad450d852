"""`spare show`: the scores of a run."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run directory")
    parser.add_argument(
        "--by", default="", metavar="TAG[,TAG]", help="one row per relation, class, category, ..."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    from spare.harness.run import load_run
    from spare.leaderboards.breakdown import breakdown
    from spare.leaderboards.tables import print_breakdown, print_scores

    run = load_run(arguments.run)
    by = [tag.strip() for tag in arguments.by.split(",") if tag.strip()]
    if arguments.json:
        rows = (
            [_row(by, asdict(part)) for part in breakdown(run, by)]
            if by
            else [asdict(score) for score in run.scores]
        )
        print(json.dumps(rows, indent=2))
    elif by:
        print_breakdown(run, by)
    else:
        print_scores(run)
    return 0


def _row(by: list[str], part: dict[str, object]) -> dict[str, object]:
    score = part.pop("score")
    values = part.pop("values")
    assert isinstance(score, dict)
    assert isinstance(values, tuple)
    names = ("task", "version", "split", "layout", "prompt", "rules", "breakdown")
    return {name: score[name] for name in names} | dict(zip(by, values, strict=True)) | part
