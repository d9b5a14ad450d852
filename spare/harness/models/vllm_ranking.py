"""Log-likelihoods of options from vLLM: one question per token that can tell options apart.

An option's likelihood is the sum over its tokens. vLLM is asked for one token after the prompt and
after each beginning of an option, and for the log-probabilities of just those tokens that go on
from there. So a prompt is computed once, whatever the number of options; options that begin alike
share more of it; and Yes against No is a single question. `prompt_logprobs`, the usual way, keeps
vLLM from reading its prefix cache, and makes logits of every token of every prompt.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from spare.harness.models.decoding import NOT_A_NUMBER
from spare.harness.models.vllm_prompts import Prompt
from spare.tasks.types import Likelihood, Reply

MOST_CHOICES = 128
"""Most tokens whose log-probabilities vLLM gives at one place."""

Beginning = tuple[int, ...]
"""The first tokens of an option."""


@dataclass(slots=True, eq=False)
class Ranking:
    """A prompt whose options are being ranked.

    Attributes:
        open: questions that vLLM has still to answer.
        odds: what the options begin with -> token that may follow -> its log-probability.
        fault: why the options cannot be ranked, or "".
    """

    prompt: Prompt
    open: int
    odds: dict[Beginning, dict[int, float]] = field(default_factory=dict)
    fault: str = ""

    def close(self, fault: str) -> None:
        """One question is answered, or failed."""
        self.open -= 1
        self.fault = self.fault or fault

    def reply(self) -> Reply:
        """What the answers come to. None must be open."""
        if self.fault:
            return Reply(error=self.fault)
        likelihoods = {}
        for label, tokens in self.prompt.options.items():
            total = math.fsum(
                self.odds[tuple(tokens[:place])][token] for place, token in enumerate(tokens)
            )
            if total != total:
                return Reply(error=NOT_A_NUMBER)
            text = self.prompt.request.options[label]
            likelihoods[label] = Likelihood(total, len(tokens), len(text))
        return Reply(likelihoods=likelihoods, input_tokens=len(self.prompt.tokens))


def questions(options: Iterable[Sequence[int]]) -> list[tuple[Beginning, list[int]]]:
    """What options begin with, each with the tokens that may follow; the shortest first."""
    following: dict[Beginning, dict[int, None]] = {}
    for option in options:
        for place, token in enumerate(option):
            following.setdefault(tuple(option[:place]), {})[token] = None
    return [
        (beginning, list(tokens)[start : start + MOST_CHOICES])
        for beginning, tokens in sorted(following.items(), key=lambda item: len(item[0]))
        for start in range(0, len(tokens), MOST_CHOICES)
    ]
