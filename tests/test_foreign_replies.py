"""Replies that VLMEvalKit, lmms-eval and lm-eval saved are joined to questions without a doubt, or
not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from test_threedsrbench import COLUMNS, published_rows, write_circular_tsv

from spare.errors import SpareError
from spare.harness.evaluate import evaluate
from spare.harness.foreign_files import read_replies
from spare.harness.foreign_replies import score_replies
from spare.harness.rescoring import rescore
from spare.harness.run import Run, load_run
from spare.tasks import load_task

ROWS = published_rows()
FORMS = ("{}.", "`{}`", "not sure")
SAYINGS = [FORMS[number % 3].format(row["answer"]) for number, row in enumerate(ROWS)]
"""VLMEvalKit does not read a letter between backquotes."""

Rows = Sequence[Mapping[str, Any]]


def predictions() -> list[dict[str, Any]]:
    """The benchmark's own columns but the picture, and `prediction`, as VLMEvalKit writes them."""
    columns = [name for name in COLUMNS if name != "image"]
    return [
        {name: row.get(name) for name in columns} | {"prediction": said}
        for row, said in zip(ROWS, SAYINGS, strict=True)
    ]


def write_xlsx(path: Path, rows: Rows) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(list(rows[0]))
    for row in rows:
        sheet.append(list(row.values()))
    book.save(path)


def write_table(path: Path, rows: Rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file,
            list(rows[0]),
            delimiter="\t" if path.suffix == ".tsv" else ",",
            quoting=csv.QUOTE_ALL,
        )
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, rows: Rows) -> None:
    path.write_text(json.dumps(rows, indent=4))


