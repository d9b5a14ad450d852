"""A user's own questions: every form of file, every kind of question, and every mistake in them."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.errors import DataError
from spare.harness.evaluate import evaluate
from spare.harness.models.types import Request, Response
from spare.images import Picture, open_picture
from spare.tasks import expand, load_task
from spare.tasks.custom import custom_task
from spare.tasks.types import Judged, Reply, Sample


def write_picture(path: Path, colour: tuple[int, int, int] = (10, 200, 30)) -> bytes:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)
    return path.read_bytes()


def write_lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_table(path: Path, *rows: dict[str, str]) -> Path:
    header = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    delimiter = "," if path.suffix == ".csv" else "\t"
    writer = csv.DictWriter(stream, header, delimiter=delimiter, restval="")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(stream.getvalue())
    return path


def samples(path: Path, prompt: str = "", data: Path | None = None) -> list[Sample]:
    return list(custom_task(str(path)).samples(data or path.parent, prompt=prompt))


def text_of(sample: Sample) -> str:
    return "".join(part for part in sample.parts if isinstance(part, str))


def pictures_of(sample: Sample) -> list[Picture]:
    return [part for part in sample.parts if isinstance(part, Picture)]


LEFT_RIGHT = {"question": "Where is the mug?", "options": ["left", "right"], "answer": "A"}


# What users have


def test_json_lines_with_options_and_tags(tmp_path: Path) -> None:
    write_picture(tmp_path / "pictures" / "1.png")
    path = write_lines(
        tmp_path / "questions.jsonl",
        {
            "id": "a1",
            "image": "pictures/1.png",
            "question": "Where is the mug?",
            "options": {"A": "left", "B": "right"},
            "answer": "B",
            "relation": "right of",
            "distance": 3,
            "synthetic": True,
            "boxes": [[1, 2]],
        },
    )
    (sample,) = samples(path)
    assert (sample.id, sample.target, sample.options) == ("a1", "B", {"A": "left", "B": "right"})
    assert sample.tags == {
        "kind": "multiple choice",
        "relation": "right of",
        "distance": "3",
        "synthetic": "true",
    }
    assert text_of(sample) == (
        "Where is the mug?\nA. left\nB. right\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert open_picture(pictures_of(sample)[0]).size == (8, 8)
    assert isinstance(sample.parts[0], Picture)


def test_pictures_beside_the_questions_or_under_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_picture(data / "far.png")
    (tmp_path / "mine").mkdir()
    write_picture(tmp_path / "mine" / "near.png")
    rows = [{**LEFT_RIGHT, "image": name} for name in ("near.png", "far.png", "nowhere.png")]
    near, far, nowhere = samples(write_lines(tmp_path / "mine" / "q.jsonl", *rows), data=data)
    assert pictures_of(near)[0].path == tmp_path / "mine" / "near.png"
    assert pictures_of(far)[0].path == data / "far.png"
    # A missing picture costs its own question, when it is asked.
    assert not pictures_of(nowhere)[0].path.exists()


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_tables_in_vlmevalkits_form(tmp_path: Path, suffix: str) -> None:
    encoded = base64.b64encode(write_picture(tmp_path / "one.png")).decode()
    write_picture(tmp_path / "two.png", (1, 2, 3))
    row = {"question": "Which, then?", "A": "left", "B": "right", "answer": "B"}
    path = write_table(
        tmp_path / f"bench{suffix}",
        {"index": "0", "image": encoded, **row, "category": "side", "split": "dev"},
        {"index": "1", "image": "0", **row, "answer": "A", "category": "height", "split": "dev"},
        {"index": "2", "image_path": "two.png", **row, "hint": 'Look "closely",\tnow.'},
        {"index": "3", **row, "C": "None", "D": "NA"},
    )
    first, shared, named, blind = samples(path)
    assert [sample.id for sample in (first, shared, named, blind)] == ["0", "1", "2", "3"]
    assert first.tags == {"kind": "multiple choice", "category": "side", "split": "dev"}
    assert pictures_of(first)[0].read() == (tmp_path / "one.png").read_bytes()
    # A short cell is the index of the row that holds the picture: one picture, one cluster.
    assert pictures_of(shared) == pictures_of(first)
    assert shared.cluster == first.cluster != named.cluster
    assert pictures_of(named)[0].path == tmp_path / "two.png"
    assert text_of(named).startswith('Look "closely",\tnow.\nWhich, then?')
    # pandas, and so VLMEvalKit, loses options spelled like that; we do not.
    assert blind.options == {"A": "left", "B": "right", "C": "None", "D": "NA"}
    assert pictures_of(blind) == []
    assert first.options == {"A": "left", "B": "right"}


def test_a_long_file_name_in_a_table_is_no_base64(tmp_path: Path) -> None:
    name = f"{'a-very-long-folder-name/' * 4}picture-number-one.png"
    written = write_picture(tmp_path / name)
    row = {"image": name, "question": "Q?", "A": "x", "B": "y", "answer": "A"}
    (sample,) = samples(write_table(tmp_path / "q.csv", row))
    assert pictures_of(sample)[0].read() == written


def test_several_pictures_and_their_places(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        write_picture(tmp_path / name)
    rows = [
        {**LEFT_RIGHT, "images": ["1.png", "2.png"]},
        {**LEFT_RIGHT, "image": ["1.png", "2.png"], "question": "First <image> or <image> last?"},
        {**LEFT_RIGHT, "image": "2.png", "question": "<image>\nWhere?"},
    ]
    first, between, leading = samples(write_lines(tmp_path / "q.jsonl", *rows))
    kinds = [[type(part) is str for part in one.parts] for one in (first, between, leading)]
    assert kinds == [[False, False, True], [True, False, True, False, True], [False, True]]
    assert [picture.path.name for picture in pictures_of(between)] == ["1.png", "2.png"]
    assert text_of(leading).startswith("Where?")
    assert first.cluster == between.cluster != leading.cluster
    table = write_table(
        tmp_path / "q.tsv",
        {"image_path": "['1.png', '2.png']", "question": "Q?", "A": "x", "B": "y", "answer": "B"},
    )
    assert [picture.path.name for picture in pictures_of(samples(table)[0])] == ["1.png", "2.png"]


def test_each_row_decides_its_kind(tmp_path: Path) -> None:
    rows = [
        {"question": "Is it left?", "answer": "yes"},
        {"question": "It is left.", "answer": False},
        {"question": "How many?", "answer": 3},
        {"question": "Is it left?", "options": ["yes", "no"], "answer": "no"},
    ]
    path = write_lines(tmp_path / "q.jsonl", *rows)
    task = custom_task(str(path))
    found = list(task.samples(tmp_path))
    assert [sample.tags["kind"] for sample in found] == [
        "yes/no",
        "true/false",
        "short",
        "multiple choice",
    ]
    assert [sample.target for sample in found] == ["Yes", "False", "3", "B"]
    assert [sample.id for sample in found] == ["1", "2", "3", "4"]
    said = ["Yes, it is.", "false", "three", "No."]
    verdicts = [
        task.judge(one, Reply(text=text), "spare") for one, text in zip(found, said, strict=True)
    ]
    assert [verdict.score for verdict in verdicts] == [1.0, 1.0, 1.0, 1.0]
    for one, text in zip(found, ("No", "True", "four", "A"), strict=True):
        verdict = task.judge(one, Reply(text=text), "spare")
        assert (verdict.score, verdict.status) == (0.0, "ok")
    assert {task.judge(one, Reply(text=" "), "spare").status for one in found} == {"empty"}
    # A guesser: one in two, one in two, an open question never, one in two.
    assert task.chance == {"accuracy": pytest.approx(37.5)}
    assert list(task.prompts) == ["spare"]


@pytest.mark.parametrize(
    ("options", "answer", "target"),
    [
        (["left", "right"], "B", "B"),
        (["left", "right"], "right", "B"),
        (["left", "right"], "Right", "B"),
        ({"a": "left", "b": "right"}, "b", "B"),
        ([1, 2, 3], 2, "B"),
        ([1.0, 2.5], "2.5", "B"),
        (["nan", "None", "NA"], "None", "B"),
        (["a", "A"], "a", "A"),  # label A and the text of option A: no contradiction
        ({"A": "left", "B": None, "C": "right"}, "right", "C"),
        (["left", "right", ""], "left", "A"),
    ],
)
def test_the_answer_is_a_label_or_a_text(
    tmp_path: Path, options: Any, answer: Any, target: str
) -> None:
    row = {"question": "Q?", "options": options, "answer": answer}
    (sample,) = samples(write_lines(tmp_path / "q.jsonl", row))
    assert sample.target == target
    assert "" not in sample.options.values()


def test_in_columns_the_answer_is_the_label(tmp_path: Path) -> None:
    """ "Which letter is on the sign?": in VLMEvalKit's files, A means option A."""
    row = {"question": "Which letter is on the sign?", "A": "B", "B": "A", "answer": "A"}
    (sample,) = samples(write_table(tmp_path / "q.tsv", row))
    assert sample.target == "A"


