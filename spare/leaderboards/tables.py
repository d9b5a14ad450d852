"""Tables for the terminal."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spare.harness.run import Run, Score
from spare.leaderboards.breakdown import breakdown

if TYPE_CHECKING:
    from rich.table import Table

REASONS = 3
"""Errors that are quoted under a table."""


def print_scores(run: Run) -> None:
    """Every figure of a run, one row each, with what it belongs to."""
    table = _table("task", "prompt", "rules", "metric")
    for name in ("value", "95 % interval", "n", "chance", "unread", "errors"):
        table.add_column(name, justify="right")
    for score in run.scores:
        for name, figure in score.metrics.items():
            first = name == next(iter(score.metrics))
            chance = score.chance.get(name)
            _add_row(
                table,
                _named(score) if first else "",
                score.prompt if first else "",
                score.rules if first else "",
                name,
                _number(figure["value"]),
                _interval(figure),
                f"{figure['n']:,}",
                "" if chance is None else f"{chance:.1f}",
                _share(score.unread, score.asked) if first else "",
                f"{score.errors:,}" if first else "",
                style="bold" if name == score.headline else None,
            )
        table.add_section()
    _print(table)
    for note in _notes(run):
        print(note)


def print_breakdown(run: Run, by: Sequence[str]) -> None:
    """One row per value of the tags, for every score that has them."""
    tables: dict[tuple[str, str, str], Table] = {}
    for part in breakdown(run, by):
        score = part.score
        key = (_named(score), score.prompt, score.rules)
        if key not in tables:
            title = f"{key[0]}, prompt {key[1]}, rules {key[2]}: {score.breakdown}"
            tables[key] = _table(*by, *([] if "class" in by else ["class"]), title=title)
            for name in ("n", "value", "95 % interval", "unread", "errors"):
                tables[key].add_column(name, justify="right")
        figure = part.estimate
        _add_row(
            tables[key],
            *part.values,
            *([] if "class" in by else [part.relation_class]),
            f"{figure.n:,}",
            _number(figure.value),
            _interval({"low": figure.low, "high": figure.high}),
            _share(part.unread, part.asked),
            f"{part.errors:,}",
        )
    for table in tables.values():
        _print(table)
    for note in _notes(run):
        print(note)


def _named(score: Score) -> str:
    split = "" if score.split == "test" else f" {score.split}"
    return f"{score.task}{split} v{score.version} ({score.layout})"


def _notes(run: Run) -> list[str]:
    notes = []
    if run.unfinished:
        notes.append(
            f"Unfinished: {', '.join(run.unfinished)}; the same `spare eval` goes on with it."
        )
    for score in run.scores:
        name = f"{score.task} ({score.prompt}, {score.rules})"
        if score.samples == score.limit and score.samples < score.published:
            notes.append(
                f"{name}: only the first {score.samples:,} of {score.published:,} questions were "
                "asked (--limit); this is no score of the benchmark."
            )
        elif score.samples != score.published:
            notes.append(
                f"{name}: the files hold {score.samples:,} questions, the published split "
                f"{score.published:,}."
            )
        if score.headline not in score.metrics:
            notes.append(
                f"{name}: {score.headline} cannot be told, since questions were left out that may "
                "matter (--lazy-groups or --limit); ask them all."
            )
        if score.statuses.get("skipped"):
            notes.append(
                f"{name}: {score.statuses['skipped']:,} questions were left out, since their "
                "groups had failed already (--lazy-groups); figures that need them are left out."
            )
        if score.errors:
            what = "sample" if score.errors == 1 else "samples"
            notes.append(
                f"{name}: {score.errors:,} {what} got no reply and count as wrong. The first "
                "reasons:"
            )
            notes += [f"  {one}" for one in _reasons(run, score)]
    return list(dict.fromkeys(notes))


def _reasons(run: Run, score: Score) -> list[str]:
    """Why the first few samples of a score have no reply, and where the rest is said."""
    place = {"task": score.task, "split": score.split, "prompt": score.prompt}
    reasons: dict[str, str] = {}
    for line in run.replies():
        if all(line.get(name) == value for name, value in place.items()):
            if "error" in line:
                reasons[line["id"]] = line["error"]
            else:
                reasons.pop(line["id"], None)
    shown = [f"{name}: {reason}" for name, reason in list(reasons.items())[:REASONS]]
    return [*shown, f'All of them stand in {run.path / "replies.jsonl"} under "error".']


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _interval(figure: Mapping[str, Any]) -> str:
    if figure["low"] is None:
        return "-"
    return f"{figure['low']:.1f} to {figure['high']:.1f}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _table(*columns: str, title: str = "") -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=Text(title) if title else None, title_justify="left")
    for name in columns:
        table.add_column(Text(name), overflow="fold")
    return table


def _add_row(table: Table, *cells: str, style: str | None = None) -> None:
    from rich.text import Text

    # As text: a tag may look like rich's markup.
    table.add_row(*(Text(cell) for cell in cells), style=style)


def _print(table: Table) -> None:
    from rich.console import Console

    # A pipe has no width; 80 columns would fold what a script wants to read.
    fixed = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console() if fixed else Console(width=200)
    console.print(table)
