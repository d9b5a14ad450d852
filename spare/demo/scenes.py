"""The demo world's scenes: a small thing on, under, left of or right of a piece of furniture.

Lengths are hundredths of the picture's side, x to the right and y up, so a scene can be drawn at
any size. The picture is bright and plain, and its light falls from the upper left: a model without
position embeddings can tell from the shading where in the picture it looks.

What may give the relation away without looking at both objects is the place of one of them. It
cannot be closed for both at once (left of means a smaller x, so not both of them can have the same
places in left as in right), but for either: four scenes of a set with the "same thing" have the
thing at the very same place, so whoever looks only at it says the same four times and is right
once; "same furniture" does that for the furniture. With the pair "anywhere" both give something
away, neither much.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from spare.demo.drawings import COLOURS, FURNITURE, THINGS, TONES, Colour, Furniture, Mark, Thing

if TYPE_CHECKING:
    import PIL.Image
    import PIL.ImageDraw

Relation = Literal["on", "under", "left_of", "right_of"]
Part = Literal["train", "dev", "test"]
Places = Literal["anywhere", "same thing", "same furniture"]

RELATIONS: tuple[Relation, ...] = get_args(Relation)

SIDE = 64
"""Pixels that a picture of the world is wide and high."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture: what is where.

    Attributes:
        thing, colour, furniture: names in THINGS, COLOURS, FURNITURE.
        relation: of the thing to the furniture, as the viewer sees it.
        tone: index into TONES.
        thing_at, furniture_at: where their feet's middles are (x, y).
    """

    thing: str
    colour: str
    furniture: str
    relation: Relation
    tone: int
    thing_at: tuple[float, float]
    furniture_at: tuple[float, float]

    @property
    def name(self) -> str:
        """What captions call the thing ("red car"): two words, as VSR's longest."""
        return f"{self.colour} {self.thing}"


