"""Many runs side by side: only what is the same figure shares a column, only what can be told
apart is ranked apart."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from spare.errors import SpareError, counted
from spare.harness.comparison import OWN
from spare.harness.run import Run
from spare.leaderboards.board import Cell, Kind, Leaderboard, Row, columns_of, figures, headings
from spare.leaderboards.collection import load_runs, model_name, run_names
from spare.leaderboards.published import SOURCE, Reported, published
from spare.leaderboards.ranks import average, averaged_columns, deltas, first_column, ranked
from spare.tasks import SUITES


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
    of_runs = [(run, dict(figures(run, suite))) for run in found]
    kinds = columns_of(of_runs, suite)
    if not kinds:
        raise SpareError(f"None of the runs has a score of a task of the suite {suite}.")
    notes: list[str] = []
    rows = _named(of_runs, kinds)
    rows = _seeds(rows, {str(run.path): run for run in found}, notes)
    if published:
        rows += _reported(kinds, suite, notes)
    averaged = averaged_columns(kinds, suite, notes)
    rows = [replace(row, average=average(row, averaged)) for row in rows]
    if base:
        rows = deltas(rows, str(Path(base)), notes)
    ordered = ranked(rows, kinds, averaged)
    notes += _notes(ordered, kinds, averaged, suite)
    return Leaderboard(
        suite, str(base), tuple(kinds), averaged, tuple(ordered), tuple(notes), tuple(problems)
    )


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
        lineage.pop("step", None)  # of the weights that were chosen: each seed has its own
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
        what = "the average" if averaged else names[first_column(kinds)]
        yield (
            f"#: the places that a model may have: after those that are better in {what} beyond "
            "doubt, before those that are worse (95 %, as if they had answered different "
            "questions: `spare compare` sees more)."
        )
    if any(cell and cell.errors for row in rows for cell in row.cells):
        yield "*: some samples got no reply and count as wrong."
