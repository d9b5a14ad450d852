"""Failures of a run laid out for a person: look, read, label."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spare.errors import SpareError
from spare.harness.run import Run, Score
from spare.leaderboards.collection import model_name
from spare.leaderboards.failures import Look, Viewed, thumbnail, view
from spare.leaderboards.pages import render
from spare.leaderboards.tables import heading

LABELS = (
    "wrong relation",
    "wrong object",
    "frame of reference",
    "did not look",
    "reply was misread",
    "question is ambiguous",
    "label is wrong",
    "picture is wrong",
    "other",
)
"""What a person may call a failure; the digits 1 to 9 set them."""


def errors(
    run: Run,
    *,
    tags: Mapping[str, str] | None = None,
    task: str = "",
    rules: str = "",
    number: int = 100,
    data: str | Path | None = None,
) -> str:
    """A page of failures: samples that were not wholly right.

    Args:
        tags: only samples with these tags (relation -> "facing").
        task: only this task. rules: this rule set; each task's first otherwise.
        number: at most so many, spread evenly over all that there are.
        data: where the benchmark's files are now, if not where they were.

    Raises:
        SpareError: there is no such task, rule set or tag, or nothing failed.
    """
    if number < 1:
        raise SpareError("-n must be at least 1.")
    wanted = tags or {}
    counts: list[tuple[Score, list[str]]] = []
    known: dict[str, set[str]] = {}
    for score in _scores(run, task, rules):
        failed = []
        for line in run.verdict_lines(score):
            for name in wanted:
                known.setdefault(name, set()).add(line["tags"].get(name, ""))
            matches = all(line["tags"].get(name) == value for name, value in wanted.items())
            if matches and line["score"] < 1 and line["status"] != "skipped":
                failed.append(line["id"])
        counts.append((score, failed))
    total = sum(len(failed) for _, failed in counts)
    if not total:
        raise SpareError(_nothing(run, wanted, known))
    chosen = _spread([(score, name) for score, failed in counts for name in failed], number)
    shown: list[tuple[Score, Viewed]] = []
    for score, _ in counts:
        ids = {name for one, name in chosen if one is score}
        folder = Path(data) if data else None
        shown += [(score, one) for one in view(run, score, _among(ids), folder)]
    what = ", ".join(f"{name} {value}" for name, value in wanted.items())
    return render(
        "errors.html",
        title=f"Failures of {model_name(run)}" + (f": {what}" if what else ""),
        run=str(run.path),
        total=total,
        failures=[_told(score, one) for score, one in shown],
        labels=LABELS,
        names=[heading(score) for score, failed in counts if failed],
    )


def _scores(run: Run, task: str, rules: str) -> list[Score]:
    """One score of each task and prompt."""
    if not run.scores:
        raise SpareError(
            f"{run.path} has no scores yet; the same `spare eval` that began it finishes it."
        )
    fitting = [
        score
        for score in run.scores
        if (not task or score.task == task) and (not rules or score.rules == rules)
    ]
    if not fitting:
        there = ", ".join(f"{score.task} under {score.rules}" for score in run.scores)
        raise SpareError(f"{run.path} has no such score; it has {there}.")
    return list({score.place: score for score in reversed(fitting)}.values())[::-1]


def _nothing(run: Run, wanted: Mapping[str, str], known: Mapping[str, set[str]]) -> str:
    for name, value in wanted.items():
        if value not in known.get(name, ()):
            there = ", ".join(sorted(known.get(name, set()) - {""}))
            return f"No sample of {run.path} has {name} {value!r}; there are {there or 'none'}."
    return f"Nothing that was asked for failed in {run.path}."


def _spread(every: Sequence[tuple[Score, str]], number: int) -> list[tuple[Score, str]]:
    """So many of them at even distances: always the same, and from everywhere."""
    if len(every) <= number:
        return list(every)
    return [every[place * len(every) // number] for place in range(number)]


def _among(ids: set[str]) -> Any:
    return lambda verdict: verdict["id"] in ids


def _told(score: Score, one: Viewed) -> dict[str, Any]:
    return {
        "task": score.task,
        "prompt": score.prompt,
        "rules": score.rules,
        "sample": one,
        "parts": [part if isinstance(part, str) else _embedded(part) for part in one.parts],
    }


def _embedded(look: Look) -> dict[str, str]:
    data, problem = thumbnail(look)
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" if data else ""
    return {"name": look.name, "source": source, "problem": problem}
