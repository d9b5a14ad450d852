"""One pass over a benchmark's questions that counts what `spare validate` judges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from spare.errors import PictureError
from spare.images import Picture, digest
from spare.tasks.types import Files, Likelihood, Prompt, Reply, Sample, Task, Verdict

SHOWN = 20
"""Samples that are named for a fault; all are counted."""

VALUES = 4
"""Values of a tag that are counted apart."""

NONSENSE = "xyzzy"
"""A reply that is no answer to any question."""


@dataclass(slots=True)
class Faults:
    """How many samples have a fault, and the first of them, a line each."""

    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(text)


@dataclass(slots=True)
class Survey:
    """What one pass over the questions found. It keeps ids and hashes, no questions.

    Attributes:
        pictures: `picture_key` of every picture; blind: samples without one.
        repeated: ids that came before; malformed: no right answer, or not among the options;
            doubled: two options with one text; contradictions: asked before with another answer.
        rotated: rotations of one question with other options, or another right one, than its
            first.
        gold, wrong, empty: by rule set, right replies that do not score 1, and wrong and empty ones
            that score.
        groups: group -> its samples; relations: relation -> samples.
        tags: name -> value -> samples; all values beyond the first few count under "".
        guessable: every sample has options to draw from.
    """

    samples: int = 0
    ids: set[str] = field(default_factory=set)
    pictures: set[int] = field(default_factory=set)
    blind: int = 0
    repeated: Faults = field(default_factory=Faults)
    malformed: Faults = field(default_factory=Faults)
    doubled: Faults = field(default_factory=Faults)
    contradictions: Faults = field(default_factory=Faults)
    rotated: Faults = field(default_factory=Faults)
    gold: dict[str, Faults] = field(default_factory=dict)
    wrong: dict[str, Faults] = field(default_factory=dict)
    empty: dict[str, Faults] = field(default_factory=dict)
    groups: Counter[str] = field(default_factory=Counter)
    tags: dict[str, Counter[str]] = field(default_factory=dict)
    relations: Counter[str] = field(default_factory=Counter)
    guessable: bool = True


def survey(task: Task, files: Files, split: str, prompt: Prompt) -> Survey:
    """Read all questions of a split once, as `prompt` asks them. Raises what the reader raises."""
    found = Survey()
    # Where the answers are not public, nothing is judged; and a judge model is not at hand.
    judged = [] if task.submission else judged_by(task, prompt)
    for faults in (found.gold, found.wrong, found.empty):
        faults.update({name: Faults() for name in judged})
    asked: dict[int, tuple[str, str]] = {}
    questions: dict[int, Sample] = {}
    for sample in task.read(files, split, prompt):
        _count(found, sample)
        if not task.submission:
            _look_at_question(found, sample, asked)
        if task.all_or_nothing and sample.options:
            _look_at_rotations(found, sample, questions)
        for rules in judged:
            _look_at_rules(found, task, sample, rules)
    return found


def judged_by(task: Task, prompt: Prompt) -> list[str]:
    """The rule sets of a prompt that judge replies without a model, in the task's order."""
    names = [name for name in task.rules if name in prompt.rules]
    return [name for name in names if not task.rules[name].question]


def picture_key(picture: Picture) -> int:
    """A 64-bit hash of where a picture lies: a million of them fit in memory, and no two meet."""
    return hash((str(picture.path), picture.cell))


def answers_by_label(task: Task, sample: Sample, rules: str) -> bool:
    """Whether these rules take an option's label for an answer; some want the option's text."""
    return task.judge(sample, Reply(text=sample.target), rules).score == 1.0


def meaning(sample: Sample, label: str, by_label: bool) -> Reply:
    """What a model says that means the option `label`, or the open answer `label`."""
    if sample.rank:
        # Far apart, so that no normalisation by length changes the order.
        return Reply(
            likelihoods={
                name: Likelihood(-1.0 if name == label else -1e6, 1, max(len(text), 1))
                for name, text in sample.options.items()
            }
        )
    return Reply(text=label if by_label else sample.options.get(label, label))


def _count(found: Survey, sample: Sample) -> None:
    found.samples += 1
    if sample.id in found.ids:
        found.repeated.add(sample.id)
    found.ids.add(sample.id)
    keys = [picture_key(part) for part in _pictures(sample)]
    found.pictures.update(keys)
    found.blind += not keys
    if sample.group:
        found.groups[sample.group] += 1
    for name, value in sample.tags.items():
        if value:
            counts = found.tags.setdefault(name, Counter())
            # Only a handful of values is ever shown; an annotation may have one per sample.
            counts[value if value in counts or len(counts) < VALUES else ""] += 1
    if sample.tags.get("relation"):
        found.relations[sample.tags["relation"]] += 1
    found.guessable &= len(sample.options) > 1


