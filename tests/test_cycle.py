"""The whole loop on a tiny checkpoint: through the real command, stopped, and gone on with."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_data import picture, rows, write_data

import spare
from spare.cli import main
from spare.demo.checkpoint import build_checkpoint
from spare.errors import SpareError

SET = ["batch=4", "warmup_steps=0", "max_steps=6", "workers=0", "batch_tokens=400", "save_steps=2"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a data set, and a benchmark about the same pictures."""
    folder = tmp_path_factory.mktemp("world")
    pairs = rows()
    words = [text for pair in pairs for text in (pair["question"], pair["answer"])]
    build_checkpoint(folder / "base", "llava", sentences=words, hidden=64, layers=1)
    write_data(folder / "dataset", pairs)
    write_data(folder / "files", pairs, pixels=False)
    asked = [
        {"image": pair["image"], "question": pair["question"], "answer": pair["answer"]}
        for pair in pairs
    ]
    place = folder / "files" / "pictures" / "where.jsonl"
    place.write_text("".join(json.dumps(row) + "\n" for row in asked))
    return folder


def command(world: Path, out: Path, *more: str) -> list[str]:
    place = world / "files" / "pictures"
    asked = ["cycle", "--recipe", "demo", "--model", str(world / "base"), "--out", str(out)]
    asked += ["--data", str(world / "dataset"), "--tasks", f"custom:{place / 'where.jsonl'}"]
    asked += ["--benchmarks", str(place), *more]
    return [*asked, *(part for one in SET for part in ("--set", one))]


