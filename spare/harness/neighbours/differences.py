"""One checkpoint, one task, two harnesses: where they differ, and from where on.

A question passes four stages: the prompt as the model gets it, the pictures' pixels, the reply, and
what is read in the reply. The first stage at which two harnesses differ is the reason for what
differs after it.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from spare.errors import PictureError, SpareError
from spare.harness.asking import Evaluation, Event
from spare.harness.choosing import Choice, check_choices, choose
from spare.harness.evaluate import evaluate
from spare.harness.lines import reply_of
from spare.harness.models import ENGINES, load_model
from spare.harness.models.loading import find_checkpoint
from spare.harness.models.prompts import REFUSALS
from spare.harness.models.types import Request
from spare.harness.neighbours import load_neighbour, refuse_theirs
from spare.harness.run import Run
from spare.images import Picture, open_picture
from spare.tasks import load_task
from spare.tasks.types import Verdict

STAGES = ("prompt", "pictures", "reply", "reading")


@dataclass(frozen=True, slots=True)
class Seen:
    """One question in one harness.

    Attributes:
        id: of the sample.
        prompt: the filled-in chat template, in which the checkpoint's signs stand for pictures; or
            the message, where a harness leaves the rest to a wrapper that cannot be looked into.
        pictures: SHA-256 of each picture's pixels as PNG, before the model's own processor.
        reply: as the model wrote it; an error stands for itself.
        reading: the answer that was read, or in brackets how none was.
        score: 0 to 1.
    """

    id: str
    prompt: str
    pictures: Sequence[str]
    reply: str
    reading: str
    score: float

    def at(self, stage: str) -> object:
        """What can be compared at one of `STAGES`."""
        if stage == "reading":
            return self.reading, self.score
        return {"prompt": self.prompt, "pictures": [*self.pictures], "reply": self.reply}[stage]


@dataclass(frozen=True, slots=True)
class Observed:
    """What a harness made of a task.

    Attributes:
        seen: the questions that it asked.
        notes: sentences about what it does in its own way that no stage shows.
    """

    seen: Sequence[Seen]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """A question in both harnesses; `theirs` is None if the other one did not ask it."""

    ours: Seen
    theirs: Seen | None

    @property
    def differs(self) -> list[str]:
        """The stages at which they differ, in order."""
        if self.theirs is None:
            return list(STAGES)
        return [stage for stage in STAGES if self.ours.at(stage) != self.theirs.at(stage)]


@dataclass(frozen=True, slots=True)
class Differences:
    """What was found.

    Attributes:
        task, prompt, rules: what was asked; neighbour: the other harness, with its version.
        pairs: every question, in the benchmark's order.
        notes: see `Observed`.
    """

    task: str
    prompt: str
    rules: str
    neighbour: str
    pairs: Sequence[Pair]
    notes: Sequence[str] = ()

    @property
    def differing(self) -> list[Pair]:
        """The questions that anything is different about."""
        return [pair for pair in self.pairs if pair.differs]

    def count(self, stage: str) -> int:
        """Questions that differ at a stage."""
        return sum(stage in pair.differs for pair in self.pairs)

    def begun(self, stage: str) -> int:
        """Questions whose first difference is at a stage."""
        return sum(pair.differs[:1] == [stage] for pair in self.pairs)


def diff_harness(
    task: str,
    model: str | Path,
    *,
    against: str,
    data: str | Path,
    split: Choice = "",
    prompt: Choice = "",
    rules: Choice = "",
    limit: int | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Differences:
    """Ask a task of one checkpoint here and in another harness, and lay both side by side.

    Args:
        model: path or hub id of a checkpoint of transformers.
        against: the other harness ("lm-eval", "lmms-eval" or "lmms-eval:MODEL", or
            "vlmevalkit:WRAPPER").
        limit: only the first so many questions.

    Raises:
        SpareError: one of the two cannot ask it.
    """
    name, _, settings = against.partition(":")
    neighbour = load_neighbour(name)
    if limit is not None and limit < 1:
        raise SpareError("--limit must be at least 1.")
    refuse_theirs([task])
    known = load_task(task)
    check_choices([known], split=split, prompt=prompt, rules=rules)
    evaluation = choose(known, Path(data), split, prompt, rules, limit)
    model = str(model).removeprefix("transformers:")
    engine, _, rest = model.partition(":")
    if engine in ENGINES and rest:
        raise SpareError(
            f"The engine {engine} cannot be laid beside another harness; name a checkpoint, which "
            "both load (ours by transformers)."
        )
    find_checkpoint(model)
    with tempfile.TemporaryDirectory(prefix="spare-diff-") as folder:
        on_event(f"Asking {known.name} in {name} ...")
        # The other one first, and by itself: two copies might not fit into the memory.
        theirs = neighbour.observe(evaluation, model, Path(folder) / "theirs", settings)
        on_event(f"Asking {known.name} here ...")
        loaded: Any = load_model(model)
        run = evaluate(
            loaded,
            [known],
            data=data,
            out=Path(folder) / "ours",
            split=split,
            prompt=prompt,
            rules=rules,
            limit=limit,
            on_event=on_event,
        )
        found = {one.id: one for one in theirs.seen}
        pairs = [
            Pair(one, found.get(one.id))
            for one in _ours(evaluation, run, partial(neighbour.spell, loaded))
        ]
    return Differences(
        known.name,
        evaluation.prompt.name,
        evaluation.rules[0].name,
        neighbour.name_and_version(),
        pairs,
        theirs.notes,
    )


def _ours(evaluation: Evaluation, run: Run, spell: Callable[[Request], str]) -> list[Seen]:
    lines: Mapping[str, Mapping[str, Any]] = {line["id"]: line for line in run.replies()}
    seen = []
    for sample in evaluation.samples():
        reply = reply_of(lines[sample.id])
        verdict = evaluation.task.judge(sample, reply, evaluation.rules[0].name)
        try:
            prompt = spell(Request("", sample.parts))
            pictures = [pixels_of(part) for part in sample.parts if isinstance(part, Picture)]
        except (PictureError, *REFUSALS) as error:
            prompt, pictures = str(error), []
        seen.append(
            Seen(
                sample.id,
                prompt,
                pictures,
                reply.error or reply.text,
                reading_of(verdict),
                verdict.score,
            )
        )
    return seen


def pixels_of(picture: Picture) -> str:
    """See `Seen.pictures`."""
    buffer = io.BytesIO()
    open_picture(picture).save(buffer, format="PNG")
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def reading_of(verdict: Verdict) -> str:
    """See `Seen.reading`."""
    return verdict.parsed if verdict.status == "ok" else f"({verdict.status})"
