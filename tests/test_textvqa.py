"""TextVQA: every layout, the prompts byte for byte, and the rule sets' worked examples. The first
question is the published one; the others and the pictures are our own."""

from __future__ import annotations

import base64
import csv
import io
import json
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.cli import main
from spare.errors import DataError
from spare.images import Picture
from spare.tasks.textvqa import ROSETTA, TASKS
from spare.tasks.types import Judged, Reply, Sample
from spare.tasks.vqa_answers import official_answer, vote_score

TASK = TASKS[0]

DAKOTA = [
    *("nous les gosses", "dakota", "clos culombu", "dakota digital", "dakota", "dakota"),
    *("dakota digital", "dakota digital", "dakota", "dakota"),
]
CAMERA = "003a8ae2ef43b901"
ITEMS: Sequence[tuple[int, str, str, list[str]]] = (
    (34602, CAMERA, "what is the brand of this camera?", DAKOTA),
    (34603, "00aa11bb22cc33dd", "what number is on the NASA rocket?", ["7"] * 6 + ["seven"] * 4),
    (34604, "00aa11bb22cc33dd", "what does the flag say?", ["usa", "u.s.a."] * 5),
    (34605, "0123456789abcdef", "which page is this?", ["unanswerable"] * 10),
    (
        34606,
        "fedcba9876543210",
        'what is in "quotes"?',
        ["macbook'"] * 4 + ['say "hi"', "it's"] * 3,
    ),
    (34607, "89abcdef01234567", "which letter?", ["a"] * 9 + [""]),
)
TOKENS: Mapping[str, list[str]] = {
    CAMERA: ["DAKOTA", "DIGITAL", "Single-Use", "Camera", "Pire", "digitat"],
    "00aa11bb22cc33dd": ["U.S.A."],
    "0123456789abcdef": [],
    "fedcba9876543210": ["a,b", "c"],
    "89abcdef01234567": ["A"],
}
SHORT = "Answer the question using a single word or phrase."


@cache
def jpeg(image: str) -> bytes:
    file = io.BytesIO()
    pixels = random.Random(image).randbytes(8 * 8 * 3)
    PIL.Image.frombytes("RGB", (8, 8), pixels).save(file, "JPEG")
    return file.getvalue()


def official_item(item: tuple[int, str, str, list[str]]) -> dict[str, Any]:
    number, image, question, answers = item
    return {
        "question": question,
        "image_id": image,
        "image_classes": ["Camera"],
        "flickr_original_url": f"https://example.org/{image}_o.jpg",
        "flickr_300k_url": f"https://example.org/{image}_z.jpg",
        "image_width": 1024,
        "image_height": 664,
        "answers": answers,
        "question_tokens": question.rstrip("?").split(),
        "question_id": number,
        "set_name": "val",
    }


OFFICIAL = [official_item(item) for item in ITEMS]


def write_json(folder: Path, items: Sequence[Mapping[str, Any]] = OFFICIAL) -> Path:
    """The original files."""
    pictures = folder / "textvqa/train_images"
    pictures.mkdir(parents=True)
    for image in TOKENS:
        (pictures / f"{image}.jpg").write_bytes(jpeg(image))
    path = folder / "textvqa/TextVQA_0.5.1_val.json"
    content = {"dataset_name": "textvqa", "dataset_type": "val", "dataset_version": "0.5.1"}
    path.write_text(json.dumps(content | {"data": items}))
    return path


def write_unpacked_as_zipped(folder: Path) -> None:
    """Folders named after the archives, annotations in `data` as on the server."""
    path = write_json(folder)
    (folder / "textvqa/data").mkdir()
    path.rename(folder / "textvqa/data" / path.name)
    (folder / "textvqa/train_val_images").mkdir()
    images = folder / "textvqa/train_images"
    images.rename(folder / "textvqa/train_val_images/train_images")


