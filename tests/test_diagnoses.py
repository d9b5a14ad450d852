"""What an accuracy hides: models with a known fault, and the table that must name it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

import spare
from spare import images
from spare.cli import main
from spare.demo.world import write_world
from spare.harness.models import load_model
from spare.harness.models.shuffled import Shuffled
from spare.harness.models.types import Request, Response
from spare.images import Picture
from spare.leaderboards.diagnoses import Diagnosis, costs, diagnose
from spare.relations import RELATION_CLASS, relation_group, relation_groups
from spare.tasks.types import Reply, Sample


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_world(folder, sets=6)
    return folder


class Model:
    """Says what a function says."""

    facts: ClassVar[dict[str, str]] = {"model": "made up"}

    def __init__(self, say: Callable[[Request], str]) -> None:
        self.identity = {"engine": "made up"}
        self.say = say

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        for request in requests:
            yield Response(request.key, Reply(self.say(request), finish="stop"))


class Knowing(Model):
    """Knows the right answers, and then says what a function makes of (options, right label)."""

    def __init__(self, say: Callable[[Request, str], str]) -> None:
        super().__init__(lambda request: say(request, self.right[request.parts]))
        self.right: dict[object, str] = {}

    def study(self, samples: Iterable[Sample]) -> str:
        self.right |= {sample.parts: sample.target for sample in samples}
        return "the answers"


def diagnosed(model: Model, task: str, data: Path, out: Path) -> Diagnosis:
    (found,) = diagnose(spare.evaluate(model, task, data=data, out=out))
    return found


def test_one_letter_for_everything_is_no_better_than_its_letters(
    data: Path, tmp_path: Path
) -> None:
    found = diagnosed(Model(lambda request: "B"), "whatsup_a", data, tmp_path / "run")
    assert found.answered == {"B": 24}
    assert found.accuracy == found.by_labels_alone == 25
    assert found.kappa == 0


def test_a_model_that_is_always_right_is_far_from_its_labels(data: Path, tmp_path: Path) -> None:
    found = diagnosed(Knowing(lambda _, right: right), "vsr_zeroshot", data, tmp_path / "run")
    assert (found.accuracy, found.by_labels_alone, found.kappa) == (100, 50, 1)
    assert sum(found.wrong.values()) == 0
    assert not any(cost.weight for cost in costs([found]))


def mirrored(request: Request, right: str) -> str:
    """Left for right and right for left; the rest is known."""
    text = request.options[right]
    other = text.translate({}).replace("left", "\0").replace("right", "left").replace("\0", "right")
    return next(label for label, option in request.options.items() if option == other)


def test_left_taken_for_right_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    out = tmp_path / "run"
    found = diagnosed(Knowing(mirrored), "whatsup_a", data, out)
    assert found.taken == {("left", "right"): 6, ("right", "left"): 6}
    assert found.wrong == {"left of": 6, "right of": 6, "on": 0, "under": 0}
    weights = {cost.group: cost.weight for cost in costs([found])}
    assert weights == {"left": 0.5, "right": 0.5, "on": 0, "below": 0}
    file = tmp_path / "weights.json"
    assert main(["show", str(out), "--by", "relation", "--weights", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "the right axis, the other end" in shown
    assert max(map(len, shown.splitlines())) <= 100
    told = json.loads(file.read_text())
    assert told["weights"] == weights
    assert set(told["weights"]) | set(told["not measured"]) == set(relation_groups())


def test_weights_count_every_task_the_same(data: Path, tmp_path: Path) -> None:
    """All of A's lefts are wrong there, and VSR's "on", which has twice as many samples."""
    wrong = {"whatsup_a": "left", "vsr_zeroshot": " on "}

    def say(request: Request, right: str) -> str:
        if "True" in request.options:
            statement = next(part for part in request.parts if isinstance(part, str))
            return {"True": "False", "False": "True"}[right] if " on the" in statement else right
        return mirrored(request, right) if "left" in request.options[right] else right

    run = spare.evaluate(Knowing(say), [*wrong], data=data, out=tmp_path / "run")
    found = costs(diagnose(run))
    assert {cost.group: cost.weight for cost in found if cost.weight} == {"left": 0.5, "on": 0.5}
    assert sum(cost.weight for cost in found) == pytest.approx(1)


def test_no_wrong_answer_is_nothing_to_weigh(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "run", tmp_path / "weights.json"
    spare.evaluate(Knowing(lambda _, right: right), "whatsup_a", data=data, out=out)
    assert main(["show", str(out), "--weights", str(file)]) == 2
    assert "nothing to weigh" in capsys.readouterr().err
    assert not file.exists()


def test_json_has_every_confusion(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    spare.evaluate(Knowing(mirrored), "whatsup_a", data=data, out=out)
    assert main(["show", str(out), "--by", "relation", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    (told,) = shown["diagnoses"]
    assert {"right": "left", "said": "right", "times": 6} in told["taken"]
    assert told["labels"]["accuracy"] == 50
    assert {part["tags"]["relation"]: part["wrong"] for part in shown["slices"]} == told["wrong"]


# SpaRE's relations


def test_table_10_is_whole() -> None:
    groups = relation_groups()
    assert len(groups) == 29
    assert sum(group.share for group in groups.values()) == pytest.approx(100, abs=0.1)
    assert sum(len(group.keywords) for group in groups.values()) == 201


def test_our_relations_have_a_group_of_table_10_or_plainly_none() -> None:
    without = {relation for relation in RELATION_CLASS if not relation_group(relation)}
    assert without == {
        *("touching", "off", "with", "at", "detached from", "against", "up", "beyond", "after"),
        *("congruent", "into", "from", "to", "past"),
    }
    assert relation_group("at the left side of") == relation_group("left of") == "left"
    assert relation_group("orientation_in_front_of") == "front"


# The pictures of other questions


class Seeing(Model):
    """Says which picture it was shown, and remembers it."""

    def __init__(self) -> None:
        super().__init__(lambda request: self.look(request))
        self.seen: dict[str, str] = {}

    def look(self, request: Request) -> str:
        (picture,) = (part for part in request.parts if isinstance(part, Picture))
        self.seen[request.key] = images.digest(picture)
        return "True"


def test_every_question_gets_the_picture_of_another(data: Path, tmp_path: Path) -> None:
    inside = Seeing()
    model = Shuffled(inside)
    assert model.identity != inside.identity
    run = spare.evaluate(model, "vsr_zeroshot", data=data, out=tmp_path / "run")
    shown: dict[str, set[str]] = {}
    for line in run.replies():
        (own,) = (part["picture"] for part in line["parts"] if isinstance(part, dict))
        shown.setdefault(own, set()).add(inside.seen[line["key"]])
    assert all(len(others) == 1 and own not in others for own, others in shown.items())
    assert len(set.union(*shown.values())) == len(shown)  # each picture is shown as often


def test_a_model_of_words_loses_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def by_words(request: Request) -> str:
        return "True" if "left" in str(request.parts) else "False"

    for name, model in (("plain", Model(by_words)), ("shuffled", Shuffled(Model(by_words)))):
        spare.evaluate(model, "vsr_zeroshot", data=data, out=tmp_path / name)
    plain, shuffled = str(tmp_path / "plain"), str(tmp_path / "shuffled")
    assert main(["show", plain, "--by", "relation", "--shuffled", shuffled]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "projective" in line]
    assert rows
    for row in rows:
        value = row.index("projective") + 1
        assert row[value] == row[value + 4]  # then the interval, "a to b"


@pytest.mark.parametrize("name", ["random", "majority", "shuffled:x", ""])
def test_there_must_be_pictures_to_shuffle(name: str) -> None:
    with pytest.raises(spare.SpareError, match=r"shuffle|Name the model"):
        load_model(f"shuffled:{name}")


def test_only_shuffled_pictures_of_the_same_model_stand_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from spare.cli import main
    from spare.demo.world import write_world
    from spare.harness.evaluate import evaluate

    write_world(tmp_path / "data", sets=2)
    for name in ("random", "majority"):
        evaluate(name, "vsr_zeroshot", data=tmp_path / "data", out=tmp_path / name)
    shown = ["show", str(tmp_path / "random"), "--by", "relation", "--shuffled"]
    assert main([*shown, str(tmp_path / "majority")]) == 2
    assert "is no run of shuffled pictures" in capsys.readouterr().err
