"""Pairs that talk about the description instead of the picture, or say nothing.

"What does the caption mention?" cannot be answered by looking. "On the left side of the image" can:
words for the picture are fine, and so are signs that say something and shirts with text on them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from spare.generation.mentions import normalised
from spare.generation.models import Models
from spare.generation.stages import Inputs, Options, Work

if TYPE_CHECKING:
    import pyarrow

VERSION = 2
NEEDS = ("generate",)

REFERENCES = re.compile(
    r"\b(?:mention(?:s|ed|ing)?|(?<!the )described|the described (?:text|image|scene|picture)"
    r"|descri(?:bes?|bing|ption|ptions)|caption(?:s|ed)?|narrat\w+|text (?:says|states|mentions)"
    r"|the sentence (?:says?|states?)|does the sentence|according to|stated|states|passage"
    r"|paragraph|the (?:author|speaker|writer)|is it said|as noted|specified|implied|inferred"
    r"|(?:provided|given) (?:text|information|description)"
    r"|the text\b(?! on| of| in| that| is written)|listed)\b",
    re.IGNORECASE,
)
"""Words of the text about the text (the paper names only "mention" and "description")."""

REFUSALS = re.compile(
    r"\b(?:not (?:mentioned|specified|described|stated|given|clear|provided|possible to)"
    r"|cannot be (?:determined|seen|known|inferred)|can't be (?:determined|seen)|unknown|unclear"
    r"|unspecified|no information|does not (?:say|mention|specify)|doesn't (?:say|mention|specify)"
    r"|n/a|none mentioned)\b",
    re.IGNORECASE,
)
"""Answers that are none."""

ECHOES = re.compile(r"question-answer|json|\"question\"|\"answer\"|\bdescription:", re.IGNORECASE)
"""Words of the prompt itself."""


SUSPICIOUS = (
    *("mention", "descri", "caption", "narrat", "text", "sentence", "according", "state"),
    *("passage", "paragraph", "author", "speaker", "writer", "it said", "as noted", "specif"),
    *("implied", "inferred", "information", "listed", "not ", "cannot", "n't ", "unknown"),
    *("unclear", "n/a", "none", "json", "question-answer", '"question"', '"answer"'),
)
"""One of these is in every text that a pattern finds; in most texts none is, and that is seen in a
tenth of the time."""


def settings(options: Options) -> Mapping[str, Any]:
    """What the output depends on."""
    return {}


def open_stage(options: Options, models: Models) -> Work:
    """What does a shard: pair_id, reference (the words that speak of the text, or why the pair is
    none; "" if nothing is wrong)."""

    def work(inputs: Inputs, on_row: Callable[[int], None]) -> pyarrow.Table:
        import pyarrow.compute

        pairs = inputs.pairs
        both = list(zip(pairs.questions, pairs.answers, strict=True))
        texts = pyarrow.array(map("\n".join, both), pyarrow.string())
        suspects = pyarrow.compute.match_substring_regex(
            texts, "|".join(SUSPICIOUS), ignore_case=True
        ).to_pylist()
        found = [
            (suspect and told(*pair)) or malformed(pair[0], *plain)
            for pair, plain, suspect in zip(both, pairs.plain, suspects, strict=True)
        ]
        on_row(len(pairs.captions))
        return pyarrow.table(
            {
                "pair_id": pyarrow.array(pairs.ids, pyarrow.string()),
                "reference": pyarrow.array(found, pyarrow.string()),
            }
        )

    return work


def fault(question: str, answer: str) -> str:
    """What is wrong with a pair without looking at the picture; "" if nothing is."""
    return told(question, answer) or malformed(question, *map(normalised, (question, answer)))


def told(question: str, answer: str) -> str:
    """Words of a pair that speak of the text, or say nothing; "" if it has none."""
    for pattern, text in (
        (REFERENCES, question),
        (REFERENCES, answer),
        (REFUSALS, answer),
        (ECHOES, question),
    ):
        match = pattern.search(text)
        if match:
            return match.group().lower()
    return ""


def malformed(question: str, plain_question: str, plain_answer: str) -> str:
    """Why a pair is none; "" if it is one. Plain is what `normalised` leaves of them."""
    if not question.endswith("?"):
        return "no question"
    return "answer is the question" if plain_question == plain_answer else ""
