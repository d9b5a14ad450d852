"""Runs as a static site: a folder that opens from disk, without a server and without a request."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spare.disk import disk_error
from spare.errors import SpareError
from spare.harness.comparison import compare
from spare.harness.run import Run, Score
from spare.leaderboards import charts, comparisons, diagnoses
from spare.leaderboards.board import Leaderboard
from spare.leaderboards.board_tables import grids
from spare.leaderboards.breakdown import Slice, breakdown
from spare.leaderboards.collection import load_runs, model_name, run_names
from spare.leaderboards.failures import Look, thumbnail, view
from spare.leaderboards.grids import Column, Grid
from spare.leaderboards.leaderboard import leaderboard
from spare.leaderboards.pages import render
from spare.leaderboards.tables import heading, number, share
from spare.tasks import load_task

MARK = ".spare-site"
"""A file that says that a folder is a site of ours and may be replaced."""

ROWS = 2000
"""Samples on one page of the browser."""

TAGS = ("relation", "subtask", "subject", "type", "category")
"""What a run's page breaks its scores down by: the first of these that the samples have."""


@dataclass(slots=True)
class _Site:
    folder: Path
    pictures: bool
    data: Path | None
    on_event: Callable[[str], None]
    thumbnails: dict[str, str] = field(default_factory=dict)
    heat: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", errors="backslashreplace")


def report(
    runs: Sequence[str | Path],
    *,
    out: str | Path,
    suite: str = "",
    published: bool = False,
    base: str | Path = "",
    pictures: bool = True,
    data: str | Path | None = None,
    above: Sequence[Grid] = (),
    on_event: Callable[[str], None] = lambda event: None,
) -> list[str]:
    """Write a site about runs, and return sentences about those that could not be shown whole.

    The folder appears when it is complete; one that is no site of ours is never touched.

    Args:
        base: the run that the others are compared with; the first one otherwise.
        pictures: put thumbnails into it. Benchmarks' pictures mostly have other owners, so leave
            them out of what you publish.
        data: where the benchmarks' files are now, if not where they were.
        above: tables that stand on the first page before all others.

    Raises:
        SpareError: there is nothing to show, or the folder is in use for something else.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MARK).exists())):
        raise SpareError(f"{out} is there and no site of ours; choose another --out.")
    board = leaderboard(runs, suite=suite, published=published, base=base)
    paths = list(dict.fromkeys([*([Path(base)] if base else []), *map(Path, runs)]))
    found, _ = load_runs(paths)
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        site = _Site(part, pictures, Path(data) if data else None, on_event)
        problems = _write(site, found, board, above)
        (part / MARK).touch()
        if out.exists():
            shutil.rmtree(out)
        part.rename(out)
    except OSError as error:
        raise disk_error(out, error) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return [*board.problems, *problems]


def _write(
    site: _Site, runs: Sequence[Run], board: Leaderboard, above: Sequence[Grid]
) -> list[str]:
    problems: list[str] = []
    names = run_names(run.path for run in runs)
    pages = {str(run.path): f"runs/{_slug(names[str(run.path)])}.html" for run in runs}
    compared: dict[str, str] = {}
    first = next((run for run in runs if str(run.path) == board.base), runs[0])
    for count, run in enumerate(runs, 1):
        name = names[str(run.path)]
        site.on_event(f"{count} of {len(runs)}: {name}")
        try:
            if run is not first:
                compared[str(run.path)] = _comparison(site, first, run, names)
            _run(site, run, name, pages[str(run.path)], compared.get(str(run.path), ""))
        except SpareError as error:  # a torn file costs its own run's page
            problems.append(str(error))
            pages.pop(str(run.path))
    (table,) = grids(board)
    site.write(
        "index.html",
        render(
            "index.html",
            title=table.title,
            above=above,
            grid=table,
            values=[_values(row) for row in board.rows],
            links=[pages.get(row.runs[0], "") if row.runs else "" for row in board.rows],
            seeds=[
                (names[path], pages[path])
                for row in board.rows
                for path in row.runs
                if len(row.runs) > 1 and path in pages
            ],
            compared=[(names[path], page) for path, page in compared.items()],
            base=names[str(first.path)],
            heat=_heat_maps(site),
            problems=problems,
        ),
    )
    return problems


def _values(row: Any) -> list[float]:
    """What a row of the board is sorted by, column by column."""
    cells = (*([row.average] if row.average else []), *row.cells)
    return [math.nan if cell is None else cell.value for cell in cells]


def _slug(name: str) -> str:
    """A name as a file may be called."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"


# A run's page


def _run(site: _Site, run: Run, name: str, page: str, compared: str) -> None:
    sections = []
    for score in run.scores:
        browser = f"samples/{_slug(name)}-{_slug(score.task)}-{_slug(score.prompt)}-{score.rules}"
        pages = _samples(site, run, score, name, browser)
        slices = _slices(run, score)
        chart, shown = "", [part for part in slices if not math.isnan(part.estimate.value)]
        if len(shown) > 1:
            chart = f"charts/{_slug(name)}-{_slug(heading(score))}.svg"
            figures = [part.estimate for part in shown]
            site.write(
                chart,
                charts.intervals(
                    [f"{', '.join(part.values)} ({part.estimate.n:,})" for part in shown],
                    [one.value for one in figures],
                    [one.low if one.low is not None else one.value for one in figures],
                    [one.high if one.high is not None else one.value for one in figures],
                    f"{score.breakdown}, 95 % interval (over one picture: none)",
                ),
            )
            heat = site.heat.setdefault(f"{heading(score)}: {score.breakdown}", {})
            heat[name] = {", ".join(part.values): part.estimate.value for part in slices}
        sections.append(
            {
                "title": heading(score),
                "figures": _figures(score),
                "slices": _table(slices) if slices else None,
                "chart": f"../{chart}" if chart else "",
                "pages": [f"../{one}" for one in pages],
                "licence": _licence(score),
            }
        )
    site.write(
        page,
        render(
            "run.html",
            title=f"{name}: {model_name(run)}",
            sections=sections,
            facts=[*dict(run.manifest["model"]).items(), ("run", str(run.path))],
            diagnoses=diagnoses.grids(diagnoses.diagnose(run)),
            compared=f"../{compared}" if compared else "",
            pictures=site.pictures,
        ),
    )


