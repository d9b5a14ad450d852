"""Whose left it is: the frame of reference of a spatial statement, by a cascade of cues.

The names are Levinson's, as far as words tell them: relative to the viewer, intrinsic to a thing
that has a front of its own, absolute (gravity, compass), or a place in the picture. Relations that
hold from every side have none. Where a thing has a front and nothing says whose left is meant, the
frame is "ambiguous", and nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from spare.generation.words import IMAGE, word_set

FRAMES = (
    *("viewer", "intrinsic", "absolute_gravity", "absolute_cardinal", "image_region"),
    *("other_agent", "none", "ambiguous"),
)


class Frame(NamedTuple):
    """A frame of reference, and the words that tell it ("" if it is told by the relation)."""

    name: str
    cue: str = ""


VIEWER = re.compile(
    r"\b(?:from|in) (?:the|our|your|this) (?:viewer|camera|observer|photographer)(?:'s|’s)?"
    r"(?: (?:perspective|point of view|viewpoint|view|angle))?"
    r"|\b(?:viewer|camera)(?:'s|’s) (?:left|right)"
    r"|\bfrom (?:our|this) (?:perspective|point of view|viewpoint)"
)
OTHER = re.compile(
    r"\bfrom (?:the |his |her |their |its )?[\w-]+(?: [\w-]+)?(?:'s|’s)? "
    r"(?:perspective|point of view|viewpoint)"
)
REGION = re.compile(
    r"\b(?:left|right|upper|lower|top|bottom|front|cent(?:er|re)|middle|corner|edge|side)"
    r"(?:[ -](?:left|right|hand|side|corner|part|half|edge|third|portion|area))*"
    r" of (?:the|this) (?:image|photo(?:graph)?|picture|frame|scene|shot|view)\b"
    r"|\b(?:in|on) the (?:far |immediate )?(?:background|foreground)\b|\b(?:back|fore)ground\b"
)
POSSESSIVE = re.compile(
    r"\b(?:his|her|its|their|your|my|[\w-]+(?:'s|’s)) (?:own )?"
    r"(?:(?:left|right|front|back|rear)(?:[ -](?:hand|arm|leg|foot|side|eye|ear|wing|shoulder|paw"
    r"|wheel|half|end))?|left|right)\b|\bthe driver(?:'s|’s) side\b"
)
FIXED = re.compile(
    r"(?<!\bin )\b(?:front|back|rear|head|foot|side)s? of (?:the|a|an|his|her|its|their) "
    r"(?:[\w-]+ )?"
    r"(?:house|building|car|truck|bus|van|train|chair|sofa|couch|bed|table|store|shop|church|boat"
    r"|ship|plane|airplane|laptop|computer|television|tv|stove|oven|bench|book|shirt|jacket|bike"
    r"|bicycle|motorcycle|room|class|line|queue)\b|\bbehind the wheel\b"
)
CARDINAL = re.compile(
    r"\b(?:north|south|east|west|northeast|northwest|southeast|southwest)(?:ern|ward)?"
    r"(?: of| side)\b"
)

CUES = (
    ("viewer", VIEWER),
    ("other_agent", OTHER),
    ("image_region", REGION),
    ("intrinsic", POSSESSIVE),
    ("intrinsic", FIXED),
    ("absolute_cardinal", CARDINAL),
)
"""Frame, and the pattern of its cues; the first that is found counts."""

SIGNS = "|".join(
    (
        "view|perspective|camera|observer|photographer|ground|driver['’]s side|behind the wheel",
        r"of (?:the|this) (?:image|photo|picture|frame|scene|shot)",
        r"(?:\b(?:his|her|its|their|your|my)|['’]s) (?:own )?(?:left|right|front|back|rear)",
        r"\b(?:front|back|rear|head|foot|side)s? of |\b(?:north|south|east|west)",
    )
)
"""One of these is in every text that has a cue. Most texts have none, and Arrow sees that for all
of them in a tenth of the time that the cues' own patterns take."""

GRAVITY = frozenset(("above", "below"))
TURNING = frozenset(("left", "right", "front", "back", "next_to_beside_adjacent", "opposite"))
"""Relations of Table 10 that turn with the frame; "next to" does only in its word for a side."""
OWN_AXIS = frozenset(("facing", "toward_towards", "away_from"))
"""Relations that speak of the subject's own front or way."""

FRONTED = word_set(
    "person man woman boy girl child children people men women lady guy kid baby player rider "
    "driver skier surfer dog cat horse cow bird elephant sheep bear zebra giraffe duck animal "
    "animals puppy kitten car truck bus van train motorcycle bicycle bike airplane plane boat "
    "ship vehicle scooter tractor chair sofa couch armchair bench bed desk laptop computer "
    "monitor television tv screen phone camera clock stove oven refrigerator fridge toilet "
    "piano house building church store statue doll figure figurine toy robot him her them he "
    "she they"
)
"""Things with a front of their own."""


def find_cues(texts: Sequence[str]) -> list[Frame | None]:
    """The frame of reference that each text names, if it has a cue; texts are in small letters."""
    import pyarrow.compute

    suspects = pyarrow.compute.match_substring_regex(
        pyarrow.array(texts, pyarrow.string()), SIGNS
    ).to_pylist()
    return [_cue(text) if suspect else None for text, suspect in zip(texts, suspects, strict=True)]


def _cue(text: str) -> Frame | None:
    for name, pattern in CUES:
        match = pattern.search(text)
        if match:
            return Frame(name, match.group())
    return None


def frame_of(cue: Frame | None, relation: str, relatum: str) -> Frame:
    """The frame of reference of a question and its answer.

    Args:
        cue: what `find_cues` found in them.
        relation: of Table 10, or "".
        relatum: the phrase that the relation is to, or "" if it could not be read.
    """
    if cue:
        return cue
    if relation in GRAVITY:
        return Frame("absolute_gravity")
    if relation in OWN_AXIS:
        return Frame("intrinsic")
    if relation not in TURNING or relation == "next_to_beside_adjacent":
        return Frame("none")
    words = relatum.split()
    if words and words[-1] in IMAGE:
        return Frame("image_region", relatum)
    if not words or _has_front(words):
        return Frame("ambiguous", relatum)
    return Frame("viewer", relatum)


def _has_front(words: Sequence[str]) -> bool:
    if not FRONTED.isdisjoint(words):
        return True
    return any(word.endswith("s") and word[:-1] in FRONTED for word in words)
