"""MMBench: every layout asks the same, rotations are whole, and replies are read as the references
read them."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import openpyxl
import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.cli import main
from spare.errors import DataError
from spare.harness.evaluate import evaluate
from spare.tasks import load_task, references
from spare.tasks.types import Judged, Reply, Sample, Verdict

SIX = {"A": "six", "B": "five", "C": "seven", "D": "eight"}
FRUIT = {"A": "banana", "B": "apple"}
CODE = {"A": 'print("hi")\nprint("ho")', "B": "print('x')\n", "C": "pass"}
PLACES = {"A": "岩石拱门", "B": "火车内部", "C": "店面", "D": "办公室隔间"}
NUMBERS = {"A": "1", "B": "10", "C": "100", "D": "1000"}
VITAMINS = {"A": "Vitamin B", "B": "Vitamin C", "C": "Vitamin D"}

TASK = load_task("mmbench_dev_en")


# Files in the published layouts, with questions and pictures of our own


@cache
def jpeg(colour: str) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (4, 4), colour).save(file, "JPEG")
    return file.getvalue()


def question(
    index: int, text: str, options: Mapping[str, str], answer: str, hint: str, colour: str
) -> list[dict[str, Any]]:
    """A question and its rotations to the left, as VLMEvalKit's generator makes them."""
    texts = list(options.values())
    rows = []
    for turn in range(len(options)):
        turned = dict(zip(options, texts[turn:] + texts[:turn], strict=True))
        right = next(label for label in turned if turned[label] == options[answer])
        rows.append(
            {"index": index + turn * 1_000_000, "question": text, "hint": hint, **turned}
            | {"answer": right, "category": "object_localization", "source": "scienceqa"}
            | {"l2-category": "finegrained_perception (instance-level)", "comment": ""}
            | {"split": "dev", "image": jpeg(colour)}
        )
    return rows


def rows() -> list[dict[str, Any]]:
    groups = [
        question(241, "How many trucks?", SIX, "A", "", "red"),
        question(252, "Which fruit?", FRUIT, "B", 'A story.\n"Quoted", two lines.', "blue"),
        question(7, "What does it print?", CODE, "C", "", "green"),
    ]
    # The published files have all first rotations before all second ones.
    return sorted((row for group in groups for row in group), key=lambda row: int(row["index"]))


COLUMNS = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image")
COLUMNS += ("source", "l2-category", "comment", "split")


