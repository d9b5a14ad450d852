"""What's Up: every published layout gives the same questions; pairs, sets and ties as in the paper.

Examples of judging: amitakamath/whatsup_vlms (`dataset_zoo/aro_datasets.py`), shiqichen17/AdaptVis
(`model_zoo/llava15.py`), and our own rules where it says so.
"""

import io
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.errors import DataError
from spare.generation.templates import ask
from spare.images import Picture, open_picture
from spare.relations import RELATION_CLASS
from spare.tasks import whatsup
from spare.tasks.types import Judged, Likelihood, Reply, Sample, Task, Verdict
from spare.tasks.whatsup_files import CONTROLLED

A, B, COCO_ONE, COCO_TWO, GQA_ONE, GQA_TWO = whatsup.TASKS

# Small files in the published form. Relation in a file name -> words in a caption, in the order in
# which the distractors stand in the published files.
IN_A = {"on": "on", "under": "under", "left_of": "to the left of", "right_of": "to the right of"}
IN_B = {
    "in-front_of": "in front of",
    "behind": "behind",
    "left_of": "to the left of",
    "right_of": "to the right of",
}


def controlled(pairs: Sequence[tuple[str, str]], relations: Mapping[str, str], folder: str) -> Any:
    rows = []
    for subject, landmark in pairs:
        for relation in relations:
            order = [relation, *(one for one in relations if one != relation)]
            named = [
                f"A {subject.replace('-', ' ')} {relations[one]} a {landmark.replace('-', ' ')}"
                for one in order
            ]
            path = f"data/{folder}/{subject}_{relation}_{landmark}.jpeg"
            rows.append({"image_path": path, "caption_options": named})
    return rows


ROWS: dict[str, list[Any]] = {
    "whatsup_a": controlled([("mug", "table"), ("toy-robot", "chair")], IN_A, "controlled_images"),
    "whatsup_b": controlled([("mug", "knife"), ("cap", "can")], IN_B, "controlled_clevr"),
    "whatsup_coco_one": [
        [397133, "A photo of a dining table on the bottom", "A photo of a dining table on the top"],
        [397133, "A photo of a person on the left", "A photo of a person on the right"],
        [5, "A photo of a tv on the right", "A photo of a tv on the left"],
    ],
    "whatsup_coco_two": [
        [
            37777,
            "A photo of a dining table to the left of a refrigerator",
            "A photo of a dining table to the right of a refrigerator",
        ],
        [37777, "A photo of a toilet below a sink", "A photo of a toilet above a sink"],
        [5, "A photo of a tv above a hot dog", "A photo of a tv below a hot dog"],
    ],
    "whatsup_gqa_one": [
        [2, "A photo of a purse on the right", "A photo of a purse on the left"],
        ["n7", "A photo of grass behind", "A photo of grass in front"],
        [2, "A photo of a left shoe on the top", "A photo of a left shoe on the bottom"],
    ],
    "whatsup_gqa_two": [
        [
            2,
            "A photo of a cart in front of the green trees",
            "A photo of a cart behind the green trees",
        ],
        ["n7", "A photo of a vase on top of a table", "A photo of a vase below a table"],
        [
            2,
            "A photo of a man on a bike to the left of a dog",
            "A photo of a man on a bike to the right of a dog",
        ],
    ],
}
FILES = {
    "whatsup_a": ("controlled_images_dataset", "controlled_images"),
    "whatsup_b": ("controlled_clevr_dataset", "controlled_clevr"),
    "whatsup_coco_one": ("coco_qa_one_obj", "val2017"),
    "whatsup_coco_two": ("coco_qa_two_obj", "val2017"),
    "whatsup_gqa_one": ("vg_qa_one_obj", "vg_images"),
    "whatsup_gqa_two": ("vg_qa_two_obj", "vg_images"),
}
KEYS = {
    "whatsup_a": "Controlled_Images_A",
    "whatsup_b": "Controlled_Images_B",
    "whatsup_coco_one": "COCO_QA_one_obj",
    "whatsup_coco_two": "COCO_QA_two_obj",
    "whatsup_gqa_one": "VG_QA_one_obj",
    "whatsup_gqa_two": "VG_QA_two_obj",
}


def picture_name(task: Task, row: Any) -> str:
    if isinstance(row, dict):
        return Path(row["image_path"]).name
    return f"{row[0]:012d}.jpg" if FILES[task.name][1] == "val2017" else f"{row[0]}.jpg"


def captions(row: Any) -> list[str]:
    return row["caption_options"] if isinstance(row, dict) else row[1:]


