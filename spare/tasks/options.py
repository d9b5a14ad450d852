"""Options prepared for reading replies: their labels as patterns, their texts as phrases."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping

from spare.tasks.phrases import ARTICLES, TOWARDS, evened, phrase, spelled_out


class Prepared:
    """Options prepared for reading, no further than a reply needs: most name a bare label.

    Attributes:
        texts: label -> text, as the sample has them.
        labels: folded label -> label.
        pattern: a label as a word of its own (group 1), and the word behind it on the line
            (group 2).
        plain: "The answer is B." (group 1), or "B. text" with any text (groups 2 and 3).
    """

    def __init__(self, items: tuple[tuple[str, str], ...]) -> None:
        names = tuple(label for label, _ in items)
        self.texts: Mapping[str, str] = dict(items)
        self.labels = folded(names)
        self.pattern = _label_pattern(names)
        self.plain = _plain_pattern(names)

    @functools.cached_property
    def exact(self) -> Mapping[str, set[str]]:
        """Text with case and white space evened out -> labels with that text."""
        return self._labels_by(evened)

    @functools.cached_property
    def phrases(self) -> Mapping[str, set[str]]:
        """Phrase (see `phrase`) -> labels with that text, longest first."""
        return dict(sorted(self._labels_by(phrase).items(), key=lambda item: -len(item[0])))

    @functools.cached_property
    def words(self) -> frozenset[str]:
        """Every word that a text may begin with or contain."""
        return ARTICLES.union(TOWARDS, spelled_out("\n".join(self.texts.values())))

    @functools.cached_property
    def reach(self) -> int:
        """Characters behind an announcement within which an option's text would end."""
        return 2 * max(map(len, self.texts.values()), default=0) + 16

    def _labels_by(self, form: Callable[[str], str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for label, text in self.texts.items():
            found.setdefault(form(text), set()).add(label)
        found.pop("", None)
        return found


prepare = functools.lru_cache(maxsize=1024)(Prepared)


@functools.lru_cache(maxsize=256)
def folded(labels: tuple[str, ...]) -> Mapping[str, str]:
    """Folded label -> label."""
    return {label.casefold(): label for label in labels if label}


@functools.lru_cache(maxsize=256)
def _label_pattern(labels: tuple[str, ...]) -> re.Pattern[str]:
    behind = r"(?!\w|['’-]\w|[.,]\d)(?=(?:[^\S\n]+(\w{1,12}))?)"
    if one := _one_of(labels):
        # A search for one of some characters is several times as fast as one that looks around
        # at every place, so what must not stand before the label is looked at behind it.
        return re.compile(rf"({one})(?<!\w.)(?<!\w['’-].){behind}")
    names = "|".join(map(re.escape, sorted(filter(None, labels), key=len, reverse=True)))
    return re.compile(rf"(?<!\w)(?<!\w['’-])({names or '(?!)'}){behind}", re.IGNORECASE)


_SINGLE = frozenset("ABCDEFGHJLMNOPQRTUVWXYZ0123456789")
"""Not I, K and S: letters of other scripts are taken for them where case is ignored."""


def _one_of(labels: tuple[str, ...]) -> str:
    """A pattern for one of the labels in any case, if they are single characters; else ""."""
    if not labels or not _SINGLE.issuperset(labels):
        return ""
    return f"[{''.join(label + label.lower() for label in labels)}]"


@functools.lru_cache(maxsize=256)
def _plain_pattern(labels: tuple[str, ...]) -> re.Pattern[str]:
    one = _one_of(labels) or "(?!)"
    return re.compile(
        rf"(?:[Tt]he |[Mm]y )?(?:correct |final )?[Aa]nswer(?: is|:) [*(]{{0,3}}({one})[*).]{{0,4}}"
        rf"|\(?({one})[.)] (.+)"
    )
