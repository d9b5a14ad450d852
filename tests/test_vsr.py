"""VSR: every published layout gives the same questions, and replies are judged as the sources say.

Examples of judging: VLMEvalKit's `YOrN_Extraction`, and our own rules where it says so. Figures of
the published files: cambridgeltl/visual-spatial-reasoning, data/splits.
"""

import base64
import io
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.errors import DataError
from spare.harness.evaluate import evaluate
from spare.images import Picture, open_picture
from spare.leaderboards.tables import print_scores
from spare.tasks import vsr
from spare.tasks.types import Judged, Reply, Sample, Task, Verdict

PUBLISHED = Path(__file__).parents[2] / "shared" / "data"
needs_vsr = pytest.mark.skipif(
    not (PUBLISHED / "vsr").is_dir(),
    reason=f"VSR's published annotations are not in {PUBLISHED}",
)
ZEROSHOT, RANDOM = vsr.TASKS

COLOURS = {"000000000001": "red", "000000000002": "lime", "000000000003": "blue"}


def row(picture: int, caption: str, label: int, relation: str, **more: Any) -> dict[str, Any]:
    """A row in the published order of columns; votes are text that holds a list."""
    name = f"{picture:012d}.jpg"
    folder = "val2017" if picture == 3 else "train2017"
    link = f"http://images.cocodataset.org/{folder}/{name}"
    first = {"image": name, "image_link": link, "caption": caption, "label": label}
    last = {"vote_true_validator_id": "[2, 9]", "vote_false_validator_id": "[]"}
    objects = {name: more.pop(name) for name in ("subj", "obj") if name in more}
    return {**first, "relation": relation, **objects, "annotator_id": 7, **last, **more}


def zeroshot(picture: int, label: int, subject: str, relation: str, landmark: str) -> Any:
    damaged = "andbag" if subject == "handbag" else subject
    caption = f"The {subject} is {relation} the {landmark}."
    return row(picture, caption, label, relation, subj=damaged, obj=landmark)


ZEROSHOT_ROWS = [
    zeroshot(1, 1, "handbag", "on top of", "bed"),
    zeroshot(1, 0, "cat", "left of", "cell phone"),
    zeroshot(2, 0, "cat", "left of", "parking meter"),
    zeroshot(2, 1, "bed", "far away from", "car"),
    zeroshot(3, 1, "cat", "among", "book"),
    zeroshot(3, 0, "mouse", "facing away from", "remote"),
]
RANDOM_ROWS = [
    row(1, "The dog is left of the cup.", 1, "left of", reference_frame=1.0),
    row(1, "The cup contains the dog.", 0, "contains", reference_frame=None),
    row(2, "The oven is congruent the cup.", 0, "congruent", reference_frame=None),
    row(2, "The cup is among the dog.", 1, "among", reference_frame=None),
    row(3, "The cup has as a part the dog.", 0, "has as a part", reference_frame=None),
    row(3, "The hot dog is right of the person.", 1, "right of", reference_frame=0.0),
]
ROWS = {"zeroshot": ZEROSHOT_ROWS, "random": RANDOM_ROWS}


def jpeg(name: str) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), COLOURS[name]).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_lines(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))


def write_pictures(folder: Path, names: list[str] | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or list(COLOURS):
        (folder / f"{name}.jpg").write_bytes(jpeg(name))


def our_layout(data: Path, part: str) -> None:
    write_lines(data / "vsr" / part / "test.jsonl", ROWS[part])
    write_pictures(data / "vsr" / "images")


def repository(data: Path, part: str) -> None:
    root = data / "visual-spatial-reasoning" / "data"
    write_lines(root / "splits" / part / "test.jsonl", ROWS[part])
    write_pictures(root / "images")


def inside_repository(data: Path, part: str) -> None:
    write_lines(data / "data" / "splits" / part / "test.jsonl", ROWS[part])
    write_pictures(data / "data" / "trainval2017")


def hub(data: Path, part: str) -> None:
    write_lines(data / f"vsr_{part}" / "test.jsonl", ROWS[part])
    write_pictures(data / "coco" / "train2017", ["000000000001", "000000000002"])
    write_pictures(data / "coco" / "val2017", ["000000000003"])


def hub_parquet(data: Path, part: str) -> None:
    folder = data / "vsr" / part / "data"
    folder.mkdir(parents=True)
    for number, rows in enumerate((ROWS[part][:4], ROWS[part][4:])):
        table = pyarrow.Table.from_pylist(rows)
        pyarrow.parquet.write_table(table, folder / f"test-{number:05d}-of-00002.parquet")
    write_pictures(data / "vsr" / "images")


def parquet_with_pictures(data: Path, part: str) -> None:
    folder = data / "vsr" / part / "test"
    folder.mkdir(parents=True)
    rows = [
        {
            **{name: one[name] for name in ("image_link", "caption", "label", "relation")},
            "image": {"bytes": jpeg(Path(one["image"]).stem), "path": None},
        }
        for one in ROWS[part]
    ]
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, folder / "0000.parquet", row_group_size=2)