def jpeg(name: str) -> bytes:
    """A picture whose grey tells its name."""
    buffer = io.BytesIO()
    PIL.Image.new("L", (8, 8), grey(name)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def grey(name: str) -> int:
    return sum(name.encode()) * 37 % 256


def write_json(data: Path, task: Task, rows: list[Any] | None = None, version: str = "") -> Path:
    rows = ROWS[task.name] if rows is None else rows
    stem, folder = FILES[task.name]
    (data / folder).mkdir(parents=True, exist_ok=True)
    for row in rows:
        name = picture_name(task, row)
        (data / folder / name).write_bytes(jpeg(name))
    path = data / f"{stem}{version}.json"
    path.write_text(json.dumps(rows))
    return path


def our_layout(data: Path, task: Task) -> None:
    write_json(data / "whatsup", task)


def in_repository(data: Path, task: Task) -> None:
    write_json(data / "whatsup_vlms" / "data", task)


def as_data_root(data: Path, task: Task) -> None:
    write_json(data, task)


def second_version(data: Path, task: Task) -> None:
    write_json(data / "whatsup", task, version="_v2")


def with_data_folder(data: Path, task: Task) -> None:
    write_json(data / "data", task)


def write_mirror(data: Path, task: Task, name: str, struct: bool, perturbed: bool = False) -> None:
    cells = [jpeg(picture_name(task, row)) for row in ROWS[task.name]]
    columns: dict[str, Any] = {
        "image_options": [{"bytes": one, "path": None} for one in cells] if struct else cells,
        "caption_options": [captions(row) for row in ROWS[task.name]],
    }
    if perturbed:
        columns["perturbed_caption_options"] = columns["caption_options"]
    path = data / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=2)


def mirror(data: Path, task: Task) -> None:
    name = f"whatsup/data/{KEYS[task.name]}-00000-of-00001.parquet"
    write_mirror(data, task, name, struct=True)


def plain_mirror(data: Path, task: Task) -> None:
    name = f"whatsup_all/default/{KEYS[task.name]}/0000.parquet"
    write_mirror(data, task, name, struct=False, perturbed=True)


LAYOUTS = [
    our_layout,
    in_repository,
    as_data_root,
    second_version,
    with_data_folder,
    mirror,
    plain_mirror,
]


def question(sample: Sample) -> str:
    (text,) = [part for part in sample.parts if isinstance(part, str)]
    return text


def picture(sample: Sample) -> Picture:
    (found,) = [part for part in sample.parts if isinstance(part, Picture)]
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("task", whatsup.TASKS)
def test_every_layout_gives_the_same_samples(
    tmp_path: Path, task: Task, layout: Callable[[Path, Task], None]
) -> None:
    layout(tmp_path / "here", task)
    our_layout(tmp_path / "usual", task)
    for prompt in task.prompts:
        samples = list(task.samples(tmp_path / "here", prompt=prompt))
        usual = list(task.samples(tmp_path / "usual", prompt=prompt))
        assert len(samples) == len(ROWS[task.name])
        assert [question(one) for one in samples] == [question(one) for one in usual]
        for name in ("id", "target", "options", "rank", "tags", "group"):
            assert [getattr(one, name) for one in samples] == [getattr(one, name) for one in usual]
        # The mirror has no numbers of pictures, but which rows share one is the same.
        clusters = [one.cluster for one in samples]
        others = [one.cluster for one in usual]
        assert [clusters.index(one) for one in clusters] == [others.index(one) for one in others]
        for sample, row in zip(samples, ROWS[task.name], strict=True):
            seen = open_picture(picture(sample)).getpixel((4, 4))
            assert abs(seen[0] - grey(picture_name(task, row))) < 6


def relations(task: Task, tmp_path: Path) -> list[str]:
    our_layout(tmp_path, task)
    return [one.tags["relation"] for one in task.samples(tmp_path)]


def test_relations(tmp_path: Path) -> None:
    assert relations(A, tmp_path) == ["on", "under", "left of", "right of"] * 2
    assert relations(B, tmp_path) == ["in front of", "behind", "left of", "right of"] * 2
    assert relations(COCO_ONE, tmp_path) == ["bottom", "left", "right"]
    assert relations(COCO_TWO, tmp_path) == ["left of", "below", "above"]
    assert relations(GQA_ONE, tmp_path) == ["right", "behind", "top"]
    assert relations(GQA_TWO, tmp_path) == ["in front of", "on top of", "left of"]


