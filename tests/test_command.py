"""Through the real command, with real checkpoints: replies do not depend on how they were computed,
and nothing is lost when the process is killed.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import spare
from spare.cli import main
from spare.cli.demo import tell
from spare.demo.checkpoint import build_checkpoint
from spare.demo.outcome import Story
from spare.demo.run import before, story
from spare.demo.world import render_standins, sentences, write_world
from spare.errors import SpareError
from spare.harness.lines import read_log
from spare.leaderboards.leaderboard import leaderboard

TASKS = "whatsup_a,vsr_zeroshot"
VSR = Path(__file__).parents[2] / "shared" / "data" / "vsr"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_world(folder, sets=3)
    return folder


@pytest.fixture(scope="module", params=["llava", "qwen2_vl", "qwen2_5_vl"])
def checkpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, data: Path
) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    return build_checkpoint(
        folder, request.param, sentences=sentences(data), hidden=64, layers=2, side=28
    )


def replies(run: Path) -> dict[tuple[str, str, str], str | dict[str, Any]]:
    found = {}
    for _, line in read_log(run / "replies.jsonl"):
        key = (line["task"], line["prompt"], line["id"])
        assert key not in found, "a question was asked twice"
        assert "error" not in line
        found[key] = line.get("text", line.get("likelihoods"))
    return found


def assert_same(left: Path, right: Path) -> None:
    ours, theirs = replies(left), replies(right)
    assert ours.keys() == theirs.keys()
    for key, reply in ours.items():
        other = theirs[key]
        if isinstance(reply, str):
            assert reply == other, key
        else:
            assert isinstance(other, dict)
            for label, likelihood in reply.items():
                assert likelihood["total"] == pytest.approx(other[label]["total"], abs=1e-3)
                assert likelihood["tokens"] == other[label]["tokens"]
    scores = [json.loads((run / "scores.json").read_text())["scores"] for run in (left, right)]
    by_task = [{(row["task"], row["prompt"]): row["metrics"] for row in rows} for rows in scores]
    assert by_task[0] == by_task[1]


@pytest.mark.parametrize("prompt", [[], ["--prompt", "whatsup_a=captions"]], ids=["write", "rank"])
def test_replies_do_not_depend_on_how_they_were_computed(
    checkpoint: Path, data: Path, tmp_path: Path, prompt: list[str]
) -> None:
    """Batches of one, of a few and of many; two tasks in a run, in either order, or one at a time;
    with shared pictures and without."""

    def run(name: str, tasks: str, *more: str) -> Path:
        common = ["--model", str(checkpoint), "--data", str(data), "--out", str(tmp_path / name)]
        chosen = prompt if "whatsup_a" in tasks else []
        assert main(["eval", "--tasks", tasks, *common, *chosen, *more]) == 0
        return tmp_path / name

    base = run("base", TASKS)
    assert len(replies(base)) == 12 + 24
    assert_same(run("single", TASKS, "--batch-tokens", "1"), base)
    assert_same(run("few", TASKS, "--batch-tokens", "300"), base)
    assert_same(run("turned", "vsr_zeroshot,whatsup_a"), base)
    run("apart", "vsr_zeroshot")
    assert_same(run("apart", "whatsup_a"), base)
    spare.evaluate(
        str(checkpoint),
        TASKS,
        data=data,
        out=tmp_path / "plain",
        prompt={"whatsup_a": "captions"} if prompt else "",
        share=False,
    )
    assert_same(tmp_path / "plain", base)


@pytest.mark.slow
def test_killed_at_random_moments_the_command_goes_on(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SIGKILL at random moments while replies arrive, and before; then once to the end."""
    data = tmp_path / "data"
    write_world(data, sets=24)
    checkpoint = build_checkpoint(tmp_path / "checkpoint", "llava", hidden=64, layers=1, side=28)

    def command(out: Path) -> list[str]:
        common = ["--model", str(checkpoint), "--data", str(data), "--out", str(out)]
        return [sys.executable, "-m", "spare", "eval", "--tasks", TASKS, *common]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole), check=True, capture_output=True)
    moments = random.Random(0)
    log = killed / "replies.jsonl"
    sizes = []
    for _ in range(6):
        process = subprocess.Popen(
            command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = log.stat().st_size if log.exists() else 0
        # From the moment that new replies arrive, a random while.
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if log.exists() and log.stat().st_size > before:
                break
            time.sleep(0.01)
        time.sleep(moments.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        sizes.append(log.stat().st_size if log.exists() else 0)
    assert sizes == sorted(sizes)
    assert sizes[0] > 0
    with log.open("ab") as file:
        file.write(b'{"key": "torn')  # as if the last kill had hit in the middle of a line
    done = subprocess.run(command(killed), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert " answered, " in done.stderr
    assert_same(killed, whole)
    for name in ("scores.json", "verdicts.spare.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_it_says_so_and_goes_on(tmp_path: Path, stop: signal.Signals, code: int) -> None:
    """By Ctrl-C, or by a cluster whose time is up."""
    data, out = tmp_path / "data", tmp_path / "run"
    write_world(data, sets=36)
    checkpoint = build_checkpoint(tmp_path / "checkpoint", "llava", hidden=64, layers=1, side=28)
    arguments = ["--model", str(checkpoint), "--data", str(data), "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "spare", "eval", "--tasks", TASKS, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (out / "replies.jsonl").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(stop)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert said.rstrip().endswith("stopped; the same command goes on from here.")


def test_a_checkpoint_retrained_in_place_is_another_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    write_world(data, sets=1)
    arguments = ["eval", "--tasks", "whatsup_a", "--data", str(data)]
    arguments += ["--model", str(tmp_path / "checkpoint"), "--out", str(tmp_path / "run")]
    build_checkpoint(tmp_path / "checkpoint", "llava", hidden=32, layers=1, side=28, seed=0)
    assert main(arguments) == 0
    build_checkpoint(tmp_path / "checkpoint", "llava", hidden=32, layers=1, side=28, seed=1)
    assert main(arguments) == 2
    assert "is a run of another model" in capsys.readouterr().err


def test_failed_samples_show_in_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    write_world(data, sets=1)
    picture = next((data / "whatsup" / "controlled_images").iterdir())
    whole = picture.read_bytes()
    picture.write_bytes(whole[: len(whole) // 2])
    arguments = ["eval", "--tasks", "whatsup_a", "--data", str(data), "--out", str(out)]
    build_checkpoint(tmp_path / "checkpoint", "llava", hidden=32, layers=1, side=28)
    arguments += ["--model", str(tmp_path / "checkpoint")]
    assert main(arguments) == 1
    printed = capsys.readouterr().out
    assert "no reply to 1 sample, counted as wrong" in printed
    assert "is damaged" in printed
    score = spare.load_run(out).scores[0]
    assert (score.errors, score.metrics["individual"]["n"]) == (1, 4)
    picture.write_bytes(whole)
    assert main(arguments) == 0


@pytest.mark.slow
@pytest.mark.skipif(not VSR.is_dir(), reason="VSR's annotations are not beside the repository")
def test_the_whole_of_vsr_zeroshot_runs(tmp_path: Path) -> None:
    """1,222 real statements about 715 pictures (rendered, under the real file names)."""
    folder = tmp_path / "vsr" / "zeroshot"
    folder.mkdir(parents=True)
    (folder / "test.jsonl").write_bytes((VSR / "zeroshot" / "test.jsonl").read_bytes())
    (tmp_path / "vsr" / "images").mkdir()
    assert render_standins(folder / "test.jsonl", tmp_path / "vsr" / "images") == 715
    checkpoint = build_checkpoint(tmp_path / "checkpoint", "llava", hidden=32, layers=1, side=28)
    out = tmp_path / "run"
    arguments = ["--model", str(checkpoint), "--data", str(tmp_path), "--out", str(out)]
    assert main(["eval", "--tasks", "vsr_zeroshot", "--rules", "all", *arguments]) == 0
    (score,) = spare.load_run(out).scores
    assert score.samples == score.published == 1222
    assert len(replies(out)) == 1222
    relations = {one.tags["relation"] for one in spare.load_run(out).verdicts(score)}
    assert len(relations) == 53


def test_the_demo_begins_with_the_base_and_a_guesser(tmp_path: Path) -> None:
    base, guesser = before(tmp_path)
    for run in (base, guesser):
        tasks = [(score.task, score.prompt) for score in run.scores]
        assert tasks[:2] == [("demo_whatsup", "answers"), ("demo_vsr", "yes-no")]
        # Whole by their own count, so that a leaderboard ranks by them.
        assert all(score.samples == score.published for score in run.scores)
        assert run.scores[1].unread == 0
    board = leaderboard([base.path, guesser.path])
    assert not any(kind.provisional for kind in board.columns)
    assert any("better in demo_whatsup beyond" in note for note in board.notes)
    # It names what is there, and does not know where.
    objects = [run.scores[2].metrics["accuracy"]["value"] for run in (base, guesser)]
    assert objects[0] > objects[1] + 20


@pytest.mark.slow
def test_the_story(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The whole story with two steps of training, so it says that nothing was learnt."""
    few = {"max_steps": "2", "batch": "16"}

    def told() -> Story:
        return story(tmp_path, count=64, sets=4, seeds=2, settings=few)

    first = told()
    assert [run.path.name for run in first.seeds] == ["seed-0", "seed-1"]
    assert [score.task for score in first.base.scores] == [
        *("demo_whatsup", "demo_vsr", "custom:objects")
    ]
    assert first.base.scores[0].prompt == "answers"
    assert len(first.spatial) == len(first.general) == 4
    assert first.shortcuts["What's Up"][0] == first.shortcuts["VSR"][1] == 25.0
    page = first.site.read_text()
    for said in ("seed 1", "the thing&#39;s place alone", "25.0", "Seed 0 reached"):
        assert said in page
    assert str(tmp_path) not in page  # models have short names
    assert tell(first) == 1
    printed, progress = capfd.readouterr()
    assert "it/s" not in progress  # a bar of transformers' own
    for said in ("seed 1", "control", "Seed 0 reached", "not 80"):
        assert said in printed
    # The control's pairs are as many, about the same pictures.
    trained = [
        pyarrow.parquet.read_table(tmp_path / name / "data") for name in ("dataset", "control")
    ]
    assert len(trained[0]) == len(trained[1]) == first.pairs
    # Once more, nothing is done again.
    weights = tmp_path / "arms" / "seed-0" / "model.safetensors"
    written = weights.stat().st_mtime_ns
    assert told().spatial == first.spatial
    assert weights.stat().st_mtime_ns == written


def test_the_demo_says_what_went_wrong_in_an_arm(tmp_path: Path) -> None:
    with pytest.raises(SpareError, match=r"`spare finetune` failed: .*steps_max.*\.log has all"):
        story(tmp_path, count=32, sets=2, seeds=1, settings={"steps_max": "2"})
