"""Tables before anybody has decided how they look, and the looks: terminal, Markdown, LaTeX, HTML,
CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spare.errors import SpareError

FORMATS = ("rich", "markdown", "latex", "html", "csv")
"""How a grid can be written; "rich" is for the terminal."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading.
        numeric: its cells are numbers, and stand at the right.
        about: what it holds, in a sentence for a legend or a tooltip; "" if the name says it.
    """

    name: str
    numeric: bool = False
    about: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of text.

    Attributes:
        rows: one text per column; numbers are written out already.
        notes: sentences that belong under it.
        strong: numbers of rows that stand out.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    strong: frozenset[int] = field(default_factory=frozenset)


def written(grids: Sequence[Grid], look: str) -> str:
    """Tables as a text: "markdown", "latex" (booktabs; a fragment), "html" (a whole page) or "csv"
    (one table, without its title and notes).

    Raises:
        SpareError: there is no such look.
    """
    if look == "rich":
        raise SpareError("The format rich is for the terminal; choose another one for a file.")
    if look == "csv":
        return "\n".join(_csv(grid) for grid in grids)
    if look == "html":
        from spare.leaderboards.pages import render

        return render("grids.html", title=grids[0].title, grids=grids)
    if look == "markdown":
        return "\n".join(_markdown(grid) for grid in grids)
    if look == "latex":
        return "\n".join(_latex(grid) for grid in grids)
    raise SpareError(f"There is no format {look!r}; there are {', '.join(FORMATS)}.")


def check_place(path: Path) -> None:
    """Raises SpareError if no file can be written there: known before hours of work for it."""
    problem = ""
    if path.is_dir():
        problem = "it is a folder"
    elif not path.parent.is_dir():
        problem = f"there is no folder {path.parent}"
    elif not os.access(path.parent, os.W_OK):
        problem = f"nothing may be written in {path.parent}"
    if problem:
        raise SpareError(f"{path} could not be written: {problem}.")


def write(path: Path, text: str) -> None:
    """Write a text to a file, whole or not at all. Raises SpareError if the disk will not."""
    from spare.disk import replaced

    with replaced(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def show(grids: Sequence[Grid]) -> None:
    """Print tables on the terminal."""
    from spare.leaderboards.tables import add_row, print_lines, print_table, table

    for grid in grids:
        shown = table(title=grid.title)
        for column in grid.columns:
            shown.add_column(
                column.name, justify="right" if column.numeric else "left", overflow="fold"
            )
        for number, row in enumerate(grid.rows):
            add_row(shown, *row, style="bold" if number in grid.strong else None)
        if grid.rows:
            print_table(shown)
        else:
            print_lines([grid.title])
        print_lines(grid.notes)


def _csv(grid: Grid) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column.name for column in grid.columns)
    writer.writerows(grid.rows)
    return text.getvalue()


def _markdown(grid: Grid) -> str:
    import tabulate

    headers = [_escaped_markdown(column.name) for column in grid.columns]
    rows = [
        [
            f"**{cell}**" if cell and number in grid.strong else cell
            for cell in map(_escaped_markdown, row)
        ]
        for number, row in enumerate(grid.rows)
    ]
    body = tabulate.tabulate(
        rows, headers, tablefmt="pipe", colalign=_sides(grid), disable_numparse=True
    )
    title = f"### {_escaped_markdown(grid.title)}\n\n" if grid.title else ""
    notes = "".join(f"\n- {_escaped_markdown(note)}" for note in grid.notes)
    return f"{title}{body}\n{notes}\n" if notes else f"{title}{body}\n"


def _escaped_markdown(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    text = " ".join(text.split())
    for mark in "\\`*_[]<>|#~":
        text = text.replace(mark, f"\\{mark}")
    return text


def _latex(grid: Grid) -> str:
    import tabulate

    headers = [_escaped_latex(column.name) for column in grid.columns]
    rows = [
        [
            rf"\textbf{{{cell}}}" if cell and number in grid.strong else cell
            for cell in map(_escaped_latex, row)
        ]
        for number, row in enumerate(grid.rows)
    ]
    # "latex_raw" leaves alone what is escaped already.
    body = tabulate.tabulate(
        rows, headers, tablefmt="latex_raw", colalign=_sides(grid), disable_numparse=True
    )
    rules = iter(("\\toprule", "\\midrule", "\\bottomrule"))
    body = "\n".join(next(rules) if line == "\\hline" else line for line in body.splitlines())
    title = f"% {' '.join(grid.title.split())}\n" if grid.title else ""
    notes = "".join(f"% {' '.join(note.split())}\n" for note in grid.notes)
    return f"{title}{body}\n{notes}"


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "−": "$-$",
    "–": "--",
    "…": r"\ldots{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}


def _escaped_latex(text: str) -> str:
    return "".join(_LATEX.get(mark, mark) for mark in " ".join(text.split()))


def _sides(grid: Grid) -> list[str]:
    return ["right" if column.numeric else "left" for column in grid.columns]