def test_objects_groups_and_clusters(tmp_path: Path) -> None:
    for task in whatsup.TASKS:
        our_layout(tmp_path, task)
    a = list(A.samples(tmp_path))
    assert [(one.tags["subject"], one.tags["object"]) for one in a[3:5]] == [
        ("mug", "table"),
        ("toy robot", "chair"),
    ]
    assert [one.group for one in a] == ["mug_table"] * 4 + ["toy-robot_chair"] * 4
    assert [one.cluster for one in a] == [one.group for one in a]
    assert [one.id for one in a[4:6]] == ["toy-robot_on_chair", "toy-robot_under_chair"]
    coco = list(COCO_TWO.samples(tmp_path))
    assert [one.cluster for one in coco] == ["37777", "37777", "5"]
    assert [picture(one).path.name for one in coco[1:]] == ["000000037777.jpg", "000000000005.jpg"]
    assert (coco[2].tags["subject"], coco[2].tags["object"]) == ("tv", "hot dog")
    gqa = [one.tags for one in GQA_TWO.samples(tmp_path)]
    assert [one["subject"] for one in gqa] == ["cart", "vase", "man on a bike"]
    assert [one["object"] for one in gqa] == ["green trees", "table", "dog"]
    assert [one.tags["subject"] for one in GQA_ONE.samples(tmp_path)][1:] == ["grass", "left shoe"]
    for task in whatsup.TASKS:
        for one in task.samples(tmp_path):
            assert one.tags["class"] == RELATION_CLASS[one.tags["relation"]]


def test_objects_that_look_alike_are_different(tmp_path: Path) -> None:
    pairs = [("yarn", "table"), ("ball-of-yarn", "table"), ("glass", "table"), ("glasses", "table")]
    write_json(tmp_path, A, controlled(pairs, IN_A, "controlled_images"))
    assert len({one.group for one in A.samples(tmp_path)}) == 4


def test_words_are_asked_as_by_adaptvis(tmp_path: Path) -> None:
    for task in whatsup.TASKS:
        our_layout(tmp_path, task)
    asked = {
        task.name: [(question(one), one.target) for one in task.samples(tmp_path, prompt="words")]
        for task in whatsup.TASKS
    }
    assert asked["whatsup_a"][4] == (
        "Where is the toy robot in relation to the chair? Answer with left, right, on or under.",
        "on",
    )
    assert asked["whatsup_b"][0] == (
        "Where is the mug in relation to the knife? Answer with left, right, front or behind.",
        "front",
    )
    assert asked["whatsup_coco_one"][0] == (
        "Where is the dining table in the photo? Answer with left, right, top or bottom.",
        "bottom",
    )
    assert asked["whatsup_coco_two"][1] == (
        "Where is the toilet in relation to the sink? Answer with left, right, above or below.",
        "below",
    )
    assert asked["whatsup_gqa_one"][1] == (
        "Where is the grass in the photo? Answer with left, right, front, behind, top or bottom.",
        "behind",
    )
    assert asked["whatsup_gqa_two"][1] == (
        "Where is the vase in relation to the table? "
        "Answer with left, right, front, behind, above or below.",
        "above",
    )


def test_a_caption_without_objects_has_no_word_question(tmp_path: Path) -> None:
    rows = [[2, "left of everything", "right of everything"]]
    write_json(tmp_path, GQA_TWO, rows)
    (sample,) = GQA_TWO.samples(tmp_path, prompt="mcq")
    assert sample.tags == {"relation": "left of", "class": "projective"}
    with pytest.raises(DataError, match=r"row 1: no object .* prompt mcq or captions"):
        list(GQA_TWO.samples(tmp_path, prompt="words"))


@pytest.mark.parametrize(
    ("caption", "question", "answer"),
    [
        ("A beer bottle to the left of a chair", "beer bottle", "To the left of the chair."),
        ("A sunglasses on a armchair", "sunglasses", "On the armchair."),
        ("A mug under a table", "mug", "Under the table."),
    ],
)
def test_places_are_ranked_as_answers(
    tmp_path: Path, caption: str, question: str, answer: str
) -> None:
    subject, way, anchor = re.fullmatch(  # type: ignore[union-attr]
        r"A (.+) (on|under|to the left of) a (.+)", caption
    ).groups()
    others = [one for one in ("on", "under", "to the left of", "to the right of") if one != way]
    captions = [caption, *(f"A {subject} {one} a {anchor}" for one in others)]
    relation = way.removeprefix("to the ").replace(" ", "_")
    name = f"{subject.replace(' ', '-')}_{relation}_{anchor}.jpeg"
    folder = tmp_path / "whatsup" / "controlled_images"
    folder.mkdir(parents=True)
    PIL.Image.new("RGB", (8, 8)).save(folder / name)
    row = {"image_path": f"data/controlled_images/{name}", "caption_options": captions}
    (folder.parent / "controlled_images_dataset.json").write_text(json.dumps([row]))
    (sample,) = A.samples(tmp_path, prompt="answers")
    assert sample.parts[1] == f"Where is the {question}?"
    assert sample.rank
    assert sample.options[sample.target] == answer
    assert list(sample.options.values())[1:] == [
        f"{one[0].upper()}{one[1:]} the {anchor}." for one in others
    ]