def write_rosetta(path: Path, keyed: bool = False) -> None:
    box = {"top_left_x": 0.1, "top_left_y": 0.2, "width": 0.3, "height": 0.1, "rotation": 0}
    entries = [
        {
            "image_id": image,
            "ocr_tokens": tokens,
            "ocr_info": [{"word": token, "bounding_box": box} for token in tokens],
        }
        for image, tokens in TOKENS.items()
    ]
    by_name = {one["image_id"]: {"ocr_tokens": one["ocr_tokens"]} for one in entries}
    path.write_text(json.dumps(by_name if keyed else {"data": entries}))


def write_parquet(path: Path, items: Sequence[Mapping[str, Any]], tokens: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for item in items:
        image = item["image_id"]
        cell = {"bytes": jpeg(image), "path": f"{image}.jpg"}
        rows.append(dict(item, image=cell, **({"ocr_tokens": TOKENS[image]} if tokens else {})))
    table = pyarrow.Table.from_pylist(rows)
    place = table.schema.get_field_index("question_id")
    table = table.set_column(place, "question_id", table["question_id"].cast(pyarrow.int32()))
    pyarrow.parquet.write_table(table, path, row_group_size=2)


def write_lmms_lab(folder: Path) -> None:
    """Two shards, with OCR tokens."""
    for shard, part in enumerate((OFFICIAL[:4], OFFICIAL[4:])):
        write_parquet(folder / f"textvqa/data/validation-{shard:05d}-of-00002.parquet", part)


def write_facebook(folder: Path) -> None:
    write_parquet(folder / "textvqa/data/validation-00000-of-00001.parquet", OFFICIAL, tokens=False)


def write_lite(folder: Path) -> None:
    write_parquet(folder / "LMMs-Eval-Lite/textvqa_val/lite-00000-of-00001.parquet", OFFICIAL)


def write_tsv(folder: Path, answers: Mapping[int, str] = {}) -> None:
    """VLMEvalKit's table: a short picture cell is the index of the row with the picture."""
    path = folder / "LMUData/TextVQA_VAL.tsv"
    path.parent.mkdir(parents=True)
    seen: dict[str, int] = {}
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["index", "image", "question", "answer"])
        for index, (_, image, question, people) in enumerate(ITEMS):
            picture = base64.b64encode(jpeg(image)).decode()
            cell = str(seen[image]) if image in seen else picture
            seen.setdefault(image, index)
            writer.writerow([index, cell, question, answers.get(index, str(people))])


def asked(folder: Path, prompt: str = "") -> dict[str, Sample]:
    return {sample.id: sample for sample in TASK.samples(folder, prompt=prompt)}


def fault(folder: Path, prompt: str = "") -> str:
    with pytest.raises(DataError) as caught:
        asked(folder, prompt)
    return str(caught.value)


def picture_of(sample: Sample) -> bytes:
    picture = sample.parts[0]
    assert isinstance(picture, Picture)
    return picture.read()


# Files


@pytest.mark.parametrize(
    ("write", "layout"),
    [
        (write_json, "json"),
        (write_unpacked_as_zipped, "json"),
        (write_lmms_lab, "parquet"),
        (write_facebook, "parquet"),
        (write_lite, "lite-parquet"),
        (write_tsv, "vlmevalkit-tsv"),
    ],
)
def test_every_layout_asks_the_same(
    tmp_path: Path, write: Callable[[Path], None], layout: str
) -> None:
    write(tmp_path)
    assert TASK.locate(tmp_path, "validation").layout == layout
    samples = list(TASK.samples(tmp_path))
    table = layout == "vlmevalkit-tsv"
    for index, (number, image, question, people) in enumerate(ITEMS):
        sample = samples[index]
        assert sample.id == (f"tsv-{index}" if table else str(number))
        assert picture_of(sample) == jpeg(image)
        assert sample.parts[1:] == (f"{question.capitalize()}\n{SHORT}",)
        assert sample.answers == tuple(people)
        assert not sample.options
        same_picture = [one for one, item in zip(samples, ITEMS, strict=True) if item[1] == image]
        assert {one.cluster for one in same_picture} == {sample.cluster}
    assert len({sample.cluster for sample in samples}) == len(TOKENS)


