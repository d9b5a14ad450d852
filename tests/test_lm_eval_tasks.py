"""Text tasks of lm-eval in a run of ours: its figures, and everything that runs do for others."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lm_eval_tasks import NEEDS_LM_EVAL, ask_lm_eval, write_tasks

from spare.cli import main
from spare.demo.base import BASE
from spare.demo.world import write_world
from spare.errors import SpareError
from spare.harness.evaluate import evaluate
from spare.harness.models import load_model
from spare.harness.run import Run, load_run
from spare.tasks import load_summary, load_task
from spare.tasks.types import Judged, Likelihood, Reply, Verdict

pytestmark = NEEDS_LM_EVAL


@dataclass(frozen=True)
class Both:
    """The same tasks to the same checkpoint, by lm-eval and in a run of ours."""

    theirs: Any
    ours: Run
    data: Path
    tasks: dict[str, Path]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("tasks")
    tasks = write_tasks(folder)
    data = tmp_path_factory.mktemp("data")
    write_world(data, sets=2)
    theirs = ask_lm_eval(BASE, folder, list(tasks), fewshot_as_multiturn=False)
    names = ["whatsup_a", *(f"lm-eval:{path}" for path in tasks.values())]
    ours = evaluate(str(BASE), names, data=data, out=data / "runs" / "base")
    return Both(theirs, ours, data, tasks)


def score_of(run: Run, task: str) -> Any:
    return next(score for score in run.scores if score.task == task)


def test_figures_are_lm_evals(both: Both) -> None:
    choice = score_of(both.ours, "lm-eval:where_is_it")
    theirs = both.theirs["results"]["where_is_it"]
    assert set(choice.metrics) == {"acc", "acc_norm"}
    assert choice.metrics["acc"]["value"] == pytest.approx(100 * theirs["acc,none"])
    lines = [line for line in both.ours.replies() if line["task"] == choice.task]
    right = 0
    for line in lines:
        found = line["likelihoods"].values()
        by_length = [one["total"] / one["characters"] for one in found]
        right += by_length.index(max(by_length)) == int(line["target"])
    assert choice.metrics["acc_norm"]["value"] == pytest.approx(100 * right / len(lines))
    written = score_of(both.ours, "lm-eval:say_it")
    theirs = both.theirs["results"]["say_it"]
    assert {name: one["value"] for name, one in written.metrics.items()} == {
        name: pytest.approx(100 * theirs[name])
        for name in ("exact_match,whole", "exact_match,first-word")
    }
    assert 0 < choice.metrics["acc"]["value"] < 100
    assert (choice.headline, choice.samples, choice.version) == ("acc", 12, 2)
    assert choice.layout.endswith(", version 2.5")
    assert choice.chance["acc"] == pytest.approx(100 * (1 / 3 + 1 / 2 + 1 / 2 + 1 / 4) / 4)


def test_questions_and_replies_are_lm_evals(both: Both) -> None:
    """The few-shot examples, too."""
    lines = {(line["task"], line["id"]): line for line in both.ours.replies()}
    for one in both.theirs["samples"]["where_is_it"]:
        line = lines["lm-eval:where_is_it", str(one["doc_id"])]
        (asked,) = line["parts"]
        assert asked.count("Answer:") == 3
        assert all(asked in context for context, _ in one["arguments"])
        assert [text for _, text in one["arguments"]] == list(line["options"].values())
        found = [likelihood["total"] for likelihood in line["likelihoods"].values()]
        # lm-eval counts the template's last line break to each choice: the same for all of them.
        breaks = [ours - total for ours, ((total, _),) in zip(found, one["resps"], strict=True)]
        assert breaks == pytest.approx([breaks[0]] * len(breaks), abs=1e-3)
    whole = [one for one in both.theirs["samples"]["say_it"] if one["filter"] == "whole"]
    for one in whole:
        ((theirs,),) = one["resps"]
        text = lines["lm-eval:say_it", str(one["doc_id"])]["text"]
        assert text.split(" is")[0].split(".")[0] == theirs
    assert len(lines) == 8 + 12 + len(whole)


def test_the_run_goes_on_and_is_judged_again(
    both: Both, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"lm-eval:{path}" for path in both.tasks.values()]
    before = both.ours.scores
    log = (both.ours.path / "replies.jsonl").read_bytes()
    again = evaluate(str(BASE), names, data=both.data, out=both.ours.path)
    assert (again.path / "replies.jsonl").read_bytes() == log
    assert sorted(again.scores, key=str) == sorted(before, key=str)
    assert main(["score", str(again.path), "--task", "lm-eval:say_it"]) == 0
    assert sorted(load_run(again.path).scores, key=str) == sorted(before, key=str)
    assert "exact_match,whole" in capsys.readouterr().out


def test_stopped_in_the_middle_nothing_is_asked_twice(both: Both, tmp_path: Path) -> None:
    model = load_model("random")
    task = f"lm-eval:{both.tasks['where_is_it']}"
    evaluate(model, task, data=both.data, out=tmp_path / "run", limit=5)
    whole = evaluate(model, task, out=tmp_path / "run")  # which needs no folder of ours
    ids = [line["id"] for line in whole.replies()]
    assert sorted(ids, key=int) == [str(number) for number in range(12)]


def test_only_tasks_of_lm_eval_do_without_a_folder(both: Both, tmp_path: Path) -> None:
    names = [f"lm-eval:{both.tasks['where_is_it']}", "whatsup_a"]
    with pytest.raises(SpareError, match="The files of whatsup_a are in a folder that --data"):
        evaluate("random", names, out=tmp_path / "run")


def test_finished_runs_need_no_lm_eval(
    both: Both,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ["whatsup_a", *(f"lm-eval:{path}" for path in both.tasks.values())]
    other = evaluate("random", names, data=both.data, out=tmp_path / "random")
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    runs = [str(both.ours.path), str(other.path)]
    assert main(["leaderboard", *runs, "--format", "csv"]) == 0
    assert "lm-eval:where_is_it" in capsys.readouterr().out
    assert main(["compare", *runs, "--format", "json"]) in (0, 1)
    compared = json.loads(capsys.readouterr().out)
    assert "lm-eval:where_is_it" in json.dumps(compared)
    assert main(["show", runs[0]]) == 0
    assert main(["report", *runs, "--out", str(tmp_path / "site")]) == 0
    assert main(["errors", runs[0], "--out", str(tmp_path / "errors.html")]) == 0


def test_a_question_without_a_reply_stays_in_the_denominator(both: Both) -> None:
    task = load_task(f"lm-eval:{both.tasks['where_is_it']}")
    right = Judged("0", "0", Verdict("0", 1.0, "ok", {"acc": 1.0, "acc_norm": 1.0}), cluster="0")
    lost = Judged("1", "0", Verdict("", 0.0, "error"), cluster="1")
    for summarise in (task.summarise, load_summary(task.name)):
        found = {metric.name: metric.value for metric in summarise([lost, right], "lm-eval")}
        assert found == {"acc": 50.0, "acc_norm": 50.0}
    found = {metric.name: metric.value for metric in task.summarise([lost], "lm-eval")}
    assert found == {"acc": 0.0, "acc_norm": 0.0}


def test_replies_that_answer_nothing_are_unread(both: Both) -> None:
    task = load_task(f"lm-eval:{both.tasks['say_it']}")
    sample = next(task.samples("."))
    right = task.judge(sample, Reply(text=f"{sample.target}. And more"), "lm-eval")
    assert (right.status, right.score, right.parsed) == ("ok", 1.0, sample.target)
    assert task.judge(sample, Reply(text=" "), "lm-eval").status == "empty"
    choice = load_task(f"lm-eval:{both.tasks['where_is_it']}")
    sample = next(choice.samples("."))
    assert choice.judge(sample, Reply(text="a desk"), "lm-eval").status == "unparsed"
    ranked = {label: Likelihood(-float(label), 1, 1) for label in sample.options}
    verdict = choice.judge(sample, Reply(likelihoods=ranked), "lm-eval")
    assert (verdict.parsed, verdict.score) == ("0", 1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("multiple_choice", "loglikelihood"), "is of the kind 'loglikelihood'"),
        (("test_split: test", "test_split: test\nrepeats: 3"), "asks each question several times"),
        (
            ("test_split: test", "test_split: test\nunsafe_code: true"),
            "runs code that models write",
        ),
        (("acc_norm", "acc_mutual_info"), "how likely its choices are without the question"),
        (("metric: acc, aggregation: mean", "metric: f1, aggregation: f1"), ""),
        (("doc_to_choice: choices", "doc_to_image: choices"), "is about pictures or sounds"),
        (("test.jsonl", "gone.jsonl"), "cannot load its task"),
        (("task: where_is_it", "task: [a, b]\ngroup: both"), "is a group of lm-eval's tasks"),
        (("task: where_is_it", "task:\n  - a\n  - b\ngroup: both"), "is a group of lm-eval's"),
    ],
)
def test_what_cannot_be_asked_is_said(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = write_tasks(tmp_path)["where_is_it"]
    path.write_text(path.read_text().replace(*change))
    if not said:
        assert load_task(f"lm-eval:{path}").headline == "acc_norm"
        return
    with pytest.raises(SpareError, match=said) as raised:
        load_task(f"lm-eval:{path}")
    assert str(raised.value).endswith(".")


def test_names_are_looked_up() -> None:
    with pytest.raises(SpareError, match="has no task 'no_such_task'"):
        load_task("lm-eval:no_such_task")
    with pytest.raises(SpareError, match="mmlu is a group"):
        load_task("lm-eval:mmlu")
    with pytest.raises(SpareError, match="There is no file gone"):
        load_task("lm-eval:gone.yaml")
    with pytest.raises(SpareError, match="Name the task"):
        load_task("lm-eval:")


def test_without_lm_eval_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        SpareError, match=r"run `pip install -e '\.\[lm-eval\]'` in .* repository\.$"
    ):
        load_task("lm-eval:hellaswag")
