"""Reading the chosen option out of a reply, by its label or by its text: `read_option`.

What makes it hard: captions begin with "A ", which is no label; models discuss options that they do
not choose; relation words contain each other ("on the left" is not "on"). So evidence is ranked,
two different answers of one rank are ambiguous, and a stray letter or text is never enough.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from spare.tasks.options import Prepared, folded, prepare
from spare.tasks.phrases import WORD, evened, phrase, runs, words
from spare.tasks.replies import AMBIGUOUS, EDGES, EMPTY, Reading, only, statements, united

_PLAIN_EDGES = " \t\r\n.()*"
"""What surrounds most letters, and is no part of an option's text such as "C++" or "-5"."""


def read_option(text: str, options: Mapping[str, str]) -> Reading:
    """The label of the option that a reply chooses.

    From most to least: the reply is a label ("b", "(B)", "**B.**"); it is an option's text (case,
    articles and punctuation aside); it announces one ("B. text", "The answer is B", "B is correct",
    a first or last line that is only a label); it speaks of "option B" alone; its first or last
    sentence is an option's text; exactly one option's text occurs in it. A label that is announced
    with another option's text is ambiguous, and so is a text beside another option's bare label.

    An "A" or "I" before a word is an article or pronoun, never a label. Texts are found as whole
    words, longest first, and not behind "not".

    Args:
        options: label -> text. A label may be any text. Small letters are read as labels only where
            nothing else can be meant.
    """
    names = tuple(options)
    if label := folded(names).get(text.strip(_PLAIN_EDGES).casefold()):
        return Reading(label, "ok")
    if not text.strip():
        return EMPTY
    prepared = prepare(tuple(options.items()))
    return united([_read_statement(part.strip(), prepared) for part in statements(text)])


def _read_statement(text: str, options: Prepared) -> Reading:
    if sole := options.labels.get(text.casefold()):
        return Reading(sole, "ok")
    if exact := options.exact.get(evened(text)):
        return only(exact)
    if sole := options.labels.get(text.strip(EDGES).casefold()):
        return Reading(sole, "ok")

    named = _named(text, options)
    if not named and (plain := _plainly(text, options)):
        return Reading(plain, "ok")
    leading = _leading(text, options)
    if named and not leading:
        return only(named)
    for label in leading:
        if phrase(text) == phrase(f"{label}. {options.texts[label]}"):
            return only(leading)

    mentions = _mentions(text, options)
    claims = mentions.right | _announced(text, options) | _lone_lines(text, options)
    if len(mentions.listed) < 2:
        claims |= leading
    elif not claims:
        return AMBIGUOUS
    if claims:
        return only(claims)

    contained = _contained(text, options)
    if len(mentions.options) == 1:
        return only(_unless_contradicted(mentions.options, contained))
    if framing := _framing(text, mentions.bare, options):
        return only(_unless_contradicted(framing, mentions.bare))
    if len(contained) == 1:
        return only(_unless_contradicted(contained, mentions.bare))
    return only(contained or (mentions.bare if len(mentions.bare) > 1 else ()))


def _plainly(text: str, options: Prepared) -> str:
    """The label of "The answer is B.", or of "B. text" with B's own text; "" for all else.

    The evidence below says the same of them, and takes several times as long.
    """
    found = options.plain.fullmatch(text)
    if not found:
        return ""
    label = options.labels[(found[1] or found[2]).casefold()]
    own = options.texts[label].casefold()
    return label if found[1] or found[3].casefold() == own else ""


def _unless_contradicted(answer: set[str], other: set[str]) -> set[str]:
    return answer if answer & other else answer | other


# --- Texts ---


def _named(text: str, options: Prepared) -> set[str]:
    """Options whose text this is, as far as `phrase` can tell."""
    if text.isascii() and "'" not in text:
        # Told by the first words, mostly, the last of which may be cut short.
        first = words(text[: options.reach].lower())[:-1]
        if not options.words.issuperset(first):
            return set()
    return options.phrases.get(phrase(text), set())


