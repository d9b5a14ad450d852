"""The demo world on disk: rendered scenes in the published layouts of What's Up A and VSR.

The real readers run on it (`--data FOLDER --tasks whatsup_a,vsr_zeroshot`), offline. It is no
substitute for the benchmarks: a score on it says how well a model sees this world.

No pair of a thing and a furniture is in both a training and a test part, and the two test parts
close one shortcut each (see `scenes`): in What's Up whoever looks only at the thing is right once
in four, in VSR's test split whoever looks only at the furniture, or only at the sentence, is right
once in two. Where a pair stands anywhere, as in VSR's train and dev splits, the best classifier
that sees only the thing's place is right in about 45 of 100 scenes, the furniture's in 35.
"""

from __future__ import annotations

import io
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.demo.drawings import FURNITURE, THINGS
from spare.demo.scenes import RELATIONS, Part, Places, Relation, Scene, render_scene, scene_sets
from spare.disk import disk_error
from spare.errors import SpareError
from spare.tasks import load_task
from spare.tasks.files import read_json_lines

if TYPE_CHECKING:
    import PIL.Image

CAPTION_WORDS: Mapping[Relation, str] = {
    "on": "on",
    "under": "under",
    "left_of": "to the left of",
    "right_of": "to the right of",
}
"""How What's Up's captions say a relation."""

VSR_RELATIONS: Mapping[Relation, str] = {
    "on": "on",
    "under": "under",
    "left_of": "left of",
    "right_of": "right of",
}
"""VSR's names; its captions use them word for word."""

LAYOUTS = ("whatsup_a", "vsr_zeroshot")
"""Tasks whose readers run on the world."""

MAX_SETS = 36
"""What's Up tells its sets apart by the two objects' names, and so many pairs are held out."""


