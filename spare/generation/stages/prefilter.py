"""Which captions speak of space: a language model's yes or no, behind a gate of keywords.

The paper's classifier is the language model alone. Captions without a single word of Table 10 need
not be asked about; how many that the gate stops the model would have let pass, its recall, is
measured on captions that pass by chance (`SPOT_CHECKS`), and stands in the card.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from spare.generation import llm
from spare.generation.mentions import find_mentions, tokens
from spare.generation.models import Models
from spare.generation.stages import Inputs, Options, Work

if TYPE_CHECKING:
    import pyarrow

VERSION = 2
NEEDS: tuple[str, ...] = ()

SPOT_CHECKS = 50
"""One in so many captions that the gate stops is asked about all the same."""


def asks(options: Options) -> bool:
    """A language model."""
    return not options.template


def settings(options: Options) -> Mapping[str, Any]:
    """What the output depends on."""
    return {"llm": options.llm, "prompt": llm.CLASSIFY}


def open_stage(options: Options, models: Models) -> Work:
    """What does a shard: caption_id, mentions (keywords in it), gate (it has some), probability
    (that it is about space; null if it was not asked), error."""
    if options.template:
        return _by_keywords
    models.require_schema()  # before a million captions are asked about for nothing
    return _by_model(models)


def _by_keywords(inputs: Inputs, on_row: Callable[[int], None]) -> pyarrow.Table:
    mentions = _mentions(inputs)
    on_row(len(mentions))
    return _table(inputs, mentions, [float(count > 0) for count in mentions], [""] * len(mentions))


def _by_model(models: Models) -> Work:
    def work(inputs: Inputs, on_row: Callable[[int], None]) -> pyarrow.Table:
        ids = inputs.captions.column("caption_id").to_pylist()
        texts = inputs.captions.column("caption").to_pylist()
        mentions = _mentions(inputs)
        asked = [
            number
            for number, count in enumerate(mentions)
            if count or int(ids[number], 16) % SPOT_CHECKS == 0
        ]
        requests = [llm.classify_request(ids[number], texts[number]) for number in asked]
        stopped = len(ids) - len(asked)
        replies = llm.answered(
            models.llm, requests, inputs.log("prefilter"), lambda done: on_row(stopped + done)
        )
        found: list[float | None] = [None] * len(ids)
        errors = [""] * len(ids)
        for number in asked:
            reply = replies[ids[number]]
            value = llm.probability(reply)
            found[number] = None if math.isnan(value) else value
            errors[number] = reply.error
        return _table(inputs, mentions, found, errors)

    return work


def _mentions(inputs: Inputs) -> list[int]:
    texts = inputs.captions.column("caption").to_pylist()
    return [len(find_mentions(tokens(text))) for text in texts]


def _table(
    inputs: Inputs, mentions: list[int], found: list[float | None] | list[float], errors: list[str]
) -> pyarrow.Table:
    import pyarrow

    return pyarrow.table(
        {
            "caption_id": inputs.captions.column("caption_id"),
            "mentions": pyarrow.array(mentions, pyarrow.int32()),
            "gate": pyarrow.array([count > 0 for count in mentions], pyarrow.bool_()),
            "probability": pyarrow.array(found, pyarrow.float32()),
            "error": pyarrow.array(errors, pyarrow.string()),
        }
    )