def _contained(text: str, options: Prepared) -> set[str]:
    """Options whose texts occur in a text, those behind a negation left out."""
    found: set[str] = set()
    rest = phrase(text)
    for option, labels in options.phrases.items():  # longest first, and what is found is cut out
        if option in rest:
            for negation in (" not ", " nor ", " neither ", " never "):
                rest = rest.replace(negation + option, " | ")
            if option in rest:
                found |= labels
                rest = rest.replace(option, " | ")
    return found


_SENTENCE_END = re.compile(r"[,.:;!?()\[\]](?:(?<![,.:])|(?<=[,:])(?!\d)|(?<=\.)(?!\w))")


def _framing(text: str, bare: set[str], options: Prepared) -> set[str]:
    """Options whose text, or the one bare label, is the first or the last line or sentence."""
    head = text[: options.reach].lstrip(EDGES)
    tail = text[-options.reach :].rstrip(EDGES)
    pieces = {
        head.split("\n", 1)[0],
        _SENTENCE_END.split(head, maxsplit=1)[0],
        tail.rsplit("\n", 1)[-1],
        _SENTENCE_END.split(tail)[-1],
    }
    found = {label for piece in pieces for label in _named(piece, options)}
    if len(bare) == 1:
        found |= bare.intersection(piece.strip(EDGES) for piece in pieces)
    return found


def _text_at(text: str, start: int, options: Prepared) -> set[str]:
    """Options whose text is the rest of the line, or of the sentence, from `start`."""
    line = text[start : start + options.reach].lstrip(EDGES).split("\n", 1)[0]
    first = WORD.search(line)
    if not first or first[0].casefold() not in options.words:
        return set()  # most announcements of a long reply, told cheaply
    end = _SENTENCE_END.search(line)
    return _named(line, options) or (_named(line[: end.start()], options) if end else set())


# --- Labels ---

_NOISE = r"[\s*_`\"'“”‘’(\[{<$\\:：=>#-]*+"
_CLOSING = r"[ \t*_`\"'”’)\]}>$]*+"
_CONNECTIVES = re.compile(
    r"and|as|because|but|due|for|given|hence|in|is|or|since|so|therefore|when|which|while", re.I
)
"""Words that can follow a letter but not an article: "A because" names A, "A mug" does not."""


def _stands(match: re.Match[str], options: Prepared) -> str | None:
    """The label that a match of the pattern names, or None if it is an ordinary word there."""
    written, after = match[1], match[2]
    label = options.labels.get(written.casefold())
    if label and after and not _CONNECTIVES.fullmatch(after):
        certain = written == label and len(label) == 1 and label.isupper() and label not in "AI"
        return label if certain else None
    return label


def _with_text(label: str, text: str, end: int, options: Prepared) -> set[str]:
    """The label, and the options whose text stands behind it if they are others."""
    return _unless_contradicted({label}, _text_at(text, end, options))


_OPENING = re.compile(
    r"(?P<wrapped>[*_`\"'“‘<(\[{$#>\s-]*+)(?:(?:option|choice)\s+)?", re.IGNORECASE
)
_WRAPPED = re.compile(r"[*_`\"'”’>)\]}$]")
_MARKED = re.compile(r"[*_`\"'”’]*+(?!\.\w\.)(?:[.)\]:：、](?!\d)|\s[-–—]\s)")


def _leading(text: str, options: Prepared) -> set[str]:
    """The label that the reply begins with, if punctuation or brackets set it off."""
    opening = _OPENING.match(text)
    match = opening and options.pattern.match(text, opening.end())
    if not opening or not match:
        return set()
    set_off = _MARKED.match(text, match.end(1)) or (
        opening["wrapped"].strip() and _WRAPPED.match(text, match.end(1))
    )
    label = set_off and _stands(match, options)
    return _with_text(label, text, match.end(1), options) if label else set()


