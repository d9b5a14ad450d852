"""The demo world: scenes are what their captions say, in layouts that the real readers read."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spare.demo.drawings import (
    BOARD,
    FURNITURE,
    FURNITURE_HALF,
    FURNITURE_HEIGHT,
    HALF,
    HEIGHT,
    THINGS,
    Shape,
)
from spare.demo.scenes import (
    RELATIONS,
    SIDE,
    Part,
    Places,
    Scene,
    combinations,
    render,
    render_scene,
    scene_sets,
)
from spare.demo.shortcuts import place_alone
from spare.demo.world import MAX_SETS, render_standins, sentences, write_objects, write_world
from spare.errors import DataError, SpareError
from spare.images import open_picture
from spare.tasks import load_task

PARTS = get_args(Part)
PLACES = get_args(Places)
SETS = 8

VSR_COLUMNS = [  # cambridgeltl/visual-spatial-reasoning, data/splits/zeroshot
    "image",
    "image_link",
    "caption",
    "label",
    "relation",
    "subj",
    "obj",
    "annotator_id",
    "vote_true_validator_id",
    "vote_false_validator_id",
]
REAL_VSR = Path(__file__).parent.parent.parent / "shared" / "data" / "vsr" / "zeroshot"
needs_vsr = pytest.mark.skipif(
    not REAL_VSR.is_dir(), reason=f"VSR's annotations are not in {REAL_VSR}"
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, sets=SETS)
    return folder


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(world: Path, split: str) -> list[dict[str, Any]]:
    text = (world / "vsr" / "zeroshot" / f"{split}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


# Scenes -------------------------------------------------------------------------------------------

any_set = st.builds(
    lambda part, places, seed, skip: next(
        itertools.islice(scene_sets(part, places, seed), skip, None)
    ),
    st.sampled_from(PARTS),
    st.sampled_from(PLACES),
    st.integers(0, 10**6),
    st.integers(0, 50),
)


@settings(max_examples=300, deadline=None)
@given(any_set)
def test_a_scene_is_what_its_relation_says(four: tuple[Scene, ...]) -> None:
    assert tuple(scene.relation for scene in four) == RELATIONS
    for scene in four:
        (x, y), (other_x, other_y) = scene.thing_at, scene.furniture_at
        for place, foot, half, height in (
            (x, y, HALF, HEIGHT),
            (other_x, other_y, FURNITURE_HALF, FURNITURE_HEIGHT),
        ):
            assert half - 0.01 <= place <= 100 - half + 0.01
            assert -0.01 <= foot <= 100 - height + 0.01
        if scene.relation in ("on", "under"):
            assert abs(x - other_x) + HALF <= FURNITURE_HALF + 0.02  # no part of it sticks out
            gap = other_y - (y + HEIGHT)
            if scene.relation == "on":
                assert y == pytest.approx(other_y + FURNITURE_HEIGHT, abs=0.02)
            else:
                assert 0.9 <= gap <= 5.1
        else:
            assert 0.9 <= abs(x - other_x) - HALF - FURNITURE_HALF <= 6.1  # a gap that can be seen
            assert other_y - 2.1 <= y <= other_y + FURNITURE_HEIGHT - HEIGHT + 2.1
            assert (x < other_x) == (scene.relation == "left_of")


@settings(max_examples=100, deadline=None)
@given(any_set)
def test_a_set_differs_in_the_relation_only(four: tuple[Scene, ...]) -> None:
    assert len({(s.thing, s.furniture, s.shade) for s in four}) == 1


@pytest.mark.parametrize("part", PARTS)
def test_the_same_thing_and_the_same_furniture_do_not_move(part: Part) -> None:
    for seed in range(20):
        assert len({s.thing_at for s in next(scene_sets(part, "same thing", seed))}) == 1
        assert len({s.furniture_at for s in next(scene_sets(part, "same furniture", seed))}) == 1
        assert len({s.furniture_at for s in next(scene_sets(part, "anywhere", seed))}) == 4


def test_no_pair_is_in_two_parts_and_no_word_in_one_only() -> None:
    pairs = {part: set(combinations(part)) for part in PARTS}
    for one, other in itertools.combinations(PARTS, 2):
        assert not pairs[one] & pairs[other]
    assert sum(map(len, pairs.values())) == len(THINGS) * len(FURNITURE)
    for part in PARTS:
        things, furniture = map(set, zip(*combinations(part), strict=True))
        assert (things, furniture) == (set(THINGS), set(FURNITURE))
    assert [len(combinations(part)) for part in ("train", "dev", "test")] == [48, 12, 36]


@pytest.mark.parametrize("part", PARTS)
def test_nothing_repeats_before_all_have_been(part: Part) -> None:
    every = combinations(part)
    drawn = [
        (four[0].thing, four[0].furniture)
        for four in itertools.islice(scene_sets(part, "anywhere", 3), 2 * len(every))
    ]
    assert sorted(drawn[: len(every)]) == sorted(drawn[len(every) :]) == sorted(every)


def by_place_alone(places: Places, of: Literal["thing", "furniture"]) -> float:
    def scenes(part: Part, count: int) -> list[Scene]:
        sets = itertools.islice(scene_sets(part, places, 5), count)
        return list(itertools.chain.from_iterable(sets))

    return place_alone(scenes("train", 4000), scenes("test", 1000), of)


def test_one_objects_place_gives_little_away() -> None:
    assert by_place_alone("same thing", "thing") == 25.0  # exactly: four pictures, one answer
    assert by_place_alone("same furniture", "furniture") == 25.0
    assert by_place_alone("anywhere", "thing") < 52.0
    assert by_place_alone("anywhere", "furniture") < 37.0


@settings(max_examples=60, deadline=None)
@given(any_set, st.sampled_from([32, 64, 200]))
def test_a_thing_is_drawn_where_the_scene_says(four: tuple[Scene, ...], side: int) -> None:
    for scene in four:
        image = render_scene(scene, side)
        assert (image.mode, image.size) == ("RGB", (side, side))
        without = render([(scene.furniture, scene.furniture_at)], scene.shade, side)
        changed = numpy.asarray(image).astype(int) - numpy.asarray(without)
        found_y, found_x = numpy.nonzero(abs(changed).max(axis=2) > 40)
        unit = side / 100
        left, right = ((scene.thing_at[0] + sign * HALF) * unit for sign in (-1, 1))
        top, foot = ((100 - scene.thing_at[1] - up) * unit for up in (HEIGHT, 0))
        assert left - 1.5 <= found_x.min() <= found_x.max() <= right + 1.5
        assert top - 1.5 <= found_y.min() <= found_y.max() <= foot + 1.5
        assert len(found_x) > 0.15 * (right - left) * (foot - top)


@pytest.mark.parametrize("shapes", [THINGS, FURNITURE])
def test_a_shape_fills_its_size(shapes: Mapping[str, Shape]) -> None:
    """So neither how wide nor how high something is says where it may be."""
    half, height = (HALF, HEIGHT) if shapes is THINGS else (FURNITURE_HALF, FURNITURE_HEIGHT)
    for shape in shapes.values():
        xs = [x for mark in shape.marks for x in mark.points[0::2]]
        ys = [y for mark in shape.marks for y in mark.points[1::2]]
        assert (min(xs), max(xs)) == (-half, half)
        assert (min(ys), max(ys)) == (0, height)


def test_every_shape_has_a_colour_of_its_own() -> None:
    colours = [shape.colour for shape in (*THINGS.values(), *FURNITURE.values())]
    for one, other in itertools.combinations([*colours, BOARD], 2):
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) >= 25


# The layouts ------------------------------------------------------------------------------------


def test_whats_up_as_published(world: Path) -> None:
    """amitakamath/whatsup_vlms: names, wording, the right caption first, the others in order."""
    path = world / "whatsup" / "controlled_images_dataset.json"
    published = json.loads(path.read_text())
    assert len(published) == 4 * SETS
    sets: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in published:
        assert list(row) == ["image_path", "caption_options"]
        folder, _, name = row["image_path"].rpartition("/")
        assert folder == "data/controlled_images"
        assert (world / "whatsup" / "controlled_images" / name).is_file()
        stem = name.removesuffix(".jpeg")
        relation = next(r for r in RELATIONS if f"_{r}_" in stem)
        thing, furniture = stem.split(f"_{relation}_")
        sets[thing, furniture].add(relation)
        captions = {
            "on": f"A {thing} on a {furniture}",
            "under": f"A {thing} under a {furniture}",
            "left_of": f"A {thing} to the left of a {furniture}",
            "right_of": f"A {thing} to the right of a {furniture}",
        }
        assert row["caption_options"] == [captions.pop(relation), *captions.values()]
    assert len(sets) == SETS
    assert all(relations == set(RELATIONS) for relations in sets.values())


def test_the_whats_up_reader_reads_it(world: Path) -> None:
    task = load_task("whatsup_a")
    for prompt in task.prompts:
        samples = list(task.samples(world, prompt=prompt))
        assert len(samples) == 4 * SETS
        assert Counter(sample.tags["relation"] for sample in samples).most_common(1)[0][1] == SETS
        assert set(Counter(sample.group for sample in samples).values()) == {4}
        for sample in samples:
            assert sample.tags["subject"] in THINGS
            assert sample.tags["object"] in FURNITURE
            for part in sample.parts:
                if not isinstance(part, str):
                    assert open_picture(part).size == (SIDE, SIDE)


@pytest.mark.parametrize(
    ("split", "sets"), [("train", 4 * SETS), ("dev", SETS // 4), ("test", SETS)]
)
def test_vsr_as_published(world: Path, split: str, sets: int) -> None:
    statements = rows(world, split)
    assert len(statements) == 8 * sets
    labels: dict[str, list[int]] = defaultdict(list)
    for row in statements:
        assert list(row) == VSR_COLUMNS
        assert row["relation"] in ("on", "under", "left of", "right of")
        assert row["caption"] == f"The {row['subj']} is {row['relation']} the {row['obj']}."
        assert row["image_link"].endswith(f"/train2017/{row['image']}")
        assert "cocodataset" not in row["image_link"]
        votes = [json.loads(row[f"vote_{side}_validator_id"]) for side in ("false", "true")]
        assert votes[row["label"]]
        assert not votes[1 - row["label"]]
        assert (world / "vsr" / "images" / row["image"]).is_file()
        labels[row["caption"]].append(row["label"])
    assert all(2 * sum(values) == len(values) for values in labels.values())
    assert set(Counter(row["image"] for row in statements).values()) == {2}


@needs_vsr
def test_vsr_has_the_columns_and_types_of_the_real_file(world: Path) -> None:
    with (REAL_VSR / "test.jsonl").open() as file:
        real = json.loads(next(file))
    ours = rows(world, "test")[0]
    assert [(name, type(value)) for name, value in ours.items()] == [
        (name, type(value)) for name, value in real.items()
    ]


def test_the_vsr_reader_reads_it(world: Path) -> None:
    task = load_task("vsr_zeroshot")
    for split, sets in (("train", 4 * SETS), ("dev", SETS // 4), ("test", SETS)):
        samples = list(task.samples(world, split))
        assert len(samples) == 8 * sets
        assert Counter(s.target for s in samples) == {"True": 4 * sets, "False": 4 * sets}
        assert {sample.tags["relation"] for sample in samples} == {
            *("on", "under", "left of", "right of")
        }
        for sample in samples:
            assert sample.tags["subject"] in THINGS
            assert sample.tags["object"] in FURNITURE
            for part in sample.parts:
                if not isinstance(part, str):
                    assert open_picture(part).size == (SIDE, SIDE)


def test_the_objects_of_the_pictures_are_asked_for(world: Path) -> None:
    path = write_objects(world, sets=SETS)
    task = load_task(f"custom:{path}")
    samples = list(task.samples(world))
    assert len(samples) == 4 * 4 * SETS
    assert Counter(s.target for s in samples if s.tags["about"] == "there") == {
        "Yes": 4 * SETS,
        "No": 4 * SETS,
    }
    for sample in samples:
        # The name of a picture of What's Up says what is on it.
        name = sample.id.split(".")[0]
        if sample.tags["about"] == "there":
            asked = sample.parts[1].split("?")[0].split()[-1]
            assert (asked in name.split("_")) == (sample.target == "Yes")
        else:
            assert sample.target.split()[-1] in name.split("_")
    path.unlink()


def test_nothing_is_shared_between_training_and_test(world: Path) -> None:
    def seen(split: str) -> tuple[set[str], set[tuple[str, str]]]:
        statements = rows(world, split)
        things = {(row["subj"], row["obj"]) for row in statements}
        return {row["image"] for row in statements}, things

    for one, other in itertools.combinations(PARTS, 2):
        for found, also_found in zip(seen(one), seen(other), strict=True):
            assert not found & also_found
    train_pairs = seen("train")[1]
    for path in (world / "whatsup" / "controlled_images").iterdir():
        thing, furniture = path.stem.split("_")[0], path.stem.split("_")[-1]
        assert (thing, furniture) not in train_pairs
    pictures = [digest for name, digest in files(world).items() if name.endswith(("jpg", "jpeg"))]
    assert len(set(pictures)) == len(pictures)


def test_the_demos_own_tasks_read_it_and_nothing_else(world: Path, tmp_path: Path) -> None:
    """A score of them is whole by its own count, and photographs are never taken for scenes."""
    write_world(tmp_path / "demo")
    for name, of in (("demo_whatsup", "whatsup_a"), ("demo_vsr", "vsr_zeroshot")):
        task, theirs = load_task(name), load_task(of)
        for split, count in task.splits.items():
            samples = list(task.samples(tmp_path, split))
            assert len(samples) == count
            prompt = task.prompt().name
            same = theirs.samples(
                tmp_path / "demo", split, prompt if prompt in theirs.prompts else "vlmevalkit"
            )
            assert [one.parts[1:] for one in samples] == [one.parts[1:] for one in same]
        with pytest.raises(DataError, match=r"the demo's scenes are not there\. `spare demo"):
            list(task.samples(world))


def test_every_text_is_in_the_sentences(world: Path) -> None:
    said = sentences(world)
    assert len(said) == len(set(said))
    assert {"True", "False", "A", "B", "C", "D", "on", "under", "left", "right"} <= set(said)
    everything = "\n".join(said)
    for split in PARTS:
        assert all(row["caption"] in everything for row in rows(world, split))
    for row in json.loads((world / "whatsup" / "controlled_images_dataset.json").read_text()):
        assert all(caption in said for caption in row["caption_options"])


# Writing ------------------------------------------------------------------------------------------


def test_the_same_seed_writes_the_same_bytes(world: Path, tmp_path: Path) -> None:
    code = "import sys, pathlib; from spare.demo.world import write_world; "
    code += f"write_world(pathlib.Path(sys.argv[1]), sets={SETS})"
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "again")],
        check=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )
    assert files(tmp_path / "again") == files(world)
    write_world(tmp_path / "other", sets=SETS, seed=1)
    assert not set(files(tmp_path / "other").values()) & set(files(world).values())


def test_a_world_cut_short_is_completed(tmp_path: Path, world: Path) -> None:
    write_world(tmp_path, sets=SETS)
    pictures = sorted((tmp_path / "vsr" / "images").iterdir())
    for path in pictures[::3]:
        path.unlink()
    (tmp_path / "vsr" / "zeroshot" / "test.jsonl").unlink()
    (pictures[0].with_name(pictures[0].name + ".part")).write_bytes(b"half a pict")
    kept = pictures[1].stat().st_mtime_ns
    write_world(tmp_path, sets=SETS)
    assert files(tmp_path) == files(world)
    assert pictures[1].stat().st_mtime_ns == kept


def test_real_files_are_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "whatsup" / "controlled_images_dataset.json"
    path.parent.mkdir()
    path.write_text("[the real benchmark]")
    with pytest.raises(SpareError, match=r"controlled_images_dataset\.json .* empty folder"):
        write_world(tmp_path, sets=1)
    assert path.read_text() == "[the real benchmark]"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "whatsup").write_text("a file where a folder should be")
    with pytest.raises(SpareError, match="could not be written"):
        write_world(tmp_path, sets=1)


@pytest.mark.parametrize("sets", [0, -1, MAX_SETS + 1])
def test_a_number_of_sets_that_the_world_lacks(sets: int, tmp_path: Path) -> None:
    with pytest.raises(SpareError, match=f"1 to 36 sets, not {sets}"):
        write_world(tmp_path, sets=sets)


def test_the_largest_world_names_no_set_twice() -> None:
    """What's Up's sets are told apart by the two objects' names."""
    sets = itertools.islice(scene_sets("test", "same thing"), MAX_SETS)
    assert len({(four[0].thing, four[0].furniture) for four in sets}) == MAX_SETS


