"""Judge the saved replies of a run again, under any rule sets, without the benchmark's files.

Replies keep their questions whole, and the verdicts of an earlier scoring keep the benchmark's
order, its labels, and what was left out; so nothing is asked, and nothing else is needed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from spare import disk
from spare.errors import SpareError, counted
from spare.harness import run as runs
from spare.harness.asking import Event
from spare.harness.judging import judgements
from spare.harness.lines import PLACE, ReplyLog, Saved, digest_json, parsed_line, reply_of
from spare.harness.models import load_model
from spare.harness.models.types import Model
from spare.harness.run import Run, Score
from spare.harness.scoring import judge_all, write_scores
from spare.images import Picture
from spare.tasks import is_borrowed, load_task
from spare.tasks.types import Reply, Sample, Task


def rescore(
    path: str | Path,
    *,
    tasks: Sequence[str] = (),
    rules: str = "all",
    judge: Model | str = "",
    on_event: Callable[[Event], None] = lambda event: None,
) -> Run:
    """Judge the replies of the run in `path` again, and return the run with its new scores.

    Args:
        tasks: names of tasks; all that were scored if empty.
        rules: a rule set's name, or "all" that can read the replies. Scores under other rule sets
            stay as they are.
        judge: a model, or its spec, for rule sets that have a judge decide; without one, "all"
            leaves them out.
        on_event: receives a line before each task, and Progress while a judge is asked.

    Raises:
        SpareError: a task was never scored or its version has changed, or its prompt's replies
            cannot be read by the rule set.
    """
    path = Path(path)
    runs.load_run(path)  # a lock makes its folder, and what is no run shall not become one
    with disk.locked(path):
        run = runs.load_run(path)
        scored = _one_per_place(run, tasks)
        with contextlib.closing(ReplyLog(path / "replies.jsonl")) as log:
            judge = load_model(judge) if isinstance(judge, str) and judge else judge
            for score in scored:
                _rescore(run, score, rules, judge or None, log, on_event)
    return runs.load_run(path)


def _one_per_place(run: Run, tasks: Sequence[str]) -> list[Score]:
    """A score of every task and prompt, whichever its rules; its verdicts keep the order."""
    places = {score.place: score for score in run.scores}
    for name in tasks:
        if not any(score.task == name for score in run.scores):
            scored = ", ".join(dict.fromkeys(score.task for score in run.scores)) or "nothing"
            raise SpareError(f"{run.path} has no score of {name}; it has scored {scored}.")
    chosen = [score for score in places.values() if not tasks or score.task in tasks]
    if not chosen and run.submissions and not run.unfinished:
        raise SpareError(
            f"{run.path} has nothing to judge: the answers to {', '.join(run.submissions)} are not "
            "public, and its replies are written down to be handed in."
        )
    if not chosen:
        raise SpareError(
            f"{run.path} has no scores yet; the same `spare eval` that began it finishes it."
        )
    return chosen


def _rescore(
    run: Run,
    score: Score,
    rules: str,
    judge: Model | None,
    log: ReplyLog,
    on_event: Callable[[Event], None],
) -> None:
    task = load_task(_name_of(run, score))
    check_version(score, task)
    prompt = task.prompt(score.prompt)
    place = dict(zip(PLACE, score.place, strict=True))
    if rules == "all":
        chosen = [
            task.rules[name] for name in prompt.rules if judge or not task.rules[name].question
        ]
    else:
        chosen = [task.rules_for(prompt, rules)]
    names = ", ".join(one.name for one in chosen)
    on_event(f"{score.task}: {counted(score.samples, 'reply')} under {names}")

    def replies() -> Iterator[Saved]:
        return _replies(run, score, log)

    readings = judge_all(
        run.path, place, task, [one for one in chosen if not one.question], replies()
    )
    for one in chosen:
        if one.question:
            if not judge:
                raise SpareError(
                    f"The rules {one.name} of {task.name} have a model decide about every reply; "
                    "name it with --judge."
                )
            answers = judgements(run.path, score, one, judge, replies, on_event)
            readings |= judge_all(run.path, place, task, [one], answers)
    scores = {(one.place, one.rules): one for one in runs.load_run(run.path).scores}
    for name, (statuses, metrics) in readings.items():
        by = _judge_name(judge) if judge and task.rules[name].question else ""
        new = replace(score, rules=name, statuses=statuses, metrics=metrics, judge=by)
        scores[new.place, name] = new
    # The scores of one task stay together, in the order in which the tasks were scored.
    order = list(dict.fromkeys(place for place, _ in scores))
    rows = sorted(scores.values(), key=lambda one: order.index(one.place))
    write_scores(run.path, [asdict(one) for one in rows])


def _name_of(run: Run, score: Score) -> str:
    """What loads a score's task: one from outside by the file that was asked."""
    if not is_borrowed(score.task):
        return score.task
    entries = [one for one in run.manifest["evaluations"] if one["task"] == score.task]
    files = [file for one in entries for file in one.get("annotations", {})]
    if score.task.startswith("custom:"):
        return f"custom:{files[-1]}" if files else score.task
    return next((f"lm-eval:{file}" for file in files if file.endswith(".yaml")), score.task)