def test_the_target_is_the_most_frequent_answer(tmp_path: Path) -> None:
    """Of equally frequent ones the first in alphabetical order."""
    write_json(tmp_path)
    targets = [sample.target for sample in asked(tmp_path).values()]
    assert targets == ["dakota", "7", "u.s.a.", "unanswerable", "macbook'", "a"]


def test_a_missing_photograph_costs_only_its_own_questions(tmp_path: Path) -> None:
    write_json(tmp_path)
    (tmp_path / f"textvqa/train_images/{CAMERA}.jpg").unlink()
    assert len(asked(tmp_path)) == len(ITEMS)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"answers": None}, "row 2: there are no answers. Those of the test split are not public"),
        ({"answers": [""] * 10}, "row 2: there are no answers. Those of the test split"),
        ({"answers": ["7"] * 9}, "row 2: a list of 10 answers was expected, but there is"),
        ({"answers": "7"}, "row 2: a list of 10 answers was expected, but there is '7'"),
        ({"answers": ["7"] * 9 + [7]}, "row 2: a list of 10 answers was expected"),
        ({"question_id": 34602}, "row 2: question 34602 stood in row 1 already"),
        ({"question_id": "34602"}, "row 2: question_id should be a whole number but is '34602'"),
        ({"question": None}, "row 2: column 'question' should be text but is NoneType None"),
        ({"image_id": "../x"}, "row 2: picture name '../x.jpg' leads out of the data folder"),
        ({"set_name": "train"}, "row 2: this question is of the train split"),
    ],
)
def test_a_faulty_row_is_named(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    write_json(tmp_path, [OFFICIAL[0], OFFICIAL[1] | change, OFFICIAL[2]])
    message = fault(tmp_path)
    assert sentence in message
    assert message.startswith(str(tmp_path / "textvqa/TextVQA_0.5.1_val.json"))


def test_the_test_split_has_no_answers_at_all(tmp_path: Path) -> None:
    rows = [{k: v for k, v in item.items() if k != "answers"} for item in OFFICIAL]
    write_json(tmp_path, rows)
    assert "row 1: there are no answers" in fault(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[1]", "an object with 'data' was expected, but it holds list"),
        ('{"annotations": []}', "an object with 'data' was expected, but it holds annotations"),
        ('{"data": {}}', "a list was expected, but the file holds a dict"),
        ('{"data": [3]}', "row 1: an object was expected, but this is a int"),
        ('{"data": [{"question_id": 1}]}', "row 1: columns image_id, question missing"),
        ('{"data": [{"question_id": 1, "ima', "not JSON"),
    ],
)
def test_a_damaged_file_is_a_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "TextVQA_0.5.1_val.json").write_text(content)
    assert sentence in fault(tmp_path)


@pytest.mark.parametrize(
    "cell", ["7", "nan", "", "['a', 'b'", "('a',) * 10", "[" * 5000, "[1]", "{'a': 1}", "None"]
)
def test_a_table_cell_must_be_a_list_and_is_never_run(tmp_path: Path, cell: str) -> None:
    """VLMEvalKit evaluates the cell as a program, and silently gives 0 for what is no list."""
    write_tsv(tmp_path, {2: cell})
    assert "row 3: " in fault(tmp_path)


def test_no_files_is_a_sentence(tmp_path: Path) -> None:
    assert "no files of textvqa_val found: looked for data/validation-*.parquet" in fault(tmp_path)


# Prompts

CAMERA_WITH_TOKENS = (
    "What is the brand of this camera?\n"
    "Reference OCR token: DAKOTA, DIGITAL, Single-Use, Camera, Pire, digitat\n"
    "Answer the question using a single word or phrase."
)
"""The first line of LLaVA's llava_textvqa_val_v051_ocr.jsonl."""


