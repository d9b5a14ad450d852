"""Pictures of one to three cut-outs scattered over the board, and pairs about what is in them.

What the base learnt from, and what is mixed into a fine-tuning so that it does not forget it. A
thing and a furniture that meet in a test, or in dev, are never in one picture.
"""

from __future__ import annotations

import io
import random
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from spare.demo.captions import naming_pairs, statement_pair
from spare.demo.drawings import FURNITURE, FURNITURE_HALF, FURNITURE_HEIGHT, HALF, HEIGHT, THINGS
from spare.demo.scenes import SHADES, Point, combinations, render
from spare.demo.world import jpeg, write_new

CONTENTS = ((1, 1), (1, 1), (1, 1), (2, 0), (3, 0), (2, 1), (1, 2), (0, 2), (1, 0), (0, 1))
"""Things and furniture in a picture, each as often as the others."""

Placed = list[tuple[str, Point]]


def write_names(folder: Path, pictures: Path, *, count: int, seed: int = 0) -> None:
    """Write a data set about `count` scattered pictures, three pairs each, into `folder`; the
    pictures go to `names/` in the folder `pictures`. One pair in six is a statement.

    The same arguments write the same bytes; writing them again changes nothing.
    """
    generator = random.Random(f"names, {seed}")
    rows = []
    for number in range(count):
        placed = scatter(generator)
        image = f"names/{number:05d}.jpg"
        write_new(pictures / image, jpeg(render(placed, generator.choice(SHADES))))
        there = [name for name, _ in placed]
        asked = generator.sample(naming_pairs(there, generator), 3)
        if number % 2 == 0:
            asked[-1] = statement_pair(there, generator)
        for question, answer in asked:
            rows.append({"question": question, "answer": answer, "image": image})
    write_rows(folder, rows)


def write_rows(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write a data set's rows as its only file."""
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), buffer)
    write_new(folder / "data" / "train-00000-of-00001.parquet", buffer.getvalue())


def scatter(generator: random.Random) -> Placed:
    """One to three cut-outs anywhere on the board, furniture first, none over another."""
    held_out = {*combinations("dev"), *combinations("test")}
    while True:
        things, furniture = generator.choice(CONTENTS)
        names = [
            *generator.sample(list(FURNITURE), furniture),
            *generator.sample(list(THINGS), things),
        ]
        if held_out.intersection(product(names[furniture:], names[:furniture])):
            continue
        placed: Placed = []
        for name in names:
            half, height = size(name)
            for _ in range(60):
                at = generator.uniform(half, 100 - half), generator.uniform(0, 100 - height)
                if not any(_touch(name, at, *other) for other in placed):
                    placed.append((name, at))
                    break
        if len(placed) == len(names):
            return placed


def size(name: str) -> tuple[float, float]:
    """Half a cut-out's width, and its height."""
    return (HALF, HEIGHT) if name in THINGS else (FURNITURE_HALF, FURNITURE_HEIGHT)


def _touch(name: str, at: Point, other: str, other_at: Point) -> bool:
    (half, height), (other_half, other_height) = size(name), size(other)
    beside = abs(at[0] - other_at[0]) >= half + other_half
    return not beside and at[1] < other_at[1] + other_height and other_at[1] < at[1] + height
