"""3DSRBench: every published layout, the readers' worked examples, and the arithmetic of circular
scores."""

from __future__ import annotations

import base64
import csv
import io
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spare.errors import DataError, PictureError
from spare.harness.evaluate import evaluate
from spare.images import Picture, open_picture
from spare.relations import RELATION_CLASS
from spare.tasks.threedsrbench import QUESTIONS, ROWS, TASKS, TYPES
from spare.tasks.types import Judged, Metric, Reply, Sample, Status, Verdict

CIRCULAR, SINGLE = TASKS

HATS = {"A": "baseball glove", "B": "red hat of the person in red in the back"}
SIDES = {"A": "front", "B": "left", "C": "back", "D": "right"}
YES_NO = {"A": "yes", "B": "no"}
HIGHER = "Consider the real-world 3D locations of the objects. Which object has a higher location?"


# Files in the published layouts, with questions and pictures of our own


@cache
def jpeg(colour: str, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    PIL.Image.new(mode, (2, 2), colour).save(file, "JPEG")
    return file.getvalue()


def rotate(options: Mapping[str, str], answer: str, times: int) -> tuple[dict[str, str], str]:
    texts = list(options.values())
    turned = dict(zip(options, texts[times:] + texts[:times], strict=True))
    return turned, next(label for label in turned if turned[label] == options[answer])


def question(
    name: str,
    kind: str,
    text: str,
    options: Mapping[str, str],
    answer: str,
    picture: bytes,
    url: str,
) -> list[dict[str, Any]]:
    """All rotations of one question."""
    rows = []
    for times in range(len(options)):
        turned, letter = rotate(options, answer, times)
        rows.append(
            {"qid": f"{name}-{times}" if times else name, "question": text, **turned}
            | {"answer": letter, "category": kind, "image": picture, "image_source": "MS-COCO"}
            | {"image_url": f"http://images.cocodataset.org/train2017/{url}.jpg"}
        )
    return rows


def published_rows() -> list[dict[str, Any]]:
    """A question and its mirror image; two of one photograph, one with numbers as options; four
    options without a mirror image; a mirror image without its question."""
    red, blue, grey = jpeg("red"), jpeg("blue"), jpeg("white", "L")
    above = {"A": "1", "B": "2"}
    rows = [
        *question("VIN6MS3J", "height_higher", HIGHER, HATS, "B", red, "000000557944"),
        *question("VIN6MS3J-flip", "height_higher", HIGHER, HATS, "B", blue, "000000557944"),
        *question("AB0VE123", "location_above", "Which number?", above, "A", red, "000000557944"),
        *question(
            "F0UR4444", "orientation_viewpoint", "Which side?", SIDES, "C", grey, "000000000009"
        ),
        *question(
            "0RPHAN00-flip", "multi_object_facing", "Facing?", YES_NO, "A", blue, "000000000025"
        ),
    ]
    return [{"index": index, **row} for index, row in enumerate(rows)]


COLUMNS = ("index", "qid", "question", "A", "B", "C", "D", "answer", "category", "image")
COLUMNS += ("image_source", "image_url")


def write_tsv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            image = row["image"]
            cell = image if isinstance(image, str) else base64.b64encode(image).decode()
            writer.writerow([cell if c == "image" else row.get(c, "") for c in COLUMNS])


def write_parquet(
    path: Path, rows: Sequence[Mapping[str, Any]], drop: Sequence[str] = (), missing: Any = None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {c: [row.get(c, missing) for row in rows] for c in COLUMNS if c not in drop}
    if "image" in columns:
        columns["image"] = [{"bytes": image, "path": None} for image in columns["image"]]
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=4)


def write_circular_tsv(folder: Path) -> None:
    write_tsv(folder / "3dsrbench/3dsrbench_v1_vlmevalkit_circular.tsv", published_rows())


def write_vlmevalkit_tsv(folder: Path) -> None:
    """With short references: rotations name the row that holds their picture."""
    rows = published_rows()
    first: dict[str, int] = {}
    for row in rows:
        row["image"] = row["image"] if row["qid"][-2] != "-" else str(first[row["qid"][:-2]])
        first[row["qid"]] = row["index"]
    write_tsv(folder / "LMUData/3DSRBench.tsv", rows)


def write_lmms_eval(folder: Path) -> None:
    path = folder / "3dsrbench/3dsr_circular/test-00000-of-00001.parquet"
    write_parquet(path, published_rows(), missing="nan")


def unrotated() -> list[dict[str, Any]]:
    return [row for row in published_rows() if row["qid"][-2] != "-"]


def write_flip_tsv(folder: Path) -> None:
    write_tsv(folder / "3dsrbench/3dsrbench_v1_vlmevalkit.tsv", unrotated())


def write_lmms_eval_single(folder: Path) -> None:
    """Without qid: the index is the id, as in lmms-eval's configuration `3dsr`."""
    rows = [{**row, "index": row["qid"]} for row in unrotated()]
    write_parquet(folder / "3dsr/test-00000-of-00001.parquet", rows, drop=("qid",))


def samples_by_id(task: Any, folder: Path, prompt: str = "") -> dict[str, Sample]:
    return {sample.id: sample for sample in task.samples(folder, prompt=prompt)}


IDS = (
    *("VIN6MS3J", "VIN6MS3J-1", "VIN6MS3J-flip", "VIN6MS3J-flip-1", "AB0VE123", "AB0VE123-1"),
    *("F0UR4444", "F0UR4444-1", "F0UR4444-2", "F0UR4444-3", "0RPHAN00-flip", "0RPHAN00-flip-1"),
)


@pytest.mark.parametrize("write", [write_circular_tsv, write_vlmevalkit_tsv, write_lmms_eval])
def test_layouts_with_rotations_ask_the_same(tmp_path: Path, write: Any) -> None:
    write(tmp_path)
    samples = samples_by_id(CIRCULAR, tmp_path, "vlmevalkit")
    assert tuple(samples) == IDS
    for row in published_rows():
        sample = samples[row["qid"]]
        picture, text = sample.parts
        assert isinstance(picture, Picture)
        assert picture.read() == row["image"]
        assert open_picture(picture).mode == "RGB"
        assert isinstance(text, str)
        assert text.startswith(f"Question: {row['question']}\nOptions:\nA. {row['A']}\nB. ")
        assert sample.target == row["answer"]
        assert dict(sample.options) == {c: row[c] for c in "ABCD" if c in row}
        assert sample.group == row["qid"][: 13 if "-flip" in row["qid"] else 8]
    assert {samples[name].cluster for name in IDS[:6]} == {"000000557944"}
    assert samples["F0UR4444-2"].tags == {
        "type": "orientation_viewpoint",
        "relation": "orientation_viewpoint",
        "category": "orientation",
        "class": "orientation",
        "options": "4",
    }


@pytest.mark.parametrize(
    "write",
    [write_flip_tsv, write_lmms_eval_single, write_circular_tsv, write_vlmevalkit_tsv],
)
def test_layouts_without_rotations_ask_every_question_once(tmp_path: Path, write: Any) -> None:
    write(tmp_path)
    samples = samples_by_id(SINGLE, tmp_path)
    assert tuple(samples) == tuple(row["qid"] for row in unrotated())
    for row in unrotated():
        assert samples[row["qid"]].target == row["answer"]
        picture = samples[row["qid"]].parts[0]
        assert isinstance(picture, Picture)
        assert picture.read() == row["image"]


def write_benchmark(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """The data card's `benchmark` configuration: string ids as index, no pictures, real nulls."""
    path = folder / "3dsrbench/3dsrbench_v1-00000-of-00001.parquet"
    write_parquet(path, [{**row, "index": row["qid"]} for row in rows], drop=("qid", "image"))


def test_the_benchmark_parquet_takes_coco_pictures(tmp_path: Path) -> None:
    rows = [row for row in unrotated() if "-flip" not in row["qid"]]
    write_benchmark(tmp_path, rows)
    photographs = tmp_path / "3dsrbench/coco_images"
    photographs.mkdir()
    (photographs / "000000557944.jpg").write_bytes(jpeg("red"))
    samples = samples_by_id(SINGLE, tmp_path)
    assert list(samples) == ["VIN6MS3J", "AB0VE123", "F0UR4444"]
    picture, missing = samples["AB0VE123"].parts[0], samples["F0UR4444"].parts[0]
    assert isinstance(picture, Picture)
    assert isinstance(missing, Picture)
    assert picture.read() == jpeg("red")
    with pytest.raises(PictureError, match=r"000000000009\.jpg is missing"):
        missing.read()


def test_a_mirrored_question_is_never_asked_about_the_original(tmp_path: Path) -> None:
    write_benchmark(tmp_path, unrotated())
    with pytest.raises(DataError, match="row 2: VIN6MS3J-flip asks about a mirrored picture"):
        list(SINGLE.samples(tmp_path))


# Faults


def test_missing_rotations_are_no_pass_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "3dsrbench_v1_vlmevalkit_circular.tsv"
    write_tsv(path, [row for row in published_rows() if row["qid"] != "F0UR4444-2"])
    with pytest.raises(DataError, match=r"1 of 5 questions lack rotations.*: F0UR4444"):
        list(CIRCULAR.samples(tmp_path))
    write_tsv(path, unrotated())
    with pytest.raises(DataError, match=r"all its rotations.* score the task 3dsrbench_single"):
        list(CIRCULAR.samples(tmp_path))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"qid": "VIN6MS3J"}, "row 3: VIN6MS3J had rotation 0 or other options in a row before"),
        ({"qid": "VIN6MS3"}, "row 3: qid 'VIN6MS3' is not of the form"),
        ({"qid": "VIN6MS3J-flop"}, "row 3: qid 'VIN6MS3J-flop' is not of the form"),
        ({"qid": "VIN6MS3J-2"}, "row 3: there is no rotation 2 of 2 options"),
        ({"answer": "C"}, "row 3: answer 'C' is not among options A, B"),
        ({"answer": ""}, "row 3: answer '' is not among options A, B"),
        ({"B": ""}, "row 3: options A, B and perhaps more were expected"),
        ({"D": "none of them"}, "row 3: options A, B and perhaps more were expected"),
        ({"category": "height_lower"}, "row 3: category 'height_lower' is none of the 12 types"),
        ({"image": ""}, "row 3: there is no picture in column 'image'"),
        ({"image": "4711"}, "row 3: image '4711' is neither a picture nor the index of a row"),
    ],
)
def test_a_faulty_row_is_named(tmp_path: Path, change: dict[str, str], sentence: str) -> None:
    rows = published_rows()
    rows[2] |= change
    write_tsv(tmp_path / "3dsrbench_v1_vlmevalkit_circular.tsv", rows)
    with pytest.raises(DataError, match=sentence):
        list(CIRCULAR.samples(tmp_path))