def test_prompts_are_those_of_the_references(tmp_path: Path) -> None:
    """lmms-eval's `capitalize` makes all other letters small, names included; VLMEvalKit asks the
    question as stored, and Qwen2-VL in other words."""
    write_lmms_lab(tmp_path)
    rocket = {name: asked(tmp_path, name)["34603"].parts[1] for name in TASK.prompts}
    assert rocket == {
        "lmms-eval": f"What number is on the nasa rocket?\n{SHORT}",
        "llava": f"What number is on the nasa rocket?\nReference OCR token: U.S.A.\n{SHORT}",
        "vlmevalkit": f"what number is on the NASA rocket?\n{SHORT}",
        "vlmevalkit-qwen2-vl": "what number is on the NASA rocket?\n"
        "Please try to answer the question with short words or phrases if possible.",
    }
    assert TASK.prompt().name == "lmms-eval"


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("write", [write_json, write_unpacked_as_zipped, write_facebook])
def test_tokens_come_from_the_file_beside(
    tmp_path: Path, write: Callable[[Path], None], keyed: bool
) -> None:
    """lmms-eval with `ocr: true` writes the line even where nothing was found."""
    write(tmp_path)
    write_rosetta(tmp_path / "textvqa" / ROSETTA, keyed)
    samples = asked(tmp_path, "llava")
    assert samples["34602"].parts[1] == CAMERA_WITH_TOKENS
    assert samples["34605"].parts[1] == f"Which page is this?\nReference OCR token: \n{SHORT}"
    assert tmp_path / "textvqa" / ROSETTA in TASK.locate(tmp_path, "validation").annotations


@pytest.mark.parametrize("write", [write_lmms_lab, write_lite])
def test_tokens_come_from_their_column(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    assert asked(tmp_path, "llava")["34602"].parts[1] == CAMERA_WITH_TOKENS


@pytest.mark.parametrize("write", [write_json, write_facebook, write_tsv])
def test_without_tokens_their_prompt_is_refused(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    write(tmp_path)
    assert "row 1: prompt llava shows OCR tokens, and " in fault(tmp_path, "llava")
    assert len(asked(tmp_path)) == len(ITEMS)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"data": []}, "prompt llava shows OCR tokens, and these files have none"),
        ({"data": [{"image_id": "x", "ocr_tokens": []}]}, f"has no entry for photograph {CAMERA}"),
        ({"data": [{"image_id": "x"}]}, "row 1: an entry with image_id and ocr_tokens"),
        ({"data": [7]}, "row 1: an entry with image_id and ocr_tokens"),
        ({"x": []}, "row 1: an entry with image_id and ocr_tokens"),
        ({CAMERA: {"ocr_tokens": "DAKOTA"}}, "row 1: ocr_tokens should be a list of texts"),
        (7, "a list of entries was expected, but 7 is there"),
    ],
)
def test_damaged_tokens_are_a_sentence(tmp_path: Path, content: object, sentence: str) -> None:
    write_json(tmp_path)
    (tmp_path / "textvqa" / ROSETTA).write_text(json.dumps(content))
    assert sentence in fault(tmp_path, "llava")
    assert len(asked(tmp_path)) == len(ITEMS)


# Scores

