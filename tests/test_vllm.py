"""The engine `vllm` beside the engine `transformers`: same prompts, same replies, same refusals.

Each model in vLLM takes most of a minute to start, so tests share three.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_questions import answers, ask

from spare.demo.base import BASE
from spare.demo.checkpoint import build_checkpoint
from spare.demo.world import write_world
from spare.errors import DataError, ModelError
from spare.generation import llm
from spare.harness.models import load_model
from spare.harness.models.ahead import QUEUE
from spare.harness.models.types import Model, Request
from spare.harness.models.windows import LARGEST, WINDOW
from spare.images import Picture, open_picture
from spare.tasks import load_task
from spare.tasks.types import Reply

pytest.importorskip("vllm", reason="vLLM is not installed; `make test-vllm` installs it")

BOUND = 90 * 45
"""Pixels, in the model with an adapter."""


@pytest.fixture(scope="module", autouse=True)
def little_memory() -> Iterator[None]:
    """One GiB of keys and values per model, instead of half of the machine's memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        yield


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sentences = [llm.CLASSIFY, llm.ASK, llm.CANARY]
    return build_checkpoint(tmp_path_factory.mktemp("language"), "qwen2", sentences=sentences)


@pytest.fixture(scope="module")
def adapter(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tune(checkpoint, tmp_path_factory.mktemp("adapter"), ["q_proj", "v_proj"])


def tune(checkpoint: Path, folder: Path, modules: list[str] | str) -> Path:
    """A LoRA adapter of rank 4 whose weights are loud enough to be heard."""
    import peft
    import torch
    from transformers import AutoModelForImageTextToText

    network = AutoModelForImageTextToText.from_pretrained(checkpoint)
    config = peft.LoraConfig(r=4, target_modules=modules, init_lora_weights=False)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        wrapped = peft.get_peft_model(network, config)
        for name, weight in wrapped.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.3)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Model:
    return load_model(f"vllm:{checkpoint}")


@pytest.fixture(scope="module")
def twin(checkpoint: Path) -> Model:
    return load_model(str(checkpoint))


@pytest.fixture(scope="module")
def writer(language: Path) -> Model:
    return load_model(f"vllm:{language}", language=True)


@pytest.fixture(scope="module")
def tuned(checkpoint: Path, adapter: Path) -> Model:
    return load_model(f"vllm:{checkpoint}", adapter=str(adapter), max_pixels=BOUND)


# Parity


def test_prompts_are_the_same_token_for_token(
    model: Any, twin: Any, pictures: list[Picture]
) -> None:
    requests = ask(pictures)
    for request in requests:
        images = [open_picture(part) for part in request.parts if isinstance(part, Picture)]
        (ours,) = model._preparer.prompts([request], images)
        (theirs,) = twin._preparer.prompts([request], images)
        assert list(ours.tokens) == theirs.aligned["input_ids"][0].tolist()


def test_replies_are_the_same(model: Model, twin: Model, pictures: list[Picture]) -> None:
    """Text, finish and token counts. In float32 the tiny model's logits lie far enough apart."""
    requests = ask(pictures)
    found, expected = answers(model, requests), answers(twin, requests)
    assert found == expected
    assert len({reply.text for reply in found.values()}) > len(found) // 3


def test_the_demos_checkpoint_answers_the_same(tmp_path: Path) -> None:
    """A LLaVA whose weights have the names of published ones."""
    write_world(tmp_path, sets=2)
    samples = [
        *load_task("whatsup_a").samples(tmp_path),
        *load_task("whatsup_a").samples(tmp_path, prompt="answers"),
    ]
    requests = [
        Request(f"{number}", sample.parts, max_new_tokens=8)
        for number, sample in enumerate(samples)
    ]
    found, expected = (answers(load_model(f"{engine}{BASE}"), requests) for engine in ("vllm:", ""))
    assert found == expected


