"""The run directory: everything that a run asked, heard and scored, safe against being killed
anywhere.

    runs/<name>/
      manifest.json           what was asked, of which weights, over which files, by which versions
      replies.jsonl           one line per reply, appended as it arrives, before it is judged
      verdicts.<rules>.jsonl  how each reply was read, in the benchmark's order
      scores.json             the figures

Only `replies.jsonl` holds what cannot be computed again. It is append-only, and a line cut off in
the middle is dropped on the next start. The other files are replaced whole. A lock keeps two
writers apart.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spare.errors import SpareError
from spare.harness.lines import (
    PLACE,
    DamagedError,
    judged_from_line,
    line_start,
    parsed_line,
    read_json,
    read_log,
    readable,
)
from spare.tasks.types import Judged

FORMAT = 1
"""Version of the run directory's layout. A run of a newer one is refused, never misread."""


@dataclass(frozen=True, slots=True)
class Score:
    """The figures of one task under one prompt and one rule set: a row of `scores.json`.

    Attributes:
        task, version, split, layout, prompt, rules: what the figures belong to; only scores that
            agree in all six may share a column.
        published: samples in the published split; samples: those that were scored, which are all
            in the user's files unless there was a limit.
        limit: if set, no more than the first so many samples of the files were scored.
        statuses: how many replies were read how (see `Status`).
        headline, breakdown: names of the metrics that stand for the task, and for a subset of it.
        metrics: name -> value, n, clusters, stderr, low, high.
        chance: name -> figure of a uniform random guesser.
        judge: the judge model that decided, where the rules have one; part of what the figures
            belong to.
    """

    task: str
    version: int
    split: str
    layout: str
    prompt: str
    rules: str
    samples: int
    published: int
    limit: int | None
    statuses: Mapping[str, int]
    headline: str
    breakdown: str
    metrics: Mapping[str, Mapping[str, Any]]
    chance: Mapping[str, float]
    judge: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """Task, split and prompt: whose replies were judged."""
        return self.task, self.split, self.prompt

    @property
    def errors(self) -> int:
        """Samples that no reply was got for."""
        return self.statuses.get("error", 0)

    @property
    def asked(self) -> int:
        """Samples that were asked: all but those that lazily asked groups left out."""
        return self.samples - self.statuses.get("skipped", 0)

    @property
    def unread(self) -> int:
        """Replies that no answer was read from, errors not counted."""
        return sum(self.statuses.get(name, 0) for name in ("ambiguous", "empty", "unparsed"))


@dataclass(frozen=True, slots=True)
class Run:
    """A run on disk, for reading."""

    path: Path
    manifest: Mapping[str, Any]
    scores: Sequence[Score]

    @property
    def unfinished(self) -> list[Mapping[str, Any]]:
        """The manifest's entries of the tasks that were begun and have no scores (now)."""
        scored = {score.place for score in self.scores}
        return [
            entry
            for entry in self.manifest["evaluations"]
            if tuple(entry[name] for name in PLACE) not in scored
            and entry["task"] not in self.submissions
        ]

    def answered(self) -> Counter[tuple[str, str, str]]:
        """How many questions of each task, split and prompt have a reply on disk that is no
        error."""
        ids = {
            (line["task"], line["split"], line["prompt"], line["id"])
            for line in self.replies()
            if "error" not in line
        }
        return Counter((task, split, prompt) for task, split, prompt, _ in ids)

    @property
    def submissions(self) -> dict[str, Mapping[str, Any]]:
        """Task -> its entry in the manifest, for tasks whose answers are not public and whose file
        to hand in is written."""
        return {
            str(entry["task"]): entry
            for entry in self.manifest["evaluations"]
            if "submission" in entry and (self.path / entry["submission"]).exists()
        }

    @property
    def errors(self) -> int:
        """Samples that no reply was got for, in all tasks."""
        handed_in = sum(int(entry["errors"]) for entry in self.submissions.values())
        return handed_in + sum(score.errors for score in self.scores)

    def verdicts(self, score: Score) -> Iterator[Judged]:
        """The judged samples behind one score, in the benchmark's order."""
        return map(judged_from_line, self.verdict_lines(score))

    def verdict_lines(self, score: Score) -> Iterator[Mapping[str, Any]]:
        """The lines of `verdicts.<rules>.jsonl` behind one score, in the benchmark's order."""
        path = self.path / f"verdicts.{score.rules}.jsonl"
        return (parsed_line(path, data) for data in self.raw_verdicts(score))

    def raw_verdicts(self, score: Score) -> Iterator[bytes]:
        """The same lines as they stand in the file. Raises DamagedError if there are not as many
        as were scored."""
        path = self.path / f"verdicts.{score.rules}.jsonl"
        start = line_start(dict(zip(PLACE, score.place, strict=True)))
        count = 0
        with readable(path).open("rb") as file:
            for data in file:
                if data.startswith(start):
                    count += 1
                    yield data
        if count != score.samples:
            raise DamagedError(
                f"{path} has {count:,} verdicts on {score.task}, and {score.samples:,} were "
                "scored; run the same `spare eval` again, which asks nothing twice."
            )

    def replies(self) -> Iterator[Mapping[str, Any]]:
        """Every line of `replies.jsonl`: questions and replies, in order of arrival."""
        return (line for _, line in read_log(self.path / "replies.jsonl"))


