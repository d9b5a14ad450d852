"""Whether the caption says what the answer says.

An answer is supported if its words stand in the caption: as they are, or nearly all of those that
carry meaning, and every direction that it names (or another word for it). Of a yes or no the
question's words are looked for instead. Beyond the paper, one sentence must have the direction and
the things together (`in_sentence`), which catches arguments that were swapped; it is kept as a
score and drops nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from spare.generation.grammar import SENTENCE
from spare.generation.mentions import stem, tokens
from spare.generation.models import Models
from spare.generation.stages import Inputs, Options, Work
from spare.generation.stages.duplicates import FUNCTION_WORDS, POLES
from spare.generation.words import word_set

if TYPE_CHECKING:
    import pyarrow

VERSION = 2
NEEDS = ("generate",)

NO_MEANING = FUNCTION_WORDS | word_set(
    "yes no not with by for from as has have had very also directly just slightly image "
    "picture photo scene side part area they them he she his her one some being object "
    "objects thing things towards toward"
)
TOGETHER = 0.65
"""Least share of the words of question and answer that one sentence must have."""

SMALL = frozenset(("in", "on"))
"""Directions whose words also belong to others: in front of, on top of, on the left."""

AFFIRMATIONS = frozenset(("yes", "no"))


def settings(options: Options) -> Mapping[str, Any]:
    """What the output depends on."""
    return {}


def open_stage(options: Options, models: Models) -> Work:
    """What does a shard: pair_id, verbatim (the answer stands in the caption), coverage (share of
    the meaningful words that stand there), directions (all of them do), in_sentence (one sentence
    has them all)."""

    def work(inputs: Inputs, on_row: Callable[[int], None]) -> pyarrow.Table:
        import pyarrow

        pairs = inputs.pairs
        rows = []
        for numbers in pairs.by_caption():
            caption = Words(pairs.captions[pairs.rows[numbers.start]])
            for number in numbers:
                rows.append(support(caption, pairs.asked[number], pairs.said[number]))
        on_row(len(pairs.captions))
        verbatim, coverage, directions, in_sentence = zip(*rows, strict=True) if rows else [()] * 4
        return pyarrow.table(
            {
                "pair_id": pyarrow.array(pairs.ids, pyarrow.string()),
                "verbatim": pyarrow.array(verbatim, pyarrow.bool_()),
                "coverage": pyarrow.array(coverage, pyarrow.float32()),
                "directions": pyarrow.array(directions, pyarrow.bool_()),
                "in_sentence": pyarrow.array(in_sentence, pyarrow.bool_()),
            }
        )

    return work


class Words:
    """A caption as it is looked up."""

    def __init__(self, caption: str) -> None:
        found = [tokens(match.group()) for match in SENTENCE.finditer(caption)]
        # The marks in between keep an answer from standing across two sentences.
        self.joined = f" {' . '.join(map(' '.join, found))} "
        self.sentences = list(map(_meaning, found))
        self.meaning, self.poles = (
            set().union(*(one[place] for one in self.sentences)) for place in (0, 1)
        )


def support(
    caption: Words, question: Sequence[str], answer: Sequence[str]
) -> tuple[bool, float, bool, bool]:
    """How far a caption says what an answer says: see `open_stage`. Both are tokens."""
    plain = [word for word in answer if word[0].isalnum()]
    negated = plain[:1] == ["no"]
    if plain and plain[0] in AFFIRMATIONS:
        plain = plain[1:]
        # "No" alone says that the question is wrong: nothing in the caption can say so.
        meant = plain or question
    else:
        meant = plain
    verbatim = bool(plain) and f" {' '.join(plain)} " in caption.joined
    asked, asked_poles = _meaning(question)
    meaning, poles = (asked, asked_poles) if meant is question else _meaning(meant)
    # What the question gave away tells nothing of the answer.
    own = meaning - asked or meaning
    coverage = len(own & caption.meaning) / len(own) if own else float(bool(poles))
    directions = poles <= caption.poles and not (negated and not plain)
    # A no corrects the question, so only its own directions have to stand there.
    said_where = poles if negated else poles | asked_poles
    said_where = said_where - SMALL or said_where
    whole = meaning | asked if said_where else own
    least = TOGETHER * len(whole)
    for words, there in caption.sentences:
        if said_where <= there and len(whole & words) >= least:
            return verbatim, coverage, directions, True
    return verbatim, coverage, directions, False


def _meaning(words: Iterable[str]) -> tuple[set[str], set[str]]:
    """The words of a text that carry meaning, in their plain form, and the directions in it."""
    meaning, poles = set(), set()
    for word in words:
        if word in POLES:
            poles.add(POLES[word])
        elif word not in NO_MEANING:
            meaning.add(_plain(word))
    meaning.discard("")
    return meaning, poles


@lru_cache(maxsize=65536)
def _plain(word: str) -> str:
    """A word without its endings; "" if it is a mark."""
    return stem(word) if word[0].isalnum() else ""


def supported(
    verbatim: Sequence[bool], coverage: Sequence[float], directions: Sequence[bool], least: float
) -> list[bool]:
    """Which answers are supported at a threshold."""
    return [
        whole or (all_said and share >= least)
        for whole, share, all_said in zip(verbatim, coverage, directions, strict=True)
    ]