def test_answers_say_places_as_templates_do() -> None:
    """What is learnt from pairs by template is what is ranked."""
    for way in ("on", "under", "to the left of", "to the right of"):
        match = CONTROLLED.fullmatch(f"A mug {way} a table")
        assert match
        (asked,) = [one for one in ask(f"A mug is {way} a table.") if one[0].startswith("Where")]
        place = f"{match['place']} the {match['object']}."
        assert asked[:2] == ("Where is the mug?", place[0].upper() + place[1:])


def test_captions_are_ranked_in_file_order(tmp_path: Path) -> None:
    for task in whatsup.TASKS:
        our_layout(tmp_path, task)
        for one, row in zip(
            task.samples(tmp_path, prompt="captions"), ROWS[task.name], strict=True
        ):
            assert one.rank
            assert (list(one.options.values()), one.target) == (captions(row), "A")
            assert list(one.options) == list("ABCD")[: len(captions(row))]


# The order of the options


names = st.from_regex(r"[a-z]{1,8}( [a-z]{1,8})?", fullmatch=True)


@given(st.lists(st.tuples(names, names), min_size=1, max_size=4, unique=True), st.randoms())
def test_shuffled_options_keep_the_right_caption_and_do_not_hang_on_the_file(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], random: Any
) -> None:
    data = tmp_path_factory.mktemp("data")
    hyphened = [(one.replace(" ", "-"), other.replace(" ", "-")) for one, other in pairs]
    rows = controlled(hyphened, IN_A, "controlled_images")
    write_json(data / "one", A, rows)
    shuffled = [
        {
            **row,
            "caption_options": [
                row["caption_options"][0],
                *random.sample(row["caption_options"][1:], 3),
            ],
        }
        for row in random.sample(rows, len(rows))
    ]
    write_json(data / "two", A, shuffled)
    first = list(A.samples(data / "one"))
    for one, row in zip(first, rows, strict=True):
        assert one.options[one.target] == row["caption_options"][0]
        assert sorted(one.options.values()) == sorted(row["caption_options"])
        for letter, caption in one.options.items():
            assert f"\n{letter}. {caption}\n" in question(one)
    second = {one.id: one for one in A.samples(data / "two")}
    assert {one.id: (one.options, one.target) for one in first} == {
        name: (one.options, one.target) for name, one in second.items()
    }


@pytest.mark.parametrize(("task", "relations"), [(A, IN_A), (B, IN_B)])
def test_letters_tell_neither_the_answer_nor_the_relation(
    tmp_path: Path, task: Task, relations: dict[str, str]
) -> None:
    pairs = [(f"thing-{number}", "table") for number in range(103)]
    write_json(tmp_path, task, controlled(pairs, relations, FILES[task.name][1]))
    letters: dict[str, Counter[str]] = defaultdict(Counter)
    asked: dict[str, set[str]] = defaultdict(set)
    for one in task.samples(tmp_path):
        letters[one.tags["relation"]][one.target] += 1
        asked[one.group].add(question(one))
    assert sum(letters.values(), Counter()) == dict.fromkeys("ABCD", 103)
    assert all(len(texts) == 1 for texts in asked.values())
    # Binomial: 103 draws at 1/4 are 25.75 +- 4.4.
    for count in letters.values():
        assert all(abs(count[letter] - 25.75) < 4 * 4.4 for letter in "ABCD")


@pytest.mark.parametrize("letter", "ABCD")
def test_one_letter_always_gets_a_quarter_and_no_pair(tmp_path: Path, letter: str) -> None:
    our_layout(tmp_path, A)
    judged = [
        Judged(one.id, one.target, A.judge(one, Reply(letter), "spare"), one.tags, one.group)
        for one in A.samples(tmp_path)
    ]
    assert summarise(A, judged) == {"individual": 25.0, "pair": 0.0, "set": 0.0}


def test_letters_of_coco_are_balanced_by_the_hash(tmp_path: Path) -> None:
    rows = [
        [number, "A photo of a tv on the left", "A photo of a tv on the right"]
        for number in range(400)
    ]
    path = tmp_path / "coco_qa_one_obj.json"
    path.write_text(json.dumps(rows))
    letters = Counter(one.target for one in COCO_ONE.samples(tmp_path))
    assert abs(letters["A"] - 200) < 4 * 10  # binomial: 200 +- 10


# Bad files


def check_error(tmp_path: Path, task: Task, rows: Any, message: str, prompt: str = "") -> None:
    path = tmp_path / "whatsup" / f"{FILES[task.name][0]}.json"
    path.parent.mkdir(parents=True)
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    with pytest.raises(DataError, match=message):
        list(task.samples(tmp_path, prompt=prompt))


