"""Spatial relations in a text, by the keywords of SpaRE's Table 10.

Two ways of counting: `keyword_counts` counts as the table does, every keyword wherever it stands,
so that "to the left of" is one each for "left", "left of" and "to the left of"; `find_mentions`
reads from left to right and takes the longest keyword at each place, so that every word speaks for
one relation only.

Keywords are words and not meanings: "on" is counted on Mondays, too. What is plainly something else
(a time, a reason, a manner) is left out by `find_mentions`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import compress
from typing import Any, NamedTuple

from spare.relations import relation_groups

TOKEN = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+(?:[.,:]\d+)*|[^\w\s]|_")
"""A word (with its apostrophes and hyphens), a number, or a mark."""

PLAIN = re.compile(r"[a-z ,.?]*(?:(?<=[a-z])['’-](?=[a-z])[a-z ,.?]*)*")
"""A text that falls into tokens at its spaces and marks; most do, and that takes a third of the
time."""

MORE_KEYWORDS: Mapping[str, tuple[str, ...]] = {
    # What the table has shorter forms of, whole.
    "left": (
        *("on the left of", "on the left side", "on the left side of", "to the left"),
        *("to the left side of", "left-hand side of", "left hand side of", "on the left-hand side"),
        *("leftmost", "far left", "upper left", "lower left", "top left", "bottom left"),
    ),
    "right": (
        *("on the right of", "on the right side", "on the right side of", "to the right"),
        *("to the right side of", "right-hand side of", "right hand side of"),
        *("on the right-hand side", "rightmost", "far right", "upper right", "lower right"),
        *("top right", "bottom right"),
    ),
    "above": ("at the top", "at the top of", "top of", "upper", "topmost"),
    "below": ("at the bottom", "at the bottom of", "bottom of", "bottommost"),
    "front": ("in the foreground", "foreground", "at the front of", "ahead of"),
    "back": ("in the background", "background", "in the back of", "at the back"),
    "near_close": ("closer", "closest", "nearer", "nearest"),
    "far": ("farther", "farthest", "further away", "furthest"),
    "between": ("in between", "flanks", "flanked by", "separates"),
    "around": ("surrounds", "surrounded by", "surround"),
    "connected_attached": ("tied to", "hangs from", "hanging from"),
    "opposite": ("across from", "across the"),
    "facing": ("facing towards", "facing away from", "faces toward", "faces towards"),
    "away_from": ("facing away",),
    "next_to_beside_adjacent": (
        *("alongside of", "leans against", "lean against", "leaning against", "leaned against"),
    ),
    "central_position": ("in the middle", "in the center", "in the centre of", "centre of"),
    "within_boundary": ("on the corner of", "along the edge of"),
    "on": ("resting on", "standing on", "hanging on"),
}
"""Relation -> phrases that mean it and that the table spells in parts or not at all. They are read
as mentions, and never counted among the table's keywords."""

NEVER_SPATIAL = frozenset(
    (
        *("in addition", "in general", "in total", "in detail", "in order", "in fact", "in color"),
        *("in colour", "in shape", "in length", "in size", "in nature", "in style", "in motion"),
        *("in case", "in turn", "in use", "in bloom", "in focus", "in black", "in white"),
        *(
            "on display",
            "on sale",
            "under construction",
            "on time",
            "on fire",
            "on average",
            "by hand",
            "by far",
        ),
        *("right now", "right away", "all right", "over time", "over again", "back to back"),
        *("front view", "side by", "far more", "so far", "as far", "by the way"),
    )
)
"""Pairs of words, of which one is a keyword, that are about something else."""

OTHERWISE = frozenset(pair.partition(" ")[0] for pair in NEVER_SPATIAL)
"""Words that such a pair begins with."""

PICTURE = frozenset(("image", "picture", "photo", "photograph", "scene"))

NEVER_BEFORE = frozenset(
    (
        *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
        *("january", "february", "march", "april", "june", "july", "august", "september"),
        *("october", "november", "december", "winter", "summer", "autumn", "spring"),
    )
)
"""Words that make a time of the "in" or "on" before them."""


END = ""
"""No word is empty, so this cannot be the next one of a keyword."""