def _lone_lines(text: str, options: Prepared) -> set[str]:
    """Labels that are the whole first or the whole last line, of several."""
    if "\n" not in text:
        return set()
    lines = text.split("\n", 1)[0], text.rsplit("\n", 1)[-1]
    folded = (line.strip(EDGES).casefold() for line in lines)
    return {options.labels[line] for line in folded if line in options.labels}


_IS = rf"(?:(?:is|was|be|would\s+be|should\s+be|must\s+be|will\s+be)\b{_NOISE})?"
_NOUN = rf"(?:(?:the\s+)?(?:correct\s+|right\s+)?(?:option|choice|letter|answer)\b{_NOISE})?"
_LEAD = (
    rf"\b(?:ans(?:wers?)?\b(?:\s+to\s+(?:the|this|that|your)\s+question\b)?{_NOISE}{_IS}{_NOUN}{_IS}"
    rf"|(?:option|choice|caption|statement)\s+(?:is|was|would\s+be|should\s+be)\b{_NOISE}"
    rf"|(?:my|correct|right|best|final)\s+(?:option|choice|caption|statement)\b{_NOISE}{_IS}"
    rf"|(?:choose|chose|pick|select|go\s+with)\b{_NOISE}{_NOUN}"
    rf"|(?P<soft>so|therefore|thus|hence|it\s+is|it['’]s|i\s+(?:think|believe)|probably|maybe"
    rf"|i(?:\s+woul|['’])d\s+say)\b,?{_NOISE})"
)
"""What announces an answer. A soft announcement counts only if its clause ends with the answer."""
_ANY_CASE, _LOWER_CASE = re.compile(_LEAD, re.IGNORECASE), re.compile(_LEAD)
_OPENERS = (
    "ans answer answers option choice caption statement my correct right best final choose chose "
    "pick select go so therefore thus hence it i probably maybe"
)
_FIRST_WORDS = frozenset(_OPENERS.split())


def _leads(text: str) -> Iterable[re.Match[str]]:
    """All matches of `_LEAD`, tried only where one of its first words is, not at every letter."""
    if not text.isascii():
        return _ANY_CASE.finditer(text)
    text = text.lower()
    places = (_places(word, text) for word in _FIRST_WORDS.intersection(runs(text)))
    found: list[re.Match[str]] = []
    for start in sorted(itertools.chain.from_iterable(places)):
        lead = _LOWER_CASE.match(text, start)
        if lead and (not found or start >= found[-1].end()):
            found.append(lead)
    return found


def _places(word: str, text: str) -> Iterator[int]:
    start = text.find(word)
    while start >= 0:
        yield start
        start = text.find(word, start + 1)


_DENIED = re.compile(
    r"(?:\b(?:not|never|if|whether|wrong|incorrect)|n['’]t)\s+"
    r"(?:(?:think|believe|say|sure|certain|agree|that|if|whether|true|the|correct|right|best|final"
    r"|my|option|choice)\s+){0,6}[(*\"'“‘]{0,3}\Z",
    re.IGNORECASE,
)
"""What takes an announcement back, directly before it: "I don't think that the", "the wrong"."""

_DENIALS = ("not", "n't", "never", "if", "whether", "wrong", "incorrect")

_LOOK_BACK = 60
"""Characters before a match in which it may be taken back."""


def _denied(text: str, start: int) -> bool:
    """Whether what begins at `start` is taken back before it."""
    before = max(0, start - _LOOK_BACK)
    if not _may_have(_DENIALS, text[before:start]):
        return False
    return _DENIED.search(text, before, start) is not None


def _may_have(words: Iterable[str], text: str) -> bool:
    """Whether a search for one of `words` is worth its time."""
    return not text.isascii() or any(map(text.lower().__contains__, words))


