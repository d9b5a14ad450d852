"""Saved replies are judged again without the benchmark's files, as if they were asked anew."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from test_threedsrbench import write_circular_tsv

from spare.cli import main
from spare.errors import SpareError
from spare.harness import run as runs
from spare.harness.evaluate import evaluate
from spare.harness.models.types import Request, Response
from spare.harness.rescoring import differences, rescore
from spare.tasks.types import Reply

SAYINGS = (
    "B",
    "The answer is back",
    "A baseball glove looks lower than the hat, so B",
    "unknown",
    "yes",
    "front",
    "",
    "<answer>A</answer>",
    "half a pair: \ud83d",
)


class Talker:
    """Says one saying after the other, whatever it is asked."""

    identity: ClassVar[dict[str, str]] = {"weights": "none"}
    facts: ClassVar[dict[str, str]] = {}

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        waiting = list(requests)
        for number, request in enumerate(reversed(waiting)):
            yield Response(request.key, Reply(SAYINGS[number % len(SAYINGS)], finish="stop"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_circular_tsv(tmp_path / "data")
    return tmp_path / "data"


def ask(data: Path, out: Path, rules: str, tasks: str = "3dsrbench") -> runs.Run:
    return evaluate(Talker(), tasks, data=data, out=out, rules=rules)


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("verdicts.*")}


def test_judging_again_is_judging_at_once(tmp_path: Path, data: Path) -> None:
    ask(data, tmp_path / "once", "all")
    ask(data, tmp_path / "later", "lmms-eval")
    shutil.rmtree(data)
    again = rescore(tmp_path / "later")
    once = runs.load_run(tmp_path / "once")
    assert files(tmp_path / "later") == files(tmp_path / "once")
    assert {score.rules: score for score in again.scores} == {
        score.rules: score for score in once.scores
    }
    assert len(again.scores) == 5


def test_one_rule_set_leaves_the_others(tmp_path: Path, data: Path) -> None:
    ask(data, tmp_path / "run", "spare")
    run = rescore(tmp_path / "run", rules="official")
    assert [score.rules for score in run.scores] == ["spare", "official"]
    assert [score.rules for score in rescore(tmp_path / "run", rules="official").scores] == [
        "spare",
        "official",
    ]


def test_other_tasks_of_the_run_stay(tmp_path: Path, data: Path) -> None:
    ask(data, tmp_path / "run", "spare", "3dsrbench,3dsrbench_single")
    before = {score.task: score for score in runs.load_run(tmp_path / "run").scores}
    run = rescore(tmp_path / "run", tasks=["3dsrbench"], rules="spare")
    assert {score.task: score for score in run.scores} == before
    assert [len(list(run.verdicts(score))) for score in run.scores] == [12, 5]


def test_left_out_questions_stay_left_out(tmp_path: Path, data: Path) -> None:
    evaluate(
        Talker(), "3dsrbench", data=data, out=tmp_path / "run", rules="spare", lazy_groups=True
    )
    skipped = runs.load_run(tmp_path / "run").scores[0].statuses["skipped"]
    assert skipped
    for score in rescore(tmp_path / "run").scores:
        assert score.statuses["skipped"] == skipped


def test_corrected_labels_count(tmp_path: Path, data: Path) -> None:
    """The reply was asked for before the answer was corrected, and is judged by the new one."""
    ask(data, tmp_path / "run", "spare")
    table = next(data.rglob("*.tsv"))
    text = table.read_text()
    assert "\tA\tlocation_above" in text
    swapped = text.replace("\tA\tlocation_above", "\tX\tlocation_above")
    swapped = swapped.replace("\tB\tlocation_above", "\tA\tlocation_above")
    table.write_text(swapped.replace("\tX\tlocation_above", "\tB\tlocation_above"))
    corrected = ask(data, tmp_path / "run", "spare")
    new = {one.id: one.target for one in corrected.verdicts(corrected.scores[0])}
    asked = {line["id"]: line["target"] for line in corrected.replies()}
    assert asked != new
    again = rescore(tmp_path / "run", rules="spare")
    assert {one.id: one.target for one in again.verdicts(again.scores[0])} == new
    assert again.scores == corrected.scores


def test_differences_are_the_samples_that_score_differently(tmp_path: Path, data: Path) -> None:
    run = ask(data, tmp_path / "run", "all")
    found = {one.id: one for one in differences(run)}
    scores = {
        score.rules: {one.id: one.verdict.score for one in run.verdicts(score)}
        for score in run.scores
    }
    ids = scores["spare"]
    assert set(found) == {
        name for name in ids if len({by_id[name] for by_id in scores.values()}) > 1
    }
    assert found
    for name, one in found.items():
        assert {rules: reading[2] for rules, reading in one.readings.items()} == {
            rules: by_id[name] for rules, by_id in scores.items()
        }
        assert one.reply in SAYINGS


def test_a_lost_reply_is_never_a_score(tmp_path: Path, data: Path) -> None:
    ask(data, tmp_path / "run", "spare")
    log = tmp_path / "run/replies.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[1:]))
    with pytest.raises(SpareError, match="has lost the reply to"):
        rescore(tmp_path / "run")


def test_a_task_of_another_version_is_refused(tmp_path: Path, data: Path) -> None:
    ask(data, tmp_path / "run", "spare")
    path = tmp_path / "run/scores.json"
    scores = json.loads(path.read_text())
    scores["scores"][0]["version"] = 99
    path.write_text(json.dumps(scores))
    with pytest.raises(SpareError, match="version 99, and this program has 1"):
        rescore(tmp_path / "run")


def test_what_was_not_scored_cannot_be_judged_again(tmp_path: Path, data: Path) -> None:
    ask(data, tmp_path / "run", "spare")
    with pytest.raises(SpareError, match="no score of realworldqa; it has scored 3dsrbench"):
        rescore(tmp_path / "run", tasks=["realworldqa"])
    with pytest.raises(SpareError, match="has no rules 'lm-eval'"):
        rescore(tmp_path / "run", rules="lm-eval")
    with pytest.raises(SpareError, match="is not a run"):
        rescore(tmp_path)


# The command


def test_spare_score_shows_rules_side_by_side_and_where_they_differ(
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ask(data, Path("run"), "spare", "3dsrbench,3dsrbench_single")
    table = Path("differences.csv")
    assert main(["score", str(run.path), "--differences", str(table)]) == 0
    screen = capsys.readouterr().out
    run = runs.load_run(run.path)
    found = list(differences(run))
    assert max(map(len, screen.splitlines())) <= 100
    for name in ("spare", "official", "vlmevalkit", "lmms-eval"):
        assert name in screen
    for task, samples in (("3dsrbench", 12), ("3dsrbench_single", 5)):
        count = sum(one.task == task for one in found)
        assert f"{task} (spare): {count} of {samples} score differently" in screen
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["task"], row["id"], row["rules"], row["read"]) for row in rows] == [
        (one.task, one.id, rules, reading[0])
        for one in found
        for rules, reading in one.readings.items()
    ]


def test_spare_score_of_one_rule_set(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ask(data, tmp_path / "run", "spare", "3dsrbench,3dsrbench_single")
    command = ["score", str(run.path), "--task", "3dsrbench", "--rules", "official"]
    assert main(command) == 0
    assert "3dsrbench_single" not in capsys.readouterr().out
    found = [(score.task, score.rules) for score in runs.load_run(run.path).scores]
    assert found == [
        ("3dsrbench", "spare"),
        ("3dsrbench", "official"),
        ("3dsrbench_single", "spare"),
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Name either the runs to judge again, or another harness's --replies."),
        (["run", "--replies", "x.json"], "Name either the runs"),
        (["--replies", "x.json"], "--replies wants --task, and --data"),
        (["nothing"], "nothing is not a run"),
    ],
)
def test_spare_score_refuses_in_a_sentence(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["score", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_unread_replies_are_shown_by_status_with_the_reply(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ask(data, tmp_path / "run", "spare")
    statuses = run.scores[0].statuses
    assert main(["show", str(run.path), "--unread"]) == 0
    screen = capsys.readouterr().out
    assert f"{statuses['unparsed']} of 12 unparsed" in screen
    assert "1 of 12 empty" in screen
    assert main(["show", str(run.path), "--unread", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["unread"]
    found = Counter(row["status"] for row in rows)
    assert found == {name: count for name, count in statuses.items() if name != "ok"}
    replies = {line["id"]: line["text"] for line in run.replies()}
    assert all(replies[row["id"]] == row["reply"] for row in rows)


def test_a_users_own_questions_are_judged_again(tmp_path: Path) -> None:
    import PIL.Image

    PIL.Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    row = {"image": "a.png", "question": "Is it black?", "options": ["yes", "no"]}
    row["answer"] = "yes"
    (tmp_path / "own.jsonl").write_text(json.dumps({"id": "1", **row}) + "\n")
    run = evaluate(
        "random", f"custom:{tmp_path / 'own.jsonl'}", data=tmp_path, out=tmp_path / "run"
    )
    again = rescore(tmp_path / "run")
    first = {score.rules: score.metrics for score in again.scores}
    assert first[run.scores[0].rules] == run.scores[0].metrics
    assert len(first) > 1