GOOD = ROWS["whatsup_a"][0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image_path": GOOD["image_path"]}, "column caption_options missing"),
        ({**GOOD, "image_path": 3}, "column 'image_path' should be text"),
        ({**GOOD, "image_path": "../controlled_images/mug_on_table.jpeg"}, "leads out of"),
        ({**GOOD, "image_path": "data/controlled_images/.."}, "leads out of"),
        ({**GOOD, "image_path": "data/controlled_images/"}, "leads out of"),
        ({**GOOD, "image_path": "data/controlled_images/mug.jpeg"}, "no relation of whatsup_a"),
        ({**GOOD, "image_path": "data/x/mug_behind_table.jpeg"}, "no relation of whatsup_a"),
        ({**GOOD, "caption_options": GOOD["caption_options"][:3]}, "4 different captions"),
        ({**GOOD, "caption_options": ["A mug on a table"] * 4}, "4 different captions"),
        ({**GOOD, "caption_options": ["a", "b", "c", None]}, "4 different captions"),
        ({**GOOD, "caption_options": "abcd"}, "4 different captions"),
        ("data/controlled_images/mug_on_table.jpeg", "an object was expected"),
        (ROWS["whatsup_a"][1], "same photograph as in row 2"),
    ],
)
def test_bad_rows_of_a_are_named(tmp_path: Path, row: Any, message: str) -> None:
    rows = [*ROWS["whatsup_a"][:2], row]
    check_error(tmp_path, A, rows, rf"controlled_images_dataset\.json, row 3: .*{message}")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([5, "A photo of a tv above a cup"], "should be a list of picture, right"),
        ({"image": 5}, "should be a list of picture, right"),
        ([None, "A cup above a tv", "A cup below a tv"], "number should be a number"),
        ([True, "A cup above a tv", "A cup below a tv"], "number should be a number"),
        (["../5", "A cup above a tv", "A cup below a tv"], "number should be a number"),
        ([5, "A cup above a tv", "A cup above a tv"], "2 different captions"),
        ([5, "A cup above a tv", " "], "2 different captions"),
        ([5, "A cup near a tv", "A cup far from a tv"], "no relation of whatsup_coco_two"),
    ],
)
def test_bad_rows_of_coco_are_named(tmp_path: Path, row: Any, message: str) -> None:
    rows = [*ROWS["whatsup_coco_two"], row]
    check_error(tmp_path, COCO_TWO, rows, rf"coco_qa_two_obj\.json, row 4: .*{message}")


def test_torn_and_other_files_are_named(tmp_path: Path) -> None:
    whole = json.dumps(ROWS["whatsup_a"])
    check_error(tmp_path / "torn", A, whole[:-9], r"controlled_images_dataset\.json: not JSON")
    check_error(tmp_path / "object", A, {"a": 1}, r"a list was expected")
    mirror(tmp_path / "mirror", A)
    (path,) = (tmp_path / "mirror" / "whatsup" / "data").iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a whole parquet file"):
        list(A.samples(tmp_path / "mirror"))


def test_a_caption_of_the_mirror_that_tells_no_objects_is_named(tmp_path: Path) -> None:
    table = pyarrow.table(
        {"image_options": [jpeg("x")], "caption_options": [["up", "down", "left", "right"]]}
    )
    (tmp_path / "whatsup").mkdir()
    pyarrow.parquet.write_table(table, tmp_path / "whatsup" / "Controlled_Images_A.parquet")
    with pytest.raises(DataError, match=r"row 1: no two objects .*'up'"):
        list(A.samples(tmp_path))


def test_nothing_there_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no files of whatsup_gqa_one found.*vg_qa_one_obj_v2"):
        GQA_ONE.locate(tmp_path, "test")


def test_captions_without_pictures_give_way_to_the_mirror(tmp_path: Path) -> None:
    path = write_json(tmp_path / "whatsup", A)
    mirror(tmp_path, A)
    assert A.locate(tmp_path, "test").layout == "json"
    (path.parent / "controlled_images").rename(tmp_path / "elsewhere")
    assert A.locate(tmp_path, "test").layout == "parquet"


# Judging


def ranked(scores: Sequence[float], rules: str, task: Task = A) -> Verdict:
    labels = "ABCD"[: len(scores)]
    sample = Sample("1", ("?",), "A", dict(zip(labels, labels, strict=True)), rank=True)
    given = {label: Likelihood(score, 1, 1) for label, score in zip(labels, scores, strict=True)}
    return task.judge(sample, Reply(likelihoods=given), rules)


NAN = math.nan


@pytest.mark.parametrize(
    ("scores", "official", "ours", "status"),
    [
        ([0.31, 0.20, 0.10, 0.05], "A", "A", "ok"),
        ([0.20, 0.31, 0.10, 0.05], "B", "B", "ok"),
        ([0.30, 0.30, 0.20, 0.30], "A", "", "ambiguous"),
        ([NAN, NAN, NAN, NAN], "A", "", "error"),
        ([0.1, NAN, 0.9, 0.2], "B", "", "error"),
        ([-math.inf] * 4, "A", "", "ambiguous"),
    ],
)
def test_ranked_captions(scores: list[float], official: str, ours: str, status: str) -> None:
    verdict = ranked(scores, "official")
    assert (verdict.parsed, verdict.score, verdict.status) == (official, official == "A", "ok")
    verdict = ranked(scores, "spare")
    assert (verdict.parsed, verdict.score, verdict.status) == (ours, ours == "A", status)


