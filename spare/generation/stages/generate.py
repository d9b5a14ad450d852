"""Question-answer pairs out of captions: by a language model, or by templates without one.

Asked are captions that the pre-filter lets pass. One row per caption; a model's reply that is no
whole JSON list keeps what is whole in it, and its own words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spare.errors import DataError
from spare.generation import llm, shards, templates
from spare.generation.models import Models
from spare.generation.stages import Inputs, Options, Work

if TYPE_CHECKING:
    import pyarrow

VERSION = 2
NEEDS = ("prefilter",)


def asks(options: Options) -> bool:
    """A language model."""
    return not options.template


def settings(options: Options) -> Mapping[str, Any]:
    """What the output depends on."""
    asked = {"llm": options.llm, "prefilter": options.prefilter}
    if options.template:
        return asked
    return asked | {"prompt": llm.ASK, "schema": llm.SCHEMA, "most": options.max_new_tokens}


def enough(inputs: Inputs, options: Options) -> Options:
    """The options, with the pre-filter's threshold of the shard that is there if that is lower."""
    made_of = (shards.facts(inputs.shard("generate")) or {}).get("settings", {})
    lowest = min(options.prefilter, made_of.get("prefilter", options.prefilter))
    return replace(options, prefilter=lowest)


def open_stage(options: Options, models: Models) -> Work:
    """What does a shard: caption_id, asked, pairs (question, answer, sentence), finish ("stop",
    "length"; "" if not asked), rejected (objects that were no pairs), text (of replies that are not
    whole JSON), output_tokens, error."""
    if options.template:
        return _by_templates(options)
    models.require_schema()
    return _by_model(options, models)


def _by_templates(options: Options) -> Work:
    def work(inputs: Inputs, on_row: Callable[[int], None]) -> pyarrow.Table:
        texts = inputs.captions.column("caption").to_pylist()
        rows = []
        for number, (text, passes) in enumerate(zip(texts, _passes(inputs, options), strict=True)):
            pairs = [
                {"question": question, "answer": answer, "sentence": sentence}
                for question, answer, sentence in (templates.ask(text) if passes else ())
            ]
            rows.append({"asked": passes, "pairs": pairs, "finish": "stop" if passes else ""})
            on_row(number + 1)
        return _table(inputs, rows)

    return work


def _by_model(options: Options, models: Models) -> Work:
    def work(inputs: Inputs, on_row: Callable[[int], None]) -> pyarrow.Table:
        ids = inputs.captions.column("caption_id").to_pylist()
        texts = inputs.captions.column("caption").to_pylist()
        passes = _passes(inputs, options)
        known = _known(inputs, options)
        requests = [
            llm.pairs_request(name, text, options.max_new_tokens)
            for name, text, asked in zip(ids, texts, passes, strict=True)
            if asked and name not in known
        ]
        others = len(ids) - len(requests)
        replies = llm.answered(
            models.llm, requests, inputs.log("generate"), lambda done: on_row(others + done)
        )
        rows: list[dict[str, Any]] = []
        for name, asked in zip(ids, passes, strict=True):
            if name in known:  # be it stopped today: it has been paid for
                rows.append(known[name])
                continue
            if not asked:
                rows.append({"asked": False, "pairs": [], "finish": ""})
                continue
            reply = replies[name]
            found, rejected = llm.read_pairs(reply.text)
            rows.append(
                {
                    "asked": True,
                    "pairs": [
                        {"question": question, "answer": answer, "sentence": ""}
                        for question, answer in found
                    ],
                    "finish": reply.finish,
                    "rejected": rejected,
                    "text": reply.text if rejected or reply.finish != "stop" else "",
                    "output_tokens": reply.output_tokens,
                    "error": reply.error,
                }
            )
        return _table(inputs, rows)

    return work


def _known(inputs: Inputs, options: Options) -> dict[str, dict[str, Any]]:
    """Caption -> its row of the shard that is there, if that differs in nothing but which captions
    were let pass: no caption is asked about twice because a threshold has moved."""
    made_of = dict((shards.facts(inputs.shard("generate")) or {}).get("settings", {}))
    if {**made_of, "prefilter": options.prefilter} != dict(settings(options)):
        return {}
    try:
        rows = inputs.table("generate").to_pylist()
    except DataError:  # it is damaged, and made anew from nothing
        return {}
    return {row["caption_id"]: row for row in rows if row["asked"] and not row["error"]}


def _passes(inputs: Inputs, options: Options) -> list[bool]:
    """Which captions are asked about: those that passed the gate, and whose probability is high
    enough."""
    gates = inputs.column("prefilter", "gate")
    found = inputs.column("prefilter", "probability")
    return [
        gate and probability is not None and probability >= options.prefilter
        for gate, probability in zip(gates, found, strict=True)
    ]


def _table(inputs: Inputs, rows: Sequence[Mapping[str, Any]]) -> pyarrow.Table:
    import pyarrow

    text, number = pyarrow.string(), pyarrow.int32()
    pair = pyarrow.struct([("question", text), ("answer", text), ("sentence", text)])
    ids = inputs.captions.column("caption_id")
    return pyarrow.table(
        {
            "caption_id": ids,
            "asked": pyarrow.array([row["asked"] for row in rows], pyarrow.bool_()),
            "pairs": pyarrow.array([row["pairs"] for row in rows], pyarrow.list_(pair)),
            "finish": pyarrow.array([row["finish"] for row in rows], text),
            "rejected": pyarrow.array([row.get("rejected", 0) for row in rows], number),
            "text": pyarrow.array([row.get("text", "") for row in rows], text),
            "output_tokens": pyarrow.array([row.get("output_tokens", 0) for row in rows], number),
            "error": pyarrow.array([row.get("error", "") for row in rows], text),
        }
    )