def load_run(path: str | Path) -> Run:
    """Read a run directory, finished or not. Raises SpareError if it is none, is damaged, or was
    made by a newer version of this program."""
    path = Path(path)
    manifest = load_manifest(path)
    scores_path = path / "scores.json"
    scores: list[Score] = []
    if scores_path.exists():
        try:
            scores = [_score(row) for row in read_json(scores_path)["scores"]]
        except (DamagedError, KeyError, TypeError, AttributeError):
            raise SpareError(
                f"{scores_path} is damaged or of another version of spare; delete it and run the "
                "same `spare eval` again: the replies are kept apart, and no question is asked "
                "again."
            ) from None
    return Run(path, manifest, scores)


def _score(row: Mapping[str, Any]) -> Score:
    """A row of `scores.json`. Raises TypeError or KeyError if it cannot be one of ours."""
    score = Score(**row)
    for figure in score.metrics.values():
        for name in ("value", "stderr", "low", "high"):
            number = figure[name]
            if number is not None and not math.isfinite(number):
                raise TypeError(f"{name} is {number}")
        counts = (figure["n"], figure["clusters"])
        if not all(isinstance(count, int) for count in counts):
            raise TypeError("n is no count")
    if not all(isinstance(count, int) for count in (score.samples, *score.statuses.values())):
        raise TypeError("samples is no count")
    return score


def load_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the run in `path`; see `load_run` for what it raises."""
    manifest_path = path / "manifest.json"
    try:
        there = manifest_path.exists()
    except OSError as error:  # a folder that may not be looked into
        raise SpareError(f"{path} cannot be read: {error.strerror}.") from None
    if not there:
        raise SpareError(
            f"{path} is not a run: it has no manifest.json. `spare eval --out {path}` makes one."
        )
    try:
        manifest = read_json(manifest_path)
    except DamagedError:
        manifest = {}
    found = manifest.get("format")
    if isinstance(found, int) and found != FORMAT:
        raise SpareError(
            f"{path} has run format {found}, and this program reads {FORMAT}; update spare, or "
            "evaluate again."
        )
    entries = manifest.get("evaluations")
    shapes = {"model": dict, "evaluations": list, "calls": list, "lineage": dict}
    odd = [
        name for name, kind in shapes.items() if not isinstance(manifest.get(name, kind()), kind)
    ]
    if not found or "model" not in manifest or entries is None or odd:
        raise SpareError(
            f"{manifest_path} is damaged, and without it nobody knows whose replies these are; "
            "choose another --out."
        )
    manifest.setdefault("calls", [])
    return manifest