def test_a_plain_json_list(tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    path.write_text(json.dumps([LEFT_RIGHT, {**LEFT_RIGHT, "answer": "right"}]))
    assert [sample.target for sample in samples(path)] == ["A", "B"]


def test_vlmevalkits_prompt_and_rules(tmp_path: Path) -> None:
    """open-compass/VLMEvalKit e8e78f05, ImageMCQDataset.build_prompt, byte for byte."""
    row = {"question": "Which?", "A": "left", "B": "right", "answer": "B", "hint": "Look."}
    path = write_table(tmp_path / "q.tsv", row)
    (sample,) = samples(path, "vlmevalkit")
    assert text_of(sample) == (
        "Hint: Look.\nQuestion: Which?\nOptions:\nA. left\nB. right\n"
        "Please select the correct answer from the options above. \n"
    )
    task = custom_task(str(path))
    assert task.judge(sample, Reply(text="The answer is B"), "vlmevalkit").score == 1.0
    assert task.judge(sample, Reply(text="b"), "vlmevalkit").status == "unparsed"
    assert task.judge(sample, Reply(text="b"), "spare").score == 1.0


def test_vlmevalkit_is_not_offered_where_it_would_lose_an_option(tmp_path: Path) -> None:
    row = {"question": "Which?", "A": "left", "B": "None", "answer": "B"}
    assert list(custom_task(str(write_table(tmp_path / "q.tsv", row))).prompts) == ["spare"]


# Scores


def test_groups_clusters_and_chance(tmp_path: Path) -> None:
    rows = [
        {**LEFT_RIGHT, "image": "1.png", "group": 1},
        {**LEFT_RIGHT, "image": "1.png", "group": 1},
        {**LEFT_RIGHT, "image": "2.png", "group": "two"},
        {**LEFT_RIGHT, "image": "2.png", "cluster": "mine"},
    ]
    path = write_lines(tmp_path / "q.jsonl", *rows)
    task = custom_task(str(path))
    found = list(task.samples(tmp_path))
    assert [sample.group for sample in found] == ["1", "1", "two", ""]
    assert [sample.cluster for sample in found] == ["1.png", "1.png", "2.png", "mine"]
    assert task.chance == {"accuracy": 50.0, "group_accuracy": pytest.approx((25 + 50) / 2)}

    def score(*replies: str) -> dict[str, float]:
        judged = (
            Judged(
                one.id,
                one.target,
                task.judge(one, Reply(text=text), "spare"),
                one.tags,
                one.group,
                one.cluster,
            )
            for one, text in zip(found, replies, strict=True)
        )
        return {metric.name: metric.value for metric in task.summarise(judged, "spare")}

    assert score("A", "A", "A", "A") == {"accuracy": 100.0, "group_accuracy": 100.0}
    assert score("A", "B", "A", "A") == {"accuracy": 75.0, "group_accuracy": 50.0}
    assert score("B", "B", "A", "B") == {"accuracy": 25.0, "group_accuracy": 50.0}


def test_without_groups_there_is_no_group_accuracy(tmp_path: Path) -> None:
    task = custom_task(str(write_lines(tmp_path / "q.jsonl", LEFT_RIGHT)))
    (sample,) = task.samples(tmp_path)
    verdict = task.judge(sample, Reply(text="A"), "spare")
    judged = Judged(sample.id, sample.target, verdict, cluster=sample.cluster)
    assert [metric.name for metric in task.summarise([judged], "spare")] == ["accuracy"]


class AlwaysA:
    def __init__(self) -> None:
        self.identity = {"weights": "none"}
        self.facts: dict[str, str] = {}

    def answer(self, requests: Any) -> Any:
        for request in requests:
            assert isinstance(request, Request)
            yield Response(request.key, Reply(text="A"))


def test_evaluated_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(tmp_path / "1.png")
    rows = [{**LEFT_RIGHT, "image": "1.png", "answer": answer} for answer in "ABBB"]
    write_lines(tmp_path / "mine.jsonl", *rows)
    monkeypatch.chdir(tmp_path)
    run = evaluate(AlwaysA(), "custom:mine.jsonl", data=tmp_path, out=tmp_path / "run")
    (score,) = run.scores
    assert (score.task, score.samples, score.published) == ("custom:mine", 4, 4)
    assert score.metrics["accuracy"]["value"] == 25.0
    (entry,) = run.manifest["evaluations"]
    assert list(entry["annotations"]) == [str(tmp_path / "mine.jsonl")]


# Mistakes get a sentence

MISTAKES: dict[str, tuple[Any, str]] = {
    "no question": (
        {"query": "Q?", "answer": "A"},
        "column question missing; wanted question, answer; found query, answer",
    ),
    "blank question": ({"question": "  ", "answer": "A"}, "the question is empty"),
    "no answer": ({"question": "Q?", "answer": ""}, "there is no answer"),
    "null answer": ({"question": "Q?", "answer": None}, "there is no answer"),
    "answer list": (
        {"question": "Q?", "answer": ["a"]},
        "answer should be a text or a number but is a list",
    ),
    "question number list": ({"question": [1], "answer": "a"}, "question should be a text"),
    "not among": (
        {**LEFT_RIGHT, "answer": "top"},
        "answer 'top' fits none of the options "
        r"\(A: left, B: right\)",
    ),
    "an index": ({**LEFT_RIGHT, "answer": 0}, "answer '0' fits none of the options"),
    "label or text": (
        {"question": "Which letter?", "options": ["B", "A"], "answer": "A"},
        "answer 'A' fits A and B of the options",
    ),
    "two alike": (
        {"question": "Q?", "options": ["left", "left"], "answer": "left"},
        "answer 'left' fits A and B of the options",
    ),
    "boolean option": (
        {"question": "Q?", "options": [True, "no"], "answer": "no"},
        "option A should be a text or a number but is true",
    ),
    "one option": ({"question": "Q?", "options": ["left"], "answer": "A"}, "1 of the options has"),
    "blank options": ({"question": "Q?", "options": [""], "answer": "A"}, "none of the options"),
    "long labels": (
        {"question": "Q?", "options": {"one": "x", "two": "y"}, "answer": "x"},
        "labels of options should be single letters but are one, two",
    ),
    "labels alike": (
        {"question": "Q?", "options": {"a": "x", "A": "y"}, "answer": "x"},
        "labels of options should be single letters",
    ),
    "options text": ({"question": "Q?", "options": "left", "answer": "left"}, "list or an object"),
    "27 options": (
        {"question": "Q?", "options": [str(n) for n in range(27)], "answer": "1"},
        "27 options; at most 26",
    ),
    "options and columns": ({**LEFT_RIGHT, "A": "up"}, "both options and columns A, B"),
    "climbs out": ({**LEFT_RIGHT, "image": "../../etc/passwd"}, "leads out of the data folder"),
    "absolute": ({**LEFT_RIGHT, "image": "/etc/passwd"}, "leads out of the data folder"),
    "web address": ({**LEFT_RIGHT, "image": "https://x.org/1.jpg"}, "is not a file"),
    "base64 and a file": (
        {**LEFT_RIGHT, "image": ["QUJD" * 2000, "1.png"]},
        "image lists both base64 pictures and other things",
    ),
    "data address": (
        {**LEFT_RIGHT, "image": "data:image/png;base64," + "QUJD" * 99},
        "is not a file. Save the picture beside the questions",
    ),
    "image number list": ({**LEFT_RIGHT, "image": [["1.png"]]}, "image should be a text"),
    "image object": ({**LEFT_RIGHT, "image": {"bytes": ""}}, "image should be .* an object"),
    "blank image": (
        {**LEFT_RIGHT, "images": ["1.png", ""]},
        "images names a picture with an empty",
    ),
    "image twice": ({**LEFT_RIGHT, "image": "1.png", "images": ["2.png"]}, "both image and images"),
    "broken list": ({**LEFT_RIGHT, "image": "[1.png]"}, "image is not a list of picture files"),
    "places": (
        {**LEFT_RIGHT, "question": "<image> <image>", "image": "1.png"},
        "<image> stands 2 times in the question, and there is 1 picture",
    ),
    "places of nothing": (
        {**LEFT_RIGHT, "question": "What is <image>?"},
        "<image> stands 1 times in the question, and there are 0 pictures",
    ),
    "NUL": ({**LEFT_RIGHT, "question": "a\0b"}, "question holds a NUL"),
    "choices": (
        {"question": "Q?", "choices": ["left", "right"], "answer": "left"},
        "there are no options, but there is choices",
    ),
    "columns of other labels": (
        {"question": "Q?", "option_a": "left", "option_b": "right", "answer": "a"},
        "there are no options, but there is option_a, option_b",
    ),
    "columns of small labels": (
        {"question": "Q?", "a": "left", "b": "right", "answer": "a"},
        "there are no options, but there is a, b",
    ),
    "columns of numbers": (
        {"question": "Q?", "1": "left", "2": "right", "answer": "1"},
        "there are no options, but there is 1, 2",
    ),
    "padded columns": (
        {"question": "Q?", " A": "left", " B": "right", "answer": "A"},
        "there are no options, but there is A, B",
    ),
    "picture": ({**LEFT_RIGHT, "picture": "1.png"}, "there is no picture, but there is picture"),
    "file name": (
        {**LEFT_RIGHT, "file_name": "1.png"},
        "there is no picture, but there is file_name",
    ),
    "Image": ({**LEFT_RIGHT, "Image": "1.png"}, "a column 'Image'. Spell it 'image'"),
    "half a character": ({**LEFT_RIGHT, "question": "\ud83d"}, "question holds half a character"),
    "id list": ({**LEFT_RIGHT, "id": [1]}, "id should be a text or a number"),
    "group object": ({**LEFT_RIGHT, "group": {}}, "group should be a text or a number"),
    "not an object": (["question", "answer"], "an object was expected, but this is a list"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_a_sentence_with_file_and_row(tmp_path: Path, name: str) -> None:
    row, sentence = MISTAKES[name]
    path = write_lines(tmp_path / "q.jsonl", LEFT_RIGHT, row)
    with pytest.raises(DataError, match=rf"q\.jsonl, row 2: .*{sentence}"):
        custom_task(str(path))


def fails(path: Path, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        custom_task(str(path))


def test_mistakes_of_whole_files(tmp_path: Path) -> None:
    fails(tmp_path / "q.jsonl", r"q\.jsonl: there is no such file")
    fails(tmp_path / "q.xlsx", r"q\.xlsx: questions come in files that end in \.jsonl, \.json")
    (tmp_path / "folder.tsv").mkdir()
    fails(tmp_path / "folder.tsv", "this is a folder, and custom:FILE takes one file")
    os.mkfifo(tmp_path / "pipe.tsv")
    fails(tmp_path / "pipe.tsv", "this is no ordinary file")
    (tmp_path / "loop.tsv").symlink_to(tmp_path / "loop.tsv")
    fails(tmp_path / "loop.tsv", "no such file")
    fails(tmp_path / f"{'a' * 300}.tsv", "no such file")
    fails(Path("~nobody-of-that-name/q.tsv"), "no such file")
    with pytest.raises(DataError, match="custom: is followed by no file"):
        load_task("custom:")
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    fails(empty, "there are no questions in it")
    double = write_lines(tmp_path / "d.jsonl", {**LEFT_RIGHT, "id": 7}, {**LEFT_RIGHT, "id": "7"})
    fails(double, r"d\.jsonl, row 2: id '7' was used in row 1 already")
    torn = tmp_path / "torn.jsonl"
    torn.write_text(json.dumps(LEFT_RIGHT) + "\n" + json.dumps(LEFT_RIGHT)[:-9])
    fails(torn, r"torn\.jsonl, row 2: not JSON")
    cut = tmp_path / "cut.tsv"
    cut.write_text("question\tA\tB\tanswer\nQ?\tleft\tright\tA\nQ?\tleft")
    fails(cut, r"cut\.tsv, row 2: 2 cells where the header has 4")
    nameless = tmp_path / "nameless.tsv"
    nameless.write_text(f"What is it?\tyes\t{'QUJD' * 2000}\n" * 2)
    fails(nameless, r"found What is it\?, yes, (QUJD){10}\.\.\.\.$")
    table = write_table(
        tmp_path / "options.tsv", {"question": "Q?", "options": "['a', 'b']", "answer": "a"}
    )
    fails(table, "In a table, give every option a column")


NOT_UTF_8 = "this is not UTF-8, but perhaps Latin-1"
UTF_16 = "it is UTF-16, which Excel calls Unicode text, and should be UTF-8"
TABLE = "question,A,B,answer\nOù est la tasse ?,à gauche,à droite,A\n"
TABS = TABLE.replace(",", "\t")

FILES: dict[str, tuple[str, bytes, str]] = {
    "latin-1": ("q.csv", TABLE.encode("latin-1"), f"row 1: {NOT_UTF_8}.* Save it as UTF-8 .*Excel"),
    "latin-1 header": ("q.csv", b"question,answer,r\xe9gion\n", f"csv: {NOT_UTF_8}"),
    "latin-1 lines": (
        "q.jsonl",
        '{"question": "Où?", "answer": "là"}'.encode("latin-1"),
        f"row 1: {NOT_UTF_8}.* Save it as UTF-8",
    ),
    "latin-1 list": (
        "q.json",
        '[{"question": "Où?", "answer": "là"}]'.encode("latin-1"),
        f"json: {NOT_UTF_8}",
    ),
    "Unicode text": ("q.tsv", TABS.encode("utf-16"), f"tsv: {UTF_16}. Save it as UTF-8"),
    "without a mark": ("q.tsv", TABS.encode("utf-16-le"), f"tsv: {UTF_16}"),
    "from the big end": ("q.csv", TABLE.encode("utf-16-be"), f"csv: {UTF_16}"),
    "lines in UTF-16": ("q.jsonl", '{"question": 1}\n'.encode("utf-16"), UTF_16),
    "semicolons": (
        "q.csv",
        TABLE.replace(",", ";").encode(),
        "are separated by semicolons, and those of a .csv file are by commas. Save it with commas",
    ),
    "quoted semicolons": (
        "q.csv",
        b'"question";"answer"\n"Why, then?";"x"\n',
        "are separated by semicolons",
    ),
    "tabs in .csv": ("q.csv", TABS.encode(), "separated by tabs.* or let it end in .tsv"),
    "commas in .tsv": ("q.tsv", TABLE.encode(), "separated by commas.* or let it end in .csv"),
    "comma in a cell": (
        "q.csv",
        b"question,answer\nWhere, then?,left\n",
        "row 1: 3 cells where the header has 2. Put a cell that has a comma in it into double",
    ),
    "tab in a cell": ("q.tsv", b"question\tanswer\na\tb\tc\n", "a cell that has a tab in it"),
    "cell left out": (
        "q.csv",
        b"question,answer\nWhere?\n",
        "row 1: 1 cells where the header has 2. What has no value needs an empty cell",
    ),
    "open quote": (
        "q.csv",
        b'question,answer\n"Where?,left\n',
        "row 1: not a table .* begins with a double quote .* ends with one",
    ),
    "inch": ("q.csv", b'question,answer\n"a 5" nail",left\n', "row 1: .* stands twice"),
    "old Mac": ("q.csv", TABLE.replace("\n", "\r").encode(), "line ends of Windows or Unix"),
    "list in .jsonl": (
        "q.jsonl",
        b'[{"question": 1, "answer": 2}]',
        "row 1: .* should end in .json",
    ),
    "spread over lines": (
        "q.jsonl",
        b'{\n"question": 1,\n"answer": 2\n}\n',
        "row 1: not JSON .* each line is one object",
    ),
    "lines in .json": (
        "q.json",
        b'{"question": 1, "answer": 2}\n' * 2,
        "not JSON .* objects line by line go into a .jsonl file",
    ),
    "object in .json": ("q.json", b'{"question": 1, "answer": 2}', r"Put \[ \] around the rows"),
    "name twice": (
        "q.jsonl",
        b'{"question": 1, "answer": 2, "answer": 3}',
        "an object has 'answer' more than once",
    ),
    "endless": ("q.jsonl", b'{"question": 1, "answer": 1e999}', "a text or a number but is inf"),
    "header only": ("q.csv", b"question,answer\n", "there are no questions in it"),
    "nothing": ("q.csv", b"", "columns question, answer missing; .* found nothing"),
    "an empty list": ("q.json", b"[]", "there are no questions in it"),
    "a picture": ("q.tsv", b"\x89PNG\r\n\x1a\n\xff", "Save it as UTF-8"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_says_how_to_mend_it(tmp_path: Path, name: str) -> None:
    """Nobody can fetch a user's own file again."""
    file, data, sentence = FILES[name]
    (tmp_path / file).write_bytes(data)
    with pytest.raises(DataError, match=sentence) as caught:
        custom_task(str(tmp_path / file))
    assert "fetch it again" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / file))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("q.csv", b"\xef\xbb\xbf" + TABLE.replace("\n", "\r\n").encode()),
        ("q.tsv", TABS.encode() + b"\n\n"),
        ("q.csv", b'question,A,B,answer\n"Where, ""then""?","a\nb",c,A\n'),
        ("q.jsonl", b'\xef\xbb\xbf{"question": "Q", "answer": "A"}\r\n\r\n'),
        ("q.json", b'\xef\xbb\xbf[{"question": "Q", "answer": "A"}]'),
    ],
)
def test_marks_line_ends_and_quotes_of_every_sort(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    (sample,) = samples(tmp_path / name)
    assert "\ufeff" not in text_of(sample)


def test_all_faulty_rows_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    rows = [json.dumps(LEFT_RIGHT) for _ in range(40)]
    rows[2] = json.dumps({**LEFT_RIGHT, "answer": "top"})
    rows[5] = rows[5][:-3]
    rows[7] = json.dumps({"question": "Q?"})
    rows[9] = json.dumps({**LEFT_RIGHT, "image": "../1.png"})
    path.write_text("\n".join(rows))
    with pytest.raises(DataError) as caught:
        custom_task(str(path))
    first, *lines = str(caught.value).split("\n")
    assert first == f"{path}: 4 rows are faulty"
    beginnings = ["row 3: answer 'top'", "row 6: not JSON", "row 8: column answer", "row 10: pict"]
    for line, beginning in zip(lines, beginnings, strict=True):
        assert line.startswith(f"  {beginning}")
        assert line.endswith(".")
    # Once it is mended up to one row, that row is a sentence.
    path.write_text("\n".join([*rows[:5], *rows[10:]]))
    fails(path, r"q\.jsonl, row 3: answer 'top' fits none")


@pytest.mark.parametrize("faulty", [2, 20, 21, 45])
def test_a_long_list_of_faulty_rows_is_cut(tmp_path: Path, faulty: int) -> None:
    path = tmp_path / "q.csv"
    path.write_text("question,answer\nQ?,x\n" + "Where, then?,x\n" * faulty + "Q?,x\n")
    with pytest.raises(DataError) as caught:
        custom_task(str(path))
    first, *lines = str(caught.value).split("\n")
    assert first.endswith(f"{faulty} rows are faulty")
    assert sum(line.startswith("  row ") for line in lines) == min(faulty, 20)
    assert (lines[-1] == f"  and {faulty - 20} more.") == (faulty > 20)


def test_faults_up_to_the_end_of_what_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_bytes(b"question,answer\nWhere, then?,x\nO\xf9?,x\nWhere, then?,x\n")
    fails(path, f"(?s)2 rows are faulty.*row 1: 3 cells.*row 2: {NOT_UTF_8}")


def test_image_in_hints_and_options_is_text(tmp_path: Path) -> None:
    write_picture(tmp_path / "1.png")
    row = {"image": "1.png", "options": ["<image>", "<br>"], "answer": "A", "hint": "An <image>."}
    path = write_lines(
        tmp_path / "q.jsonl",
        {**row, "question": "Which tag?"},
        {**row, "question": "Look: <image> Which tag?"},
    )
    for prompt in ("spare", "vlmevalkit"):
        plain, placed = samples(path, prompt)
        assert [type(part) for part in plain.parts] == [Picture, str]
        assert [type(part) for part in placed.parts] == [str, Picture, str]
        assert "A. <image>\nB. <br>" in text_of(plain)
        assert "A. <image>\nB. <br>" in str(placed.parts[2])
        assert "An <image>." in str(placed.parts[0])
        assert str(placed.parts[0]).endswith("Look: ")


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_base64_pictures_in_every_form(tmp_path: Path) -> None:
    written = [write_picture(tmp_path / f"{n}.png", (n, 9, 9)) for n in range(3)]
    one, two, three = map(encode, written)
    columns = {"question": "Q?", "A": "x", "B": "y", "answer": "A"}
    table = [
        {**columns, "index": "a", "image": str([one, two])},
        {**columns, "index": "b", "image": json.dumps([two, three])},
        {**columns, "index": "c", "image": three},
        {**columns, "index": "d", "image": "a"},
    ]
    lines = [
        {**columns, "id": "a", "image": [one, two]},
        {**columns, "id": "b", "images": [two, three]},
        {**columns, "id": "c", "image": three},
        {**columns, "id": "d", "image": "a"},
    ]
    wanted = [[0, 1], [1, 2], [2], [0, 1]]
    for path in (
        write_table(tmp_path / "q.tsv", *table),
        write_table(tmp_path / "q.csv", *table),
        write_lines(tmp_path / "q.jsonl", *lines),
    ):
        found = samples(path)
        for sample, numbers in zip(found, wanted, strict=True):
            assert [one.read() for one in pictures_of(sample)] == [written[n] for n in numbers]
        assert found[0].cluster == found[3].cluster != found[1].cluster


def test_a_long_list_of_files_is_no_base64(tmp_path: Path) -> None:
    names = [f"a-rather-long-name-of-picture-number-{n}.jpeg" for n in range(3)]
    row = {"question": "Q?", "A": "x", "B": "y", "answer": "A", "image": str(names)}
    (sample,) = samples(write_table(tmp_path / "q.tsv", row))
    assert [picture.name for picture in pictures_of(sample)] == names


def test_a_path_with_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "left, right,up.jsonl", LEFT_RIGHT)
    write_lines(tmp_path / "plain.jsonl", LEFT_RIGHT)
    names = expand("custom:left, right,up.jsonl,demo_vsr, custom:plain.jsonl ,demo")
    assert names == [
        "custom:left, right,up.jsonl",
        "demo_vsr",
        "custom:plain.jsonl",
        "demo_whatsup",
    ]
    run = evaluate("random", "custom:left, right,up.jsonl", data=tmp_path, out=tmp_path / "run")
    assert [score.task for score in run.scores] == ["custom:left, right,up"]
    # Where there is no such file, a comma is a comma.
    assert expand("custom:nowhere,up.jsonl") == ["custom:nowhere", "up.jsonl"]


# Properties

TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1
).filter(lambda text: text.strip() and "<image>" not in text)


@given(
    question=TEXT,
    options=st.lists(TEXT.map(str.strip), min_size=2, max_size=26, unique_by=str.casefold),
    pick=st.integers(0, 25),
    as_table=st.booleans(),
)
def test_any_text_comes_through_and_gold_scores(
    tmp_path_factory: pytest.TempPathFactory,
    question: str,
    options: list[str],
    pick: int,
    as_table: bool,
) -> None:
    folder = tmp_path_factory.mktemp("questions")
    labels = [chr(ord("A") + number) for number in range(len(options))]
    target = labels[pick % len(options)]
    row = {"question": question, **dict(zip(labels, options, strict=True)), "answer": target}
    write = write_table if as_table else write_lines
    path = write(folder / ("q.tsv" if as_table else "q.jsonl"), row)
    task = custom_task(str(path))
    (sample,) = task.samples(folder)
    assert list(sample.options.values()) == options
    assert sample.target == target
    assert question.strip() in text_of(sample)
    for rules in task.prompt().rules:
        assert task.judge(sample, Reply(text=target), rules).score == 1.0
        assert task.judge(sample, Reply(text=""), rules).score == 0.0


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "question",
                        "answer",
                        "options",
                        "image",
                        "images",
                        "A",
                        "B",
                        "id",
                        "group",
                        "hint",
                        "kind",
                        "x",
                        "image_path",
                    ]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=24,
    ),
    st.booleans(),
)
def test_any_json_is_read_or_refused_with_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, value: Any, complete: bool
) -> None:
    path = tmp_path_factory.mktemp("questions") / "q.jsonl"
    if complete and isinstance(value, dict):
        value = {"question": "Q?", "answer": "A", **value}
    write_lines(path, value)
    try:
        task = custom_task(str(path))
    except DataError:
        return
    (sample,) = task.samples(path.parent)
    assert not sample.options or sample.target in sample.options


