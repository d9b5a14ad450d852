"""The order of a leaderboard: averages over a suite, differences to a base, and ranks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from spare.errors import SpareError
from spare.leaderboards.board import Cell, Kind, Row
from spare.tasks import SUITES

WIDEST = 1.959964
"""Standard errors on either side of a figure that hold 95 % of a normal distribution."""


def averaged_columns(kinds: Sequence[Kind], suite: str, notes: list[str]) -> tuple[int, ...]:
    """The columns that the average of a suite is over: each task's first, if all tasks are there
    and none of them is in points."""
    if not suite:
        return ()
    first: dict[str, int] = {}
    for number, kind in enumerate(kinds):
        if not kind.points:
            first.setdefault(kind.task, number)
    points = {kind.task for kind in kinds if kind.points}
    missing = [task for task in SUITES[suite] if task not in first and task not in points]
    if missing:
        notes.append(f"No average: no run has a score of {', '.join(missing)}.")
        return ()
    return tuple(first.values())


def average(row: Row, averaged: Sequence[int]) -> Cell | None:
    """The mean over the suite's tasks, none missing; tasks are taken as independent."""
    cells = [row.cells[number] for number in averaged]
    known = [cell for cell in cells if cell is not None]
    if not known or len(known) < len(cells):
        return None
    value = statistics.fmean(cell.value for cell in known)
    if row.reported or any(cell.stderr is None for cell in known):
        return Cell(value)
    stderr = math.hypot(*(cell.stderr or 0.0 for cell in known)) / len(known)
    # Each figure's own reach on either side (Zou and Donner 2008): at 100 % there is none upwards.
    intervals = [_interval(cell) for cell in known]
    below = math.hypot(*(figure - low for figure, low, _ in intervals)) / len(known)
    above = math.hypot(*(high - figure for figure, _, high in intervals)) / len(known)
    return Cell(value, value - below, value + above, stderr)


def deltas(rows: Sequence[Row], base: str, notes: list[str]) -> list[Row]:
    reference = next((row for row in rows if base in row.runs), None)
    if reference is None:
        raise SpareError(f"{base} has no score of what is shown, so there is nothing to subtract.")
    if len(reference.runs) > 1:
        notes.append(f"Differences are to the mean of {reference.name}, which {base} is one of.")

    def against(cell: Cell | None, other: Cell | None) -> Cell | None:
        if cell is None or other is None:
            return cell
        return replace(cell, delta=cell.value - other.value)

    return [
        row
        if row is reference or row.reported
        else replace(
            row,
            cells=tuple(map(against, row.cells, reference.cells)),
            average=against(row.average, reference.average),
        )
        for row in rows
    ]


def ranked(rows: Sequence[Row], kinds: Sequence[Kind], averaged: Sequence[int]) -> list[Row]:
    """Best first, with the places that each may have. Being told apart does not carry over from
    pair to pair, so a single place for each would part models that cannot be told apart."""

    first = first_column(kinds)

    def key(row: Row) -> Cell | None:
        return row.average if averaged else row.cells[first]

    ordered = sorted(rows, key=lambda row: -(key(row) or Cell(-math.inf)).value)
    if any(kinds[number].provisional for number in (averaged or (first,))):
        return ordered
    measured = [
        (row, *_interval(cell))
        for row in ordered
        if not row.reported and (cell := key(row)) is not None and cell.stderr is not None
    ]
    ranks = {}
    for row, *own in measured:
        better = sum(_better(other, own) for _, *other in measured)
        worse = sum(_better(own, other) for _, *other in measured)
        ranks[row.runs] = (better + 1, len(measured) - worse)
    return [replace(row, ranks=ranks.get(row.runs)) for row in ordered]


def _interval(cell: Cell) -> tuple[float, float, float]:
    """The figure and its 95 % interval; what has a standard error alone is taken as normal."""
    reach = WIDEST * (cell.stderr or 0.0)
    low = cell.value - reach if cell.low is None else cell.low
    high = cell.value + reach if cell.high is None else cell.high
    return cell.value, low, high


def _better(one: Sequence[float], other: Sequence[float]) -> bool:
    """One figure is above another beyond doubt: the interval of their difference, put together
    from their own (Newcombe 1998, method 10), lies above zero."""
    (value, low, _), (base, _, high) = one, other
    return value - base > math.hypot(value - low, high - base)


def first_column(kinds: Sequence[Kind]) -> int:
    """The column that a board without an average is ordered by: the first whole benchmark."""
    return next((number for number, kind in enumerate(kinds) if not kind.provisional), 0)
