"""Two runs held against each other: is the second model better, worse, or merely luckier?

Everything is paired: the same questions, the same pictures, the same reading; where that does not
hold, nothing is compared and the difference is named.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from spare.errors import SpareError, counted, excerpt
from spare.harness.lines import PLACE, judged_from_line, lost
from spare.harness.pairing import Difference, adjusted, paired_difference
from spare.harness.run import Run, Score, load_run
from spare.tasks import load_summary
from spare.tasks.types import Judged, Metric

Outcome = Literal["regression", "possible drop", "no regression", "better"]

SHARED = ("version", "layout", "judge", "samples", "limit")
"""What two scores of one task, split, prompt and rule set must agree in, too."""

OWN = ("weights", "adapter")
"""What makes two models two; other parts of their identity are expected to be the same."""


@dataclass(frozen=True, slots=True)
class Flip:
    """A sample that one of the models gets more right than the other.

    Attributes:
        target: the right answer; base, new: what was read in each model's reply ("" if nothing).
        gain: the new score minus the base's, from -1 to 1.
    """

    id: str
    target: str
    base: str
    new: str
    gain: float
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """How one figure has changed.

    Attributes:
        score: the new run's score that it belongs to.
        part: tag and value of the slice; empty for a whole task.
        metric: the figure's name.
        difference: new minus base, with its interval and its p-value.
        p: the p-value after Holm's correction over the tasks, or over all slices.
        max_drop: what it may fall by, in its own unit.
        outcome: "regression" is a drop by more than that, that is significant; "possible drop" is
            one that is not.
        samples: how many samples it is over.
        lost, won: samples that were more right before, and now.
        needed: about how many samples it would take to see such a drop as significant four times
            out of five; 0 unless there is a possible one.
        smallest: the change that these samples would show as significant four times out of five.
    """

    score: Score
    part: tuple[str, str] | tuple[()]
    metric: str
    difference: Difference
    p: float
    max_drop: float
    outcome: Outcome
    samples: int
    lost: int
    won: int
    needed: int = 0
    smallest: float = math.nan


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of a model.

    Attributes:
        tasks: one change per task and prompt, by its headline figure.
        slices: those of each task's parts, if they were asked for; a family of their own.
        flips: (task, split, prompt, rules) -> samples that changed, the losses first.
        refusals: sentences about what could not be compared.
        notes: sentences about what else is different, and no obstacle.
    """

    base: Path
    new: Path
    max_drop: float
    alpha: float
    by: str
    tasks: Sequence[Change]
    slices: Sequence[Change]
    flips: Mapping[tuple[str, ...], Sequence[Flip]]
    refusals: Sequence[str]
    notes: Sequence[str]

    @property
    def regressions(self) -> list[Change]:
        """What has become worse."""
        return [one for one in (*self.tasks, *self.slices) if one.outcome == "regression"]

    @property
    def exit_code(self) -> int:
        """0 no regression; 1 regression; 2 something could not be compared: a gate does not pass
        on what it could not check."""
        return 2 if self.refusals else 1 if self.regressions else 0


def compare(
    base: str | Path | Run,
    new: str | Path | Run,
    *,
    max_drop: float = 1.0,
    alpha: float = 0.05,
    by: str = "",
) -> Comparison:
    """Hold a new run against a base run.

    Args:
        max_drop: what a figure may fall by, in per cent of its full range: percentage points of an
            accuracy; 20 of MME's 2,000 points for 1.
        alpha: chance of a false alarm that is accepted, over all tasks together (Holm), and once
            more over all slices.
        by: a tag; slices by its values are compared, too, and can regress.

    Raises:
        SpareError: one of them is no run, or an argument makes no sense.
    """
    check_max_drop(max_drop)
    if not 0 < alpha < 1:
        raise SpareError("--alpha is the accepted chance of a false alarm, between 0 and 1.")
    one, other = (run if isinstance(run, Run) else load_run(run) for run in (base, new))
    pairs, refusals, notes = _pairs(one, other)
    questions = [_questions(run) for run in (one, other)]
    changes: list[Change] = []
    slices: list[Change] = []
    flips: dict[tuple[str, ...], Sequence[Flip]] = {}
    for old_score, new_score in pairs:
        old, old_keys = _judged(one, old_score, questions[0])
        now, new_keys = _judged(other, new_score, questions[1])
        problem = _mismatch(old, now) or _other_questions(old_keys, new_keys, questions)
        if problem:
            refusals.append(f"{_called(new_score)}: {problem}")
            continue
        # One set of labels for both, or a corrected one would tear pairs apart.
        old = {
            name: replace(
                judged, tags=now[name].tags, group=now[name].group, cluster=now[name].cluster
            )
            for name, judged in old.items()
        }
        changed = _flips(old, now)
        change = _change(new_score, new_score.headline, old, now, changed, max_drop)
        if change is None:
            refusals.append(
                f"{_called(new_score)}: {new_score.headline} cannot be told in both runs, since "
                "questions were left out (--lazy-groups or --limit); ask them all."
            )
            continue
        changes.append(change)
        flips[(*new_score.place, new_score.rules)] = sorted(changed, key=lambda flip: flip.gain)
        if by:
            slices += _slices(new_score, by, old, now, changed, max_drop)
    if by and changes and not slices:
        raise SpareError(f"No sample that both runs share has the tag {by}.")
    return Comparison(
        base=one.path,
        new=other.path,
        max_drop=max_drop,
        alpha=alpha,
        by=by,
        tasks=_decided(changes, alpha),
        slices=_decided(slices, alpha),
        flips=flips,
        refusals=refusals,
        notes=[*notes, *_notes(one, other)],
    )