PEOPLE: Mapping[str, list[str]] = {
    "A": DAKOTA,
    "B": ["unanswerable"] * 5 + ["ap"] * 3 + ["af", "audemars"],
    "C": ["hershey's"] * 9 + ["hersheys"],
    "D": ["3.82"] * 6 + ["$3.82"] * 3 + ["$3.32"],
    "E": ["3"] * 9 + ["3 for $5"],
    "G": ["10 years"] * 7 + ["10 year", "10", "martial arts"],
    "H": ["0"] * 6 + ["0%", "10", "5 and 10", "5% and 10%"],
    "I": [
        *("select", "select", "continue", "continue", "continue", "select your"),
        *("select something", "select your keyboard", "select your keybound", "non-reading"),
    ],
    "J": ["2012"] * 10,
    "K": ["king's cross"] * 9 + ["leo"],
    # invented
    "S1": ["red,blue"] * 4 + ["red, blue"] * 3 + ["red and blue"] * 3,
    "S2": ["a"] * 6 + ["b"] * 4,
    "S4": ["what's up"] * 8 + ["whats up"] * 2,
    "S5": ["none"] * 4 + ["0"] * 3 + ["zero"] * 3,
    "S6": ["café"] * 5 + ["cafe"] * 5,
    "S7": ["u.s.a."] * 3 + ["usa"] * 3 + ["u.s.a"] * 2 + ["us"] * 2,
    "S8": ["n/a"] * 3 + ["na"] * 7,
    "five": ["a"] * 5 + ["b"] * 5,
}
"""Published answers of the validation split, but for S1 to S8 and "five"."""


def judged(people: Sequence[str], reply: str, rules: str) -> tuple[str, float]:
    sample = Sample("1", ("?",), people[0], answers=tuple(people))
    verdict = TASK.judge(sample, Reply(reply), rules)
    assert verdict.status == ("ok" if reply.strip() else "empty")
    return verdict.parsed, verdict.score


@pytest.mark.parametrize(
    ("people", "reply", "parsed", "score"),
    [
        ("A", "Dakota", "dakota", 1.0),
        ("A", "dakota digital.", "dakota digital", 0.9),
        ("A", "Nous Les Gosses", "nous les gosses", 0.3),
        ("A", "DAKOTA, DIGITAL", "dakota digital", 0.9),
        ("B", "unanswerable", "unanswerable", 1.0),
        ("B", "AP", "ap", 0.9),
        ("C", "Hershey's", "hershey 's", 1.0),
        ("C", "Hersheys", "hersheys", 0.3),
        ("C", "hershey’s", "hershey’s", 0.0),
        ("D", "$3.82", "$3.82", 0.9),
        ("D", "3.82.", "3.82", 1.0),
        ("D", "3,82", "382", 0.0),
        ("E", "Three.", "3", 1.0),
        ("E", "3.", "3", 1.0),
        ("G", "The ten years", "10 years", 1.0),
        ("H", "none", "0", 1.0),
        ("H", "0%", "0%", 0.3),
        ("I", "Select", "select", 0.6),
        ("I", "non reading", "non reading", 0.3),
        ("J", "2012.", "2012", 1.0),
        ("J", "In 2012", "in 2012", 0.0),
        ("K", "King's Cross", "king 's cross", 1.0),
        ("S1", "red, blue", "red blue", 0.9),
        ("S1", "red,blue", "redblue", 1.0),
        ("S2", "", "", 1.0),
        ("S2", "A", "", 1.0),
        ("S2", "the", "", 1.0),
        ("S4", "whats up", "what's up", 0.6),
        ("S4", "What's up?", "what 's up", 1.0),
        ("S5", "None", "0", 1.0),
        ("S5", "no", "no", 0.0),
        ("S6", "cafe\u0301", "cafe\u0301", 0.0),
        ("S7", "U.S.A", "usa", 1.0),
        ("S8", "N/A", "n", 0.9),
        ("five", "The", "", 1.0),
        ("five", "...", "", 1.0),
    ],
)
def test_official_and_lmms_eval(people: str, reply: str, parsed: str, score: float) -> None:
    """Runs of MMF, and of lmms-eval, which agree."""
    for rules in ("official", "lmms-eval"):
        assert judged(PEOPLE[people], reply, rules) == (parsed, pytest.approx(score, abs=1e-9))


