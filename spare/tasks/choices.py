"""Reading the chosen option out of a reply, by its label or by its text: `read_option`.

What makes it hard: captions begin with "A ", which is no label; models discuss options that they do
not choose; relation words contain each other ("on the left" is not "on"). So evidence is ranked,
two different answers of one rank are ambiguous, and a stray letter or text is never enough.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

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
    if label := _folded(names).get(text.strip(_PLAIN_EDGES).casefold()):
        return Reading(label, "ok")
    if not text.strip():
        return EMPTY
    prepared = _prepared(tuple(options.items()))
    return united([_read_statement(part.strip(), prepared) for part in statements(text)])


class _Options(NamedTuple):
    """Options prepared for reading.

    Attributes:
        texts: label -> text, as the sample has them.
        labels: folded label -> label.
        pattern: a label as a word of its own (group 1), and the word behind it on the line
            (group 2).
        exact: text with case and white space evened out -> labels with that text.
        phrases: phrase (see `_phrase`) -> labels with that text, longest first.
        words: every word that a text may begin with or contain.
        reach: characters behind an announcement within which an option's text would end.
    """

    texts: Mapping[str, str]
    labels: Mapping[str, str]
    pattern: re.Pattern[str]
    exact: Mapping[str, set[str]]
    phrases: Mapping[str, set[str]]
    words: frozenset[str]
    reach: int


@functools.lru_cache(maxsize=1024)
def _prepared(items: tuple[tuple[str, str], ...]) -> _Options:
    exact: dict[str, set[str]] = {}
    phrases: dict[str, set[str]] = {}
    for label, text in sorted(items, key=lambda item: -len(_phrase(item[1]))):
        exact.setdefault(_evened(text), set()).add(label)
        phrases.setdefault(_phrase(text), set()).add(label)
    exact.pop("", None)
    phrases.pop("", None)
    names = tuple(label for label, _ in items)
    return _Options(
        texts=dict(items),
        labels=_folded(names),
        pattern=_label_pattern(names),
        exact=exact,
        phrases=phrases,
        words=_ARTICLES.union(_TOWARDS, *map(str.split, phrases)),
        reach=2 * max((len(text) for _, text in items), default=0) + 16,
    )


@functools.lru_cache(maxsize=256)
def _folded(labels: tuple[str, ...]) -> Mapping[str, str]:
    return {label.casefold(): label for label in labels if label}


@functools.lru_cache(maxsize=256)
def _label_pattern(labels: tuple[str, ...]) -> re.Pattern[str]:
    names = "|".join(map(re.escape, sorted(filter(None, labels), key=len, reverse=True)))
    return re.compile(
        rf"(?<!\w)(?<!\w['’-])({names or '(?!)'})(?!\w|['’-]\w|[.,]\d)"
        rf"(?=(?:[^\S\n]+(\w{{1,12}}))?)",
        re.IGNORECASE,
    )


def _read_statement(text: str, options: _Options) -> Reading:
    if sole := options.labels.get(text.casefold()):
        return Reading(sole, "ok")
    if exact := options.exact.get(_evened(text)):
        return only(exact)
    if sole := options.labels.get(text.strip(EDGES).casefold()):
        return Reading(sole, "ok")

    phrase, leading = _phrase(text), _leading(text, options)
    if not leading and phrase in options.phrases:
        return only(options.phrases[phrase])
    for label in leading:
        if phrase == _phrase(f"{label}. {options.texts[label]}"):
            return only(leading)

    mentions = _mentions(text, options)
    claims = mentions.right | _announced(text, options) | _lone_lines(text, options)
    if len(mentions.listed) < 2:
        claims |= leading
    elif not claims:
        return AMBIGUOUS
    if claims:
        return only(claims)

    contained = _contained(phrase, options)
    if len(mentions.options) == 1:
        return only(_unless_contradicted(mentions.options, contained))
    if framing := _framing(text, mentions.bare, options):
        return only(_unless_contradicted(framing, mentions.bare))
    if len(contained) == 1:
        return only(_unless_contradicted(contained, mentions.bare))
    return only(contained or (mentions.bare if len(mentions.bare) > 1 else ()))


def _unless_contradicted(answer: set[str], other: set[str]) -> set[str]:
    return answer if answer & other else answer | other


# --- Texts ---


def _evened(text: str) -> str:
    return " ".join(text.casefold().split())


_WORD = re.compile(r"(?:(?<!\w)-)?\d+(?:[.,]\d+)*\w*|\w+(?:'\w+)*")
_ARTICLES = frozenset({"a", "an", "the"})
_TOWARDS = frozenset({"on", "to", "at", "in"})
_SIDES = frozenset({"left", "right", "front"})


def _phrase(text: str) -> str:
    """Words of a text without articles, each between spaces of its own (" mug  under  table ").

    "on the left" becomes "left": the preposition belongs to the side, and would otherwise be taken
    for the relation "on".
    """
    words = _WORD.findall(text.casefold().replace("’", "'").replace("n't", " not"))
    words = [word for word in words if word not in _ARTICLES] or words
    following = [*words[1:], ""]
    kept = [
        word
        for word, after in zip(words, following, strict=False)
        if not (word in _TOWARDS and after in _SIDES)
    ]
    return f" {'  '.join(kept)} " if kept else ""


def _contained(phrase: str, options: _Options) -> set[str]:
    """Options whose texts occur in a phrase, those behind a negation left out."""
    found: set[str] = set()
    for option, labels in options.phrases.items():  # longest first, and what is found is cut out
        if option in phrase:
            for negation in (" not ", " nor ", " neither ", " never "):
                phrase = phrase.replace(negation + option, " | ")
            if option in phrase:
                found |= labels
                phrase = phrase.replace(option, " | ")
    return found


_SENTENCE_END = re.compile(r"[;!?()\[\]]|[,:](?!\d)|\.(?!\w)")


def _framing(text: str, bare: set[str], options: _Options) -> set[str]:
    """Options whose text, or the one bare label, is the first or the last line or sentence."""
    head = text[: options.reach].lstrip(EDGES)
    tail = text[-options.reach :].rstrip(EDGES)
    pieces = {
        head.split("\n", 1)[0],
        _SENTENCE_END.split(head, maxsplit=1)[0],
        tail.rsplit("\n", 1)[-1],
        _SENTENCE_END.split(tail)[-1],
    }
    found = {label for piece in pieces for label in options.phrases.get(_phrase(piece), ())}
    if len(bare) == 1:
        found |= bare.intersection(piece.strip(EDGES) for piece in pieces)
    return found


def _text_at(text: str, start: int, options: _Options) -> set[str]:
    """Options whose text is the rest of the line, or of the sentence, from `start`."""
    line = text[start : start + options.reach].lstrip(EDGES).split("\n", 1)[0]
    first = _WORD.search(line)
    if not first or first[0].casefold() not in options.words:
        return set()  # most announcements of a long reply, told cheaply
    for piece in dict.fromkeys((line, _SENTENCE_END.split(line, maxsplit=1)[0])):
        if labels := options.phrases.get(_phrase(piece)):
            return labels
    return set()


# --- Labels ---

_NOISE = r"[\s*_`\"'“”‘’(\[{<$\\:：=>#-]*+"
_CLOSING = r"[ \t*_`\"'”’)\]}>$]*+"
_CONNECTIVES = re.compile(
    r"and|as|because|but|due|for|given|hence|in|is|or|since|so|therefore|when|which|while", re.I
)
"""Words that can follow a letter but not an article: "A because" names A, "A mug" does not."""


def _stands(match: re.Match[str], options: _Options) -> str | None:
    """The label that a match of the pattern names, or None if it is an ordinary word there."""
    written, after = match[1], match[2]
    label = options.labels.get(written.casefold())
    if label and after and not _CONNECTIVES.fullmatch(after):
        certain = written == label and len(label) == 1 and label.isupper() and label not in "AI"
        return label if certain else None
    return label


def _with_text(label: str, text: str, end: int, options: _Options) -> set[str]:
    """The label, and the options whose text stands behind it if they are others."""
    return _unless_contradicted({label}, _text_at(text, end, options))


_OPENING = re.compile(
    r"(?P<wrapped>[*_`\"'“‘<(\[{$#>\s-]*+)(?:(?:option|choice)\s+)?", re.IGNORECASE
)
_WRAPPED = re.compile(r"[*_`\"'”’>)\]}$]")
_MARKED = re.compile(r"[*_`\"'”’]*+(?!\.\w\.)(?:[.)\]:：、](?!\d)|\s[-–—]\s)")


def _leading(text: str, options: _Options) -> set[str]:
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


def _lone_lines(text: str, options: _Options) -> set[str]:
    """Labels that are the whole first or the whole last line."""
    lines = text.split("\n", 1)[0], text.rsplit("\n", 1)[-1]
    folded = (line.strip(EDGES).casefold() for line in lines)
    return {options.labels[line] for line in folded if line in options.labels}


_IS = rf"(?:(?:is|was|be|would\s+be|should\s+be|must\s+be|will\s+be)\b{_NOISE})?"
_NOUN = rf"(?:(?:the\s+)?(?:correct\s+|right\s+)?(?:option|choice|letter|answer)\b{_NOISE})?"
_LEAD = re.compile(
    rf"\b(?:ans(?:wers?)?\b(?:\s+to\s+(?:the|this|that|your)\s+question\b)?{_NOISE}{_IS}{_NOUN}{_IS}"
    rf"|(?:option|choice|caption|statement)\s+(?:is|was|would\s+be|should\s+be)\b{_NOISE}"
    rf"|(?:my|correct|right|best|final)\s+(?:option|choice|caption|statement)\b{_NOISE}{_IS}"
    rf"|(?:choose|chose|pick|select|go\s+with)\b{_NOISE}{_NOUN}"
    rf"|(?P<soft>so|therefore|thus|hence|it\s+is|it['’]s|i\s+(?:think|believe)|probably|maybe"
    rf"|i(?:\s+woul|['’])d\s+say)\b,?{_NOISE})",
    re.IGNORECASE,
)
"""What announces an answer. A soft announcement counts only if its clause ends with the answer."""

_DENIED = re.compile(
    r"(?:\b(?:not|never|if|whether|wrong|incorrect)|n['’]t)\s+"
    r"(?:(?:think|believe|say|sure|certain|agree|that|if|whether|true|the|correct|right|best|final"
    r"|my|option|choice)\s+){0,6}[(*\"'“‘]{0,3}\Z",
    re.IGNORECASE,
)
"""What takes an announcement back, directly before it: "I don't think that the", "the wrong"."""

_LOOK_BACK = 60
"""Characters before a match in which it may be taken back."""

_CLAUSE_END = re.compile(
    rf"{_CLOSING}(?:[.,;:!?\n]|\Z|(?:because|since|as|given)\b)", re.IGNORECASE
)
_JOINT = re.compile(rf"{_CLOSING}(?:[,/&]\s*+(?:(?:or|and)\b)?|(?:or|and)\b){_NOISE}")


def _announced(text: str, options: _Options) -> set[str]:
    """Options that words like "the answer is" announce, by label or by text."""
    found: set[str] = set()
    for lead in _LEAD.finditer(text):
        if _DENIED.search(text, max(0, lead.start() - _LOOK_BACK), lead.start()):
            continue
        match = options.pattern.match(text, lead.end())
        label = match and _stands(match, options)
        if not match or not label:
            found |= _text_at(text, lead.end(), options)
        elif not lead["soft"] or _CLAUSE_END.match(text, match.end(1)):
            found |= _with_text(label, text, match.end(1), options)
            found |= _joined(text, match.end(1), options)
    return found


def _joined(text: str, end: int, options: _Options) -> set[str]:
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


_LINE_START = re.compile(r"(?:\A|\n)[^\S\n]*[*_(\[#>-]*\Z")
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


def _mentions(text: str, options: _Options) -> _Mentions:
    mentions = _Mentions(set(), set(), set(), set())
    for match in options.pattern.finditer(text):
        label = _stands(match, options)
        if not label:
            continue
        start, end = match.span(1)
        before = max(0, start - _LOOK_BACK)
        if match[1] == label:
            mentions.bare.add(label)
        if marked := _MARKED.match(text, end):
            own = options.texts[label].casefold()
            rest = text[marked.end() : marked.end() + len(own) + 4].lstrip(EDGES).casefold()
            if (own and rest.startswith(own)) or _LINE_START.search(text, before, start):
                mentions.listed.add(label)
        right = _IS_RIGHT.match(text, end)
        option = _OPTION_WORD.search(text, max(0, start - 16), start)
        if not (right or option) or _IS_WRONG.match(text, end):
            continue
        if not _DENIED.search(text, before, start):
            (mentions.right if right else mentions.options).add(label)
    return mentions
