"""`spare validate`: find what is wrong with a benchmark's files before a model is loaded.

Everything that can be known without a model is checked on the real files, for every prompt: that
all questions are there, that each has options with the right one among them, that the right reply
scores 1 and others score 0 under every rule set, that a random guesser gets what the task declares
as chance, that groups and tags are complete, that no question is asked twice with different
answers, and that every picture opens.
"""

from __future__ import annotations

import math
import os
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spare.errors import DataError, PictureError, SpareError
from spare.harness.survey import (
    SHOWN,
    Faults,
    Survey,
    answers_by_label,
    meaning,
    picture_key,
    survey,
)
from spare.images import Picture, open_picture
from spare.relations import RELATION_CLASS
from spare.tasks import load_task
from spare.tasks.types import Files, Judged, Prompt, Sample, Task

Outcome = Literal["passed", "warned", "failed"]

NEARLY_ALL = 0.9
"""A tag that more samples than this have is a property of all, and missing on the rest; one that
fewer have is an annotation of some (VSR's frame of reference)."""

FILES = 3
"""Files that are named; MME has 1,187 of them."""

RARE = 0.05
"""A group size that fewer groups than this have is probably a group that lost members."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what; with the prompt behind it if prompts differ in it ("gold (captions)").
        outcome: "failed" would make scores wrong or incomplete; "warned" is worth a look.
        detail: a sentence with the figures, or a list of places or faulty rows, a line each.
        items: the samples or pictures concerned, a line each.
    """

    name: str
    outcome: Outcome
    detail: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What `validate` found. `samples` is 0 and `layout` is "" if the files could not be read."""

    task: str
    split: str
    layout: str
    samples: int
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """True if no check failed."""
        return all(check.outcome != "failed" for check in self.checks)


def validate(
    task: str | Task,
    data: str | Path,
    split: str = "",
    prompt: str = "",
    *,
    on_picture: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Check the files of one split of a task; no model, no network.

    Memory is that of the ids and of one number per question and picture.

    Args:
        data: folder with the published files.
        prompt: check as asked with this prompt only; "" checks all.
        on_picture: receives how many distinct pictures were opened, and of how many.

    Raises:
        SpareError: there is no such task, split, prompt or data folder. Faults in the files do not
            raise: they are failed checks.
    """
    if isinstance(task, str):
        try:
            task = load_task(task)
        except DataError as error:  # a user's own task is its file
            return Report(str(task), "", "", 0, (Check("files", "failed", str(error)),))
    data, split = Path(data), task.check_split(split)
    prompts = [task.prompt(prompt)] if prompt else list(task.prompts.values())
    if not os.path.isdir(data):
        raise SpareError(f"The data folder {data} does not exist; --data names it.")
    try:
        files = task.locate(data, split)
    except SpareError as error:
        return Report(task.name, split, "", 0, (Check("files", "failed", str(error)),))
    by_prompt: dict[str, list[Check]] = {}
    samples, pictures = 0, set[int]()
    readable = []
    for one in prompts:
        try:
            found = survey(task, files, split, one)
        except SpareError as error:
            # Layouts that hold ready-made questions cannot be asked in every way; only the
            # default way is promised.
            outcome: Outcome = "failed" if one == prompts[0] else "warned"
            by_prompt[one.name] = [Check("files", outcome, str(error))]
            continue
        samples = found.samples
        pictures |= found.pictures
        readable.append(one)
        by_prompt[one.name] = _checks(task, files, split, one, found)
    checks = _merge(by_prompt)
    if pictures:

        def again() -> Iterator[Sample]:
            return (sample for one in readable for sample in task.read(files, split, one))

        checks.append(_check_pictures(again, len(pictures), on_picture))
    return Report(task.name, split, files.layout, samples, tuple(checks))


def _merge(by_prompt: dict[str, list[Check]]) -> list[Check]:
    """The checks of all prompts; those that found the same are one, with the worst outcome."""
    rows: dict[str, dict[tuple[str, tuple[str, ...]], dict[str, Outcome]]] = {}
    for prompt, checks in by_prompt.items():
        for check in checks:
            results = rows.setdefault(check.name, {})
            results.setdefault((check.detail, check.items), {})[prompt] = check.outcome
    merged = []
    for name, results in rows.items():
        for (detail, items), outcomes in results.items():
            shown = name if len(results) == 1 else f"{name} ({', '.join(outcomes)})"
            worst = max(outcomes.values(), key=("passed", "warned", "failed").index)
            merged.append(Check(shown, worst, detail, items))
    return merged