LAYOUTS = [
    our_layout,
    repository,
    inside_repository,
    hub,
    hub_parquet,
    parquet_with_pictures,
]


def question(sample: Sample) -> str:
    (text,) = [part for part in sample.parts if isinstance(part, str)]
    return text


def picture(sample: Sample) -> Picture:
    (found,) = [part for part in sample.parts if isinstance(part, Picture)]
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("task", vsr.TASKS)
def test_every_layout_gives_the_same_samples(
    tmp_path: Path, task: Task, layout: Callable[[Path, str], None]
) -> None:
    part = task.name.removeprefix("vsr_")
    layout(tmp_path / "here", part)
    our_layout(tmp_path / "usual", part)
    samples = list(task.samples(tmp_path / "here"))
    assert len(samples) == len(ROWS[part])
    for sample, usual, one in zip(
        samples, task.samples(tmp_path / "usual"), ROWS[part], strict=True
    ):
        same = dict(usual.tags)
        if layout is parquet_with_pictures:  # its publisher left the frame out
            same.pop("frame", None)
        assert (sample.id, sample.target, sample.cluster) == (usual.id, usual.target, usual.cluster)
        assert (question(sample), sample.tags) == (question(usual), same)
        assert one["caption"] in question(sample)
        assert sample.target == ("True" if one["label"] else "False")
        seen = open_picture(picture(sample)).resize((1, 1)).getpixel((0, 0))
        wanted = PIL.Image.new("RGB", (1, 1), COLOURS[sample.cluster]).getpixel((0, 0))
        assert all(abs(a - b) < 16 for a, b in zip(seen, wanted, strict=True))


def test_the_tags_of_a_row(tmp_path: Path) -> None:
    our_layout(tmp_path, "zeroshot")
    our_layout(tmp_path, "random")
    first, *_ = ZEROSHOT.samples(tmp_path)
    assert first.tags == {
        "relation": "on top of",
        "category": "Projective",
        "class": "topological",
        "subject": "handbag",  # published as "andbag"
        "object": "bed",
    }
    tags = [sample.tags for sample in RANDOM.samples(tmp_path)]
    assert [one.get("frame") for one in tags] == ["1", None, None, None, None, "0"]
    assert [one.get("category") for one in tags] == [
        *("Projective", "Topological", None, "Unallocated", "Topological", "Projective"),
    ]
    assert (tags[5]["subject"], tags[5]["object"]) == ("hot dog", "person")
    assert (tags[4]["subject"], tags[4]["object"]) == ("cup", "dog")


@pytest.mark.parametrize("name", ["dev.jsonl", "validation.jsonl"])
def test_the_hub_calls_dev_validation(tmp_path: Path, name: str) -> None:
    write_lines(tmp_path / "vsr_random" / name, RANDOM_ROWS)
    assert len(list(RANDOM.samples(tmp_path, "dev"))) == 6


def test_raw_files_hold_votes_as_lists(tmp_path: Path) -> None:
    raw = {**RANDOM_ROWS[0], "vote_true_validator_id": [2, 9], "vote_false_validator_id": []}
    del raw["reference_frame"]
    write_lines(tmp_path / "vsr" / "random" / "test.jsonl", [raw])
    (sample,) = RANDOM.samples(tmp_path)
    assert sample.target == "True"