def test_options_spelled_like_nothing(tmp_path: Path) -> None:
    """Null, blank and "nan" are no options (lmms-eval's loader); "None" and "NA" are texts."""
    rows = published_rows()
    for row in rows[4:6]:
        row |= {"A": "None", "B": "NA", "C": "nan", "D": " "}
    write_tsv(tmp_path / "3dsrbench_v1_vlmevalkit_circular.tsv", rows)
    assert samples_by_id(CIRCULAR, tmp_path)["AB0VE123"].options == {"A": "None", "B": "NA"}


def test_no_files_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"3dsrbench_v1_vlmevalkit_circular\.tsv"):
        list(CIRCULAR.samples(tmp_path))


# Prompts


def test_prompts_are_the_references_byte_for_byte(tmp_path: Path) -> None:
    write_circular_tsv(tmp_path)
    vlmevalkit = (
        f"Question: {HIGHER}\nOptions:\nA. baseball glove\n"
        "B. red hat of the person in red in the back\n"
        "Please select the correct answer from the options above. \n"
    )
    expected = {
        "vlmevalkit": vlmevalkit,
        "lmms-eval": vlmevalkit,
        "spare": f"{HIGHER}\nA. baseball glove\nB. red hat of the person in red in the back\n"
        "Answer with the option's letter from the given choices directly.",
    }
    assert set(expected) == set(CIRCULAR.prompts)
    for prompt, text in expected.items():
        assert samples_by_id(CIRCULAR, tmp_path, prompt)["VIN6MS3J"].parts[1] == text


