"""`spare diff-harness`: where two harnesses differ over one checkpoint, and from where on."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from lm_eval_tasks import NEEDS_LM_EVAL

from spare.cli import main
from spare.demo.base import BASE
from spare.demo.checkpoint import build_checkpoint
from spare.demo.world import write_objects, write_world
from spare.errors import SpareError
from spare.harness.neighbours.differences import STAGES, Differences, Pair, Seen, diff_harness
from spare.leaderboards.grids import written
from spare.leaderboards.harnesses import questions, stages

SAME = Seen("1", "<image>Where is the mug?", ["abc"], "On the table.", "on", 1.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_world(folder, sets=2)
    write_objects(folder, sets=2)
    return folder


def command(data: Path, model: Path, *more: str) -> list[str]:
    task = f"custom:{data / 'objects.jsonl'}"
    wanted = ["--task", task, "--model", str(model), "--data", str(data), "--limit", "4"]
    return ["diff-harness", "--against", "lm-eval", *wanted, *more]


@NEEDS_LM_EVAL
def test_one_checkpoint_gives_the_same_in_lm_eval(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(data, BASE)) == 0
    printed = capsys.readouterr().out
    assert "custom:objects, 4 questions" in printed
    assert "Questions that differ" not in printed


@NEEDS_LM_EVAL
def test_another_way_of_decoding_is_found(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """lm-eval obeys what a checkpoint ships about generation, and we do not."""
    shutil.copytree(BASE, tmp_path / "model")
    path = tmp_path / "model" / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "no_repeat_ngram_size": 1}))
    out = tmp_path / "found.csv"
    found = main(command(data, tmp_path / "model", "--out", str(out)))
    printed = capsys.readouterr().out
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert found == (1 if rows else 0)
    assert {row["differs in"] for row in rows} <= {"reply", "reading"}
    assert any(row["differs in"] == "reply" for row in rows)
    assert "the model or its decoding gave another reply" in " ".join(printed.split())


@NEEDS_LM_EVAL
def test_what_lm_eval_fails_at_is_a_sentence(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_checkpoint(tmp_path, "qwen2")
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(SpareError, match=r"^lm-eval failed at whatsup_a: exit code 1\.$"):
        diff_harness("whatsup_a", tmp_path, against="lm-eval", data=data, limit=1)


def found(*theirs: Seen | None) -> Differences:
    pairs = [Pair(replace(SAME, id=str(number)), other) for number, other in enumerate(theirs)]
    return Differences("task", "spare", "official", "other 1.0", pairs)


def test_the_first_stage_is_the_reason() -> None:
    same = [replace(SAME, id="0")]
    asked = replace(SAME, prompt="<image> Where is the mug?", reply="Under it.", reading="under")
    seen = replace(SAME, pictures=["abd"])
    said = replace(SAME, reply="On it.")
    read = replace(SAME, reading="(unparsed)", score=0.0)
    differences = found(*same, asked, seen, said, read, None)
    assert [pair.differs for pair in differences.pairs] == [
        [],
        ["prompt", "reply", "reading"],
        ["pictures"],
        ["reply"],
        ["reading"],
        list(STAGES),
    ]
    assert {stage: differences.begun(stage) for stage in STAGES} == {
        "prompt": 2,
        "pictures": 1,
        "reply": 1,
        "reading": 1,
    }
    assert differences.count("reply") == 3


def test_the_tables_say_how_many_and_where() -> None:
    long = "The same beginning, " * 10
    ours = replace(SAME, prompt=f"{long}A or B?")
    theirs = replace(SAME, prompt=f"{long}B or A?", score=0.0)
    pairs = [Pair(ours, theirs), Pair(SAME, None), Pair(SAME, SAME)]
    differences = Differences("task", "spare", "official", "other 1.0", pairs)
    first = written([stages(differences)], "markdown")
    assert "task, 3 questions, prompt spare, rules official: here and in other 1.0" in first
    assert "Mean score of a question: 100.00 % here, 33.33 % there." in first
    assert "1 question was never asked by other 1.0." in first
    rows = questions(differences).rows
    assert [row[1] for row in rows] == ["prompt", "reading", "all"]
    assert rows[0][2].endswith("A or B?")
    assert rows[0][2].startswith("…")
    assert rows[1][2:] == ("on (1)", "on (0)")
    assert len(questions(differences, shown=None).rows[0][2]) == len(ours.prompt)


def test_more_than_fit_are_counted() -> None:
    differences = found(*[replace(SAME, reply=str(number)) for number in range(20)])
    grid = questions(differences)
    assert len(grid.rows) == 12
    assert grid.notes == ["And 8 questions more; --out FILE keeps all."]


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        ("/no/such/folder", {}, "There is no folder"),
        ("random", {}, "There is no folder random"),
        (str(BASE), {"against": "nobody"}, "There is no harness 'nobody'"),
        (str(BASE), {"limit": 0}, "at least 1"),
        (str(BASE), {"prompt": "captions"}, "refuses to do beside pictures"),
    ],
)
def test_what_cannot_be_compared_is_said(
    data: Path, model: str, more: dict[str, object], said: str
) -> None:
    settings: dict[str, object] = {"against": "lm-eval", "data": data, **more}
    with pytest.raises(SpareError, match=said):
        diff_harness("whatsup_a", model, **settings)  # type: ignore[arg-type]
