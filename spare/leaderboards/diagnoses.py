"""What an accuracy hides: which answers a model prefers whatever it is shown, which relations it
takes for which others, and what to train on next."""

from __future__ import annotations

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spare.disk import replaced
from spare.errors import SpareError
from spare.harness.lines import ReplyLog
from spare.harness.run import Run, Score
from spare.leaderboards.breakdown import relation_of
from spare.leaderboards.collection import model_name
from spare.leaderboards.grids import Column, Grid
from spare.leaderboards.tables import heading, share
from spare.relations import OPPOSITES, relation_group, relation_groups

MOST_LABELS = 10
"""Tasks whose answers are more varied than this have no label to be biased towards."""

MOST_CONFUSIONS = 10
"""Confusions of a score that are shown."""


@dataclass(slots=True)
class Diagnosis:
    """What the verdicts behind one score say beside its figures.

    Attributes:
        answered, truth: label (A, B, yes, True ...) -> how often it was read, and how often it was
            right, over the replies that were read. Empty if the task has no few fixed labels.
        right: how many of those replies were right.
        taken: (what was right, what was said instead) -> how often, in words that the options do
            not share ("left", "right"). Empty if there was nothing to choose between.
        samples, wrong: relation -> how many samples were about it, and how much of them was not
            right. Empty if the samples name no relation.
    """

    score: Score
    answered: Counter[str] = field(default_factory=Counter)
    truth: Counter[str] = field(default_factory=Counter)
    right: int = 0
    taken: Counter[tuple[str, str]] = field(default_factory=Counter)
    samples: Counter[str] = field(default_factory=Counter)
    wrong: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def read(self) -> int:
        """Replies that the labels were counted in."""
        return self.answered.total()

    @property
    def accuracy(self) -> float:
        """Of the replies that were read, per cent."""
        return 100 * self.right / self.read

    @property
    def by_labels_alone(self) -> float:
        """What saying each label as often as this model does, whatever is asked, would get on
        average, in per cent: the agreement by chance of Cohen's kappa."""
        pairs = sum(self.answered[label] * self.truth[label] for label in self.truth)
        return 100 * pairs / self.read**2

    @property
    def kappa(self) -> float:
        """Cohen's kappa: 1 always right, 0 no better than its own labels dealt out at random."""
        expected = self.by_labels_alone
        return (self.accuracy - expected) / (100 - expected) if expected < 100 else 0.0


def diagnose(run: Run) -> list[Diagnosis]:
    """One diagnosis for every task and prompt of a run, under the first rules that it has a score
    of."""
    found = []
    with contextlib.closing(ReplyLog(run.path / "replies.jsonl")) as log:
        for score in {score.place: score for score in reversed(run.scores)}.values():
            found.append(_diagnose(score, run.verdict_lines(score), log))
    return found[::-1]


def _diagnose(score: Score, verdicts: Iterable[Mapping[str, Any]], log: ReplyLog) -> Diagnosis:
    found = Diagnosis(score)
    for verdict in verdicts:
        if verdict["status"] == "skipped":
            continue
        if relation := relation_of(verdict["tags"]):
            found.samples[relation] += 1
            found.wrong[relation] += 1 - verdict["score"]
        if verdict["status"] != "ok":
            continue
        # Options to be ranked are shown without their labels, so their order is no bias.
        line = log.behind(verdict)
        options: Mapping[str, str] = line.get("options") or {}
        said, target = verdict["parsed"], verdict["target"]
        # People's own words may happen to be "yes" (TextVQA); they are no labels.
        words = not verdict.get("answers") and said in YES_NO and target in YES_NO
        labels = options or words
        if not labels or (options and said not in options):
            continue
        if not line.get("rank"):
            found.answered[said] += 1
            found.truth[target] += 1
            found.right += said == target
        if said != target and target in options and not YES_NO.issuperset(options):
            found.taken[_difference(options[target], options[said])] += 1
    if len(found.truth | found.answered) > MOST_LABELS:
        found.answered, found.truth, found.right = Counter(), Counter(), 0
    return found


YES_NO = frozenset({"yes", "no", "Yes", "No", "True", "False", "true", "false"})
"""Answers that are labels, though the question has no options."""


def _difference(right: str, said: str) -> tuple[str, str]:
    """The words by which two options differ: ("left", "right") of "A mug left of a jar" and "A mug
    to the right of a jar"."""
    one, other = right.split(), said.split()
    while one and other and one[0].lower() == other[0].lower():
        del one[0], other[0]
    while one and other and one[-1].lower() == other[-1].lower():
        del one[-1], other[-1]
    return _bare(one) or right, _bare(other) or said


_SMALL_WORDS = frozenset({"to", "the", "of", "in", "on", "at", "a", "an"})


def _bare(words: Sequence[str]) -> str:
    """A relation without the small words that it can be said with and without; "on" stays "on"."""
    kept = [word for word in words if word.lower() not in _SMALL_WORDS]
    return " ".join(kept or words).lower().strip(".")


_OTHER_END = {_bare(one.split()): _bare(other.split()) for one, other in OPPOSITES.items()}


# Shown


def grids(found: Sequence[Diagnosis]) -> list[Grid]:
    """Tables of preferred answers, of what is taken for what, and of the costliest relations."""
    return [*_biases(found), *_confusions(found), *_costs(found)]


def _biases(found: Sequence[Diagnosis]) -> Iterator[Grid]:
    rows = []
    for one in found:
        if not one.read:
            continue
        labels = sorted(one.truth | one.answered)
        said, right = (
            ", ".join(f"{name} {100 * counts[name] / one.read:.0f}" for name in labels)
            for counts in (one.answered, one.truth)
        )
        figures = (f"{one.accuracy:.1f}", f"{one.by_labels_alone:.1f}", f"{one.kappa:.2f}")
        rows.append((f"{one.score.task} ({one.score.prompt})", said, right, *figures))
    if rows:
        columns = (
            *(Column(name) for name in ("task", "it says, %", "right would be, %")),
            *(Column(name, numeric=True) for name in ("accuracy", "labels alone", "kappa")),
        )
        yield Grid(
            "Does it answer by the label? Replies that were read",
            columns,
            rows,
            (
                "labels alone: what saying each label as often, whatever is asked, would get; "
                "kappa: 0 is no better than that, 1 is always right.",
            ),
        )


def _confusions(found: Sequence[Diagnosis]) -> Iterator[Grid]:
    for one in found:
        # What happened once may be anything; options of all kinds (MMBench's) repeat nothing.
        often = [(pair, count) for pair, count in one.taken.most_common() if count > 1]
        if not often:
            continue
        wrong = one.taken.total()
        rows = [
            (right, said, f"{count:,}", share(count, wrong), _axis(right, said))
            for (right, said), count in often[:MOST_CONFUSIONS]
        ]
        columns = (
            *(Column("right"), Column("said instead")),
            *(Column("times", numeric=True), Column("of all wrong", numeric=True)),
            Column("axis"),
        )
        yield Grid(f"Taken for another: {heading(one.score)}", columns, rows)


def _axis(right: str, said: str) -> str:
    return "the right axis, the other end" if _OTHER_END.get(right) == said else ""


def _costs(found: Sequence[Diagnosis]) -> Iterator[Grid]:
    rows = []
    for cost in costs(found):
        rows.append(
            (
                cost.group or "(not in Table 10)",
                ", ".join(cost.relations),
                f"{cost.samples:,}",
                f"{cost.wrong:,.1f}".removesuffix(".0"),
                share(round(cost.wrong), cost.samples),
                f"{100 * cost.weight:.1f} %" if cost.group else "-",
            )
        )
    if rows:
        columns = (
            *(Column("relation"), Column("in the benchmarks")),
            *(
                Column(name, numeric=True)
                for name in ("n", "wrong", "of these", "weight to generate")
            ),
        )
        yield Grid(
            "What costs most, and what to generate next (SpaRE's relations, over all tasks)",
            columns,
            rows,
            (
                "weight: the relation's share of a task's wrong answers, averaged over the tasks, "
                "so that a big benchmark does not drown a small one. --weights FILE writes them.",
            ),
        )


# What to generate next


@dataclass(frozen=True, slots=True)
class Cost:
    """What a relation of SpaRE's Table 10 costs over all tasks.

    Attributes:
        group: its name there; "" for relations that are not in it.
        relations: what the benchmarks call it.
        samples: questions about it; wrong: how much of them was not right.
        weight: its share of what to generate, from 0 to 1.
    """

    group: str
    relations: tuple[str, ...]
    samples: int
    wrong: float
    weight: float


def costs(found: Iterable[Diagnosis]) -> list[Cost]:
    """The relations that wrong answers were about, the costliest first."""
    samples: Counter[str] = Counter()
    wrong: defaultdict[str, float] = defaultdict(float)
    weights: defaultdict[str, float] = defaultdict(float)
    names: dict[str, dict[str, None]] = {}
    tasks = 0
    for one in found:
        groups = {relation: relation_group(relation) for relation in one.samples}
        for relation, group in groups.items():
            samples[group] += one.samples[relation]
            wrong[group] += one.wrong[relation]
            names.setdefault(group, {})[relation] = None
        whole = sum(one.wrong[relation] for relation, group in groups.items() if group)
        if whole:
            tasks += 1
            for relation, group in groups.items():
                if group:
                    weights[group] += one.wrong[relation] / whole
    every = [
        Cost(
            group, tuple(names[group]), samples[group], wrong[group], weights[group] / (tasks or 1)
        )
        for group in samples
    ]
    return sorted(every, key=lambda cost: (-cost.weight, -cost.wrong, cost.group))


def write_weights(run: Run, found: Sequence[Diagnosis], path: Path) -> None:
    """Write what to generate next, for `spare generate --relation-weights`.

    Raises:
        SpareError: no answer about a relation was wrong, or none is known, or the disk is full.
    """
    known = [cost for cost in costs(found) if cost.group]
    if not any(cost.weight for cost in known):
        raise SpareError(
            f"{run.path} has no wrong answer about a relation of SpaRE's, so there is nothing to "
            "weigh; weights come from tasks whose samples name one (vsr_zeroshot, whatsup_a, "
            "3dsrbench ...)."
        )
    weights = {cost.group: round(cost.weight, 6) for cost in known}
    told = {
        "format": 1,
        "run": str(run.path),
        "model": model_name(run),
        "scores": [heading(one.score) for one in found if one.samples],
        "weights": weights,
        "measured": {
            cost.group: {
                "relations": list(cost.relations),
                "samples": cost.samples,
                "wrong": round(cost.wrong, 3),
            }
            for cost in known
        },
        "not measured": [name for name in relation_groups() if name not in weights],
    }
    with replaced(path) as file:
        file.write((json.dumps(told, indent=2) + "\n").encode())