scores = st.lists(st.floats(), min_size=4, max_size=4)


@given(scores)
def test_official_is_numpys_argmax(values: list[float]) -> None:
    assert "ABCD".index(ranked(values, "official").parsed) == numpy.argmax(values)


@given(scores)
def test_ours_agrees_with_official_where_one_caption_is_best(values: list[float]) -> None:
    verdict = ranked(values, "spare")
    if verdict.status == "ok":
        assert verdict == ranked(values, "official")
    else:
        assert verdict.score == 0
        assert any(map(math.isnan, values)) or values.count(max(values)) > 1


def test_normalised_rankings_are_further_figures() -> None:
    sample = Sample("1", ("?",), "A", {"A": "long", "B": "short"}, rank=True)
    given = {"A": Likelihood(-4.0, 8, 10), "B": Likelihood(-3.0, 2, 6)}
    verdict = COCO_TWO.judge(sample, Reply(likelihoods=given), "spare")
    assert (verdict.parsed, verdict.score) == ("B", 0.0)
    assert verdict.also == {"mean": 1.0, "per_character": 1.0}
    figures = summarise(COCO_TWO, [Judged("1", "A", verdict, {"relation": "above"}, "", "7")])
    assert figures == {
        "individual": 0.0,
        "individual_mean": 100.0,
        "individual_per_character": 100.0,
    }


def test_a_reply_without_likelihoods_is_not_ranked() -> None:
    sample = Sample("1", ("?",), "A", {"A": "x", "B": "y"}, rank=True)
    for rules in ("spare", "official"):
        assert A.judge(sample, Reply("A"), rules) == Verdict("", 0.0, "empty")
        partial = Reply(likelihoods={"A": Likelihood(-1.0, 1, 1)})
        assert A.judge(sample, partial, rules) == Verdict("", 0.0, "unparsed")


MCQ = {
    "A": "A mug on a table",
    "B": "A mug under a table",
    "C": "A mug to the left of a table",
    "D": "A mug to the right of a table",
}


@pytest.mark.parametrize(
    ("gold", "reply", "parsed", "status"),
    [
        ("C", "C. A mug to the left of a table", "C", "ok"),
        ("B", "A mug under the table", "B", "ok"),
        ("A", "A mug", "", "unparsed"),
        ("A", "", "", "empty"),
        ("B", "b", "B", "ok"),
        ("D", "<think>A?</think> (D)", "D", "ok"),
    ],
)
def test_letters_are_read_by_our_rules(gold: str, reply: str, parsed: str, status: str) -> None:
    verdict = A.judge(Sample("1", ("?",), gold, MCQ), Reply(reply), "spare")
    assert (verdict.parsed, verdict.score, verdict.status) == (parsed, parsed == gold, status)


def word_sample(task: Task, target: str, subject: str = "mug", landmark: str = "chair") -> Sample:
    (words,) = [subset.words for subset in whatsup.SUBSETS if subset.name == task.name]
    tags = {"subject": subject, "object": landmark}
    return Sample("1", ("?",), target, {word: word for word in words}, tags=tags)


@pytest.mark.parametrize(
    ("gold", "reply", "right"),
    [
        ("on", "It is in front of the chair.", False),
        ("on", "None of these", True),  # "none" has "on"
        ("left", "Left or right.", True),
        ("under", "Below", False),
        ("on", "ON", True),
        ("on", "", False),
    ],
)
def test_adaptvis_looks_for_the_word_anywhere(gold: str, reply: str, right: bool) -> None:
    assert A.judge(word_sample(A, gold), Reply(reply), "adaptvis").score == right


@pytest.mark.parametrize(
    ("task", "reply", "parsed", "status"),
    [
        (A, "Left.", "left", "ok"),
        (A, "on", "on", "ok"),
        (A, "The mug is on the left of the chair.", "left", "ok"),
        (A, "It is on its far right", "right", "ok"),
        (A, "On top of the chair", "on", "ok"),
        (A, "The mug isn't on the chair but under it.", "under", "ok"),
        (A, "<think>left?</think><answer>under</answer>", "under", "ok"),
        (A, "Left or right.", "", "ambiguous"),
        (A, "to the left, behind it", "left", "ok"),  # nobody asked for "behind"
        (A, "None of these", "", "unparsed"),
        (A, "It is in front of the chair.", "", "unparsed"),
        (A, "Below", "", "unparsed"),
        (A, " ", "", "empty"),
        (B, "It is in front of the knife.", "front", "ok"),
        (COCO_ONE, "At the top of the picture", "top", "ok"),
        (COCO_ONE, "top left", "", "ambiguous"),
        (GQA_TWO, "on top of the table", "above", "ok"),
    ],
)
def test_our_rules_read_a_word(task: Task, reply: str, parsed: str, status: str) -> None:
    for target in next(one.words for one in whatsup.SUBSETS if one.name == task.name):
        verdict = task.judge(word_sample(task, target), Reply(reply), "spare")
        assert (verdict.parsed, verdict.status) == (parsed, status)
        assert verdict.score == (parsed == target)


