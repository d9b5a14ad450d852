"""Putting questions to a model: each once, each reply on disk before it is judged."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from spare.errors import PictureError, SpareError
from spare.harness import run as runs
from spare.harness.models.types import Model, Request
from spare.images import Picture
from spare.tasks.types import Files, Prompt, Reply, Rules, Sample, Task, Verdict


@dataclass(slots=True)
class Progress:
    """Where an evaluation stands; handed to `on_event` after every reply.

    Attributes:
        task: its name; total: samples; done: replies on disk; before: how many were there at first.
        judged: replies judged so far, and of those the sum of their scores, and how many were
            unread or errors.
        started: `time.monotonic()` when the asking began; 0 before.
    """

    task: str
    total: int
    before: int = 0
    done: int = 0
    judged: int = 0
    score: float = 0.0
    unread: int = 0
    errors: int = 0
    started: float = 0.0

    def count(self, verdict: Verdict) -> None:
        """Take one more reply into account."""
        self.done += 1
        self.judged += 1
        self.score += verdict.score
        self.errors += verdict.status == "error"
        self.unread += verdict.status in ("ambiguous", "empty", "unparsed")

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
        keys: the reply key of every sample in the benchmark's order; "" where it is not known yet.
    """

    task: Task
    files: Files
    split: str
    prompt: Prompt
    rules: tuple[Rules, ...]
    limit: int | None
    keys: list[str] = field(default_factory=list)

    @property
    def place(self) -> dict[str, str]:
        """What names this evaluation in the lines and rows of a run."""
        return {"task": self.task.name, "split": self.split, "prompt": self.prompt.name}

    def samples(self) -> Iterator[Sample]:
        """The samples, from the files, lazily."""
        samples = self.task.read(self.files, self.split, self.prompt)
        return itertools.islice(samples, self.limit)

    def count_samples(self) -> None:
        """Read the annotations once: torn files and duplicate ids come out before a model is
        loaded."""
        seen: set[str] = set()
        for sample in self.samples():
            if sample.id in seen:
                raise SpareError(
                    f"Task {self.task.name} has two samples called {sample.id!r} in "
                    f"{', '.join(map(str, self.files.annotations))}; remove one of them."
                )
            seen.add(sample.id)
        if not seen:
            raise SpareError(
                f"Task {self.task.name} has no samples in "
                f"{', '.join(map(str, self.files.annotations))}."
            )
        self.keys = [""] * len(seen)


def find_replies(out: Path, model: Model, evaluations: Iterable[Evaluation]) -> list[Progress]:
    """Fill in the keys of evaluations that have replies on disk, and count the replies that fit."""
    stored = {
        line["key"] for _, line in runs.read_log(out / "replies.jsonl") if "error" not in line
    }
    tasks = {line["task"] for _, line in runs.read_log(out / "replies.jsonl")} if stored else set()
    fingerprint = runs.digest_json(dict(model.identity))
    found = []
    for evaluation in evaluations:
        progress = Progress(evaluation.task.name, len(evaluation.keys))
        if evaluation.task.name in tasks:
            for number, sample in enumerate(evaluation.samples()):
                evaluation.keys[number], _, _ = _key(fingerprint, evaluation, sample)
                progress.before += evaluation.keys[number] in stored
        found.append(progress)
    return found


def _key(
    fingerprint: str, evaluation: Evaluation, sample: Sample
) -> tuple[str, dict[Picture, str], str]:
    """The sample's reply key, the digests of its pictures, and what is wrong with them, if
    anything."""
    problem = ""
    try:
        digests = runs.picture_digests(sample)
    except PictureError as error:
        digests, problem = {}, str(error)
    key = runs.reply_key(
        fingerprint, evaluation.task.name, sample, digests, evaluation.prompt.max_new_tokens
    )
    return key, digests, problem


def ask(
    model: Model,
    evaluation: Evaluation,
    log: runs.ReplyLog,
    progress: Progress,
    lazy_groups: bool,
    on_event: Callable[[Event], None],
) -> None:
    """Get a reply for every sample that has none, and write each down the moment it arrives."""
    task, prompt = evaluation.task, evaluation.prompt
    lazy = lazy_groups and task.all_or_nothing
    fingerprint = runs.digest_json(dict(model.identity))
    stored: set[str] = set()
    # A group is given up only when it has failed under every rule set that will judge it.
    failed: dict[str, set[str]] = {rules.name: set() for rules in evaluation.rules}
    asked: dict[str, tuple[Sample, dict[Picture, str]]] = {}
    unreadable: deque[tuple[str, Sample, dict[Picture, str], str]] = deque()
    sizes: dict[str, int] = {}

    def judge(sample: Sample, reply: Reply) -> None:
        verdicts = [task.judge(sample, reply, rules.name) for rules in evaluation.rules]
        for groups, verdict in zip(failed.values(), verdicts, strict=True):
            if verdict.score < 1.0:
                groups.add(sample.group)
        progress.count(verdicts[0])

    def write(key: str, sample: Sample, digests: dict[Picture, str], reply: Reply) -> None:
        log.append(runs.reply_line(key, evaluation.place, sample, digests, reply))
        judge(sample, reply)
        on_event(progress)

    def write_unreadable() -> None:
        while unreadable:
            key, sample, digests, problem = unreadable.popleft()
            write(key, sample, digests, Reply(error=problem))

    def requests(turn: int) -> Iterator[Request]:
        # The engine pulls this in a thread of its own, so that digests overlap its compute.
        places: dict[str, int] = {}
        for number, sample in enumerate(evaluation.samples()):
            if lazy:
                place = places[sample.group] = places.get(sample.group, -1) + 1
                if place != turn or all(sample.group in groups for groups in failed.values()):
                    continue
            if evaluation.keys[number] in stored:
                continue
            key, digests, problem = _key(fingerprint, evaluation, sample)
            evaluation.keys[number] = key
            if problem:
                unreadable.append((key, sample, digests, problem))
                continue
            asked[key] = (sample, digests)
            yield Request(key, sample.parts, sample.options, prompt.rank, prompt.max_new_tokens)
        sizes.update(places)

    if progress.before:
        wanted = set(evaluation.keys)
        for _, line in runs.read_log(log.path):
            if line["key"] in wanted and line["key"] not in stored and "error" not in line:
                stored.add(line["key"])
                judge(*runs.sample_and_reply(line))
    progress.started = time.monotonic()
    on_event(progress)
    turn = 0
    while turn == 0 or turn <= max(sizes.values(), default=0):
        for key, reply in model.answer(requests(turn)):
            write(key, *asked.pop(key), reply)
            write_unreadable()
        write_unreadable()
        turn += 1
    if asked:
        raise RuntimeError(f"the engine gave no reply to {len(asked)} of its requests")