_CLAUSE_END = re.compile(
    rf"{_CLOSING}(?:[.,;:!?\n]|\Z|(?:because|since|as|given)\b)", re.IGNORECASE
)
_JOINT = re.compile(rf"{_CLOSING}(?:[,/&]\s*+(?:(?:or|and)\b)?|(?:or|and)\b){_NOISE}")


def _announced(text: str, options: Prepared) -> set[str]:
    """Options that words like "the answer is" announce, by label or by text."""
    found: set[str] = set()
    for lead in _leads(text):
        if _denied(text, lead.start()):
            continue
        match = options.pattern.match(text, lead.end())
        label = match and _stands(match, options)
        if not match or not label:
            found |= _text_at(text, lead.end(), options)
        elif not lead["soft"] or _CLAUSE_END.match(text, match.end(1)):
            found |= _with_text(label, text, match.end(1), options)
            found |= _joined(text, match.end(1), options)
    return found


def _joined(text: str, end: int, options: Prepared) -> set[str]:
    """Labels that a list goes on with: the C of "B or C", "B, C", "B/C"."""
    found: set[str] = set()
    while joint := _JOINT.match(text, end):
        match = options.pattern.match(text, joint.end())
        label = match and _stands(match, options)
        if not match or not label:
            break
        end = match.end(1)
        if not (_CLAUSE_END.match(text, end) or _JOINT.match(text, end)):
            break
        found.add(label)
    return found


class _Mentions(NamedTuple):
    """Labels anywhere in a reply, by how they are mentioned.

    Attributes:
        right: called right ("B is correct").
        options: called an option and not called wrong ("option B").
        bare: written as a word, in their own case.
        listed: set off at the start of a line, or before their own text: the options read back.
    """

    right: set[str]
    options: set[str]
    bare: set[str]
    listed: set[str]


_BEFORE_LABEL = re.compile(r"[^\S\n]*[*_(\[#>-]*")
_OPTION_WORDS = ("option", "choice")
_OPTION_WORD = re.compile(r"\b(?:option|choice)\s+[*_`\"'“‘(\[]{0,4}\Z", re.IGNORECASE)
_IS_RIGHT = re.compile(
    rf"{_CLOSING}(?:is|would\s+be|must\s+be|should\s+be)\s+(?:the\s+)?(?:most\s+)?"
    r"(?:correct|best|accurate|answer|right(?!\s+(?:of|side|hand)))\b",
    re.IGNORECASE,
)
_IS_WRONG = re.compile(
    rf"{_CLOSING}(?:(?:is|was|seems)\s+(?:not|wrong|incorrect|false)|isn['’]t|can\s*not|can['’]t)",
    re.IGNORECASE,
)


def _mentions(text: str, options: Prepared) -> _Mentions:
    mentions = _Mentions(set(), set(), set(), set())
    for match in options.pattern.finditer(text):
        label = _stands(match, options)
        if not label:
            continue
        start, end = match.span(1)
        if match[1] == label:
            mentions.bare.add(label)
        if marked := _MARKED.match(text, end):
            own = options.texts[label].casefold()
            rest = text[marked.end() : marked.end() + len(own) + 4].lstrip(EDGES).casefold()
            if (own and rest.startswith(own)) or _begins_line(text, start):
                mentions.listed.add(label)
        right = _IS_RIGHT.match(text, end)
        option = _may_have(_OPTION_WORDS, text[max(0, start - 16) : start]) and (
            _OPTION_WORD.search(text, max(0, start - 16), start)
        )
        if not (right or option) or _IS_WRONG.match(text, end):
            continue
        if not _denied(text, start):
            (mentions.right if right else mentions.options).add(label)
    return mentions


def _begins_line(text: str, start: int) -> bool:
    before = max(0, start - _LOOK_BACK)
    line = text.rfind("\n", before, start) + 1
    return bool((line or not before) and _BEFORE_LABEL.fullmatch(text, line, start))
