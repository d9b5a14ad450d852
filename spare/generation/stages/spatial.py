"""Whether a pair is about space: the pre-filter's question again, put to the pair itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from spare.generation import llm
from spare.generation.models import Models
from spare.generation.stages import Inputs, Options, Work

if TYPE_CHECKING:
    import pyarrow

VERSION = 2
NEEDS = ("generate", "duplicates", "reference", "support", "clipscore")


def asks(options: Options) -> bool:
    """A language model."""
    return not options.template


def settings(options: Options) -> Mapping[str, Any]:
    """What the output depends on."""
    if options.template:
        return {"llm": options.llm}
    cuts = {"similar": options.similar, "guard": options.guard, "support": options.support}
    cuts["in_sentence"] = options.in_sentence
    scale = {"clipscore": options.clipscore, "clip_scale": options.clip_scale}
    return {"llm": options.llm, "prompt": llm.CLASSIFY, **cuts, **scale}


def open_stage(options: Options, models: Models) -> Work:
    """What does a shard: pair_id, probability (null where a filter before has dropped the pair),
    error. Without a model a pair is about space if it has one of Table 10's keywords."""
    if options.template:
        return _by_keywords

    from spare.generation.cut import earlier_reasons

    def work(inputs: Inputs, on_row: Callable[[int], None]) -> pyarrow.Table:
        pairs = inputs.pairs
        reasons = earlier_reasons(inputs, options, "spatial")
        asked = [number for number, reason in enumerate(reasons) if not reason]
        requests = [
            llm.classify_request(
                pairs.ids[number], f"{pairs.questions[number]} {pairs.answers[number]}"
            )
            for number in asked
        ]

        def on_reply(done: int) -> None:
            if done:
                on_row(pairs.rows[asked[done - 1]] + 1)

        replies = llm.answered(models.llm, requests, inputs.log("spatial"), on_reply)
        found: list[float | None] = [None] * len(pairs.ids)
        errors = [""] * len(pairs.ids)
        for number in asked:
            reply = replies[pairs.ids[number]]
            value = llm.probability(reply)
            found[number] = None if math.isnan(value) else value
            errors[number] = reply.error
        return _table(pairs.ids, found, errors)

    return work


def _by_keywords(inputs: Inputs, on_row: Callable[[int], None]) -> pyarrow.Table:
    pairs = inputs.pairs
    found: list[float | None] = [float(bool(asked or said)) for asked, said in pairs.mentions]
    on_row(len(pairs.captions))
    return _table(pairs.ids, found, [""] * len(found))


def _table(ids: list[str], found: list[float | None], errors: list[str]) -> pyarrow.Table:
    import pyarrow

    return pyarrow.table(
        {
            "pair_id": pyarrow.array(ids, pyarrow.string()),
            "probability": pyarrow.array(found, pyarrow.float32()),
            "error": pyarrow.array(errors, pyarrow.string()),
        }
    )
