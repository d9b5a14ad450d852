"""`spare diff-harness`: where two harnesses differ over one checkpoint, and from where on."""

from __future__ import annotations

import csv
import importlib.util
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
from spare.errors import SpareError
from spare.harness.neighbours.differences import STAGES, Differences, Pair, Seen, diff_harness
from spare.leaderboards.grids import written
from spare.leaderboards.harnesses import questions, stages

SAME = Seen("1", "<image>Where is the mug?", ["abc"], "On the table.", "on", 1.0)


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


@pytest.mark.parametrize(
    ("out", "said"),
    [("no/found.csv", "there is no folder"), (".", "it is a folder")],
)
def test_a_file_that_could_not_be_written_is_known_before_anything_is_asked(
    out: str, said: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(data, BASE, "--out", str(tmp_path / out))) == 2
    shown = capsys.readouterr().err
    assert f"could not be written: {said}" in shown
    assert "Asking" not in shown


@NEEDS_LM_EVAL
def test_what_lm_eval_fails_at_is_a_sentence(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_checkpoint(tmp_path, "qwen2")
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(SpareError, match=r"^lm-eval failed at whatsup_a: exit code 1\.$"):
        diff_harness("whatsup_a", tmp_path, against="lm-eval", data=data, limit=1)


def require_vlmevalkit() -> None:
    """Without importing it here."""
    if importlib.util.find_spec("vlmeval") is None:
        pytest.skip("VLMEvalKit is not installed; `make test-vlmevalkit` installs it")


def against_vlmevalkit(data: Path, wrapper: str, task: str, prompt: str) -> Differences:
    require_vlmevalkit()
    against = f"vlmevalkit:vlmevalkit_models:{wrapper}"
    return diff_harness(task, BASE, against=against, data=data, prompt=prompt, limit=6)


def test_one_checkpoint_gives_the_same_in_vlmevalkit(data: Path) -> None:
    """Its wrapper, its inference, its reading."""
    differences = against_vlmevalkit(data, "Tiny", "vsr_zeroshot", "vlmevalkit")
    assert len(differences.pairs) == 6
    assert differences.differing == []
    assert differences.neighbour.startswith("VLMEvalKit 0")
    assert len({pair.ours.reply for pair in differences.pairs}) > 1
    assert all(pair.ours.prompt.startswith("<image>\n") for pair in differences.pairs)


def test_a_wrappers_own_words_are_found(data: Path) -> None:
    differences = against_vlmevalkit(data, "Wordy", "whatsup_a", "mcq")
    assert differences.begun("prompt") == len(differences.pairs)
    assert differences.count("pictures") == 0
    for pair in differences.pairs:
        assert pair.theirs is not None
        assert pair.theirs.prompt == f"{pair.ours.prompt}\nBe brief."


def test_vlmevalkit_wants_a_wrapper(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpareError, match="name the one for this checkpoint"):
        diff_harness("whatsup_a", BASE, against="vlmevalkit", data=data, limit=1)
    with pytest.raises(SpareError, match="--against lm-eval is all"):
        diff_harness("whatsup_a", BASE, against="lm-eval:dtype=float16", data=data, limit=1)
    require_vlmevalkit()
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(SpareError, match=r"^VLMEvalKit failed at whatsup_a: exit code 1\.$"):
        diff_harness("whatsup_a", BASE, against="vlmevalkit:json:loads", data=data, limit=1)


NEEDS_LMMS_EVAL = pytest.mark.skipif(
    importlib.util.find_spec("lmms_eval") is None,
    reason="lmms-eval is not installed; `make test-lmms-eval` installs it",
)


@NEEDS_LMMS_EVAL
def test_one_checkpoint_gives_the_same_in_lmms_eval(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own model of the family, by the checkpoint's."""
    wanted = ["--task", f"custom:{data / 'objects.jsonl'}", "--model", str(BASE)]
    wanted += ["--against", "lmms-eval", "--data", str(data), "--limit", "4"]
    assert main(["diff-harness", *wanted]) == 0
    printed = capsys.readouterr().out
    assert "custom:objects, 4 questions" in printed
    assert "here and in lmms-eval 0" in printed
    assert "Questions that differ" not in printed


@NEEDS_LMMS_EVAL
def test_what_lmms_eval_does_to_prompt_and_pictures_is_found(data: Path, tmp_path: Path) -> None:
    """Its Qwen2-VL adds a system prompt, and sends pictures as JPEG."""
    build_checkpoint(tmp_path, "qwen2_vl")
    against = "lmms-eval:qwen2_vl,max_pixels=50176"
    differences = diff_harness("vsr_zeroshot", tmp_path, against=against, data=data, limit=4)
    assert differences.begun("prompt") == differences.count("pictures") == 4
    for pair in differences.pairs:
        assert pair.theirs is not None
        system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        assert pair.theirs.prompt == system + pair.ours.prompt
        assert [len(digest) for digest in pair.theirs.pictures] == [64]
    assert differences.notes == [
        "lmms-eval scales pictures by longest_edge 50,176, shortest_edge 3,136, and the checkpoint "
        "by longest_edge 1,003,520, shortest_edge 3,136."
    ]


@NEEDS_LMMS_EVAL
def test_what_no_stage_shows_of_lmms_eval_is_noted(data: Path, tmp_path: Path) -> None:
    """Its Qwen2.5-VL scales small pictures up, and computes in 16 bits."""
    build_checkpoint(tmp_path, "qwen2_5_vl")
    differences = diff_harness("vsr_zeroshot", tmp_path, against="lmms-eval", data=data, limit=4)
    assert differences.count("prompt") == differences.count("pictures") == 0
    assert differences.begun("reply")
    notes = " ".join(stages(differences).notes)
    assert "lmms-eval computes in bfloat16, and the checkpoint is in float32." in notes
    assert "lmms-eval scales pictures by longest_edge 1,605,632, shortest_edge 200,704" in notes


@NEEDS_LMMS_EVAL
def test_an_error_that_lmms_eval_swallows_is_seen(data: Path, tmp_path: Path) -> None:
    """Its LLaVA replies nothing then, and goes on."""
    shutil.copytree(BASE, tmp_path / "model")
    path = tmp_path / "model" / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "repetition_penalty": -1.0}))
    found = diff_harness(
        "vsr_zeroshot", tmp_path / "model", against="lmms-eval", data=data, limit=2
    )
    for pair in found.pairs:
        assert pair.theirs is not None
        assert pair.differs[0] == "reply"
        assert "strictly positive float" in pair.theirs.reply
        assert pair.theirs.reading == "(empty)"


