"""One run under several rule sets, side by side: why two harnesses disagree about one model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spare.harness.rescoring import Difference, differences
from spare.harness.run import Run, Score

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 5
"""Samples per task of which the readings are shown."""

REPLY = 60
READ = 20
"""Characters of a reply, and of what was read in it, that are shown."""


def print_rules(run: Run, tasks: Sequence[str] = (), title: str = "") -> None:
    """A table task x rules of headline figures, and the samples on which the rule sets differ."""
    from spare.leaderboards.tables import add_row, number, print_table, share

    scores = [score for score in run.scores if not tasks or score.task in tasks]
    names = list(dict.fromkeys(score.rules for score in scores))
    title = f"{title or run.path}: the headline under each rule set, and the share unread"
    grid = _table(names, "task (prompt): figure", title=title)
    for _, group in itertools.groupby(scores, key=lambda score: score.place):
        by_rules = {score.rules: score for score in group}
        first = next(iter(by_rules.values()))
        figures, unread = [], []
        for name in names:
            score = by_rules.get(name)
            value = score.metrics.get(score.headline, {}).get("value", math.nan) if score else 0
            figures.append(number(value) if score else "")
            unread.append(share(score.unread, score.asked) if score else "")
        add_row(grid, f"{first.task} ({first.prompt}): {first.headline}", *figures)
        add_row(grid, "  unread", *unread)
    print_table(grid)
    judges = {f"{score.rules}: decided by {score.judge}" for score in scores if score.judge}
    print("\n".join(sorted(judges)), end="\n" if judges else "")
    _print_differences(run, tasks, scores)


def _table(names: Sequence[str], *columns: str, title: str) -> Table:
    from rich.text import Text

    from spare.leaderboards.tables import table

    grid = table(*columns, title=title)
    for name in names:
        # A long name is folded at its hyphen and never cut: two may differ at the end only.
        header = name if len(name) < 12 else name.replace("-", "\n-")
        grid.add_column(Text(header, overflow="fold"), justify="right", overflow="fold")
    return grid


def _print_differences(run: Run, tasks: Sequence[str], scores: Sequence[Score]) -> None:
    from spare.leaderboards.tables import add_row, print_table

    samples = {(score.task, score.prompt): score.samples for score in scores}
    of_task = itertools.groupby(differences(run, tasks), key=lambda one: (one.task, one.prompt))
    agreeing = dict(samples)
    for key, group in of_task:
        agreeing.pop(key)
        shown = list(itertools.islice(group, SHOWN))
        count = len(shown) + sum(1 for _ in group)
        title = f"{key[0]} ({key[1]}): {count:,} of {samples[key]:,} score differently"
        if count > len(shown):
            title += f", the first {len(shown)}; --differences FILE has all"
        grid = _table((), "id", "truth", "reply", "read as", title=title)
        for one in shown:
            readings: dict[str, list[str]] = {}
            for name in one.readings:
                readings.setdefault(_reading(one, name), []).append(name)
            read = "\n".join(f"{said}: {', '.join(names)}" for said, names in readings.items())
            add_row(grid, one.id, _short(one.target, READ), _short(one.reply, REPLY), read)
        print_table(grid)
    for task, prompt in agreeing:
        if sum((score.task, score.prompt) == (task, prompt) for score in scores) > 1:
            print(f"{task} ({prompt}): every sample scores the same.")


def _reading(one: Difference, rules: str) -> str:
    """What was read, or why nothing was, and what it was worth."""
    read, status, score = one.readings[rules]
    # What was not read and is there all the same was drawn.
    why = "" if status == "ok" else f"({status}, drawn) " if read else f"({status})"
    said = why + _short(read, READ)
    return said + (", right" if score == 1 else f", worth {score:.1f}" if score else "")


def _short(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 3]}..."