# VLMEvalKit's file

STATED = "Is this statement true of the picture? {} Answer with Yes or No."


def table_rows() -> list[dict[str, str]]:
    rows = []
    for number, one in enumerate(ZEROSHOT_ROWS):
        picture = base64.b64encode(jpeg(Path(one["image"]).stem)).decode()
        rows.append(
            {
                "index": str(number),
                # The second row of a picture names the first, as VLMEvalKit's files may.
                "image": str(number - 1) if number % 2 else picture,
                "question": STATED.format(one["caption"]),
                "answer": "Yes" if one["label"] else "No",
            }
        )
    return rows


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(rows[0]), *("\t".join(one.values()) for one in rows)]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "name", ["LMUData/VSR-zeroshot.tsv", "vsr/vsr_zeroshot_dataset_yn_strict.tsv"]
)
def test_the_table_is_asked_as_it_stands(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, table_rows())
    assert ZEROSHOT.locate(tmp_path, "test").layout == "vlmevalkit-tsv"
    samples = list(ZEROSHOT.samples(tmp_path, prompt="vlmevalkit"))
    assert [question(one) for one in samples] == [one["question"] for one in table_rows()]
    assert [one.target for one in samples] == ["Yes", "No", "No", "Yes", "Yes", "No"]
    assert [one.id for one in samples] == [f"tsv-{number}" for number in range(6)]
    clusters = [one.cluster for one in samples]
    assert len(set(clusters)) == 3
    assert clusters[::2] == clusters[1::2]
    for sample, one in zip(samples, ZEROSHOT_ROWS, strict=True):
        seen = open_picture(picture(sample)).convert("RGB").getpixel((4, 4))
        wanted = open_picture(jpeg(Path(one["image"]).stem)).getpixel((4, 4))
        assert seen == wanted


@pytest.mark.parametrize(
    "wording",
    [
        STATED,
        "{} Is that right? Please answer yes or no.",
        'Does the statement "{}" describe the picture? Answer yes or no.',
    ],
)
def test_a_statement_in_a_stored_question_gives_the_tags_and_our_question(
    tmp_path: Path, wording: str
) -> None:
    rows = table_rows()
    for row, one in zip(rows, ZEROSHOT_ROWS, strict=True):
        row["question"] = wording.format(one["caption"]).replace('"', "'")
    write_table(tmp_path / "vsr" / "VSR-zeroshot.tsv", rows)
    our_layout(tmp_path / "lines", "zeroshot")
    for sample, usual in zip(
        ZEROSHOT.samples(tmp_path, prompt="spare"),
        ZEROSHOT.samples(tmp_path / "lines"),
        strict=True,
    ):
        assert (question(sample), sample.target) == (question(usual), usual.target)
        assert sample.tags == usual.tags


def test_without_a_statement_there_are_no_tags_and_no_question_of_ours(tmp_path: Path) -> None:
    rows = table_rows()
    rows[2]["question"] = "Is it so?"
    rows[3]["question"] = "The bed is under the car. The car is on the bed. Which one?"
    write_table(tmp_path / "VSR-zeroshot.tsv", rows)
    samples = list(ZEROSHOT.samples(tmp_path, prompt="vlmevalkit"))
    assert [one.tags for one in samples[2:4]] == [{}, {}]
    with pytest.raises(DataError, match=r"row 3: no single statement .* prompt vlmevalkit"):
        list(ZEROSHOT.samples(tmp_path, prompt="spare"))


def test_a_damaged_picture_costs_its_own_sample(tmp_path: Path) -> None:
    rows = table_rows()
    rows[2]["image"] = "!" * 100
    write_table(tmp_path / "VSR-zeroshot.tsv", rows)
    samples = list(ZEROSHOT.samples(tmp_path, prompt="vlmevalkit"))
    assert len(samples) == 6
    assert [one.cluster for one in samples].count("") == 2  # rows 3 and 4 share it


