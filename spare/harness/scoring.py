"""From replies on disk to verdicts and scores."""

from __future__ import annotations

import contextlib
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from spare import disk
from spare.harness import run as runs
from spare.harness.asking import Evaluation
from spare.harness.lines import (
    DamagedError,
    ReplyLog,
    Saved,
    dump,
    judged_from_line,
    line_start,
    read_lines,
    reply_of,
    verdict_line,
)
from spare.harness.run import Score
from spare.harness.statistics import estimate
from spare.tasks.types import Metric, Reply, Rules, Sample, Task, Verdict

Place = tuple[str, str, str]
"""Task, split and prompt: what an evaluation is called in the files of a run."""

SKIPPED = Verdict("", 0.0, "skipped")


def forget_scores(out: Path, place: dict[str, str]) -> None:
    """Take the rows of one evaluation out of `scores.json`, because they will not be true any
    more."""
    rows = [asdict(score) for score in runs.load_run(out).scores]
    kept = [row for row in rows if not _is_at(row, place)]
    if kept != rows:
        write_scores(out, kept)


def score_evaluation(out: Path, evaluation: Evaluation, log: ReplyLog) -> list[Score]:
    """Judge the replies of one evaluation under its rule sets; write verdicts and scores.

    The denominator is the number of samples in the benchmark's files: a sample without a reply is
    an error, or was skipped because its all-or-nothing group had failed.
    """
    evaluation.check_unchanged()
    task, rules = evaluation.task, evaluation.rules
    readings = judge_all(out, evaluation.place, task, rules, _replies(evaluation, log))
    evaluation.check_unchanged()
    scores = [
        Score(
            **evaluation.place,
            version=task.version,
            layout=evaluation.files.layout,
            rules=name,
            samples=len(evaluation.keys),
            published=task.splits[evaluation.split],
            limit=evaluation.limit,
            statuses=statuses,
            headline=task.headline,
            breakdown=task.breakdown,
            metrics=metrics,
            chance=task.chance_for(evaluation.prompt),
        )
        for name, (statuses, metrics) in readings.items()
    ]
    rows = [asdict(score) for score in runs.load_run(out).scores]
    kept = [row for row in rows if not _is_at(row, evaluation.place)]
    write_scores(out, kept + [asdict(score) for score in scores])
    return scores


def write_submission(out: Path, evaluation: Evaluation, log: ReplyLog) -> Path:
    """Write down the replies to questions whose answers are not public, as their publisher wants
    them, and return the file."""
    submission = evaluation.task.submission
    assert submission is not None
    path = out / submission.name
    temporary = path.with_name(f"{path.name}.part")

    def replies() -> Iterator[tuple[Sample, Reply]]:
        for sample, reply, _ in _replies(evaluation, log):
            yield sample, reply or Reply(error="not asked")

    evaluation.check_unchanged()
    try:
        submission.write(evaluation.files, evaluation.split, replies(), temporary)
        evaluation.check_unchanged()
        temporary.replace(path)
    except OSError as error:
        raise disk.disk_error(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _is_at(row: dict[str, object], place: dict[str, str]) -> bool:
    return all(row[name] == value for name, value in place.items())


def write_scores(out: Path, rows: list[dict[str, object]]) -> None:
    """Replace `scores.json`."""
    disk.write_json(out / "scores.json", {"scores": rows})


def judge_all(
    out: Path,
    place: dict[str, str],
    task: Task,
    rules: Sequence[Rules],
    replies: Iterable[Saved],
) -> dict[str, tuple[dict[str, int], dict[str, dict[str, Any]]]]:
    """Judge replies, given in the benchmark's order, under several rule sets in one pass; write the
    verdicts, and sum them up.

    Returns: rules -> how many replies were read how, and the metrics.
    """
    paths = {one.name: out / f"verdicts.{one.name}.jsonl" for one in rules}
    guesses = {one.name: random.Random(one.guess_seed) for one in rules}
    statuses: dict[str, Counter[str]] = {one.name: Counter() for one in rules}
    starts: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context(disk.replaced(path)) for name, path in paths.items()}
        for name, file in files.items():
            # The verdicts of the other tasks in this run stay; ours are written behind them.
            file.writelines(_others(out, paths[name], place, name))
            starts[name] = file.tell()
        for saved in replies:
            for one in rules:
                verdict = verdict_of(task, one, saved, guesses[one.name])
                statuses[one.name][verdict.status] += 1
                files[one.name].write(dump(verdict_line(place, saved, verdict)))
    readings = {}
    for name, path in paths.items():
        judged = map(judged_from_line, read_lines(path, starts[name]))
        metrics = task.summarise(judged, name)
        figures = {metric.name: _figure(metric) for metric in metrics if metric.strata}
        readings[name] = dict(sorted(statuses[name].items())), figures
    return readings


def _figure(metric: Metric) -> dict[str, Any]:
    """An estimate for `scores.json`; JSON has no NaN, so a figure of nothing (the precision of one
    who never says yes) is null."""
    figure = asdict(estimate(metric))
    return {**figure, "value": None} if math.isnan(metric.value) else figure


def verdict_of(task: Task, rules: Rules, saved: Saved, guesses: random.Random) -> Verdict:
    """How `rules` read a reply, the luck of references that guess included: `guesses` is drawn from
    once for each such reply, in the benchmark's order."""
    sample = saved.sample
    if saved.reply is None:
        return SKIPPED
    verdict = task.judge(sample, saved.reply, rules.name)
    if rules.guess_seed is None or verdict.status not in ("empty", "unparsed"):
        return verdict
    if not sample.options:
        return verdict
    # The reference draws an option where it can read none.
    label = guesses.choice(list(sample.options))
    return replace(verdict, parsed=label, score=float(label == sample.target))


def _others(out: Path, path: Path, place: dict[str, str], rules: str) -> Iterator[bytes]:
    """The lines of other evaluations. If they are damaged, their scores go with them: those tasks
    count as unfinished then, and the next `spare eval` of them asks nothing and scores them."""
    if not path.exists():
        return
    try:
        # A line begins with its place, so most of ours need not be read to be left out.
        for line in read_lines(path, but=line_start(place)):
            if not _is_at(line, place):
                yield dump(line)
    except (DamagedError, KeyError):
        rows = [asdict(score) for score in runs.load_run(out).scores]
        write_scores(out, [row for row in rows if row["rules"] != rules])


def _replies(evaluation: Evaluation, log: ReplyLog) -> Iterator[Saved]:
    """Samples and their replies in the benchmark's order."""
    for key, sample in zip(evaluation.keys, evaluation.samples(), strict=True):
        line = log.line(key)
        if not line:
            yield Saved(sample, None)
            continue
        if line["id"] != sample.id:
            evaluation.check_unchanged()
            raise RuntimeError(f"the reply to {line['id']} was about to be given to {sample.id}")
        yield Saved(sample, reply_of(line), key)
