"""The demo's captions: every sentence is true, and so is every pair that the pipeline makes."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from spare.demo.captions import (
    FIRST_SEED,
    article,
    describe,
    image_key,
    naming_pairs,
    other_pairs,
    statement_pair,
    training_scenes,
    write_captions,
    write_control,
)
from spare.demo.drawings import FURNITURE, FURNITURE_HALF, HALF, THINGS
from spare.demo.scenes import RELATIONS, Scene, combinations, scene_sets
from spare.demo.world import write_world
from spare.errors import SpareError
from spare.generation.captions import captions
from spare.generation.grammar import Fact, read_facts
from spare.generation.mentions import TOKEN
from spare.generation.pipeline import generate
from spare.generation.publish import publish
from spare.generation.templates import ask

COUNT = 48
LEFT, RIGHT, ABOVE, BELOW = (-1, 0), (1, 0), (0, 1), (0, -1)
DIRECTIONS = {
    "to the left of": LEFT,
    "to the right of": RIGHT,
    **dict.fromkeys(("on", "on top of", "above"), ABOVE),
    **dict.fromkeys(("under", "below"), BELOW),
}


def some_scenes(count: int = 400) -> list[Scene]:
    return list(training_scenes(count, seed=3))


def direction(scene: Scene) -> tuple[int, int]:
    """Where the thing is, seen from the furniture; read from places, not from the relation."""
    dx, dy = (a - b for a, b in zip(scene.thing_at, scene.furniture_at, strict=True))
    if abs(dx) > FURNITURE_HALF + HALF:
        return RIGHT if dx > 0 else LEFT
    return ABOVE if dy > 0 else BELOW


def holds(scene: Scene, subject: str, way: str, relatum: str) -> bool:
    thing, furniture = f"the {scene.thing}", f"the {scene.furniture}"
    x, y = direction(scene)
    if (subject, relatum) == (thing, furniture):
        return DIRECTIONS[way] == (x, y)
    return (subject, relatum) == (furniture, thing) and DIRECTIONS[way] == (-x, -y)


def with_the(phrase: str) -> str:
    return re.sub("^(an|a|the) ", "the ", phrase.lower())


def fact_holds(scene: Scene, fact: Fact) -> bool:
    return holds(scene, with_the(fact.subject), fact.way.said, with_the(fact.relatum))


def test_every_sentence_is_true() -> None:
    generator = random.Random(0)
    for scene in some_scenes():
        text = describe(scene, generator)
        facts = list(read_facts(text))
        assert len(facts) == 1
        assert all(fact_holds(scene, fact) for fact in facts)
        # What is named is in the picture.
        words = set(TOKEN.findall(text.lower()))
        assert words & set(THINGS) == {scene.thing}
        assert words & set(FURNITURE) == {scene.furniture}
        assert not re.search(r"\ban? (?=[aeiou])(?<!an )|\ban (?![aeiou])", text.lower())


def pair_holds(scene: Scene, question: str, answer: str) -> bool:
    """Whether a template's answer is right for a scene."""
    ways = "|".join(DIRECTIONS)
    answer = answer.rstrip(".")
    if asked := re.fullmatch(rf"What is ({ways}) (the .+)\?", question):
        return holds(scene, with_the(answer), asked[1], asked[2])
    if asked := re.fullmatch(r"Where is (the .+)\?", question):
        said = re.fullmatch(rf"({ways}) (the .+)", answer[0].lower() + answer[1:])
        assert said, answer
        return holds(scene, asked[1], said[1], said[2])
    asked = re.fullmatch(rf"Is (the .+) ({ways}) (the .+)\?", question)
    said = re.fullmatch(rf"(Yes|No), (the .+) is ({ways}) (the .+)", answer)
    assert asked, question
    assert said, answer
    right = holds(scene, asked[1], asked[2], asked[3])
    return right == (said[1] == "Yes") and holds(scene, said[2], said[3], said[4])


def test_templates_ask_four_questions_and_answer_them_right() -> None:
    generator = random.Random(1)
    for scene in some_scenes():
        pairs = [(question, answer) for question, answer, _ in ask(describe(scene, generator))]
        assert len(pairs) == 4
        assert all(pair_holds(scene, *pair) for pair in pairs)
        assert Counter(answer.split(",")[0] for _, answer in pairs if "," in answer) == {
            "Yes": 1,
            "No": 1,
        }