def test_statements_with_pictures_come_before_the_table(tmp_path: Path) -> None:
    write_table(tmp_path / "vsr" / "VSR-zeroshot.tsv", table_rows())
    write_lines(tmp_path / "vsr" / "zeroshot" / "test.jsonl", ZEROSHOT_ROWS)
    assert ZEROSHOT.locate(tmp_path, "test").layout == "vlmevalkit-tsv"  # it has the pictures
    write_pictures(tmp_path / "vsr" / "images")
    assert ZEROSHOT.locate(tmp_path, "test").layout == "jsonl"
    assert ZEROSHOT.locate(tmp_path, "test").pictures == (tmp_path / "vsr" / "images",)


# Bad files


def check_error(tmp_path: Path, rows: list[Any], message: str, task: Task = RANDOM) -> None:
    part = task.name.removeprefix("vsr_")
    write_lines(tmp_path / "vsr" / part / "test.jsonl", rows)
    with pytest.raises(DataError, match=message):
        list(task.samples(tmp_path))


@pytest.mark.parametrize("label", [2, -1, True, "1", 1.0, None])
def test_a_label_is_0_or_1(tmp_path: Path, label: Any) -> None:
    rows = [RANDOM_ROWS[0], {**RANDOM_ROWS[1], "label": label}]
    check_error(tmp_path, rows, r"test\.jsonl, row 2: label should be 0 or 1 but is ")


@pytest.mark.parametrize(
    "name", ["../000000000001.jpg", "/etc/passwd", "a/../../b.jpg", "..\\b.jpg", ""]
)
def test_a_picture_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    rows = [{**RANDOM_ROWS[0], "image": name}]
    check_error(tmp_path, rows, r"test\.jsonl, row 1: .*leads out of the data folder")


@pytest.mark.parametrize("column", ["image", "caption", "label", "relation"])
def test_missing_columns_are_named(tmp_path: Path, column: str) -> None:
    rows = [{name: value for name, value in RANDOM_ROWS[0].items() if name != column}]
    check_error(tmp_path, rows, rf"test\.jsonl, row 1: column {column} missing; wanted .*found ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"caption": 5}, "column 'caption' should be text"),
        ({"caption": " "}, "caption is empty"),
        ({"relation": None}, "column 'relation' should be text"),
        ({"image": None}, "column 'image' should be text"),
        ({"reference_frame": "left"}, "reference_frame should be a number or null"),
        ({"subj": "cat"}, "VSR's other way of splitting"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rows = [RANDOM_ROWS[0], {**RANDOM_ROWS[1], **change}]
    check_error(tmp_path, rows, rf"test\.jsonl, row 2: .*{message}")


def test_a_file_of_the_other_split_is_refused(tmp_path: Path) -> None:
    check_error(tmp_path, RANDOM_ROWS, "row 1: .*not to zeroshot", ZEROSHOT)


def test_a_statement_stands_once(tmp_path: Path) -> None:
    again = {**RANDOM_ROWS[1], "label": 1}
    check_error(tmp_path, [*RANDOM_ROWS, again], r"row 7: the same statement as in row 2")


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_torn_file_names_its_line(tmp_path: Path, cut: int) -> None:
    our_layout(tmp_path, "random")
    path = tmp_path / "vsr" / "random" / "test.jsonl"
    path.write_bytes(path.read_bytes()[: -1 - cut])
    with pytest.raises(DataError, match=r"test\.jsonl, row 6: not JSON"):
        list(RANDOM.samples(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "yes"}, "answer should be Yes or No but is 'yes'"),
        ({"answer": ""}, "answer should be Yes or No"),
        ({"index": "0"}, "index '0' is that of an earlier row"),
    ],
)
def test_bad_table_rows_are_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    rows = table_rows()
    rows[4] |= change
    write_table(tmp_path / "VSR-zeroshot.tsv", rows)
    with pytest.raises(DataError, match=rf"VSR-zeroshot\.tsv, row 5: .*{message}"):
        list(ZEROSHOT.samples(tmp_path, prompt="vlmevalkit"))