def test_lmms_eval_has_a_model_for_each_family(data: Path, tmp_path: Path) -> None:
    build_checkpoint(tmp_path, "qwen2")
    with pytest.raises(SpareError, match=r"name the one for this checkpoint \(model_type qwen2\)"):
        diff_harness("whatsup_a", tmp_path, against="lmms-eval", data=data, limit=1)
    if importlib.util.find_spec("lmms_eval") is None:
        with pytest.raises(SpareError, match=r"^lmms-eval is not installed; docs/neighbours\.md"):
            diff_harness("whatsup_a", BASE, against="lmms-eval", data=data, limit=1)


@NEEDS_LMMS_EVAL
@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("qwen2_v", r"^lmms-eval failed at whatsup_a: it has no model qwen2_v; near it are qwen2_"),
        ("dummy", "its model dummy hands no prompt to a processor of transformers"),
    ],
)
def test_what_lmms_eval_fails_at_is_a_sentence(data: Path, model: str, said: str) -> None:
    with pytest.raises(SpareError, match=said):
        diff_harness("whatsup_a", BASE, against=f"lmms-eval:{model}", data=data, limit=1)


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
    differences = Differences("task", "spare", "official", "other 1.0", pairs, ["It squints."])
    first = written([stages(differences)], "markdown")
    assert "task, 3 questions, prompt spare, rules official: here and in other 1.0" in first
    assert "Mean score of a question: 100.00 % here, 33.33 % there." in first
    assert "1 question was never asked by other 1.0." in first
    assert "It squints." in first
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
        (f"vllm:{BASE}", {}, "The engine vllm cannot be laid beside"),
        (str(BASE), {"against": "nobody"}, "There is no harness 'nobody'"),
        (str(BASE), {"limit": 0}, "at least 1"),
        pytest.param(
            str(BASE), {"prompt": "captions"}, "refuses to do beside pictures", marks=NEEDS_LM_EVAL
        ),
    ],
)
def test_what_cannot_be_compared_is_said(
    data: Path, model: str, more: dict[str, object], said: str
) -> None:
    settings: dict[str, object] = {"against": "lm-eval", "data": data, **more}
    with pytest.raises(SpareError, match=said):
        diff_harness("whatsup_a", model, **settings)  # type: ignore[arg-type]