# What can be compared


def check_max_drop(max_drop: float) -> None:
    """Raises SpareError if no figure can be allowed to fall by this."""
    if not max_drop >= 0:
        raise SpareError("--max-drop is how far a figure may fall; it cannot be negative.")


def require_tag(run: Run, tag: str) -> None:
    """Raises SpareError if a run has scores, and none of their samples has this tag."""
    tags = {
        name for score in run.scores for line in run.verdict_lines(score) for name in line["tags"]
    }
    if run.scores and tag not in tags:
        there = f"they have {', '.join(sorted(tags))}" if tags else "they have none"
        raise SpareError(f"No sample of {run.path} has the tag {tag} (--by); {there}.")


def _called(score: Score) -> str:
    return f"{score.task} ({score.prompt}, {score.rules})"


def _pairs(base: Run, new: Run) -> tuple[list[tuple[Score, Score]], list[str], list[str]]:
    """One score of both runs for each task and prompt; sentences about what cannot be compared,
    and about what need not be."""
    pairs, refusals, notes = [], [], []
    unfinished = {
        tuple(entry[name] for name in PLACE): run for run in (new, base) for entry in run.unfinished
    }
    old, now = _by_place(base), _by_place(new)
    for place in dict.fromkeys([*old, *now, *unfinished]):
        name = f"{place[0]} ({place[2]})"
        if place in unfinished:
            refusals.append(
                f"{name}: {unfinished[place].path} is not finished with it; the same `spare eval` "
                "goes on."
            )
        elif place not in now:
            refusals.append(f"{name}: {new.path} has no score of it, and {base.path} has.")
        elif place not in old:
            notes.append(f"{name}: {base.path} has no score of it, so it is not compared.")
        else:
            rules = [one for one in now[place] if one in old[place]]
            if not rules:
                wanted = next(iter(now[place]))
                refusals.append(
                    f"{name}: the runs have no rule set in common; `spare score {base.path} "
                    f"--rules {wanted}` judges the base's replies so, too."
                )
                continue
            pair = old[place][rules[0]], now[place][rules[0]]
            said = {what: [getattr(one, what) or "none" for one in pair] for what in SHARED}
            differing = [f"{what} ({a} and {b})" for what, (a, b) in said.items() if a != b]
            if differing:
                refusals.append(
                    f"{name}: the runs differ in {', '.join(differing)}, so their scores are not "
                    "the same figure."
                )
                continue
            pairs.append(pair)
            if len(rules) > 1:
                notes.append(
                    f"{name} is compared under the rules {rules[0]}; both runs have "
                    f"{', '.join(rules[1:])}, too."
                )
    if not pairs and not refusals:
        refusals.append(f"{base.path} and {new.path} have no score in common.")
    return pairs, refusals, notes


def _by_place(run: Run) -> dict[tuple[str, str, str], dict[str, Score]]:
    places: dict[tuple[str, str, str], dict[str, Score]] = {}
    for score in run.scores:
        places.setdefault(score.place, {})[score.rules] = score
    return places


def _questions(run: Run) -> dict[str, tuple[int, int]]:
    """Reply key -> hashes of the question's text and of its pictures."""
    found = {}
    for line in run.replies():
        parts = line.get("parts", ())
        text = [part if isinstance(part, str) else "" for part in parts]
        pictures = [part.get("picture", "") for part in parts if not isinstance(part, str)]
        options = list(line["options"].items()) if line.get("rank") else []
        found[line["key"]] = (_hashed([text, options]), _hashed(pictures))
    return found


def _hashed(value: Any) -> int:
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def _judged(
    run: Run, score: Score, questions: Mapping[str, tuple[int, int]]
) -> tuple[dict[str, Judged], dict[str, str]]:
    """Sample id -> what became of it, and its reply's key. Raises DamagedError if a reply has been
    lost: what it was to cannot be checked any more."""
    judged, keys = {}, {}
    for line in run.verdict_lines(score):
        if line["key"] and line["key"] not in questions:
            raise lost(run.path / "replies.jsonl", line)
        judged[line["id"]] = judged_from_line(line)
        keys[line["id"]] = line["key"]
    return judged, keys


def _mismatch(old: Mapping[str, Judged], now: Mapping[str, Judged]) -> str:
    """Why two runs' samples are not the same; "" if they are."""
    lone = [*(name for name in old if name not in now), *(name for name in now if name not in old)]
    if lone:
        return (
            f"{counted(len(lone), 'question')} were asked in one run only ({_some(lone)}), so the "
            "files were not the same."
        )
    targets = [name for name in old if old[name].target != now[name].target]
    if targets:
        return (
            f"{counted(len(targets), 'right answer')} changed in between ({_some(targets)}); run "
            "the same `spare eval` for both runs again, which asks nothing twice."
        )
    return ""