@pytest.mark.parametrize(
    ("people", "reply", "parsed", "score"),
    [
        ("A", "dakota digital.", "dakota digital", 0.9),
        ("C", "Hershey's", "hershey's", 1.0),
        ("D", "3.82.", "3.82.", 0.0),
        ("E", "Three.", "3", 1.0),
        ("E", "3.", "3.", 0.0),
        ("J", "2012.", "2012.", 0.0),
        ("K", "King's Cross", "king's cross", 1.0),
        ("S1", "red, blue", "red blue", 1.0),
        ("S1", "red,blue", "red blue", 1.0),
        ("S2", "A", "", 1.0),
        ("S4", "whats up", "what's up", 1.0),
        ("S4", "What's up?", "what's up", 1.0),
        ("S5", "None", "0", 1.0),  # VLMEvalKit's spreadsheet makes it "nan" first: 0
        ("S8", "N/A", "n", 0.9),  # likewise
    ],
)
def test_vlmevalkit(people: str, reply: str, parsed: str, score: float) -> None:
    """Runs of VLMEvalKit, its spreadsheet left out."""
    assert judged(PEOPLE[people], reply, "vlmevalkit") == (parsed, pytest.approx(score, abs=1e-9))


@pytest.mark.parametrize("people", ["D", "E", "J"])
def test_vlmevalkit_took_full_stops_behind_digits_until_may_2025(people: str) -> None:
    reply = f"{PEOPLE[people][0]}."
    assert judged(PEOPLE[people], reply, "vlmevalkit-2024")[1] == 1.0
    assert judged(PEOPLE[people], reply, "vlmevalkit")[1] == 0.0
    assert judged(PEOPLE["S4"], "whats up", "vlmevalkit-2024") == ("what's up", 1.0)


def said(people: str, reply: str) -> tuple[str, float]:
    """Status and score under our own rules."""
    sample = Sample("1", ("?",), "", answers=tuple(PEOPLE[people]))
    verdict = TASK.judge(sample, Reply(reply), "spare")
    assert bool(verdict.parsed) == (verdict.status == "ok")
    return verdict.status, verdict.score


@pytest.mark.parametrize(
    ("people", "reply", "score"),
    [
        ("A", "**Dakota**", 1.0),
        ("A", "“Dakota.”", 1.0),
        ("A", "'Dakota'", 1.0),
        ("A", "The answer is Dakota.", 1.0),
        ("A", "Answer: dakota digital", 0.9),
        ("A", "Dakota<|im_end|>", 1.0),
        ("A", "<think>Red letters: Leo?</think><answer>Dakota</answer>", 1.0),
        ("A", r"\boxed{\text{Dakota}}", 1.0),
        ("C", "hershey’s", 1.0),
        ("C", "Hersheys", 0.3),
        ("D", "3.82.", 1.0),
        ("D", "$3.82", 0.9),
        ("D", "3,82", 0.0),
        ("H", "0%", 0.3),
        ("H", "Zero", 1.0),
        ("J", "In 2012", 0.0),  # a person might; nobody should guess
        ("S1", "red, blue", 1.0),
        ("S1", "red,blue", 1.0),
        ("S2", "A", 1.0),
        ("S2", "B.", 1.0),
        ("S2", "the", 0.0),
        ("S4", "whats up", 1.0),
        ("S6", "Cafe\u0301", 1.0),
        ("S8", "N/A", 0.9),
    ],
)
def test_our_own_rules(people: str, reply: str, score: float) -> None:
    assert said(people, reply) == ("ok", pytest.approx(score, abs=1e-9))


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("nan", "empty"),  # how some table writers store no reply
        ("...", "unparsed"),
        ("<answer>a</answer> <answer>b</answer>", "ambiguous"),
    ],
)
def test_nothing_is_no_answer_by_our_own_rules(reply: str, status: str) -> None:
    assert said("S2", reply) == (status, 0.0)


ANSWERS = st.one_of(
    st.sampled_from([text for people in PEOPLE.values() for text in people]),
    st.text(alphabet="aA19 .,'’s-/?\n\u0301[*", max_size=12),
    st.text(max_size=12),
)


