"""Our tasks under lm-eval: the prompts, pictures, replies and figures of `spare eval`."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lm_eval_tasks import NEEDS_LM_EVAL, ask_lm_eval

from spare.cli import main
from spare.demo.base import BASE
from spare.demo.world import write_world
from spare.errors import SpareError
from spare.harness.evaluate import evaluate
from spare.harness.models import load_model
from spare.harness.models.types import Request
from spare.harness.neighbours import NEIGHBOURS, export_tasks
from spare.harness.neighbours.lm_eval_docs import aggregation, pictures, results
from spare.harness.run import Run
from spare.images import Picture, open_picture
from spare.tasks import load_task

PROMPTS = {"whatsup_a": "words"}


@dataclass(frozen=True)
class Both:
    """The same questions to the same checkpoint, under lm-eval and here.

    Attributes:
        theirs: lm-eval's results; names: our task -> its name there.
    """

    theirs: Mapping[str, Any]
    names: Mapping[str, str]
    ours: Run


@pytest.fixture(scope="module")
def both(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("runs")
    tasks = f"vsr_zeroshot,whatsup_a,custom:{data / 'objects.jsonl'}"
    names = export_tasks("lm-eval", folder / "tasks", tasks, data=data, prompt=PROMPTS).names
    theirs = ask_lm_eval(BASE, folder / "tasks", list(names.values()))
    ours = evaluate(str(BASE), tasks, data=data, out=folder / "run", prompt=PROMPTS)
    return Both(theirs, names, ours)


@NEEDS_LM_EVAL
def test_figures_are_those_of_spare_eval(both: Both) -> None:
    for score in both.ours.scores:
        found = both.theirs["results"][both.names[score.task]]
        for name, figure in score.metrics.items():
            assert found[f"{name},none"] == pytest.approx(figure["value"]), name
    values = [score.metrics[score.headline]["value"] for score in both.ours.scores]
    assert any(0 < value < 100 for value in values), "all right or all wrong would show nothing"


@NEEDS_LM_EVAL
def test_prompts_pictures_and_replies_are_those_of_spare_eval(both: Both, data: Path) -> None:
    lines = {(line["task"], line["id"]): line for line in both.ours.replies()}
    model: Any = load_model(str(BASE))
    seen = 0
    for task, name in both.names.items():
        known = load_task(f"custom:{data / 'objects.jsonl'}" if "custom" in task else task)
        samples = {one.id: one for one in known.samples(data, prompt=PROMPTS.get(task, ""))}
        for theirs in both.theirs["samples"][name]:
            sample = samples[theirs["doc"]["id"]]
            ((prompt, _, extra),) = theirs["arguments"]
            assert prompt == model.spell(Request("", sample.parts))
            assert extra["visual"] == [
                png_digest(part) for part in sample.parts if isinstance(part, Picture)
            ]
            assert theirs["resps"] == [[lines[task, sample.id]["text"]]]
            seen += 1
    assert seen == len(lines)


@NEEDS_LM_EVAL
def test_every_reply_is_read_as_spare_eval_reads_it(both: Both) -> None:
    for score in both.ours.scores:
        found = {
            one["doc"]["id"]: one[score.headline]
            for one in both.theirs["samples"][both.names[score.task]]
        }
        assert found == {one.id: one.verdict.score for one in both.ours.verdicts(score)}


def png_digest(picture: Picture) -> str:
    """What lm-eval logs of a picture."""
    buffer = io.BytesIO()
    open_picture(picture).save(buffer, format="PNG")
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    text = (folder / "questions" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_all_tasks_whose_files_are_there_are_written(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export-tasks", "--to", "lm-eval", str(tmp_path), "--data", str(data)]) == 0
    printed = capsys.readouterr().out
    assert {path.stem for path in tmp_path.glob("*.yaml")} == {
        "spare_vsr_zeroshot",
        "spare_whatsup_a",
    }
    assert "vsr_zeroshot is spare_vsr_zeroshot" in printed
    assert "left out" not in printed
    assert f"--include_path {tmp_path} --tasks spare_whatsup_a,spare_vsr_zeroshot" in printed


def test_a_task_that_is_left_out_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export-tasks", "--to", "lm-eval", str(tmp_path), "--data", str(data)]
    assert main([*command, "--prompt", "whatsup_z=captions"]) == 2
    assert "is not among the tasks" in capsys.readouterr().err
    assert main([*command, "--prompt", "words"]) == 0
    printed = capsys.readouterr().out
    assert "vsr_zeroshot is left out: Task vsr_zeroshot has no prompt 'words'" in printed
    assert "whatsup_a is spare_whatsup_a" in printed


def test_luck_of_a_reference_is_the_same_luck() -> None:
    """What cannot be read is drawn, in the benchmark's order, by the reference's seed."""
    task = load_task("mmmu_val")
    seed = task.rules["official"].guess_seed
    assert seed is not None
    line = {
        "task": "mmmu_val",
        "rules": "official",
        "figures": ["overall"],
        "parts": ["Which?"],
        "options": {"A": "one", "B": "two", "C": "three", "D": "four"},
        "tags": {"subject": "Art", "discipline": "Art and Design", "kind": "multiple-choice"},
        "group": "",
        "answers": [],
    }
    found = []
    for number in range(40):
        sample = json.dumps({**line, "cluster": str(number)})
        doc = {"id": str(number), "target": "A", "sample": sample}
        found.append(results(doc, ["?!"])["overall"])
    assert all(one == 0.0 for one in found)
    draws = random.Random(seed)
    lucky = sum(draws.choice("ABCD") == "A" for _ in found)
    assert lucky
    assert aggregation("overall")(found) == pytest.approx(100 * lucky / 40)


def test_a_picture_that_was_replaced_is_refused(tmp_path: Path) -> None:
    world = tmp_path / "data"
    write_world(world, sets=1)
    export_tasks("lm-eval", tmp_path / "tasks", "whatsup_a", data=world)
    first, second = rows(tmp_path / "tasks", "spare_whatsup_a")[:2]
    assert [image.mode for image in pictures(first)] == ["RGB"]
    place = Path(json.loads(first["sample"])["parts"][0]["path"])
    place.write_bytes(Path(json.loads(second["sample"])["parts"][0]["path"]).read_bytes())
    with pytest.raises(SpareError, match="another than when the tasks were exported"):
        pictures(first)


def test_pictures_inside_tables_are_found_again(tmp_path: Path) -> None:
    import base64

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    cell = base64.b64encode(buffer.getvalue()).decode()
    (tmp_path / "mine.tsv").write_text(
        f"index\timage\tquestion\tA\tB\tanswer\n1\t{cell}\tWhich colour?\tred\tblue\tA\n"
    )
    task = f"custom:{tmp_path / 'mine.tsv'}"
    export_tasks("lm-eval", tmp_path / "tasks", task, data=tmp_path)
    (row,) = rows(tmp_path / "tasks", "spare_mine")
    assert pictures(row)[0].getpixel((0, 0)) == (255, 0, 0)
    assert results(row, ["A"]) == {"accuracy": 1.0}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tasks": "whatsup_a", "prompt": "captions"}, "lm-eval refuses to do beside pictures"),
        ({"tasks": "whatsup_a", "limit": 0}, "--limit must be at least 1"),
        ({"tasks": "mme"}, "mme"),
        ({"tasks": "", "prompt": "captions"}, "holds the files of no task that lm-eval could ask"),
        ({"tasks": "lm-eval:hellaswag"}, "is lm-eval's own task"),
        ({"tasks": "whatsup_a", "to": "other"}, "There is no harness 'other' here"),
    ],
)
def test_what_cannot_be_written_is_said(
    data: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    options = {"to": "lm-eval", **options}
    with pytest.raises(SpareError, match=said):
        export_tasks(options.pop("to"), tmp_path / "tasks", data=data, **options)
    assert not list(tmp_path.glob("tasks/*.yaml"))


@pytest.mark.parametrize("to", NEIGHBOURS)
@pytest.mark.parametrize("place", [".", "whatsup", "vsr/images"])
def test_nothing_is_written_among_the_benchmarks_files(to: str, place: str, data: Path) -> None:
    """Readers would take an export's `images/` for their own, and pictures for missing."""
    before = sorted(data.rglob("*"))
    with pytest.raises(SpareError, match=r"holds the benchmarks' files .* name another folder"):
        export_tasks(to, data / place, "whatsup_a", data=data)
    assert sorted(data.rglob("*")) == before