def write_tsv(path: Path, given: Iterable[Mapping[str, Any]], drop: str = "") -> None:
    """Rotations name the row that holds their picture, as VLMEvalKit's files do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [name for name in COLUMNS if name != drop]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        for row in given:
            first = int(float(row["index"])) % 1_000_000
            held = base64.b64encode(row["image"]).decode()
            picture = held if float(row["index"]) < 1_000_000 else str(first)
            cells = {**row, "image": picture}
            writer.writerow([cells.get(name, "") for name in columns])


def write_vlmevalkit(folder: Path) -> None:
    write_tsv(folder / "LMUData/MMBench_DEV_EN.tsv", rows())


def parquet_rows(l2: str, picture: Callable[[bytes], Any], missing: Any) -> list[dict[str, Any]]:
    found = []
    for row in rows():
        row[l2] = row.pop("l2-category")
        row["image"] = picture(row["image"])
        found.append({name: row.get(name) or missing for name in [*COLUMNS[:-3], l2, "split"]})
    return found


def write_parquet(path: Path, given: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(given), path, row_group_size=4)


def write_lmms_lab(folder: Path) -> None:
    """Missing texts are "nan", every row has its picture."""
    given = parquet_rows("L2-category", lambda data: {"bytes": data, "path": None}, "nan")
    for number, part in enumerate((given[:5], given[5:])):
        write_parquet(folder / f"MMBench/en/dev-0000{number}-of-00002.parquet", part)


def write_hugging_face_m4(folder: Path) -> None:
    """Pictures are base64 texts; the split is called validation."""
    given = parquet_rows("l2-category", lambda data: base64.b64encode(data).decode(), None)
    write_parquet(folder / "mmbench/data/validation-00000-of-00001.parquet", given)


LAYOUTS = {
    "vlmevalkit-tsv": write_vlmevalkit,
    "lmms-eval-parquet": write_lmms_lab,
    "huggingfacem4-parquet": write_hugging_face_m4,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_ask_the_same(tmp_path: Path, layout: str) -> None:
    LAYOUTS[layout](tmp_path)
    assert TASK.locate(tmp_path, "dev").layout == layout
    samples = {sample.id: sample for sample in TASK.samples(tmp_path)}
    assert list(samples) == [str(row["index"]) for row in rows()]
    one = samples["1000252"]
    assert (one.target, one.group, one.cluster) == ("A", "252", "252")
    assert dict(one.options) == {"A": "apple", "B": "banana"}
    assert one.tags == {
        "category": "object_localization",
        "ability": "finegrained_perception (instance-level)",
        "source": "scienceqa",
        "options": "2",
    }
    assert one.parts[1] == (
        'A story.\n"Quoted", two lines.\nWhich fruit?\nA. apple\nB. banana\n'
        "Answer with the option's letter from the given choices directly."
    )
    assert dict(samples["7"].options) == CODE
    picture = one.parts[0]
    assert not isinstance(picture, str)
    assert picture.read() == jpeg("blue")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("dev_en", "mmbench/MMBench_DEV_EN_legacy.tsv"),
        ("dev_en", "mmbench_dev_20230712.tsv"),
        ("dev_cn", "LMUData/MMBench_DEV_CN.tsv"),
        ("v11_dev_en", "MMBench/MMBench_DEV_EN_V11.tsv"),
        ("v11_dev_cn", "LMUData/MMBench_DEV_CN_V11.tsv"),
    ],
)
def test_other_tables_are_found_by_name(tmp_path: Path, name: str, path: str) -> None:
    write_tsv(tmp_path / path, rows())
    assert len(list(load_task(f"mmbench_{name}").samples(tmp_path))) == 9


def test_an_index_that_pandas_made_a_float(tmp_path: Path) -> None:
    given = [{**row, "index": f"{row['index']}.0"} for row in rows()]
    for row in given:
        row["image"] = row["image"]
    path = tmp_path / "LMUData/MMBench_DEV_EN.tsv"
    write_tsv(path, given)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\t241\t", "\t241.0\t").replace("\t252\t", "\t252.0\t"))
    with path.open(encoding="utf-8") as file:
        assert "1000241.0\t" in file.read()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda given: given[:-1], "1 of 3 questions lack rotations, .* 241"),
        (lambda given: given[1:], "1 of 3 questions lack rotations, .* 7"),
        (lambda given: [*given, given[0]], "row 10: question 7 had rotation 0 or other options"),
        (
            lambda given: [*given, {**given[0], "index": 5_000_007}],
            "row 10: there is no rotation 5 of 3 options",
        ),
        (lambda given: [{**given[0], "answer": "D"}, *given[1:]], "row 1: answer 'D' is not among"),
        (lambda given: [{**given[0], "B": "nan"}, *given[1:]], r"row 1: options A, B and perhaps"),
        (lambda given: [{**given[0], "index": "x"}, *given[1:]], "index 'x' is not a number"),
    ],
)
def test_a_faulty_row_is_named(tmp_path: Path, change: Any, sentence: str) -> None:
    given = parquet_rows("l2-category", lambda data: {"bytes": data, "path": None}, None)
    given = change(given)
    for row in given:
        row["index"] = str(row["index"])
    write_parquet(tmp_path / "mmbench/en/dev-00000-of-00001.parquet", given)
    with pytest.raises(DataError, match=sentence):
        list(TASK.samples(tmp_path))


def test_a_file_without_answers_is_no_dev_file(tmp_path: Path) -> None:
    write_tsv(tmp_path / "LMUData/MMBench_DEV_EN.tsv", rows(), drop="answer")
    with pytest.raises(DataError, match="no column answer; this may be a test file"):
        list(TASK.samples(tmp_path))


def test_no_files_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no files of mmbench_dev_cn .*MMBench_DEV_CN\.tsv"):
        list(load_task("mmbench_dev_cn").samples(tmp_path))


def test_prompts_are_the_references_byte_for_byte(tmp_path: Path) -> None:
    """VLMEvalKit e8e78f05 `ImageMCQDataset.build_prompt`; lmms-eval 75571cfe `en_utils.py` and
    `cn_utils.py` with the mirror's "nan" for missing hints."""
    write_vlmevalkit(tmp_path)
    write_tsv(tmp_path / "LMUData/MMBench_DEV_CN.tsv", rows())

    def text(task: str, prompt: str, id_: str) -> Any:
        samples = load_task(task).samples(tmp_path, prompt=prompt)
        return next(sample.parts[1] for sample in samples if sample.id == id_)

    assert text("mmbench_dev_en", "vlmevalkit", "252") == (
        'Hint: A story.\n"Quoted", two lines.\nQuestion: Which fruit?\nOptions:\nA. banana\n'
        "B. apple\nPlease select the correct answer from the options above. \n"
    )
    assert text("mmbench_dev_en", "lmms-eval", "252") == (
        'A story.\n"Quoted", two lines. Which fruit? There are several options:\nA. banana\n'
        "B. apple\n\nAnswer with the option's letter from the given choices directly."
    )
    assert text("mmbench_dev_en", "lmms-eval", "241") == (
        "How many trucks? There are several options:\nA. six\nB. five\nC. seven\nD. eight\n\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert text("mmbench_dev_cn", "lmms-eval", "241") == (
        "nan How many trucks? There are several options:\nA. six\nB. five\nC. seven\nD. eight\n\n"
        "请直接使用所提供的选项字母作为答案回答。"
    )
    assert text("mmbench_dev_cn", "spare", "241") == (
        "How many trucks?\nA. six\nB. five\nC. seven\nD. eight\n请直接回答选项字母。"
    )


