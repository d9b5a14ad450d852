"""Tables for the terminal."""

from __future__ import annotations

import contextlib
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spare.errors import SpareError, counted
from spare.harness.run import Run, Score
from spare.leaderboards.breakdown import Slice, breakdown
from spare.leaderboards.screen import width, wrap
from spare.tasks import load_figures, load_task

if TYPE_CHECKING:
    from rich.table import Table

REASONS = 3
"""Errors that are quoted under a table."""


def print_scores(run: Run) -> None:
    """Every figure of a run, a table for each task, prompt and rule set."""
    for score in run.scores:
        grid = table("figure", title=heading(score))
        for name in ("value", "95 % interval", "n", "chance", "unread", "errors"):
            _add_numbers(grid, name)
        for name, figure in score.metrics.items():
            first = name == next(iter(score.metrics))
            chance = score.chance.get(name)
            add_row(
                grid,
                name,
                number(figure["value"]),
                _interval(figure),
                f"{figure['n']:,}",
                "" if chance is None else f"{chance:.1f}",
                share(score.unread, score.asked) if first else "",
                f"{score.errors:,}" if first else "",
                style="bold" if name == score.headline else None,
            )
        print_table(grid)
    print_lines(_legend((score, score.metrics) for score in run.scores))
    print_lines(_notes(run))


def print_breakdown(run: Run, by: Sequence[str], shuffled: Run | None = None) -> None:
    """One row per value of the tags, the costliest first, a table for every score that has them.

    Args:
        shuffled: a run of the same model on the pictures of other questions, to stand beside.
    """
    without = _values(shuffled, by) if shuffled else {}
    scores: dict[str, list[Slice]] = {}
    for part in breakdown(run, by):
        scores.setdefault(f"{heading(part.score)}: {part.score.breakdown}", []).append(part)
    for title, parts in scores.items():
        with_class = _classes_say_something(parts, by)
        grid = table(*by, *(["class"] if with_class else []), title=title)
        beside = list(dict.fromkeys(name for part in parts for name in part.beside))
        more = [*(name.replace("_", " ") for name in beside), *(["shuffled"] if shuffled else [])]
        for name in ("value", "95 % interval", *more, "n", "wrong", "unread", "errors"):
            _add_numbers(grid, name)
        for part in parts:
            figure = part.estimate
            add_row(
                grid,
                *part.values,
                *([part.relation_class] if with_class else []),
                number(figure.value),
                _interval({"low": figure.low, "high": figure.high}),
                *(
                    number(part.beside[name].value if name in part.beside else None)
                    for name in beside
                ),
                *([number(without.get(_of(part)))] if shuffled else []),
                f"{figure.n:,}",
                f"{part.wrong:,.1f}".removesuffix(".0"),
                share(part.unread, part.asked),
                f"{part.errors:,}",
            )
        print_table(grid)
    shown = [parts[0].score for parts in scores.values()]
    print_lines(
        _legend(
            (parts[0].score, [parts[0].score.breakdown, *parts[0].beside])
            for parts in scores.values()
        )
    )
    left_out = dict.fromkeys(score.task for score in run.scores if score not in shown)
    if left_out:
        which = " and ".join(by)
        print_lines([f"Left out, since their samples lack {which}: {', '.join(left_out)}."])
    print_lines(_notes(run))


def _of(part: Slice) -> tuple[object, ...]:
    """What a slice is of, in any run."""
    return (*part.score.place, part.score.version, part.score.rules, part.values)


def _values(run: Run, by: Sequence[str]) -> dict[tuple[object, ...], float]:
    return {_of(part): part.estimate.value for part in breakdown(run, by)}


def _classes_say_something(parts: Sequence[Slice], by: Sequence[str]) -> bool:
    """A class belongs to a relation; other slices have one if all their relations share it."""
    classes = [part.relation_class for part in parts]
    return "class" not in by and (all(classes) or ("relation" in by and any(classes)))


def heading(score: Score) -> str:
    """Everything that a score belongs to."""
    judge = f", judge {score.judge}" if score.judge else ""
    return f"{named(score)}, prompt {score.prompt}, rules {score.rules}{judge}"


def _legend(shown: Iterable[tuple[Score, Iterable[str]]]) -> list[str]:
    """What the figures are, each once; with the tasks if it is not the same in all of them."""
    abouts: dict[str, dict[str, list[str]]] = {}
    for score, names in shown:
        figures: Mapping[str, str] = {}
        # The package that brought a task may be gone; the figures stand without a legend then.
        with contextlib.suppress(SpareError):
            figures = load_figures(score.task)
        for name in names:
            if name in figures:
                tasks = abouts.setdefault(name, {}).setdefault(figures[name], [])
                tasks += [] if score.task in tasks else [score.task]
    return [
        f"{name} ({', '.join(tasks)}): {about}" if len(same) > 1 else f"{name}: {about}"
        for name, same in abouts.items()
        for about, tasks in same.items()
    ]


def named(score: Score) -> str:
    """Task, split, version and layout: four of the six that a score belongs to."""
    split = "" if score.split == "test" else f" {score.split}"
    return f"{score.task}{split} v{score.version} ({score.layout})"