# Reading replies

EXAMPLES: Sequence[tuple[Mapping[str, str], str, str, str]] = (
    # options, reply, VLMEvalKit e8e78f05 (2026), lmms-eval 75571cfe; "" where nothing is read
    (HATS, "B", "B", "B"),
    (HATS, "(B)", "B", "B"),
    (HATS, "**B**", "B", "B"),
    (HATS, "B) red hat", "B", "B"),
    (HATS, "b", "", ""),
    (HATS, r"\boxed{B}", "B", "B"),
    (HATS, "<answer>B</answer>", "", "B"),
    (HATS, "`B`", "", "B"),
    (HATS, "B?", "", "B"),
    (HATS, "The answer is baseball glove", "B", ""),
    (HATS, "baseball glove", "A", ""),
    (HATS, "A baseball glove looks lower than the hat, so B", "A", "A"),
    (HATS, "A or B", "", "A"),
    (
        HATS,
        "The correct answer is **B**. Here's why: A is lower in the scene than the hat.",
        "B",
        "B",
    ),
    (HATS, "I think B is right because the hat sits well above the glove in the scene", "", "B"),
    (HATS, "Cannot determine the answer, maybe B", "", "B"),
    (HATS, "Sorry, I can't help with images of people yet.", "", ""),
    (HATS, "", "", ""),
    (HATS, "E", "", ""),
    (SIDES, "left", "B", ""),
    (SIDES, "The left side of the person is facing the camera.", "", ""),
    (SIDES, "The answer is back", "B", ""),
    (SIDES, "Based on the image, the answer is C (back)", "C", "C"),
    (YES_NO, "Yes.", "A", ""),
    (YES_NO, "Yes, they are parallel.", "", ""),
    (YES_NO, "unknown", "B", ""),
    (YES_NO, "Not sure", "B", ""),
    ({"A": "dog", "B": "cat"}, "Answer: Dog", "A", "D"),
    (HATS, "B. red hat of the person in red in the back", "B", "B"),
    (
        {"A": "red hat", "B": "red hat of the tall person"},
        "B. red hat of the tall person",
        "",
        "B",
    ),
    (HATS, "Failed to obtain answer via API. B", "", "B"),
)


