"""What a pair is about: its relation (of Table 10), class, arguments and frame of reference.

The relation is that of the question, or of the answer where the question has none ("Where is the
cup?"). A pair that the rules cannot read keeps empty tags, and nothing is guessed; whose left is
meant where they cannot tell, a language model may say (`llm_frames`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from spare.generation import llm
from spare.generation.frames import Frame, find_cues, frame_of
from spare.generation.mentions import Mention
from spare.generation.models import Models
from spare.generation.phrases import phrase_before, phrase_behind
from spare.generation.stages import Inputs, Options, Pairs, Work
from spare.relations import VSR_CATEGORY

if TYPE_CHECKING:
    import pyarrow

VERSION = 2
NEEDS = ("generate",)

CLASS_OF_GROUP: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("on", "inside_within", "outside", "overlapping_intersecting"),
            *("connected_attached", "within_boundary", "central_position", "part_of"),
        ),
        "topological",
    ),
    **dict.fromkeys(
        (
            *("left", "right", "above", "below", "front", "back", "between"),
            *("cardinal_directions", "relative_to"),
        ),
        "projective",
    ),
    **dict.fromkeys(("near_close", "far", "next_to_beside_adjacent"), "metric"),
    **dict.fromkeys(("facing", "opposite", "parallel_to", "perpendicular_to"), "orientation"),
    **dict.fromkeys(("toward_towards", "away_from", "through", "around", "movement_along"), "path"),
}
"""Relation of Table 10 -> one of `spare.relations.CLASSES`."""

WEAK = frozenset(("in", "on", "by", "along", "over", "down", "back", "including", "containing"))
"""Keywords that often mean something else: another relation in the same sentence counts first."""

COLUMNS = (
    *("relation", "keyword", "class", "vsr_category", "subject", "relatum"),
    *("frame", "frame_cue", "frame_by"),
)

SURE = 0.75
"""Least probability at which a model's word for a frame of reference is taken."""


def asks(options: Options) -> bool:
    """A language model, where it is to say whose left is meant."""
    return options.llm_frames and not options.template


def settings(options: Options) -> Mapping[str, Any]:
    """What the output depends on."""
    return {"llm": options.llm, "prompt": llm.FRAME} if asks(options) else {}


def open_stage(options: Options, models: Models) -> Work:
    """What does a shard: pair_id, relations (all of Table 10 that it names), `COLUMNS`, and error
    (why the model said nothing of the frame)."""

    def work(inputs: Inputs, on_row: Callable[[int], None]) -> pyarrow.Table:
        import pyarrow

        pairs = inputs.pairs
        cues = find_cues(
            [
                f"{question} {answer}".lower()
                for question, answer in zip(pairs.questions, pairs.answers, strict=True)
            ]
        )
        rows = [tags(pairs, number, cue) for number, cue in enumerate(cues)]
        errors = [""] * len(rows)
        if asks(options):
            _ask(inputs, rows, errors, models)
        on_row(len(pairs.captions))
        text = pyarrow.string()
        fields = [("relations", pyarrow.list_(text)), *((name, text) for name in COLUMNS)]
        read = pyarrow.array(rows, pyarrow.struct(fields))
        return pyarrow.table(
            {
                "pair_id": pyarrow.array(pairs.ids, text),
                **{name: read.field(name) for name, _ in fields},
                "error": pyarrow.array(errors, text),
            }
        )

    return work


def _ask(inputs: Inputs, rows: list[dict[str, Any]], errors: list[str], models: Models) -> None:
    """Have the language model say whose left is meant, where the rules leave that open. Where it is
    not sure either, it stays open."""
    pairs = inputs.pairs
    numbers = [number for number, row in enumerate(rows) if row["frame"] == "ambiguous"]
    requests = [
        llm.frame_request(
            pairs.ids[number],
            pairs.captions[pairs.rows[number]],
            pairs.questions[number],
            pairs.answers[number],
        )
        for number in numbers
    ]
    replies = llm.answered(models.llm, requests, inputs.log("tags"))
    for number in numbers:
        reply = replies[pairs.ids[number]]
        errors[number] = reply.error
        viewer = llm.probability(reply, "viewer", "intrinsic")
        frame = "viewer" if viewer >= SURE else "intrinsic" if 1 - viewer >= SURE else ""
        if frame:
            rows[number] |= {"frame": frame, "frame_by": "llm"}


NOTHING = {**dict.fromkeys(COLUMNS, ""), "relations": [], "frame": "none", "frame_by": "rule"}


def tags(pairs: Pairs, number: int, cue: Frame | None) -> dict[str, Any]:
    """Everything that the rules read in a pair; "" where they read nothing.

    Args:
        cue: the frame of reference that its words name.
    """
    asked, said = pairs.asked[number], pairs.said[number]
    of_question, of_answer = pairs.mentions[number]
    main, words = _main(of_question), asked
    if main is None:
        main, words = _main(of_answer), said
    if main is None and of_question:
        main, words = of_question[0], asked
    if main is None and of_answer:
        main, words = of_answer[0], said
    if main is None:
        return dict(NOTHING)
    relatum = phrase_behind(words, main.end, both=main.relation == "between")
    subject = phrase_before(words, main.start) if words is asked else _asked_for(asked)
    frame = frame_of(cue, main.relation, relatum)
    return {
        "relations": list(dict.fromkeys([one.relation for one in (*of_question, *of_answer)])),
        "relation": main.relation,
        "keyword": main.keyword,
        "class": CLASS_OF_GROUP[main.relation],
        "vsr_category": _vsr_category(main.keyword),
        "subject": subject,
        "relatum": relatum,
        "frame": frame.name,
        "frame_cue": frame.cue,
        "frame_by": "rule",
    }


def _main(mentions: Sequence[Mention]) -> Mention | None:
    """The first mention that is not by a weak keyword."""
    return next((one for one in mentions if one.keyword not in WEAK), None)


def _asked_for(words: Sequence[str]) -> str:
    """What a question asks the place of: "where is the red cup?"."""
    if words[:1] == ["where"] and len(words) > 2:
        return phrase_behind(words, 2)
    return ""


@lru_cache(maxsize=1024)
def _vsr_category(keyword: str) -> str:
    """VSR's category of a keyword, under the spelling that VSR has."""
    for prefix in ("to the ", "on the ", "directly ", "at the ", ""):
        if keyword.startswith(prefix) and keyword.removeprefix(prefix) in VSR_CATEGORY:
            return VSR_CATEGORY[keyword.removeprefix(prefix)]
    return ""
