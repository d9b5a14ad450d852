"""What `spare show` prints: from the run alone, whole, and with what each figure belongs to."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import spare
from spare.cli import main
from spare.demo.world import write_world
from spare.leaderboards.breakdown import breakdown
from spare.tasks import custom, load_figures, tasks
from spare.tasks.types import Judged, Verdict


@pytest.fixture(autouse=True)
def screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever terminal the tests run in."""
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def run(tmp_path: Path) -> spare.Run:
    write_world(tmp_path / "data", sets=6)
    return spare.evaluate(
        "random",
        "whatsup_a,vsr_zeroshot",
        data=tmp_path / "data",
        out=tmp_path / "run",
        rules="all",
    )


def test_slices_add_up_to_the_whole(run: spare.Run) -> None:
    slices = list(breakdown(run, ["relation"]))
    for score in run.scores:
        parts = [part for part in slices if part.score == score]
        assert {part.values[0] for part in parts} == {"left of", "on", "right of", "under"}
        wrong = [part.wrong for part in parts]
        assert wrong == sorted(wrong, reverse=True)  # the costliest first
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
    for by in (["colour"], ["category", "colour"]):
        known = "category, class, group, object, relation, subject"
        problem = rf"has the tag colour; there are {known}\.$"
        with pytest.raises(spare.SpareError, match=problem):
            list(breakdown(run, by))


