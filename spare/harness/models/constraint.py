"""Replies that must be JSON of a given shape: llguidance says, token by token, what cannot follow.

White space that the shape does not need is never allowed: a greedy model may go on writing it until
its bound (vllm-project/vllm #38696).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spare.errors import ModelError, install

if TYPE_CHECKING:
    import torch

MISSING = (
    "Replies of a given shape need llguidance, which is not installed: run "
    f"{install('generation')}."
)


class Constraint:
    """What turns JSON schemas into a step of `generate`. Grammars are compiled once each.

    Args:
        tokenizer: the checkpoint's own.
        vocabulary: how many logits the network has, padding included.
        ends: tokens that end a reply.

    Raises:
        ModelError: llguidance is not installed.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, ends: Sequence[int]) -> None:
        if importlib.util.find_spec("llguidance") is None:
            raise ModelError(MISSING)
        import llguidance.hf

        self._tokens = llguidance.hf.from_tokenizer(tokenizer, vocabulary, list(ends) or None)
        self._ends = list(ends)
        self._grammars: dict[str, str] = {}

    def step(self, schema: str) -> Step:
        """A step of one call of `generate`, whose rows all have this JSON schema."""
        from llguidance import LLMatcher

        if schema not in self._grammars:
            self._grammars[schema] = LLMatcher.grammar_from_json_schema(
                schema, defaults={"whitespace_flexible": False}
            )
        return Step(self._tokens, self._grammars[schema], self._ends)


class Step:
    """Masks the scores of each row's next token; for one call of `generate`."""

    def __init__(self, tokens: Any, grammar: str, ends: Sequence[int]) -> None:
        self._tokens, self._grammar, self._ends = tokens, grammar, list(ends)
        self._matchers: list[Any] = []

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores, -inf where a token cannot follow.

        Args:
            ids: tokens so far, shape (rows, tokens). scores: shape (rows, vocabulary).
        """
        import numpy
        import torch
        from llguidance import LLMatcher

        if self._matchers:
            for matcher, token in zip(self._matchers, ids[:, -1].tolist(), strict=True):
                if not matcher.is_stopped():
                    matcher.consume_token(token)
        else:
            self._matchers = [LLMatcher(self._tokens, self._grammar) for _ in ids]
        allowed = numpy.zeros((len(self._matchers), scores.shape[1]), bool)
        for row, matcher in enumerate(self._matchers):
            if matcher.is_error():
                raise RuntimeError(f"the schema cannot be followed: {matcher.get_error()}")
            if matcher.is_stopped():  # nothing can follow but the end
                allowed[row, self._ends] = True
                continue
            bits = numpy.frombuffer(matcher.compute_bitmask(), numpy.uint8)
            found = numpy.unpackbits(bits, bitorder="little")[: scores.shape[1]]
            allowed[row, : len(found)] = found
        mask = torch.from_numpy(allowed).to(scores.device)
        return scores.masked_fill(~mask, float("-inf"))