@given(st.lists(ANSWERS, min_size=10, max_size=10), st.one_of(ANSWERS, st.text()), st.data())
def test_we_count_whatever_official_counts_but_nothing(
    people: list[str], reply: str, data: st.DataObject
) -> None:
    if data.draw(st.booleans()):
        reply = data.draw(st.sampled_from(people)).upper()
    sample = Sample("1", ("?",), "", answers=tuple(people))
    official = TASK.judge(sample, Reply(reply), "official")
    ours = TASK.judge(sample, Reply(reply), "spare")
    assert official.score == vote_score([*map(official_answer, people)].count(official.parsed), 10)
    if official.parsed:
        assert ours.score >= official.score
    assert ours.score == 0.0 or ours.status == "ok"


@given(st.text(), st.sampled_from([*TASK.rules]))
def test_any_text_gets_a_verdict(text: str, rules: str) -> None:
    sample = Sample("1", ("?",), "dakota", answers=tuple(DAKOTA))
    verdict = TASK.judge(sample, Reply(text), rules)
    assert verdict.score in (0.0, 0.3, 0.6, 0.9, 1.0)
    assert (verdict.status == "empty") >= (not text.strip())


@pytest.mark.parametrize("text", [".", ",1", "a ", "- ", "'s", "answer is ", "<answer>", "*", "\n"])
@pytest.mark.parametrize("rules", [*TASK.rules])
def test_a_megabyte_is_soon_judged(text: str, rules: str) -> None:
    """By construction: no pattern of the readers looks at a place more than a bounded number of
    times."""
    sample = Sample("1", ("?",), "dakota", answers=tuple(DAKOTA))
    assert TASK.judge(sample, Reply(text * (1_000_000 // len(text))), rules).score == 0.0


def test_the_figure_is_the_mean_over_all_questions(tmp_path: Path) -> None:
    """A question that was never answered scores 0, and stays in the denominator."""
    write_json(tmp_path)
    replies = [
        Reply("Dakota digital"),  # 0.9
        Reply("seven"),  # 1
        Reply("us"),  # 0
        Reply("Unanswerable"),  # 1
        Reply(error="the picture cannot be opened"),
        Reply("an A"),  # 1, since "a" is nothing, and so is this
    ]
    samples = TASK.samples(tmp_path)
    lines = [
        Judged(sample.id, "", TASK.judge(sample, reply, "official"), cluster=sample.cluster)
        for sample, reply in zip(samples, replies, strict=True)
    ]
    (accuracy,) = TASK.summarise(lines, "official")
    assert accuracy.value == pytest.approx(100 * 3.9 / 6)
    assert accuracy.n == 6
    assert len(accuracy.strata[""].index) == 5


# The command


@pytest.mark.parametrize("write", [write_json, write_lmms_lab, write_facebook, write_tsv])
def test_baselines_run_through_the_command(
    tmp_path: Path, write: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the six questions, a guesser without options says nothing; the favourite "a" is right on
    the one where nine people say it."""
    data = tmp_path / "data"
    write(data)
    for model, score in (("random", 0.0), ("majority", 100 / 6)):
        out = tmp_path / model
        arguments = ["--model", model, "--tasks", "textvqa_val", "--data", data, "--out", out]
        arguments += ["--rules", "textvqa_val=spare"]
        assert main(["eval", *map(str, arguments)]) == 0, capsys.readouterr()
        (row,) = json.loads((out / "scores.json").read_text())["scores"]
        assert row["metrics"]["accuracy"]["value"] == pytest.approx(score)
        assert row["metrics"]["accuracy"]["n"] == 6


@pytest.mark.parametrize(
    "write", [write_json, write_lmms_lab, write_facebook, write_lite, write_tsv]
)
def test_validate_knows_small_files_from_the_published_ones(
    tmp_path: Path, write: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Only their number differs."""
    write(tmp_path)
    assert main(["validate", "textvqa_val", "--data", str(tmp_path)]) == 0
    assert "6, but 5,000 are published" in capsys.readouterr().out
