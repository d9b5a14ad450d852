"""How the demo world's colours, things and furniture look.

Lengths are hundredths of the picture's side. Shapes are few and plain, so that they can be told
apart at 64 pixels, and every furniture has room on it and under it for every thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Colour = tuple[int, int, int]

COLOURS: Mapping[str, Colour] = {
    "red": (214, 40, 40),
    "orange": (245, 130, 20),
    "yellow": (250, 205, 20),
    "green": (40, 150, 60),
    "blue": (35, 90, 205),
    "purple": (125, 55, 170),
    "pink": (245, 110, 170),
    "black": (45, 45, 50),
}

TONES: tuple[tuple[Colour, Colour], ...] = (
    ((190, 150, 105), (150, 165, 175)),
    ((125, 88, 62), (200, 180, 150)),
    ((150, 140, 128), (120, 132, 128)),
    ((100, 80, 70), (165, 150, 158)),
)
"""Wood and cloth of the furniture: duller than any thing, so that things stand out."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One stroke of a drawing: a box or an oval between two corners, a ring (an oval's outline) or
    a polygon, in the thing's or the furniture's own frame: x from its middle, y from its foot."""

    kind: Literal["box", "oval", "ring", "polygon"]
    shade: str
    points: tuple[float, ...]


def _box(shade: str, *points: float) -> Mark:
    return Mark("box", shade, points)


def _oval(shade: str, *points: float) -> Mark:
    return Mark("oval", shade, points)


def _ring(shade: str, *points: float) -> Mark:
    return Mark("ring", shade, points)


def _polygon(shade: str, *points: float) -> Mark:
    return Mark("polygon", shade, points)


@dataclass(frozen=True, slots=True)
class Thing:
    """A small object: half of its width, its height, how it is drawn."""

    half: float
    height: float
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Furniture:
    """Something to stand on and to lie under.

    Attributes:
        half, height: half of its width, and its height.
        top, top_half: how high the surface is, and half of the room on it.
        below_half: half of the room between the legs.
    """

    half: float
    height: float
    top: float
    top_half: float
    below_half: float
    marks: tuple[Mark, ...]


THINGS: Mapping[str, Thing] = {
    "ball": Thing(
        6,
        12,
        (
            _oval("main", -6, 0, 6, 12),
            _polygon("white", -5.6, 4.4, 5.6, 4.4, 5.6, 7.6, -5.6, 7.6),
        ),
    ),
    "bear": Thing(
        5.5,
        14,
        (
            _oval("main", -5, 0, 5, 8.4),
            _oval("main", -5.5, 10, -1.8, 13.9),
            _oval("main", 1.8, 10, 5.5, 13.9),
            _oval("main", -4.4, 6.2, 4.4, 13.4),
            _oval("light", -2.8, 1.2, 2.8, 6.4),
            _oval("light", -2, 7, 2, 9.8),
            _oval("ink", -2.6, 10, -1.2, 11.4),
            _oval("ink", 1.2, 10, 2.6, 11.4),
        ),
    ),
    "book": Thing(
        5,
        13.5,
        (
            _box("main", -5, 0, 5, 13.5),
            _box("dark", -5, 0, -3, 13.5),
            _box("white", -1.4, 7.4, 3.4, 10.6),
        ),
    ),
    "boot": Thing(
        6.5,
        13.5,
        (
            _polygon("main", -5, 1, 6.5, 1, 6.5, 4, 1.5, 6.2, 1.5, 13.5, -5, 13.5),
            _box("ink", -5, 0, 6.5, 1.6),
            _box("light", -5.4, 11, 1.9, 13.5),
        ),
    ),
    "bottle": Thing(
        3.2,
        14,
        (
            _polygon(
                "main", -3.2, 0, 3.2, 0, 3.2, 7.5, 1.3, 10, 1.3, 13, -1.3, 13, -1.3, 10, -3.2, 7.5
            ),
            _box("white", -3.2, 2.4, 3.2, 5.6),
            _box("ink", -1.6, 12.2, 1.6, 14),
        ),
    ),
    "candle": Thing(
        5,
        14,
        (
            _oval("dark", -5, 0, 5, 2.4),
            _box("main", -2.6, 1, 2.6, 9.4),
            _oval("flame", -1.9, 9.2, 1.9, 14),
        ),
    ),
    "car": Thing(
        7.5,
        9.5,
        (
            _polygon(
                "main", -7.5, 1.8, 7.5, 1.8, 7.5, 5.4, 4.6, 6, 2.6, 9.5, -4, 9.5, -5.8, 6, -7.5, 5.4
            ),
            _polygon("white", -3.4, 8.6, 2, 8.6, 3.4, 6.2, -4.6, 6.2),
            _oval("ink", -6.2, 0, -2, 4.2),
            _oval("ink", 2, 0, 6.2, 4.2),
        ),
    ),
    "duck": Thing(
        7.5,
        12,
        (
            _polygon("main", -7.5, 7.4, -2, 5.4, -5, 2),
            _oval("main", -7, 0, 4.6, 7.4),
            _oval("main", -0.5, 5, 5.5, 12),
            _polygon("flame", 5, 9.9, 7.5, 8.5, 5, 7.3),
            _oval("ink", 2.2, 8.6, 3.9, 10.3),
        ),
    ),
    "gift": Thing(
        6.6,
        13.5,
        (
            _box("main", -6, 0, 6, 8),
            _box("main", -6.6, 7, 6.6, 10),
            _box("white", -1.2, 0, 1.2, 10),
            _oval("white", -4.6, 9.6, 0, 13.5),
            _oval("white", 0, 9.6, 4.6, 13.5),
        ),
    ),
    "hat": Thing(
        7.5,
        10,
        (
            _oval("main", -7.5, 0, 7.5, 3.6),
            _polygon("main", -4.6, 1.6, 4.6, 1.6, 4, 10, -4, 10),
            _polygon("white", -4.6, 2.4, 4.6, 2.4, 4.4, 4.8, -4.4, 4.8),
        ),
    ),
    "lamp": Thing(
        6.2,
        14,
        (
            _oval("ink", -3.8, 0, 3.8, 2.2),
            _box("ink", -0.8, 1, 0.8, 7),
            _polygon("main", -6.2, 6.2, 6.2, 6.2, 3, 14, -3, 14),
        ),
    ),
    "mug": Thing(
        6.5,
        11,
        (
            _ring("main", 0.5, 2, 6.5, 8.6),
            _box("main", -6, 0, 2.8, 9.8),
            _oval("dark", -6, 8.6, 2.8, 11),
        ),
    ),
}

FURNITURE: Mapping[str, Furniture] = {
    "armchair": Furniture(
        17,
        38,
        21,
        11.5,
        12.5,
        (
            _box("dark", -15.5, 0, -13, 17),
            _box("dark", 13, 0, 15.5, 17),
            _oval("cloth", -14, 26, 14, 38),
            _box("cloth", -14, 18, 14, 32),
            _box("cloth", -17, 16, -11.8, 27),
            _box("cloth", 11.8, 16, 17, 27),
            _box("pale", -11.8, 16, 11.8, 21),
        ),
    ),
    "bed": Furniture(
        18,
        30,
        22,
        13,
        14,
        (
            _box("wood", -18, 0, -15, 30),
            _box("wood", 15, 0, 18, 24),
            _box("wood", -15, 15.5, 15, 18),
            _box("white", -15, 18, 15, 21),
            _oval("white", -14.5, 19.5, -6, 24),
            _box("cloth", -6, 17.5, 15, 22),
        ),
    ),
    "bench": Furniture(
        18,
        34,
        20,
        18,
        12.5,
        (
            _box("wood", -17, 20, -14.5, 34),
            _box("wood", 14.5, 20, 17, 34),
            _box("wood", -18, 29.5, 18, 33),
            _box("wood", -18, 23.5, 18, 27),
            _box("dark", -16, 0, -13, 17),
            _box("dark", 13, 0, 16, 17),
            _box("wood", -18, 16.5, 18, 20),
        ),
    ),
    "chair": Furniture(
        12,
        42,
        20,
        12,
        8.6,
        (
            _box("wood", -11.5, 20, -9, 42),
            _box("wood", 9, 20, 11.5, 42),
            _box("wood", -9, 35, 9, 41),
            _box("wood", -9, 27, 9, 30.5),
            _box("dark", -11.5, 0, -9, 17),
            _box("dark", 9, 0, 11.5, 17),
            _box("wood", -12, 16.5, 12, 20),
        ),
    ),
    "stool": Furniture(
        12.5,
        21,
        20.5,
        10,
        8.4,
        (
            _polygon("dark", -12.5, 0, -10, 0, -8, 17, -10.5, 17),
            _polygon("dark", 12.5, 0, 10, 0, 8, 17, 10.5, 17),
            _oval("cloth", -11.5, 15.5, 11.5, 21),
        ),
    ),
    "table": Furniture(
        18,
        20,
        20,
        18,
        13.5,
        (
            _box("dark", -16.5, 0, -14, 17),
            _box("dark", 14, 0, 16.5, 17),
            _box("wood", -18, 16.5, 18, 20),
        ),
    ),
}
