"""Readers of replies as other harnesses have them, faithfully, with their quirks and accidents.

They exist so that a score can be compared with a published one, and nothing here is mended: each
docstring says what the reader does and which accidents to expect. Our own reader is in
`answers.py`.

Sources: open-compass/VLMEvalKit e8e78f05 (2026-08-18) and, for the earlier generations, its
c3371551 (2025-08-04) and the commit before that; EvolvingLMMs-Lab/lmms-eval 75571cfe (2026-08-06)
and, for RealWorldQA as it was until April 2026, the commit before 9ca4445d; shiqichen17/AdaptVis
3b41399 (2024-10-09). None of them takes reasoning out of a reply before reading it unless the user
sets a switch, and neither do these.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Literal

from spare.tasks import vqa_answers

_KIT_SPACES = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_KIT_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_KIT_PHRASE = re.compile(r"answer\s+is\s+\**([ABCD])", re.IGNORECASE)


def vlmevalkit_option(
    text: str, options: Mapping[str, str], generation: Literal["g1", "g2", "g3"] = "g3"
) -> str:
    """VLMEvalKit's `can_infer` without a judge: a label, "Z" (a refusal), or "" (unresolved).

    The generations are the code until 2025-08-03 ("g1"), from 2025-08-04 ("g2": a lone letter
    counts only among the last four words, a long reply is not searched for option texts), and from
    2026-06-17 ("g3": "answer is X" is searched for). Accidents to expect: "The answer is back" is B
    (g3 has no word boundary), "unknown" is the option "no" (a substring), a lower-case or quoted
    letter and `<answer>B</answer>` are unresolved.

    Args:
        options: capital letter -> text, in order, absent options left out.
    """
    label = _kit_letter(text, options, generation)
    return label or _kit_text(text, options, generation)


def _kit_letter(text: str, options: Mapping[str, str], generation: str) -> str:
    if "Failed to obtain answer via API" in text:
        return ""
    if any(refusal in text for refusal in _KIT_REFUSALS):
        return "Z"
    words = text.translate(_KIT_SPACES).split()
    named = [label for label in options if label in words]
    if len(named) == 1 and (generation == "g1" or words.index(named[0]) > len(words) - 5):
        return named[0]
    if not named and "Z" in words:
        return "Z"
    if generation == "g3" and (phrase := _KIT_PHRASE.search(text)):
        label = phrase[1].upper()
        return label if label in options else ""
    return ""


def _kit_text(text: str, options: Mapping[str, str], generation: str) -> str:
    text = text.lower()
    if generation != "g1" and len(text) > 2 * sum(map(len, options.values())):
        return ""
    found = [label for label, option in options.items() if option.lower() in text]
    return found[0] if len(found) == 1 else ""


def vlmevalkit_yes_no(text: str) -> str:
    """VLMEvalKit's `YOrN_Extraction`: "Yes" or "No" if exactly one is a word of it, or "Unknown".

    Accidents to expect: `*`, `:`, `'` and `#` stick to words, so "**Yes**" and "Answer:Yes" are
    "Unknown"; punctuation beside a space anywhere is deleted everywhere, so "(yes)no, no" has the
    word "yesno"; "True" and "False" are "Unknown".
    """
    words = vqa_answers.without_punctuation(text.lower()).split()
    yes, no = "yes" in words, "no" in words
    return "Unknown" if yes == no else "Yes" if yes else "No"


_LMMS_EDGES = ",.!?;:'\""
_LMMS_PHRASES = (
    "the answer is",
    "answer is",
    "the correct answer is",
    "correct answer is",
    "the best answer is",
    "best answer is",
    "the correct option is",
    "correct option is",
    "the best option is",
    "best option is",
    "the choice is",
    "choice is",
    "the correct choice is",
    "correct choice is",
    "i choose",
    "i select",
    "i pick",
    "my answer is",
    "my choice is",
    "옵션",
    "정답은",
    "답은",
    "답:",
    "答案是",
    "答案为",
    "选",
    "答えは",
)


def lmms_letter(text: str, letters: Sequence[str]) -> str:
    """lmms-eval's shared `extract_mcq_answer` (since April 2026): one of `letters`, or "".

    Kinds of evidence by priority: the reply starts with the letter; ends with it; has it somewhere
    behind the first occurrence of an answer phrase; has "(X)", "X.", "X:", "X)", "X " at its last
    occurrence; has it anywhere. Within a kind the latest place wins. Accidents to expect: any
    caption that starts with "A " is A, "Cannot tell" is C, "USA " is A; lower-case letters and
    option texts are never read.
    """
    text = text.strip()
    for mark in _LMMS_EDGES:
        text = text.strip(mark)
    bare, text = text.strip(), f" {text} "
    for letter in letters:
        if bare.startswith(letter) and (len(bare) == 1 or not bare[1].isalpha()):
            return letter
    for letter in letters:
        if bare.endswith(letter) and (len(bare) == 1 or not bare[-2].isalpha()):
            return letter
    if letter := _lmms_behind_phrase(text, letters):
        return letter
    for form in ("({})", "{}.", "{}:", "{})", "{} ", "{}"):
        places = [text.rfind(form.format(letter)) for letter in letters]
        if places and max(places) >= 0:
            return letters[places.index(max(places))]
    return ""


def _lmms_behind_phrase(text: str, letters: Sequence[str]) -> str:
    lower = text.lower()
    best, found = -1, ""
    for phrase in _LMMS_PHRASES:
        start = lower.find(phrase)
        if start >= 0:
            for letter in letters:
                # A place in the lower-case text is used in the text itself, though lower-casing can
                # lengthen it (a dotted capital I becomes two characters).
                place = text.find(letter, start + len(phrase))
                if place > best:
                    best, found = place, letter
    return found


_LMMS_DECORATIONS = (
    *("{}.", "{},", "{}:", "{})", "{}).", "({})", "({})."),
    *(":{}", ":{},", ":{}.", ":{})", ":{})."),
)


def lmms_mmbench_letter(text: str, options: Mapping[str, str]) -> str:
    """lmms-eval's reader for MMBench in its static mode (mmbench_en_dev_static): A to E, or "".

    The one bare letter among the words; else the one letter with the first decoration that fits
    ("B.", "B,", ... ":B)."); else the one option whose text is in the reply; else `lmms_letter`.
    A bare "A" in a reply of more than three words is taken for an article. Accidents to expect:
    "B, C" is C, and "E" is an answer whatever the options are.

    Args:
        options: A to D -> text; what is missing has the text "nan" in lmms-eval's copy of the data.
    """
    words = set() if "Failed to obtain answer via API" in text else set(text.split())
    named = [letter for letter in "ABCDE" if letter in words]
    if len(named) == 1 and not ("A" in words and len(text.split()) > 3):
        return named[0]
    for form in _LMMS_DECORATIONS:
        named = [letter for letter in "ABCDE" if form.format(letter) in words]
        if len(named) == 1:
            return named[0]
    lower = text.lower()
    named = [letter for letter, option in options.items() if option.lower() in lower]
    return named[0] if len(named) == 1 else lmms_letter(text, tuple(options))


_LMMS_3DSRBENCH = tuple(
    re.compile(pattern)
    for pattern in (
        r"\A([A-D])(?:[.)\s]|\Z)",
        r"[Aa]nswer[:\s]+([A-D])",
        r"[Tt]he answer is[:\s]+([A-D])",
        r"[Mm]y answer is[:\s]+([A-D])",
        r"\(([A-D])\)",
        r"([A-D])\.",
        r"\b([A-D])\b",
    )
)


def lmms_3dsrbench_letter(text: str) -> str:
    """lmms-eval's reader for 3DSRBench: A to D whatever the row's options are, or "".

    The first pattern with a match anywhere wins: a leading letter; behind "answer"; behind "the
    answer is", "my answer is"; "(X)"; "X."; a letter of its own. Accidents to expect: "A baseball
    glove" is A, "Answer: Dog" is D; lower-case letters and option texts are never read.
    """
    text = text.strip()
    for pattern in _LMMS_3DSRBENCH:
        if match := pattern.search(text):
            return match[1]
    return ""


_DIGITS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
}
_LMMS_QUESTION_OPTION = re.compile(r"\b([A-Z])\.\s+([^\n]*)")
_NEITHER_WORD_NOR_SPACE = re.compile(r"[^\w\s]")


def lmms_2025_realworldqa(text: str, question: str) -> str:
    """lmms-eval's "flexible-extract" of RealWorldQA (2024 to April 2026): the filtered reply.

    A reply that is one number word becomes digits; then punctuation is removed, and the first
    option text found in the reply (case-sensitive) makes it that option's letter. Letters are given
    by count, whatever the question prints: with an option that lacks its dot, the following ones
    shift. `lmms_exact_match` compares the result with the published answer.

    Args:
        question: the question as published, options and instruction included.
    """
    text = _NEITHER_WORD_NOR_SPACE.sub("", _DIGITS.get(text.lower(), text)).strip()
    options = [option.strip() for _, option in _LMMS_QUESTION_OPTION.findall(question)]
    places = [place for option in options if (place := text.find(option)) >= 0]
    if not places:
        return text
    first = next(option for option in options if text.startswith(option, min(places)))
    # Options of the same text share the last one's letter (they are keys of a dictionary there).
    return chr(ord("A") + len(options) - 1 - options[::-1].index(first))


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def lmms_exact_match(text: str, target: str) -> bool:
    """lmms-eval's `exact_match` with case and ASCII punctuation ignored."""
    return text.lower().translate(_NO_PUNCTUATION) == target.lower().translate(_NO_PUNCTUATION)


def adaptvis_word(text: str, gold: str) -> bool:
    """AdaptVis's judgement of a free word on What's Up: is the gold word anywhere in the reply?

    Case is ignored, and "on" does not count in a reply with "front". Accidents to expect: "none"
    and "person" have "on"; "left or right" is right for both.

    Args:
        gold: the answer word of its prompts ("On", "Left", "Front", ...).
    """
    text, gold = text.lower(), gold.lower()
    return gold in text and not (gold == "on" and "front" in text)