@pytest.mark.parametrize(("options", "reply", "vlmevalkit", "lmms_eval"), EXAMPLES)
def test_replies_are_read_as_the_references_read_them(
    options: Mapping[str, str], reply: str, vlmevalkit: str, lmms_eval: str
) -> None:
    for rules, letter in (("vlmevalkit", vlmevalkit), ("lmms-eval", lmms_eval)):
        for target in options:
            sample = Sample("VIN6MS3J", (), target, options)
            verdict = CIRCULAR.judge(sample, Reply(text=reply), rules)
            assert verdict.parsed == letter, rules
            assert verdict.score == (letter == target), rules
            unread = "unparsed" if reply else "empty"
            assert verdict.status == ("ok" if letter else unread), rules


def test_generations_of_vlmevalkit() -> None:
    """Until 2025-08-03 any lone letter counted; the phrase search came on 2026-06-17."""
    sample = Sample("VIN6MS3J", (), "A", HATS)
    early = "I think B is right because the hat sits well above the glove in the scene"
    phrase = "The answer is baseball glove"
    read = {
        rules: [CIRCULAR.judge(sample, Reply(text=text), rules).parsed for text in (early, phrase)]
        for rules in ("official", "vlmevalkit-2025", "vlmevalkit")
    }
    assert read == {
        "official": ["B", "A"],
        "vlmevalkit-2025": ["", "A"],
        "vlmevalkit": ["", "B"],
    }