def combinations(part: Part) -> list[tuple[str, str, str]]:
    """(thing, colour, furniture) of one part of the world: 384 to train on, 96 for dev, 96 for
    test.

    A thing and a furniture meet in one part only, in any colour, and every part has all things, all
    colours and all furniture: what is held out is the pair, not the words.
    """
    shares: Mapping[Part, tuple[int, ...]] = {"train": (0, 1, 2, 3), "dev": (4,), "test": (5,)}
    return [
        (thing, colour, furniture)
        for (i, thing), (j, furniture) in itertools.product(enumerate(THINGS), enumerate(FURNITURE))
        if (i + j) % len(FURNITURE) in shares[part]
        for colour in COLOURS
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
        for thing, colour, furniture in pool:
            tone = generator.randrange(len(TONES))
            yield tuple(
                Scene(thing, colour, furniture, relation, tone, thing_at, furniture_at)
                for relation, (thing_at, furniture_at) in zip(
                    RELATIONS, _place(thing, furniture, places, generator), strict=True
                )
            )


def _place(
    thing: str, furniture: str, places: Places, generator: random.Random
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Where thing and furniture stand in the four scenes, uniformly over what the frame allows."""
    steps = [_step(THINGS[thing], FURNITURE[furniture], name, generator) for name in RELATIONS]
    if places == "same thing":
        x, y = _spot(thing, furniture, steps, generator, from_thing=True)
        return [((x, y), _rounded(x - dx, y - dy)) for dx, dy in steps]
    if places == "same furniture":
        spots = [_spot(thing, furniture, steps, generator)] * len(steps)
    else:
        spots = [_spot(thing, furniture, [step], generator) for step in steps]
    return [
        (_rounded(x + dx, y + dy), (x, y)) for (x, y), (dx, dy) in zip(spots, steps, strict=True)
    ]


def _rounded(x: float, y: float) -> tuple[float, float]:
    return round(x, 2), round(y, 2)


def _step(
    thing: Thing, furniture: Furniture, relation: Relation, generator: random.Random
) -> tuple[float, float]:
    """How far the thing's foot is from the furniture's."""
    if relation == "on":
        room = furniture.top_half - thing.half
        return generator.uniform(-room, room), furniture.top
    nearer = -generator.uniform(0.0, 1.5)  # a little towards the viewer
    if relation == "under":
        room = furniture.below_half - thing.half
        return generator.uniform(-room, room), nearer
    beside = furniture.half + thing.half + generator.uniform(2.0, 4.0)
    return (-beside if relation == "left_of" else beside), nearer


def _spot(
    thing: str,
    furniture: str,
    steps: list[tuple[float, float]],
    generator: random.Random,
    from_thing: bool = False,
) -> tuple[float, float]:
    """A place for the furniture (or the thing) at which everything is inside the frame after each
    of the steps."""
    edge = 1.0
    low_x, low_y, high_x, high_y = edge, edge, 100 - edge, 100 - edge
    small, large = THINGS[thing], FURNITURE[furniture]
    for dx, dy in steps:
        parts = [(0.0, 0.0, large.half, large.height), (dx, dy, small.half, small.height)]
        if from_thing:
            parts = [(x - dx, y - dy, half, height) for x, y, half, height in parts]
        for x, y, half, height in parts:
            low_x, high_x = max(low_x, edge + half - x), min(high_x, 100 - edge - half - x)
            low_y, high_y = max(low_y, edge - y), min(high_y, 100 - edge - height - y)
    return _rounded(generator.uniform(low_x, high_x), generator.uniform(low_y, high_y))


def render_scene(scene: Scene, side: int = SIDE) -> PIL.Image.Image:
    """Draw a scene: RGB, `side` x `side` pixels."""
    import PIL.ImageDraw

    scale = 4  # drawn large and averaged: smooth edges
    image = _room(side * scale).copy()
    draw = PIL.ImageDraw.Draw(image)
    unit = side * scale / 100
    thing, furniture = THINGS[scene.thing], FURNITURE[scene.furniture]
    wood, cloth = TONES[scene.tone]
    main = COLOURS[scene.colour]
    shades = {
        "main": main,
        "dark": _mix(main, (0, 0, 0), 0.35),
        "light": _mix(main, (255, 255, 255), 0.5),
        "white": (252, 252, 250),
        "ink": (40, 38, 42),
        "flame": (255, 160, 30),
    }
    surfaces = {
        "wood": wood,
        "dark": _mix(wood, (0, 0, 0), 0.25),
        "cloth": cloth,
        "pale": _mix(cloth, (255, 255, 255), 0.3),
        "white": (246, 244, 240),
    }
    _shadow(draw, unit, scene.furniture_at, furniture.half)
    if scene.relation != "on":
        _shadow(draw, unit, scene.thing_at, thing.half)
    _draw(draw, unit, scene.furniture_at, furniture.marks, surfaces)
    _draw(draw, unit, scene.thing_at, thing.marks, shades)
    return image.reduce(scale)


def _mix(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def _shadow(
    draw: PIL.ImageDraw.ImageDraw, unit: float, at: tuple[float, float], half: float
) -> None:
    x, y = at
    height = 100 * unit
    corners = ((x - half - 1) * unit, height - (y + 1.2) * unit)
    opposite = ((x + half + 1) * unit, height - (y - 1.0) * unit)
    draw.ellipse((*corners, *opposite), fill=(196, 194, 192))


def _draw(
    draw: PIL.ImageDraw.ImageDraw,
    unit: float,
    at: tuple[float, float],
    marks: tuple[Mark, ...],
    shades: Mapping[str, Colour],
) -> None:
    line = max(1, round(0.5 * unit))
    for mark in marks:
        xs = [(at[0] + x) * unit for x in mark.points[0::2]]
        ys = [(100 - at[1] - y) * unit for y in mark.points[1::2]]
        fill = shades[mark.shade]
        edge = _mix(fill, (0, 0, 0), 0.3)
        if mark.kind == "polygon":
            draw.polygon(list(zip(xs, ys, strict=True)), fill, edge, line)
            continue
        corners = (min(xs), min(ys), max(xs), max(ys))
        if mark.kind == "box":
            draw.rectangle(corners, fill, edge, line)
        elif mark.kind == "oval":
            draw.ellipse(corners, fill, edge, line)
        else:
            draw.ellipse(corners, None, fill, round(1.5 * unit))


@functools.lru_cache(maxsize=4)
def _room(side: int) -> PIL.Image.Image:
    """The empty room: a light wall, brighter and warmer towards the upper left."""
    import PIL.Image

    falling = PIL.Image.linear_gradient("L").resize((side, side))  # 0 at the top, 255 below
    turned = falling.transpose(PIL.Image.Transpose.ROTATE_90)  # 0 at the left
    red = turned.point([255 - value * 36 // 255 for value in range(256)])
    blue = falling.point([226 + value * 22 // 255 for value in range(256)])
    green = PIL.Image.blend(falling, turned, 0.5).point([250 - v * 24 // 255 for v in range(256)])
    return PIL.Image.merge("RGB", (red, green, blue))
