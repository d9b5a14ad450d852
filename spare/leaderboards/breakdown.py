"""The scores of a run for every value of a tag: per relation, per category, per class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from spare.errors import SpareError
from spare.harness.run import Run, Score
from spare.harness.statistics import Estimate, estimate
from spare.relations import RELATION_CLASS, relation_group
from spare.tasks import is_borrowed, load_summary, load_task
from spare.tasks.types import Judged, Metric


@dataclass(frozen=True, slots=True)
class Slice:
    """The samples of one score that share the values of some tags.

    Attributes:
        values: the tags' values, in the order asked.
        relation_class: class of the spatial relation if all samples share one, else "".
        estimate: the task's breakdown metric over these samples.
        beside: further metrics over them; empty if the tags split groups that those count.
        samples: how many there are; wrong: how much of them was not right (what is half right is
            half wrong).
        asked: how many were; unread, errors: of those.
    """

    score: Score
    values: tuple[str, ...]
    relation_class: str
    estimate: Estimate
    beside: Mapping[str, Estimate]
    samples: int
    wrong: float
    asked: int
    unread: int
    errors: int


def breakdown(run: Run, by: Sequence[str]) -> Iterator[Slice]:
    """Slices of every score of a run that has the tags, the one that costs most first.

    Samples without the tag stand under "(none)". Raises SpareError if no score has all the tags.
    """
    known: dict[str, set[str]] = {}
    found = False
    for score in run.scores:
        _check_version(score)
        slices: dict[tuple[str, ...], list[Judged]] = {}
        tags: set[str] = set()
        for one in run.verdicts(score):
            known_of_it = _tags(one)
            tags.update(known_of_it)
            values = tuple(known_of_it.get(tag, "(none)") for tag in by)
            slices.setdefault(values, []).append(one)
        known.setdefault(score.task, set()).update(tags)
        if not tags.issuperset(by):
            continue
        found = True
        parts = [_slice(score, values, judged) for values, judged in slices.items()]
        whole = {name for name in parts[0].beside if _is_whole(score, name, parts)}
        for part in sorted(parts, key=lambda part: (-part.wrong, -part.samples, part.values)):
            beside = {name: figure for name, figure in part.beside.items() if name in whole}
            yield replace(part, beside=beside)
    if not found:
        raise SpareError(_no_slices(run, by, known))


def _is_whole(score: Score, name: str, parts: Sequence[Slice]) -> bool:
    """Whether each unit that a metric counts lies in one part: then the parts hold as many as the
    whole."""
    count = sum(part.beside[name].n for part in parts if name in part.beside)
    return name in score.metrics and count == score.metrics[name]["n"]


def _tags(judged: Judged) -> Mapping[str, str]:
    """The sample's tags, and the relation of SpaRE's Table 10 that it is about."""
    relation = relation_of(judged.tags)
    return (
        {**judged.tags, "group": relation_group(relation) or "(none)"} if relation else judged.tags
    )


def relation_of(tags: Mapping[str, str]) -> str:
    """The relation that a sample is about, or ""; in 3DSRBench its type says it."""
    kind = tags.get("type", "")
    return tags.get("relation") or (kind if kind in RELATION_CLASS else "")


def _no_slices(run: Run, by: Sequence[str], known: Mapping[str, set[str]]) -> str:
    if not known:
        return f"{run.path} has no scores yet; the same `spare eval` that began it finishes it."
    every = set().union(*known.values())
    missing = [tag for tag in by if tag not in every]
    if missing:
        return (
            f"No sample of {run.path} has the tag {' or '.join(missing)}; "
            f"there are {', '.join(sorted(every)) or 'no tags'}."
        )
    tasks = [f"{task} has {', '.join(sorted(tags)) or 'none'}" for task, tags in known.items()]
    return "\n  ".join([f"No task of {run.path} has all of the tags {', '.join(by)}:", *tasks])


def _check_version(score: Score) -> None:
    if not is_borrowed(score.task):
        version = load_task(score.task).version
        if version != score.version:
            raise SpareError(
                f"{score.task} was scored as version {score.version}, and this program has "
                f"{version}; run the same `spare eval` again, which asks only what has changed."
            )


def _slice(score: Score, values: tuple[str, ...], judged: list[Judged]) -> Slice:
    summarise = load_summary(score.task)
    metrics = {metric.name: metric for metric in summarise(judged, score.rules)}
    metric = metrics.get(score.breakdown, Metric(score.breakdown))
    beside = () if is_borrowed(score.task) else load_task(score.task).beside
    statuses = Counter(one.verdict.status for one in judged)
    classes = {
        one.tags.get("class") or RELATION_CLASS.get(one.tags.get("relation", ""), "")
        for one in judged
    }
    return Slice(
        score=score,
        values=values,
        relation_class=classes.pop() if len(classes) == 1 else "",
        estimate=estimate(metric),
        beside={
            name: estimate(metrics[name])
            for name in beside
            if name in metrics and metrics[name].strata
        },
        samples=len(judged),
        wrong=math.fsum(1 - one.verdict.score for one in judged if one.verdict.status != "skipped"),
        asked=len(judged) - statuses["skipped"],
        unread=statuses["ambiguous"] + statuses["empty"] + statuses["unparsed"],
        errors=statuses["error"],
    )
