"""Scores that others report, to stand beside measured ones and never among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

SOURCE = "Table 3 of arXiv 2504.20648"

Figure = tuple[str, str]
"""Task and metric."""


@dataclass(frozen=True, slots=True)
class Reported:
    """A row of the paper's Table 3.

    Attributes:
        figures: (task, metric) -> per cent, or MME's points. Which of a task's metrics a column
            is, is our reading: the paper gives names only.
        average: the paper's own average over its five spatial columns.
    """

    model: str
    figures: Mapping[Figure, float]
    average: float


@lru_cache(maxsize=1)
def published() -> tuple[Reported, ...]:
    """The rows of the paper's Table 3, in its order."""
    text = (resources.files("spare.leaderboards") / "published.tsv").read_text("utf-8")
    header, *lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    rows = []
    for model, *cells in lines:
        named = dict(zip(header[1:], cells, strict=True))
        average = float(named.pop("average"))
        figures: dict[Figure, float] = {}
        for name, cell in named.items():
            task, _, metric = name.partition("/")
            if cell != "-":
                figures[task, metric] = float(cell)
        rows.append(Reported(model, figures, average))
    return tuple(rows)


def columns() -> list[Figure]:
    """Task and metric of the paper's columns, in its order."""
    wanted = max((row.figures for row in published()), key=len)
    return list(wanted)
