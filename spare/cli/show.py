"""`spare show`: the scores of a run."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from spare.errors import SpareError

if TYPE_CHECKING:
    from spare.harness.run import Run
    from spare.harness.statistics import Estimate
    from spare.leaderboards.breakdown import Slice
    from spare.leaderboards.diagnoses import Diagnosis
    from spare.leaderboards.unread import Unread


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run directory, finished or not")
    parser.add_argument(
        "--by",
        default="",
        metavar="TAG[,TAG]",
        help="one row for each value of a tag: relation, group (SpaRE's Table 10), class, "
        "category, subject, frame ...",
    )
    parser.add_argument(
        "--shuffled",
        metavar="RUN",
        help="with --by: a run of shuffled:MODEL, to see what the model gets without the picture",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="write which relations to generate more of, for `spare generate`",
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
    from spare.leaderboards.diagnoses import diagnose, grids, write_weights
    from spare.leaderboards.grids import show
    from spare.leaderboards.tables import print_breakdown, print_scores
    from spare.leaderboards.unread import print_unread, unread

    run = load_run(arguments.run)
    shuffled = load_run(arguments.shuffled) if arguments.shuffled else None
    if shuffled:
        _require_shuffled(shuffled, run)
    by = [tag.strip() for tag in arguments.by.split(",") if tag.strip()]
    by = ["frame" if tag == "frame of reference" else tag for tag in by]
    if by and arguments.unread:
        raise SpareError("--by and --unread are two different things to show; choose one.")
    if shuffled and not by:
        raise SpareError("--shuffled wants --by: it stands beside the figures of each part.")
    found = diagnose(run) if by or arguments.weights else []
    if arguments.json:
        shown = {"run": str(run.path), "unfinished": _unfinished(run)}
        if arguments.unread:
            shown |= {"unread": [_unread_row(one) for one in unread(run)]}
        elif by:
            shown |= {"slices": [_row(by, part) for part in breakdown(run, by)]}
            shown |= {"diagnoses": [_told(one) for one in found]}
        else:
            shown |= {"scores": [asdict(score) for score in run.scores]}
        print(json.dumps(shown, indent=2))
    elif arguments.unread:
        print_unread(run)
    elif by:
        print_breakdown(run, by, shuffled)
        show(grids(found))
    else:
        print_scores(run)
    if arguments.weights:
        write_weights(run, found, Path(arguments.weights))
        print(f"{arguments.weights} is written.", file=sys.stderr)
    return 0


def _require_shuffled(shuffled: Run, run: Run) -> None:
    """Raises SpareError unless one is a run of the other's model on other questions' pictures."""
    model = dict(shuffled.manifest["model"])
    if "pictures" not in model:
        raise SpareError(
            f"{shuffled.path} is no run of shuffled pictures: `spare eval --model shuffled:MODEL "
            "...` makes one."
        )
    del model["pictures"]
    if model != run.manifest["model"]:
        raise SpareError(f"{shuffled.path} is of another model than {run.path}.")


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
    row["estimate"] = _figures(part.estimate)
    row["beside"] = {name: _figures(figure) for name, figure in part.beside.items()}
    counts = ("samples", "wrong", "asked", "unread", "errors")
    return row | {name: getattr(part, name) for name in counts}


def _figures(figure: Estimate) -> dict[str, object]:
    return {name: None if one != one else one for name, one in asdict(figure).items()}


def _told(one: Diagnosis) -> dict[str, object]:
    """A diagnosis as JSON, with every pair of options that was mixed up."""
    row: dict[str, object] = {name: getattr(one.score, name) for name in NAMED}
    if one.read:
        figures = ("answered", "truth", "accuracy", "by_labels_alone", "kappa")
        row["labels"] = {name: getattr(one, name) for name in figures}
    row["taken"] = [
        {"right": right, "said": said, "times": times}
        for (right, said), times in one.taken.most_common()
    ]
    return row | {"samples": one.samples, "wrong": one.wrong}