@pytest.mark.parametrize("task", TASKS)
def test_gold_scores_and_silence_does_not(tmp_path: Path, task: Any) -> None:
    write_circular_tsv(tmp_path)
    for prompt in task.prompts.values():
        assert set(prompt.rules) == set(task.rules)
        for sample in task.samples(tmp_path, prompt=prompt.name):
            for rules in prompt.rules:
                for label in sample.options:
                    verdict = task.judge(sample, Reply(text=label), rules)
                    assert (verdict.score, verdict.status) == (label == sample.target, "ok")
                empty = task.judge(sample, Reply(text=" \n"), rules)
                assert (empty.score, empty.status) == (0.0, "empty")
                assert task.judge(sample, Reply(error="lost"), rules).status == "error"


# Scores


def judged(name: str, kind: str, score: float, status: Status = "ok", cluster: str = "") -> Judged:
    question, dash, number = name.rpartition("-")
    group = question if dash and number.isdigit() else name
    verdict = Verdict("A" if status == "ok" else "", score, status)
    tags = {"type": kind, "options": str(TYPES[kind].options)}
    return Judged(name, "A", verdict, tags, group, cluster or name[:8])


def values(metrics: Iterable[Metric]) -> dict[str, float]:
    return {metric.name: metric.value for metric in metrics}


FIXTURE = (
    *(("BASE0001", "height_higher", 1), ("BASE0001-1", "height_higher", 1)),
    *(("BASE0001-flip", "height_higher", 1), ("BASE0001-flip-1", "height_higher", 0)),
    *(("BASE0002", "location_above", 1), ("BASE0002-1", "location_above", 1)),
    *(("BASE0002-flip", "location_above", 1), ("BASE0002-flip-1", "location_above", 1)),
    *(("BASE0003", "orientation_viewpoint", 1), ("BASE0003-1", "orientation_viewpoint", 1)),
    *(("BASE0003-2", "orientation_viewpoint", 0), ("BASE0003-3", "orientation_viewpoint", 1)),
    *(("BASE0004", "multi_object_facing", 0), ("BASE0004-1", "multi_object_facing", 1)),
    *(("BASE0004-flip", "multi_object_facing", 1), ("BASE0004-flip-1", "multi_object_facing", 1)),
)


def test_metrics_of_a_worked_example() -> None:
    """VLMEvalKit and lmms-eval agree on these four figures, executed."""
    rows = [judged(*row) for row in FIXTURE]
    metrics = CIRCULAR.summarise(rows, "official")
    assert values(metrics) == pytest.approx(
        {
            "vanilla": 100 * 13 / 16,
            "flip": 70.0,
            "circular": 100 * 4 / 7,
            "flip_circular": 25.0,
            "macro": 100 * (0.5 + 1 + 0 + 0.5) / 4,
        }
    )
    assert [metric.n for metric in metrics if metric.name == "circular"] == [7]
    for kind, expected in (
        ("height_higher", 50.0),
        ("location_above", 100.0),
        ("orientation_viewpoint", 0.0),
        ("multi_object_facing", 50.0),
    ):
        part = [one for one in rows if one.tags["type"] == kind]
        assert values(CIRCULAR.summarise(part, "official"))[CIRCULAR.breakdown] == expected


def test_a_single_pass_scores_rows_and_mirror_pairs() -> None:
    rows = [judged(*row) for row in FIXTURE if row[0][-2] != "-"]
    assert values(SINGLE.summarise(rows, "spare")) == pytest.approx(
        {"vanilla": 100 * 6 / 7, "flip": 75.0, "macro": 100 * (1 + 1 + 1 + 0.5) / 4}
    )


SCORES = st.lists(
    st.tuples(
        st.sampled_from(["height_higher", "orientation_viewpoint", "multi_object_facing"]),
        st.booleans(),
        st.booleans(),
        st.lists(st.sampled_from([1, 1, 1, 0]), min_size=8, max_size=8),
    ),
    min_size=1,
    max_size=8,
)