def test_a_folder_of_its_own_beside_the_benchmarks_is_nobodys(tmp_path: Path) -> None:
    world = tmp_path / "data"
    write_world(world, sets=1)
    for to in NEIGHBOURS:
        for _ in range(2):  # it may be written anew
            export_tasks(to, world / "exported" / to, "vsr_zeroshot", data=world)
    files = load_task("vsr_zeroshot").locate(world, "test")
    assert not any("exported" in str(path) for path in (*files.annotations, *files.pictures))
    export_tasks("lm-eval", tmp_path, "vsr_zeroshot", data=world)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Which?"}, "has no picture"),
        (
            {"question": "Which?", "hint": "Look at <image>.", "image": "a.png"},
            "spells out <image>",
        ),
    ],
)
def test_a_question_that_lm_eval_would_garble_is_refused(
    tmp_path: Path, row: dict[str, str], said: str
) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "mine.jsonl").write_text(json.dumps({"id": "1", "answer": "yes", **row}) + "\n")
    task = f"custom:{tmp_path / 'mine.jsonl'}"
    with pytest.raises(SpareError, match=said):
        export_tasks("lm-eval", tmp_path / "tasks", task, data=tmp_path)


GUEST = """
import json, os, random, sys, warnings, logging, threading
sys.path[:0] = {path!r}
import numpy, torch
from spare.torchvision_repair import repair_torchvision
from spare.guests import as_guest
repair_torchvision()

def state():
    return {{
        "environment": dict(os.environ),
        "generators": (random.getstate(), numpy.random.get_state()[1].tolist(),
                       torch.get_rng_state().tolist()),
        "warnings": [str(one) for one in warnings.filters],
        "logging": (logging.root.level, list(logging.root.handlers)),
        "threads": (torch.get_num_threads(), threading.active_count()),
        "torch": (torch.get_default_dtype(), torch.is_grad_enabled(),
                  torch.are_deterministic_algorithms_enabled(),
                  torch.get_float32_matmul_precision()),
        "folder": os.getcwd(),
        "path": list(sys.path),
    }}

def changes():
    now = state()
    return sorted(name for name in before if before[name] != now[name])

before = state()
with as_guest():
    import lm_eval.evaluator, lm_eval.tasks, lm_eval.models.hf_vlms
    inside = changes()
print(json.dumps([inside, changes()]))
"""


@NEEDS_LM_EVAL
def test_importing_lm_eval_changes_nothing_here() -> None:
    """Left alone it does: it sets variables that child processes inherit, and draws at random."""
    code = GUEST.format(path=sys.path)
    # What other tests have imported may have set them already.
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_XET", "TORCHINDUCTOR", "KMP_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=clean
    )
    inside, after = json.loads(done.stdout.strip().splitlines()[-1])
    assert {"environment", "generators"} <= set(inside)
    assert after == []