def test_options_are_ranked_the_same(model: Model, twin: Model, pictures: list[Picture]) -> None:
    requests = ask(pictures, rank=True)
    compare(answers(model, requests), answers(twin, requests))


def test_options_that_begin_alike_are_ranked_the_same(
    model: Model, twin: Model, pictures: list[Picture]
) -> None:
    options = {
        "A": "left",
        "B": "left of the table",
        "C": "left of the lamp",
        "D": "left of the table",
        "E": " left",
    }
    asked = [Request("1", (pictures[0], "Where is it?"), options, rank=True)]
    found, expected = answers(model, asked), answers(twin, asked)
    compare(found, expected)
    likelihoods = found["1"].likelihoods
    assert likelihoods is not None
    assert likelihoods["B"] == likelihoods["D"]


def test_more_options_than_vllm_compares_at_once(
    model: Model, twin: Model, pictures: list[Picture]
) -> None:
    options = {str(number): chr(33 + number % 94) + str(number) for number in range(300)}
    asked = [Request("1", (pictures[0], "Which?"), options, rank=True)]
    compare(answers(model, asked), answers(twin, asked))


def compare(found: dict[str, Reply], expected: dict[str, Reply]) -> None:
    for key, reply in found.items():
        ours, theirs = reply.likelihoods, expected[key].likelihoods
        assert ours is not None
        assert theirs is not None
        assert list(ours) == list(theirs)
        assert reply.input_tokens == expected[key].input_tokens
        for label, one in ours.items():
            other = theirs[label]
            assert one.total == pytest.approx(other.total, abs=1e-3)
            assert (one.tokens, one.characters) == (other.tokens, other.characters)


def test_an_adapter_and_a_bound_on_pixels(
    model: Model, tuned: Model, checkpoint: Path, adapter: Path, pictures: list[Picture]
) -> None:
    """The other engine merges the adapter; vLLM computes it beside the weights."""
    twin = load_model(str(checkpoint), adapter=str(adapter), max_pixels=BOUND)
    requests = ask(pictures)
    found = answers(tuned, requests)
    plain = answers(model, requests)
    assert found == answers(twin, requests)
    assert found != plain
    assert sum(reply.input_tokens for reply in found.values()) < sum(
        reply.input_tokens for reply in plain.values()
    )
    ranked = ask(pictures, rank=True)
    compare(answers(tuned, ranked), answers(twin, ranked))
    parts = {name for name in tuned.identity if tuned.identity[name] != model.identity.get(name)}
    assert parts == {"adapter", "max pixels"}


def test_identity_is_that_of_the_weights(model: Model, twin: Model) -> None:
    shared = set(model.identity) & set(twin.identity) - {"engine", "decoding"}
    assert {"weights", "config", "processor", "chat template", "dtype", "max pixels"} == shared
    assert all(model.identity[name] == twin.identity[name] for name in shared)
    assert model.identity["engine"] == "vllm"


# Language models

SCHEMA = {
    "type": "array",
    "minItems": 1,
    "maxItems": 2,
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["question", "answer"],
        "properties": {
            "question": {"type": "string", "minLength": 5, "maxLength": 12},
            "answer": {"type": "string", "minLength": 1, "maxLength": 12},
        },
    },
}


def texts() -> list[Request]:
    requests = []
    for number in range(6):
        parts = (llm.CLASSIFY, f"A mug is {number} steps left of a bowl.")
        schema = json.dumps(SCHEMA)
        requests += [
            Request(f"write {number}", parts, max_new_tokens=8),
            Request(f"rank {number}", parts, {"Yes": "Yes", "No": "No"}, rank=True),
            Request(f"shape {number}", parts, max_new_tokens=200, schema=schema),
        ]
    return requests


def test_a_language_model_answers_as_in_transformers(writer: Model, language: Path) -> None:
    twin = load_model(str(language), language=True)
    found, expected = answers(writer, texts()), answers(twin, texts())
    ranked = {key: reply for key, reply in found.items() if reply.likelihoods}
    assert len(ranked) == 6
    compare(ranked, expected)
    for key, reply in found.items():
        if key not in ranked:
            assert reply == expected[key]