# Stand-ins ----------------------------------------------------------------------------------------


@needs_vsr
def test_stand_ins_for_the_whole_real_test(tmp_path: Path) -> None:
    count = render_standins(REAL_VSR / "test.jsonl", tmp_path)
    names = {json.loads(line)["image"] for line in (REAL_VSR / "test.jsonl").open()}
    assert count == 715
    assert {path.name for path in tmp_path.iterdir()} == names
    for path in tmp_path.iterdir():
        assert open_picture(path.read_bytes()).size == (SIDE, SIDE)
    assert len(set(files(tmp_path).values())) == 715


def test_stand_ins_leave_photographs_alone(tmp_path: Path) -> None:
    annotations = tmp_path / "test.jsonl"
    annotations.write_text('{"image": "000000000009.jpg"}\n{"image": "000000000009.jpg"}\n')
    assert render_standins(annotations, tmp_path / "images") == 1
    assert render_standins(annotations, tmp_path / "images") == 1
    photograph = tmp_path / "images" / "000000000009.jpg"
    photograph.write_bytes(b"a real photograph")
    with pytest.raises(SpareError, match=r"000000000009\.jpg is there already"):
        render_standins(annotations, tmp_path / "images")
    assert photograph.read_bytes() == b"a real photograph"


@pytest.mark.parametrize("name", ["../escape.jpg", "/etc/picture.jpg", "a/b.jpg", "..", "", "a\\b"])
def test_stand_ins_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    annotations = tmp_path / "test.jsonl"
    annotations.write_text(json.dumps({"image": "fine.jpg"}) + "\n" + json.dumps({"image": name}))
    with pytest.raises(DataError, match=r"test\.jsonl, row 2: "):
        render_standins(annotations, tmp_path / "images")
    assert not (tmp_path / "images").exists()