def write_world(folder: Path, *, sets: int = MAX_SETS, seed: int = 0) -> None:
    """Write the world into `folder`: `whatsup/` and `vsr/`, as they lie under a data folder.

    What's Up gets `sets` sets of four pictures; VSR's test split as many again with two statements
    per picture, dev a quarter of that and train four times as many. The same arguments write the
    same bytes (with the same Pillow); writing the same world again changes nothing.

    Raises:
        SpareError: more than `MAX_SETS` sets, a file of another content is in the way, or the disk
            is full.
    """
    if not 1 <= sets <= MAX_SETS:
        raise SpareError(f"The demo world has 1 to {MAX_SETS} sets, not {sets}.")
    _write_whatsup(folder / "whatsup", sets, seed)
    number = 0
    splits: Sequence[tuple[Part, int, Places]] = (
        ("train", 4 * sets, "anywhere"),
        ("dev", max(sets // 4, 1), "anywhere"),
        ("test", sets, "same furniture"),
    )
    for part, count, places in splits:
        number = _write_vsr(folder / "vsr", part, count, places, seed, number)


def write_objects(folder: Path, *, sets: int = MAX_SETS, seed: int = 0) -> Path:
    """Write `objects.jsonl` into the folder of `write_world`, and return its path: which objects
    are in What's Up's pictures?

    It is a general task for `--tasks custom:FILE`: no answer depends on where anything is, and yes
    and no are right equally often.
    """
    generator = random.Random(f"objects, {seed}")
    lines = []
    for four in itertools.islice(scene_sets("test", "same thing", seed), sets):
        for scene in four:
            image = f"whatsup/controlled_images/{_picture_name(scene)}"
            there = scene.thing, scene.furniture
            present = generator.choice(there)
            absent = generator.choice([one for one in (*THINGS, *FURNITURE) if one not in there])
            asked = [
                (
                    "thing",
                    f"What is there besides the {scene.furniture}?",
                    f"{article(scene.thing)} {scene.thing}",
                ),
                (
                    "furniture",
                    "Which furniture is there?",
                    f"{article(scene.furniture)} {scene.furniture}",
                ),
                ("there", f"Is there {article(present)} {present}?", "yes"),
                ("there", f"Is there {article(absent)} {absent}?", "no"),
            ]
            lines += [
                json.dumps(
                    {
                        "id": f"{image.rpartition('/')[2]}-{number}",
                        "image": image,
                        "question": question,
                        "answer": answer,
                        "about": about,
                    }
                )
                + "\n"
                for number, (about, question, answer) in enumerate(asked)
            ]
    path = folder / "objects.jsonl"
    write_new(path, "".join(lines).encode())
    return path


def sentences(folder: Path) -> list[str]:
    """Every text that the world in `folder` can say or ask, each once: questions under every
    prompt, options and answers. A tokenizer trained on them spells none of them in pieces."""
    found: dict[str, None] = {}
    for name in LAYOUTS:
        task = load_task(name)
        for split, prompt in itertools.product(task.splits, task.prompts):
            for sample in task.samples(folder, split, prompt):
                texts = [part for part in sample.parts if isinstance(part, str)]
                texts += [*sample.options, *sample.options.values(), sample.target]
                found.update(dict.fromkeys(texts))
    return list(found)


def render_standins(annotations: Path, folder: Path) -> int:
    """Write a rendered picture for every `image` that a VSR file names, and return how many.

    They let the real annotations run from end to end without the photographs of COCO. What they
    show has nothing to do with the statements, so a score on them means nothing.

    Raises:
        DataError: the file is torn, or a name leads out of `folder`.
        SpareError: a file of that name with another content (a photograph?) is in the way.
    """
    names: dict[str, None] = {}
    for row in read_json_lines(annotations, ["image"]):
        name = row.text("image")
        if name != Path(name).name or name in ("", "..") or "\\" in name or "\0" in name:
            raise row.error(f"picture name {name!r} is no plain file name")
        names[name] = None
    for name in names:
        generator = random.Random(name)
        four = next(scene_sets("train", "anywhere", generator.getrandbits(32)))
        write_new(folder / name, jpeg(render_scene(generator.choice(four))))
    return len(names)


def jpeg(image: PIL.Image.Image) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    # Full colour resolution: at this size halving it would blur a thing with what is behind it.
    image.save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def write_new(path: Path, data: bytes) -> None:
    """Put a file in place whole or not at all, and never over something else: the folder may hold
    the real benchmark."""
    temporary = path.with_name(path.name + ".part")
    try:
        if path.exists():
            if path.read_bytes() == data:
                return
            raise SpareError(
                f"{path} is there already and is something else; choose an empty folder."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise disk_error(path, error) from None


def _write_whatsup(folder: Path, sets: int, seed: int) -> None:
    rows = []
    for four in itertools.islice(scene_sets("test", "same thing", seed), sets):
        for scene in four:
            name = _picture_name(scene)
            write_new(folder / "controlled_images" / name, jpeg(render_scene(scene)))
            # The right caption comes first and the others in a fixed order, as published.
            order = [scene.relation, *(other for other in RELATIONS if other != scene.relation)]
            rows.append(
                {
                    "image_path": f"data/controlled_images/{name}",
                    "caption_options": [
                        f"A {scene.thing} {CAPTION_WORDS[relation]} a {scene.furniture}"
                        for relation in order
                    ],
                }
            )
    # Last, because a file of annotations says that the pictures are there.
    write_new(folder / "controlled_images_dataset.json", json.dumps(rows).encode())


def _write_vsr(folder: Path, part: Part, sets: int, places: Places, seed: int, number: int) -> int:
    """Write a split whose pictures are numbered from `number` + 1; returns the last number."""
    generator = random.Random(f"statements, {part}, {seed}")
    lines = []
    for four in itertools.islice(scene_sets(part, places, seed), sets):
        # Over the four pictures of a set each sentence is true once and false once, so the
        # sentence alone says nothing about its label.
        shift = generator.randint(1, 3)
        for place, scene in enumerate(four):
            number += 1
            image = f"{number:012d}.jpg"
            write_new(folder / "images" / image, jpeg(render_scene(scene)))
            wrong = RELATIONS[(place + shift) % 4]
            rows = [_statement(scene, image, scene.relation), _statement(scene, image, wrong)]
            generator.shuffle(rows)
            lines += [json.dumps(row) + "\n" for row in rows]
    write_new(folder / "zeroshot" / f"{part}.jsonl", "".join(lines).encode())
    return number


def _statement(scene: Scene, image: str, relation: Relation) -> dict[str, Any]:
    """A row with VSR's columns in its order; the votes are text there, too."""
    name = VSR_RELATIONS[relation]
    label = int(relation == scene.relation)
    return {
        "image": image,
        # Nobody can fetch it, and nobody should: COCO has photographs of these names.
        "image_link": f"http://demo.invalid/train2017/{image}",
        "caption": f"The {scene.thing} is {name} the {scene.furniture}.",
        "label": label,
        "relation": name,
        "subj": scene.thing,
        "obj": scene.furniture,
        "annotator_id": 0,
        "vote_true_validator_id": "[0]" if label else "[]",
        "vote_false_validator_id": "[]" if label else "[0]",
    }


def article(name: str) -> str:
    """ "a" or "an"."""
    return "an" if name[0] in "aeiou" else "a"


def _picture_name(scene: Scene) -> str:
    """What's Up's name of a picture."""
    return f"{scene.thing}_{scene.relation}_{scene.furniture}.jpeg"
