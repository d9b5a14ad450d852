"""Reading replies by our own rules: strict where a reference accepts by accident, tolerant where it
rejects a plain answer, never a guess. The readers that copy other harnesses are in `references.py`.

A reply is taken in this order: reasoning up to the last `</think>` goes; a container (`<answer>`,
`\\boxed{}`) stands for the whole if it has something in it; then each reader looks first for what
says most, and asks weaker evidence only if the stronger is silent. Two different answers of one
kind are "ambiguous", never the first or the last.

Every reader takes any text, never raises, and needs time linear in the text's length: expressions
have possessive or bounded repeats, and what surrounds a match is looked at in a bounded window.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from spare.tasks.choices import read_option
from spare.tasks.replies import (
    EDGES,
    EMPTY,
    UNPARSED,
    Reading,
    only,
    statements,
    united,
    without_reasoning,
)

__all__ = [
    "Reading",
    "read_option",
    "read_short",
    "read_true_false",
    "read_yes_no",
    "same_short",
    "without_reasoning",
]


class _Pair(NamedTuple):
    """Two words to answer with.

    Attributes:
        words: lower-case word -> answer; spelled: the words alone.
        opposite: answer -> the other answer.
        choice: both offered together ("true or false"), which chooses neither.
        claim: a clause that is nothing but an answer: "not" (or None), word.
        mention: a word anywhere: "if" (or None), "not" (or None), word.
    """

    words: Mapping[str, str]
    spelled: tuple[str, ...]
    opposite: Mapping[str, str]
    choice: re.Pattern[str]
    claim: re.Pattern[str]
    mention: re.Pattern[str]


def _pair(yes: str, no: str, more: Mapping[str, str], mentions: str = "") -> _Pair:
    words = {yes.lower(): yes, no.lower(): no, **more}
    both = rf"{yes.lower()}|{no.lower()}"
    subject = r"(?:it|this|that|(?:the|this|that|my) (?:\w+ ){0,2}\w+)"
    verb = r"(?:is|was|can|could|(?:must|would|should|can|seems to) be)"
    negation = r"not (?:be )?(?:\w{1,12}ly )?"
    first_letters = "".join(sorted({word[0] for word in ("if", "whether", "not", *words)}))
    return _Pair(
        words,
        tuple(words),
        {yes: no, no: yes},
        re.compile(rf"\b(?:{both})\s*+(?:/|or\b|vs\b)\s*+(?:{both})\b"),
        re.compile(
            rf"(?:(?:so|and|then|therefore|thus|hence|answer) )*(?:(?:{subject} )?{verb} )?"
            rf"({negation})?({'|'.join(words)})"
        ),
        re.compile(
            # The first letter looked at first halves the time.
            rf"\b(?=[{first_letters}])(\b(?:if|whether) (?:[\w']++ ){{0,5}}?)?"
            rf"(\bnot (?:think|believe|agree) (?:[\w']++ ){{0,4}}?|\b{negation})?"
            rf"\b({both}{mentions})\b"
        ),
    )


_TRUE_FALSE = _pair(
    "True",
    "False",
    {"correct": "True", "incorrect": "False", "untrue": "False"},
    # "The correct answer is ..." says nothing yet.
    r"|untrue|incorrect|(?<= is )correct|(?<= not )correct",
)
_YES_NO = _pair("Yes", "No", {})
_UNMARKED = str.maketrans(dict.fromkeys('*_`"“”'))
_CLAUSE = re.compile(r"[.,;:!?\n()\[\]–—]|\b(?:but|because|since)\b")


def read_true_false(text: str) -> Reading:
    """The answer "True" or "False", by the word itself or an explicit form of it.

    The reply, or a clause of it, is the word ("True", "so false", "The statement is true"), or
    exactly one of the words occurs. "not true", "untrue", "incorrect", "I don't think that is true"
    are False; "correct" as a predicate is True; "true or false" and "whether it is true" say
    nothing. "Yes" and "no" are not read: the question asked for other words.
    """
    return _read_pair(text, _TRUE_FALSE)


def read_yes_no(text: str) -> Reading:
    """The answer "Yes" or "No", by the rules of `read_true_false` with these two words.

    "Yes, there is no dog" is Yes: a clause that is only the answer counts before a word in passing.
    """
    return _read_pair(text, _YES_NO)


def _read_pair(text: str, pair: _Pair) -> Reading:
    if sole := pair.words.get(text.strip(EDGES).casefold()):
        return Reading(sole, "ok")
    if not text.strip():
        return EMPTY
    return united([_read_pair_in(part, pair) for part in statements(text)])


def _read_pair_in(text: str, pair: _Pair) -> Reading:
    text = text.casefold().translate(_UNMARKED).replace("’", "'")
    if not any(map(text.__contains__, pair.spelled)):
        return UNPARSED
    text = pair.choice.sub(" ", text.replace("n't", " not").replace("cannot", "can not"))
    clauses = (clause.strip(EDGES) for clause in _CLAUSE.split(text))
    evened = (" ".join(clause.split()) for clause in clauses if len(clause) < 80)
    claims = (pair.claim.fullmatch(clause) for clause in evened if clause.endswith(pair.spelled))
    found = {_meant(claim[1], claim[2], pair) for claim in claims if claim}
    if not found:
        mentions = pair.mention.finditer(" ".join(text.split()))
        found = {_meant(mention[2], mention[3], pair) for mention in mentions if not mention[1]}
    return only(found)


def _meant(negation: str | None, word: str, pair: _Pair) -> str:
    return pair.opposite[pair.words[word]] if negation else pair.words[word]


# --- Short answers -----------------------------------------------------------------------------

_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS.split())}
_QUOTES = " \t\r\n*_`\"'“”‘’"
_ANSWER_IS = re.compile(r"(?:(?:the|my) )?(?:final |correct )?answer(?: is:?|:)[ *_`]*")


def read_short(text: str) -> Reading:
    """A short free answer, evened out for comparison.

    Lower case; white space collapsed; markdown, surrounding quotes, closing punctuation and a
    leading "the answer is" dropped; a number word from zero to twenty in digits. Words and units
    stay: "2 cars" is not "2". "nan" is a missing reply as some table writers store it: empty.
    """
    if not text.strip() or text.strip() == "nan":
        return EMPTY
    found = {short for part in statements(text) if (short := _short(part))}
    return only(found)


def same_short(text: str, target: str) -> bool:
    """Whether a reply gives the short answer `target`, both evened out as by `read_short`.

    "Yes" and "No" may go on after a comma ("Yes, we must stop") if the first word decides.
    """
    answer, wanted = read_short(text).answer, read_short(target).answer
    if not answer or not wanted:
        return False
    if wanted in ("yes", "no") and answer.startswith(f"{wanted},"):
        return read_yes_no(answer).answer.lower() == wanted
    return answer == wanted


def _short(text: str) -> str:
    text = " ".join(text.lower().split()).lstrip(_QUOTES)
    if announced := _ANSWER_IS.match(text):
        text = text[announced.end() :]
    text = text.lstrip(_QUOTES).rstrip(_QUOTES + ".,;:!?…。，！？")
    return _DIGITS.get(text, text)
