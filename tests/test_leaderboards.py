"""What `spare show` prints: from the run alone, whole, and with what each figure belongs to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import spare
from spare.cli import main
from spare.demo.world import write_world
from spare.leaderboards.breakdown import breakdown


@pytest.fixture
def run(tmp_path: Path) -> spare.Run:
    write_world(tmp_path / "data", sets=6)
    return spare.evaluate(
        "random", "demo", data=tmp_path / "data", out=tmp_path / "run", rules="all"
    )


def test_slices_add_up_to_the_whole(run: spare.Run) -> None:
    slices = list(breakdown(run, ["relation"]))
    for score in run.scores:
        parts = [part for part in slices if part.score == score]
        assert [part.values for part in parts] == [("left of",), ("on",), ("right of",), ("under",)]
        assert sum(part.samples for part in parts) == score.samples
        right = sum(part.estimate.value * part.estimate.n for part in parts)
        whole = score.metrics[score.breakdown]
        assert right / whole["n"] == pytest.approx(whole["value"])
    assert {part.values[0]: part.relation_class for part in slices} == {
        "left of": "projective",
        "right of": "projective",
        "on": "topological",
        "under": "projective",
    }


def test_two_tags_at_once(run: spare.Run) -> None:
    values = {part.values for part in breakdown(run, ["relation", "class"])}
    assert ("on", "topological") in values
    assert len(values) == 4


def test_an_unknown_tag_is_a_sentence_with_the_known_ones(run: spare.Run) -> None:
    with pytest.raises(spare.SpareError, match=r"by colour; .* tags category, class, object"):
        list(breakdown(run, ["colour"]))


def test_scores_stand_with_what_they_belong_to(
    run: spare.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(run.path)]) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert ["whatsup_a", "v1", "(json)", "mcq", "spare", "individual"] in [row[:6] for row in rows]
    assert "the files hold 24 questions, the published split 412" in printed
    figure = run.scores[0].metrics["individual"]
    assert f"{figure['low']:.1f} to {figure['high']:.1f}" in printed


def test_json_is_the_scores(run: spare.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run.path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["metrics"] for row in shown["scores"]] == [score.metrics for score in run.scores]
    assert shown["unfinished"] == []
    assert main(["show", str(run.path), "--by", "relation", "--json"]) == 0
    slices = json.loads(capsys.readouterr().out)["slices"]
    assert sum(part["samples"] for part in slices) == sum(score.samples for score in run.scores)


def test_a_custom_run_is_shown_without_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [
        {"id": str(number), "question": "Is it left?", "answer": "yes", "relation": "left of"}
        for number in range(4)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = spare.evaluate("random", f"custom:{file}", data=tmp_path, out=tmp_path / "run")
    file.unlink()
    (part,) = breakdown(spare.load_run(run.path), ["relation"])
    assert (part.samples, part.relation_class) == (4, "projective")


def test_an_unfinished_run_says_so(run: spare.Run, capsys: pytest.CaptureFixture[str]) -> None:
    scores = json.loads((run.path / "scores.json").read_text())["scores"]
    (run.path / "scores.json").write_text(json.dumps({"scores": scores[:1]}))
    assert main(["show", str(run.path)]) == 0
    assert "Unfinished: vsr_zeroshot; the same `spare eval` goes on" in capsys.readouterr().out
    assert main(["show", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unfinished"] == ["vsr_zeroshot"]


def test_tags_that_look_like_markup_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [
        {"id": str(number), "question": "Is it left?", "answer": "yes", "room": room}
        for number, room in enumerate(("[/x] b", "[red]"))
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spare.evaluate("random", f"custom:{file}", data=tmp_path, out=tmp_path / "run")
    assert main(["show", str(tmp_path / "run"), "--by", "room"]) == 0
    printed = capsys.readouterr().out
    assert "[/x] b" in printed
    assert "[red]" in printed


def test_scores_of_another_version_are_not_broken_down(run: spare.Run) -> None:
    scores = json.loads((run.path / "scores.json").read_text())
    scores["scores"][0]["version"] = 99
    (run.path / "scores.json").write_text(json.dumps(scores))
    with pytest.raises(spare.SpareError, match="scored as version 99, and this program has 1"):
        list(breakdown(spare.load_run(run.path), ["relation"]))