def _licence(score: Score) -> str:
    if score.task.startswith("lm-eval:"):  # loading it would load its data
        return ""
    try:
        return load_task(score.task).licence
    except SpareError:  # a file of the user's own that is gone
        return ""


def _figures(score: Score) -> Grid:
    rows = []
    for name, figure in score.metrics.items():
        low, high = figure["low"], figure["high"]
        interval = "-" if low is None else f"{low:.1f} to {high:.1f}"
        chance = score.chance.get(name)
        guess = "" if chance is None else f"{chance:.1f}"
        rows.append((name, number(figure["value"]), interval, f"{figure['n']:,}", guess))
    columns = [
        Column("figure"),
        *(Column(name, numeric=True) for name in ("value", "95 % interval", "n", "chance")),
    ]
    notes = [
        f"unread {share(score.unread, score.asked)}, {score.errors:,} without a reply, of "
        f"{score.samples:,} samples"
    ]
    if score.published and score.samples != score.published:
        notes.append(f"The published split has {score.published:,}: this is no score of it.")
    return Grid("", columns, rows, notes)


def _slices(run: Run, score: Score) -> list[Slice]:
    one = Run(run.path, run.manifest, [score])
    for tag in TAGS:
        try:
            return list(breakdown(one, [tag]))
        except SpareError:
            continue
    return []


def _table(slices: Sequence[Slice]) -> Grid:
    rows = [
        (
            ", ".join(part.values),
            part.relation_class,
            number(part.estimate.value),
            "-"
            if part.estimate.low is None
            else f"{part.estimate.low:.1f} to {part.estimate.high:.1f}",
            f"{part.estimate.n:,}",
            f"{part.wrong:,.1f}".removesuffix(".0"),
            share(part.unread, part.asked),
        )
        for part in slices
    ]
    columns = [
        *(Column("part"), Column("class")),
        *(
            Column(name, numeric=True)
            for name in ("value", "95 % interval", "n", "wrong", "unread")
        ),
    ]
    return Grid("", columns, rows)


def _heat_maps(site: _Site) -> list[tuple[str, str]]:
    """Runs by relation, for every score that several runs have: title and file."""
    maps = []
    for title, rows in site.heat.items():
        columns = list(dict.fromkeys(name for row in rows.values() for name in row))
        if len(rows) < 2 or len(columns) < 2:
            continue
        file = f"charts/{_slug(title)}.svg"
        values = [[row.get(name, math.nan) for name in columns] for row in rows.values()]
        site.write(file, charts.heat_map(list(rows), columns, values, "per cent"))
        maps.append((title, file))
    return maps


# A comparison's page


def _comparison(site: _Site, base: Run, new: Run, names: dict[str, str]) -> str:
    found = compare(base, new)
    page = f"comparisons/{_slug(names[str(new.path)])}.html"
    title = f"{names[str(new.path)]} against {names[str(base.path)]}"
    site.write(page, render("comparison.html", title=title, grids=comparisons.grids(found)))
    return page


# The sample browser


def _samples(site: _Site, run: Run, score: Score, name: str, stem: str) -> list[str]:
    """Pages with every sample of a score; returns their files."""
    rows = []
    for one in view(run, score, data=site.data):
        looks = [part for part in one.parts if isinstance(part, Look)]
        texts = [part for part in one.parts if isinstance(part, str)]
        pictures = [_picture(site, look) for look in looks] if site.pictures else []
        rows.append({"sample": one, "text": "\n".join(texts), "pictures": pictures})
    pages = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]
    files = [f"{stem}{f'-{count}' if count else ''}.html" for count in range(len(pages))]
    for count, (file, page) in enumerate(zip(files, pages, strict=True)):
        site.write(
            file,
            render(
                "samples.html",
                title=f"{name}: {score.task}",
                about=heading(score),
                rows=page,
                first=count * ROWS,
                pages=[Path(other).name for other in files],
                current=count,
                back=f"../runs/{_slug(name)}.html",
            ),
        )
    return files


def _picture(site: _Site, look: Look) -> dict[str, str]:
    """A thumbnail's file, written once whatever shows it, or why there is none."""
    if look.digest and look.digest in site.thumbnails:
        return {"name": look.name, "source": site.thumbnails[look.digest], "problem": ""}
    data, problem = thumbnail(look)
    if not data:
        return {"name": look.name, "source": "", "problem": problem}
    file = site.folder / "pictures" / f"{look.digest}.jpg"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    source = site.thumbnails[look.digest] = f"../pictures/{look.digest}.jpg"
    return {"name": look.name, "source": source, "problem": ""}
