"""Reading "a cup stands to the left of the plate" out of a sentence: who is where, of what.

A small grammar of closed word classes (articles, prepositions, forms of to be, verbs of position)
without a tagger or a parser: it reads what is said plainly, and passes over the rest. So it is
precise rather than complete, and says nothing where it is not sure what a phrase belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

from spare.generation.mentions import NEVER_SPATIAL, tokens
from spare.generation.phrases import (
    LONGEST,
    head_of,
    is_boundary,
    is_phrase,
    is_plural,
    phrase_from,
)
from spare.generation.words import (
    ADVERBS,
    ARTICLES,
    BE,
    COLLECTIVES,
    DETERMINERS,
    HOLDING,
    IMAGE,
    NUMBERS,
    OWNERS,
    POSITION_VERBS,
    PREPOSITIONS,
    RELATIVES,
    VAGUE,
)

SENTENCE = re.compile(r"[^.!?\n;]+(?:[.](?=\d)[^.!?\n;]+)*")
"""A sentence, or a part of one between semicolons; a full stop inside a number ends none."""


@dataclass(frozen=True, slots=True)
class Way:
    """A relation as it is said between two things.

    Attributes:
        relation: of Table 10.
        said: as a question says it ("to the left of").
        opposite: how the other end of its axis is said, or "".
        weak: it is read behind a form of to be or a verb of position only.
        alone: it is a place in the picture, and no phrase follows.
    """

    relation: str
    said: str
    opposite: str = ""
    weak: bool = False
    alone: bool = False


_LEFT = Way("left", "to the left of", "to the right of")
_RIGHT = Way("right", "to the right of", "to the left of")
_LEFT_SIDE = Way("left", "on the left side of", "on the right side of")
_RIGHT_SIDE = Way("right", "on the right side of", "on the left side of")
_ABOVE = Way("above", "above", "below")
_BELOW = Way("below", "below", "above")
_FRONT = Way("front", "in front of", "behind")
_BACK = Way("back", "behind", "in front of")

WAYS: Mapping[str, Way] = {
    **dict.fromkeys(("to the left of", "left of"), _LEFT),
    **dict.fromkeys(("to the right of", "right of"), _RIGHT),
    # Whether a thing is beside another or a part of its side, only the words' own preposition says.
    **dict.fromkeys(
        (
            *("on the left of", "on the left side of", "to the left side of"),
            *("at the left of", "at the left side of", "on the left-hand side of"),
        ),
        _LEFT_SIDE,
    ),
    **dict.fromkeys(
        (
            *("on the right of", "on the right side of", "to the right side of"),
            *("at the right of", "at the right side of", "on the right-hand side of"),
        ),
        _RIGHT_SIDE,
    ),
    **dict.fromkeys(
        ("on the left", "on the left side", "on the left-hand side", "to the left"),
        Way("left", "on the left", "on the right", alone=True),
    ),
    **dict.fromkeys(
        ("on the right", "on the right side", "on the right-hand side", "to the right"),
        Way("right", "on the right", "on the left", alone=True),
    ),
    "in the background": Way("back", "in the background", "in the foreground", alone=True),
    "in the foreground": Way("front", "in the foreground", "in the background", alone=True),
    "at the top of": Way("above", "at the top of", "at the bottom of"),
    "at the bottom of": Way("below", "at the bottom of", "at the top of"),
    "at the top": Way("above", "at the top", "at the bottom", alone=True),
    "at the bottom": Way("below", "at the bottom", "at the top", alone=True),
    "above": _ABOVE,
    **dict.fromkeys(("below", "beneath", "underneath"), _BELOW),
    "under": Way("below", "under", "on top of"),
    **dict.fromkeys(("in front of", "in the front of"), _FRONT),
    **dict.fromkeys(("behind", "in back of"), _BACK),
    **dict.fromkeys(("on top of", "atop"), Way("on", "on top of", "under")),
    "on": Way("on", "on", "under", weak=True),
    **dict.fromkeys(("inside", "inside of", "within"), Way("inside_within", "inside", "outside")),
    "in": Way("inside_within", "in", weak=True),
    **dict.fromkeys(("outside", "outside of"), Way("outside", "outside", "inside")),
    **dict.fromkeys(
        ("next to", "beside", "adjacent to", "alongside"), Way("next_to_beside_adjacent", "next to")
    ),
    **dict.fromkeys(("near", "close to"), Way("near_close", "near", "far away from")),
    **dict.fromkeys(("far from", "far away from"), Way("far", "far away from", "near")),
    **dict.fromkeys(("across from", "opposite"), Way("opposite", "opposite")),
    "between": Way("between", "between"),
    "around": Way("around", "around", weak=True),
    "along": Way("movement_along", "along", weak=True),
    "parallel to": Way("parallel_to", "parallel to", "perpendicular to"),
    "perpendicular to": Way("perpendicular_to", "perpendicular to", "parallel to"),
    **dict.fromkeys(
        ("in the middle of", "in the center of", "in the centre of", "at the center of"),
        Way("central_position", "in the middle of"),
    ),
    **dict.fromkeys(("at the edge of", "on the edge of"), Way("within_boundary", "at the edge of")),
    "at the corner of": Way("within_boundary", "at the corner of"),
    "facing away from": Way("facing", "facing away from", "facing"),
    "facing": Way("facing", "facing", "facing away from"),
    **dict.fromkeys(("attached to",), Way("connected_attached", "attached to")),
    "connected to": Way("connected_attached", "connected to"),
}
"""What joins two phrases -> how it is asked about. "by", "over" and bare "left" are not read: they
mean too much else."""


IN_IMAGE: Mapping[str, Way] = {
    "to the left of": _LEFT_SIDE,
    "to the right of": _RIGHT_SIDE,
    **{
        said: WAYS[said]
        for said in (
            *("on the left side of", "on the right side of", "at the top of", "at the bottom of"),
            *("in the middle of", "at the edge of", "at the corner of"),
        )
    },
}
"""How a relation is said -> how it is said of a place in the picture."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that a text says about where a thing is.

    Attributes:
        subject, relatum: phrases with their articles, in small letters; relatum is "the image" for
            a place in it that is said to be one, and "" if what it is a place of is not said.
        way: how they lie; plural: the subject is several things.
        sentence: the words that say so, as they stand in the text.
    """

    subject: str
    way: Way
    relatum: str
    plural: bool
    sentence: str


def read_facts(text: str) -> Iterator[Fact]:
    """What a text says plainly about where things are, in its order."""
    for match in SENTENCE.finditer(text):
        sentence = match.group().strip()
        words = tokens(sentence)
        for start, end, way in _ways(words):
            relatum, behind = ("", end) if way.alone else _relatum(words, end, way)
            if not (relatum or way.alone):
                continue
            subject, plural = _subject_before(words, start, way)
            if not subject and _opens_clause(words, start):
                subject, plural = _subject_behind(words, behind)
            if relatum == "the image":
                inside = IN_IMAGE.get(way.said)
                if inside is None:  # nothing in a picture is behind it
                    continue
                way = inside
            if subject.partition(" ")[0] in OWNERS or relatum.partition(" ")[0] in OWNERS:
                continue  # whose it is, a question about the picture cannot tell
            if subject and not (relatum and head_of(subject) == head_of(relatum)):
                yield Fact(subject, way, relatum, plural, sentence)


_OPENINGS: dict[str, list[tuple[list[str], Way]]] = {}
for _said in sorted(WAYS, key=lambda said: -len(said.split())):
    _OPENINGS.setdefault(_said.split()[0], []).append((_said.split(), WAYS[_said]))


def _ways(words: list[str]) -> Iterator[tuple[int, int, Way]]:
    behind = 0
    for place in compress(range(len(words)), map(_OPENINGS.__contains__, words)):
        if place < behind:
            continue
        for said, way in _OPENINGS[words[place]]:
            if words[place : place + len(said)] == said:
                behind = place + len(said)
                yield place, behind, way
                break


def _relatum(words: Sequence[str], start: int, way: Way) -> tuple[str, int]:
    """The phrase behind a relation and where it ends; "" if there is none that can be asked of."""
    phrase, end = phrase_from(words, start)
    if f"{words[start - 1]} {phrase}" in NEVER_SPATIAL:
        return "", end
    if way.relation == "between" and phrase:
        if end < len(words) and words[end] == "and":
            other, last = phrase_from(words, end + 1)
            return (f"{phrase} and {other}", last) if other else ("", end)
        return (phrase, end) if is_plural(phrase) else ("", end)
    if phrase and head_of(phrase) in IMAGE:
        return "the image", end
    return ("", end) if phrase and head_of(phrase) in VAGUE else (phrase, end)


def _subject_before(words: Sequence[str], end: int, way: Way) -> tuple[str, bool]:
    """The phrase that a relation is said of, if it stands before it, and whether it is plural."""
    place = end
    while place and words[place - 1] in ADVERBS:
        place -= 1
    linked = False
    verb = ""
    while place and (words[place - 1] in POSITION_VERBS or words[place - 1] in BE):
        linked = True
        verb = words[place - 1] if words[place - 1] in BE else verb
        place -= 1
        while place and words[place - 1] in ADVERBS:
            place -= 1
    if linked and place and words[place - 1] in RELATIVES:
        place -= 1
    if linked and place and words[place - 1] == ",":
        place -= 1
    if way.weak and not linked:
        return "", False
    last = place
    while place and last - place < LONGEST:
        word = words[place - 1]
        if word in DETERMINERS:
            place -= 1
            break
        if word == "of" and place > 1 and words[place - 2] in COLLECTIVES:
            place -= 1
            continue
        if is_boundary(word):
            break
        place -= 1
    if place and words[place] in NUMBERS and words[place - 1] in ARTICLES:
        place -= 1
    phrase = words[place:last]
    before = words[place - 1] if place else ""
    # Behind a verb or a preposition, what follows may belong to an earlier phrase.
    if not linked and before and before not in (".", ",", ":", "is", "are", "and", "see", "has"):
        return "", False
    if linked and (before in PREPOSITIONS or before in HOLDING):
        return "", False
    count = sum(word not in DETERMINERS for word in phrase)
    if not is_phrase(phrase, count) or head_of(" ".join(phrase)) in VAGUE:
        return "", False
    subject = " ".join(phrase)
    return subject, verb in ("are", "were") or (not verb and is_plural(subject))


def _opens_clause(words: Sequence[str], start: int) -> bool:
    """Nothing but an adverb stands between a relation and the beginning of its clause."""
    while start and words[start - 1] in ADVERBS:
        start -= 1
    return not start or words[start - 1] in (",", ":", "and", "while")


def _subject_behind(words: Sequence[str], start: int) -> tuple[str, bool]:
    """The phrase of "behind the house (,) (there) is a tree", or of "we can see a tree"."""
    place = start
    if place < len(words) and words[place] == ",":
        place += 1
    if words[place + 1 : place + 3] == ["can", "see"]:
        subject, _ = phrase_from(words, place + 3)
        return (
            (subject, is_plural(subject))
            if subject and head_of(subject) not in VAGUE
            else ("", False)
        )
    if place < len(words) and words[place] == "there":
        place += 1
    verb = words[place] if place < len(words) else ""
    if verb not in BE and verb not in ("sits", "stands", "lies", "hangs", "rests", "sit", "stand"):
        return "", False
    subject, _ = phrase_from(words, place + 1)
    if not subject or head_of(subject) in VAGUE:
        return "", False
    return subject, verb in ("are", "were", "sit", "stand")