def rows_of(drawn: Any) -> list[Judged]:
    rows = []
    for number, (kind, upright, mirrored, scores) in enumerate(drawn):
        names = [f"{number:08d}"] * (upright or not mirrored) + [f"{number:08d}-flip"] * mirrored
        places = [(n, r) for n in names for r in range(TYPES[kind].options)]
        for (name, rotation), score in zip(places, scores, strict=False):
            rows.append(judged(f"{name}-{rotation}" if rotation else name, kind, float(score)))
    return rows


@settings(deadline=None)
@given(drawn=SCORES, order=st.randoms())
def test_metrics_are_products_over_prefixes_of_the_id(drawn: Any, order: Any) -> None:
    """The keys as lmms-eval 75571cfe has them: by length of the qid's prefix."""
    rows = rows_of(drawn)
    order.shuffle(rows)

    def mean(key: Any) -> float:
        groups: dict[str, list[float]] = {}
        for one in rows:
            groups.setdefault(key(one.id), []).append(one.verdict.score)
        return 100 * sum(min(scores) for scores in groups.values()) / len(groups)

    found = values(CIRCULAR.summarise(rows, "official"))
    del found["macro"]
    assert found == pytest.approx(
        {
            "circular": mean(lambda name: name[: 13 if "-flip" in name else 8]),
            "flip_circular": mean(lambda name: name[:8]),
            "flip": mean(lambda name: name.replace("-flip", "")),
            "vanilla": mean(lambda name: name),
        }
    )


@settings(deadline=None)
@given(drawn=SCORES)
def test_rows_skipped_after_a_failure_change_no_figure_that_is_given(drawn: Any) -> None:
    rows = rows_of(drawn)
    failed: set[str] = set()
    lazy = []
    for one in rows:
        skip = one.group in failed
        if not one.verdict.score:
            failed.add(one.group)
        kind = one.tags["type"]
        lazy.append(judged(one.id, kind, 0.0, "skipped") if skip else one)
    whole, given_ = (values(CIRCULAR.summarise(some, "spare")) for some in (rows, lazy))
    skipped = any(one.verdict.status == "skipped" for one in lazy)
    assert given_ == {n: v for n, v in whole.items() if not skipped or n not in ("vanilla", "flip")}


def test_rows_skipped_under_other_rules_leave_the_figure_open() -> None:
    """One rule set decides what is asked; another may find no failure in what was."""
    rows = [
        judged("BASE0001", "height_higher", 1),
        judged("BASE0001-1", "height_higher", 0, "skipped"),
        judged("BASE0001-flip", "height_higher", 0),
        judged("BASE0001-flip-1", "height_higher", 1),
    ]
    found = {metric.name: metric for metric in CIRCULAR.summarise(rows, "official")}
    assert set(found) == {"circular", "macro", "flip_circular"}
    assert found["circular"].n == found["macro"].n == 0
    # The mirror image has failed, so the pair has, whatever the skipped reply would have been.
    assert (found["flip_circular"].n, found["flip_circular"].value) == (1, 0.0)


def test_a_question_cut_short_is_not_counted() -> None:
    """With --limit, the last question may lack rows; what is there may all be right."""
    rows = [judged(*row) for row in FIXTURE]
    cut = [*rows[:4], judged("BASE0009", "orientation_viewpoint", 1)]
    metric = CIRCULAR.summarise(cut, "spare")[0]
    assert (metric.name, metric.n, metric.value) == ("circular", 2, 50.0)


def test_asking_lazily_saves_questions_and_changes_no_figure(tmp_path: Path) -> None:
    """Through the runner, on mirror pairs of two and of four options, with a guesser as model."""
    rows = []
    for number in range(40):
        kind, options = (
            ("orientation_viewpoint", SIDES) if number % 4 == 0 else ("multi_object_facing", YES_NO)
        )
        for flip in ("", "-flip"):
            name = f"{number:08d}{flip}"
            rows += question(name, kind, f"Question {number}?", options, "A", jpeg("red"), name)
    write_tsv(
        tmp_path / "3dsrbench_v1_vlmevalkit_circular.tsv",
        [{"index": index, **row} for index, row in enumerate(rows)],
    )
    found = []
    for lazy in (False, True):
        out = tmp_path / f"run-{lazy}"
        run = evaluate("random", "3dsrbench", data=tmp_path, out=out, lazy_groups=lazy)
        asked = len((out / "replies.jsonl").read_text().splitlines())
        found.append((asked, run.scores[0].metrics))
    (asked, whole), (asked_lazily, lazily) = found
    assert asked == len(rows)
    assert asked_lazily < asked
    assert set(lazily) == {"circular", "macro", "flip_circular"}
    assert {name: whole[name] for name in lazily} == lazily
    assert 0 < whole["circular"]["value"] < 100