def _notes(run: Run) -> list[str]:
    notes = []
    if run.unfinished:
        answered = run.answered()
        tasks = [
            f"{entry['task']} ({entry['prompt']}), "
            f"{answered[entry['task'], entry['split'], entry['prompt']]:,} of "
            f"{counted(entry['samples'], 'question')} answered"
            for entry in run.unfinished
        ]
        notes.append(
            f"Unfinished: {'; '.join(tasks)}. The same `spare eval` goes on with it, unless one is "
            "at work on it now."
        )
    for task, entry in run.submissions.items():
        submission = load_task(task).submission
        notes.append(
            f"{task}: its answers are not public, so there is no score. The replies are in "
            f"{run.path / entry['submission']}. {submission.where if submission else ''}"
        )
        if entry["errors"]:
            notes.append(f"{task}: {counted(entry['errors'], 'question')} got no reply.")
    for score in run.scores:
        name = f"{score.task} ({score.prompt})"  # whatever the rules, and said once
        if score.samples == score.limit and score.samples < score.published:
            notes.append(
                f"{name}: limited to the first {counted(score.samples, 'question')} (--limit); "
                "this is no score of the benchmark."
            )
        elif score.published and score.samples != score.published:
            notes.append(
                f"{name}: the files hold {counted(score.samples, 'question')}, the published split "
                f"{score.published:,}."
            )
        if score.headline not in score.metrics:
            notes.append(
                f"{name}: {score.headline} cannot be told, since questions were left out that may "
                "matter (--lazy-groups or --limit); ask them all."
            )
        if score.statuses.get("skipped"):
            notes.append(
                f"{name}: left out {counted(score.statuses['skipped'], 'question')}, whose "
                "groups had failed already (--lazy-groups); figures that need them are left out."
            )
        if score.errors:
            notes.append(
                f"{name}: no reply to {counted(score.errors, 'sample')}, counted as wrong. The "
                "first reasons:"
            )
            notes += [f"  {one}" for one in _reasons(run, score)]
        if score.unread * 2 >= score.asked > 0:
            notes.append(_unread(run, score))
    return list(dict.fromkeys(notes))


def _unread(run: Run, score: Score) -> str:
    """What may be behind it that most replies of a score could not be read."""
    cut = sum(finish == "length" for finish in _of_last_replies(run, score, "finish").values())
    note = (
        f"{score.task} ({score.prompt}, rules {score.rules}): {counted(score.unread, 'reply')} of "
        f"{score.asked:,} could not be read; `spare show {shlex.quote(str(run.path))} --unread` "
        "lists them."
    )
    if cut:
        note += (
            f" {counted(cut, 'reply')} of all ended at the bound on their length: where a model "
            "thinks before it answers, switch that off (docs/servers.md)."
        )
    return note


def _reasons(run: Run, score: Score) -> list[str]:
    """Why the first few samples of a score have no reply, and where the rest is said."""
    reasons = _of_last_replies(run, score, "error")
    failed = [f"{name}: {reason}" for name, reason in reasons.items() if reason is not None]
    shown = failed[:REASONS]
    return [*shown, f'All of them stand in {run.path / "replies.jsonl"} under "error".']


def _of_last_replies(run: Run, score: Score, field: str) -> dict[str, Any]:
    """A field of each question's last reply, by its id; None where the reply has none."""
    place = {"task": score.task, "split": score.split, "prompt": score.prompt}
    return {
        line["id"]: line.get(field)
        for line in run.replies()
        if all(line.get(name) == value for name, value in place.items())
    }


def number(value: float | None) -> str:
    """A figure with two decimals; "-" if there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def _interval(figure: Mapping[str, Any]) -> str:
    if figure["low"] is None:
        return "-"
    return f"{figure['low']:.1f} to {figure['high']:.1f}"


def share(part: int, whole: int) -> str:
    """A part in per cent; "-" of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def table(*columns: str, title: str = "") -> Table:
    """A table whose columns of text may be folded."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, title=Text(title) if title else None)
    for name in columns:
        grid.add_column(Text(name), overflow="fold")
    return grid


def _add_numbers(grid: Table, name: str) -> None:
    grid.add_column(name, justify="right")


def add_row(grid: Table, *cells: str, style: str | None = None) -> None:
    """A row of plain text: a tag may look like rich's markup, and a reply may hold anything."""
    from rich.text import Text

    grid.add_row(*(Text(_printable(cell)) for cell in cells), style=style)


def _printable(text: str) -> str:
    """Text that cannot command a terminal: what is no character to be seen is spelled out."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(one if one == "\n" or one.isprintable() else ascii(one)[1:-1] for one in text)


def print_table(grid: Table) -> None:
    """The table, no wider than the screen. Its title may be wider than itself."""
    from rich.console import Console
    from rich.measure import Measurement

    if grid.title:
        print_lines([str(grid.title)])
        grid.title = None
    console = Console(width=width())
    unbounded = console.options.update(max_width=1000)
    if Measurement.get(console, unbounded, grid).maximum > console.width:  # cells would be folded
        grid.padding, grid.pad_edge, grid.collapse_padding = (0, 1, 0, 0), False, True
    console.print(grid)


def print_lines(lines: Iterable[str]) -> None:
    """Print sentences, none wider than the screen."""
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()))
        print("\n".join(wrap(line.lstrip(), first=indent, rest=indent + "  ")))