# From what was found to checks


def _checks(task: Task, files: Files, split: str, prompt: Prompt, found: Survey) -> list[Check]:
    paths = [*map(str, files.annotations[:FILES])]
    more = len(files.annotations) - len(paths)
    shown = ", ".join(paths) + (f" and {more:,} more" if more else "")
    checks = [
        Check("files", "passed", f"{files.layout}: {shown}"),
        _check_count(task, split, found),
        _check("ids", found.repeated, "all ids are unique", "samples repeat an earlier id"),
    ]
    if task.submission:
        checks.append(Check("answers", "passed", "they are not public, so nothing is judged"))
    else:
        sentence = "every right answer is there, among its options if it has any"
        checks.append(_check("options", found.malformed, sentence, "samples are malformed"))
    if found.blind:
        # Some benchmarks have such questions; of a few, or of all, pictures were lost.
        few = found.blind < (1 - NEARLY_ALL) * found.samples
        outcome: Outcome = "warned" if few or found.blind == found.samples else "passed"
        detail = f"{found.blind:,} of {found.samples:,} samples have none"
        checks.append(Check("picture per sample", outcome, detail))
    if found.doubled.count:
        sentence = "samples have two options with one text"
        checks.append(_check("distinct options", found.doubled, "", sentence, "warned"))
    if not task.submission:
        checks += _check_rules(task, prompt, found)
    if found.guessable and found.samples and not task.submission:
        checks += _check_chance(task, files, split, prompt)
    if found.groups:
        checks.append(_check_groups(found))
    if found.tags:
        checks.append(_check_tags(found))
    if found.relations:
        checks.append(_check_relations(found))
    if not task.submission:
        checks.append(
            _check(
                "contradictions",
                found.contradictions,
                "no question is asked twice with different right answers",
                "questions are asked again with another right answer",
                "warned",
            )
        )
    if task.all_or_nothing:
        good = "rotations of one question have the same right option and the same others"
        bad = "rotations contradict the first of their question"
        checks.append(_check("rotations", found.rotated, good, bad))
    return checks


def _check(name: str, faults: Faults, good: str, bad: str, outcome: Outcome = "failed") -> Check:
    if not faults.count:
        return Check(name, "passed", good)
    return Check(name, outcome, f"{faults.count:,} {bad}", tuple(faults.shown))


def _check_count(task: Task, split: str, found: Survey) -> Check:
    published = task.splits[split]
    if not found.samples:
        return Check("samples", "failed", "there are none")
    if not task.sources:  # a user's own
        return Check("samples", "passed", f"{found.samples:,}")
    if not published:
        return Check("samples", "passed", f"{found.samples:,}; how many there should be is unknown")
    if found.samples == published:
        return Check("samples", "passed", f"{found.samples:,}, as published")
    return Check(
        "samples",
        "warned",
        f"{found.samples:,}, but {published:,} are published: a subset, or another revision; "
        "its scores are not comparable",
    )


def _check_rules(task: Task, prompt: Prompt, found: Survey) -> Iterator[Check]:
    names = ", ".join(found.gold)
    for name, by_rules, good, bad in (
        ("gold", found.gold, "the right reply scores 1", "right replies do not score 1"),
        ("wrong replies", found.wrong, "another option scores 0", "wrong replies score"),
        ("empty replies", found.empty, "nothing scores 0", "empty replies score"),
    ):
        # A copy of a reference has the reference's accidents (VLMEvalKit loses an option spelled
        # "None"), but one that knows no right reply at all is no copy.
        serious = any(
            faults.count and not task.rules[rules].source for rules, faults in by_rules.items()
        ) or any(faults.count == found.samples > 0 for faults in found.gold.values())
        faults = _together(by_rules.values())
        outcome: Outcome = "failed" if serious else "warned"
        yield _check(name, faults, f"{good} under {names}", bad, outcome)


def _together(faults: Iterable[Faults]) -> Faults:
    one = Faults()
    for other in faults:
        one.count += other.count
        one.shown += other.shown[: SHOWN - len(one.shown)]
    return one


