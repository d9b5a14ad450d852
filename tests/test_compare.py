"""`spare compare` on real run directories: what it finds, and what it refuses to compare."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import pytest

import spare
from spare.cli import main
from spare.demo.world import write_world
from spare.harness.comparison import compare
from spare.harness.lines import dump
from spare.harness.models.types import Request, Response
from spare.leaderboards.comparisons import as_json, as_junit, grids, verdict
from spare.leaderboards.grids import written
from spare.tasks.types import Reply, Sample


class Skilled:
    """Right about a share of the questions, always the same ones; about a relation, another share.
    What it is not right about, it answers wrong."""

    facts: ClassVar[dict[str, str]] = {}

    def __init__(self, skill: float, weights: str = "", **of_relation: float) -> None:
        self.identity = {"weights": weights or f"{skill} {of_relation}"}
        self.skill, self.of_relation = skill, of_relation
        self.samples: dict[object, Sample] = {}

    def study(self, samples: Iterable[Sample]) -> str:
        self.samples |= {sample.parts: sample for sample in samples}
        return "the answers"

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        for request in requests:
            sample = self.samples[request.parts]
            relation = sample.tags["relation"].replace(" ", "_")
            luck = int(hashlib.sha256(sample.id.encode()).hexdigest()[:8], 16) / 2**32
            right = luck < self.of_relation.get(relation, self.skill)
            wrong = next(label for label in request.options if label != sample.target)
            yield Response(request.key, Reply(sample.target if right else wrong, finish="stop"))


TASKS = "whatsup_a,vsr_zeroshot"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_world(folder, sets=30)
    return folder


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, model in {
        "base": Skilled(0.8),
        "same": Skilled(0.8, "trained and no other"),
        "worse": Skilled(0.5),
        "better": Skilled(0.95),
        "unlucky": Skilled(0.785),
        "left": Skilled(0.8, left_of=0.1),
    }.items():
        spare.evaluate(model, TASKS, data=data, out=folder / name, rules="all")
    return folder


@pytest.fixture
def run(runs: Path, tmp_path: Path) -> Path:
    """A run of one's own, to change."""
    return Path(shutil.copytree(runs / "same", tmp_path / "changed"))


@pytest.fixture(autouse=True)
def screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize(
    ("new", "code", "outcomes"),
    [
        ("same", 0, {"no regression"}),
        ("worse", 1, {"regression"}),
        ("better", 0, {"better"}),
        ("unlucky", 0, {"possible drop"}),
    ],
)
def test_every_outcome(
    runs: Path, new: str, code: int, outcomes: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(runs / "base"), str(runs / new)]) == code
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    found = compare(runs / "base", runs / new)
    assert {change.outcome for change in found.tasks} == outcomes
    assert shown.rstrip().endswith(verdict(found))
    for change in found.tasks:
        before = {
            one.id: one.verdict.score
            for one in spare.load_run(runs / "base").verdicts(change.score)
        }
        after = {
            one.id: one.verdict.score for one in spare.load_run(runs / new).verdicts(change.score)
        }
        assert change.lost == sum(after[name] < before[name] for name in before)
        assert change.won == sum(after[name] > before[name] for name in before)
        mean = 100 * (sum(after.values()) - sum(before.values())) / len(before)
        assert change.difference.value == pytest.approx(mean)


def test_a_possible_drop_says_what_it_would_take(runs: Path) -> None:
    found = compare(runs / "base", runs / "unlucky")
    (table, *_) = grids(found)
    for change in found.tasks:
        assert change.needed > change.samples
        assert any(f"about {change.needed:,} samples to tell" in note for note in table.notes)


def test_a_drop_that_is_allowed_is_none(runs: Path) -> None:
    assert compare(runs / "base", runs / "worse", max_drop=50).exit_code == 0
    assert compare(runs / "base", runs / "worse", max_drop=0).exit_code == 1