def test_a_base_becomes_a_compared_checkpoint(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cycle"
    code = main(command(world, out, "--seeds", "2", "--max-drop", "100"))
    assert code == 0  # nothing can fall by more than everything
    runs = {path.name: spare.load_run(path) for path in sorted((out / "runs").iterdir())}
    assert set(runs) == {"base", "seed-0", "seed-1"}
    weights = {name: run.manifest["model"]["weights"] for name, run in runs.items()}
    assert len(set(weights.values())) == 3
    # The harness knows where the checkpoints come from, and from what.
    for seed in (0, 1):
        lineage = runs[f"seed-{seed}"].manifest["lineage"]
        assert lineage["seed"] == seed
        assert lineage["base"]["weights"] == weights["base"]
    told = capsys.readouterr().out
    assert "2 seeds" in told  # they are one row of the leaderboard, with their spread
    assert told.count("\nNo regression") == 2  # the verdicts
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    replies = {path: path.read_bytes() for path in out.rglob("replies.jsonl")}
    assert main(command(world, out, "--seeds", "2", "--max-drop", "100")) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before
    assert {path: path.read_bytes() for path in out.rglob("replies.jsonl")} == replies


def test_a_killed_loop_goes_on(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "cycle"
    asked = [sys.executable, "-m", "spare", *command(world, out, "--max-drop", "100")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for waits_for in ("runs/base/replies.jsonl", "checkpoint/training/losses.jsonl"):
        process = subprocess.Popen(asked, env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (out / waits_for).exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert subprocess.run(asked, env=environment, capture_output=True).returncode == 0
    lines = [
        json.loads(line)
        for line in (out / "checkpoint" / "training" / "losses.jsonl").read_text().splitlines()
    ]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for run in (spare.load_run(out / "runs" / name) for name in ("base", "tuned")):
        assert run.scores[0].samples == len(rows())


def test_a_gate_of_the_loop_is_that_of_compare(world: Path, tmp_path: Path) -> None:
    found = spare.cycle(
        "demo",
        model=str(world / "base"),
        data=world / "dataset",
        tasks=f"custom:{world / 'files' / 'pictures' / 'where.jsonl'}",
        benchmarks=world / "files" / "pictures",
        out=tmp_path / "cycle",
        settings=dict(one.split("=") for one in SET),
        limit=5,
    )
    assert [one.exit_code for one in found.comparisons] == [found.exit_code]
    assert found.comparisons[0].tasks[0].samples == 5


def test_several_processes_are_told_what_to_do(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SpareError, match="accelerate launch -m spare finetune"):
        spare.cycle(
            "demo",
            model=str(world / "base"),
            data=world / "dataset",
            tasks="vsr_zeroshot",
            benchmarks=world,
            out=tmp_path / "cycle",
        )


WHERE = "custom:{}/files/pictures/where.jsonl"

LACKS = {
    "report": (["--report-to", "telegraph"], "--report-to knows no telegraph"),
    "data": (["--data", "/nonexist"], "/nonexist: there is no such folder"),
    "pictures": (["--data", "{}/files"], "6 pictures of 6 cannot be used.*--pictures DIR"),
    "general": (["--general", "/nonexist"], "/nonexist: there is no such folder"),
    "prompt": (
        ["--eval-tasks", WHERE, "--eval-prompt", "custom:where=foo"],
        "custom:where has no prompt 'foo'",
    ),
    "seed": (["--seed", "-1"], "--seed is a whole number"),
    "large seed": (["--seed", "4294967295", "--seeds", "2"], "below 4,294,967,296"),
    "tasks": (["--tasks", "vsr_zeroshit"], "There is no task 'vsr_zeroshit'"),
    "limit": (["--limit", "0"], "--limit must be at least 1"),
    "drop": (["--max-drop", "-1"], "--max-drop is how far a figure may fall"),
    "files": (["--benchmarks", "/nonexist"], "/nonexist does not exist; --benchmarks names it"),
    "eval files": (
        ["--eval-tasks", WHERE, "--eval-data", "/nonexist"],
        "/nonexist does not exist; --eval-data names it",
    ),
}


@pytest.mark.parametrize("lack", LACKS)
def test_what_training_lacks_is_known_before_the_base_is_evaluated(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], lack: str
) -> None:
    more, said = LACKS[lack]
    asked = command(world, tmp_path / "cycle", *(part.format(world) for part in more))
    assert main(asked) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / "cycle").exists()


def test_a_damaged_picture_is_known_before_the_base_is_evaluated(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "dataset", pixels=False)
    damaged = data / "pictures" / "3.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    asked = command(world, tmp_path / "cycle", "--data", str(data))
    asked += ["--pictures", str(damaged.parent)]
    assert main(asked) == 2
    assert re.search(r"1 picture of 6 cannot be used\. .*3\.png", capsys.readouterr().err)
    assert not (tmp_path / "cycle" / "runs").exists()
    # It is looked at again by the same command.
    damaged.write_bytes(picture(3))
    assert main([*asked, "--max-drop", "100"]) == 0


def test_a_text_that_cannot_be_learnt_is_known_before_the_base_is_evaluated(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It spells out a sign of the model's, or is longer than its context."""
    for name, question in (("sign", "Is <image> here?"), ("long", "Where is it? " * 2000)):
        pairs = rows()
        pairs[3]["question"] = question
        data = write_data(tmp_path / name, pairs)
        assert main(command(world, tmp_path / "cycle", "--data", str(data))) == 2
        said = capsys.readouterr().err
        assert "train-00000-of-00002.parquet, row 4" in said
        assert ("spells out <image>" if name == "sign" else "more than the model's context") in said
    assert not (tmp_path / "cycle" / "runs").exists()


def test_a_size_that_the_model_refuses_is_known_before_the_base_is_evaluated(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    data = write_data(tmp_path / "dataset", pixels=False)
    Image.new("RGB", (900, 3)).save(data / "pictures" / "3.png")
    base = build_checkpoint(tmp_path / "base", "qwen2_vl")
    asked = command(world, tmp_path / "cycle", "--data", str(data), "--model", str(base))
    assert main([*asked, "--pictures", str(data / "pictures")]) == 2
    said = capsys.readouterr().err
    assert re.search("1 picture of 6 cannot be used. The model's processor refuses the pic", said)
    assert not (tmp_path / "cycle" / "runs").exists()


def test_pictures_of_another_folder_are_opened_too(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same names, and refused; before the first step all may be set otherwise, though."""
    data = write_data(tmp_path / "dataset", pixels=False)
    asked = command(world, tmp_path / "cycle", "--data", str(data), "--max-drop", "100")
    first = [*asked, "--pictures", str(data / "pictures"), "--by", "nothing"]
    assert main(first) == 2  # after the base, and before the training
    other = shutil.copytree(data / "pictures", tmp_path / "other")
    (other / "3.png").write_bytes(b"")
    capsys.readouterr()
    assert main([*asked, "--pictures", str(other)]) == 2
    assert "1 picture of 6 cannot be used" in capsys.readouterr().err
    more = ["--pictures", str(other), "--set", "bad_pictures=0.5", "--seeds", "1"]
    assert main([*asked, *more]) == 0
    assert {path.name for path in (tmp_path / "cycle/runs").iterdir()} == {"base", "seed-0"}


def test_another_training_is_refused_before_the_base_is_evaluated(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cycle"
    settings = {**dict(one.split("=") for one in SET), "max_steps": 2}
    spare.fine_tune(
        "demo",
        data=world / "dataset",
        out=out / "checkpoint",
        model=str(world / "base"),
        settings=settings,
    )
    for more, said in (
        ((), "is a training with another max_steps; choose another --out"),
        (("--seeds", "2"), "is a training without --seeds; choose another --out"),
    ):
        assert main(command(world, out, *more)) == 2
        assert said in capsys.readouterr().err
    assert not (out / "runs").exists()


def test_an_optimiser_that_is_not_installed_is_known_too(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    asked = command(world, tmp_path / "cycle", "--recipe", "spare-2b")
    assert main(asked) == 2
    assert "--set optimiser=adamw" in capsys.readouterr().err
    assert not (tmp_path / "cycle").exists()


def test_a_tag_to_compare_by_is_looked_for_before_training(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cycle"
    assert main(command(world, out, "--by", "foo")) == 2
    assert re.search(r"runs/base has the tag foo \(--by\); they have ", capsys.readouterr().err)
    assert spare.load_run(out / "runs" / "base").scores
    assert not list((out / "checkpoint").rglob("*.safetensors"))