def _check_chance(task: Task, files: Files, split: str, prompt: Prompt) -> Iterator[Check]:
    """A guesser that draws one option per sample, judged and summarised like a model."""
    rules = next(name for name in prompt.rules if not task.rules[name].question)
    draws = random.Random(task.name)

    def guesses() -> Iterator[Judged]:
        for sample in task.read(files, split, prompt):
            label = draws.choice(list(sample.options))
            by_label = not sample.rank and answers_by_label(task, sample, rules)
            verdict = task.judge(sample, meaning(sample, label, by_label), rules)
            yield Judged(
                sample.id, sample.target, verdict, sample.tags, sample.group, sample.cluster
            )

    figures, far = [], False
    for metric in task.summarise(guesses(), rules):
        chance = task.chance_for(prompt).get(metric.name)
        if chance is None or metric.total or metric.scale != 100.0 or not metric.n:
            continue
        # Guesses are independent whatever the questions share, so the spread is the binomial one.
        luck = 4 * math.sqrt(chance * (100.0 - chance) / metric.n)
        far |= abs(metric.value - chance) > luck + 1e-9
        figures.append(f"{metric.name} {metric.value:.2f} (declared {chance:.2f} ± {luck:.2f})")
    if figures:
        yield Check("chance", "warned" if far else "passed", f"guessing gives {', '.join(figures)}")


def _check_groups(found: Survey) -> Check:
    sizes = Counter(found.groups.values())
    shown = ", ".join(f"{count:,} with {size} samples" for size, count in sizes.most_common())
    rare = {size for size, count in sizes.items() if count < RARE * len(found.groups)}
    if not rare:
        return Check("groups", "passed", f"{len(found.groups):,} groups: {shown}")
    items = [f"{name}: {size}" for name, size in found.groups.items() if size in rare]
    return Check(
        "groups",
        "warned",
        f"{len(found.groups):,} groups: {shown}; those of a rare size may have lost members",
        tuple(items[:SHOWN]),
    )


def _check_tags(found: Survey) -> Check:
    shown, lacking = [], False
    for name, values in found.tags.items():
        count = values.total()
        of = "all" if count == found.samples else f"{count:,} of {found.samples:,}"
        lacking |= NEARLY_ALL * found.samples < count < found.samples
        few = "" if "" in values else f" ({', '.join(f'{v} {n:,}' for v, n in values.items())})"
        shown.append(f"{name} on {of}{few}")
    return Check("tags", "warned" if lacking else "passed", ", ".join(shown))


def _check_relations(found: Survey) -> Check:
    unknown = [name for name in found.relations if name not in RELATION_CLASS]
    if not unknown:
        return Check("relations", "passed", f"{len(found.relations)}, all of a known class")
    return Check(
        "relations",
        "warned",
        f"{len(unknown)} of {len(found.relations)} are unknown to spare and get no class",
        tuple(f"{name}: {found.relations[name]:,} samples" for name in unknown[:SHOWN]),
    )


# Pictures


def _check_pictures(
    read: Callable[[], Iterator[Sample]], total: int, on_picture: Callable[[int, int], None]
) -> Check:
    """Open every distinct picture once, in threads (decoders let go of the interpreter)."""
    workers = min(4, os.cpu_count() or 1)
    bad: dict[int, str] = {}
    waiting: deque[tuple[int, Future[str]]] = deque()
    met: set[int] = set()

    def finish() -> None:
        key, problem = waiting.popleft()
        if problem.result():
            bad[key] = problem.result()
        on_picture(len(met) - len(waiting), total)

    with ThreadPoolExecutor(workers) as pool:
        for sample in read():
            for part in sample.parts:
                if isinstance(part, Picture) and (key := picture_key(part)) not in met:
                    met.add(key)
                    waiting.append((key, pool.submit(_problem, part)))
            while len(waiting) > 4 * workers:
                finish()
        while waiting:
            finish()
    if not bad:
        return Check("pictures", "passed", f"{total:,} distinct pictures, all open")
    ids: dict[int, dict[str, None]] = {key: {} for key in bad}
    for sample in read():
        for part in sample.parts:
            if isinstance(part, Picture) and (key := picture_key(part)) in ids:
                ids[key][sample.id] = None
    items = [f"{problem} Samples: {', '.join(ids[key])}" for key, problem in bad.items()]
    affected = {id_ for names in ids.values() for id_ in names}
    return Check(
        "pictures",
        "failed",
        f"{len(bad):,} of {total:,} distinct pictures do not open, "
        f"so that {len(affected):,} samples could not be asked",
        tuple(items),
    )


def _problem(picture: Picture) -> str:
    try:
        open_picture(picture)
    except PictureError as error:
        return str(error)
    return ""
