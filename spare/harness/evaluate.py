"""Ask a model the questions of some benchmarks, write every reply down, and score them.

Killed anywhere, the same call goes on where it stopped: a reply that is on disk is never asked
again, and one that belongs to another picture or another prompt is never used.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spare.errors import PictureError, SpareError
from spare.harness import run as runs
from spare.harness.environment import environment
from spare.harness.models import load_model
from spare.harness.models.types import Model, Request
from spare.harness.scoring import score_evaluation
from spare.images import Picture
from spare.tasks import expand, load_task
from spare.tasks.types import Files, Prompt, Reply, Rules, Sample, Task, Verdict

Choice = str | Mapping[str, str]
"""A name for all tasks, or task -> name for some of them ("" and absent mean the task's
default)."""


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


def evaluate(
    model: str | Model,
    tasks: str | Sequence[str | Task],
    *,
    data: str | Path,
    out: str | Path,
    split: Choice = "",
    prompt: Choice = "",
    rules: Choice = "",
    limit: int | None = None,
    lazy_groups: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
    **engine: Any,
) -> runs.Run:
    """Score a model on benchmarks and return the run.

    Args:
        model: path or hub id of a checkpoint, an engine's spec ("random"), or a Model.
        tasks: names of tasks and suites (comma-separated or a list), or Task objects.
        data: folder with the published files; see `spare tasks NAME`.
        out: run directory. If it holds replies of this model, the run goes on.
        split, prompt, rules: a name for all tasks, or task -> name. `rules` may be "all".
        limit: ask only the first so many samples per task; the scores are marked as provisional.
        lazy_groups: do not ask the rest of an all-or-nothing group that has failed already.
        on_event: receives lines of text, and Progress after every reply.
        engine: options of `load_model` (adapter, dtype, device, max_pixels, ...).

    Raises:
        SpareError: nothing can be asked, or it would be put into a run of another model. Samples
            that fail raise nothing: they are errors in the scores, and stay in the denominator.
    """
    out = Path(out)
    if limit is not None and limit < 1:
        raise SpareError("--limit must be at least 1.")
    chosen = [load_task(name) if isinstance(name, str) else name for name in _names(tasks)]
    _check_choices(chosen, split=split, prompt=prompt, rules=rules)
    evaluations = [_evaluation(task, Path(data), split, prompt, rules, limit) for task in chosen]
    with runs.locked(out):
        for evaluation in evaluations:
            evaluation.count_samples()
        if isinstance(model, str):
            on_event(f"Loading {model} ...")
            loaded = load_model(model, **engine)
        else:
            loaded = model
        manifest = _open_manifest(out, loaded)
        # Before the first reply: replies without a manifest belong to nobody.
        runs.write_json(out / "manifest.json", manifest)
        before = _find_replies(out, loaded, evaluations)
        asked = sum(len(evaluation.keys) for evaluation in evaluations)
        there = sum(progress.before for progress in before)
        on_event(
            f"{asked:,} questions in {', '.join(one.task.name for one in evaluations)}: "
            f"{there:,} replies are there, {asked - there:,} are missing."
        )
        log = runs.ReplyLog(out / "replies.jsonl")
        try:
            for evaluation, progress in zip(evaluations, before, strict=True):
                _record(manifest, loaded, evaluation, lazy_groups)
                runs.write_json(out / "manifest.json", manifest)
                study = getattr(loaded, "study", None)
                if study is not None:
                    study(evaluation.samples())
                _ask(loaded, evaluation, log, progress, lazy_groups, on_event)
                manifest["evaluations"][-1] |= _effort(progress)
                score_evaluation(out, evaluation)
        finally:
            log.close()
        manifest["finished"] = _now()
        runs.write_json(out / "manifest.json", manifest)
    return runs.load_run(out)


# Choosing


def _names(tasks: str | Sequence[str | Task]) -> Sequence[str | Task]:
    if isinstance(tasks, str):
        return expand(tasks)
    return [name for task in tasks for name in (expand(task) if isinstance(task, str) else [task])]


def _check_choices(tasks: Sequence[Task], **choices: Choice) -> None:
    names = {task.name for task in tasks}
    for option, choice in choices.items():
        unknown = set(choice) - names if not isinstance(choice, str) else set()
        if unknown:
            raise SpareError(
                f"--{option} names {', '.join(sorted(unknown))}, which is not among the tasks "
                f"({', '.join(sorted(names))})."
            )


def _evaluation(
    task: Task, data: Path, split: Choice, prompt: Choice, rules: Choice, limit: int | None
) -> Evaluation:
    def pick(choice: Choice) -> str:
        return choice if isinstance(choice, str) else choice.get(task.name, "")

    chosen_split = task.check_split(pick(split))
    chosen_prompt = task.prompt(pick(prompt))
    wanted = pick(rules)
    names = chosen_prompt.rules if wanted == "all" else (wanted,)
    chosen_rules = tuple(task.rules_for(chosen_prompt, name) for name in names)
    if not data.is_dir():
        raise SpareError(f"The data folder {data} does not exist; --data names it.")
    files = task.locate(data, chosen_split)
    return Evaluation(task, files, chosen_split, chosen_prompt, chosen_rules, limit)


# The manifest


def _open_manifest(out: Path, model: Model) -> dict[str, Any]:
    """The manifest of the run that is there, if it is of the same model, or a new one."""
    path = out / "manifest.json"
    identity = dict(model.identity)
    if not path.exists():
        if (out / "replies.jsonl").exists():
            raise SpareError(
                f"{out} holds replies but no manifest.json that says whose they are; "
                "choose another --out."
            )
        return {"format": runs.FORMAT, "started": _now(), "model": identity, "evaluations": []}
    manifest: dict[str, Any] = dict(runs.load_run(out).manifest)
    if manifest["model"] != identity:
        fields = sorted(set(manifest["model"]) | set(identity))
        differences = "; ".join(
            f"{name} was {manifest['model'].get(name, 'absent')}, is {identity.get(name, 'absent')}"
            for name in fields
            if manifest["model"].get(name) != identity.get(name)
        )
        raise SpareError(
            f"{out} is a run of another model, and a run belongs to one: {differences}. "
            "Choose another --out."
        )
    manifest.pop("finished", None)
    return manifest


def _record(
    manifest: dict[str, Any], model: Model, evaluation: Evaluation, lazy_groups: bool
) -> None:
    """Note in the manifest what is about to be asked, and by which program on which machine."""
    entry = {
        **evaluation.place,
        "version": evaluation.task.version,
        "layout": evaluation.files.layout,
        "samples": len(evaluation.keys),
        "limit": evaluation.limit,
        "lazy_groups": lazy_groups and evaluation.task.all_or_nothing,
        "max_new_tokens": evaluation.prompt.max_new_tokens,
        "annotations": {path.name: _file_digest(path) for path in evaluation.files.annotations},
    }
    manifest["evaluations"] = [
        other
        for other in manifest["evaluations"]
        if any(other[name] != value for name, value in evaluation.place.items())
    ] + [entry]
    manifest["facts"] = dict(model.facts)
    manifest["environment"] = environment()


def _effort(progress: Progress) -> dict[str, Any]:
    """What the last call asked, and how long that took."""
    seconds = time.monotonic() - progress.started
    return {"asked": progress.done - progress.before, "seconds": round(seconds, 3)}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Asking


def _find_replies(out: Path, model: Model, evaluations: Iterable[Evaluation]) -> list[Progress]:
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


def _ask(
    model: Model,
    evaluation: Evaluation,
    log: runs.ReplyLog,
    progress: Progress,
    lazy_groups: bool,
    on_event: Callable[[Event], None],
) -> None:
    """Get a reply for every sample that has none, and write each down the moment it arrives."""
    task, prompt, rules = evaluation.task, evaluation.prompt, evaluation.rules[0].name
    lazy = lazy_groups and task.all_or_nothing
    fingerprint = runs.digest_json(dict(model.identity))
    stored: set[str] = set()
    failed: set[str] = set()
    asked: dict[str, tuple[Sample, dict[Picture, str]]] = {}
    unreadable: deque[tuple[str, Sample, dict[Picture, str], str]] = deque()
    sizes: dict[str, int] = {}

    def judge(sample: Sample, reply: Reply) -> None:
        verdict = task.judge(sample, reply, rules)
        if verdict.score < 1.0:
            failed.add(sample.group)
        progress.count(verdict)

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
                if place != turn or sample.group in failed:
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
