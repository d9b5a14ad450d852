"""Readers of replies to MMMU: those of the authors and of lmms-eval, faithfully, and our own for
open questions.

Sources: MMMU-Benchmark/MMMU bb0b95a9 (mmmu/utils/eval_utils.py), of which lm-eval 4e7e0d47 has a
copy; EvolvingLMMs-Lab/lmms-eval 75571cfe (tasks/_task_utils/mmmu_mcq_utils.py). Where they draw an
option at random, these readers find none.

Every reader takes any text, never raises, and needs time linear in the text's length. The
references' expressions for numbers try every digit of a long number as its beginning; ours begin at
the first one only and find the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from spare.tasks.answers import read_option, read_short
from spare.tasks.replies import EDGES, Reading, only

# The references: letters

_EDGES = ",.!?;:'"


def official_letter(text: str, options: Mapping[str, str]) -> str:
    """The authors' `parse_multi_choice_response`: a label, or "" where it draws one at random.

    "(B)" anywhere, else B between spaces, else in a reply of more than five words an option's text
    anywhere; of several the one that stands last. Accidents to expect: "B. $7", "**B**", "B)", "b"
    and "B" before a line end are not read; "(C), not (A)" is A; the text "no" is in "cannot".
    """
    return _last(text, options, {"({})": "({})", " {} ": " {} "})


def lmms_mmmu_letter(text: str, options: Mapping[str, str]) -> str:
    """lmms-eval's `parse_mmmu_multi_choice_response`: a label, or "" where it draws one at random.

    As the authors', but B needs a space behind it only ("USA " is A), and "B." is read too; of
    several of these the one that stands last between spaces, and if none does, the first in the
    order of the options.
    """
    return _last(text.strip(), options, {"({})": "({})", "{} ": " {} ", "{}.": " {} "})


def _last(text: str, options: Mapping[str, str], forms: Mapping[str, str]) -> str:
    """The option named last, in the first of `forms` in which any is.

    Args:
        forms: how a label is searched for, best first -> how the places of several are compared.
    """
    for mark in _EDGES:
        text = text.strip(mark)
    text = f" {text} "
    for form, compared in forms.items():
        if named := [label for label in options if form.format(label) in text]:
            return max(named, key=lambda label: text.rfind(compared.format(label)))
    if len(text.split(maxsplit=5)) > 5:
        text = text.lower()
        texts = {label: option.lower() for label, option in options.items()}
        if named := [label for label in options if texts[label] in text]:
            return max(named, key=lambda label: text.rfind(texts[label]))
    return ""


# The references: open questions

_INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?(?<!\d)\d++(?:\.\d++)?[eE][+-]?\d++"),
    re.compile(r"-?(?:(?<!\d)\d++\.\d++|\.\d++|(?<!\d)\d++\b)(?![eE][+-]?\d)(?![,\d])"),
)


def open_candidates(text: str) -> list[str | float]:
    """What the authors' `parse_open_response` takes a reply to say, each once: the parts of its
    lines behind words like "is" and "answer", or else the whole, and all numbers in them.

    Numbers are rounded to two decimals; a text is in small letters, and a single character stands
    with a space before and with a space behind it.
    """
    text = text.strip().strip(".").lower()
    parts = _key_parts(text.split("\n")) or [text]
    numbers = [
        number for part in parts for expression in _NUMBERS for number in expression.findall(part)
    ]
    return list(dict.fromkeys(form for said in (*parts, *numbers) for form in _forms(said)))


def _key_parts(lines: Sequence[str]) -> list[str]:
    found = []
    for number, line in enumerate(lines, 1):
        # In the last line a part may be the right side of an equation.
        indicators = (*_INDICATORS, "=") if number == len(lines) else _INDICATORS
        shortest = ""
        for indicator in indicators:
            if indicator in line:
                part = line.rpartition(indicator)[2].strip()
                if not shortest or len(part) < len(shortest):
                    shortest = part
        if shortest and shortest not in (":", ",", ".", "!", "?", ";", "'"):
            found.append(shortest)
    return found


def _forms(text: str) -> tuple[str | float, ...]:
    text = text.strip()
    try:
        return (round(float(text.replace(",", "")), 2),)
    except ValueError:
        text = text.lower()
    return (f" {text}", f"{text} ") if len(text) == 1 else (text,)


def official_open(candidates: Iterable[str | float], accepted: Iterable[str]) -> bool:
    """The authors' `eval_open`: is a number among `candidates` equal to an accepted one, or is an
    accepted text in one of their texts?

    Accidents to expect: "130 or 30" is 30, "a cat" is C, "it is a region" is A, "551Hz" is not 551.
    """
    forms = [form for answer in accepted for form in _forms(answer)]
    texts = [form for form in forms if isinstance(form, str)]
    numbers = [form for form in forms if isinstance(form, float)]
    return any(
        any(text in said for text in texts) if isinstance(said, str) else said in numbers
        for said in candidates
    )


# Our own: open questions

_LETTERS = dict.fromkeys("ABCDEFGHI", "")
_ANNOUNCED = ("answer is", "answer:", "=", "≈")
_UNSIGNED = str.maketrans({"−": "-", "$": None, "£": None, "€": None})
_NUMBER = re.compile(
    r"(?<![\w.,/^])-?+((?:\d{1,3}(?:,\d{3})++(?!\d)|\d++|(?=\.\d))(?:\.\d++)?(?:e[+-]?\d++)?"
    r"(?:/\d++)?)(?!\d|[.,/^]\d|(?:st|nd|rd|th)\b)( ?%)?"
)
_OTHERWISE = frozenset({"not", "no", "nor", "never", "or", "and", "neither", "either", "than"})


def read_open(text: str, accepted: Iterable[str]) -> tuple[Reading, bool]:
    """What a reply says, and whether that is one of the accepted answers.

    An accepted letter must be named as one. Else the reply counts from its last "=" or "answer is"
    on, if it has one. An accepted number must be the only number there, equal but for rounding to
    two or more decimals (units, thousands commas and currency signs aside; "28.6%" is 0.286 too);
    an accepted text must be all of it but for two further words, none of them "not" or "or".
    """
    short = read_short(text)
    if short.status != "ok":
        return short, False
    readings = [_read_as(answer, text, short.answer) for answer in accepted]
    return next((found for found in readings if found[1]), readings[0])


def _read_as(answer: str, text: str, said: str) -> tuple[Reading, bool]:
    wanted = answer.lower().translate(_UNSIGNED).strip()
    said = said.translate(_UNSIGNED)
    ends = [said.rfind(mark) + len(mark) for mark in _ANNOUNCED if mark in said]
    tail = said[max(ends, default=0) :]
    if _says(said, wanted, further=0):
        return Reading(said, "ok"), True
    if answer in _LETTERS:
        letter = read_option(text, _LETTERS)
        return letter, letter.answer == answer
    if _NUMBER.fullmatch(wanted):
        number = _only_number(tail)
        return number, bool(number.answer) and _same_number(number.answer, wanted)
    return Reading(tail, "ok"), _says(tail, wanted, further=2)


def _only_number(text: str) -> Reading:
    return only({number[0].replace(",", "") for number in _NUMBER.finditer(text)})


def _same_number(said: str, wanted: str) -> bool:
    percent = said.endswith("%")
    said, wanted = said.rstrip("% "), wanted.rstrip("% ").replace(",", "")
    number, target = _value(said), _value(wanted)
    if number == target or (percent and abs(number / 100 - target) < 1e-9):
        return True
    digits, wanted_digits = _decimals(said), _decimals(wanted)
    significant = len(said.replace(".", "").lstrip("-0"))
    return (digits > wanted_digits > 0 and round(number, wanted_digits) == target) or (
        digits > 1 and significant > 1 and round(target, digits) == number
    )


def _value(number: str) -> float:
    above, _, below = number.partition("/")
    return float(above) / (float(below or 1) or float("nan"))


def _decimals(number: str) -> int:
    """Digits behind the point; 0 for a fraction or a power of ten."""
    return len(number.partition(".")[2]) if re.fullmatch(r"[-.\d]+", number) else 0


def _says(said: str, wanted: str, further: int) -> bool:
    """Whether `said` is `wanted` but for so many further words at most, punctuation aside."""
    words, target = (
        [bare for word in text.split() if (bare := word.strip(EDGES))] for text in (said, wanted)
    )
    if not target or not 0 <= len(words) - len(target) <= further:
        return False
    return any(
        words[start : start + len(target)] == target
        and _OTHERWISE.isdisjoint(words[:start] + words[start + len(target) :])
        for start in range(len(words) - len(target) + 1)
    )