def test_replies_keep_to_a_schema(writer: Model) -> None:
    """The weights are random, so nothing but the mask makes JSON of what they say."""
    for key, reply in answers(writer, texts()).items():
        if key.startswith("shape"):
            assert reply.finish == "stop"
            pairs = json.loads(reply.text)
            assert 1 <= len(pairs) <= 2
            assert all(set(pair) == {"question", "answer"} for pair in pairs)
            assert ": " not in reply.text


def test_a_reply_that_runs_in_circles_is_cut_off(writer: Model) -> None:
    schema = json.dumps({"type": "array", "items": {"const": "left of the mug, right of it"}})
    asked = [Request("1", ("Say it.",), max_new_tokens=900, schema=schema)]
    reply = answers(writer, asked)["1"]
    assert (reply.finish, reply.error) == ("length", "")
    assert 3 < reply.text.count("left of the mug") < 8


def test_a_schema_that_is_none_costs_only_itself(writer: Model) -> None:
    asked = [Request("bad", ("Say.",), schema='{"type": "nothing"}'), Request("good", ("Say.",))]
    found = answers(writer, asked)
    assert found["bad"].error.startswith("vLLM refused the question: ")
    assert not found["good"].error


# Faults


def test_bad_requests_cost_only_themselves(
    model: Model, twin: Model, pictures: list[Picture], tmp_path: Path
) -> None:
    """Word for word as the other engine says it."""
    from PIL import Image

    torn, narrow = tmp_path / "torn.png", tmp_path / "narrow.png"
    torn.write_bytes(pictures[0].path.read_bytes()[:300])
    Image.new("RGB", (900, 3), "red").save(narrow)
    bad = [
        Request("missing", (Picture(tmp_path / "no.png", "no.png"), "?")),
        Request("torn", (Picture(torn, "torn.png"), "?")),
        Request("narrow", (Picture(narrow, "narrow.png"), "?")),
        Request("long", (pictures[0], "left " * 5000)),
        Request("long text", ("left " * 5000,)),
        Request("long options", (pictures[0], "?"), {"A": "left " * 5000}, rank=True),
        Request("sign", (pictures[0], "an <|image_pad|> is?")),
        Request("empty", (pictures[0], "?"), {"A": ""}, rank=True),
        Request("none", (pictures[0], "?"), rank=True),
    ]
    good = ask(pictures)
    expected = answers(model, good)
    found = answers(model, [*bad, *good])
    for key, reply in answers(twin, bad).items():
        assert reply.error
        assert found.pop(key) == reply
    assert found == expected


def test_a_prompt_as_long_as_the_context_is_answered(model: Model) -> None:
    """The bound counts the prompt and what may be written after it, and not one token more."""
    tokens = answers(model, [Request("1", ("left",), max_new_tokens=1)])["1"].input_tokens
    text = "left" + " left" * (4096 - 1 - tokens)
    asked = [Request(str(bound), (text,), max_new_tokens=bound) for bound in (1, 2)]
    asked.append(Request("rank", (text,), {"A": " left", "B": " mug"}, rank=True))
    found = answers(model, asked)
    assert found["1"].input_tokens == 4095
    assert not found["1"].error
    assert not found["rank"].error
    assert "too long" in found["2"].error


def test_what_reading_raises_is_raised_by_the_engine(model: Model, pictures: list[Picture]) -> None:
    def torn() -> Iterator[Request]:
        yield from ask(pictures[:3])
        raise DataError("not JSON", "questions.jsonl", 7)

    with pytest.raises(DataError, match=r"questions\.jsonl, row 7"):
        list(model.answer(torn()))
    assert no_threads()


