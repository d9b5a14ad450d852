"""The engine `openai` against a real `vllm serve`: same prompts, same replies, and nothing is lost
when the server dies. What servers may do wrong is in test_openai.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_questions import answers, ask
from vllm_server import Server, vllm_serve

from spare.errors import ModelError
from spare.generation import llm
from spare.harness.models import load_model
from spare.harness.models.types import Model, Request
from spare.images import Picture

pytest.importorskip("vllm", reason="vLLM is not installed; `make test-vllm` installs it")

NAME = "tiny-vlm"


@pytest.fixture(scope="module", autouse=True)
def _environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_BASE_URL", raising=False)
        patch.delenv("OPENAI_API_KEY", raising=False)
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with vllm_serve(checkpoint, NAME, tmp_path_factory.mktemp("log") / "server.log") as one:
        yield one


@pytest.fixture(scope="module")
def model(server: Server) -> Model:
    return load_model(f"openai:{NAME}", base_url=server.url)


@pytest.fixture(scope="module")
def twin(checkpoint: Path) -> Model:
    return load_model(str(checkpoint))


def test_replies_are_those_of_the_checkpoint(
    model: Model, twin: Model, pictures: list[Picture]
) -> None:
    """Prompts have as many tokens, and replies are the same; only half a character at a reply's
    end, which the other engine shows as such, does not leave the server."""
    requests = ask(pictures)
    found, expected = answers(model, requests), answers(twin, requests)
    for key, reply in expected.items():
        ours = found[key]
        assert not ours.error
        assert ours.text == reply.text.rstrip("\ufffd")
        assert (ours.input_tokens, ours.output_tokens) == (reply.input_tokens, reply.output_tokens)
        assert ours.finish == reply.finish
    assert len({reply.text for reply in found.values()}) > len(found) // 3


def test_first_tokens_are_as_likely_as_in_the_checkpoint(
    model: Model, twin: Model, pictures: list[Picture]
) -> None:
    """Other spellings of an option are added up, so it may be likelier, and by its likeliest
    spelling alone it is as likely. Options that the server does not name are an error."""
    requests = [
        Request(request.key, request.parts, {"A": "B", "B": "D"}, rank=True)
        for request in ask(pictures, each=8)
    ]
    found, expected = answers(model, requests), answers(twin, requests)
    named = 0
    for key, reply in found.items():
        ours, theirs = reply.likelihoods, expected[key].likelihoods
        assert theirs is not None
        if ours is None:
            assert "None of the options" in reply.error
            continue
        for label, one in ours.items():
            if one.total > min(other.total for other in ours.values()):
                named += 1
                assert one.total >= theirs[label].total - 1e-3
    assert named


def test_replies_keep_to_a_schema(model: Model) -> None:
    request = llm.pairs_request("pairs", "A cup stands to the left of a plate.", 400)
    reply = answers(model, [request])["pairs"]
    assert not reply.error
    assert request.schema
    assert reply.finish in ("stop", "length")
    assert reply.text.startswith("[")
    if reply.finish == "stop":
        assert all(set(pair) == {"question", "answer"} for pair in json.loads(reply.text))


def test_a_prompt_that_is_too_long_costs_only_itself(model: Model) -> None:
    found = answers(model, [Request("long", ("left " * 5000,)), Request("short", ("left",))])
    assert "maximum context length is 2048" in found["long"].error
    assert not found["short"].error


def test_identity_says_what_the_server_says(model: Model, checkpoint: Path) -> None:
    assert model.identity["root"] == str(checkpoint)
    assert model.facts["context"] == "2048"


def test_a_model_that_is_not_served_is_refused_at_the_start(server: Server) -> None:
    with pytest.raises(ModelError, match=f"it serves {NAME}"):
        load_model("openai:other-vlm", base_url=server.url)


def test_a_run_outlives_its_server(
    checkpoint: Path, pictures: list[Picture], tmp_path: Path
) -> None:
    """The server is killed in mid-run and started anew; the scores are those of the checkpoint."""
    rows = [
        {"image": picture.path.name, "question": f"{request.parts[-1]} {number}"}
        | {"options": ["left", "right"], "answer": "A"}
        for number, request in enumerate(ask(pictures, each=12))
        for picture in request.parts
        if isinstance(picture, Picture)
    ]
    folder = pictures[0].path.parent
    questions = folder / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = ["--tasks", f"custom:{questions}", "--data", folder]
    out, expected = tmp_path / "run", tmp_path / "expected"

    def spare(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "spare", *map(str, arguments)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})

    with vllm_serve(checkpoint, NAME, tmp_path / "first.log") as first:
        call = ["eval", "--model", f"openai:{NAME}", "--base-url", first.url, "--out", out]
        call += [*common, "--concurrency", 1]
        running = spare(*call)
        replies = out / "replies.jsonl"
        while not (replies.exists() and replies.read_bytes().count(b"\n") >= 3):
            assert running.poll() is None, running.communicate()
            time.sleep(0.01)
        first.kill()
    with vllm_serve(checkpoint, NAME, tmp_path / "second.log", first.port):
        running.communicate()  # goes on once the new server is there, or gives up on some questions
        again = spare(*call)
        said = again.communicate()[1]
        assert again.returncode == 0, said
    alone = spare("eval", "--model", checkpoint, *common, "--out", expected)
    said = alone.communicate()[1]
    assert alone.returncode == 0, said
    assert len(rows) > 20
    assert texts(out) == {sample: text.rstrip("\ufffd") for sample, text in texts(expected).items()}


def texts(run: Path) -> dict[str, str]:
    """Replies by sample; asserts that none is an error. A question that was given up stands there
    as an error, and then as what it was answered later."""
    lines = [json.loads(line) for line in (run / "replies.jsonl").read_text().splitlines()]
    found = {line["id"]: line for line in lines}
    assert not any(line.get("error") for line in found.values())
    answered = [line["id"] for line in lines if not line.get("error")]
    assert len(answered) == len(set(answered))
    return {sample: line["text"] for sample, line in found.items()}
