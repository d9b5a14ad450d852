"""Comparing short answers with those of several people, as VQA benchmarks do it.

An answer is brought into a normal form (`official_answer` and its relatives), people with the same
one are counted, and `vote_score` makes a score of the count. The normal forms of other evaluations
are faithful, with their quirks and accidents; `plain_answer` is ours.

Sources: facebookresearch/mmf b0ffc7f (`mmf/utils/m4c_evaluators.py`, which LLaVA and lmms-eval
75571cfe carry along unchanged) and open-compass/VLMEvalKit e8e78f05 (`vqa_eval.py`,
`process_punctuation`). They come from the evaluation of VQA v2, but that one is different code.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

MARKS = ';/[]"{}()=+\\_-><@`,?!'
"""The punctuation that goes. What is not here (colons, dollars, per cent, asterisks, typographic
quotes and dashes) stays part of its word."""

NUMBERS: Mapping[str, str] = {
    "none": "0",
    **{
        word: str(number)
        for number, word in enumerate(
            ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
        )
    },
}
ARTICLES = frozenset({"a", "an", "the"})

CONTRACTIONS: Mapping[str, str] = dict(
    pair.split(">")
    for pair in [
        "aint>ain't",
        "arent>aren't",
        "cant>can't",
        "couldve>could've",
        "couldnt>couldn't",
        "couldn'tve>couldn't've",
        "couldnt've>couldn't've",
        "didnt>didn't",
        "doesnt>doesn't",
        "dont>don't",
        "hadnt>hadn't",
        "hadnt've>hadn't've",
        "hadn'tve>hadn't've",
        "hasnt>hasn't",
        "havent>haven't",
        "hed>he'd",
        "hed've>he'd've",
        "he'dve>he'd've",
        "hes>he's",
        "howd>how'd",
        "howll>how'll",
        "hows>how's",
        "Id've>I'd've",
        "I'dve>I'd've",
        "Im>I'm",
        "Ive>I've",
        "isnt>isn't",
        "itd>it'd",
        "itd've>it'd've",
        "it'dve>it'd've",
        "itll>it'll",
        "let's>let's",
        "maam>ma'am",
        "mightnt>mightn't",
        "mightnt've>mightn't've",
        "mightn'tve>mightn't've",
        "mightve>might've",
        "mustnt>mustn't",
        "mustve>must've",
        "neednt>needn't",
        "notve>not've",
        "oclock>o'clock",
        "oughtnt>oughtn't",
        "ow's'at>'ow's'at",
        "'ows'at>'ow's'at",
        "'ow'sat>'ow's'at",
        "shant>shan't",
        "shed've>she'd've",
        "she'dve>she'd've",
        "she's>she's",
        "shouldve>should've",
        "shouldnt>shouldn't",
        "shouldnt've>shouldn't've",
        "shouldn'tve>shouldn't've",
        "somebody'd>somebodyd",
        "somebodyd've>somebody'd've",
        "somebody'dve>somebody'd've",
        "somebodyll>somebody'll",
        "somebodys>somebody's",
        "someoned>someone'd",
        "someoned've>someone'd've",
        "someone'dve>someone'd've",
        "someonell>someone'll",
        "someones>someone's",
        "somethingd>something'd",
        "somethingd've>something'd've",
        "something'dve>something'd've",
        "somethingll>something'll",
        "thats>that's",
        "thered>there'd",
        "thered've>there'd've",
        "there'dve>there'd've",
        "therere>there're",
        "theres>there's",
        "theyd>they'd",
        "theyd've>they'd've",
        "they'dve>they'd've",
        "theyll>they'll",
        "theyre>they're",
        "theyve>they've",
        "twas>'twas",
        "wasnt>wasn't",
        "wed've>we'd've",
        "we'dve>we'd've",
        "weve>we've",
        "werent>weren't",
        "whatll>what'll",
        "whatre>what're",
        "whats>what's",
        "whatve>what've",
        "whens>when's",
        "whered>where'd",
        "wheres>where's",
        "whereve>where've",
        "whod>who'd",
        "whod've>who'd've",
        "who'dve>who'd've",
        "wholl>who'll",
        "whos>who's",
        "whove>who've",
        "whyll>why'll",
        "whyre>why're",
        "whys>why's",
        "wont>won't",
        "wouldve>would've",
        "wouldnt>wouldn't",
        "wouldnt've>wouldn't've",
        "wouldn'tve>wouldn't've",
        "yall>y'all",
        "yall'll>y'all'll",
        "y'allll>y'all'll",
        "yall'd've>y'all'd've",
        "y'alld've>y'all'd've",
        "y'all'dve>y'all'd've",
        "youd>you'd",
        "youd've>you'd've",
        "you'dve>you'd've",
        "youll>you'll",
        "youre>you're",
        "youve>you've",
    ]
)
"""Written without apostrophe, or with one of two -> with all of them; the same 120 in every
reference. "somebody'd" is the wrong way round there, and stays so. Capital letters never match,
since texts are in lower case by then."""

_DIGIT_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_PERIOD_ALONE = re.compile(r"(?<!\d)\.(?!\d)")
_PERIODS = 32
"""Full stops that are removed from one text: the references pass a flag (re.UNICODE, 32) where the
count of replacements goes."""


def vote_score(matches: int, people: int) -> float:
    """The mean over people of min(1, matching others / 3): for ten people, 0, 0.3, 0.6, 0.9 and,
    from four matches on, 1.

    One person alone leaves nobody to match, and the score is 0. Computed in whole numbers, since
    the references' sums differ in the last bit (0.6000000000000001 here, 0.5999999999999999 there).
    """
    thirds = matches * min(3, matches - 1) + (people - matches) * min(3, matches)
    return thirds / (3 * people)


def official_answer(text: str) -> str:
    """The normal form of MMF, LLaVA and lmms-eval ("EvalAI", "M4C").

    Lower case; commas and question marks deleted; "'s" split off; marks out (`without_marks`); full
    stops out unless a digit follows; number words to ten in digits; articles dropped; missing
    apostrophes put in. Accidents to expect: "a", "the", "?" and "..." become nothing, and equal no
    answer at all; "red,blue" is "redblue"; "n/a" is "n"; "whats" and "what's" differ, because the
    latter was split before the apostrophes are put in, so that doing it twice is not the same as
    once; "no" is not "none".
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return _words(_PERIOD.sub("", without_marks(_on_one_line(text)), count=_PERIODS))