class Mention(NamedTuple):
    """A relation's keyword in a text.

    Attributes:
        relation: of Table 10; keyword: in small letters.
        start, end: places of its first token and of the one behind its last.
    """

    relation: str
    keyword: str
    start: int
    end: int


def tokens(text: str) -> list[str]:
    """The words, numbers and marks of a text, in small letters."""
    text = text.lower()
    if PLAIN.fullmatch(text):
        return text.replace(",", " , ").replace(".", " . ").replace("?", " ? ").split()
    return TOKEN.findall(text)


def normalised(text: str) -> str:
    """A text without what makes no difference: case, width, spaces, its last mark."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split()).rstrip("?.! ")


def stem(word: str) -> str:
    """A word without the endings that grammar puts on it; both sides lose them alike."""
    for ending in ("'s", "’s"):
        word = word.removesuffix(ending)
    for ending, rest in (
        ("ies", "y"),
        ("sses", "ss"),
        ("ing", ""),
        ("ed", ""),
        ("es", ""),
        ("s", ""),
    ):
        if word.endswith(ending) and len(word) - len(ending) > 2 and not word.endswith("ss"):
            return word.removesuffix(ending) + rest
    return word


def find_mentions(words: Sequence[str]) -> list[Mention]:
    """The relations that a text's tokens speak of, in their order, none of them overlapping."""
    lexicon = _lexicon()
    found = []
    behind, count = 0, len(words)
    for place in compress(range(count), map(lexicon.__contains__, words)):
        if place < behind:
            continue
        node = lexicon[words[place]]
        end = ahead = place
        longest = None
        while node is not None:
            ahead += 1
            if END in node:
                end, longest = ahead, node[END]
            node = node.get(words[ahead]) if ahead < count else None
        if longest and not _is_something_else(words, place, end):
            relation, keyword = longest
            found.append(Mention(relation, keyword, place, end))
        behind = end
    return found


def keyword_counts(texts: Iterable[str]) -> dict[tuple[str, str], int]:
    """(relation, keyword) -> how often it stands in the texts, for every keyword of Table 10."""
    table = _table()
    counts = {
        (relation, keyword): 0
        for relation, group in relation_groups().items()
        for keyword in group.keywords
    }
    for text in texts:
        words = tokens(text)
        for place, word in enumerate(words):
            for keyword, name in table.get(word, ()):
                if len(keyword) == 1 or tuple(words[place : place + len(keyword)]) == keyword:
                    counts[name] += 1
    return counts


def _is_something_else(words: Sequence[str], start: int, end: int) -> bool:
    last, after = words[end - 1], words[end] if end < len(words) else ""
    if after in NEVER_BEFORE or (last in OTHERWISE and f"{last} {after}" in NEVER_SPATIAL):
        return True
    if start and f"{words[start - 1]} {words[start]}" in NEVER_SPATIAL:
        return True
    if last == "in" and words[end + 1 : end + 2] and words[end + 1] in PICTURE:
        return True  # "in this image I can see ..."
    # "in 1987", "over 200", "by 3": a bare number is no thing, unless it counts things.
    counts = len(after) != 4 and end + 1 < len(words) and words[end + 1].isalpha()
    return after[:1].isdigit() and not counts


@lru_cache(maxsize=1)
def _lexicon() -> dict[str, Any]:
    """A tree of keywords, word by word: a node's `END` is the relation and the keyword that ends
    there. Of a keyword that stands under two relations it is the first."""
    root: dict[str, Any] = {}
    for relation, group in relation_groups().items():
        for keyword in [*group.keywords, *MORE_KEYWORDS.get(relation, ())]:
            node, words = root, tokens(keyword)
            for word in words:
                node = node.setdefault(word, {})
            node.setdefault(END, (relation, " ".join(words)))
    return root


@lru_cache(maxsize=1)
def _table() -> dict[str, list[tuple[tuple[str, ...], tuple[str, str]]]]:
    """First word -> the table's keywords that begin with it, and their names."""
    found: dict[str, list[tuple[tuple[str, ...], tuple[str, str]]]] = {}
    for relation, group in relation_groups().items():
        for keyword in group.keywords:
            words = tuple(tokens(keyword))
            found.setdefault(words[0], []).append((words, (relation, keyword)))
    return found
