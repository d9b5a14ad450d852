"""What a language model is asked while data are built, and how its replies are kept and read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from spare.harness.lines import ReplyLog, digest_json, reply_fields, reply_of
from spare.harness.models.types import Model, Request
from spare.tasks.types import Reply

CLASSIFY = """\
Does the text below say where things are: on which side of one another, in front or behind, above or
below, on, in, between, near or far, which way they face, or in which part of the picture? Answer
with Yes or No.

Text:
"""
"""In front of a caption, or of a question and its answer."""

ASK = """\
Write question-answer pairs about how things lie in space in an image, as far as the description of
the image at the end says it.

Ask about whatever the description tells of:
- position and direction: left, right, above, below, in front, behind
- distance: near, far, next to, closest
- orientation and angle: facing, parallel, tilted, upright
- layers of depth: foreground, middle ground, background
- edges and boundaries: at the edge, in the corner, along, around
- shadows and reflections: where they fall, what casts them
- contact, overlap and containment: on, under, in, covering, between
- scale: larger, taller, wider than something else

Rules:
- Ask only what the description answers, and answer only what it says. Invent nothing.
- Speak of the image and never of the description or the text.
- Name things by what tells them apart. Say whose left it is where that is not the viewer's.
- Ask each thing once. Keep answers short, and in words of the description.
- Ask nothing that is not about space.

Reply with a JSON list of objects, each with the keys "question" and "answer", and with nothing in
front of its "[" or behind its "]".

Description:
"""
"""In front of a caption. The caption comes last, so that all requests begin alike and the beginning
is computed once."""

FRAME = """\
A question and its answer about a picture say on which side of something a thing is. Is that the
side as somebody who looks at the picture sees it, or the thing's own side, as a car has a left side
of its own? Go by the description. Answer with viewer or own.

"""
"""In front of a description and a pair whose frame of reference the rules cannot tell."""

CANARY = "A red cup stands to the left of a blue plate, and a spoon lies in front of them."
"""A caption that any model can ask about: if no pair comes of it, the engine does not keep to the
schema, and every caption would be wasted."""

MOST_PAIRS = 40
LONGEST_QUESTION, LONGEST_ANSWER = 300, 400

SCHEMA = json.dumps(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": MOST_PAIRS,
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["question", "answer"],
            "properties": {
                "question": {
                    "type": "string",
                    "pattern": r"^[^\n?]{4,100}[^\n?]{0,100}[^\n?]{0,99}\?$",
                },
                "answer": {"type": "string", "minLength": 1, "maxLength": LONGEST_ANSWER},
            },
        },
    }
)
"""Bounded everywhere, so a reply that runs in circles ends by itself; a question has its mark.

A question's bound is written in three parts, since xgrammar (0.2, what vllm serve uses) fails at
repetitions of more than 128 in a pattern: https://github.com/mlc-ai/xgrammar/issues/863."""


def classify_request(key: str, text: str) -> Request:
    """Asks whether a text is about space; to be ranked, so that the reply has a probability."""
    return Request(key, (CLASSIFY, text), options={"Yes": "Yes", "No": "No"}, rank=True)


def frame_request(key: str, caption: str, question: str, answer: str) -> Request:
    """Asks whose left a pair means; to be ranked."""
    text = f"Description: {caption}\nQuestion: {question}\nAnswer: {answer}"
    return Request(key, (FRAME, text), options={"viewer": "viewer", "intrinsic": "own"}, rank=True)


def pairs_request(key: str, caption: str, max_new_tokens: int) -> Request:
    """Asks for pairs about a caption."""
    return Request(key, (ASK, caption), max_new_tokens=max_new_tokens, schema=SCHEMA)


def probability(reply: Reply, one: str = "Yes", other: str = "No") -> float:
    """How likely one of two answers is; NaN if there is no reply."""
    if not reply.likelihoods:
        return math.nan
    first, second = (reply.likelihoods[name].total for name in (one, other))
    return 1 / (1 + math.exp(min(second - first, 700)))


# Replies on disk


def answered(
    model: Model,
    requests: Sequence[Request],
    log: Path,
    on_reply: Callable[[int], None] = lambda done: None,
) -> Mapping[str, Reply]:
    """Key -> reply, for every request. Each reply is in `log` before the next is awaited, and what
    is in it is not asked again; a request whose reply was an error is.

    Raises:
        SpareError: the disk is full.
    """
    keys = {request.key: _identity(request) for request in requests}
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(ReplyLog(log)) as kept:
        missing = [request for request in requests if keys[request.key] not in kept]
        done = len(requests) - len(missing)
        on_reply(done)
        for response in model.answer(missing):
            kept.append({"key": keys[response.key], **reply_fields(response.reply)})
            done += 1
            on_reply(done)
        return {key: _texts(reply_of(kept.line(identity))) for key, identity in keys.items()}


def _texts(reply: Reply) -> Reply:
    """A reply whose texts can be written: a server may send half of a surrogate pair."""
    text, error = (one.encode("utf-8", "replace").decode() for one in (reply.text, reply.error))
    return replace(reply, text=text, error=error)


def _identity(request: Request) -> str:
    parts = [request.key, [part for part in request.parts if isinstance(part, str)]]
    asked = [dict(request.options), request.rank, request.max_new_tokens, request.schema]
    return digest_json([parts, asked])[:32]


# Reading pairs


class Pairs(NamedTuple):
    """What a reply comes to: pairs, and how many objects in it were none."""

    found: list[tuple[str, str]]
    rejected: int


def read_pairs(text: str) -> Pairs:
    """The pairs of a reply that should be a JSON list of them.

    Whole objects only: what a bound or a loop cut off is never closed by guessing. Lists may follow
    one another, be fenced, or hang in an object ({"pairs": [...]}).
    """
    try:
        objects = list(_objects(json.loads(text)))
    except (ValueError, RecursionError):
        objects = list(_scanned(text))
    found, rejected = [], 0
    for one in objects:
        pair = _pair(one)
        if pair:
            found.append(pair)
        else:
            rejected += 1
    return Pairs(found, rejected)


def _objects(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for one in value:
            yield from _objects(one) if isinstance(one, list) else [one]
    elif isinstance(value, dict):
        lists = [one for one in value.values() if isinstance(one, list)]
        yield from _objects(lists[0]) if len(value) == 1 and lists else [value]
    else:
        yield value


def _scanned(text: str) -> Iterator[Any]:
    """The whole objects in a text that is no JSON as a whole."""
    decoder = json.JSONDecoder()
    place = text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            yield from _objects(value)
        place = text.find("{", end)


def _pair(value: Any) -> tuple[str, str] | None:
    if not isinstance(value, dict) or set(value) != {"question", "answer"}:
        return None
    question, answer = value["question"], value["answer"]
    if not isinstance(question, str) or not isinstance(answer, str):
        return None
    question, answer = " ".join(question.split()), " ".join(answer.split())
    try:
        f"{question}{answer}".encode()
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        return None
    fits = 0 < len(question) <= LONGEST_QUESTION and 0 < len(answer) <= LONGEST_ANSWER
    return (question, answer) if fits else None


def caption_key(caption_id: str, stage: str) -> str:
    """A request's key within a shard of a stage."""
    return hashlib.sha256(f"{stage} {caption_id}".encode()).hexdigest()[:16]
