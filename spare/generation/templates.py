"""The generator without a model: questions by template about what a caption says plainly.

It is the baseline of every ablation and what runs offline. What it asks is as right as the caption
and the reading of it (`grammar`); what it cannot read, it does not ask about, so its recall is that
of a small grammar: see docs/generation.md.

Of every fact it asks who is there and where the thing is; where the relation has an opposite, also
whether it is so and whether the opposite is. So yes and no are right equally often, and the
direction has to be seen.
"""

from __future__ import annotations

from collections.abc import Iterator

from spare.generation.grammar import Fact, read_facts
from spare.generation.phrases import definite


def ask(caption: str) -> Iterator[tuple[str, str, str]]:
    """(question, answer, sentence of the caption) for everything that is said plainly, each
    question once."""
    asked = set()
    for fact in read_facts(caption):
        for question, answer in questions(fact):
            if question not in asked:
                asked.add(question)
                yield question, answer, fact.sentence


def questions(fact: Fact) -> Iterator[tuple[str, str]]:
    """Questions about a fact, and their answers."""
    thing, be = definite(fact.subject), "are" if fact.plural else "is"
    there = fact.way.said + (f" {definite(fact.relatum)}" if fact.relatum else "")
    said = f"{thing} {be} {there}"
    yield f"What is {there}?", f"{_capital(fact.subject)}."
    yield f"Where {be} {thing}?", f"{_capital(there)}."
    if fact.way.opposite:
        other = fact.way.opposite + (f" {definite(fact.relatum)}" if fact.relatum else "")
        yield f"{_capital(be)} {thing} {there}?", f"Yes, {said}."
        yield f"{_capital(be)} {thing} {other}?", f"No, {said}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
