"""A training from its command to its checkpoint: the curve, kills, faults, what is written."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from training_data import QUICK, rows, write_data

import spare
from spare.cli import main
from spare.demo.checkpoint import Family, build_checkpoint
from spare.errors import SpareError
from spare.finetune import outputs
from spare.finetune.checkpoints import is_whole, last_whole, mark_whole
from spare.finetune.job import FineTuned
from spare.finetune.pairs import read_pairs
from spare.finetune.recipes import load_recipe
from spare.harness.models.digests import digest_files
from spare.harness.models.loading import find_checkpoint, read_lineage


class World:
    """A data set and a base, and trainings of it."""

    def __init__(self, folder: Path, family: Family) -> None:
        self.folder = folder
        self.data = write_data(folder / "data", rows(pictures=10))
        self.base = build_checkpoint(folder / "base", family)

    def train(
        self, name: str, recipe: str = "demo", told: Any = None, **settings: Any
    ) -> FineTuned:
        (found,) = spare.fine_tune(
            recipe,
            data=self.data,
            out=self.folder / name,
            model=str(self.base),
            settings=QUICK | settings,
            on_event=told.append if told is not None else lambda event: None,
        )
        return found

    def weights(self, folder: Path) -> dict[str, Any]:
        from safetensors.torch import load_file

        found: dict[str, Any] = {}
        for path in folder.glob("*.safetensors"):
            found |= load_file(path)
        return found


def curve(folder: Path) -> list[tuple[int, float, float]]:
    """(step, loss, learning rate) of every step."""
    return [(one["step"], one["loss"], one["lr"]) for one in _lines(folder)]


def _lines(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "training" / "losses.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), "llava")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), "qwen2_vl")


@pytest.fixture(scope="module")
def whole(world: World) -> FineTuned:
    """A training without interruption, with dropout."""
    return world.train("whole", dropout=0.1, max_steps=6)


def _same(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return set(left) == set(right) and all(left[name].equal(right[name]) for name in left)


def test_it_learns(world: World) -> None:
    found = world.train("learns", max_steps=30, batch=8, lr=3e-3)
    losses = [loss for _, loss, _ in curve(found.folder)]
    assert len(losses) == 30
    assert losses[-1] < losses[0] / 2


def test_what_is_written(world: World, whole: FineTuned) -> None:
    checkpoint = find_checkpoint(str(whole.folder))
    base = find_checkpoint(str(world.base))
    assert checkpoint.config == base.config
    told = read_lineage(whole.folder)
    assert told["base"] == {
        "name": "base",
        "weights": digest_files(base.weights),
        "revision": "",
    }
    assert told["data"]["name"] == "data"
    assert told["data"]["digest"]
    assert told["data"]["card"]
    assert (told["seed"], told["recipe"]["dropout"], told["recipe"]["batch"]) == (0, 0.1, 4)
    assert {"spare-eval", "trl", "torch"} <= set(told["code"])
    assert all(told["code"].values())  # without git there is no revision
    card = (whole.folder / "README.md").read_text("utf-8")
    assert digest_files(base.weights) in card
    assert whole.command in card
    assert not list(whole.folder.glob("training/checkpoint-*"))
    before, after = world.weights(world.base), world.weights(whole.folder)
    assert set(before) == set(after)
    assert not _same(before, after)
    assert {name: value.dtype for name, value in before.items()} == {
        name: value.dtype for name, value in after.items()
    }


def test_a_checkpoint_has_its_bases_precision_and_tied_weights(qwen: World, tmp_path: Path) -> None:
    """As Qwen2-VL-2B is: bfloat16, one matrix for reading and writing words."""
    import torch
    from transformers import AutoModelForImageTextToText

    network = AutoModelForImageTextToText.from_pretrained(qwen.base, dtype=torch.bfloat16)
    shutil.copytree(qwen.base, tmp_path / "base")
    network.config.tie_word_embeddings = True
    network.config.text_config.tie_word_embeddings = True
    network.lm_head.weight = network.get_input_embeddings().weight
    network.save_pretrained(tmp_path / "base")
    (found,) = spare.fine_tune(
        "demo",
        data=qwen.data,
        out=tmp_path / "out",
        model=str(tmp_path / "base"),
        settings=QUICK,
    )
    before, after = qwen.weights(tmp_path / "base"), qwen.weights(found.folder)
    assert "lm_head.weight" not in before
    assert set(after) == set(before)
    assert {value.dtype for value in after.values()} == {torch.bfloat16}
    assert find_checkpoint(str(found.folder)).config["dtype"] == "bfloat16"
    assert spare.load_model(str(found.folder)).identity["dtype"] == "bfloat16"


def test_the_harness_evaluates_it_and_keeps_the_lineage(whole: FineTuned, tmp_path: Path) -> None:
    from training_data import picture

    (tmp_path / "0.png").write_bytes(picture(0))
    line = {
        "image": "0.png",
        "question": "Where is the mug?",
        "answer": "left",
        "options": ["left", "right"],
    }
    (tmp_path / "task.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    run = spare.evaluate(
        str(whole.folder), f"custom:{tmp_path / 'task.jsonl'}", data=tmp_path, out=tmp_path / "run"
    )
    assert run.manifest["lineage"] == read_lineage(whole.folder)


class Stopped(Exception):
    """Stands for whatever ends a training."""


@pytest.mark.parametrize(
    ("family", "recipe"), [("llava", "demo"), ("qwen2_vl", "demo"), ("qwen2_vl", "spare-7b")]
)
def test_going_on_gives_the_curve_of_no_interruption(
    world: World, qwen: World, family: str, recipe: str
) -> None:
    """Also of the order of the data and of dropout, which make every step's loss what it is."""
    world = world if family == "llava" else qwen
    settings = {"dropout": 0.1, "max_steps": 6, "precision": "float32"}
    whole = world.train(f"{recipe} whole", recipe, **settings)

    def stop(event: Any) -> None:
        if getattr(event, "step", 0) == 3:
            raise Stopped

    out = world.folder / f"{recipe} stopped"
    asked: dict[str, Any] = {
        "data": world.data,
        "out": out,
        "model": str(world.base),
        "settings": QUICK | settings,
    }
    with pytest.raises(Stopped):
        spare.fine_tune(recipe, **asked, on_event=stop)
    assert not (out / "lineage.json").exists()
    assert [step for step, _, _ in curve(out)] == [1, 2, 3]
    before = [one | {"seconds": 5000.0, "waited": 4000.0} for one in _lines(out)]
    (out / "training/losses.jsonl").write_text("\n".join(map(json.dumps, before)) + "\n", "utf-8")
    told: list[Any] = []
    (found,) = spare.fine_tune(recipe, **asked, on_event=told.append)
    assert "Going on from step 2." in told
    assert len(curve(out)) == 6
    assert curve(out) == curve(world.folder / f"{recipe} whole")
    assert _same(world.weights(found.folder), world.weights(whole.folder))
    # What was spent before counts; a step that was done twice counts once.
    lines = _lines(out)
    assert lines[:2] == before[:2]
    uninterrupted = _lines(world.folder / f"{recipe} whole")
    assert [one["tokens"] for one in lines] == [one["tokens"] for one in uninterrupted]
    assert all(5000 <= one["seconds"] < 9000 and 4000 <= one["waited"] < 5000 for one in lines)
    assert 5000 < found.result["seconds"] < 9000
    assert found.result["waited_seconds"] == pytest.approx(lines[-1]["waited"], abs=0.001)
    assert f"{found.result['seconds']:,.0f} seconds" in (found.folder / "README.md").read_text()
    # Dropout is at work: without it, the losses are others.
    world.train(f"{recipe} dry", recipe, **settings | {"dropout": 0.0, "max_steps": 2})
    assert curve(world.folder / f"{recipe} dry") != curve(out)[:2]


