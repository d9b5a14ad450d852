"""Texts of options and replies as phrases that can be compared and found in each other."""

from __future__ import annotations

import re

WORD = re.compile(r"(?:(?<!\w)-)?\d+(?:[.,]\d+)*\w*|\w+(?:'\w+)*")
ARTICLES = frozenset({"a", "an", "the"})
TOWARDS = frozenset({"on", "to", "at", "in"})
SIDES = frozenset({"left", "right", "front"})


def evened(text: str) -> str:
    """A text with case and white space evened out."""
    return " ".join(text.casefold().split())


def phrase(text: str) -> str:
    """Words of a text without articles, each between spaces of its own (" mug  under  table ").

    "on the left" becomes "left": the preposition belongs to the side, and would otherwise be taken
    for the relation "on".
    """
    found = spelled_out(text)
    found = [word for word in found if word not in ARTICLES] or found
    if not SIDES.isdisjoint(found):
        following = [*found[1:], ""]
        found = [
            word
            for word, after in zip(found, following, strict=False)
            if not (word in TOWARDS and after in SIDES)
        ]
    return f" {'  '.join(found)} " if found else ""


def spelled_out(text: str) -> list[str]:
    """Words of a text in small letters, "not" as a word of its own."""
    return words(text.casefold().replace("’", "'").replace("n't", " not"))


def words(text: str) -> list[str]:
    """All matches of `WORD`. They are what lies between other characters, unless a number has a
    sign or a point; telling so is most of what makes the reading of long replies fast."""
    if not text.isascii() or _SIGN_OR_POINT.search(text):
        return WORD.findall(text)
    found = text.encode().translate(_BUT_APOSTROPHES).decode().split()
    if "'" not in text:
        return found
    return [part for word in found for part in WORD.findall(word)]


def runs(text: str) -> list[str]:
    """What lies between the word boundaries of regular expressions, in an ASCII text."""
    return text.encode().translate(_BETWEEN_RUNS).decode().split()


_SIGN_OR_POINT = re.compile(r"[-.,]\d")


def _spaces_but_for(kept: str) -> bytes:
    """A table to translate bytes with: letters, digits and `kept` stay, others become spaces."""
    return bytes(
        code if chr(code).isalnum() or chr(code) in kept else 32 for code in range(128)
    ) + (b" " * 128)


_BETWEEN_RUNS, _BUT_APOSTROPHES = _spaces_but_for("_"), _spaces_but_for("_'")