# Replies. VLMEvalKit e8e78f05 `can_infer` and lmms-eval 75571cfe `mmbench_evals.py` with
# eval_method "static", executed; "" is unresolved.

READ = [
    (SIX, "A", "A", "A"),
    (SIX, "A.", "A", "A"),
    (SIX, "(A)", "A", "A"),
    (SIX, "A)", "A", "A"),
    (SIX, "A. six", "A", "A"),
    (SIX, "Answer: A", "A", "A"),
    (SIX, "The answer is A", "A", "A"),
    (SIX, "The answer is B", "B", "B"),
    (SIX, "There are six trucks.", "A", "A"),
    (SIX, "There are six or seven trucks", "", ""),
    (SIX, "I would pick A because there are six trucks", "", "A"),
    (SIX, "Option B is the correct one since five trucks are visible in the picture", "", "B"),
    (SIX, "B, C", "", "C"),
    (SIX, "E", "", "E"),
    (SIX, "a", "", ""),
    (FRUIT, "banana", "A", ""),
    ({"A": "wax", "B": "no wax"}, "D", "", "D"),
    (PLACES, "答案是A", "", "A"),
    (PLACES, "答案：A", "", "A"),
    (PLACES, "选A。", "", "A"),
    (PLACES, "这张图片最符合的场景类别是岩石拱门。", "A", "A"),
    (NUMBERS, "100", "", ""),
    (VITAMINS, "Vitamin C", "C", "C"),
    (SIX, "<think>maybe B or C</think>\nD", "", "D"),
    (SIX, "I'm sorry, but without the image provided I cannot tell.", "", ""),
]


@pytest.mark.parametrize(("options", "reply", "kit", "lmms"), READ)
def test_replies_are_read_as_the_references_read_them(
    options: dict[str, str], reply: str, kit: str, lmms: str
) -> None:
    sample = Sample("1", (), "A", options, tags={"options": str(len(options))})
    if reply != "<think>maybe B or C</think>\nD":
        assert TASK.judge(sample, Reply(reply), "vlmevalkit").parsed == kit
    assert TASK.judge(sample, Reply(reply), "lmms-eval").parsed == lmms


def test_our_own_rules_never_take_an_article_or_two_letters() -> None:
    sample = Sample("1", (), "A", SIX)
    read = {text: TASK.judge(sample, Reply(text), "spare") for text in ("B, C", "E", "a", "six")}
    assert [(one.parsed, one.status) for one in read.values()] == [
        ("", "ambiguous"),
        ("", "unparsed"),
        ("A", "ok"),
        ("A", "ok"),
    ]


@given(st.text(max_size=300), st.sampled_from([SIX, FRUIT, PLACES, NUMBERS]))
def test_any_text_gets_a_verdict(text: str, options: dict[str, str]) -> None:
    sample = Sample("1", (), "A", options)
    for rules in TASK.rules:
        assert TASK.judge(sample, Reply(text), rules).score in (0.0, 1.0)


@pytest.mark.parametrize(
    "text", ["A " * 500_000, "(B) 答案" * 200_000, "six " * 250_000, "\n" * 10**6]
)
def test_a_million_characters_get_a_verdict(text: str) -> None:
    for rules in TASK.rules:
        TASK.judge(Sample("1", (), "A", SIX), Reply(text), rules)
    assert references.lmms_mmbench_letter(text, SIX) in ("", "A", "B")


# Scores