def test_a_finished_training_is_not_begun_again(world: World, whole: FineTuned) -> None:
    told: list[Any] = []
    again = world.train("whole", dropout=0.1, max_steps=6, told=told)
    assert told == [f"{whole.folder} is finished already."]
    assert again == whole


def test_another_training_needs_another_folder(world: World, whole: FineTuned) -> None:
    with pytest.raises(SpareError, match="a training with another lr; choose another --out"):
        world.train("whole", dropout=0.1, max_steps=6, lr=1e-4)
    other = build_checkpoint(world.folder / "other base", "llava", seed=1)
    with pytest.raises(SpareError, match="a training with another base; choose another --out"):
        spare.fine_tune(
            "demo",
            data=world.data,
            out=world.folder / "whole",
            model=str(other),
            settings=QUICK | {"dropout": 0.1, "max_steps": 6},
        )
    with pytest.raises(SpareError, match="is the base itself"):
        spare.fine_tune("demo", data=world.data, out=world.base, model=str(world.base))
    with pytest.raises(SpareError, match="holds something else"):
        spare.fine_tune("demo", data=world.data, out=world.data, model=str(world.base))


COMMAND = [sys.executable, "-m", "spare", "finetune"]


def _command(world: World, out: Path, **settings: Any) -> list[str]:
    words = ["--recipe", "demo", "--data", str(world.data), "--model", str(world.base)]
    for key, value in (QUICK | settings).items():
        words += ["--set", f"{key}={value}"]
    return [*COMMAND, *words, "--out", str(out)]


