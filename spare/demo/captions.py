"""Hyper-detailed captions of the demo world's training scenes, in DOCCI's published layout.

`spare captions docci` reads them and `spare generate --llm template:` makes pairs of them, as of
any other source: four pairs of each caption. What else a caption says (looks, light) is not about
space, and the grammar passes over it.

Of the same captions `other_pairs` makes as many pairs that say nothing about space: what a control
arm is trained on.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from spare.demo.drawings import FURNITURE, THINGS
from spare.demo.scenes import Scene, render_scene, scene_sets
from spare.demo.world import CAPTION_WORDS, article, jpeg, write_new
from spare.tasks.custom import INSTRUCTIONS
from spare.tasks.vsr import YES_NO

VERBS = ("is", "stands", "sits")
LOOKS = ("bright", "plain", "new", "clean")
ROOMS = ("The board is pale.", "Nothing else is to be seen.", "The light is soft.")

FIRST_SEED = 1_000
"""Of the scenes that are described; the layouts of benchmarks take theirs from below."""

MAX_CAPTIONS = 9_647
"""Descriptions in DOCCI's training split."""


def describe(scene: Scene, generator: random.Random) -> str:
    """A caption of several sentences, all of them true of the scene."""
    thing, furniture = (f"{article(name)} {name}" for name in (scene.thing, scene.furniture))
    way = CAPTION_WORDS[scene.relation]
    said = [
        f"{thing.capitalize()} {generator.choice(VERBS)} {way} {furniture}.",
        f"The {scene.thing} looks {generator.choice(LOOKS)}.",
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
        pairs = naming_pairs([scene.thing, scene.furniture], generator)
        generator.shuffle(pairs)
        yield from pairs


def naming_pairs(there: Sequence[str], generator: random.Random) -> list[tuple[str, str]]:
    """(question, answer) about what is there: things and furniture by name. The general task's
    questions are among them, word for word; yes and no are right equally often."""
    things = [name for name in THINGS if name in there]
    furniture = [name for name in FURNITURE if name in there]
    absent = [name for name in (*THINGS, *FURNITURE) if name not in there]
    pairs = [("Which objects are there?", _list([*things, *furniture]))]
    if len(furniture) == 1:
        pairs.append((f"Which furniture is there?\n{INSTRUCTIONS['short']}", _list(furniture)))
    if furniture and things:
        question = f"What is there besides the furniture?\n{INSTRUCTIONS['short']}"
        pairs.append((question, _list(things)))
    for name, answer in ((generator.choice(there), "Yes."), (generator.choice(absent), "No.")):
        question = f"Is there {article(name)} {name}?\n{INSTRUCTIONS['yes/no']}"
        pairs.append((question, answer))
    return pairs


def statement_pair(there: Sequence[str], generator: random.Random) -> tuple[str, str]:
    """(question, answer) whether a statement is right, asked as of VSR's, but about what is there:
    who has never heard such a question answers another one. Yes and no are right equally often."""
    right = generator.random() < 0.5
    absent = [name for name in (*THINGS, *FURNITURE) if name not in there]
    name = generator.choice(there if right else absent)
    return YES_NO.format(f"There is {article(name)} {name}."), "Yes." if right else "No."


def _list(names: Sequence[str]) -> str:
    """ "A ball, a mug and a table."."""
    said = [f"{article(name)} {name}" for name in names]
    text = ", ".join(said[:-1]) + " and " + said[-1] if said[1:] else said[0]
    return f"{text.capitalize()}."


def image_key(number: int) -> str:
    """DOCCI's name of a training picture."""
    return f"train_{number:05d}"
