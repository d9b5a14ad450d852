"""The samples behind a score with all that a person needs to judge them: question, pictures, truth,
reply."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spare import images
from spare.errors import PictureError, SpareError
from spare.harness.lines import PLACE, ReplyLog, reply_of
from spare.harness.rescoring import said
from spare.harness.run import Run, Score
from spare.images import Picture
from spare.tasks import load_task
from spare.tasks.types import Files

SIDE = 320
"""Pixels of a thumbnail's longer side."""

LONGEST = 4000
"""Characters of a text that a page shows; a model that loops writes far more."""


@dataclass(frozen=True, slots=True)
class Look:
    """One picture of a sample, as it was shown to the model.

    Attributes:
        digest: SHA-256 of the bytes that the model saw; "" if they could not be read.
        picture: where it lies; None if that is not known any more.
    """

    name: str
    digest: str
    picture: Picture | None


@dataclass(frozen=True, slots=True)
class Viewed:
    """A sample and what became of it.

    Attributes:
        parts: text and pictures, as the model got them; texts cut to `LONGEST`.
        options: label -> text.
        target, read, reply: the right answer, what was read, and what was said.
        status: "right", "wrong" (read, and not right), or why nothing was read.
    """

    id: str
    parts: tuple[str | Look, ...]
    options: Mapping[str, str]
    target: str
    read: str
    reply: str
    status: str
    score: float
    tags: Mapping[str, str]


def view(
    run: Run,
    score: Score,
    wanted: Callable[[Mapping[str, Any]], bool] = lambda verdict: True,
    data: Path | None = None,
) -> Iterator[Viewed]:
    """The samples of a score whose verdict is wanted, in the benchmark's order.

    Args:
        wanted: gets the verdict's line.
        data: where the benchmark's files are now, if not where they were.
    """
    chosen = {line["id"] for line in run.verdict_lines(score) if wanted(line)}
    pictures = find_pictures(run, score, chosen, data)
    with contextlib.closing(ReplyLog(run.path / "replies.jsonl")) as log:
        for verdict in run.verdict_lines(score):
            if verdict["id"] in chosen:
                asked = log.behind(verdict)
                yield _viewed(verdict, asked, pictures.get(verdict["id"], ()))


def _viewed(
    verdict: Mapping[str, Any], asked: Mapping[str, Any], pictures: Sequence[Picture]
) -> Viewed:
    waiting = iter(pictures)
    parts: list[str | Look] = []
    for part in asked.get("parts", ()):
        if isinstance(part, str):
            parts.append(_cut(part))
        else:
            parts.append(Look(part["name"], part["picture"], next(waiting, None)))
    status = str(verdict["status"])
    if status == "ok":
        status = "right" if verdict["score"] == 1 else "wrong"
    return Viewed(
        id=verdict["id"],
        parts=tuple(parts),
        options=asked.get("options", {}),
        target=_cut(verdict["target"]),
        read=_cut(verdict["parsed"]),
        reply=_cut(said(reply_of(asked))) if asked else "",
        status=status,
        score=verdict["score"],
        tags=verdict["tags"],
    )


def _cut(text: str) -> str:
    # Half of a surrogate pair, which models do write, is no text that a page can hold.
    shown = text[:LONGEST].encode("utf-8", "backslashreplace").decode()
    more = len(text) - LONGEST
    return f"{shown} ... ({more:,} more characters)" if more > 0 else shown


def find_pictures(
    run: Run, score: Score, ids: set[str], data: Path | None
) -> dict[str, tuple[Picture, ...]]:
    """Sample id -> its pictures, from the files that were asked from. Empty if they are gone or are
    not what they were: a page stands without pictures, too."""
    if score.task.startswith("lm-eval:"):  # texts alone
        return {}
    try:
        task = load_task(score.task)
        files = task.locate(data, score.split) if data else _files(run, score)
        if files is None:
            return {}
        samples = task.read(files, score.split, task.prompt(score.prompt))
        return {
            sample.id: tuple(part for part in sample.parts if isinstance(part, Picture))
            for sample in samples
            if sample.id in ids
        }
    except SpareError:
        if data:
            raise
        return {}


def _files(run: Run, score: Score) -> Files | None:
    for entry in run.manifest["evaluations"]:
        if tuple(entry[name] for name in PLACE) == score.place and "pictures" in entry:
            annotations = tuple(map(Path, entry["annotations"]))
            if all(path.exists() for path in annotations):
                return Files(annotations, tuple(map(Path, entry["pictures"])), entry["layout"])
    return None


def thumbnail(look: Look) -> tuple[bytes, str]:
    """A small JPEG of a picture and "", or nothing and the reason why."""
    import PIL.Image

    if look.picture is None:
        return b"", "its file is not where it was"
    try:
        if images.digest(look.picture) != look.digest:
            return b"", "its file has changed since"
        image = images.open_picture(look.picture)
    except PictureError as error:
        return b"", str(error)
    image.thumbnail((SIDE, SIDE), PIL.Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue(), ""