def test_killed_anywhere_the_same_command_goes_on(world: World, whole: FineTuned) -> None:
    out = world.folder / "killed"
    command = _command(world, out, dropout=0.1, max_steps=6, workers=1)
    said = world.folder / "killed.log"
    with said.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 300
    while not (out / "training" / "checkpoint-2" / "whole.json").exists():
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < until
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "lineage.json").exists()
    # As a kill in the middle of writing would leave it.
    torn = out / "training" / "checkpoint-5"
    shutil.copytree(out / "training" / "checkpoint-2", torn)
    with (torn / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in said.read_text("utf-8")  # nor of a process that prepared batches
    assert "Going on from step " in finished.stderr
    assert "Going on from step 5" not in finished.stderr
    assert f"spare eval --model {out}" in finished.stdout
    assert curve(out) == curve(whole.folder)
    assert _same(world.weights(out), world.weights(whole.folder))


def test_ended_between_the_last_step_and_the_checkpoint(
    world: World, whole: FineTuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps are done, nothing is written yet: no step is done again."""
    from spare.finetune import outputs

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = world.folder / "unwritten"
    with monkeypatch.context() as patch:
        patch.setattr(outputs.shutil, "copyfile", full)
        with pytest.raises(SpareError, match="The disk is full"):
            world.train("unwritten", dropout=0.1, max_steps=6)
    assert not (out / "lineage.json").exists()
    told: list[Any] = []
    found = world.train("unwritten", told=told, dropout=0.1, max_steps=6)
    assert "Going on from step 6." in told
    assert curve(out) == curve(whole.folder)
    assert _same(world.weights(out), world.weights(whole.folder))
    assert found.result["last_loss"] == whole.result["last_loss"]


def test_a_checkpoint_counts_when_it_is_whole(tmp_path: Path) -> None:
    for step in (2, 4, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x" * 100)
        mark_whole(folder)
    assert last_whole(tmp_path) == tmp_path / "checkpoint-10"
    (tmp_path / "checkpoint-10" / "model.safetensors").write_bytes(b"x" * 99)
    (tmp_path / "checkpoint-4" / "whole.json").unlink()
    assert not is_whole(tmp_path / "checkpoint-10")
    assert last_whole(tmp_path, remove=True) == tmp_path / "checkpoint-2"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def test_weights_that_cannot_be_gone_on_from_are_never_written(world: World) -> None:
    """The first step of a warm-up changes nothing, and the second everything."""
    spoiling = {"lr": 1e20, "warmup_steps": 1, "max_steps": 6}
    with pytest.raises(SpareError, match=r"after step 2 .*were those of step 1\. The checkpoint of "
                       r"step 1 is whole") as told:  # fmt: skip
        world.train("spoilt", **spoiling, save_steps=1)
    assert "float32" not in str(told.value)
    training = world.folder / "spoilt" / "training"
    assert [path.name for path in training.glob("checkpoint-*")] == ["checkpoint-1"]
    before = world.weights(world.base).values()
    after = world.weights(training / "checkpoint-1").values()  # under its modules' names
    assert sum(value.abs().sum() for value in after) == sum(value.abs().sum() for value in before)
    # No checkpoint was due; the third step's loss tells.
    with pytest.raises(
        SpareError, match=r"of step 3 is (nan|inf).*were those of step 1\. No check"
    ):
        world.train("spoilt soon", **spoiling, save_steps=5)


@pytest.mark.parametrize("lr", [1e30, 1e2])
def test_weights_that_are_no_use_are_no_result(world: World, lr: float) -> None:
    """At 100 there is a loss still, and no gradient."""
    with pytest.raises(SpareError, match=r"after step 1 .*The last sound weights were the base's"):
        world.train(f"useless {lr}", lr=lr, max_steps=1)
    out = world.folder / f"useless {lr}"
    assert not list(out.rglob("*.safetensors"))
    assert not (out / "lineage.json").exists()


def test_a_broken_base_is_told_before_the_first_step(world: World, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(world.base, tmp_path / "base")
    weights = load_file(world.base / "model.safetensors")
    name = next(name for name in weights if "q_proj" in name)
    weights[name] = weights[name] * float("nan")
    save_file(weights, tmp_path / "base" / "model.safetensors", {"format": "pt"})
    with pytest.raises(SpareError, match=r"before the first step is nan: the base's are broken\."):
        spare.fine_tune(
            "demo", data=world.data, out=tmp_path / "out", model=str(tmp_path / "base"),
            settings=QUICK | {"layout": "pairs"},
        )  # fmt: skip


def test_a_weight_too_large_for_the_bases_precision_is_not_written(world: World) -> None:
    import torch

    from spare.finetune.outputs import cast

    half = dataclasses.replace(find_checkpoint(str(world.base)), config={"dtype": "float16"})
    assert cast({"a": torch.tensor([6e4])}, half)["a"].dtype == torch.float16
    with pytest.raises(SpareError, match="a has grown too large for the base's precision, float16"):
        cast({"a": torch.tensor([7e4])}, half)


def test_a_process_that_prepares_batches_dies_in_silence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from spare.finetune.training import _tell_of_worker

    for error in (ConnectionResetError(), BrokenPipeError(), EOFError()):
        _tell_of_worker(type(error), error, None)
    assert capsys.readouterr().err == ""
    _tell_of_worker(ValueError, ValueError("a bug"), None)
    assert "a bug" in capsys.readouterr().err


def test_what_befalls_a_training_is_a_sentence(tmp_path: Path) -> None:
    """As the libraries word it."""
    import torch
    from safetensors import SafetensorError

    from spare.finetune.faults import sentences

    (tmp_path / "checkpoint-2").mkdir()
    mark_whole(tmp_path / "checkpoint-2")

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    faults: list[tuple[Exception, str]] = [
        (torch.OutOfMemoryError("CUDA out of memory."), "Lower batch_tokens"),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"
            ),
            "Lower batch_tokens",
        ),
        (full, "The disk is full"),
        (
            SafetensorError("Error while serializing: I/O error: No space left on device"),
            "disk is full",
        ),
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file"), "disk is full"),
        (
            ValueError(
                "Could not find the transformer layer class CLIPTextEmbeddings in the model."
            ),
            "class CLIPTextEmbeddings .*--fsdp_transformer_layer_cls_to_wrap",
        ),
    ]
    for fault, said in faults:
        with pytest.raises(SpareError, match=said) as told, sentences(tmp_path):
            raise fault
        assert "The checkpoint of step 2 is whole" in str(told.value) or "FSDP" in str(told.value)
    bug = RuntimeError("shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="multiplied"), sentences(tmp_path):
        raise bug


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_leaves_what_is_whole(world: World) -> None:
    out = world.folder / "full"

    def fill(event: Any) -> None:
        if getattr(event, "step", 0) == 3:
            # From here on, the curve's file takes nothing.
            path = out / "training" / "losses.jsonl"
            path.unlink()
            path.symlink_to("/dev/full")

    with pytest.raises(SpareError, match=r"The disk is full.*The checkpoint of step 2 is whole"):
        spare.fine_tune(
            "demo",
            data=world.data,
            out=out,
            model=str(world.base),
            settings=QUICK | {"max_steps": 6},
            on_event=fill,
        )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_goes_bad_meanwhile(tmp_path: Path, world: World, workers: int) -> None:
    """Found whole before the first step, damaged when it was to be trained on."""
    data = write_data(tmp_path / "data", pixels=False)

    def harm(event: Any) -> None:
        if isinstance(event, str) and "steps of" in event:
            for path in (data / "pictures").iterdir():
                path.write_bytes(path.read_bytes()[:50])

    with pytest.raises(SpareError, match=r"^Picture \d.png is damaged .*No checkpoint"):
        spare.fine_tune(
            "demo",
            data=data,
            out=tmp_path / "out",
            model=str(world.base),
            pictures=data / "pictures",
            settings=QUICK | {"workers": workers},
            on_event=harm,
        )


def test_two_trainings_never_write_one_folder(world: World) -> None:
    from spare.disk import locked

    with locked(world.folder / "held"), pytest.raises(SpareError, match="Another process"):
        world.train("held")


def test_reports_that_are_not_to_be_had_are_refused(world: World) -> None:
    from transformers.integrations import get_available_reporting_integrations

    absent = {"clearml", "swanlab"} - set(get_available_reporting_integrations())
    refused = {"telegraph": r"knows no telegraph\. It knows .*tensorboard.*wandb",
               "tensorbord": r"tensorbord \(did you mean tensorboard\?\)"}  # fmt: skip
    refused |= {name: f"{name} needs a package.*pip install {name}" for name in absent}
    for name, said in refused.items():
        with pytest.raises(SpareError, match=said) as told:
            # Known before anything is looked for.
            spare.fine_tune("demo", data="nowhere", out="out", model="nothing", report_to=name)
        assert ("pip" in str(told.value)) == (name in absent)


def test_without_bitsandbytes_it_is_said(world: World) -> None:
    import importlib.util

    if importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    with pytest.raises(SpareError, match="--set optimiser=adamw"):
        world.train("eight", optimiser="adamw-8bit")


def test_precision_and_dropout_are_told(world: World) -> None:
    import torch

    told: list[Any] = []
    world.train("told", told=told, precision="bf16", dropout=0.1, warmup_steps=9, max_steps=1)
    sentences = " ".join(one for one in told if isinstance(one, str))
    if not torch.cuda.is_available():
        assert "Computing in float32: there is no GPU." in sentences
    assert "Dropout 0.1 is on the attention of 2 layers of the language tower" in sentences
    assert "The warm-up (9 steps) outlasts the training" in sentences
    assert "batch_tokens" not in sentences
    world.train("told of length", told=told, batch_tokens=10, max_steps=1)
    (said,) = [one for one in told if "batch_tokens" in str(one)]
    assert re.search(r"has up to \d\d tokens, more than batch_tokens=10: it is a", said)
    assert max(len(one) for one in told if isinstance(one, str)) <= 110


def test_an_adapter_tells_its_modules_and_dropout_and_the_true_base(qwen: World) -> None:
    told: list[Any] = []
    found = qwen.train("honest", "spare-7b", told=told, max_steps=1, precision="float32")
    lines = [one for one in told if isinstance(one, str)]
    assert "LoRA of rank 16 on 14 modules in model.language_model, none outside it:" in lines
    assert "  q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj (2 each)." in lines
    assert any(one.startswith("Dropout 0.1 is on what goes into the adapter") for one in lines)
    assert max(map(len, lines)) <= 100
    lineage = read_lineage(found.folder)
    assert (lineage["base"]["name"], lineage["recipe"]["precision"]) == ("base", "float32")
    written = json.dumps(lineage) + (found.folder / "README.md").read_text("utf-8")
    assert "Qwen/" not in written
    assert "bf16" not in written


@pytest.mark.parametrize("recipe", ["demo", "spare-7b"])
def test_bf16_where_a_processor_stands_in_for_a_gpu(
    qwen: World, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    """Computed in bf16, and the weights that are trained stay float32."""
    import torch

    from spare.finetune import job

    settings = {"max_steps": 6, "warmup_steps": 1, "dropout": 0.0}
    qwen.train(f"{recipe} fine", recipe, precision="float32", **settings)
    monkeypatch.setattr(job, "computes_in_bf16", lambda recipe, on_event: True)
    seen: list[Any] = []

    def look(event: Any) -> None:
        last = last_whole(qwen.folder / f"{recipe} coarse" / "training")
        if last is not None and not seen:
            seen.append({value.dtype for value in qwen.weights(last).values()})

    (found,) = spare.fine_tune(
        recipe,
        data=qwen.data,
        out=qwen.folder / f"{recipe} coarse",
        model=str(qwen.base),
        settings=QUICK | settings | {"precision": "bf16"},
        on_event=look,
    )
    assert read_lineage(found.folder)["recipe"]["precision"] == "bf16"
    assert seen == [{torch.float32}]
    losses = [
        [one[1] for one in curve(qwen.folder / f"{recipe} {how}")] for how in ("fine", "coarse")
    ]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl"])
def test_neither_layout_nor_batches_change_the_loss(tmp_path: Path, family: Family) -> None:
    """One step over all pairs: no order is left that they could differ in."""
    world = World(tmp_path, family)
    total = len(rows(pictures=10))
    losses, accuracies = {}, []
    for layout in ("shared", "pairs"):
        for tokens in (200, 500, 5000):
            name = f"{layout}{tokens}"
            found = world.train(name, layout=layout, batch=total, max_steps=3, batch_tokens=tokens)
            accuracies.append([one["token_accuracy"] for one in _lines(found.folder)])
            losses[found.result["accumulation"], layout] = [
                loss for _, loss, _ in curve(found.folder)
            ]
    assert len({batches for batches, _ in losses}) >= 3
    first, *others = losses.values()
    assert all(other == pytest.approx(first, rel=1e-4) for other in others)
    assert accuracies[0][-1] > 0.1
    assert all(other == pytest.approx(accuracies[0], abs=1e-4) for other in accuracies)


def test_a_step_may_have_more_batches_than_a_process_may_open_files(world: World) -> None:
    told: list[Any] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 100, hard))
    try:
        found = world.train("files", told=told, batch=200, max_steps=1, workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found.result["accumulation"] > 50  # of several tensors each
    note = f"A step takes 200 pairs, and an epoch has {len(rows(pictures=10))}"
    assert any(str(one).startswith(note) for one in told)


def test_a_model_that_no_mask_fits_gets_a_sequence_for_each_pair(
    world: World, tmp_path: Path
) -> None:
    """A language tower that looks back 8 tokens: a mask of ours would let it see further."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration, MistralConfig

    shutil.copytree(world.base, tmp_path / "base")
    told = json.loads((world.base / "config.json").read_bytes())
    text = {name: told["text_config"][name] for name in ("vocab_size", "hidden_size")}
    settings = {name: told[name] for name in ("image_token_index", "image_seq_length")}
    config = LlavaConfig(
        text_config=MistralConfig(
            **text,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=8,
            initializer_range=0.1,
        ),
        vision_config=told["vision_config"],
        vision_feature_layer=-1,
        tie_word_embeddings=False,
        **settings,
    )
    LlavaForConditionalGeneration(config).save_pretrained(tmp_path / "base")
    events: list[Any] = []
    (found,) = spare.fine_tune(
        "demo",
        data=world.data,
        out=tmp_path / "out",
        model=str(tmp_path / "base"),
        settings=QUICK,
        on_event=events.append,
    )
    assert any("Each pair gets a sequence of its own: for this model, " in str(e) for e in events)
    assert any("layout pairs" in str(event) for event in events)
    assert len(curve(found.folder)) == 4


def test_seeds(world: World) -> None:
    found = spare.fine_tune(
        "demo",
        data=world.data,
        out=world.folder / "seeds",
        model=str(world.base),
        settings=QUICK | {"max_steps": 2},
        seed=3,
        seeds=2,
    )
    assert [one.folder.name for one in found] == ["seed-3", "seed-4"]
    told = [read_lineage(one.folder) for one in found]
    assert [one.pop("seed") for one in told] == [3, 4]
    assert told[0] == told[1]  # the leaderboard makes one row of such
    assert curve(found[0].folder) != curve(found[1].folder)


def test_an_adapter_is_on_the_language_tower_alone_and_merges(qwen: World) -> None:
    told: list[Any] = []
    found = qwen.train(
        "lora", "spare-7b", told, max_steps=4, precision="float32", lr=1e-2, max_pixels=12544
    )
    assert found.folder.name == "adapter"
    names = list(qwen.weights(found.folder))
    assert names
    assert all("language_model" in name and "visual" not in name for name in names)
    assert any("LoRA of rank 16 on 14 modules in model.language_model" in str(e) for e in told)
    assert "--max-pixels 12544" in found.command
    merged = spare.merge(found.folder, out=qwen.folder / "merged")
    card = (merged.folder / "README.md").read_text("utf-8")
    assert "A LoRA adapter in the base's weights" in card
    assert merged.command in card
    assert "none outside it:\n  q_proj, k_proj" in card  # one bullet
    assert merged.changed == 14  # seven projections in each of two layers
    assert merged.distance < merged.tolerance
    before, after = qwen.weights(qwen.base), qwen.weights(merged.folder)
    differ = {name for name in before if not before[name].equal(after[name])}
    assert len(differ) == 14
    assert not any("visual" in name for name in differ)
    assert read_lineage(merged.folder)["base"] == read_lineage(found.folder)["base"]
    model = spare.load_model(str(merged.folder))
    assert (
        model.identity["chat template"]
        == spare.load_model(str(qwen.base)).identity["chat template"]
    )
    with pytest.raises(SpareError, match="is not empty"):
        spare.merge(found.folder, out=qwen.folder / "merged")
    # One that was killed while it wrote, between its first file and its last.
    torn = qwen.folder / "torn"
    (torn / ".part").mkdir(parents=True)
    (torn / ".part" / "model.safetensors").write_bytes(b"half")
    shutil.copyfile(merged.folder / "config.json", torn / "config.json")
    spare.merge(found.folder, out=torn)
    weights = "model.safetensors"
    assert (torn / weights).read_bytes() == (merged.folder / weights).read_bytes()
    assert not (torn / ".part").exists()
    with pytest.raises(SpareError, match="is not the one that"):
        spare.merge(found.folder, out=qwen.folder / "other", model=str(merged.folder))
    with pytest.raises(SpareError, match=r"not the one that .* was trained on"):
        spare.load_model(str(merged.folder), adapter=str(found.folder))
    with pytest.raises(SpareError, match=r"is no adapter: .* is one\."):
        spare.merge(found.folder.parent, out=qwen.folder / "other")


def test_an_adapter_that_changes_nothing_is_not_merged(qwen: World) -> None:
    found = qwen.train("still", "spare-7b", max_steps=1, precision="float32", warmup_steps=1)
    with pytest.raises(SpareError, match="changes no weight"):
        spare.merge(found.folder, out=qwen.folder / "unchanged")
    assert not (qwen.folder / "unchanged").exists()


def test_an_adapter_with_a_weight_that_is_no_number_is_not_merged(
    qwen: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    found = qwen.train("broken", "spare-7b", max_steps=1, precision="float32", lr=1e-2)
    path = found.folder / "adapter_model.safetensors"
    weights = load_file(path)
    next(iter(weights.values()))[0, 0] = torch.nan
    save_file(weights, path, {"format": "pt"})
    assert main(["merge", str(found.folder), "--out", str(tmp_path / "merged")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"spare: The weights of adapter {found.folder} cannot be merged: NaNs")
    assert not (tmp_path / "merged").exists()


def test_the_card_tells_no_revision_where_there_is_no_git(
    world: World, whole: FineTuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    told = outputs.lineage(
        find_checkpoint(str(world.base)), "", [read_pairs(world.data)], load_recipe("demo"), 0
    )
    assert "revision" not in told["code"]
    assert "- Program: spare-eval " in outputs.card(told, [], whole.result)


def test_modules_outside_the_language_tower_are_refused(qwen: World) -> None:
    with pytest.raises(SpareError, match=r"outside the language tower, model\.visual"):
        qwen.train("outside", "spare-7b", precision="float32", lora_modules=".*attn.*proj")
    with pytest.raises(SpareError, match="matches no module"):
        qwen.train("nothing", "spare-7b", precision="float32", lora_modules="transformer.h")


def _on_two_processors(world: World, out: Path, program: Sequence[str], **settings: Any) -> str:
    """Train in two processes; returns what was printed beside the result."""
    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    launch += ["--num_processes", "2", "--main_process_port", "0", *program, "finetune"]
    words = _command(world, out, **settings)[len(COMMAND) :]
    finished = subprocess.run([*launch, *words], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert json.loads((out / "training" / "training.json").read_bytes())["devices"] == 2
    return finished.stderr


def _same_but_for_rounding(world: World, alone: Path, together: Path) -> None:
    for one, other in zip(curve(alone), curve(together), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    for name in ("tokens", "token_accuracy"):
        one, other = ([line[name] for line in _lines(place)] for place in (alone, together))
        assert one == pytest.approx(other, abs=1e-4)
    before, after = world.weights(alone), world.weights(together)
    assert max((before[name] - after[name]).abs().max().item() for name in before) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_two_processes_give_the_loss_of_one(world: World, qwen: World, family: str) -> None:
    """Some of LLaVA's weights get no gradient, and all of Qwen2-VL's do: DDP is to know."""
    world = world if family == "llava" else qwen
    alone, together = world.folder / "alone", world.folder / "together"
    world.train("alone")
    told = _on_two_processors(world, together, ["--multi_gpu", "-m", "spare"])
    assert "Warning" not in told
    _same_but_for_rounding(world, alone, together)


FSDP2 = ["--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"]


@pytest.mark.slow
def test_shared_out_weights_give_the_loss_of_one(qwen: World) -> None:
    """FSDP2, with several batches in a step; every process has one shard of each weight."""
    alone, together = qwen.folder / "in one piece", qwen.folder / "in shards"
    settings = {"batch_tokens": 100, "clip": 1e6}
    assert qwen.train("in one piece", **settings).result["accumulation"] > 2
    program = [*FSDP2, "--fsdp_state_dict_type", "FULL_STATE_DICT"]
    program.append(str(Path(__file__).with_name("fsdp_on_processors.py")))
    _on_two_processors(qwen, together, program, **settings)
    assert json.loads((together / "training" / "training.json").read_bytes())["accumulation"] > 1
    _same_but_for_rounding(qwen, alone, together)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_weights_that_no_gradient_reaches_are_known(tmp_path: Path, family: Family) -> None:
    from transformers import AutoModelForImageTextToText

    from spare.finetune.network import reaches_all
    from spare.finetune.sequences import Encoder
    from spare.finetune.survey import blank_batch
    from spare.harness.models import Options
    from spare.harness.models.loading import load_processor
    from spare.harness.models.prompts import Preparer
    from spare.harness.models.transformers import picture_tokens

    checkpoint = find_checkpoint(str(build_checkpoint(tmp_path, family)))
    network = AutoModelForImageTextToText.from_pretrained(checkpoint.folder)
    processor = load_processor(checkpoint, Options())
    tokens = picture_tokens(network.config, processor)
    end = processor.tokenizer.eos_token_id
    batch = blank_batch(Encoder(Preparer(processor, tokens, 4096, None), [end]))
    network(**batch).loss.backward()
    reached = all(weight.grad is not None for weight in network.parameters())
    assert reaches_all(network, batch) == reached == (family == "qwen2_vl")