def test_a_missing_shard_is_not_passed_over(tmp_path: Path) -> None:
    hub_parquet(tmp_path, "random")
    (tmp_path / "vsr" / "random" / "data" / "test-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"only these files are there: test-00000-of-00002"):
        list(RANDOM.samples(tmp_path))


def test_nothing_there_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"(?s)no files of vsr_random .*test\.jsonl.*vsr/random.*spare"
    ):
        RANDOM.locate(tmp_path, "test")


def test_a_missing_picture_costs_only_its_sample(tmp_path: Path) -> None:
    our_layout(tmp_path, "random")
    (tmp_path / "vsr" / "images" / "000000000002.jpg").unlink()
    samples = list(RANDOM.samples(tmp_path))
    assert [picture(one).path.exists() for one in samples] == [True, True, False, False, True, True]


# Judging


def sample(prompt: str, target: str) -> Sample:
    yes, no = ("True", "False") if prompt == "spare" else ("Yes", "No")
    return Sample("1", ("?",), target, {yes: yes, no: no})


@pytest.mark.parametrize(
    ("gold", "reply", "parsed", "score"),
    [
        ("Yes", "Yes, the cat is on the mat.", "Yes", 1),
        ("No", "no.", "No", 1),
        ("Yes", "The statement is true.", "", 0),
        ("No", "False", "", 0),
        ("No", "False. No", "No", 1),
        ("Yes", "**Yes**", "", 0),
        ("Yes", "Answer: Yes", "Yes", 1),
        ("Yes", "Answer:Yes", "", 0),
        ("Yes", "<answer>Yes</answer>", "Yes", 1),
        ("Yes", "There is no cat on the mat but a dog, so yes", "", 0),
        ("No", "", "", 0),
        ("No", "nan", "", 0),
        ("No", "Yes/No", "", 0),
        ("No", "Nope", "", 0),
    ],
)
def test_vlmevalkit_reads_yes_and_no(gold: str, reply: str, parsed: str, score: int) -> None:
    verdict = ZEROSHOT.judge(sample("vlmevalkit", gold), Reply(reply), "vlmevalkit")
    assert (verdict.parsed, verdict.score) == (parsed, score)
    assert (verdict.status == "ok") == bool(parsed)


@pytest.mark.parametrize(
    ("gold", "reply", "parsed", "status"),
    [
        ("True", "True.", "True", "ok"),
        ("True", "That is not true.", "False", "ok"),
        ("False", "True or False? Hard to say", "", "unparsed"),
        ("False", "", "", "empty"),
        ("False", "It could be either", "", "unparsed"),
        ("True", "<think>False?</think>True", "True", "ok"),
    ],
)
def test_our_rules_read_true_and_false(gold: str, reply: str, parsed: str, status: str) -> None:
    verdict = ZEROSHOT.judge(sample("spare", gold), Reply(reply), "spare")
    assert (verdict.parsed, verdict.status) == (parsed, status)
    assert verdict.score == (parsed == gold)


def test_silence_is_not_false() -> None:
    verdict = ZEROSHOT.judge(sample("spare", "False"), Reply("Hm."), "spare")
    assert verdict.score == 0


@pytest.mark.parametrize("task", vsr.TASKS)
def test_gold_scores_1_and_everything_else_0(tmp_path: Path, task: Task) -> None:
    our_layout(tmp_path, task.name.removeprefix("vsr_"))
    for prompt in task.prompts.values():
        for one in task.samples(tmp_path, prompt=prompt.name):
            for rules in prompt.rules:
                for label in one.options:
                    verdict = task.judge(one, Reply(label), rules)
                    assert verdict == Verdict(label, float(label == one.target), "ok")
                assert task.judge(one, Reply(" \n"), rules) == Verdict("", 0.0, "empty")
                assert task.judge(one, Reply(error="x"), rules) == Verdict("", 0.0, "error")


@given(st.text(max_size=60), st.sampled_from(["spare", "vlmevalkit"]), st.booleans())
def test_any_reply_gets_a_verdict(text: str, prompt: str, true: bool) -> None:
    one = sample(prompt, "True")
    target = next(label for label in one.options if (label in ("True", "Yes")) == true)
    one = Sample(one.id, one.parts, target, one.options)
    for rules in ZEROSHOT.prompt(prompt).rules:
        verdict = ZEROSHOT.judge(one, Reply(text), rules)
        assert verdict.score == (verdict.parsed == target)
        assert (verdict.parsed in one.options) == (verdict.status == "ok")


