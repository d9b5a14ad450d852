"""Questions of one caption that say the same: the same words, or nearly the same meaning.

Two pictures may well be asked the same question, so nothing is compared across captions.

The paper compares meanings by CLIP's text encoder, cutoff 0.95. That encoder hardly tells "left of
the tree" from "right of the tree", nor who is left of whom; so questions whose direction words,
numbers, colours, kind or order of things differ are never taken for the same (`guard`), and how
often that was needed is counted. One question with two answers is a contradiction, and neither is
kept.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spare.generation.grammar import word_set
from spare.generation.mentions import tokens
from spare.generation.models import Models
from spare.generation.stages import Inputs, Options, Work

if TYPE_CHECKING:
    import pyarrow

VERSION = 1
NEEDS = ("generate",)

NEAR = 0.8
"""Least cosine that is kept: thresholds from here on can be tried without the encoder."""

POLES = {
    word: pole
    for pole, words in {
        "left": "left leftmost",
        "right": "right rightmost",
        "up": "above over top upper upward higher highest up",
        "down": "below under beneath underneath bottom lower lowest down",
        "front": "front foreground ahead before",
        "back": "behind back background rear",
        "in": "in inside within into",
        "out": "out outside",
        "near": "near close closer closest next beside nearby adjacent",
        "far": "far farther farthest away distant",
        "on": "on atop onto",
        "between": "between among",
        "around": "around surrounding surrounded surrounds",
        "facing": "facing faces face faced",
        "toward": "toward towards",
        "middle": "middle center centre",
        "edge": "edge corner",
        "north": "north northern",
        "south": "south southern",
        "east": "east eastern",
        "west": "west western",
    }.items()
    for word in words.split()
}
"""Word -> the end of an axis that it names."""

NUMBERS = word_set(
    "one two three four five six seven eight nine ten first second third fourth fifth last"
)
COLOURS = word_set(
    "red orange yellow green blue purple pink brown black white grey gray silver golden beige"
)
FUNCTION_WORDS = word_set(
    "a an the of to is are was were does do did in on at it its their there this that and "
    "or be which what where who how whose when why can you see located positioned placed "
    "situated"
)


def asks(options: Options) -> bool:
    """A dual encoder."""
    return bool(options.clip)


def settings(options: Options) -> Mapping[str, Any]:
    """What the output depends on."""
    return {"clip": options.clip}


def open_stage(options: Options, models: Models) -> Work:
    """What does a shard: pair_id, repeat (it has the words of an earlier one), contradiction (and
    another answer; said of both), near (numbers of earlier questions of the caption, how similar,
    and whether the guard parts them)."""

    def work(inputs: Inputs, on_row: Callable[[int], None]) -> pyarrow.Table:
        pairs = inputs.pairs
        plain = [normalised(question) for question in pairs.questions]
        answers = [normalised(answer) for answer in pairs.answers]
        repeat, contradiction = [False] * len(plain), [False] * len(plain)
        near: list[list[dict[str, Any]]] = [[] for _ in plain]
        for numbers in pairs.by_caption():
            first: dict[str, int] = {}
            for number in numbers:
                earlier = first.setdefault(plain[number], number)
                if earlier == number:
                    continue
                repeat[number] = True
                if answers[number] != answers[earlier]:
                    contradiction[number] = contradiction[earlier] = True
            if options.clip:
                _compare(list(first.values()), numbers.start, pairs.questions, near, models)
            on_row(pairs.rows[numbers.start] + 1)
        return _table(pairs.ids, repeat, contradiction, near)

    return work


def _compare(
    numbers: Sequence[int],
    start: int,
    questions: Sequence[str],
    near: list[list[dict[str, Any]]],
    models: Models,
) -> None:
    """Note how near each question is to earlier ones of its caption."""
    import torch

    found = models.clip.embed([questions[number] for number in numbers])
    known = [
        (number, one)
        for number, one in zip(numbers, found, strict=True)
        if not isinstance(one, str)
    ]
    if len(known) < 2:
        return
    cosines = torch.stack([one for _, one in known])
    cosines = cosines @ cosines.T
    for place in range(1, len(known)):
        row = cosines[place, :place]
        for earlier in (row >= NEAR).nonzero().flatten().tolist():
            one, other = known[earlier][0], known[place][0]
            near[other].append(
                {
                    "to": one - start,
                    "cosine": row[earlier].item(),
                    "guarded": differ(questions[one], questions[other]),
                }
            )


def normalised(text: str) -> str:
    """A text without what makes no difference: case, width, spaces, its last mark."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip("?.! ")


def differ(one: str, other: str) -> bool:
    """Whether two questions cannot mean the same, however alike they sound: their direction words,
    numbers, colours or kind differ, or what they speak of stands in another order."""
    first, second = tokens(one), tokens(other)
    if any(_of(first, kind) != _of(second, kind) for kind in (_pole, _number, _colour)):
        return True
    if _kind(first) != _kind(second):
        return True
    things, others = _things(first), _things(second)
    shared = set(things) & set(others)
    # "a left of b" and "b left of a": the same things, but another order.
    return [word for word in things if word in shared] != [
        word for word in others if word in shared
    ]


def _of(words: Sequence[str], name: Callable[[str], str]) -> list[str]:
    return sorted(filter(None, map(name, words)))


def _pole(word: str) -> str:
    return POLES.get(word, "")


def _number(word: str) -> str:
    return word if word in NUMBERS or word[0].isdigit() else ""


def _colour(word: str) -> str:
    return word if word in COLOURS else ""


KINDS = re.compile(r"what|where|who|which|how|whose|when|why")


def _kind(words: Sequence[str]) -> str:
    """What a question asks for: the first question word; "" for yes or no."""
    for word in words[:4]:
        if KINDS.fullmatch(word):
            return "what" if word == "which" else word
    return ""


def _things(words: Sequence[str]) -> list[str]:
    return [
        word
        for word in words
        if word[0].isalpha() and word not in FUNCTION_WORDS and not _pole(word)
    ]


def _table(
    ids: list[str],
    repeat: list[bool],
    contradiction: list[bool],
    near: list[list[dict[str, Any]]],
) -> pyarrow.Table:
    import pyarrow

    one = pyarrow.struct(
        [("to", pyarrow.int32()), ("cosine", pyarrow.float32()), ("guarded", pyarrow.bool_())]
    )
    return pyarrow.table(
        {
            "pair_id": pyarrow.array(ids, pyarrow.string()),
            "repeat": pyarrow.array(repeat, pyarrow.bool_()),
            "contradiction": pyarrow.array(contradiction, pyarrow.bool_()),
            "near": pyarrow.array(near, pyarrow.list_(one)),
        }
    )
