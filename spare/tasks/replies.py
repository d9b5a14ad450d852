"""What all readers of replies share: the parts of a reply that are its answer, and one verdict."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from spare.tasks.types import Status

EDGES = " \t\r\n\v\f\u00a0\u3000*_`\"'“”‘’«»()[]{}<>（）【】「」.,:;!?#$~|\\…。，、：；！？"
"""What may surround a bare answer: white space, markdown, brackets, quotes, punctuation."""


class Reading(NamedTuple):
    """What a reply says: a label or text, and how it was read ("" unless the status is "ok")."""

    answer: str
    status: Status


EMPTY = Reading("", "empty")
AMBIGUOUS = Reading("", "ambiguous")
UNPARSED = Reading("", "unparsed")


def only(found: Collection[str]) -> Reading:
    """The one answer found; ambiguous if there are several, unparsed if there is none."""
    if not found:
        return UNPARSED
    return Reading(next(iter(found)), "ok") if len(found) == 1 else AMBIGUOUS


def without_reasoning(text: str) -> str:
    """The text behind the last `</think>`; reasoning that never ended is dropped too."""
    return text.rpartition("</think>")[2].partition("<think>")[0]


_ANSWER_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.IGNORECASE | re.DOTALL)
_BOXED = re.compile(r"\\boxed\{(?:\s*+\\(?:text|textbf|mathrm|mathbf|mathsf)\{)?([^{}]*)\}")
_FENCE = re.compile(r"```(?:\w*\n)?")
_TAG = re.compile(r"</?[a-z]\w{0,15}>|<\|\w{1,20}\|>", re.IGNORECASE)


def statements(text: str) -> list[str]:
    """The parts of a reply that are its answer, without reasoning, code fences and tags.

    These are the contents of `<answer>` and `\\boxed{}` where there are any, or else the whole.
    """
    text = without_reasoning(text)
    if "<" not in text and "`" not in text and "\\" not in text:
        return [text]
    parts = [text]
    if "<" in text:
        parts = [part for part in _ANSWER_TAG.findall(text) if part.strip()] or parts
    if "\\boxed" in text:
        parts = [part for whole in parts for part in _BOXED.findall(whole) if part.strip()] or parts
    return [_TAG.sub(" ", _FENCE.sub("", part)) for part in parts]


def united(readings: Collection[Reading]) -> Reading:
    """One reading of a reply's statements: they must not differ; unread ones are passed over."""
    if len(readings) == 1:
        return next(iter(readings))
    if any(reading.status == "ambiguous" for reading in readings):
        return AMBIGUOUS
    return only({reading.answer for reading in readings if reading.status == "ok"})
