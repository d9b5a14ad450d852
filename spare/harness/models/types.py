"""What an engine is asked and what it answers. An engine never sees a task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from spare.tasks.types import Part, Reply

INSTEAD_OF_RANKING = (
    "choose a prompt that is answered in writing, or a model that tells likelihoods "
    "(transformers:PATH, vllm:PATH)"
)
"""What helps where options cannot be ranked. Benchmarks have such prompts; whether a text is about
space, as data generation asks it, has none."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question for a model: one user turn of text and pictures.

    Attributes:
        key: identity within the call; the matching Response carries it.
        parts: text and pictures, in order.
        options: label -> text. If `rank`, the model gives each text's log-likelihood as its whole
            turn; else they only tell a baseline what could be said.
        rank: rank the options instead of writing.
        max_new_tokens: bound on a written reply.
        schema: JSON schema that a written reply must follow, as a text; "" lets it be any text.
    """

    key: str
    parts: tuple[Part, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    rank: bool = False
    max_new_tokens: int = 16
    schema: str = ""


class Response(NamedTuple):
    """The reply to the request with this key."""

    key: str
    reply: Reply


class Model(Protocol):
    """An engine with a checkpoint in it.

    Attributes:
        identity: everything about the model that could change a reply (digests of weights, adapter,
            processor and chat template; dtype; pixel budget; decoding). Never a path, a rank, a
            time, a batch size. It is part of every reply's key, and the manifest shows it.
        facts: what may be interesting but changes no reply (path, number of parameters, device,
            versions).

    Four more are looked for: `writes`, False if the model can only rank options; `objection`, which
    says of a request why none of its kind can be answered, or ""; `study`, which is given a
    benchmark's samples before they are asked (baselines); and `lineage`, where its weights come
    from, as their trainer wrote it.
    """

    identity: Mapping[str, str]
    facts: Mapping[str, str]

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        """Answer every request exactly once, in any order, streaming on both sides.

        A request that cannot be answered (unreadable picture, prompt too long) gets a Response
        whose reply is an error; it costs no other request anything.
        """
        ...
