"""Noun phrases: where one begins and ends, what its head is, whether it is plural.

Without a tagger: whatever is in no closed class of words (`words`) may belong to one.
"""

from __future__ import annotations

from collections.abc import Sequence

from spare.generation.words import (
    ADVERBS,
    BOUNDARIES,
    COLLECTIVES,
    DETERMINERS,
    NO_HEADS,
    NOUNS_IN_ING,
    NUMBERS,
    POSITION_VERBS,
)

LONGEST = 7
"""Words in a phrase; a longer one is probably more than a phrase."""


def phrase_from(words: Sequence[str], start: int) -> tuple[str, int]:
    """The noun phrase that begins at a place, and where it ends; "" if none does."""
    place = start
    if place < len(words) and words[place] in DETERMINERS:
        place += 1
    first = place
    while place < len(words):
        word = words[place]
        if is_boundary(word):
            if word == "of" and place > first:
                if words[place - 1] in COLLECTIVES:
                    place += 1
                    continue
                if words[place + 1 : place + 2] and words[place + 1] in DETERMINERS:
                    place += 2
                    continue
            if word not in NUMBERS or not place == first > start:
                break
        elif place > first and _is_participle(word):
            break
        place += 1
    phrase = words[start:place]
    return (" ".join(phrase), place) if is_phrase(phrase, place - first) else ("", place)


def is_boundary(word: str) -> bool:
    """Whether a word, or a mark, is in no noun phrase."""
    return word in BOUNDARIES or not (word[0].isalpha() or word[0].isdigit())


def _is_participle(word: str) -> bool:
    return word.endswith(("ing", "ed")) and len(word) > 4 and word not in NOUNS_IN_ING


def is_phrase(words: Sequence[str], named: int) -> bool:
    """Whether words are a noun phrase as far as can be told: it has a noun for a head."""
    if not named or len(words) > LONGEST:
        return False
    head = words[-1]
    return (
        head not in NO_HEADS
        and not head.endswith("ly")
        and not _is_participle(head)
        and head[0].isalpha()
    )


def head_of(phrase: str) -> str:
    """The noun of a phrase: its last word, or the one before its "of"."""
    words = phrase.split()
    return words[words.index("of") - 1] if "of" in words[1:] else words[-1]


def is_plural(phrase: str) -> bool:
    """Whether a phrase names several things, as far as its words tell."""
    words = phrase.split()
    if words[0] in ("a", "an", "this", "that", "one", "another", "each", "every"):
        return False
    if words[0] in DETERMINERS - {"the", "his", "her", "its", "their", "my", "our", "your"}:
        return True
    head = head_of(phrase)
    return head in ("people", "men", "women", "children", "feet", "teeth") or (
        head.endswith("s") and not head.endswith(("ss", "us", "is"))
    )


def phrase_behind(words: Sequence[str], start: int, both: bool = False) -> str:
    """The noun phrase that begins at a place; "" if none does. If both, with the one that an "and"
    joins to it."""
    phrase, end = phrase_from(words, start)
    if both and phrase and words[end : end + 1] == ["and"]:
        other, _ = phrase_from(words, end + 1)
        return f"{phrase} and {other}" if other else phrase
    return phrase


def phrase_before(words: Sequence[str], end: int) -> str:
    """The noun phrase that ends before a place, as a question has it ("is the cup left of ...");
    "" if none does."""
    while end and (words[end - 1] in ADVERBS or words[end - 1] in POSITION_VERBS):
        end -= 1
    start = end
    while start and not is_boundary(words[start - 1]):
        start -= 1
    named = end - start
    while start and words[start - 1] in DETERMINERS:
        start -= 1
    phrase = words[start:end]
    return " ".join(phrase) if is_phrase(phrase, named) else ""


def definite(phrase: str) -> str:
    """A phrase as a question takes it up again: "a red cup" is "the red cup" then."""
    first, _, rest = phrase.partition(" ")
    if first in ("a", "an", "some", "another", "several", "many", "various", "multiple"):
        return f"the {rest}"
    return phrase if first in DETERMINERS else f"the {phrase}"