# Published figures


def benchmark(right: Mapping[str, float]) -> list[Judged]:
    """All 11,686 rows, where a share `right` of each type's questions has every rotation right."""
    rows = []
    for kind, (_, options, questions) in TYPES.items():
        for number in range(questions):
            passes = number < round(right[kind] * questions)
            for rotation in range(options):
                name = f"{list(TYPES).index(kind):02d}{number:06d}"
                score = float(passes or rotation > 0)
                rows.append(judged(f"{name}-{rotation}" if rotation else name, kind, score))
    return rows


@pytest.mark.parametrize(
    ("height", "location", "orientation", "multi_object", "overall"),
    [
        (53.2, 59.6, 21.6, 39.0, 44.2),  # GPT-4o
        (53.0, 67.1, 35.8, 43.6, 51.1),  # Gemini 2.0
        (44.1, 62.7, 40.6, 40.5, 48.4),  # Qwen2.5-VL
        (45.1, 70.7, 37.7, 44.8, 52.0),  # QwenVLMax
        (52.5, 75.2, 55.2, 51.8, 60.3),  # SpatialReasoner
    ],
)
def test_published_categories_give_the_published_overall(
    height: float, location: float, orientation: float, multi_object: float, overall: float
) -> None:
    """The headline is the micro average over questions: it follows from the published figures per
    category, which are rounded to 0.1 (paper and SpatialReasoner)."""
    of_category = {
        "height": height,
        "location": location,
        "orientation": orientation,
        "multi_object": multi_object,
    }
    rows = benchmark({kind: of_category[TYPES[kind].category] / 100 for kind in TYPES})
    found = {metric.name: metric for metric in CIRCULAR.summarise(rows, "official")}
    assert found["circular"].n == QUESTIONS
    assert found["vanilla"].n == ROWS
    # Rounding: 0.05 here and there, and half a question per type.
    assert found["circular"].value == pytest.approx(overall, abs=0.05 + 0.05 + 100 * 6 / QUESTIONS)


def test_sizes_are_the_published_ones() -> None:
    assert (QUESTIONS, ROWS) == (5157, 11_686)
    by_category: dict[str, int] = {}
    for kind in TYPES.values():
        by_category[kind.category] = by_category.get(kind.category, 0) + kind.questions
    assert by_category == {
        "height": 690,
        "location": 1709,
        "orientation": 1036,
        "multi_object": 1722,
    }
    assert sum(kind.questions for kind in TYPES.values() if kind.options == 4) == 686
    assert (CIRCULAR.splits, SINGLE.splits) == ({"test": 11_686}, {"test": 5157})
    assert all(kind in RELATION_CLASS for kind in TYPES)


def test_chance_is_the_analytic_one() -> None:
    """21.73 over questions; the paper's 20.9 is the mean over the 12 types."""
    rounded = {name: round(value, 2) for name, value in CIRCULAR.chance.items()}
    assert rounded == {"circular": 21.73, "macro": 20.9, "vanilla": 44.13}
    assert round(SINGLE.chance["macro"], 2) == 45.83


def test_a_guesser_gets_what_is_declared_as_chance() -> None:
    draws = random.Random(3)
    rows = [
        judged(one.id, one.tags["type"], float(draws.random() < 1 / int(one.tags["options"])))
        for one in benchmark(dict.fromkeys(TYPES, 1.0))
    ]
    found = values(CIRCULAR.summarise(rows, "official"))
    for name, chance in CIRCULAR.chance.items():
        # Three standard errors of 5,157 questions.
        assert found[name] == pytest.approx(chance, abs=3 * 0.6), name
