"""From replies on disk to verdicts and scores."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spare.harness import run as runs
from spare.harness.asking import Evaluation
from spare.harness.run import Score
from spare.harness.statistics import estimate
from spare.tasks.types import Judged, Reply, Rules, Sample, Verdict


def score_evaluation(out: Path, evaluation: Evaluation) -> list[Score]:
    """Judge the replies of one evaluation under its rule sets; write verdicts and scores.

    The denominator is the number of samples in the benchmark's files: a sample without a reply is
    an error, or was skipped because its all-or-nothing group had failed.
    """
    offsets = _find_lines(out / "replies.jsonl", set(evaluation.keys))
    scores = [_score(out, evaluation, rules, offsets) for rules in evaluation.rules]
    path = out / "scores.json"
    rows = runs.read_json(path)["scores"] if path.exists() else []
    new = {(score.task, score.split, score.prompt) for score in scores}
    kept = [row for row in rows if (row["task"], row["split"], row["prompt"]) not in new]
    runs.write_json(path, {"scores": kept + [asdict(score) for score in scores]})
    return scores


def _find_lines(path: Path, keys: set[str]) -> dict[str, int]:
    """Byte offset of the reply with each key: the first that is no error, else the last error."""
    offsets: dict[str, int] = {}
    answered: set[str] = set()
    for offset, line in runs.read_log(path):
        key = line["key"]
        if key in keys and key not in answered:
            offsets[key] = offset
            if "error" not in line:
                answered.add(key)
    return offsets


def _score(out: Path, evaluation: Evaluation, rules: Rules, offsets: dict[str, int]) -> Score:
    task, place = evaluation.task, evaluation.place
    statuses: Counter[str] = Counter()
    path = out / f"verdicts.{rules.name}.jsonl"
    with runs.replaced(path) as file:
        # The verdicts of the other tasks in this run stay; ours are written anew behind them.
        file.writelines(_lines_of_others(path, place))

        def judged() -> Iterator[Judged]:
            for key, sample, reply in _replies(out, evaluation, offsets):
                verdict = (
                    Verdict("", 0.0, "skipped")
                    if reply is None
                    else task.judge(sample, reply, rules.name)
                )
                statuses[verdict.status] += 1
                one = Judged(
                    sample.id, sample.target, verdict, sample.tags, sample.group, sample.cluster
                )
                line = runs.verdict_line(place, key, one)
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                yield one

        metrics = task.summarise(judged(), rules.name)
    return Score(
        **place,
        version=task.version,
        layout=evaluation.files.layout,
        rules=rules.name,
        samples=len(evaluation.keys),
        published=task.splits[evaluation.split],
        limit=evaluation.limit,
        statuses=dict(sorted(statuses.items())),
        headline=task.headline,
        breakdown=task.breakdown,
        metrics={metric.name: asdict(estimate(metric)) for metric in metrics if metric.n},
        chance=task.chance_for(evaluation.prompt),
    )


def _lines_of_others(path: Path, place: dict[str, str]) -> Iterator[str]:
    if path.exists():
        for line in runs.read_lines(path):
            if any(line[name] != value for name, value in place.items()):
                yield json.dumps(line, ensure_ascii=False) + "\n"


def _replies(
    out: Path, evaluation: Evaluation, offsets: dict[str, int]
) -> Iterator[tuple[str, Sample, Reply | None]]:
    """Key, sample and reply in the benchmark's order; "" and None for a sample not asked."""
    with (out / "replies.jsonl").open("rb") as file:
        for key, sample in zip(evaluation.keys, evaluation.samples(), strict=True):
            offset = offsets.get(key)
            if offset is None:
                yield "", sample, None
                continue
            file.seek(offset)
            line: dict[str, Any] = json.loads(file.readline())
            yield key, sample, runs.sample_and_reply(line)[1]