def test_other_pairs_say_nothing_about_space() -> None:
    generator = random.Random(2)
    for scene in some_scenes():
        for question, answer in itertools.islice(other_pairs(scene, generator), 8):
            assert not list(read_facts(f"{question} {answer}"))
            assert not re.search(r"\b(left|right|on|under|above|below|top)\b", question + answer)


def test_other_pairs_are_right() -> None:
    generator = random.Random(3)
    for scene in some_scenes():
        there = {f"{article(name)} {name}" for name in (scene.thing, scene.furniture)}
        said: Counter[str] = Counter()
        for question, answer in naming_pairs([scene.thing, scene.furniture], generator):
            if asked := re.match(r"Is there ([^?]+)", question):
                assert answer == ("Yes." if asked[1] in there else "No.")
                said[answer] += 1
            else:
                parts = answer.lower().rstrip(".").split(" and ")
                assert all(part in " ".join(there) for part in parts)
        assert said == {"Yes.": 1, "No.": 1}


def test_statements_are_right_as_often_as_not_and_say_nothing_about_space() -> None:
    generator = random.Random(1)
    said: Counter[str] = Counter()
    for scene in some_scenes():
        there = [scene.thing, scene.furniture]
        question, answer = statement_pair(there, generator)
        match = re.fullmatch(
            r"Statement about the picture: There is an? (\w+)\.\nIs the statement right\? .*",
            question,
        )
        assert match
        assert answer == ("Yes." if match[1] in there else "No.")
        said[answer] += 1
    assert min(said.values()) > 150


def test_nothing_of_a_test_is_described() -> None:
    described = list(training_scenes(2_000))
    pairs = {(scene.thing, scene.furniture) for scene in described}
    for part in ("dev", "test"):
        assert not pairs & set(combinations(part))
    # Nor is a picture of VSR's training split.
    for seed in range(3):
        split = itertools.islice(scene_sets("train", "anywhere", seed), 500)
        assert not set(described) & set(itertools.chain.from_iterable(split))
    assert Counter(scene.relation for scene in described) == dict.fromkeys(RELATIONS, 500)
    assert FIRST_SEED > 3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions through the real pipeline, kept apart from the demo's benchmarks."""
    folder = tmp_path_factory.mktemp("captions")
    write_world(folder / "data", sets=4)
    write_captions(folder / "docci", count=COUNT)
    captions("docci", data=folder / "docci", out=folder / "captions")
    generate(folder / "captions", out=folder / "qa", benchmarks=str(folder / "data"))
    publish(folder / "qa", out=folder / "dataset")
    return folder / "dataset"


def read(dataset: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in sorted((dataset / "data").glob("*.parquet")):
        rows += pyarrow.parquet.read_table(path).to_pylist()
    return rows


def test_what_the_pipeline_keeps_is_right(dataset: Path) -> None:
    scenes = {image_key(number): scene for number, scene in enumerate(training_scenes(COUNT))}
    rows = read(dataset)
    kept = Counter(row["image_key"] for row in rows)
    assert set(kept.values()) == {4}
    # A room with the same two things at nearly the same places looks like a benchmark's picture.
    assert len(kept) > 0.9 * COUNT
    for row in rows:
        assert pair_holds(scenes[row["image_key"]], row["question"], row["answer"])
        assert (dataset.parent / "docci" / row["image"]).is_file()


def test_the_control_has_as_many_pairs_about_the_same_pictures(
    dataset: Path, tmp_path: Path
) -> None:
    rows = read(dataset)
    assert write_control(dataset, tmp_path, count=COUNT) == len(rows)
    control = read(tmp_path)
    places = [
        Counter((row["source"], row["image_key"], row["image_kind"], row["image"]) for row in one)
        for one in (rows, control)
    ]
    assert places[0] == places[1]
    questions = [{row["question"] for row in one} for one in (rows, control)]
    assert not questions[0] & questions[1]


def test_the_same_arguments_write_the_same(tmp_path: Path) -> None:
    for folder in ("one", "one", "other"):
        write_captions(tmp_path / folder, count=8, seed=5)
    files: dict[str, set[bytes]] = defaultdict(set)
    for path in tmp_path.rglob("*.*"):
        files[path.name].add(path.read_bytes())
    assert len(files) == 9
    assert all(len(contents) == 1 for contents in files.values())
    with pytest.raises(SpareError, match=r"something else; choose an empty folder"):
        write_captions(tmp_path / "one", count=8, seed=6)
    rows = (tmp_path / "one" / "docci_descriptions.jsonlines").read_text().splitlines()
    named = [json.loads(row)["image_file"] for row in rows]
    assert named == [f"{image_key(number)}.jpg" for number in range(8)]