def vlmevalkit_answer(text: str) -> str:
    """VLMEvalKit's normal form since 2025-05-13 (commit 928a95b0).

    As `official_answer`, but "'s" stays ("whats" is "what's"), commas count among the marks
    ("red,blue" is "red blue", and digit-comma-digit deletes all marks), and a full stop behind a
    digit stays: "2012." is not "2012".
    """
    return _words(without_punctuation(_on_one_line(text)))


def vlmevalkit_2024_answer(text: str) -> str:
    """VLMEvalKit's normal form until 2025-05-12: full stops as in `official_answer`."""
    return _words(_PERIOD.sub("", without_marks(_on_one_line(text)), count=_PERIODS))


def without_punctuation(text: str) -> str:
    """VLMEvalKit's `process_punctuation`, through which replies to yes-or-no questions go too."""
    plain = without_marks(text)
    return _PERIOD_ALONE.sub("", plain, count=_PERIODS) if "." in plain else plain


def without_marks(text: str) -> str:
    """A text without `MARKS`, as all references do it.

    A mark with a space before or behind it anywhere is deleted everywhere, any other becomes a
    space; with digit-comma-digit anywhere, all marks are deleted.
    """
    plain = text
    number = "," in text and _DIGIT_COMMA.search(text) is not None
    for mark in MARKS:
        if mark in text:
            deleted = number or f"{mark} " in text or f" {mark}" in text
            plain = plain.replace(mark, "" if deleted else " ")
    return plain


def _on_one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _words(text: str) -> str:
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


# --- Ours --------------------------------------------------------------------------------------

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_TYPED = str.maketrans({"’": "'", "‘": "'", **dict.fromkeys(MARKS, " ")})


def plain_answer(text: str) -> str:
    """An answer evened out as a person would who compares two.

    The words of `official_answer`, without its accidents: a mark is a space wherever it stands
    ("red,blue" is "red, blue"), and a comma of thousands is nothing; typographic apostrophes are
    typed ones; accents are composed; "'s" stays at its word. What has only articles in it keeps
    them, so that the letter "a" on a sign is an answer.
    """
    text = _THOUSANDS.sub("", unicodedata.normalize("NFC", text.lower())).translate(_TYPED)
    return _words(_PERIOD.sub("", text.replace(" 's", "'s"))) or " ".join(text.split())
