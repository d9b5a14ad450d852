"""Ask a model the questions of some benchmarks, write every reply down, and score them.

Killed anywhere, the same call goes on where it stopped: a reply that is on disk is never asked
again, and one that belongs to another picture or another prompt is never used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spare import disk
from spare.errors import SpareError, counted
from spare.harness import run as runs
from spare.harness.asking import Evaluation, Event, Progress, ask
from spare.harness.choosing import Choice, plan_evaluations
from spare.harness.environment import environment
from spare.harness.lines import ReplyLog, digest_json
from spare.harness.models import Options, load_model
from spare.harness.models.types import Model, Request
from spare.harness.scoring import forget_scores, score_evaluation, write_submission
from spare.harness.tokens import Prices, Tokens
from spare.tasks.types import Task


def evaluate(
    model: str | Path | Model,
    tasks: str | Sequence[str | Task],
    *,
    data: str | Path = "",
    out: str | Path,
    split: Choice = "",
    prompt: Choice = "",
    rules: Choice = "",
    limit: int | None = None,
    lazy_groups: bool = False,
    token_prices: Prices | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    **engine: Any,
) -> runs.Run:
    """Score a model on benchmarks and return the run.

    Args:
        model: path or hub id of a checkpoint, an engine's spec ("random"), or a Model.
        tasks: names of tasks and suites (comma-separated or a list), or Task objects.
        data: folder with the published files; see `spare tasks NAME`. Tasks of lm-eval need none.
        out: run directory. If it holds replies of this model, the run goes on.
        split, prompt, rules: a name for all tasks, or task -> name. `rules` may be "all".
        limit: ask only the first so many samples per task; the scores are marked as provisional.
        lazy_groups: do not ask the rest of an all-or-nothing group that has failed already.
        token_prices: what a server's tokens cost; the run then says what it has cost.
        on_event: receives lines of text, and Progress after every reply.
        engine: options of `load_model` (adapter, dtype, device, max_pixels, ...).

    Raises:
        SpareError: nothing can be asked, or it would be put into a run of another model. Samples
            that fail raise nothing: they are errors in the scores, and stay in the denominator.
    """
    unknown = set(engine) - {field.name for field in dataclasses.fields(Options)}
    if unknown:
        raise TypeError(f"evaluate() got an unexpected keyword argument {min(unknown)!r}")
    out = Path(out)
    model = str(model) if isinstance(model, Path) else model
    evaluations = plan_evaluations(
        tasks, data, split=split, prompt=prompt, rules=rules, limit=limit
    )
    if str(data) and out.resolve() == Path(data).resolve():
        raise SpareError(f"{out} holds the benchmarks' files (--data); choose another --out.")
    with disk.locked(out):
        for evaluation in evaluations:
            evaluation.lazy = lazy_groups and evaluation.task.all_or_nothing
            evaluation.count_samples()
        if isinstance(model, str):
            on_event(f"Loading {model} ...")
            loaded = load_model(model, **engine)
        else:
            loaded = model
        _require_ranking(loaded, evaluations)
        _hear_objections(loaded, evaluations)
        manifest = open_manifest(out, loaded.identity, evaluations)
        if lineage := getattr(loaded, "lineage", None):
            manifest["lineage"] = dict(lineage)
        # Before the first reply: replies without a manifest belong to nobody.
        disk.write_json(out / "manifest.json", manifest)
        with contextlib.closing(ReplyLog(out / "replies.jsonl")) as log:
            for evaluation in evaluations:
                studied = _study(loaded, evaluation)
                identity = {**loaded.identity, **({"studied": studied} if studied else {})}
                evaluation.fingerprint = digest_json(identity)
                _keep_rules(evaluation, runs.load_run(out).scores)
            before = [evaluation.find_replies(log) for evaluation in evaluations]
            on_event(_first_line(before))
            call = {"started": _now(), "facts": dict(loaded.facts), "environment": environment()}
            try:
                for evaluation, progress in zip(evaluations, before, strict=True):
                    record(manifest, evaluation, lazy_groups)
                    disk.write_json(out / "manifest.json", manifest)
                    forget_scores(out, evaluation.place)
                    evaluation.check_unchanged()
                    _study(loaded, evaluation)
                    try:
                        ask(loaded, evaluation, log, progress, on_event)
                    finally:
                        _note_effort(manifest, call, evaluation, progress, token_prices)
                        disk.write_json(out / "manifest.json", manifest)
                    if evaluation.task.submission:
                        submit(out, manifest, evaluation, progress.errors, log, on_event)
                    else:
                        score_evaluation(out, evaluation, log)
            finally:  # what a call that breaks off has asked for is paid, too
                _tell_tokens(before, token_prices, on_event)
    return runs.load_run(out)


def submit(
    out: Path,
    manifest: dict[str, Any],
    evaluation: Evaluation,
    errors: int,
    log: ReplyLog,
    on_event: Callable[[Event], None],
) -> None:
    """Write the file to hand in of what the manifest names last, and how many questions failed."""
    if evaluation.limit is not None:
        on_event(f"{evaluation.task.name}: no file to hand in, since --limit left questions out.")
        return
    path = write_submission(out, evaluation, log)
    entry = manifest["evaluations"][-1]
    entry["submission"], entry["errors"] = path.name, errors
    disk.write_json(out / "manifest.json", manifest)
    on_event(f"{path} is written.")


def _first_line(before: Sequence[Progress]) -> str:
    there = sum(one.done for one in before)
    skipped = sum(one.skipped for one in before)
    missing = sum(one.missing for one in before)
    left_out = f"{skipped:,} skipped since their groups have failed, " if skipped else ""
    return (
        f"{counted(sum(one.total for one in before), 'question')} in "
        f"{', '.join(one.task for one in before)}: {there:,} answered, {left_out}"
        f"{missing:,} to be asked."
    )


# What a model cannot be asked


def _require_ranking(model: Model, evaluations: Sequence[Evaluation]) -> None:
    """A model that can only rank cannot be asked to write."""
    if getattr(model, "writes", True):
        return
    for evaluation in evaluations:
        task, prompt = evaluation.task, evaluation.prompt
        if not prompt.rank:
            ranking = [name for name, other in task.prompts.items() if other.rank]
            remedy = (
                f"choose --prompt {task.name}={ranking[0]}"
                if ranking
                else f"{task.name} has no prompt that ranks, so leave it out"
            )
            raise SpareError(
                f"This model ranks options and writes nothing, and the prompt {prompt.name} of "
                f"{task.name} wants a written reply; {remedy}."
            )


def _hear_objections(model: Model, evaluations: Sequence[Evaluation]) -> None:
    """What a model can answer nothing of is refused before anything is asked."""
    objection: Callable[[Request], str] | None = getattr(model, "objection", None)
    if objection is None:
        return
    for evaluation in evaluations:
        sample = next(evaluation.samples())
        request = Request("", sample.parts, sample.options, evaluation.prompt.rank)
        if why := objection(request):
            raise SpareError(f"{evaluation.task.name} cannot be asked: {why}")


# What a model learns from a benchmark before it answers (baselines do)


def _study(model: Model, evaluation: Evaluation) -> str:
    """Let the model study the whole split, whatever the limit; what it learnt is part of its
    identity for this task."""
    study = getattr(model, "study", None)
    return "" if study is None else str(study(evaluation.all_samples()))


def _keep_rules(evaluation: Evaluation, scores: Sequence[runs.Score]) -> None:
    """Judge under the rule sets that have a score already, too: none of them gets lost."""
    place = tuple(evaluation.place.values())
    scored = {score.rules for score in scores if score.place == place}
    names = [rules.name for rules in evaluation.rules]
    more = [name for name in evaluation.prompt.rules if name in scored and name not in names]
    evaluation.rules += tuple(evaluation.task.rules[name] for name in more)


# The manifest


def open_manifest(
    out: Path, identity: Mapping[str, str], evaluations: Sequence[Evaluation]
) -> dict[str, Any]:
    """The manifest of the run that is there, if it goes on with this call, or a new one."""
    identity = dict(identity)
    if not (out / "manifest.json").exists():
        if any(path.suffix != ".part" for path in out.glob("*.json*")):
            raise SpareError(
                f"{out} holds a part of a run but no manifest.json that says whose it is; choose "
                "another --out."
            )
        return {
            "format": runs.FORMAT,
            "started": _now(),
            "model": identity,
            "evaluations": [],
            "calls": [],
        }
    run = runs.load_run(out)
    known = run.manifest["model"]
    if known != identity:
        raise SpareError(
            f"{out} is a run of another model, and a run belongs to one. They differ in "
            f"{_differences(known, identity)}. Choose another --out for this model; to go on with "
            "the run, load the model as it was."
        )
    for evaluation in evaluations:
        _refuse_to_replace(run, evaluation)
    return dict(run.manifest)


DIGEST_SHOWN = 12
"""Digits of a digest that are enough to tell two apart."""


def _differences(known: Mapping[str, str], identity: Mapping[str, str]) -> str:
    """In what two models differ. Those of two engines have nothing to compare but that."""
    names = [name for name in {**known, **identity} if known.get(name) != identity.get(name)]

    def shown(value: str) -> str:
        is_digest = len(value) == 64 and set(value) <= set("0123456789abcdef")
        return value[:DIGEST_SHOWN] if is_digest else value

    return ", ".join(
        f"{name} ({shown(known.get(name, 'none'))} in the run, "
        f"{shown(identity.get(name, 'none'))} now)"
        for name in (["engine"] if "engine" in names else names)
    )


def _refuse_to_replace(run: runs.Run, evaluation: Evaluation) -> None:
    """A call may complete or bring up to date what stands in a run, not put something else in its
    place."""
    place = evaluation.place
    for score in run.scores:
        if (
            (score.task, score.split, score.prompt) == tuple(place.values())
            and evaluation.limit is not None
            and score.samples > len(evaluation.keys)
        ):
            raise SpareError(
                f"{run.path} has a score of {score.task} over "
                f"{counted(score.samples, 'question')}, and --limit {evaluation.limit} would "
                "replace it; choose another --out."
            )
    for entry in run.manifest["evaluations"]:
        if all(entry[name] == value for name, value in place.items()):
            old, new = entry["annotations"], _annotations(evaluation)
            if not set(old) & set(new) and set(old.values()) != set(new.values()):
                raise SpareError(
                    f"{run.path} has {place['task']} over {', '.join(old)}, and this call reads "
                    f"{', '.join(new)}, which holds something else; choose another --out."
                )


def _annotations(evaluation: Evaluation) -> dict[str, str]:
    return {str(path.resolve()): digest for path, digest in evaluation.annotations.items()}


def record(manifest: dict[str, Any], evaluation: Evaluation, lazy_groups: bool) -> None:
    """Note in the manifest what is about to be asked."""
    entry = {
        **evaluation.place,
        "version": evaluation.task.version,
        "layout": evaluation.files.layout,
        "samples": len(evaluation.keys),
        "limit": evaluation.limit,
        "lazy_groups": lazy_groups and evaluation.task.all_or_nothing,
        "max_new_tokens": evaluation.prompt.max_new_tokens,
        "annotations": _annotations(evaluation),
        # Where failures can be looked at later, as long as the files stay there.
        "pictures": [str(path.resolve()) for path in evaluation.files.pictures],
    }
    manifest["evaluations"] = [
        other
        for other in manifest["evaluations"]
        if any(other[name] != value for name, value in evaluation.place.items())
    ] + [entry]


def _note_effort(
    manifest: dict[str, Any],
    call: dict[str, Any],
    evaluation: Evaluation,
    progress: Progress,
    prices: Prices | None,
) -> None:
    """Note which call, by which program on which machine, got how many of the replies, and what
    they took. One that asked nothing made nothing."""
    asked = progress.done - progress.before
    if not asked:
        return
    seconds = round(time.monotonic() - progress.started, 3)
    entry = {**call, **evaluation.place, "asked": asked, "seconds": seconds}
    tokens = progress.tokens
    if tokens.told:
        entry |= {"input_tokens": tokens.read, "output_tokens": tokens.written}
        if prices:
            entry["token_prices"] = dataclasses.asdict(prices)
            cost = tokens.cost(prices)
            if cost is not None:
                entry["cost"] = round(cost, 6)
    manifest["calls"].append(entry)


def _tell_tokens(
    states: Sequence[Progress], prices: Prices | None, on_event: Callable[[Event], None]
) -> None:
    """Say what all tasks of this call took together, if the engine tells it."""
    tokens = Tokens()
    for state in states:
        tokens.add(state.tokens)
    if tokens.told:
        on_event(tokens.line(prices))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