def judged(index: int, score: float, options: int = 2, status: Any = "ok") -> Judged:
    group = str(index % 1_000_000)
    verdict = Verdict("", score, status)
    return Judged(str(index), "A", verdict, {"options": str(options)}, group, group)


def figures(given: Iterable[Judged]) -> dict[str, float]:
    return {metric.name: metric.value for metric in TASK.summarise(given, "spare") if metric.n}


def test_a_question_counts_if_all_its_rotations_are_right() -> None:
    given = [judged(1, 1), judged(1_000_001, 1), judged(2, 1), judged(1_000_002, 0)]
    assert figures(given) == {"circular": 50.0, "vanilla": 75.0}
    # With --limit: what was not asked is no pass.
    assert figures([*given, judged(3, 1)]) == {"circular": 50.0, "vanilla": 80.0}


def test_rotations_left_out_change_no_headline() -> None:
    given = [judged(1, 0), judged(1_000_001, 0, status="skipped"), judged(2, 1)]
    assert figures([*given, judged(1_000_002, 1)]) == {"circular": 50.0}
    # Left out for a failure that these rules do not see: the figure is not known.
    assert figures([judged(1, 1), judged(1_000_001, 0, status="skipped")]) == {}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_always_one_letter_is_never_right(tmp_path: Path, layout: str) -> None:
    LAYOUTS[layout](tmp_path)
    for letter in "AB":
        verdicts = [
            Judged(
                one.id,
                one.target,
                TASK.judge(one, Reply(letter), "spare"),
                one.tags,
                one.group,
                one.cluster,
            )
            for one in TASK.samples(tmp_path)
        ]
        assert figures(verdicts)["circular"] == 0.0


def test_the_command_validates_and_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_vlmevalkit(tmp_path / "data")
    assert main(["validate", "mmbench_dev_en", "--data", str(tmp_path / "data")]) == 0
    assert "rotations of one question have the same right option" in capsys.readouterr().out
    run = evaluate("random", "mmbench_dev_en", data=tmp_path / "data", out=tmp_path / "run")
    assert run.scores[0].headline == "circular"
    lazy = evaluate(
        "random",
        "mmbench_dev_en",
        data=tmp_path / "data",
        out=tmp_path / "lazy",
        lazy_groups=True,
    )
    assert lazy.scores[0].metrics["circular"] == run.scores[0].metrics["circular"]


# Handing in


class Says:
    """Replies that a spreadsheet may not hold as they are."""

    identity: Mapping[str, str] = {"weights": "none"}
    facts: Mapping[str, str] = {}

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def answer(self, requests: Any) -> Any:
        from spare.harness.models.types import Response

        for number, request in enumerate(requests):
            yield Response(request.key, Reply(self.texts[number % len(self.texts)]))


@pytest.mark.parametrize("name", ["test_en", "v11_test_cn"])
def test_a_test_split_is_written_down_and_not_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    task = load_task(f"mmbench_{name}")
    assert task.submission
    table = task.submission.name.removesuffix(".xlsx")
    write_tsv(tmp_path / f"data/LMUData/{table}.tsv", rows(), drop="answer")
    out = tmp_path / "run"
    said = ("A", "=B", "None", "C\x00", "\ud83d", "")
    run = evaluate(Says(*said), task.name, data=tmp_path / "data", out=out)
    assert not run.scores
    assert not run.unfinished
    sheet = openpyxl.load_workbook(out / task.submission.name).worksheets[0]
    header, *cells = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert header == [n for n in COLUMNS if n not in ("image", "answer")] + ["prediction"]
    found = [row[-1] for row in cells]
    assert found[:3] == ["A", "=B", "None"]
    assert found[3:5] == ["C\ufffd", "\ufffd"]
    assert [str(row[0]) for row in cells] == [str(row["index"]) for row in rows()]
    assert {row[3] for row in cells} >= {"six", "five", "banana"}
    assert main(["show", str(out)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "its answers are not public, so there is no score" in shown
    assert main(["validate", task.name, "--data", str(tmp_path / "data")]) == 0


def test_a_reply_that_a_spreadsheet_would_cut_is_refused(tmp_path: Path) -> None:
    write_tsv(tmp_path / "data/LMUData/MMBench_TEST_EN.tsv", rows(), drop="answer")
    with pytest.raises(DataError, match="the reply to 7 has 40,000 characters"):
        evaluate(
            Says("x" * 40_000), "mmbench_test_en", data=tmp_path / "data", out=tmp_path / "run"
        )
