"""Questions of one caption that say the same: the same words, or nearly the same meaning.

Two pictures may well be asked the same question, so nothing is compared across captions.

The paper compares meanings by CLIP's text encoder, cutoff 0.95. That encoder hardly tells "left of
the tree" from "right of the tree", nor who is left of whom; so questions whose direction words,
numbers, colours, kind, things or their order differ are never taken for the same (`guard`), and how
often that was needed is counted. One question with two answers is a contradiction, and neither is
kept.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from spare.generation.mentions import stem, tokens
from spare.generation.models import Models
from spare.generation.stages import Inputs, Options, Pairs, Work
from spare.generation.words import word_set

if TYPE_CHECKING:
    import pyarrow
    import torch

VERSION = 2
NEEDS = ("generate",)

AT_ONCE = 2048
"""Questions that are given to the encoder together."""

NEAR = 0.8
"""Least cosine that is kept: thresholds from here on can be tried without the encoder."""

POLES = {
    word: pole
    for pole, words in {
        "left": "left leftmost",
        "right": "right rightmost",
        "up": "above over top upper upward higher highest up",
        "down": "below under beneath underneath bottom lower lowest down",
        "front": "front foreground ahead before",
        "back": "behind back background rear",
        "in": "in inside within into",
        "out": "out outside",
        "near": "near close closer closest next beside nearby adjacent",
        "far": "far farther farthest away distant",
        "on": "on atop onto",
        "between": "between among",
        "around": "around surrounding surrounded surrounds",
        "facing": "facing faces face faced",
        "toward": "toward towards",
        "middle": "middle center centre",
        "edge": "edge corner",
        "opposite": "opposite across",
        "north": "north northern",
        "south": "south southern",
        "east": "east eastern",
        "west": "west western",
    }.items()
    for word in words.split()
}
"""Word -> the end of an axis that it names."""

NUMBERS = word_set(
    "one two three four five six seven eight nine ten first second third fourth fifth last"
)
COLOURS = word_set(
    "red orange yellow green blue purple pink brown black white grey gray silver golden beige"
)
FUNCTION_WORDS = word_set(
    "a an the of to is are was were does do did in on at it its their there this that and "
    "or be which what where who how whose when why can you see seen visible found located "
    "positioned placed situated"
)


def asks(options: Options) -> bool:
    """A dual encoder."""
    return bool(options.clip)


WEAK = frozenset(
    ("in", "on", "near", "middle", "edge", "between", "around", "facing", "toward", "opposite")
)
"""Directions that another wording of the same question may leave out, or call a place by."""

KINDS = {
    **dict.fromkeys(("what", "which", "who", "whom", "whose"), "what"),
    **{word: word for word in ("where", "how", "when", "why")},
}
"""Question word -> what is asked for."""
MEASURES = word_set("many much far close near often long tall wide high big large old")
PLACES = word_set("side part direction way corner half quadrant edge end spot place area")
"""What a question asks for that means "where" when it stands behind its "what" or "which"."""
POSITIONS = word_set("position location placement orientation whereabouts")
PIVOTS = word_set("relation relative respect compared against than")
"""Words that have one thing before them and another behind, and name no direction."""


def settings(options: Options) -> Mapping[str, Any]:
    """What the output depends on."""
    return {"clip": options.clip}


def open_stage(options: Options, models: Models) -> Work:
    """What does a shard: pair_id, repeat (it has the words of an earlier one), contradiction (and
    another answer; said of both), near (numbers of earlier questions of the caption, how similar,
    and whether the guard parts them)."""

    def work(inputs: Inputs, on_row: Callable[[int], None]) -> pyarrow.Table:
        pairs = inputs.pairs
        plain = pairs.plain
        repeat, contradiction = [False] * len(plain), [False] * len(plain)
        near: list[list[dict[str, Any]]] = [[] for _ in plain]
        known = _embeddings(inputs, models, on_row) if options.clip else {}
        for numbers in pairs.by_caption():
            first: dict[str, int] = {}
            for number in numbers:
                question, answer = plain[number]
                earlier = first.setdefault(question, number)
                if earlier == number:
                    continue
                repeat[number] = True
                if answer != plain[earlier][1]:
                    contradiction[number] = contradiction[earlier] = True
            if options.clip:
                _compare(list(first.values()), numbers.start, pairs, near, known)
        on_row(len(pairs.captions))
        return _table(pairs.ids, repeat, contradiction, near)

    return work


def _embeddings(
    inputs: Inputs, models: Models, on_row: Callable[[int], None]
) -> dict[str, torch.Tensor]:
    """Question -> its embedding, each shape (width,), of every distinct question of a shard; less
    those that are too long for the encoder, which are near to nothing."""
    pairs = inputs.pairs
    texts = list(dict.fromkeys(pairs.questions))
    found: dict[str, torch.Tensor] = {}
    for start in range(0, len(texts), AT_ONCE):
        some = texts[start : start + AT_ONCE]
        for text, one in zip(some, models.clip.embed(some), strict=True):
            if not isinstance(one, str):
                found[text] = one
        on_row(len(pairs.captions) * (start + len(some)) // len(texts))
    return found


def _compare(
    numbers: Sequence[int],
    start: int,
    pairs: Pairs,
    near: list[list[dict[str, Any]]],
    embeddings: Mapping[str, torch.Tensor],
) -> None:
    """Note how near each question is to earlier ones of its caption."""
    import torch

    caption = frozenset(map(stem, tokens(pairs.captions[pairs.rows[start]])))
    known = [
        (number, embeddings[pairs.questions[number]])
        for number in numbers
        if pairs.questions[number] in embeddings
    ]
    if len(known) < 2:
        return
    cosines = torch.stack([one for _, one in known])
    cosines = cosines @ cosines.T
    for place in range(1, len(known)):
        row = cosines[place, :place]
        for earlier in (row >= NEAR).nonzero().flatten().tolist():
            one, other = known[earlier][0], known[place][0]
            near[other].append(
                {
                    "to": one - start,
                    "cosine": row[earlier].item(),
                    "guarded": differ(pairs.asked[one], pairs.asked[other], caption),
                }
            )


def differ(one: Sequence[str], other: Sequence[str], caption: Container[str]) -> bool:
    """Whether two questions cannot mean the same, however alike they sound.

    Args:
        one, other: their tokens.
        caption: words of the caption, in their plain form: what each of two questions has of it
            and the other lacks is two things, and no two words for one.
    """
    if any(_of(one, kind) != _of(other, kind) for kind in (_number, _colour, _strong)):
        return True
    kind = _kind(one)
    if kind != _kind(other):
        return True
    # "In which corner" and "where on": prepositions of a place that is asked for do not count.
    if kind != "where" and _each_has_its_own(_of(one, _weak), _of(other, _weak)):
        return True
    things, others = _things(one), _things(other)
    named = [{word for word in words if word in caption} for words in (things, others)]
    return _each_has_its_own(*named) or _is_swapped(one, other, set(things) & set(others))


def _each_has_its_own(one: Set[str], other: Set[str]) -> bool:
    return bool(one - other and other - one)


def _is_swapped(one: Sequence[str], other: Sequence[str], shared: Set[str]) -> bool:
    """Whether something stands on the other side of the direction that both questions name ("a left
    of b", "b left of a"); or, where they name none, whether the things are in reverse."""
    first, second = (_pivot(words) for words in (one, other))
    if first is None or second is None:
        order, reverse = (
            [word for word in _things(words) if word in shared] for words in (one, other)
        )
        return order != reverse and order == reverse[::-1]
    before, behind = set(_things(one[:first])), set(_things(one[first:]))
    front, back = set(_things(other[:second])), set(_things(other[second:]))
    moved = (before - behind) & (back - front) or (behind - before) & (front - back)
    return bool(moved & shared)


def _pivot(words: Sequence[str]) -> int | None:
    """The place of the first word that names a direction, or has things on both its sides."""
    return next(
        (place for place, word in enumerate(words) if _strong(word) or word in PIVOTS), None
    )


def _of(words: Sequence[str], name: Callable[[str], str]) -> set[str]:
    return set(filter(None, map(name, words)))


def _strong(word: str) -> str:
    pole = POLES.get(word, "")
    return "" if pole in WEAK else pole


def _weak(word: str) -> str:
    pole = POLES.get(word, "")
    return pole if pole in WEAK else ""


def _number(word: str) -> str:
    return word if word in NUMBERS or word[0].isdigit() else ""


def _colour(word: str) -> str:
    return word if word in COLOURS else ""


def _kind(words: Sequence[str]) -> str:
    """What a question asks for: "where", "what", "how many", "why" ...; "" for yes or no."""
    start = [word.partition("'")[0].partition("’")[0] for word in words[:6]]
    place = next((place for place, word in enumerate(start) if word in KINDS), None)
    if place is None:
        return ""
    word, behind = start[place], words[place + 1 : place + 5]
    if word == "how":
        return f"how {behind[0]}" if behind and behind[0] in MEASURES else "where"
    asks_where = (behind[:1] and behind[0] in PLACES) or not POSITIONS.isdisjoint(behind)
    return "where" if asks_where else KINDS[word]


def _things(words: Sequence[str]) -> list[str]:
    return [
        stem(word)
        for word in words
        if word[0].isalpha() and word not in FUNCTION_WORDS and word not in POLES
    ]


def _table(
    ids: list[str],
    repeat: list[bool],
    contradiction: list[bool],
    near: list[list[dict[str, Any]]],
) -> pyarrow.Table:
    import pyarrow

    one = pyarrow.struct(
        [("to", pyarrow.int32()), ("cosine", pyarrow.float32()), ("guarded", pyarrow.bool_())]
    )
    return pyarrow.table(
        {
            "pair_id": pyarrow.array(ids, pyarrow.string()),
            "repeat": pyarrow.array(repeat, pyarrow.bool_()),
            "contradiction": pyarrow.array(contradiction, pyarrow.bool_()),
            "near": pyarrow.array(near, pyarrow.list_(one)),
        }
    )