def test_the_true_false_question_is_not_judged_by_yes_and_no() -> None:
    with pytest.raises(Exception, match="has no rules 'vlmevalkit'"):
        ZEROSHOT.rules_for(ZEROSHOT.prompt("spare"), "vlmevalkit")


# Figures


def judged(number: int, target: str, parsed: str) -> Judged:
    status = "ok" if parsed else "unparsed"
    verdict = Verdict(parsed, float(parsed == target), status)  # type: ignore[arg-type]
    return Judged(str(number), target, verdict, cluster=str(number // 2))


def figures(counts: list[tuple[str, str, int]]) -> dict[str, float]:
    rows = [(target, parsed) for target, parsed, count in counts for _ in range(count)]
    replies = [judged(number, *one) for number, one in enumerate(rows)]
    return {one.name: one.value for one in ZEROSHOT.summarise(replies, "vlmevalkit")}


def test_the_figures_are_those_that_vlmevalkit_printed() -> None:
    """GPT-4o-mini in its pull request 1164, which these counts reproduce."""
    found = figures(
        [("Yes", "Yes", 470), ("No", "Yes", 124), ("Yes", "No", 159), ("No", "No", 469)]
    )
    assert found == pytest.approx(
        {"accuracy": 76.8412, "precision": 79.1246, "recall": 74.7218, "f1": 76.8602}, abs=5e-5
    )


def test_an_unread_reply_is_a_no_for_recall_and_wrong_for_accuracy() -> None:
    read = [("Yes", "Yes", 3), ("No", "Yes", 1), ("Yes", "No", 1), ("No", "No", 3)]
    unread = [("Yes", "Yes", 3), ("No", "Yes", 1), ("Yes", "", 1), ("No", "", 3)]
    one, other = figures(read), figures(unread)
    assert (one.pop("accuracy"), other.pop("accuracy")) == (75.0, 37.5)
    assert one == other == {"precision": 75.0, "recall": 75.0, "f1": 75.0}


def test_our_rules_give_the_accuracy_only() -> None:
    (metric,) = ZEROSHOT.summarise([judged(1, "True", "True"), judged(2, "True", "")], "spare")
    assert (metric.name, metric.value, metric.n) == ("accuracy", 50.0, 2)


# The published files


COUNTS = [
    # task, split, rows, true, relations, pictures
    (RANDOM, "train", 7680, 3876, 64, 4968),
    (RANDOM, "dev", 1097, 564, 60, 1017),
    (RANDOM, "test", 2195, 1181, 61, 1874),
    (ZEROSHOT, "train", 3489, 1799, 60, 2249),
    (ZEROSHOT, "dev", 340, 167, 40, 227),
    (ZEROSHOT, "test", 1222, 629, 53, 715),
]


@needs_vsr
@pytest.mark.parametrize(("task", "split", "rows", "true", "relations", "pictures"), COUNTS)
def test_published_counts(
    task: Task, split: str, rows: int, true: int, relations: int, pictures: int
) -> None:
    samples = list(task.samples(PUBLISHED, split))
    assert len(samples) == task.splits[split] == rows
    assert len({one.id for one in samples}) == rows
    assert sum(one.target == "True" for one in samples) == true
    assert len({one.tags["relation"] for one in samples}) == relations
    assert len({one.cluster for one in samples}) == pictures


@needs_vsr
@pytest.mark.parametrize(
    ("task", "rows", "true"),
    [
        (
            RANDOM,
            "Adjacency 289 Directional 88 Orientation 137 Projective 843 Proximity 133 "
            "Topological 629 Unallocated 76",
            "Adjacency 153 Directional 42 Orientation 69 Projective 493 Proximity 80 "
            "Topological 301 Unallocated 43",
        ),
        (
            ZEROSHOT,
            "Adjacency 116 Directional 42 Orientation 49 Projective 451 Proximity 32 "
            "Topological 492 Unallocated 40",
            "Adjacency 59 Directional 21 Orientation 24 Projective 242 Proximity 16 "
            "Topological 245 Unallocated 22",
        ),
    ],
)
def test_published_categories(task: Task, rows: str, true: str) -> None:
    samples = list(task.samples(PUBLISHED))
    counted = Counter(one.tags["category"] for one in samples)
    counted_true = Counter(one.tags["category"] for one in samples if one.target == "True")
    for text, count in ((rows, counted), (true, counted_true)):
        words = text.split()
        assert count == dict(zip(words[::2], map(int, words[1::2]), strict=True))


@needs_vsr
def test_published_frames() -> None:
    frames = Counter(one.tags.get("frame") for one in RANDOM.samples(PUBLISHED))
    assert frames == {None: 2195 - 127, "1": 107, "0": 13, "2": 7}


@needs_vsr
@pytest.mark.parametrize("task", vsr.TASKS)
def test_statements_give_back_the_published_relation_and_objects(task: Task) -> None:
    repaired = {"andbag": "handbag", "orse": "horse", "ot dog": "hot dog", "lephant": "elephant"}
    part = task.name.removeprefix("vsr_")
    for split in task.splits:
        lines = (PUBLISHED / "vsr" / part / f"{split}.jsonl").read_text().splitlines()
        for line in lines:
            one = json.loads(line)
            match = vsr.STATEMENT.fullmatch(one["caption"].removesuffix("."))
            assert match is not None
            assert match["relation"] == one["relation"]
            if "subj" in one:
                assert match["subject"] == repaired.get(one["subj"], one["subj"])
                assert match["object"] == one["obj"]


@needs_vsr
def test_always_true_scores_as_the_published_labels_say() -> None:
    for task, share in ((ZEROSHOT, 51.47), (RANDOM, 53.80)):
        rows = [
            Judged(one.id, one.target, task.judge(one, Reply("True"), "spare"), one.tags)
            for one in task.samples(PUBLISHED)
        ]
        (accuracy,) = task.summarise(rows, "spare")
        assert accuracy.value == pytest.approx(share, abs=0.005)
        assert task.chance["precision"] == pytest.approx(share, abs=0.005)


@needs_vsr
def test_zero_shot_test_statements_lie_in_the_random_splits() -> None:
    """So a model tuned on one must not be tested on the other."""
    ids = {one.id for one in ZEROSHOT.samples(PUBLISHED)}
    shared = {
        split: len(ids & {one.id for one in RANDOM.samples(PUBLISHED, split)})
        for split in RANDOM.splits
    }
    assert shared == {"train": 830, "dev": 120, "test": 272}


def test_the_precision_of_one_who_never_says_yes_is_there_and_nothing() -> None:
    """A figure that is missing looks like one that was forgotten."""
    judged = [
        Judged(str(number), target, Verdict("No", float(target == "No"), "ok"), cluster="c")
        for number, target in enumerate(["Yes", "No", "No"])
    ]
    metrics = {metric.name: metric for metric in ZEROSHOT.summarise(judged, "vlmevalkit")}
    assert math.isnan(metrics["precision"].value)
    assert metrics["precision"].n == 0
    assert (metrics["recall"].value, metrics["f1"].value) == (0.0, 0.0)


def test_scores_json_has_null_for_a_figure_of_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "vsr" / "zeroshot"
    folder.mkdir(parents=True)
    line = {"image": "1.jpg", "caption": "The cat is on the mat.", "label": 1, "relation": "on"}
    (folder / "test.jsonl").write_text(json.dumps(line))
    run = evaluate(
        "random", "vsr_zeroshot", data=tmp_path, out=tmp_path / "run", prompt="vlmevalkit"
    )
    # The picture is missing, so nothing was said.
    text = (tmp_path / "run" / "scores.json").read_text()
    assert "NaN" not in text
    (score,) = run.scores
    assert score.errors == 1
    assert score.metrics["precision"]["value"] is None
    assert score.metrics["recall"]["value"] == 0.0
    print_scores(run)
    (line_of_precision,) = [
        line.split() for line in capsys.readouterr().out.splitlines() if "precision  " in line
    ]
    assert line_of_precision[:4] == ["precision", "-", "-", "0"]
