"""The models that stages ask, loaded when a stage first needs one, and known for certain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spare.errors import ModelError
from spare.generation import llm
from spare.generation.stages import Options
from spare.harness.models import load_model
from spare.harness.models.types import Model, Request, Response
from spare.harness.tokens import Tokens

if TYPE_CHECKING:
    from spare.harness.models.clip import Clip

CANARY_TOKENS = 512
"""Enough for a pair, or to see that a reply keeps to the schema."""


@dataclass(slots=True)
class Awaited:
    """The replies that a model owes. Requests may be read in another thread than replies, so each
    has a count of its own.

    Attributes:
        asked, answered: requests that it has taken, replies that it has given.
        since: `time.monotonic()` when it was asked first, or gave the last reply.
    """

    asked: int = 0
    answered: int = 0
    since: float = 0.0

    @property
    def count(self) -> int:
        """Replies that are still to come."""
        return self.asked - self.answered

    @property
    def seconds(self) -> float:
        """For how long none has come."""
        return time.monotonic() - self.since


class Watched:
    """A model whose debt and whose tokens can be seen."""

    def __init__(self, model: Model, awaited: Awaited, tokens: Tokens) -> None:
        self._model, self._awaited, self._tokens = model, awaited, tokens
        self.identity, self.facts = model.identity, model.facts

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        """What the model answers."""
        awaited = self._awaited
        awaited.asked, awaited.answered, awaited.since = 0, 0, time.monotonic()
        for response in self._model.answer(self._counted(requests)):
            awaited.answered += 1
            awaited.since = time.monotonic()
            self._tokens.count(response.reply)
            yield response

    def _counted(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            self._awaited.asked += 1
            yield request


class Models:
    """Models by what they are for.

    Args:
        options: which models.
        engine: how they are loaded: the fields of `spare.harness.models.Options`.
        known: "llm" or "clip" -> identity of the model that made what is there already; filled in.
        on_event: receives a line before each model is loaded.

    Attributes:
        facts: role -> what may be interesting about a model that was loaded.
        engine: how models are loaded.
        checked: task -> how many of its pictures pairs were held against, once they were.
        awaited: what the language model owes.
        tokens: of its replies.
    """

    def __init__(
        self,
        options: Options,
        engine: Mapping[str, Any],
        known: dict[str, Mapping[str, str]],
        on_event: Callable[[str], None] = lambda event: None,
    ) -> None:
        self._options, self.engine, self.known = options, dict(engine), known
        self._on_event = on_event
        self.facts: dict[str, Mapping[str, str]] = {}
        self.checked: dict[str, int] = {}
        self.awaited = Awaited()
        self.tokens = Tokens()
        self._keeps_schema = False

    @cached_property
    def llm(self) -> Model:
        """The language model. Raises ModelError if it cannot be loaded, or has changed."""
        self._on_event(f"Loading {self._options.llm} ...")
        model = load_model(self._options.llm, language=True, **self.engine)
        self._check("llm", self._options.llm, model)
        return Watched(model, self.awaited, self.tokens)

    @cached_property
    def clip(self) -> Clip:
        """The dual encoder. Raises ModelError if it cannot be loaded, or has changed."""
        from spare.harness.models.clip import Clip

        name = self._options.clip.removeprefix("clip:")
        self._on_event(f"Loading {name} ...")
        model = load_model(f"clip:{name}", **{**self.engine, "tensor_parallel": 1})
        assert isinstance(model, Clip)
        self._check("clip", name, model)
        return model

    def _check(self, role: str, name: str, model: Model) -> None:
        """Weights at an old path may be new; what they made would not go together."""
        identity = dict(model.identity)
        known = self.known.setdefault(role, identity)
        if known != identity:
            differing = sorted(
                part for part in {*known, *identity} if known.get(part) != identity.get(part)
            )
            raise ModelError(
                f"{name} is not the model that made what is there: its {', '.join(differing)} "
                "differ. Choose another --out."
            )
        self.facts[role] = dict(model.facts)

    def note(self, known: Mapping[str, Mapping[str, str]], checked: Mapping[str, int]) -> None:
        """Take over what another process knows of the same models. Raises ModelError if they are
        not the same."""
        for role, identity in known.items():
            name = getattr(self._options, role)
            if self.known.setdefault(role, dict(identity)) != dict(identity):
                raise ModelError(f"{name} is not the same model on every machine.")
        self.checked = dict(checked) or self.checked

    def require_schema(self) -> None:
        """Ask about one made-up caption. Raises ModelError unless JSON comes of it: an engine that
        quietly drops the schema would waste every caption; or if a reply of the length that is
        allowed would not fit behind it. Once is enough."""
        if self._keeps_schema:
            return
        request = Request(
            "canary",
            (llm.ASK, llm.CANARY),
            max_new_tokens=min(CANARY_TOKENS, self._options.max_new_tokens),
            schema=llm.SCHEMA,
        )
        (response,) = self.llm.answer([request])
        reply = response.reply
        if reply.error:
            raise ModelError(f"{self._options.llm} fails at a plain caption: {reply.error}")
        context = int(self.llm.facts.get("context") or 0)
        left = context - reply.input_tokens
        if context and self._options.max_new_tokens > left:
            raise ModelError(
                f"{self._options.llm} has a context of {context:,} tokens, of which a plain "
                f"caption leaves {left:,}, and --max-new-tokens is "
                f"{self._options.max_new_tokens:,}. Lower it, by more than that for long captions."
            )
        cut_off = reply.finish == "length" and reply.text.startswith('[{"question"')
        if not cut_off and not llm.read_pairs(reply.text).found:
            raise ModelError(
                f"{self._options.llm} does not keep to the JSON schema: to a plain caption it says "
                f"{reply.text[:80]!r}."
            )
        self._keeps_schema = True
