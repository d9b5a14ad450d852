"""Many runs side by side: only what is the same figure shares a column, only what can be told
apart is ranked apart."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from spare.errors import SpareError, counted
from spare.harness.comparison import OWN
from spare.harness.run import Run, Score, load_run
from spare.leaderboards.collection import load_runs, model_name, run_names
from spare.leaderboards.grids import Column, Grid
from spare.leaderboards.published import SOURCE, Reported, columns, published
from spare.tasks import LISTED, SUITES, load_task

WIDEST = 1.959964
"""Standard errors on either side of a figure that hold 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What the figures of one column are; only those that agree in all of it share one.

    Attributes:
        samples: how many questions; published: how many the published split has (0: unknown).
        judge: the judge model, where the rules have one.
        points: it is in points and not in per cent.
    """

    task: str
    metric: str
    split: str
    version: int
    layout: str
    prompt: str
    rules: str
    judge: str
    samples: int
    published: int
    points: bool

    @property
    def provisional(self) -> bool:
        """It is over a part of the benchmark."""
        return bool(self.published) and self.samples != self.published


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of one model.

    Attributes:
        low, high, stderr: its 95 % interval and standard error; None if unknown.
        n: units counted; errors: samples that no reply was got for, and that count as wrong.
        deviation: over several seeds, their standard deviation; None for a single run.
        delta: the figure minus the base's; None without a base.
    """

    value: float
    low: float | None = None
    high: float | None = None
    stderr: float | None = None
    n: int = 0
    errors: int = 0
    deviation: float | None = None
    delta: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A run, several seeds of one recipe, or a reported model.

    Attributes:
        cells: one per column; None where there is no such score.
        average: over the suite; None if there is no suite, or a task is missing.
        ranks: the first and last place that it may have in what the board is ordered by: after the
            models that are better beyond doubt, before those that are worse. None if that figure is
            missing, provisional, or not measured here.
        reported: its figures are from a paper.
        lineage: "base → data", if it is known.
        runs: the run directories behind it.
    """

    name: str
    model: str
    cells: tuple[Cell | None, ...]
    average: Cell | None = None
    ranks: tuple[int, int] | None = None
    reported: bool = False
    lineage: str = ""
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Runs side by side.

    Attributes:
        averaged: numbers of the columns that the average is over; empty without a suite.
        notes: what must be known to read it. problems: what could not be shown, or not whole.
    """

    suite: str
    base: str
    columns: tuple[Kind, ...]
    averaged: tuple[int, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def leaderboard(
    runs: Sequence[str | Path],
    *,
    suite: str = "",
    published: bool = False,
    base: str | Path = "",
) -> Leaderboard:
    """Runs side by side, best first.

    Args:
        runs: run directories; those that cannot be read are named in `problems`.
        suite: only the columns of these tasks, and their average.
        published: the rows of the SpaRE paper's Table 3, too, marked as reported.
        base: the run that the others' differences are taken to.

    Raises:
        SpareError: no run has a score of what is wanted, or there is no such suite.
    """
    if suite and suite not in SUITES:
        raise SpareError(f"There is no suite {suite!r}; there are {', '.join(SUITES)}.")
    paths = [Path(path) for path in runs]
    if base and Path(base) not in paths:
        paths.insert(0, Path(base))
    found, problems = load_runs(paths)
    if base and Path(base) not in {run.path for run in found}:
        about = [problem for problem in problems if str(base) in problem]
        raise SpareError(" ".join(about) or f"{base} has no scores to compare with.")
    of_runs = [(run, dict(_figures(run, suite))) for run in found]
    kinds = _columns(of_runs, suite)
    if not kinds:
        raise SpareError(f"None of the runs has a score of a task of the suite {suite}.")
    notes: list[str] = []
    rows = _named(of_runs, kinds)
    rows = _seeds(rows, {str(run.path): run for run in found}, notes)
    if published:
        rows += _reported(kinds, suite, notes)
    averaged = _averaged(kinds, suite, notes)
    rows = [replace(row, average=_average(row, averaged)) for row in rows]
    if base:
        rows = _deltas(rows, str(Path(base)), notes)
    ordered = _ranked(rows, kinds, averaged)
    notes += _notes(ordered, kinds, averaged, suite)
    return Leaderboard(
        suite, str(base), tuple(kinds), averaged, tuple(ordered), tuple(notes), tuple(problems)
    )


# Columns


def _figures(run: Run, suite: str) -> Iterator[tuple[Kind, Cell]]:
    """The figures of a run that are shown: of each task and prompt under its default rules, or
    else under the first that it was judged by."""
    places: dict[tuple[str, str, str], dict[str, Score]] = {}
    for score in run.scores:
        if not suite or score.task in SUITES[suite]:
            places.setdefault(score.place, {})[score.rules] = score
    for scores in places.values():
        score = _default(scores)
        for name in _metrics(score, suite):
            figure = score.metrics.get(name)
            if figure is None or figure["value"] is None:
                continue
            kind = Kind(
                task=score.task,
                metric=name,
                split=score.split,
                version=score.version,
                layout=score.layout,
                prompt=score.prompt,
                rules=score.rules,
                judge=score.judge,
                samples=score.samples,
                published=score.published,
                points=score.chance.get(score.headline, 0) > 100,
            )
            numbers = {part: figure[part] for part in ("value", "low", "high", "stderr", "n")}
            yield kind, Cell(**numbers, errors=score.errors)


def _default(scores: Mapping[str, Score]) -> Score:
    first = next(iter(scores.values()))
    if first.task in LISTED and len(scores) > 1:
        for name in load_task(first.task).prompt(first.prompt).rules:
            if name in scores:
                return scores[name]
    return first


def _metrics(score: Score, suite: str) -> list[str]:
    """The headline; in the paper's suite what the paper's columns are."""
    if suite != "spare-paper":
        return [score.headline]
    return [metric for task, metric in columns() if task == score.task]


def _columns(of_runs: Iterable[tuple[Run, Mapping[Kind, Cell]]], suite: str) -> list[Kind]:
    """Every kind of figure, in the order of the suite or the list of tasks; of one task's kinds
    first the one that most runs have."""
    many = Counter(kind for _, cells in of_runs for kind in cells)
    order = list(SUITES[suite]) if suite else list(LISTED)
    if suite == "spare-paper":
        places = {figure: place for place, figure in enumerate(columns())}
        return sorted(many, key=lambda kind: (places[kind.task, kind.metric], -many[kind]))

    def place(kind: Kind) -> tuple[int, str, int]:
        known = order.index(kind.task) if kind.task in order else len(order)
        return known, kind.task, -many[kind]

    return sorted(many, key=place)


def headings(kinds: Sequence[Kind]) -> list[str]:
    """A name for each column: the task, and what tells it from the task's other columns."""
    names = []
    for kind in kinds:
        others = [one for one in kinds if (one.task, one.metric) == (kind.task, kind.metric)]
        parts = [kind.task]
        if any(one.metric != kind.metric for one in kinds if one.task == kind.task):
            parts.append(kind.metric)
        for field in ("split", "version", "layout", "prompt", "rules", "judge", "samples"):
            if len({getattr(one, field) for one in others}) > 1:
                parts.append(f"{field} {getattr(kind, field) or 'none'}")
        names.append(" ".join(parts[:1]) + (f" ({', '.join(parts[1:])})" if parts[1:] else ""))
    return names


# Rows


def _named(of_runs: Sequence[tuple[Run, Mapping[Kind, Cell]]], kinds: Sequence[Kind]) -> list[Row]:
    """One row per run."""
    names = run_names(run.path for run, _ in of_runs)
    return [
        Row(
            name=names[str(run.path)],
            model=model_name(run),
            cells=tuple(cells.get(kind) for kind in kinds),
            lineage=_lineage(run),
            runs=(str(run.path),),
        )
        for run, cells in of_runs
        if cells
    ]


def _lineage(run: Run) -> str:
    lineage = run.manifest.get("lineage") or {}
    steps = []
    for part in ("base", "data"):
        told = lineage.get(part, "")
        steps.append(str(told.get("name", "")) if isinstance(told, dict) else str(told))
    return " → ".join(step for step in steps if step)


def _seeds(rows: Sequence[Row], runs: Mapping[str, Run], notes: list[str]) -> list[Row]:
    """Runs of one recipe that differ in their seed alone, as one row: mean and deviation.

    They must name their recipe or data, and be of models that differ in their weights alone; a
    seed that is there twice (a run that was copied) is no second draw.
    """
    groups: dict[str, list[Row]] = {}
    seeds: dict[str, list[object]] = {}
    for row in rows:
        manifest = runs[row.runs[0]].manifest
        lineage = dict(manifest.get("lineage") or {})
        seed = lineage.pop("seed", None)
        model = {name: value for name, value in manifest["model"].items() if name not in OWN}
        recipe = json.dumps([lineage, model], sort_keys=True)
        key = row.runs[0] if seed is None or not lineage else recipe
        groups.setdefault(key, []).append(row)
        seeds.setdefault(key, []).append(seed)
    folded = []
    for key, group in groups.items():
        drawn = seeds[key]
        if len(group) == 1 or any(drawn.count(seed) > 1 for seed in drawn):
            folded += group
            continue
        name = f"{group[0].lineage or group[0].name} ({len(group)} seeds)"
        cells = zip(*(row.cells for row in group), strict=True)
        folded.append(
            replace(
                group[0],
                name=name,
                model=", ".join(dict.fromkeys(row.model for row in group)),
                cells=tuple(_mean(one) for one in cells),
                runs=tuple(path for row in group for path in row.runs),
            )
        )
        notes.append(
            f"{name}: mean ± standard deviation over {', '.join(row.name for row in group)}."
        )
    return folded


def _mean(cells: Sequence[Cell | None]) -> Cell | None:
    """The mean over seeds; nothing unless each has the figure. Its uncertainty is that of the
    seeds, since all answered the same questions."""
    known = [cell for cell in cells if cell is not None]
    if len(known) < len(cells):
        return None
    values = [cell.value for cell in known]
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    errors = [cell.stderr for cell in known]
    # A single seed's error is about the questions; the mean's has the seeds' in it, too.
    stderr = (
        None
        if None in errors
        else math.hypot(
            statistics.fmean(error or 0.0 for error in errors), deviation / math.sqrt(len(values))
        )
    )
    return Cell(
        value=mean,
        stderr=stderr,
        n=known[0].n,
        errors=sum(cell.errors for cell in known),
        deviation=deviation,
    )


def _reported(kinds: Sequence[Kind], suite: str, notes: list[str]) -> list[Row]:
    """The paper's rows, in the columns of its tasks."""
    first: dict[tuple[str, str], int] = {}
    for number, kind in enumerate(kinds):
        first.setdefault((kind.task, kind.metric), number)
    rows = []
    for one in published():
        cells: list[Cell | None] = [None] * len(kinds)
        for figure, value in one.figures.items():
            if figure in first:
                cells[first[figure]] = Cell(value)
        if any(cells):
            rows.append(Row(one.model, one.model, tuple(cells), reported=True))
    if not rows:
        notes.append(f"{SOURCE} reports none of these figures.")
        return rows
    notes.append(
        f"Rows marked reported are from {SOURCE}. That its columns were asked and judged as these "
        "are is not proven; their average is the mean of what is shown here."
    )
    notes += _other_averages()
    return rows


def _other_averages() -> Iterator[str]:
    differing = [
        f"{row.model} {row.average:.1f} (mean {mean:.1f})"
        for row in published()
        if abs((mean := spatial_mean(row)) - row.average) >= 0.1
    ]
    if differing:
        yield (
            "The paper's own averages over its spatial columns are not always the mean of the row: "
            f"{', '.join(differing)}."
        )


def spatial_mean(row: Reported) -> float:
    """The mean of a reported row's spatial columns."""
    spatial = [value for (task, _), value in row.figures.items() if task in SUITES["spatial"]]
    return statistics.fmean(spatial)


# The average, and the order


def _averaged(kinds: Sequence[Kind], suite: str, notes: list[str]) -> tuple[int, ...]:
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


def _average(row: Row, averaged: Sequence[int]) -> Cell | None:
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


def _deltas(rows: Sequence[Row], base: str, notes: list[str]) -> list[Row]:
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


def _ranked(rows: Sequence[Row], kinds: Sequence[Kind], averaged: Sequence[int]) -> list[Row]:
    """Best first, with the places that each may have. Being told apart does not carry over from
    pair to pair, so a single place for each would part models that cannot be told apart."""

    first = _first(kinds)

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


def _first(kinds: Sequence[Kind]) -> int:
    """The column that a board without an average is ordered by: the first whole benchmark."""
    return next((number for number, kind in enumerate(kinds) if not kind.provisional), 0)


def _notes(
    rows: Sequence[Row], kinds: Sequence[Kind], averaged: Sequence[int], suite: str
) -> Iterator[str]:
    names = headings(kinds)
    for name, kind in zip(names, kinds, strict=True):
        judge = f", judge {kind.judge}" if kind.judge else ""
        yield (
            f"{name}: {kind.metric}{' in points' if kind.points else ''}, version {kind.version}, "
            f"{kind.split} ({kind.layout}), prompt {kind.prompt}, rules {kind.rules}{judge}"
        )
    for name, kind in zip(names, kinds, strict=True):
        if kind.provisional:
            yield (
                f"{name}: over {counted(kind.samples, 'question')} of {kind.published:,}, so this "
                "is no score of the benchmark, and not ranked by."
            )
    if averaged:
        points = dict.fromkeys(kind.task for kind in kinds if kind.points)
        yield (
            f"average: of {', '.join(names[number] for number in averaged)}"
            + (f"; {', '.join(points)} is in points and no part of it" if points else "")
            + ". Models that lack one of them have none. Its interval takes tasks as independent."
        )
        for row in rows:
            lacking = [names[number] for number in averaged if row.cells[number] is None]
            if lacking and not row.reported:
                yield f"{row.name} has no average: it lacks {', '.join(lacking)}."
    if any(row.ranks for row in rows):
        what = "the average" if averaged else names[_first(kinds)]
        yield (
            f"#: the places that a model may have: after those that are better in {what} beyond "
            "doubt, before those that are worse (95 %, as if they had answered different "
            "questions: `spare compare` sees more)."
        )
    if any(cell and cell.errors for row in rows for cell in row.cells):
        yield "*: some samples got no reply and count as wrong."


# Shown


def grids(board: Leaderboard) -> list[Grid]:
    """The board as a table."""
    title = f"Suite {board.suite}" if board.suite else "Leaderboard"
    names = headings(board.columns)
    marks = [" (provisional)" if kind.provisional else "" for kind in board.columns]
    with_average, with_lineage = bool(board.averaged), any(row.lineage for row in board.rows)
    columns = [
        Column("#", numeric=True, about="rank"),
        Column("model"),
        *([Column("from")] if with_lineage else []),
        *([Column("average", numeric=True)] if with_average else []),
        *(
            Column(f"{name}{mark}", numeric=True, about=kind.metric)
            for name, mark, kind in zip(names, marks, board.columns, strict=True)
        ),
    ]
    rows = [
        (
            _places(row.ranks),
            f"{row.name} (reported)" if row.reported else row.name,
            *([row.lineage] if with_lineage else []),
            *([_shown(row.average)] if with_average else []),
            *map(_shown, row.cells),
        )
        for row in board.rows
    ]
    return [Grid(title, columns, rows, (*board.notes, *board.problems))]


def _places(ranks: tuple[int, int] | None) -> str:
    return "" if ranks is None else "–".join(map(str, dict.fromkeys(ranks)))


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    parts = [f"{cell.value:.1f}{'*' if cell.errors else ''}"]
    if cell.deviation is not None:
        parts.append(f"± {cell.deviation:.1f}")
    elif cell.low is not None and cell.high is not None:
        parts.append(f"[{cell.low:.1f}, {cell.high:.1f}]")
    if cell.delta is not None:
        parts.append(f"({cell.delta:+.1f})")
    return " ".join(parts)


def as_csv(board: Leaderboard) -> str:
    """One line per figure, with everything that it belongs to."""
    text = io.StringIO()
    kinds = list(Kind.__dataclass_fields__)
    cells = list(Cell.__dataclass_fields__)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "model", "reported", "first_rank", "last_rank", *kinds, *cells])
    for row in board.rows:
        for kind, cell in zip(board.columns, row.cells, strict=True):
            if cell is not None:
                # How a reported figure was asked and judged is not known.
                belongs = [
                    "" if row.reported and name not in ("task", "metric") else getattr(kind, name)
                    for name in kinds
                ]
                numbers = [getattr(cell, name) for name in cells]
                ranks = row.ranks or ("", "")
                writer.writerow([row.name, row.model, row.reported, *ranks, *belongs, *numbers])
    return text.getvalue()


def as_json(board: Leaderboard) -> str:
    """Everything, at full precision."""
    told: dict[str, Any] = asdict(board)
    for column, name in zip(told["columns"], headings(board.columns), strict=True):
        column["heading"] = name
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def load_one(path: str | Path) -> Run:
    """The run of a model card. Raises SpareError if it has no score."""
    run = load_run(path)
    if not run.scores:
        raise SpareError(f"{run.path} has no scores yet.")
    return run