def test_a_relation_can_regress_alone(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = compare(runs / "base", runs / "left", max_drop=25, by="relation")
    assert {change.outcome for change in found.tasks} == {"no regression"}
    assert {change.part for change in found.regressions} == {("relation", "left of")}
    assert found.exit_code == 1
    whole = sum(change.lost for change in found.tasks)
    assert sum(change.lost for change in found.slices) == whole > 0
    arguments = ["compare", str(runs / "base"), str(runs / "left"), "--max-drop", "25"]
    assert main(arguments) == 0
    assert main([*arguments, "--by", "relation"]) == 1
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_json_has_every_flip_and_no_nan(runs: Path) -> None:
    found = compare(runs / "base", runs / "worse", by="relation")
    told = json.loads(as_json(found), parse_constant=lambda name: pytest.fail(name))
    assert told["exit_code"] == 1
    for task, flips in zip(told["tasks"], told["flips"], strict=True):
        assert (task["task"], task["lost"]) == (flips["task"], len(flips["samples"]))
        assert {flip["gain"] for flip in flips["samples"]} == {-1}
    assert len(told["slices"]) == 8


def test_junit_counts_what_ci_systems_count(runs: Path, tmp_path: Path) -> None:
    found = compare(runs / "base", runs / "left", max_drop=25, by="relation")
    root = ElementTree.fromstring(as_junit(found))
    (suite,) = root.iter("testsuite")
    assert suite.get("tests") == str(len(list(suite.iter("testcase")))) == "10"
    assert suite.get("failures") == str(len(list(suite.iter("failure")))) == "2"
    assert suite.get("errors") == "0"
    names = [(case.get("classname"), case.get("name")) for case in suite.iter("testcase")]
    assert len(set(names)) == len(names)
    file = tmp_path / "report.xml"
    arguments = ["compare", str(runs / "base"), str(runs / "worse"), "--format", "junit"]
    assert main([*arguments, "--out", str(file)]) == 1
    assert ElementTree.parse(file).getroot().tag == "testsuites"


@pytest.mark.parametrize("look", ["markdown", "html"])
def test_other_formats_show_the_same(
    runs: Path, look: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", str(runs / "base"), str(runs / "worse"), "--format", look]
    assert main(arguments) == 1
    shown = capsys.readouterr().out
    assert shown.strip() == written(grids(compare(runs / "base", runs / "worse")), look).strip()
    assert "regression" in shown


# What cannot be compared


def rewritten(path: Path, change: Any) -> None:
    """Every line of a JSON Lines file, changed."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_bytes(b"".join(dump(change(line) or line) for line in lines))


def scores(path: Path, **changes: Any) -> None:
    file = path / "scores.json"
    rows = json.loads(file.read_text())["scores"]
    file.write_text(json.dumps({"scores": [row | changes for row in rows]}))


def refused(runs: Path, run: Path, message: str, tasks: int = 0) -> None:
    found = compare(runs / "base", run)
    assert (found.exit_code, len(found.tasks)) == (2, tasks)
    assert message in " ".join(found.refusals)
    assert main(["compare", str(runs / "base"), str(run)]) == 2
    errors = ElementTree.fromstring(as_junit(found)).iter("error")
    assert len(list(errors)) == len(found.refusals)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "the runs differ in version (1 and 2)"),
        ({"layout": "mixed"}, "the runs differ in layout"),
        ({"samples": 7, "limit": 7}, "the runs differ in samples (120 and 7), limit (none and 7)"),
        ({"rules": "other"}, "the runs have no rule set in common; `spare score"),
    ],
)
def test_other_figures_are_refused(
    runs: Path, run: Path, change: dict[str, Any], message: str
) -> None:
    scores(run, **change)
    refused(runs, run, message)


def test_other_pictures_are_refused(runs: Path, run: Path) -> None:
    def other(line: dict[str, Any]) -> None:
        if line["task"] == "whatsup_a" and "left" in line["id"]:
            line["parts"][0]["picture"] = "0" * 64

    rewritten(run / "replies.jsonl", other)
    refused(runs, run, "whatsup_a (mcq, spare): the pictures of 30 questions was not", tasks=1)


def test_other_words_are_refused(runs: Path, run: Path) -> None:
    def other(line: dict[str, Any]) -> None:
        if line["task"] == "vsr_zeroshot":
            line["parts"][1] += " Think first."

    rewritten(run / "replies.jsonl", other)
    refused(runs, run, "the text of 240 questions was not the same in both runs", tasks=1)


def test_other_questions_are_refused(runs: Path, run: Path) -> None:
    def other(line: dict[str, Any]) -> None:
        if line["task"] == "whatsup_a":
            line["id"] += "x"

    rewritten(run / "verdicts.spare.jsonl", other)
    refused(runs, run, "240 questions were asked in one run only", tasks=1)


def test_other_answers_are_refused(runs: Path, run: Path) -> None:
    def other(line: dict[str, Any]) -> None:
        if line["task"] == "whatsup_a":
            line["target"] = "E"

    rewritten(run / "verdicts.spare.jsonl", other)
    refused(runs, run, "120 right answers changed in between", tasks=1)


def test_labels_that_were_corrected_tear_no_pair_apart(runs: Path, run: Path) -> None:
    def other(line: dict[str, Any]) -> None:
        line["cluster"] = f"moved/{line['cluster']}"
        line["tags"]["relation"] = line["tags"]["relation"].upper()

    rewritten(run / "verdicts.spare.jsonl", other)
    plain = compare(runs / "base", runs / "same", by="relation")
    found = compare(runs / "base", run, by="relation")
    for one, two in zip((*plain.tasks, *plain.slices), (*found.tasks, *found.slices), strict=True):
        assert one.difference == two.difference
    assert {change.part[1] for change in found.slices} == {"LEFT OF", "RIGHT OF", "ON", "UNDER"}


def test_a_task_that_is_missing_now_is_no_pass(data: Path, runs: Path, tmp_path: Path) -> None:
    run = spare.evaluate(Skilled(0.9), "whatsup_a", data=data, out=tmp_path / "run", rules="all")
    refused(runs, run.path, "vsr_zeroshot (spare):", tasks=1)
    # The other way round, nothing has gone unchecked.
    found = compare(run.path, runs / "better")
    assert (found.exit_code, len(found.tasks)) == (0, 1)
    assert any(note.startswith("vsr_zeroshot (spare):") for note in found.notes)


def test_how_models_differ_is_cut_at_a_word(runs: Path, run: Path) -> None:
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["model"]["decoding"] = "greedy, as far as the server takes what it was told"
    path.write_text(json.dumps(manifest))
    notes = compare(runs / "base", run).notes
    assert any(
        "decoding (none and greedy, as far as the server takes what…)" in one for one in notes
    )


def test_a_run_that_is_not_finished_is_no_pass(runs: Path, run: Path) -> None:
    (run / "scores.json").unlink()
    refused(runs, run, "is not finished with it")


def test_errors_count_and_are_said(data: Path, runs: Path, tmp_path: Path) -> None:
    class Failing(Skilled):
        def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
            for number, (key, reply) in enumerate(super().answer(requests)):
                yield Response(key, Reply(error="out of memory") if number < 3 else reply)

    model = Failing(0.8, "failing")
    run = spare.evaluate(model, "whatsup_a", data=data, out=tmp_path / "run")
    found = compare(runs / "base", run.path)
    assert any("3 samples got no reply and count as wrong" in note for note in found.notes)
    (change,) = found.tasks
    assert change.lost <= 3
    assert change.difference.value == pytest.approx(-100 * change.lost / 120)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--max-drop", "-1"), "cannot be negative"),
        (("--max-drop", "nan"), "cannot be negative"),
        (("--alpha", "0"), "between 0 and 1"),
        (("--alpha", "1"), "between 0 and 1"),
        (("--by", "colour"), "No sample that both runs share has the tag colour"),
    ],
)
def test_options_that_make_no_sense(
    runs: Path, option: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(runs / "base"), str(runs / "same"), *option]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_is_no_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(runs / "base"), str(runs)]) == 2
    assert "is not a run" in capsys.readouterr().err


def test_points_fall_by_a_share_of_their_range() -> None:
    """A drop of 1 is a percentage point of an accuracy, and 20 of MME's 2,000 points."""
    from spare.harness.pairing import paired_difference
    from spare.tasks.types import Metric

    points = Metric("perception", total=True)
    for name in range(20):
        for picture in range(10):
            points.add(1.0, cluster=f"{name} {picture}", stratum=str(name))
    assert paired_difference(points, points).full == 2000


def test_verdicts_that_are_lost_are_no_pass(
    runs: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run / "verdicts.spare.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-5]))
    assert main(["compare", str(runs / "base"), str(run)]) == 2
    assert "has 235 verdicts on vsr_zeroshot, and 240 were scored" in capsys.readouterr().err


def test_replies_that_are_lost_are_no_pass(
    runs: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a verdict was on cannot be checked without its reply."""
    path = run / "replies.jsonl"
    path.write_bytes(b"")
    assert main(["compare", str(runs / "base"), str(run)]) == 2
    assert "has lost the reply to" in capsys.readouterr().err
