"""Putting questions to a model: each once, each reply on disk before it is judged."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from spare.errors import DataError, PictureError, SpareError
from spare.harness.lines import ReplyLog, picture_digests, reply_key, reply_line, reply_of
from spare.harness.models.types import Model, Request
from spare.harness.tokens import Tokens
from spare.images import Picture
from spare.tasks.types import Files, Prompt, Reply, Rules, Sample, Task, Verdict


@dataclass(slots=True)
class Progress:
    """Where an evaluation stands; handed to `on_event` after every reply.

    Attributes:
        task: its name; total: samples; done: replies on disk; before: how many were there at first.
        skipped: samples that will not be asked, because their groups have failed.
        scored: False if the answers are not public.
        score: sum of the scores of the replies that are there; unread, errors: how many are.
        started: `time.monotonic()` when the asking began; 0 before. last: of the last reply.
        tokens: of the replies that this call asked for.
    """

    task: str
    total: int
    before: int = 0
    done: int = 0
    skipped: int = 0
    scored: bool = True
    score: float = 0.0
    unread: int = 0
    errors: int = 0
    started: float = 0.0
    last: float = 0.0
    tokens: Tokens = field(default_factory=Tokens)

    def count(self, verdict: Verdict) -> None:
        """Take one more reply into account."""
        self.done += 1
        self.last = time.monotonic()
        self.score += verdict.score
        self.errors += verdict.status == "error"
        self.unread += verdict.status in ("ambiguous", "empty", "unparsed")

    @property
    def missing(self) -> int:
        """Replies that are still to come."""
        return self.total - self.done - self.skipped

    @property
    def pace(self) -> float:
        """Replies per second since the asking began; those that were there before do not count."""
        seconds = time.monotonic() - self.started
        return (self.done - self.before) / seconds if self.started and seconds > 0 else 0.0


Event = str | Progress
"""What `on_event` receives: a line to print, or the state of the task under way."""


@dataclass(slots=True)
class Evaluation:
    """One task under one prompt: what is asked, and which replies belong to it.

    Attributes:
        annotations: path -> SHA-256 of the files with the questions, as they were first read.
        fingerprint: digest of the model's identity, and of what it studied for this task.
        keys: the reply key of every sample in the benchmark's order; "" where it is not known yet.
        lazy: all-or-nothing groups are given up as soon as they have failed.
        waiting: if lazy, group -> its samples without a reply. A group that is given up is out.
        failed: if lazy, rules -> groups that have failed under them.
    """

    task: Task
    files: Files
    split: str
    prompt: Prompt
    rules: tuple[Rules, ...]
    limit: int | None
    annotations: dict[Path, str] = field(default_factory=dict)
    fingerprint: str = ""
    keys: list[str] = field(default_factory=list)
    lazy: bool = False
    waiting: Counter[str] = field(default_factory=Counter)
    failed: dict[str, set[str]] = field(default_factory=dict)

    @property
    def place(self) -> dict[str, str]:
        """What names this evaluation in the lines and rows of a run."""
        return {"task": self.task.name, "split": self.split, "prompt": self.prompt.name}

    def all_samples(self) -> Iterator[Sample]:
        """The samples of the whole split, from the files, lazily."""
        return self.task.read(self.files, self.split, self.prompt)

    def samples(self) -> Iterator[Sample]:
        """The samples up to the limit, and never more than were counted."""
        return itertools.islice(self.all_samples(), len(self.keys) or self.limit)

    def count_samples(self) -> None:
        """Read the annotations once: torn files and duplicate ids come out before a model is
        loaded."""
        self.annotations = {path: _file_digest(path) for path in self.files.annotations}
        where = " and others beside it" if len(self.files.annotations) > 1 else ""
        where = f"{self.files.annotations[0]}{where}"
        seen: set[str] = set()
        for sample in self.samples():
            if sample.id in seen:
                raise SpareError(
                    f"Task {self.task.name} has two samples called {sample.id!r} in {where}; "
                    "remove one of them."
                )
            seen.add(sample.id)
            if self.lazy:
                self.waiting[_group(sample)] += 1
        if not seen:
            raise SpareError(f"Task {self.task.name} has no samples in {where}.")
        self.keys = [""] * len(seen)

    def check_unchanged(self) -> None:
        """Samples are read several times, and a reply belongs to the sample at its place."""
        for path, digest in self.annotations.items():
            if _file_digest(path) != digest:
                raise DataError(
                    "the file changed while its questions were being asked",
                    path,
                    remedy="Run the same command again; replies that still fit are used again.",
                )

    def key(self, sample: Sample) -> tuple[str, dict[Picture, str], str]:
        """The sample's reply key, the digests of its pictures, and what is wrong with them, if
        anything."""
        problem = ""
        try:
            digests = picture_digests(sample)
        except PictureError as error:
            digests, problem = {}, str(error)
        key = reply_key(
            self.fingerprint, self.task.name, sample, digests, self.prompt.max_new_tokens
        )
        return key, digests, problem

    def find_replies(self, log: ReplyLog) -> Progress:
        """Work out the keys, if there is anything that they might fit, and judge what fits."""
        scored = self.task.submission is None
        progress = Progress(self.task.name, len(self.keys), scored=scored)
        if not log.empty:
            for number, sample in enumerate(self.samples()):
                key, _, _ = self.key(sample)
                self.keys[number] = key
                if key in log:
                    self.judge(sample, reply_of(log.line(key)), progress)
        progress.before = progress.done
        return progress

    def judge(self, sample: Sample, reply: Reply, progress: Progress) -> None:
        """Take one more reply into account, and give up its group if that has failed."""
        verdicts = [self.task.judge(sample, reply, rules.name) for rules in self.rules]
        progress.count(verdicts[0])
        if not self.lazy:
            return
        group = _group(sample)
        for rules, verdict in zip(self.rules, verdicts, strict=True):
            if verdict.score < 1.0:
                self.failed.setdefault(rules.name, set()).add(group)
        if group in self.waiting:
            self.waiting[group] -= 1
            # Only when it has failed under every rule set that will judge it.
            if all(group in self.failed.get(rules.name, ()) for rules in self.rules):
                progress.skipped += self.waiting.pop(group)

    def given_up(self, sample: Sample) -> bool:
        """Whether the sample need not be asked."""
        return self.lazy and _group(sample) not in self.waiting


def _group(sample: Sample) -> str:
    """What is right or wrong together: the group, or else the sample by itself."""
    return sample.group or f"\0{sample.id}"


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror})", path) from None


def ask(
    model: Model,
    evaluation: Evaluation,
    log: ReplyLog,
    progress: Progress,
    on_event: Callable[[Event], None],
) -> None:
    """Get a reply for every sample that has none, and write each down the moment it arrives."""
    prompt = evaluation.prompt
    asked: dict[str, tuple[Sample, dict[Picture, str]]] = {}
    sizes: dict[str, int] = {}
    writing = threading.Lock()

    def write(key: str, sample: Sample, digests: dict[Picture, str], reply: Reply) -> None:
        with writing:
            log.append(reply_line(key, evaluation.place, sample, digests, reply))
            progress.tokens.count(reply)
            evaluation.judge(sample, reply, progress)
            on_event(progress)

    def requests(turn: int) -> Iterator[Request]:
        # The engine pulls this in a thread of its own, so that digests overlap its compute.
        places: dict[str, int] = {}
        for number, sample in enumerate(evaluation.samples()):
            if evaluation.lazy:
                group = _group(sample)
                place = places[group] = places.get(group, -1) + 1
                if place != turn or evaluation.given_up(sample):
                    continue
            if evaluation.keys[number] in log:
                continue
            key, digests, problem = evaluation.key(sample)
            evaluation.keys[number] = key
            if problem:
                write(key, sample, digests, Reply(error=problem))
                continue
            asked[key] = (sample, digests)
            yield Request(key, sample.parts, sample.options, prompt.rank, prompt.max_new_tokens)
        sizes.update(places)

    progress.started = progress.last = time.monotonic()
    on_event(progress)
    turn = 0
    while turn == 0 or turn <= max(sizes.values(), default=0):
        for key, reply in model.answer(requests(turn)):
            write(key, *asked.pop(key), reply)
        turn += 1
    if asked:
        raise RuntimeError(f"the engine gave no reply to {len(asked)} of its requests")