def test_tags_that_no_task_has_together_are_said_task_by_task(tmp_path: Path) -> None:
    for name, tag in (("one", "room"), ("two", "light")):
        row = {"id": "1", "question": "Is it left?", "answer": "yes", tag: "x"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    names = [f"custom:{tmp_path / name}.jsonl" for name in ("one", "two")]
    run = spare.evaluate("random", names, data=tmp_path, out=tmp_path / "run")
    problem = (
        "all of the tags room, light:\n  custom:one has kind, room\n  custom:two has kind, light"
    )
    with pytest.raises(spare.SpareError, match=problem):
        list(breakdown(run, ["room", "light"]))


def test_scores_stand_with_what_they_belong_to(
    run: spare.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(run.path)]) == 0
    printed = capsys.readouterr().out
    assert "whatsup_a v1 (json), prompt mcq, rules spare\n" in printed
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
    log = run.path / "replies.jsonl"
    replies = [line for line in run.replies() if line["task"] == "vsr_zeroshot"]
    log.write_text("".join(json.dumps(line) + "\n" for line in [*replies[1:], replies[1]]))
    assert main(["show", str(run.path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    asked = f"{len(replies) - 1} of {len(replies)} questions answered"
    assert f"Unfinished: vsr_zeroshot (spare), {asked}. The same `spare eval` goes on" in out
    assert main(["show", str(run.path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["unfinished"]
    assert (row["task"], row["answered"], row["samples"]) == (
        "vsr_zeroshot",
        len(replies) - 1,
        len(replies),
    )


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


@pytest.mark.parametrize("by", ["", "relation", "category,class", "subject,object,relation"])
@pytest.mark.parametrize("columns", [70, 100])
def test_scores_fit_the_screen(
    run: spare.Run,
    by: str,
    columns: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["show", str(run.path), *(["--by", by] if by else [])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns


def test_every_figure_on_the_screen_is_explained_once(
    run: spare.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(run.path)]) == 0
    printed = capsys.readouterr().out
    for score in run.scores:
        figures = spare.load_task(score.task).figures
        for name in score.metrics:
            assert printed.count(f"\n{name}: {figures[name]}\n") == 1
    assert main(["show", str(run.path), "--by", "relation"]) == 0
    assert "\nindividual: photographs answered right\n" in capsys.readouterr().out


def shown_by(capsys: pytest.CaptureFixture[str], run: spare.Run, by: str) -> list[str]:
    """The head of the first table."""
    assert main(["show", str(run.path), "--by", by]) == 0
    lines = capsys.readouterr().out.splitlines()
    return next(line.split() for line in lines if "interval" in line)


def test_a_column_that_says_nothing_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Room x has relations of one class, room y of two, and one relation is of no class."""
    places = [("x", "left of"), ("x", "above"), ("y", "on"), ("y", "behind"), ("y", "upwind of")]
    rows = [
        {"id": str(number), "question": "?", "answer": "yes", "room": room, "relation": relation}
        for number, (room, relation) in enumerate(places)
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = spare.evaluate("random", f"custom:{file}", data=tmp_path, out=tmp_path / "run")
    assert shown_by(capsys, run, "room")[:2] == ["room", "value"]
    assert shown_by(capsys, run, "relation")[:2] == ["relation", "class"]
    assert shown_by(capsys, run, "room,relation")[:3] == ["room", "relation", "class"]


def test_tasks_without_the_tag_are_named(
    run: spare.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(run.path), "--by", "category"]) == 0
    printed = capsys.readouterr().out
    assert "Left out, since their samples lack category: whatsup_a." in printed


def test_a_run_is_shown_wherever_it_lies(
    run: spare.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied, without its data, read-only."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(run.path, copy)
    shutil.rmtree(tmp_path / "data")
    for path in (*copy.iterdir(), copy):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(path.name for path in copy.iterdir())
    for by in ([], ["--by", "relation"]):
        printed = []
        for path in (run.path, copy):
            assert main(["show", str(path), *by]) == 0
            printed.append(capsys.readouterr().out)
        assert printed[0] == printed[1]
    assert sorted(path.name for path in copy.iterdir()) == before
    copy.chmod(0o755)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_run_that_may_not_be_read_is_a_sentence(
    run: spare.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.path.chmod(0o000)
    try:
        assert main(["show", str(run.path)]) == 2
        assert "cannot be read: Permission denied" in capsys.readouterr().err
    finally:
        run.path.chmod(0o755)


def test_a_newer_run_is_refused(run: spare.Run, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((run.path / "manifest.json").read_text())
    manifest["format"] += 1
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    assert main(["show", str(run.path)]) == 2
    assert "update spare" in capsys.readouterr().err


def test_every_metric_is_described() -> None:
    """`summarise` and `figures` name the same metrics. The samples are made up: they have what
    any of the benchmarks looks at."""
    tags = {"relation": "left of", "class": "projective", "type": "height_higher", "options": "2"}
    tags |= {
        "ability": "perception",
        "subtask": "existence",
        "figure": "f",
        "visual_input": "edited",
    }
    verdict = Verdict("Yes", 1.0, "ok", {"mean": 1.0, "per_character": 1.0})
    rows = [
        Judged(id_, "Yes", verdict, tags | {"kind": kind}, group="g", cluster="c")
        for id_, kind in (("pillow_left_of_chair", "letter"), ("pillow_right_of_chair", "open"))
    ]
    described = {name: (task.summarise, task.rules, task.figures) for name, task in tasks().items()}
    described["custom:"] = (custom.summarise, custom.RULES, custom.FIGURES)
    for name, (summarise, rules, figures) in described.items():
        metrics = [summarise(rows, one) for one in rules]
        assert {metric.name for given in metrics for metric in given} == set(figures), name
        assert load_figures(name) == figures


def test_a_reply_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from spare.leaderboards.tables import add_row, print_table, table

    grid = table("reply")
    add_row(grid, "\x1b[31mred\x1b]0;title\x07 \x0e \u202e two\nlines")
    print_table(grid)
    shown = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\x0e", "\u202e"} & set(shown)
    assert r"\x1b[31mred" in shown
    assert "lines" in shown


def test_a_table_stands_closer_before_its_cells_are_folded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from spare.leaderboards.tables import add_row, print_table, table

    shown: dict[int, str] = {}
    for columns in (100, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        grid = table("relation", "class", *"abcdef")
        add_row(grid, "surrounding", "topological", *["10.0 %"] * 6)
        print_table(grid)
        shown[columns] = capsys.readouterr().out
        assert max(map(len, shown[columns].splitlines())) <= columns
        assert all(f" {cell} " in shown[columns] for cell in ("surrounding", "topological"))
        assert shown[columns].count("10.0 %") == 6
    assert "surrounding   topological" in shown[100]  # there is room