def _other_questions(
    old_keys: Mapping[str, str],
    new_keys: Mapping[str, str],
    questions: Sequence[Mapping[str, tuple[int, int]]],
) -> str:
    """Why the models were not asked the same; "" if they were. What was not asked fits anything."""
    for place, what in enumerate(("the text", "the pictures")):
        changed = [
            name
            for name, key in old_keys.items()
            if key in questions[0]
            and new_keys[name] in questions[1]
            and questions[0][key][place] != questions[1][new_keys[name]][place]
        ]
        if changed:
            return (
                f"{what} of {counted(len(changed), 'question')} was not the same in both runs "
                f"({_some(changed)}); evaluate both models over the same files."
            )
    return ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def _said(model: Mapping[str, Any], name: str) -> str:
    return excerpt(str(model.get(name, "none")), 40)


def _notes(base: Run, new: Run) -> list[str]:
    """In what the models differ beside their weights, and what is no obstacle but worth knowing."""
    old, now = base.manifest["model"], new.manifest["model"]
    notes = []
    if old == now:
        notes.append("Both runs are of the same model, to the last weight.")
    others = [
        f"{name} ({_said(old, name)} and {_said(now, name)})"
        for name in dict.fromkeys([*old, *now])
        if old.get(name) != now.get(name) and name not in OWN
    ]
    if others:
        notes.append(f"The models differ in more than their weights: {', '.join(others)}.")
    for run in (base, new):
        if run.errors:
            notes.append(
                f"{run.path}: {counted(run.errors, 'sample')} got no reply and count as wrong."
            )
        for task in run.submissions:
            notes.append(f"{task}: its answers are not public, so there is nothing to compare.")
    return list(dict.fromkeys(notes))


# How it has changed


def _flips(old: Mapping[str, Judged], now: Mapping[str, Judged]) -> list[Flip]:
    flips = []
    for name, before in old.items():
        after = now[name]
        gain = after.verdict.score - before.verdict.score
        if gain and "skipped" not in (before.verdict.status, after.verdict.status):
            read = before.verdict.parsed, after.verdict.parsed
            flips.append(Flip(name, after.target, *read, gain, after.tags))
    return flips


def _change(
    score: Score,
    metric: str,
    old: Mapping[str, Judged],
    now: Mapping[str, Judged],
    flips: Iterable[Flip],
    max_drop: float,
    part: tuple[str, str] | tuple[()] = (),
) -> Change | None:
    """None if a run has not got the figure."""
    before, after = (_metric(score, metric, judged.values()) for judged in (old, now))
    if before is None or after is None:
        return None
    difference = paired_difference(before, after)
    gains = [flip.gain for flip in flips]
    return Change(
        score=score,
        part=part,
        metric=metric,
        difference=difference,
        p=difference.p,
        max_drop=max_drop / 100 * difference.full,
        outcome="no regression",
        samples=len(now),
        lost=sum(gain < 0 for gain in gains),
        won=sum(gain > 0 for gain in gains),
    )


def _metric(score: Score, name: str, judged: Iterable[Judged]) -> Metric | None:
    for metric in load_summary(score.task)(judged, score.rules):
        if metric.name == name and metric.strata:
            return metric
    return None


def _slices(
    score: Score,
    tag: str,
    old: Mapping[str, Judged],
    now: Mapping[str, Judged],
    flips: Sequence[Flip],
    max_drop: float,
) -> Iterator[Change]:
    names: dict[str, list[str]] = {}
    for name, judged in now.items():
        if tag in judged.tags:
            names.setdefault(judged.tags[tag], []).append(name)
    for value, own in sorted(names.items()):
        change = _change(
            score,
            score.breakdown,
            {name: old[name] for name in own},
            {name: now[name] for name in own},
            [flip for flip in flips if flip.tags.get(tag) == value],
            max_drop,
            (tag, value),
        )
        if change is not None:
            yield change


def _decided(changes: Sequence[Change], alpha: float) -> list[Change]:
    """Changes of one family with their corrected p-values and outcomes."""
    decided = []
    corrected = adjusted([change.difference.p for change in changes])
    for change, p in zip(changes, corrected, strict=True):
        difference = change.difference
        falls = -difference.value > change.max_drop
        if falls and p <= alpha:
            outcome: Outcome = "regression"
        elif falls:
            outcome = "possible drop"
        elif difference.value > 0 and p <= alpha:
            outcome = "better"
        else:
            outcome = "no regression"
        strictest = alpha / len(changes)  # of the levels in Holm's correction
        needed = 0
        if outcome == "possible drop":
            # A figure's units are not always samples (MME counts questions and pairs of them), but
            # they grow in number as these do.
            units = difference.units_to_see(strictest)
            needed = math.ceil(units * change.samples / difference.n)
        smallest = difference.smallest(strictest)
        decided.append(replace(change, p=p, outcome=outcome, needed=needed, smallest=smallest))
    return decided