def _judge_name(judge: Model) -> str:
    """A judge's name for a person, and of its weights for certain."""
    name = judge.facts.get("model") or judge.identity.get("engine", "model")
    return f"{name} ({digest_json(dict(judge.identity))[:8]})"


def check_version(score: Score, task: Task) -> None:
    """Raises SpareError if the task has changed since it was scored."""
    if not score.task.startswith("custom:") and task.version != score.version:
        raise SpareError(
            f"{score.task} was scored as version {score.version}, and this program has "
            f"{task.version}; run the same `spare eval` again, which asks only what has changed."
        )


def _replies(run: Run, score: Score, log: ReplyLog) -> Iterator[Saved]:
    """Samples and their replies in the benchmark's order."""
    for line in run.verdict_lines(score):
        asked = log.behind(line)
        yield Saved(sample_of(line, asked), reply_of(asked) if asked else None, line["key"])


def sample_of(verdict: Mapping[str, Any], asked: Mapping[str, Any]) -> Sample:
    """A sample as a run keeps it: what was asked stands beside the reply, and the labels, which
    may have been corrected since, beside the verdict. Its pictures are names only."""
    parts = (
        part if isinstance(part, str) else Picture(Path(part.get("name", "")), part.get("name", ""))
        for part in asked.get("parts", ())
    )
    return Sample(
        id=verdict["id"],
        parts=tuple(parts),
        target=verdict["target"],
        options=asked.get("options", {}),
        rank=asked.get("rank", False),
        tags=verdict["tags"],
        group=verdict["group"],
        cluster=verdict["cluster"],
        answers=tuple(verdict.get("answers", ())),
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """A sample that rule sets read differently.

    Attributes:
        reply: the text, or the likelihoods as a text.
        readings: rules -> what was read ("" if nothing), its status and its score.
    """

    task: str
    prompt: str
    id: str
    target: str
    reply: str
    readings: Mapping[str, tuple[str, str, float]]


def differences(run: Run, tasks: Sequence[str] = ()) -> Iterator[Difference]:
    """Samples that two of a run's rule sets score differently, task by task, in the benchmark's
    order."""
    places: dict[tuple[str, str, str], list[Score]] = {}
    for score in run.scores:
        if not tasks or score.task in tasks:
            places.setdefault(score.place, []).append(score)
    with contextlib.ExitStack() as stack:
        log: ReplyLog | None = None
        for (task, _, prompt), scores in places.items():
            for raw in zip(*(run.raw_verdicts(score) for score in scores), strict=True):
                # Most lines say the same to the letter.
                if raw.count(raw[0]) == len(raw):
                    continue
                lines = [parsed_line(run.path, data) for data in raw]
                if len({line["score"] for line in lines}) < 2:
                    continue
                if log is None:
                    log = ReplyLog(run.path / "replies.jsonl")
                    stack.callback(log.close)
                readings = {
                    score.rules: (line["parsed"], line["status"], line["score"])
                    for score, line in zip(scores, lines, strict=True)
                }
                first = lines[0]
                reply = reply_of(log.behind(first))
                yield Difference(task, prompt, first["id"], first["target"], said(reply), readings)


def said(reply: Reply) -> str:
    """A reply as a text, for a person."""
    if reply.error:
        return f"error: {reply.error}"
    if reply.likelihoods is not None:
        return ", ".join(f"{name} {one.total:.4f}" for name, one in reply.likelihoods.items())
    return reply.text