def test_closing_early_leaves_nothing_behind(model: Any, pictures: list[Picture]) -> None:
    """Nor is more read than promised; and what was given up is answered when asked anew."""
    read = itertools.count()

    def endless() -> Iterator[Request]:
        for number in itertools.count():
            next(read)
            picture = pictures[number // 4 % len(pictures)]
            yield Request(str(number), (picture, f"where is {number}?"), max_new_tokens=2)

    responses: Any = model.answer(endless())
    assert len(list(itertools.islice(responses, 100))) == 100
    time.sleep(0.5)
    responses.close()
    most = model._engine.vllm_config.scheduler_config.max_num_seqs * 5 // 4
    assert next(read) <= 100 + most + WINDOW + QUEUE * LARGEST
    assert no_threads()
    assert not model._engine.has_unfinished_requests()
    assert not any(reply.error for reply in answers(model, ask(pictures)).values())


def no_threads() -> bool:
    return not any(
        thread.name.startswith(("read", "prepare", "digest")) for thread in threading.enumerate()
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_vllm_has_begun_ends_with_the_command(
    checkpoint: Path, pictures: list[Picture], tmp_path: Path, stop: signal.Signals
) -> None:
    """Stopped while vLLM starts, which by itself would not hear it, or leave its processes."""
    import psutil

    questions = tmp_path / "questions.jsonl"
    row = {"image": pictures[0].path.name, "question": "?", "options": ["left", "right"]}
    questions.write_text(json.dumps(row | {"answer": "A"}) + "\n")
    command = [sys.executable, "-m", "spare", "eval", "--model", f"vllm:{checkpoint}"]
    command += ["--tasks", f"custom:{questions}", "--data", str(pictures[0].path.parent)]
    running = subprocess.Popen(
        [*command, "--out", str(tmp_path / "run")], stderr=subprocess.PIPE, text=True
    )
    begun: list[psutil.Process] = []
    while not any("EngineCore" in "".join(one.cmdline()) for one in begun):
        assert running.poll() is None, running.communicate()
        time.sleep(0.1)
        with contextlib.suppress(psutil.NoSuchProcess):
            begun = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(stop)
    said = running.communicate(timeout=60)[1]
    assert psutil.wait_procs(begun, timeout=30)[1] == []
    if stop is signal.SIGKILL:
        assert running.returncode == -stop
    else:
        assert running.returncode == 128 + stop
        assert "spare: stopped; the same command goes on from here." in said


# What vLLM does not run


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "cpu"}, "leave out --device"),
        ({"attention": "sdpa"}, "leave out --attn"),
        ({"dtype": "float33"}, "no dtype 'float33'"),
        ({"tensor_parallel": 0}, "over 0 devices"),
        ({"adapter": "nowhere"}, "nowhere is no adapter"),
    ],
)
def test_options_that_cannot_be_met(checkpoint: Path, options: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_model(f"vllm:{checkpoint}", **options)


def test_an_architecture_that_vllm_does_not_know(checkpoint: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    config["architectures"] = ["NothingForConditionalGeneration"]
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="NothingForConditionalGeneration, which the installed"):
        load_model(f"vllm:{copy}")


def test_an_adapter_on_the_picture_encoder_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    """vLLM would put half of it on and say nothing."""
    folder = tune(checkpoint, tmp_path / "adapter", ["q_proj", "qkv"])
    with pytest.raises(ModelError, match=r"changes base_model\.model\..*qkv"):
        load_model(f"vllm:{checkpoint}", adapter=str(folder))


def test_an_adapter_for_another_model_gets_a_sentence(tuned: Any, tmp_path: Path) -> None:
    from spare.harness.models.vllm_loading import put_on, read_adapter

    wider = build_checkpoint(tmp_path / "wider", "qwen2_vl", hidden=256)
    folder = tune(wider, tmp_path / "adapter", ["q_proj"])
    tuned._engine.remove_lora(1)
    with pytest.raises(ModelError, match="does not fit the model"):
        put_on(tuned._engine, read_adapter(str(folder), sees=True))