def _pictures(sample: Sample) -> Iterable[Picture]:
    return (part for part in sample.parts if isinstance(part, Picture))


def _look_at_question(found: Survey, sample: Sample, asked: dict[int, tuple[str, str]]) -> None:
    problem = _malformed(sample)
    if problem:
        found.malformed.add(f"{sample.id}: {problem}")
    texts = Counter(sample.options.values())
    if texts and max(texts.values()) > 1:
        found.doubled.add(f"{sample.id}: {texts.most_common(1)[0][0]!r}")
    parts = [part if isinstance(part, str) else picture_key(part) for part in sample.parts]
    target = sample.options.get(sample.target, sample.target)
    key = hash((*parts, frozenset(texts) if sample.rank else None))
    before, id_ = asked.setdefault(key, (target, sample.id))
    if before != target:
        found.contradictions.add(f"{id_} wants {before!r}, {sample.id} wants {target!r}")


def _look_at_rotations(found: Survey, sample: Sample, questions: dict[int, Sample]) -> None:
    """Hold a sample against the first rotation of its question.

    Prompts of rotations have the same words but for those of the options. A group may hold several
    questions (MME's two about a picture), or one about several pictures; those are no rotations.
    """
    words = Counter(" ".join(part for part in sample.parts if isinstance(part, str)).split())
    words.subtract(word for text in sample.options.values() for word in text.split())
    others = frozenset((word, count) for word, count in words.items() if count)
    first = questions.setdefault(hash((sample.group, others)), sample)
    texts, target = _meant(sample)
    wanted_texts, wanted = _meant(first)
    if (texts, target) == (wanted_texts, wanted) or not _same_pictures(first, sample):
        return
    if texts != wanted_texts:
        offers = [", ".join(map(repr, one)) for one in (wanted_texts, texts)]
        found.rotated.add(f"{first.id} offers {offers[0]}; {sample.id} offers {offers[1]}")
    else:
        found.rotated.add(f"{first.id} wants {wanted!r}, {sample.id} wants {target!r}")


def _meant(sample: Sample) -> tuple[list[str], str]:
    """The options' texts, in an order of their own, and the right one; white space evened out."""
    texts = {label: " ".join(text.split()) for label, text in sample.options.items()}
    return sorted(texts.values()), texts.get(sample.target, sample.target)


def _same_pictures(one: Sample, other: Sample) -> bool:
    """Whether two samples show the same, in one place or in copies; False if that cannot be
    told."""
    ours, theirs = (list(_pictures(sample)) for sample in (one, other))
    if [*map(picture_key, ours)] == [*map(picture_key, theirs)]:
        return True
    try:
        return [*map(digest, ours)] == [*map(digest, theirs)]
    except PictureError:
        return False


def _malformed(sample: Sample) -> str:
    if not sample.target.strip():
        return "there is no right answer"
    if not sample.options:
        return "there are no options to rank" if sample.rank else ""
    if sample.target not in sample.options:
        return f"the right answer {sample.target!r} is not among {', '.join(sample.options)}"
    if len(sample.options) < 2:
        return "there is only one option"
    blank = [label for label, text in sample.options.items() if not (label and text.strip())]
    return f"option {', '.join(blank)} has no text" if blank else ""


def _look_at_rules(found: Survey, task: Task, sample: Sample, rules: str) -> None:
    by_label = not sample.rank and answers_by_label(task, sample, rules)

    def judge(label: str) -> Verdict:
        return task.judge(sample, meaning(sample, label, by_label), rules)

    gold = judge(sample.target)
    # Of several accepted answers none need be worth everything (TextVQA's ten people disagree).
    if gold.score != 1.0 and not (sample.answers and gold.score > 0.0):
        found.gold[rules].add(f"{rules}, {sample.id}: {sample.target!r} is {gold.status}")
        return
    for label in [name for name in sample.options if name != sample.target] or [NONSENSE]:
        if judge(label).score != 0.0:
            found.wrong[rules].add(f"{rules}, {sample.id}: {label!r}, not {sample.target!r}")
    if not sample.rank and task.judge(sample, Reply(text=""), rules).score != 0.0:
        found.empty[rules].add(f"{rules}, {sample.id}")
