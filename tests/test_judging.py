"""Judge models: named by the user, asked once about each reply, never mixed with other rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from test_hallusionbench import LABELS, ROWS, repository, shares

from spare.cli import main
from spare.errors import SpareError
from spare.harness import run as runs
from spare.harness.evaluate import evaluate
from spare.harness.lines import read_log
from spare.harness.models.types import Request, Response
from spare.harness.rescoring import rescore
from spare.tasks.types import Reply

BY_REPLY = {one.reply: one for one in ROWS}


class Model:
    """Replies as the worked example has it."""

    identity: ClassVar[dict[str, str]] = {"weights": "model"}
    facts: ClassVar[dict[str, str]] = {}

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        for request, one in zip(requests, ROWS, strict=True):
            yield Response(request.key, Reply(one.reply))


class Judge:
    """An ideal judge of the worked example, out of order."""

    def __init__(self, weights: str = "judge", fail: int = -1) -> None:
        self.identity = {"weights": weights}
        self.facts = {"model": "ideal"}
        self.fail = fail
        self.asked: list[str] = []

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        for request in reversed(list(requests)):
            (question,) = request.parts
            assert isinstance(question, str)
            self.asked.append(question)
            if len(self.asked) == self.fail:
                yield Response(request.key, Reply(error="out of credit"))
                continue
            # Two rows have one reply ("Yes" to a truth of 0 and of 1): the reference tells them.
            label = next(
                one.label
                for one in ROWS
                if f"Prediction answer:{one.reply}\n" in question
                and one.details in question
                and one.text in question
            )
            yield Response(request.key, Reply(LABELS[label]))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    repository(tmp_path / "data")
    evaluate(Model(), "hallusionbench_full", data=tmp_path / "data", out=tmp_path / "run")
    return tmp_path / "run"


def test_the_authors_figures_come_out_of_a_judge(run: Path) -> None:
    judge = Judge()
    scores = {score.rules: score for score in rescore(run, judge=judge).scores}
    assert set(scores) == {"vlmevalkit", "spare", "official"}
    official = scores["official"]
    found = tuple(official.metrics[name]["value"] for name in ("aAcc", "fAcc", "qAcc"))
    assert found == shares((8, 11), (2, 5), (3, 5))
    assert official.judge.startswith("ideal (")
    assert not scores["spare"].judge
    assert len(judge.asked) == len(ROWS)


def test_a_judge_is_asked_once(run: Path) -> None:
    rescore(run, judge=Judge())
    again = Judge()
    scores = rescore(run, judge=again, rules="official").scores
    assert again.asked == []
    other = Judge("other weights")
    assert rescore(run, judge=other, rules="official").scores != scores
    assert len(other.asked) == len(ROWS)
    assert len(list(read_log(run / "judgements.jsonl"))) == 2 * len(ROWS)


def test_a_judge_that_fails_makes_no_score_and_is_asked_again(run: Path) -> None:
    with pytest.raises(SpareError, match=r"The judge gave no answer about .*: out of credit"):
        rescore(run, judge=Judge(fail=3), rules="official")
    assert "official" not in {score.rules for score in runs.load_run(run).scores}
    again = Judge()
    rescore(run, judge=again, rules="official")
    assert len(again.asked) == 1


def test_no_judge_is_ever_a_default(run: Path, tmp_path: Path) -> None:
    assert "official" not in {score.rules for score in rescore(run).scores}
    with pytest.raises(SpareError, match="name it with --judge"):
        rescore(run, rules="official")
    both = evaluate(
        Model(), "hallusionbench_full", data=tmp_path / "data", out=tmp_path / "all", rules="all"
    )
    assert {score.rules for score in both.scores} == {"vlmevalkit", "spare"}
    with pytest.raises(SpareError, match="spare score RUN --rules official --judge MODEL"):
        evaluate(
            Model(),
            "hallusionbench_full",
            data=tmp_path / "data",
            out=tmp_path / "judged",
            rules="official",
        )


def test_the_command_names_the_judge(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(run), "--rules", "official", "--judge", "random"]) == 0
    assert "official: decided by random" in capsys.readouterr().out
    assert main(["show", str(run)]) == 0
    assert "judge random" in capsys.readouterr().out
