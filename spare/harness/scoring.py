"""From replies on disk to verdicts and scores."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from spare.harness import run as runs
from spare.harness.asking import Evaluation
from spare.harness.run import Score
from spare.harness.statistics import estimate
from spare.tasks.types import Judged, Reply, Rules, Sample, Task, Verdict

Place = tuple[str, str, str]
"""Task, split and prompt: what an evaluation is called in the files of a run."""


def forget_scores(out: Path, place: dict[str, str]) -> tuple[str, ...]:
    """Take the rows of one evaluation out of `scores.json`, because they will not be true any more,
    and return the rule sets that they were for."""
    rows = [asdict(score) for score in runs.load_run(out).scores]
    ours = [row for row in rows if _is_at(row, place)]
    if ours:
        _write_scores(out, [row for row in rows if row not in ours])
    return tuple(row["rules"] for row in ours)


def score_evaluation(out: Path, evaluation: Evaluation, log: runs.ReplyLog) -> list[Score]:
    """Judge the replies of one evaluation under its rule sets; write verdicts and scores.

    The denominator is the number of samples in the benchmark's files: a sample without a reply is
    an error, or was skipped because its all-or-nothing group had failed.
    """
    evaluation.check_unchanged()
    scores = [_score(out, evaluation, rules, log) for rules in evaluation.rules]
    evaluation.check_unchanged()
    rows = [asdict(score) for score in runs.load_run(out).scores]
    kept = [row for row in rows if not _is_at(row, evaluation.place)]
    _write_scores(out, kept + [asdict(score) for score in scores])
    return scores


def _is_at(row: dict[str, object], place: dict[str, str]) -> bool:
    return all(row[name] == value for name, value in place.items())


def _write_scores(out: Path, rows: list[dict[str, object]]) -> None:
    runs.write_json(out / "scores.json", {"scores": rows})


def _score(out: Path, evaluation: Evaluation, rules: Rules, log: runs.ReplyLog) -> Score:
    task = evaluation.task
    statuses, metrics = judge_all(out, evaluation.place, task, rules, _replies(evaluation, log))
    return Score(
        **evaluation.place,
        version=task.version,
        layout=evaluation.files.layout,
        rules=rules.name,
        samples=len(evaluation.keys),
        published=task.splits[evaluation.split],
        limit=evaluation.limit,
        statuses=statuses,
        headline=task.headline,
        breakdown=task.breakdown,
        metrics=metrics,
        chance=task.chance_for(evaluation.prompt),
    )


def judge_all(
    out: Path,
    place: dict[str, str],
    task: Task,
    rules: Rules,
    replies: Iterable[tuple[str, Sample, Reply | None]],
) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
    """Judge replies (key, sample, reply; None if it was skipped) in the benchmark's order, write
    their verdicts, and return how many were read how, and the metrics."""
    statuses: Counter[str] = Counter()
    guesses = random.Random(rules.guess_seed)
    path = out / f"verdicts.{rules.name}.jsonl"
    with runs.replaced(path) as file:
        # The verdicts of the other tasks in this run stay; ours are written anew behind them.
        file.writelines(_others(out, path, place, rules.name))

        def judged() -> Iterator[Judged]:
            for key, sample, reply in replies:
                verdict = (
                    Verdict("", 0.0, "skipped")
                    if reply is None
                    else task.judge(sample, reply, rules.name)
                )
                if rules.guess_seed is not None:
                    verdict = _guessed(sample, verdict, guesses)
                statuses[verdict.status] += 1
                one = Judged(
                    sample.id, sample.target, verdict, sample.tags, sample.group, sample.cluster
                )
                line = runs.verdict_line(place, key, sample, verdict)
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                yield one

        metrics = task.summarise(judged(), rules.name)
    figures = {metric.name: asdict(estimate(metric)) for metric in metrics if metric.n}
    return dict(sorted(statuses.items())), figures


def _guessed(sample: Sample, verdict: Verdict, guesses: random.Random) -> Verdict:
    """The verdict of a reference that draws an option where it can read none."""
    if verdict.status not in ("empty", "unparsed") or not sample.options:
        return verdict
    label = guesses.choice(list(sample.options))
    return replace(verdict, parsed=label, score=float(label == sample.target))


def _others(out: Path, path: Path, place: dict[str, str], rules: str) -> Iterator[str]:
    """The lines of other evaluations. If they are damaged, their scores go with them: those tasks
    count as unfinished then, and the next `spare eval` of them asks nothing and scores them."""
    if not path.exists():
        return
    try:
        for line in runs.read_lines(path):
            if not _is_at(line, place):
                yield json.dumps(line, ensure_ascii=False) + "\n"
    except (runs.DamagedError, KeyError):
        rows = [asdict(score) for score in runs.load_run(out).scores]
        _write_scores(out, [row for row in rows if row["rules"] != rules])


def _replies(
    evaluation: Evaluation, log: runs.ReplyLog
) -> Iterator[tuple[str, Sample, Reply | None]]:
    """Key, sample and reply in the benchmark's order; "" and None for a sample not asked."""
    for key, sample in zip(evaluation.keys, evaluation.samples(), strict=True):
        line = log.line(key)
        if not line:
            yield "", sample, None
            continue
        if line["id"] != sample.id:
            evaluation.check_unchanged()
            raise RuntimeError(f"the reply to {line['id']} was about to be given to {sample.id}")
        yield key, sample, runs.reply_of(line)