def test_the_names_of_the_objects_are_no_answer() -> None:
    sample = word_sample(B, "behind", "front wheel", "left shoe")
    reply = Reply("The front wheel is behind the left shoe.")
    assert B.judge(sample, reply, "spare") == Verdict("behind", 1.0, "ok")


@given(st.text(max_size=60))
def test_any_reply_gets_a_verdict(text: str) -> None:
    for sample, rules in (
        (Sample("1", ("?",), "C", MCQ), ("spare",)),
        (word_sample(A, "on"), ("spare", "adaptvis")),
    ):
        for name in rules:
            verdict = A.judge(sample, Reply(text), name)
            assert verdict.score == (verdict.parsed == sample.target)


@pytest.mark.parametrize("task", whatsup.TASKS)
def test_gold_scores_1_and_everything_else_0(tmp_path: Path, task: Task) -> None:
    our_layout(tmp_path, task)
    for prompt in task.prompts.values():
        for one in task.samples(tmp_path, prompt=prompt.name):
            for rules in prompt.rules:
                for label in one.options:
                    given = {name: Likelihood(-float(name != label), 1, 1) for name in one.options}
                    reply = Reply(likelihoods=given) if prompt.rank else Reply(label)
                    verdict = task.judge(one, reply, rules)
                    assert (verdict.parsed == label, verdict.status) == (True, "ok")
                    assert verdict.score == (label == one.target)
                assert task.judge(one, Reply(" \n"), rules) == Verdict("", 0.0, "empty")
                assert task.judge(one, Reply(error="x"), rules).score == 0


# Figures


def summarise(task: Task, judged: list[Judged]) -> dict[str, float]:
    return {one.name: one.value for one in task.summarise(judged, "spare")}


def photographs(task: Task, **right: int) -> list[Judged]:
    """Judged photographs of one set: relation (with _ for a space) = right or wrong."""
    return [
        Judged(
            f"mug_{relation}_table",
            "A",
            Verdict("A" if score else "B", float(score), "ok"),
            {"relation": relation.replace("_", " ")},
            "mug_table",
            "mug_table",
        )
        for relation, score in right.items()
    ]


def test_one_set_with_one_photograph_wrong() -> None:
    judged = photographs(A, left_of=1, right_of=1, on=0, under=1)
    assert summarise(A, judged) == {"individual": 75.0, "pair": 50.0, "set": 0.0}


def test_a_missing_photograph_shrinks_the_denominators() -> None:
    judged = photographs(A, left_of=1, right_of=1, on=1)
    assert summarise(A, judged) == {
        "individual": 100.0,
        "pair": pytest.approx(100 / 1.5),
        "set": 0.0,
    }


def test_denominators_are_rows_and_not_sets() -> None:
    """One whole set and three photographs of another: 7 rows, 7 / 2 pairs, 7 / 4 sets."""
    whole = photographs(A, left_of=1, right_of=1, on=1, under=1)
    part = [
        replace(one, id=f"other {one.id}", group="other", cluster="other")
        for one in photographs(A, left_of=1, right_of=1, on=1)
    ]
    assert summarise(A, whole + part) == {
        "individual": 100.0,
        "pair": pytest.approx(100 * 3 / 3.5),
        "set": pytest.approx(100 * 1 / 1.75),
    }


def test_b_pairs_front_with_behind() -> None:
    judged = photographs(B, left_of=1, right_of=0, in_front_of=1, behind=1)
    assert summarise(B, judged) == {"individual": 75.0, "pair": 50.0, "set": 0.0}
    judged = photographs(B, left_of=1, right_of=1, in_front_of=1, behind=1)
    assert summarise(B, judged) == {"individual": 100.0, "pair": 100.0, "set": 100.0}


