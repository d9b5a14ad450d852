"""The demo world's scenes: a thing on, under, left of or right of a piece of furniture.

Lengths are hundredths of the picture's side, x to the right and y up, so a scene can be drawn at
any size.

What may give the relation away without looking at both objects is the place of one of them. It
cannot be closed for both at once (left of means a smaller x, so not both of them can have the same
places in left as in right), but for either: four scenes of a set with the "same thing" have the
thing at the very same place, so whoever looks only at it says the same four times and is right
once; "same furniture" does that for the furniture. With the pair "anywhere" both give something
away, neither much.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from spare.demo.drawings import (
    BOARD,
    FURNITURE,
    FURNITURE_HALF,
    FURNITURE_HEIGHT,
    HALF,
    HEIGHT,
    THINGS,
    Colour,
    Shape,
)

if TYPE_CHECKING:
    import PIL.Image
    import PIL.ImageDraw

Relation = Literal["on", "under", "left_of", "right_of"]
Part = Literal["train", "dev", "test"]
Places = Literal["anywhere", "same thing", "same furniture"]
Point = tuple[float, float]

RELATIONS: tuple[Relation, ...] = get_args(Relation)

SIDE = 56
"""Pixels that a picture of the world is wide and high."""

SHADES = (-14, -7, 0, 7)
"""How much brighter all cut-outs of a scene are, in levels of 255."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture: what is where.

    Attributes:
        thing, furniture: names in THINGS and FURNITURE.
        relation: of the thing to the furniture, as the viewer sees it.
        shade: one of SHADES.
        thing_at, furniture_at: where their feet's middles are (x, y).
    """

    thing: str
    furniture: str
    relation: Relation
    shade: int
    thing_at: Point
    furniture_at: Point


def combinations(part: Part) -> list[tuple[str, str]]:
    """(thing, furniture) of one part of the world: 48 to train on, 12 for dev, 36 for test.

    A thing and a furniture meet in one part only, and every part has all things and all furniture:
    what is held out is the pair, not the words.
    """
    shares: Mapping[Part, tuple[int, ...]] = {"train": (0, 2, 4, 6), "dev": (7,), "test": (1, 3, 5)}
    return [
        (thing, furniture)
        for (i, thing), (j, furniture) in itertools.product(enumerate(THINGS), enumerate(FURNITURE))
        if (i + j) % len(FURNITURE) in shares[part]
    ]


def scene_sets(part: Part, places: Places, seed: int = 0) -> Iterator[tuple[Scene, ...]]:
    """Sets of four scenes that differ only in the relation (in the order of RELATIONS), without
    end.

    Each combination of the part comes once, in an order that the seed decides, before any comes
    again at another place.
    """
    generator = random.Random(f"{part}, {places}, {seed}")
    pool = combinations(part)
    while True:
        generator.shuffle(pool)
        for thing, furniture in pool:
            shade = generator.choice(SHADES)
            yield tuple(
                Scene(thing, furniture, relation, shade, thing_at, furniture_at)
                for relation, (thing_at, furniture_at) in zip(
                    RELATIONS, _place(places, generator), strict=True
                )
            )


def _place(places: Places, generator: random.Random) -> list[tuple[Point, Point]]:
    """Where thing and furniture are in the four scenes, uniformly over what the frame allows."""
    steps = [_step(name, generator) for name in RELATIONS]
    if places == "same thing":
        x, y = _spot(steps, generator, from_thing=True)
        return [((x, y), _rounded(x - dx, y - dy)) for dx, dy in steps]
    if places == "same furniture":
        spots = [_spot(steps, generator)] * len(steps)
    else:
        spots = [_spot([step], generator) for step in steps]
    return [
        (_rounded(x + dx, y + dy), (x, y)) for (x, y), (dx, dy) in zip(spots, steps, strict=True)
    ]


def _rounded(x: float, y: float) -> Point:
    return round(x, 2), round(y, 2)


def _step(relation: Relation, generator: random.Random) -> Point:
    """How far the thing's foot is from the furniture's."""
    if relation == "on":
        return generator.uniform(-8.0, 8.0), FURNITURE_HEIGHT
    if relation == "under":
        return generator.uniform(-8.0, 8.0), -HEIGHT - generator.uniform(1.0, 5.0)
    beside = FURNITURE_HALF + HALF + generator.uniform(1.0, 6.0)
    middle = (FURNITURE_HEIGHT - HEIGHT) / 2
    return (
        -beside if relation == "left_of" else beside,
        middle + generator.uniform(-4.0, 4.0),
    )


def _spot(steps: list[Point], generator: random.Random, from_thing: bool = False) -> Point:
    """A place for the furniture (or the thing) at which everything is inside the frame after each
    of the steps."""
    low_x, low_y, high_x, high_y = 0.0, 0.0, 100.0, 100.0
    for dx, dy in steps:
        parts = [(0.0, 0.0, FURNITURE_HALF, FURNITURE_HEIGHT), (dx, dy, HALF, HEIGHT)]
        if from_thing:
            parts = [(x - dx, y - dy, half, height) for x, y, half, height in parts]
        for x, y, half, height in parts:
            low_x, high_x = max(low_x, half - x), min(high_x, 100 - half - x)
            low_y, high_y = max(low_y, -y), min(high_y, 100 - height - y)
    return _rounded(generator.uniform(low_x, high_x), generator.uniform(low_y, high_y))


def render_scene(scene: Scene, side: int = SIDE) -> PIL.Image.Image:
    """Draw a scene: RGB, `side` x `side` pixels."""
    placed = [(scene.furniture, scene.furniture_at), (scene.thing, scene.thing_at)]
    return render(placed, scene.shade, side)


def render(placed: list[tuple[str, Point]], shade: int = 0, side: int = SIDE) -> PIL.Image.Image:
    """Draw named cut-outs, later ones over earlier ones, their feet's middles at the points."""
    import PIL.Image
    import PIL.ImageDraw

    scale = 4  # drawn large and averaged: smooth edges
    image = PIL.Image.new("RGB", (side * scale, side * scale), BOARD)
    draw = PIL.ImageDraw.Draw(image)
    for name, at in placed:
        _draw(draw, side * scale / 100, at, THINGS.get(name) or FURNITURE[name], shade)
    return image.reduce(scale)


def _draw(draw: PIL.ImageDraw.ImageDraw, unit: float, at: Point, shape: Shape, shade: int) -> None:
    line = max(1, round(0.5 * unit))
    for mark in shape.marks:
        xs = [(at[0] + x) * unit for x in mark.points[0::2]]
        ys = [(100 - at[1] - y) * unit for y in mark.points[1::2]]
        fill = _brighter(shape.colour, shade)
        edge = _mix(fill, (0, 0, 0), 0.3)
        if mark.light:
            fill = _mix(fill, (255, 255, 255), 0.6)
        if mark.kind == "polygon":
            draw.polygon(list(zip(xs, ys, strict=True)), fill, edge, line)
            continue
        corners = (min(xs), min(ys), max(xs), max(ys))
        if mark.kind == "box":
            draw.rectangle(corners, fill, edge, line)
        elif mark.kind == "oval":
            draw.ellipse(corners, fill, edge, line)
        else:
            draw.ellipse(corners, None, fill, round(4.5 * unit))


def _brighter(colour: Colour, levels: int) -> Colour:
    red, green, blue = (min(255, max(0, part + levels)) for part in colour)
    return red, green, blue


def _mix(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue
