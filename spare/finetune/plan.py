"""Which pairs come in which step, in batches that fit: settled before training, from the seed.

A step takes `batch` pairs, however many devices there are. Its pieces (a picture with some of its
pairs) are spread over as many batches as the fullest step needs, the same number for every step and
device, each within the bound on tokens. The loss is a mean over all tokens that are learnt in a
step, so how they are spread changes nothing but rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any, NamedTuple

import numpy

from spare.errors import SpareError
from spare.finetune.recipes import Recipe


class Piece(NamedTuple):
    """A picture and some of its pairs: one sequence. `data` numbers the data set (0, or 1 for the
    general one)."""

    data: int
    picture: int
    pairs: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a plan needs to know of a data set.

    Attributes:
        picture_of: pair -> number of its picture; -1 if the pair is left out.
        weights: how often a pair is to come in an epoch.
        asked: pair -> tokens of its own; beginnings: picture -> tokens that its pairs share.
    """

    picture_of: Sequence[int]
    weights: Sequence[float]
    asked: Sequence[int]
    beginnings: Sequence[int]


Batch = tuple[Piece, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """All steps of a training.

    Attributes:
        steps: step -> its batches, `accumulation` for each device; a device's are every
            `devices`-th.
        accumulation: batches that a device computes in a step.
        largest: the batch of the most tokens, padding included.
        tokens: how many those are.
        pairs: drawn in all steps together.
        epoch: drawn in the first epoch.
    """

    steps: Sequence[Sequence[Batch]]
    accumulation: int
    largest: Batch
    tokens: int
    pairs: int
    epoch: int


def plan(materials: Sequence[Material], recipe: Recipe, devices: int) -> Plan:
    """The plan of a training.

    Args:
        materials: of the data set and, if there is one, of the general one.

    Raises:
        SpareError: there are no pairs, or a step has too few for the devices.
    """
    sizer = _Sizer(materials)
    first = _epoch(materials, recipe, 0)
    total = sum(len(piece.pairs) for piece in first)
    if not total:
        raise SpareError("No pair is left to train on.")
    steps = list(_steps(materials, recipe, sizer, first, total))
    bound = recipe.batch_tokens
    accumulation = max(-(-len(sizer.fill(pieces, bound)) // devices) for pieces in steps)
    spread = [sizer.spread(pieces, bound, accumulation * devices) for pieces in steps]
    largest = max((batch for step in spread for batch in step), key=sizer.cost)
    return Plan(
        spread, accumulation, largest, sizer.cost(largest), len(steps) * recipe.batch, total
    )


def _steps(
    materials: Sequence[Material],
    recipe: Recipe,
    sizer: _Sizer,
    first: Sequence[Piece],
    total: int,
) -> Iterator[list[Piece]]:
    """The pieces of each step: exactly `batch` pairs, the last one's out of the epoch after.

    Args:
        first: the first epoch's pieces, of `total` pairs.
    """
    later = (piece for epoch in count(1) for piece in _epoch(materials, recipe, epoch))
    stream = chain(first, later)
    left: Piece | None = None
    for _ in range(recipe.max_steps or math.ceil(total * recipe.epochs / recipe.batch)):
        pieces: list[Piece] = []
        missing = recipe.batch
        while missing:
            piece = left or next(stream)
            left = piece._replace(pairs=piece.pairs[missing:]) if piece.pairs[missing:] else None
            pieces += sizer.parts(piece._replace(pairs=piece.pairs[:missing]), recipe.batch_tokens)
            missing -= len(piece.pairs[:missing])
        yield pieces


def _epoch(materials: Sequence[Material], recipe: Recipe, epoch: int) -> list[Piece]:
    """Pieces of one epoch in the order that they are trained in.

    A pair of weight 2.3 comes twice, and with a chance of 0.3 once more. Each time belongs to
    another visit to its picture, so that copies do not meet in a sequence.
    """
    chance = numpy.random.default_rng([recipe.seed, epoch])
    pieces: list[Piece] = []
    drawn = 0
    for data, material in enumerate(materials):
        usable = numpy.asarray(material.picture_of) >= 0
        if data == 0:
            weights = numpy.asarray(material.weights, float)
            times = _drawn(weights if recipe.balanced else numpy.ones(len(usable)), chance)
            times[~usable] = 0
            drawn = int(times.sum())
        else:
            wanted = round(drawn * recipe.general_share / (1 - recipe.general_share))
            times = _shared_out(wanted, usable, chance)
        visits: dict[tuple[int, int], list[int]] = {}
        for pair in numpy.flatnonzero(times).tolist():
            picture = material.picture_of[pair]
            for visit in range(int(times[pair])):
                visits.setdefault((picture, visit), []).append(pair)
        for (picture, _), pairs in visits.items():
            if recipe.layout == "shared":
                pieces.append(Piece(data, picture, tuple(chance.permutation(pairs).tolist())))
            else:
                pieces += [Piece(data, picture, (pair,)) for pair in pairs]
    return [pieces[number] for number in chance.permutation(len(pieces)).tolist()]


def _drawn(weights: Any, chance: numpy.random.Generator) -> Any:
    """How often each pair comes: its weight, rounded up or down by chance."""
    whole = numpy.floor(weights)
    more = chance.random(len(weights)) < weights - whole
    return (whole + more).astype(int)


def _shared_out(wanted: int, usable: Any, chance: numpy.random.Generator) -> Any:
    """`wanted` draws among the usable pairs: each as often as any other, or once more."""
    times = numpy.zeros(len(usable), int)
    found = numpy.flatnonzero(usable)
    if len(found):
        times[found] = wanted // len(found)
        times[chance.choice(found, wanted % len(found), replace=False)] += 1
    return times


class _Sizer:
    """Knows how long pieces are, and fills batches with them."""

    def __init__(self, materials: Sequence[Material]) -> None:
        self.materials = materials

    def tokens(self, piece: Piece) -> int:
        """Length of a piece as a sequence."""
        material = self.materials[piece.data]
        asked = sum(material.asked[pair] for pair in piece.pairs)
        return material.beginnings[piece.picture] + asked

    def cost(self, batch: Batch) -> int:
        """Tokens of a batch, padding included."""
        return len(batch) * max(self.tokens(piece) for piece in batch)

    def parts(self, piece: Piece, bound: int) -> list[Piece]:
        """A piece in parts that fit the bound each, as far as single pairs do."""
        if self.tokens(piece) <= bound or len(piece.pairs) == 1:
            return [piece]
        return [part for half in _halves(piece) for part in self.parts(half, bound)]

    def fill(self, pieces: Sequence[Piece], bound: int) -> list[Batch]:
        """As few batches as like lengths beside each other come to. A pair that is longer than the
        bound gets one of its own."""
        batches: list[Batch] = []
        for piece in sorted(pieces, key=self.tokens, reverse=True):
            # The first is the longest, and what the others are filled up to.
            if batches and (len(batches[-1]) + 1) * self.tokens(batches[-1][0]) <= bound:
                batches[-1] = (*batches[-1], piece)
            else:
                batches.append((piece,))
        return batches

    def spread(self, pieces: Sequence[Piece], bound: int, wanted: int) -> list[Batch]:
        """Exactly `wanted` batches: the costliest is halved until there are so many.

        Raises:
            SpareError: there are not enough pairs.
        """
        batches = self.fill(pieces, bound)
        while len(batches) < wanted:
            divisible = [batch for batch in batches if len(batch) > 1 or len(batch[0].pairs) > 1]
            if not divisible:
                raise SpareError(
                    f"A step of {sum(len(piece.pairs) for piece in pieces)} pairs cannot be spread "
                    f"over {wanted} batches; make batch a multiple of the number of devices."
                )
            costliest = max(divisible, key=self.cost)
            batches.remove(costliest)
            middle = len(costliest) // 2
            batches += (
                [costliest[:middle], costliest[middle:]]
                if middle
                else [(half,) for half in _halves(costliest[0])]
            )
        return batches


def _halves(piece: Piece) -> tuple[Piece, Piece]:
    middle = len(piece.pairs) // 2
    return piece._replace(pairs=piece.pairs[:middle]), piece._replace(pairs=piece.pairs[middle:])
