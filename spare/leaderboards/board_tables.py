"""A leaderboard as tables, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from spare.leaderboards.board import Cell, Kind, Leaderboard, headings
from spare.leaderboards.grids import Column, Grid


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
