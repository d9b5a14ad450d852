"""Two harnesses side by side, as tables."""

from __future__ import annotations

from collections.abc import Iterator

from spare.errors import counted
from spare.harness.neighbours.differences import STAGES, Differences, Pair
from spare.leaderboards.grids import Column, Grid

SHOWN = 12
"""Questions that the terminal shows."""

EXCERPT = 60
"""Characters that a cell shows."""

REASONS = {
    "prompt": "they ask in other words",
    "pictures": "they show other pixels",
    "reply": "the same question, and the model or its decoding gave another reply",
    "reading": "the same reply, read in another way",
}


def stages(found: Differences) -> Grid:
    """How many questions differ at which stage, and where their differences begin."""
    rows = [
        (stage, f"{found.count(stage):,}", f"{begun:,}", REASONS[stage] if begun else "")
        for stage in STAGES
        for begun in [found.begun(stage)]
    ]
    missing = sum(pair.theirs is None for pair in found.pairs)
    notes = [
        f"Mean score of a question: {_mean(found, ours=True):.2f} % here, "
        f"{_mean(found, ours=False):.2f} % there.",
        "What differs at a stage is a consequence of an earlier one, if that differs, too.",
        *found.notes,
    ]
    if missing:
        notes.append(f"{counted(missing, 'question')} was never asked by {found.neighbour}.")
    return Grid(
        f"{found.task}, {counted(len(found.pairs), 'question')}, prompt {found.prompt}, rules "
        f"{found.rules}: here and in {found.neighbour}",
        [
            Column("stage"),
            Column("differ", numeric=True),
            Column("begin here", numeric=True),
            Column("why"),
        ],
        rows,
        notes,
    )


def questions(found: Differences, shown: int | None = SHOWN) -> Grid:
    """The questions that differ, a row for each stage at which they do: in excerpts around the
    first difference, or whole if `shown` is None."""
    rows = [
        (pair.ours.id, stage, *cells)
        for pair in found.differing[:shown]
        for stage, cells in _rows(pair, whole=shown is None)
    ]
    more = len(found.differing) - shown if shown is not None else 0
    notes = [f"And {counted(more, 'question')} more; --out FILE keeps all."] if more > 0 else []
    columns = [Column("question"), Column("differs in"), Column("here"), Column(found.neighbour)]
    return Grid("Questions that differ", columns, rows, notes)


def _rows(pair: Pair, whole: bool) -> Iterator[tuple[str, tuple[str, str]]]:
    if pair.theirs is None:
        yield "all", ("asked", "not asked")
        return
    for stage in pair.differs:
        ours, theirs = _text(pair.ours.at(stage)), _text(pair.theirs.at(stage))
        yield stage, (ours, theirs) if whole else _excerpts(ours, theirs)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        reading, score = value
        return f"{reading} ({score:g})"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _excerpts(ours: str, theirs: str) -> tuple[str, str]:
    """Both texts from a little before they part, with marks for what is left out."""
    beside = enumerate(zip(ours, theirs, strict=False))
    shorter = min(len(ours), len(theirs))
    same = next((place for place, (one, other) in beside if one != other), shorter)
    start = max(0, same - EXCERPT // 4) if max(len(ours), len(theirs)) > EXCERPT else 0
    return _cut(ours, start), _cut(theirs, start)


def _cut(text: str, start: int) -> str:
    piece = text[start : start + EXCERPT]
    before, after = "…" * (start > 0), "…" * (start + EXCERPT < len(text))
    return f"{before}{piece}{after}".replace("\n", "⏎")


def _mean(found: Differences, *, ours: bool) -> float:
    scores = [
        pair.ours.score if ours else pair.theirs.score if pair.theirs else 0.0
        for pair in found.pairs
    ]
    return 100 * sum(scores) / max(len(scores), 1)
