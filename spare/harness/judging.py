"""Judge models: what some benchmarks' authors have a language model decide about each reply.

A judge is a model spec like any other, named by the user, and never a default. Its answers are kept
in `judgements.jsonl` beside the replies, one line each, written the moment it arrives; so a judge
is asked once about a reply, and the figures can be computed again without it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from spare.errors import SpareError
from spare.harness.asking import Event, Progress
from spare.harness.lines import ReplyLog, Saved, digest_json, reply_fields, reply_of
from spare.harness.models.types import Model, Request
from spare.harness.run import Score
from spare.tasks.types import Reply, Rules

MAX_NEW_TOKENS = 16
"""A judge answers in a word or two."""


def judgements(
    out: Path,
    score: Score,
    rules: Rules,
    judge: Model,
    replies: Callable[[], Iterable[Saved]],
    on_event: Callable[[Event], None],
) -> Iterator[Saved]:
    """The replies of one task with the judge's answers in their place, in the benchmark's order.

    Args:
        replies: gives the replies, as often as it is called.

    Raises:
        SpareError: the judge gave no answer to some question.
    """
    fingerprint = digest_json(dict(judge.identity))
    with contextlib.closing(ReplyLog(out / "judgements.jsonl")) as log:
        _ask(log, score, rules, judge, fingerprint, replies(), on_event)
        for saved in replies():
            question = _question(rules, saved)
            if question is None:
                yield saved
                continue
            line = log.line(_key(fingerprint, question))
            answer = reply_of(line)
            if answer.error:
                raise SpareError(
                    f"The judge gave no answer about {saved.sample.id} of {score.task}: "
                    f"{answer.error} Run the same command again to ask it again."
                )
            yield saved._replace(reply=answer)


def _ask(
    log: ReplyLog,
    score: Score,
    rules: Rules,
    judge: Model,
    fingerprint: str,
    replies: Iterable[Saved],
    on_event: Callable[[Event], None],
) -> None:
    progress = Progress(f"{score.task}, judge", score.samples, scored=False)
    progress.started = progress.last = time.monotonic()
    asked: dict[str, Saved] = {}

    def requests() -> Iterator[Request]:
        for saved in replies:
            question = _question(rules, saved)
            key = "" if question is None else _key(fingerprint, question)
            if question is None or key in log or key in asked:
                progress.done += 1
                progress.before += 1
                continue
            asked[key] = saved
            yield Request(key, (question,), max_new_tokens=MAX_NEW_TOKENS)

    for key, reply in judge.answer(requests()):
        saved = asked[key]
        place = {"task": score.task, "rules": rules.name, "id": saved.sample.id}
        line: dict[str, Any] = {"key": key, **place, "question": _question(rules, saved)}
        log.append(line | reply_fields(reply))
        progress.done += 1
        progress.last = time.monotonic()
        on_event(progress)


def _question(rules: Rules, saved: Saved) -> str | None:
    """What the judge is asked about a reply; None if there is no reply to ask about."""
    reply: Reply | None = saved.reply
    if rules.question is None or reply is None or reply.error:
        return None
    return rules.question(saved.sample, reply)


def _key(fingerprint: str, question: str) -> str:
    return digest_json([fingerprint, question, MAX_NEW_TOKENS])[:32]