# Other packages' tasks


def test_a_package_brings_a_task_by_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Callable[[str, str], None]
) -> None:
    install("shelf_bench", template())
    folder = tmp_path / "data" / "shelf"
    write_picture(folder / "pictures" / "1.png")
    write_lines(
        folder / "questions.jsonl",
        {
            "id": "1",
            "picture": "1.png",
            "claim": "The mug is on the shelf.",
            "holds": True,
            "relation": "on",
        },
    )
    task = load_task("shelf")
    (sample,) = task.samples(tmp_path / "data")
    assert sample.tags["relation"] == "on"
    assert task.judge(sample, Reply(text="True."), "spare").score == 1.0
    run = evaluate(AlwaysA(), "shelf", data=tmp_path / "data", out=tmp_path / "run")
    assert run.scores[0].statuses == {"unparsed": 1}
    from spare.harness.validate import validate

    report = validate(task, tmp_path / "data")
    assert report.ok, report.checks


def test_a_package_may_offer_a_function_and_not_steal_a_name(
    install: Callable[[str, str], None],
) -> None:
    from spare.errors import SpareError
    from spare.tasks import tasks

    code = template().replace("TASKS = (TASK,)", "def TASKS():\n    return [TASK]\n")
    install("shelf_bench", code)
    assert "shelf" in tasks()
    install("thief_bench", code.replace('name="shelf"', 'name="vsr_zeroshot"'))
    with pytest.raises(SpareError, match="brings a second task called vsr_zeroshot"):
        tasks()
    install("third_bench", code)
    with pytest.raises(SpareError, match="brings a second task called"):
        tasks()