def write_lines(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def lmms_samples(by_place: bool = True) -> list[dict[str, Any]]:
    """A sample log of lmms-eval; ids are only in what its metrics carry along, if anywhere."""
    return [
        {
            "doc_id": number,
            "target": row["answer"],
            "filtered_resps": said,
            "input": f"Question: {row['question']}\nOptions:\nA. {row['A']}\n",
            "vanilla_accuracy": {"score": 1.0} if by_place else {"qid": row["qid"], "score": 1.0},
        }
        for number, (row, said) in enumerate(zip(ROWS, SAYINGS, strict=True))
    ]


def lm_eval_samples() -> list[dict[str, Any]]:
    return [
        {
            "doc_id": number,
            "doc": {"qid": row["qid"], "question": row["question"]},
            "target": row["answer"],
            "arguments": {"gen_args_0": {"arg_0": row["question"], "arg_1": {"until": []}}},
            "resps": [[said]],
            "filtered_resps": [said.strip(".")],
            "prompt_hash": "0",
        }
        for number, (row, said) in enumerate(zip(ROWS, SAYINGS, strict=True))
    ]


FORMATS: Mapping[str, tuple[Callable[[Path, Rows], None], Callable[[], list[dict[str, Any]]]]] = {
    "kit.xlsx": (write_xlsx, predictions),
    "kit.tsv": (write_table, predictions),
    "kit.csv": (write_table, predictions),
    "kit.json": (write_json, predictions),
    "lmms.jsonl": (write_lines, lmms_samples),
    "lmms_with_ids.jsonl": (write_lines, lambda: lmms_samples(by_place=False)),
    "harness.jsonl": (write_lines, lm_eval_samples),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_circular_tsv(tmp_path / "data")
    return tmp_path / "data"


def score(path: Path, data: Path, out: Path, rules: str = "all") -> Run:
    return score_replies("3dsrbench", path, data=data, out=out, rules=rules, prompt="vlmevalkit")


class Echo:
    """Answers as the other harness's model did."""

    identity: Mapping[str, str] = {"weights": "none"}
    facts: Mapping[str, str] = {}

    def answer(self, requests: Any) -> Any:
        from spare.harness.models.types import Response
        from spare.tasks.types import Reply

        for request, said in zip(requests, SAYINGS, strict=True):
            yield Response(request.key, Reply(said))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_scores_as_if_we_had_asked(tmp_path: Path, data: Path, name: str) -> None:
    write, rows = FORMATS[name]
    write(tmp_path / name, rows())
    theirs = score(tmp_path / name, data, tmp_path / "theirs")
    ours = evaluate(
        Echo(), "3dsrbench", data=data, out=tmp_path / "ours", prompt="vlmevalkit", rules="all"
    )
    assert theirs.scores == ours.scores
    assert len({score.metrics["vanilla"]["value"] for score in theirs.scores}) > 1
    assert theirs.manifest["model"]["engine"] == "replies"
    assert load_run(tmp_path / "theirs").scores == theirs.scores


def test_a_task_in_parts_has_a_log_for_each(tmp_path: Path, data: Path) -> None:
    """As lm-eval's mmmu_val has 30, each counting from 0, beside its results_*.json."""
    rows = lm_eval_samples()
    write_lines(tmp_path / "whole.jsonl", rows)
    folder = tmp_path / "logs"
    folder.mkdir()
    for number in range(3):
        part = [{**row, "doc_id": place} for place, row in enumerate(rows[4 * number :][:4])]
        write_lines(folder / f"samples_part_{number}.jsonl", part)
    (folder / "results_now.json").write_text("{}")
    whole = score(tmp_path / "whole.jsonl", data, tmp_path / "a")
    parts = score(folder, data, tmp_path / "b")
    assert parts.scores == whole.scores
    for row in rows[:4]:
        del row["doc"]
    write_lines(folder / "samples_part_0.jsonl", rows[:4])
    with pytest.raises(SpareError, match=r"counts from 0 as others .* are not those of 3dsrbench"):
        score(folder, data, tmp_path / "d")
    rows = lm_eval_samples()
    write_lines(folder / "samples_part_0.jsonl", rows[:4])
    write_lines(folder / "samples_part_again.jsonl", rows[:1])
    with pytest.raises(SpareError, match=r"row 1: .* stands in row 1 of .*part_0\.jsonl already"):
        score(folder, data, tmp_path / "c")


def test_the_prompt_is_the_harnesss_own(tmp_path: Path, data: Path) -> None:
    write_table(tmp_path / "kit.tsv", predictions())
    run = score_replies("3dsrbench", tmp_path / "kit.tsv", data=data, out=tmp_path / "run")
    assert (run.scores[0].prompt, run.scores[0].rules) == ("vlmevalkit", "vlmevalkit")
    write_lines(tmp_path / "log.jsonl", lmms_samples())
    run = score_replies("3dsrbench", tmp_path / "log.jsonl", data=data, out=tmp_path / "lmms")
    assert (run.scores[0].prompt, run.scores[0].rules) == ("lmms-eval", "lmms-eval")


def test_the_order_of_rows_with_ids_does_not_matter(tmp_path: Path, data: Path) -> None:
    write_json(tmp_path / "a.json", predictions())
    write_json(tmp_path / "b.json", predictions()[::-1])
    first = score(tmp_path / "a.json", data, tmp_path / "a")
    assert score(tmp_path / "b.json", data, tmp_path / "b").scores == first.scores


def changed(rows: list[dict[str, Any]], number: int, **change: Any) -> list[dict[str, Any]]:
    rows[number] |= change
    return rows


FAULTS: Mapping[str, tuple[str, Callable[[], list[dict[str, Any]]], str]] = {
    "a part": (
        "x.json",
        lambda: predictions()[:-2],
        r"2 of the 12 questions of 3dsrbench have no reply: 0RPHAN00-flip, 0RPHAN00-flip-1",
    ),
    "a part by place": (
        "x.jsonl",
        lambda: lmms_samples()[:-2],
        r"there are 10 replies, and 3dsrbench has 12 questions",
    ),
    "twice": (
        "x.json",
        lambda: [*predictions(), predictions()[0]],
        r"x.json, row 13: qid 'VIN6MS3J' stands in row 1 already",
    ),
    "twice by place": (
        "x.jsonl",
        lambda: [*lmms_samples(), lmms_samples()[3]],
        r"x.jsonl, row 13: question 3 was answered in row 4 too",
    ),
    "left over": (
        "x.json",
        lambda: [*predictions(), {**predictions()[0], "qid": "N0NE0000"}],
        r"row 13: 1 replies are to questions that 3dsrbench does not have, 'N0NE0000'",
    ),
    "too many by place": (
        "x.jsonl",
        lambda: changed(lmms_samples(), 11, doc_id=99),
        r"row 12: this is question 99, counted from 0, and 3dsrbench has 12",
    ),
    "another order": (
        "x.jsonl",
        lambda: [{**one, "doc_id": 11 - one["doc_id"]} for one in lmms_samples()],
        r"unlike question .* The replies may belong to another benchmark",
    ),
    "another question": (
        "x.json",
        lambda: changed(predictions(), 4, question="How many dogs play chess in town?"),
        r"row 5: it asks 'How many dogs play chess in town\?', unlike question AB0VE123",
    ),
    "another answer": (
        "x.json",
        lambda: changed(predictions(), 4, answer="B"),
        r"row 5: its answer is B, not A, unlike question AB0VE123",
    ),
    "no replies": ("x.json", lambda: [{"index": 1}], r"neither VLMEvalKit's `prediction` nor"),
    "several replies": (
        "x.jsonl",
        lambda: changed(lmms_samples(), 2, filtered_resps=["A", "B"]),
        r"row 3: one written reply was expected",
    ),
    "likelihoods": (
        "x.jsonl",
        lambda: changed(lmms_samples(), 2, filtered_resps=[[-1.5, False]]),
        r"row 3: one written reply was expected",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_scored_on_a_guess(tmp_path: Path, data: Path, fault: str) -> None:
    name, rows, sentence = FAULTS[fault]
    (write_json if name.endswith(".json") else write_lines)(tmp_path / name, rows())
    with pytest.raises(SpareError, match=sentence):
        score(tmp_path / name, data, tmp_path / "run")
    assert not (tmp_path / "run/scores.json").exists()


def test_a_reply_that_a_spreadsheet_cut_off_is_refused(tmp_path: Path, data: Path) -> None:
    long = "The hat is higher. " * 2000 + "The answer is B."
    write_xlsx(tmp_path / "x.xlsx", changed(predictions(), 6, prediction=long[:32_767]))
    with pytest.raises(SpareError, match=r"row 7: the reply has 32,767 characters, as many as"):
        score(tmp_path / "x.xlsx", data, tmp_path / "run")
    write_table(tmp_path / "x.tsv", changed(predictions(), 6, prediction=long))
    assert score(tmp_path / "x.tsv", data, tmp_path / "run").scores


def test_a_blank_cell_is_an_empty_reply_where_nothing_can_be_lost(
    tmp_path: Path, data: Path
) -> None:
    write_xlsx(tmp_path / "x.xlsx", changed(predictions(), 0, prediction=None))
    run = score(tmp_path / "x.xlsx", data, tmp_path / "run")
    assert all(score.statuses["empty"] == 1 for score in run.scores)


def test_a_blank_cell_may_be_a_lost_none(tmp_path: Path) -> None:
    rows = [{**row, "A": "None"} if row["A"] == "1" else row for row in ROWS]
    from test_threedsrbench import write_tsv

    write_tsv(tmp_path / "data/3dsrbench/3dsrbench_v1_vlmevalkit_circular.tsv", rows)
    theirs = [
        {**one, "A": row["A"], "prediction": None if row["A"] == "None" else one["prediction"]}
        for one, row in zip(predictions(), rows, strict=True)
    ]
    write_xlsx(tmp_path / "x.xlsx", theirs)
    with pytest.raises(SpareError, match=r'row 5: the reply is blank, .* "None" and "NA"'):
        score(tmp_path / "x.xlsx", tmp_path / "data", tmp_path / "run")


def test_a_blank_cell_may_be_a_lost_no(tmp_path: Path) -> None:
    """MME's official rules read "None" as No, by its first letters."""
    from test_mme import release

    release(tmp_path / "data")
    task = load_task("mme")
    samples = list(task.read(task.locate(tmp_path / "data", "test"), "test", task.prompt()))
    rows = [{"index": number, "prediction": one.target} for number, one in enumerate(samples)]
    lost = next(row for row in rows if row["prediction"] == "No")
    lost["prediction"] = None
    write_xlsx(tmp_path / "x.xlsx", rows)
    with pytest.raises(SpareError, match=r'the reply is blank, .* "None" and "NA"'):
        score_replies("mme", tmp_path / "x.xlsx", data=tmp_path / "data", out=tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.xlsx", b"PK\x03\x04 torn", "not a whole spreadsheet"),
        ("x.json", b'[{"prediction": "A"', "not JSON"),
        ("x.json", b'{"a": 1}', "row 1: the answer to a is no text"),
        ("x.json", b"[1]", "which are lists of objects"),
        ("x.jsonl", b'{"doc_id": 0, "resps"', "row 1: not JSON"),
        ("x.jsonl", b'{"doc_id": -1, "resps": [["A"]]}\n', "row 1: a sample log of"),
        ("x.jsonl", b'{"doc_id": true, "resps": [["A"]]}\n', "row 1: a sample log of"),
        ("x.jsonl", b"[]\n", "a sample log of lmms-eval or lm-eval was expected"),
        ("x.jsonl", b"", "holds no replies"),
        ("x.tsv", b"index\tquestion\n1\tWhy?\n", "prediction"),
        ("x.pkl", b"", "none of the formats that are read"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(
    tmp_path: Path, data: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpareError, match=sentence):
        score(tmp_path / name, data, tmp_path / "run")


def test_runs_of_ours_are_read_too(tmp_path: Path, data: Path) -> None:
    run = evaluate("random", "3dsrbench", data=data, out=tmp_path / "run", prompt="vlmevalkit")
    for number, path in enumerate((tmp_path / "run", tmp_path / "run/replies.jsonl")):
        again = score_replies("3dsrbench", path, data=data, out=tmp_path / f"new {number}")
        assert again.scores[0].metrics == run.scores[0].metrics
        assert again.scores[0].place == run.scores[0].place
    with pytest.raises(SpareError, match="has no replies to mme"):
        score_replies("mme", tmp_path / "run", data=data, out=tmp_path / "new")
    evaluate("random", "3dsrbench", data=data, out=tmp_path / "run", prompt="spare")
    with pytest.raises(SpareError, match=r"choose with --prompt"):
        score_replies("3dsrbench", tmp_path / "run", data=data, out=tmp_path / "new")
    with pytest.raises(SpareError, match="There is no"):
        score(tmp_path / "nothing", data, tmp_path / "new")


def test_rows_without_our_ids_must_keep_their_order(tmp_path: Path) -> None:
    """VLMEvalKit numbers its rows; of TextVQA the number is not what we know a question by, and
    two questions may be asked in the same words."""
    from test_textvqa import write_tsv as write_textvqa

    write_textvqa(tmp_path / "data")
    csv.field_size_limit(2**31 - 1)
    with (tmp_path / "data/LMUData/TextVQA_VAL.tsv").open(newline="") as file:
        rows = [
            {name: row[name] for name in ("index", "question", "answer")} | {"prediction": "3"}
            for row in csv.DictReader(file, delimiter="\t")
        ]

    def score_rows(given: Rows) -> Run:
        write_json(tmp_path / "kit.json", given)
        return score_replies(
            "textvqa_val", tmp_path / "kit.json", data=tmp_path / "data", out=tmp_path / "run"
        )

    assert score_rows(rows).scores[0].samples == len(rows)
    with pytest.raises(SpareError, match=r"not in the benchmark's order. Sort the file by index"):
        score_rows([rows[1], rows[0], *rows[2:]])
    with pytest.raises(SpareError, match=r"row 2: index \d+ stands in row 1 already"):
        score_rows([rows[0], {**rows[1], "index": rows[0]["index"]}, *rows[2:]])


def test_logs_of_both_harnesses_may_have_hashes(tmp_path: Path) -> None:
    """lmms-eval wrote `prompt_hash` from 7548ebe1 (2024-09) to b7b4b1d9 (2025-07)."""
    write_lines(tmp_path / "lmms.jsonl", [one | {"prompt_hash": "0"} for one in lmms_samples()])
    assert read_replies(tmp_path / "lmms.jsonl")[0] == "lmms-eval"
    write_lines(tmp_path / "lm.jsonl", lm_eval_samples())
    assert read_replies(tmp_path / "lm.jsonl")[0] == "lm-eval"


def test_replies_to_a_test_split_are_handed_in_and_not_scored(tmp_path: Path) -> None:
    from test_mmbench import rows
    from test_mmbench import write_tsv as write_mmbench

    write_mmbench(tmp_path / "data/LMUData/MMBench_TEST_EN.tsv", rows(), drop="answer")
    write_json(
        tmp_path / "kit.json", [{"index": row["index"], "prediction": "A"} for row in rows()]
    )
    run = score_replies(
        "mmbench_test_en", tmp_path / "kit.json", data=tmp_path / "data", out=tmp_path / "run"
    )
    assert not run.scores
    assert list(run.submissions) == ["mmbench_test_en"]
    with pytest.raises(SpareError, match="are not public"):
        rescore(tmp_path / "run")


def test_the_result_folder_of_mme(tmp_path: Path) -> None:
    """A file per sub-task, four cells between tabs, as MME's calculation.py reads them."""
    from test_mme import release

    from spare.tasks import load_task

    release(tmp_path / "data")
    task = load_task("mme")
    lines: dict[str, list[str]] = {}
    for number, sample in enumerate(task.samples(tmp_path / "data")):
        subtask, picture, answer = sample.id.split("/")
        asked = sample.parts[-1]
        reply = ("Yes", "No, it is not", "**Yes**")[number % 3]
        lines.setdefault(subtask, []).append(f"{picture}\t{asked}\t{answer}\t{reply}\n")
    folder = tmp_path / "results"
    folder.mkdir()
    for subtask, written in lines.items():
        (folder / f"{subtask}.txt").write_text("".join(written), encoding="utf-8")
    run = score_replies("mme", folder, data=tmp_path / "data", out=tmp_path / "run", rules="all")
    scores = {score.rules: score for score in run.scores}
    assert (run.scores[0].prompt, run.scores[0].rules) == ("official", "official")
    assert scores["spare"].unread == 0
    assert scores["official"].unread == scores["vlmevalkit"].unread > 0
    torn = next(iter(lines))
    (folder / f"{torn}.txt").write_text("1.jpg\tIs it?\tYes\n", encoding="utf-8")
    with pytest.raises(SpareError, match=rf"{torn}.txt, row 1: picture, question, answer and rep"):
        score_replies("mme", folder, data=tmp_path / "data", out=tmp_path / "torn")
