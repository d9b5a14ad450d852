"""What a leaderboard is made of: models in rows, and columns of what is the same figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from spare.harness.run import Run, Score
from spare.leaderboards.published import columns
from spare.tasks import LISTED, SUITES, load_task


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


def figures(run: Run, suite: str) -> Iterator[tuple[Kind, Cell]]:
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


def columns_of(of_runs: Iterable[tuple[Run, Mapping[Kind, Cell]]], suite: str) -> list[Kind]:
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
