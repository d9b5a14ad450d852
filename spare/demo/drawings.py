"""How the demo world's things and furniture look.

The world is a board with cut-outs pinned to it: flat shapes, big and plain enough to be told apart
at 56 pixels. Lengths are hundredths of the picture's side. All things have one size, and so has all
furniture, so a size says nothing about a place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Colour = tuple[int, int, int]

BOARD: Colour = (240, 238, 230)

HALF, HEIGHT = 9.0, 18.0
"""Half a thing's width, and its height."""

FURNITURE_HALF, FURNITURE_HEIGHT = 17.0, 22.0
"""The same of furniture."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One stroke of a drawing: a box or an oval between two corners, a ring (an oval's outline) or
    a polygon, in the cut-out's own frame: x from its middle, y from its foot."""

    kind: Literal["box", "oval", "ring", "polygon"]
    points: tuple[float, ...]
    light: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """A cut-out: its colour, and strokes from back to front. Light ones are of a lighter colour."""

    colour: Colour
    marks: tuple[Mark, ...]


def _box(*points: float, light: bool = False) -> Mark:
    return Mark("box", points, light)


def _oval(*points: float, light: bool = False) -> Mark:
    return Mark("oval", points, light)


def _ring(*points: float) -> Mark:
    return Mark("ring", points)


def _polygon(*points: float) -> Mark:
    return Mark("polygon", points)


THINGS: Mapping[str, Shape] = {
    "ball": Shape((220, 40, 40), (_oval(-9, 0, 9, 18),)),
    "book": Shape((40, 80, 210), (_box(-9, 0, 9, 18), _box(-5, 1.5, 7.5, 16.5, light=True))),
    "cone": Shape((40, 160, 60), (_polygon(-9, 0, 9, 0, 0, 18),)),
    "cross": Shape((250, 200, 20), (_box(-9, 6, 9, 12), _box(-3, 0, 3, 18))),
    "wreath": Shape((20, 95, 45), (_ring(-9, 0, 9, 18),)),
    "drum": Shape((250, 130, 20), (_box(-9, 0, 9, 15), _oval(-9, 11, 9, 18, light=True))),
    "mug": Shape(
        (240, 110, 170),
        (_box(-9, 0, 4, 18), _box(4, 4, 9, 7), _box(4, 11, 9, 14), _box(6, 4, 9, 14)),
    ),
    "kite": Shape((40, 180, 200), (_polygon(0, 0, 9, 10, 0, 18, -9, 10),)),
    "hat": Shape((35, 35, 40), (_box(-9, 0, 9, 5), _box(-5, 5, 5, 18))),
    "plum": Shape((120, 40, 160), (_oval(-9, 0, 9, 15), _box(-1, 13, 1.5, 18))),
    "boat": Shape(
        (150, 20, 30), (_polygon(-9, 6, 9, 6, 5, 0, -5, 0), _polygon(-3, 7, -3, 18, 8, 7))
    ),
    "bell": Shape((160, 215, 30), (_polygon(-9, 2, 9, 2, 4, 18, -4, 18), _oval(-3, 0, 3, 5))),
}

FURNITURE: Mapping[str, Shape] = {
    "table": Shape(
        (150, 100, 60), (_box(-17, 14, 17, 22), _box(-15, 0, -10, 14), _box(10, 0, 15, 14))
    ),
    "bench": Shape(
        (110, 110, 110),
        (
            _box(-17, 19, 17, 22),
            _box(-17, 6, 17, 15),
            _box(-17, 0, -13, 22),
            _box(13, 0, 17, 22),
        ),
    ),
    "bed": Shape((170, 190, 215), (_box(-17, 0, 17, 16), _box(-17, 0, -10, 22))),
    "shelf": Shape(
        (190, 150, 90),
        (
            _box(-17, 0, 17, 22),
            _box(-14, 2, 14, 9.5, light=True),
            _box(-14, 12.5, 14, 20, light=True),
        ),
    ),
    "sofa": Shape(
        (120, 135, 100),
        (_box(-13, 8, 13, 22), _box(-17, 0, -10, 16), _box(10, 0, 17, 16), _box(-17, 0, 17, 9)),
    ),
    "armchair": Shape(
        (165, 125, 130),
        (_box(-10, 4, 10, 22), _box(-17, 3, -9, 15), _box(9, 3, 17, 15), _box(-17, 0, 17, 8)),
    ),
    "desk": Shape(
        (95, 75, 70),
        (
            _box(-17, 17, 17, 22),
            _box(-16, 0, -4, 17),
            _box(-14, 3, -6, 7, light=True),
            _box(12, 0, 16, 17),
        ),
    ),
    "piano": Shape((60, 60, 75), (_box(-17, 0, 17, 22), _box(-15, 7, 15, 11, light=True))),
}
