"""Evaluations while training change nothing of it, and say which weights are best."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from training_data import QUICK, picture, rows, write_data

import spare
from spare.cli.finetune import add_arguments, requested
from spare.demo.checkpoint import build_checkpoint
from spare.errors import SpareError
from spare.finetune import outputs
from spare.finetune.evaluations import Evaluations, best_step, read
from spare.harness.models.loading import read_lineage


def _task(folder: Path, name: str, pairs: list[dict[str, Any]], wrong: bool = False) -> str:
    """A task of questions that are (not) answered as the training's pairs are."""
    options = sorted({row["answer"] for row in pairs})
    lines = []
    for row in pairs:
        path = folder / row["image"]
        path.write_bytes(picture(int(row["image_key"].partition(".")[0])))
        answer = next(one for one in options if (one != row["answer"]) == wrong)
        line = {"image": row["image"], "question": row["question"]}
        line |= {"options": options, "answer": answer if wrong else row["answer"]}
        lines.append(json.dumps(line))
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return f"custom:{folder / f'{name}.jsonl'}"


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pairs = rows(pictures=8, each=(1,))
        self.data = write_data(folder / "data", self.pairs)
        self.base = build_checkpoint(folder / "base", "llava")
        (folder / "tasks").mkdir()

    def train(
        self, name: str, evaluations: Any, told: Any = None, recipe: str = "demo", **settings: Any
    ) -> Any:
        (found,) = spare.fine_tune(
            recipe,
            data=self.data,
            out=self.folder / name,
            model=str(self.base),
            settings=QUICK | {"max_steps": 6, "dropout": 0.1} | settings,
            evaluations=evaluations,
            on_event=told.append if told is not None else lambda event: None,
        )
        return found

    def losses(self, name: str) -> list[float]:
        path = self.folder / name / "training" / "losses.jsonl"
        return [json.loads(line)["loss"] for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_evaluations_change_nothing_of_the_training(world: World) -> None:
    spatial = _task(world.folder / "tasks", "spatial", world.pairs)
    told: list[Any] = []
    watched = world.train(
        "watched", Evaluations(world.folder / "tasks", spatial, every=2, limit=8), told
    )
    world.train("unwatched", None)
    assert world.losses("watched") == world.losses("unwatched")
    lines = read(world.folder / "watched" / "training")
    assert [line["step"] for line in lines] == [0, 2, 4, 6]
    assert any(str(one).startswith("After step 4: ") for one in told)
    # Each leaves a run; the last one's scores are those of the weights that were kept.
    run = spare.load_run(world.folder / "watched/training/evaluations/0-spatial")
    assert run.scores[0].limit == 8
    best = best_step(lines)
    score = next(line["spatial"] for line in lines if line["step"] == best)
    again = spare.evaluate(
        str(watched.folder),
        spatial,
        data=world.folder / "tasks",
        out=world.folder / "again",
        limit=8,
    )
    assert again.scores[0].metrics[again.scores[0].headline]["value"] == score
    assert not [*(world.folder / "watched/training").glob("best-*")]
    assert read_lineage(watched.folder)


class Stopped(Exception):
    """Stands for whatever ends a training."""


def test_a_training_that_went_on_tells_its_evaluations_once_each(world: World) -> None:
    spatial = _task(world.folder / "tasks", "spatial", world.pairs)
    asked = Evaluations(world.folder / "tasks", spatial, every=1, limit=2)

    class Ends(list[Any]):
        def append(self, event: Any) -> None:
            if getattr(event, "step", 0) == 3:
                raise Stopped

    with pytest.raises(Stopped):
        world.train("stopped", asked, Ends(), max_steps=4)
    found = world.train("stopped", asked, max_steps=4)
    card = (found.folder / "README.md").read_text("utf-8")
    steps = re.findall(r"^- After step (\d+): custom:spatial [\d.]+\.$", card, re.MULTILINE)
    assert steps == ["0", "1", "2", "3", "4"]


def test_a_way_of_asking_can_be_chosen_and_what_is_never_read_is_told(world: World) -> None:
    spatial = _task(world.folder / "tasks", "spatial", world.pairs)
    chosen = Evaluations(
        world.folder / "tasks", spatial, every=6, limit=8, prompt={"custom:spatial": "vlmevalkit"}
    )
    told: list[Any] = []
    world.train("asked", chosen, told)
    run = spare.load_run(world.folder / "asked/training/evaluations/0-spatial")
    assert run.scores[0].prompt == "vlmevalkit"
    said = [str(one) for one in told if "could be read" in str(one)]
    assert bool(said) == (run.scores[0].unread == run.scores[0].asked)
    with pytest.raises(SpareError, match="how --eval-tasks are asked"):
        requested(arguments("--eval-tasks", "", "--eval-prompt", "vsr_zeroshot=vlmevalkit"))
    with pytest.raises(SpareError, match="--eval-prompt is for vsr_zeroshot, and not whatsup_a"):
        requested(arguments("--eval-prompt", "whatsup_a=captions"))
    found = requested(arguments("--eval-prompt", "vsr_zeroshot=vlmevalkit"))["evaluations"]
    assert found.prompt == {"vsr_zeroshot": "vlmevalkit"}


def test_evaluations_that_cannot_be_made_are_refused_before_anything(
    world: World, tmp_path: Path
) -> None:
    spatial = _task(world.folder / "tasks", "spatial", world.pairs)
    asked = Evaluations(world.folder / "tasks", spatial)
    refused = {
        "at least 1 step": dataclasses.replace(asked, every=0),
        "1 sample": dataclasses.replace(asked, limit=0),
        "leave MME out": dataclasses.replace(asked, spatial="mme"),
        "answers are not public": dataclasses.replace(asked, general="mmmu_test"),
        "no task 'vsr_zeroshoot'": dataclasses.replace(asked, general="vsr_zeroshoot"),
        "no files of vsr_zeroshot": dataclasses.replace(asked, general="vsr_zeroshot"),
        "does not exist": dataclasses.replace(asked, data=tmp_path / "nowhere"),
    }
    for said, evaluations in refused.items():
        with pytest.raises(SpareError, match=said):
            spare.fine_tune(
                "demo", data="nowhere", out=tmp_path / "out", model="no", evaluations=evaluations
            )
    assert not (tmp_path / "out").exists()


def arguments(*more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = ["--recipe", "demo", "--data", "d", "--out", "o", "--eval-tasks", "vsr_zeroshot"]
    return parser.parse_args([*given, "--eval-data", "data", *more])


def test_the_best_weights_are_kept_and_not_the_last(world: World) -> None:
    """The rate of the last steps is so high that everything learnt is lost."""
    from safetensors.torch import load_file

    spatial = _task(world.folder / "tasks", "spatial", world.pairs)
    evaluations = Evaluations(world.folder / "tasks", spatial, every=10, limit=8)
    settings = {"max_steps": 20, "batch": 8, "lr": 3e-3, "dropout": 0.0, "schedule": "constant"}
    found = world.train("best", evaluations, **settings)
    lines = read(world.folder / "best" / "training")
    assert [line["step"] for line in lines] == [0, 10, 20]
    world.train("ten", None, **settings | {"max_steps": 10})
    ten, twenty = (load_file(world.folder / name / "model.safetensors") for name in ("ten", "best"))
    same = all(ten[name].equal(twenty[name]) for name in ten)
    assert same == (best_step(lines) == 10)
    assert any("those of step" in note for note in found.result["notes"]) == same
    assert found.result["kept_step"] == read_lineage(found.folder)["step"] == best_step(lines)


def test_what_ends_before_the_first_step_is_evaluated_once(world: World, tmp_path: Path) -> None:
    """The same folder spelled otherwise is no other; what was found of the base is found anew."""
    spatial = _task(world.folder / "tasks", "spatial", world.pairs)
    asked = Evaluations(world.folder / "tasks", spatial, every=4, limit=2)

    class Ends(list[Any]):
        def append(self, event: Any) -> None:
            if str(event).startswith("After step 0: "):
                raise Stopped

    with pytest.raises(Stopped):
        world.train("ended early", asked, Ends())
    elsewhere = tmp_path / "link"
    elsewhere.symlink_to(world.folder / "tasks")
    world.train("ended early", dataclasses.replace(asked, data=elsewhere))
    steps = [line["step"] for line in read(world.folder / "ended early" / "training")]
    assert steps == [0, 4, 6]


def test_a_seed_that_comes_to_nothing_hinders_no_other(world: World, tmp_path: Path) -> None:
    told: list[Any] = []
    with pytest.raises(SpareError, match="2 seeds of 2 came to nothing; the first: ") as caught:
        spare.fine_tune(
            "demo",
            data=world.data,
            out=tmp_path / "seeds",
            model=str(world.base),
            settings=QUICK | {"lr": 1e30, "max_steps": 6},
            seeds=2,
            on_event=told.append,
        )
    assert "nothing can be learnt from here on" in str(caught.value)
    assert any(str(one).startswith(f"{tmp_path}/seeds/seed-1: ") for one in told)


def test_the_best_step() -> None:
    def line(step: int, spatial: float, worse: bool = False) -> dict[str, Any]:
        return {
            "step": step,
            "spatial": spatial,
            "regressions": ["mmbench by 3.0"] if worse else [],
        }

    assert best_step([line(0, 90.0)]) == 0
    assert (
        best_step([line(0, 90.0), line(5, 30.0), line(10, 40.0), line(15, 40.0), line(20, 35.0)])
        == 15
    )
    assert best_step([line(0, 20.0), line(5, 30.0), line(10, 40.0, worse=True)]) == 5


def _taught(folder: Path, task: str, answer: str) -> list[dict[str, Any]]:
    """Pairs of a task's own prompts, all with one answer."""
    found = []
    for number, sample in enumerate(spare.load_task(task).samples(folder, "all", "spare")):
        text = "".join(part for part in sample.parts if isinstance(part, str))
        row = rows(pictures=30, each=(1,))[number]
        found.append(row | {"question": text, "answer": answer})
    return found


def _general_task(folder: Path) -> str:
    """A task whose every answer is B."""
    lines = []
    for row in rows(pictures=30, each=(1,)):
        (folder / row["image"]).write_bytes(picture(int(row["image_key"].partition(".")[0])))
        line = {"image": row["image"], "question": "Is it?", "options": ["yes", "no"]}
        lines.append(json.dumps(line | {"answer": "no"}))
    (folder / "general.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return f"custom:{folder / 'general.jsonl'}"


@pytest.mark.slow
def test_two_processes_find_what_one_finds(world: World, tmp_path: Path) -> None:
    """The first evaluates, and both stop: taught to say A where B was right."""
    spatial = _task(world.folder / "tasks", "spatial", world.pairs)
    general = _general_task(tmp_path)
    settings = QUICK | {"batch": 8, "lr": 3e-3, "schedule": "constant", "batch_tokens": 1000}
    data = {
        answer: write_data(tmp_path / answer, _taught(tmp_path, general, answer)) for answer in "AB"
    }

    def train(place: str, model: Path, answer: str, steps: int, asked: Any = None) -> Any:
        (found,) = spare.fine_tune(
            "demo",
            data=data[answer],
            out=tmp_path / place,
            model=str(model),
            settings=settings | {"max_steps": steps},
            evaluations=asked,
        )
        return found

    base = train("base", world.base, "B", 12).folder
    alone = train("alone", base, "A", 40, Evaluations(tmp_path, spatial, general, 1, 30))
    words = ["--num_processes", "2", "--main_process_port", "0", "--multi_gpu", "-m", "spare"]
    words += ["finetune", "--recipe", "demo", "--data", str(data["A"]), "--model", str(base)]
    words += ["--eval-tasks", spatial, "--eval-general", general, "--eval-data", str(tmp_path)]
    words += ["--eval-every", "1", "--eval-limit", "30", "--out", str(tmp_path / "together")]
    for key, value in (settings | {"max_steps": 40}).items():
        words += ["--set", f"{key}={value}"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(launch, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    result = json.loads((tmp_path / "together/training/training.json").read_bytes())
    assert result["devices"] == 2
    assert result["steps"] == alone.result["steps"] < 40
    assert result["kept_step"] == alone.result["kept_step"]
    lines = read(tmp_path / "together" / "training")
    assert lines == read(tmp_path / "alone" / "training")
    assert lines[-1]["regressions"]
    assert "Stopped after step" in finished.stderr


def test_a_model_that_forgets_is_stopped(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taught to say B where B is right, and then to say A to the same questions."""
    general = _general_task(tmp_path)
    spatial = _task(world.folder / "tasks", "spatial", world.pairs)
    settings = QUICK | {"batch": 8, "lr": 3e-3, "schedule": "constant", "batch_tokens": 1000}

    data = {
        answer: write_data(tmp_path / answer, _taught(tmp_path, general, answer)) for answer in "AB"
    }

    def train(model: Path, answer: str, name: str, evaluations: Any, **more: Any) -> Any:
        (found,) = spare.fine_tune(
            "demo",
            data=data[answer],
            out=tmp_path / name,
            model=str(model),
            settings=settings | more,
            evaluations=evaluations,
        )
        return found

    base = train(world.base, "B", "base", None, max_steps=12).folder
    evaluations = Evaluations(tmp_path, spatial, general, every=1, limit=30)
    found = train(base, "A", "forgets", evaluations, max_steps=40, save_steps=100)
    journal = read(tmp_path / "forgets" / "training")
    assert journal[0]["scores"]["custom:general"] == 100.0
    assert journal[-1]["regressions"]
    assert found.result["steps"] == journal[-1]["step"] < 40
    assert any("since general tasks got worse" in note for note in found.result["notes"])
    step, steps = best_step(journal), found.result["steps"]
    assert found.result["kept_step"] == read_lineage(found.folder)["step"] == step < steps
    losses = (found.folder / "training/losses.jsonl").read_text("utf-8").splitlines()
    loss = json.loads(losses[step - 1])["loss"]
    assert found.result["kept_loss"] == loss
    card = (found.folder / "README.md").read_text("utf-8")
    assert f"weights of step {step} of {steps}, each of 8 question-answer pairs" in card
    assert f", of step {step} {loss:.4f}, of the last " in card
    # Kept are weights of a step before.
    run = spare.evaluate(str(found.folder), general, data=tmp_path, out=tmp_path / "kept")
    assert run.scores[0].metrics["accuracy"]["value"] == 100.0
    # Ended between the stop and the checkpoint, it trains no step more.
    copyfile = shutil.copyfile

    def unwritten(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full(source: Any, target: Any) -> Any:
        if Path(target).parent.name == "ended":
            unwritten()
        return copyfile(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(SpareError, match="The disk is full"):
            train(base, "A", "ended", evaluations, max_steps=40, save_steps=100)
    # Nor where only its card and lineage are missing; and the best weights are still there.
    with monkeypatch.context() as patch:
        patch.setattr(outputs, "finish", unwritten)
        with pytest.raises(OSError, match="No space left"):
            train(base, "A", "ended", evaluations, max_steps=40, save_steps=100)
    again = train(base, "A", "ended", evaluations, max_steps=40, save_steps=100)
    assert again.result["steps"] == steps
    assert not [*(tmp_path / "ended/training").glob("*-[0-9]*")]
    assert read(tmp_path / "ended" / "training") == journal
    name = "model.safetensors"
    assert (again.folder / name).read_bytes() == (found.folder / name).read_bytes()
    # Looked at too late, there are none: then nothing is written, now and by the same call.
    late = dataclasses.replace(evaluations, every=20)
    for _ in range(2):
        with pytest.raises(SpareError, match="before any weights were fit to be kept"):
            train(base, "A", "late", late, max_steps=40, save_steps=100)
        assert not list((tmp_path / "late").glob("*.safetensors"))