@pytest.mark.parametrize(("task", "relations", "sets"), [(A, IN_A, 103), (B, IN_B, 102)])
def test_sizes_of_the_whole_subsets(
    tmp_path: Path, task: Task, relations: dict[str, str], sets: int
) -> None:
    pairs = [(f"thing-{number}", "table") for number in range(sets)]
    write_json(tmp_path, task, controlled(pairs, relations, FILES[task.name][1]))
    samples = list(task.samples(tmp_path))
    assert len(samples) == task.splits["test"] == 4 * sets
    assert set(Counter(one.tags["relation"] for one in samples).values()) == {sets}
    judged = [
        Judged(one.id, one.target, task.judge(one, Reply("A"), "spare"), one.tags, one.group)
        for one in samples
    ]
    metrics = {one.name: one for one in task.summarise(judged, "spare")}
    assert {name: one.n for name, one in metrics.items()} == {
        "individual": 4 * sets,
        "pair": 2 * sets,
        "set": sets,
    }


def test_one_relation_always_gets_no_pair(tmp_path: Path) -> None:
    our_layout(tmp_path, A)
    judged = [
        Judged(one.id, one.target, A.judge(one, Reply("on"), "spare"), one.tags, one.group)
        for one in A.samples(tmp_path, prompt="words")
    ]
    assert summarise(A, judged) == {"individual": 25.0, "pair": 0.0, "set": 0.0}


def test_constant_scores_are_all_right_for_the_reference_and_all_wrong_for_us(
    tmp_path: Path,
) -> None:
    our_layout(tmp_path, A)
    for rules, value in (("official", 100.0), ("spare", 0.0)):
        judged = [
            Judged(
                one.id,
                one.target,
                A.judge(
                    one,
                    Reply(likelihoods={name: Likelihood(-1.0, 1, 1) for name in one.options}),
                    rules,
                ),
                one.tags,
                one.group,
            )
            for one in A.samples(tmp_path, prompt="captions")
        ]
        figures = summarise(A, judged)
        assert {figures[name] for name in ("individual", "pair", "set")} == {value}


@pytest.mark.parametrize("task", whatsup.TASKS[2:])
def test_coco_and_gqa_have_no_pairs(tmp_path: Path, task: Task) -> None:
    our_layout(tmp_path, task)
    judged = [
        Judged(one.id, one.target, task.judge(one, Reply(one.target), "spare"), one.tags)
        for one in task.samples(tmp_path)
    ]
    assert summarise(task, judged) == {"individual": 100.0}


# The swapped pictures of the pillow


@pytest.mark.parametrize("prompt", list(A.prompts))
def test_a_model_that_sees_the_pillow_right_is_only_right_once_it_is_mended(
    tmp_path: Path, prompt: str
) -> None:
    rows = controlled([("pillow", "chair"), ("mug", "table")], IN_A, "controlled_images")
    write_json(tmp_path, A, rows)
    for rules in A.prompt(prompt).rules:
        judged = []
        for one in A.samples(tmp_path, prompt=prompt):
            said = one.target
            if one.id in ("pillow_left_of_chair", "pillow_right_of_chair"):
                truth = "right" if "left" in one.id else "left"
                (said,) = [label for label, text in one.options.items() if truth in text]
            given = {name: Likelihood(-float(name != said), 1, 1) for name in one.options}
            reply = Reply(likelihoods=given) if one.rank else Reply(said)
            judged.append(
                Judged(one.id, one.target, A.judge(one, reply, rules), one.tags, one.group)
            )
        figures = summarise(A, judged)
        assert [figures[name] for name in ("individual", "pair", "set")] == [75.0, 75.0, 50.0]
        fixed = ("individual_fixed", "pair_fixed", "set_fixed")
        assert [figures[name] for name in fixed] == [100.0, 100.0, 100.0]


def test_without_the_pillow_nothing_is_mended(tmp_path: Path) -> None:
    assert "individual_fixed" not in summarise(A, photographs(A, left_of=1, right_of=1))


# Chance


@pytest.mark.parametrize("task", whatsup.TASKS)
def test_chance_is_that_of_independent_guesses(task: Task) -> None:
    four = task in (A, B)
    assert task.chance["individual"] == (25.0 if four else 50.0)
    if four:
        assert task.chance["pair"] == 6.25
        assert task.chance["set"] == pytest.approx(0.39, abs=0.001)


def test_random_letters_score_at_chance(tmp_path: Path) -> None:
    """Chance is what `random` gets: 412 draws at 25 per cent, standard error 2.1."""
    from spare.harness.models import load_model
    from spare.harness.models.types import Request

    pairs = [(f"thing-{number}", "table") for number in range(103)]
    write_json(tmp_path, A, controlled(pairs, IN_A, "controlled_images"))
    for prompt in A.prompts:
        samples = {one.id: one for one in A.samples(tmp_path, prompt=prompt)}
        requests = [Request(one.id, one.parts, one.options, one.rank) for one in samples.values()]
        judged = []
        for key, reply in load_model("random").answer(requests):
            one = samples[key]
            verdict = A.judge(one, reply, "spare")
            judged.append(Judged(one.id, one.target, verdict, one.tags, one.group))
        assert abs(summarise(A, judged)["individual"] - 25.0) < 4 * 2.2
