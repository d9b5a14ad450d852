"""Hyper-detailed captions of the demo world's training scenes, in DOCCI's published layout.

`spare captions docci` reads them and `spare generate --llm template:` makes pairs of them, as of
any other source. A caption says the relation from both ends, so that a picture gives eight pairs:
four about the thing, four about the furniture. What else it says (colours, the room) is not about
space, and the grammar passes over it.

Of the same captions `other_pairs` makes as many pairs that say nothing about space: what a control
arm is trained on.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from spare.demo.drawings import COLOURS, FURNITURE, THINGS
from spare.demo.scenes import Relation, Scene, render_scene, scene_sets
from spare.demo.world import jpeg, write_new

WAYS: Mapping[Relation, Sequence[str]] = {
    "on": ("on", "on top of"),
    "under": ("under",),
    "left_of": ("to the left of",),
    "right_of": ("to the right of",),
}
"""How a caption says where the thing is."""

FROM_THE_FURNITURE: Mapping[Relation, str] = {
    "on": "below",
    "under": "above",
    "left_of": "to the right of",
    "right_of": "to the left of",
}
"""How it says where the furniture is then."""

VERBS = ("is", "stands", "sits")
ROOMS = ("The room is bright and plain.", "Nothing else is to be seen.", "The light is soft.")

FIRST_SEED = 1_000
"""Of the scenes that are described; the layouts of benchmarks take theirs from below."""

MAX_CAPTIONS = 9_647
"""Descriptions in DOCCI's training split."""


def describe(scene: Scene, generator: random.Random) -> str:
    """A caption of several sentences, all of them true of the scene."""
    furniture, name = scene.furniture, scene.name
    thing = f"{article(name).capitalize()} {name}"
    way = generator.choice(WAYS[scene.relation])
    said = [
        f"{thing} {generator.choice(VERBS)} {way} {article(furniture)} {furniture}.",
        f"The {furniture} is {FROM_THE_FURNITURE[scene.relation]} the {name}.",
        f"The {scene.thing} is {scene.colour}.",
        generator.choice(ROOMS),
    ]
    return " ".join(said)


def training_scenes(count: int, seed: int = 0) -> Iterator[Scene]:
    """The first `count` scenes to train on: every relation equally often, anywhere in the
    picture."""
    # Not the pictures of VSR's training split, which belong to a benchmark.
    sets = scene_sets("train", "anywhere", FIRST_SEED + seed)
    return itertools.islice(itertools.chain.from_iterable(sets), count)


def write_captions(folder: Path, *, count: int, seed: int = 0) -> None:
    """Write `count` described pictures into `folder` as DOCCI's files lie.

    The same arguments write the same bytes; writing them again changes nothing.

    Raises:
        SpareError: a file of another content is in the way, or the disk is full.
    """
    if not 1 <= count <= MAX_CAPTIONS:
        raise ValueError(f"count is 1 to {MAX_CAPTIONS}, not {count}")
    generator = random.Random(f"captions, {seed}")
    lines = []
    for number, scene in enumerate(training_scenes(count, seed)):
        image = f"{image_key(number)}.jpg"
        write_new(folder / "images" / image, jpeg(render_scene(scene)))
        row = {
            "example_id": image_key(number),
            "split": "train",
            "image_file": image,
            "description": describe(scene, generator),
        }
        lines.append(json.dumps(row) + "\n")
    # Last, because the descriptions say that the pictures are there.
    write_new(folder / "docci_descriptions.jsonlines", "".join(lines).encode())


def write_control(dataset: Path, out: Path, *, count: int, seed: int = 0) -> int:
    """Write pairs that say nothing about space, as many about each picture as a data set has.

    Args:
        dataset: folder of `spare publish`, of the pairs about `write_captions(count, seed)`.
        out: folder of the new data set: its columns are what training reads.
        count, seed: as they were given to `write_captions`.

    Returns:
        The number of pairs.
    """
    import io

    import pyarrow
    import pyarrow.parquet

    wanted = ("source", "subset", "image_key", "image_kind", "image")
    shards = sorted((dataset / "data").glob("*.parquet"))
    tables = [pyarrow.parquet.read_table(path, columns=list(wanted)) for path in shards]
    places = pyarrow.concat_tables(tables).to_pylist()
    asked = Counter(place["image_key"] for place in places)
    place_of = {place["image_key"]: place for place in places}
    generator = random.Random(f"control, {seed}")
    rows = []
    for number, scene in enumerate(training_scenes(count, seed)):
        key = image_key(number)
        pairs = other_pairs(scene, generator)
        for question, answer in itertools.islice(pairs, asked[key]):
            rows.append({"question": question, "answer": answer, **place_of[key]})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    write_new(out / "data" / "train-00000-of-00001.parquet", buffer.getvalue())
    return len(rows)


def other_pairs(scene: Scene, generator: random.Random) -> Iterator[tuple[str, str]]:
    """(question, answer) without end about what is there, and never about where."""
    while True:
        pairs = naming_pairs(scene, generator)
        generator.shuffle(pairs)
        yield from pairs


def naming_pairs(scene: Scene, generator: random.Random) -> list[tuple[str, str]]:
    """(question, answer) about names and colours. Yes and no are right equally often."""
    name, furniture = scene.name, scene.furniture
    there = f"{article(name)} {name}", f"{article(furniture)} {furniture}"
    pairs = [
        ("Which objects are there?", f"{there[0].capitalize()} and {there[1]}."),
        (f"What colour is the {scene.thing}?", f"{scene.colour.capitalize()}."),
        ("Which furniture is there?", f"{there[1].capitalize()}."),
        ("What is there besides the furniture?", f"{there[0].capitalize()}."),
    ]
    for right in there:
        pairs.append((f"Is there {right}?", f"Yes, there is {right}."))
    for wrong in (absent_thing(scene, generator), absent_furniture(scene, generator)):
        pairs.append((f"Is there {article(wrong)} {wrong}?", f"No, there is no {wrong}."))
    return pairs


def absent_thing(scene: Scene, generator: random.Random) -> str:
    """A thing that differs from the scene's in its kind or in its colour."""
    if generator.random() < 0.5:
        thing = generator.choice([one for one in THINGS if one != scene.thing])
        return f"{scene.colour} {thing}"
    colour = generator.choice([one for one in COLOURS if one != scene.colour])
    return f"{colour} {scene.thing}"


def absent_furniture(scene: Scene, generator: random.Random) -> str:
    """A furniture that the scene does not have."""
    return generator.choice([one for one in FURNITURE if one != scene.furniture])


def image_key(number: int) -> str:
    """DOCCI's name of a training picture."""
    return f"train_{number:05d}"


def article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"