def template() -> str:
    """The task file that the documentation tells people to copy."""
    page = (Path(__file__).parent.parent / "docs" / "custom_tasks.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return str(block)


def test_the_files_in_the_documentation_are_read(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "custom_tasks.md").read_text()
    (lines,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (tmp_path / "q.jsonl").write_text(lines)
    (table,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    (tmp_path / "q.csv").write_text(table)
    found = samples(tmp_path / "q.jsonl")
    assert {sample.tags["kind"] for sample in found} == {
        "multiple choice",
        "yes/no",
        "true/false",
        "short",
    }
    assert [sample.options for sample in samples(tmp_path / "q.csv")] == [
        {"A": "left", "B": "right"},
        {"A": "one", "B": "two", "C": "None"},
    ]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install a package as pip would: a module, and its metadata with an entry point."""
    import importlib
    import sys

    from spare.tasks import foreign_tasks

    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    names: list[str] = []

    def put(name: str, code: str) -> None:
        (site / f"{name}.py").write_text(code)
        metadata = site / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[spare.tasks]\n{name} = {name}:TASKS\n")
        importlib.invalidate_caches()
        foreign_tasks.cache_clear()
        names.append(name)

    yield put
    for name in names:
        sys.modules.pop(name, None)
    foreign_tasks.cache_clear()
