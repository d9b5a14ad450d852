"""What every engine promises, whichever it is: each request is answered exactly once, faults cost
only themselves, and both sides stream.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chat_server import NAME, serving
from engine_questions import OPTIONS, answers
from test_clip import build_clip
from vllm_server import vllm_serve

from spare.demo.checkpoint import build_checkpoint
from spare.harness.models import load_model
from spare.harness.models.types import Model, Request
from spare.images import Picture
from spare.tasks.types import Sample
from spare.tasks.whatsup import CAPTION_REQUEST

ENGINES = (
    "random", "majority", "transformers", "vllm", "openai", "vllm serve", "clip", "lm-eval",
    "vlmevalkit", "own",
)  # fmt: skip


@dataclass(frozen=True)
class Engine:
    """A loaded model, and what it can do.

    Attributes:
        looks: it opens pictures, so it notices what is wrong with them.
        writes: it answers in words, too.
        ranks: it ranks options, too.
        tells: it says why a reply ended.
    """

    model: Model
    looks: bool
    writes: bool
    ranks: bool = True
    tells: bool = True


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with contextlib.ExitStack() as stack:
        yield start(request.param, tmp_path_factory.mktemp("checkpoint"), stack)


def start(name: str, folder: Path, stack: contextlib.ExitStack) -> Engine:
    """An engine; what must be stopped after its tests is in `stack`."""
    if name in ("random", "majority"):
        model = load_model(name)
        if name == "majority":
            study: Any = model
            study.study(
                [Sample("1", ("?",), "A", OPTIONS), Sample("2", ("?",), "A", OPTIONS, True)]
            )
        return Engine(model, looks=False, writes=True)
    if name == "own":
        return Engine(load_model("own_models:Own"), looks=True, writes=True)
    if name == "clip":
        build_clip(folder)
        return Engine(load_model(f"clip:{folder}"), looks=True, writes=False)
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    patch.setenv("NO_PROXY", "127.0.0.1")
    patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    if name == "openai":
        url = stack.enter_context(serving()).url
        model = load_model(f"openai:{NAME}", base_url=url)
        return Engine(model, looks=True, writes=True, ranks=False)
    if name.startswith("vllm") and importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed; `make test-vllm` installs it")
    build_checkpoint(folder, "qwen2_vl")
    if name == "vllm serve":
        server = stack.enter_context(vllm_serve(folder, NAME, folder / "server.log"))
        model = load_model(f"openai:{NAME}", base_url=server.url)
        return Engine(model, looks=True, writes=True, ranks=False)
    if name == "lm-eval":
        if importlib.util.find_spec("lm_eval") is None:
            pytest.skip("lm-eval is not installed")
        model = load_model(f"lm-eval:hf-multimodal,pretrained={folder},batch_size=8")
        return Engine(model, looks=True, writes=True, ranks=False, tells=False)
    if name == "vlmevalkit":
        if importlib.util.find_spec("vlmeval") is None:
            pytest.skip("VLMEvalKit is not installed; `make test-vlmevalkit` installs it")
        model = load_model(f"vlmevalkit:vlmevalkit_models:Tiny,model_path={folder}")
        return Engine(model, looks=True, writes=True, ranks=False, tells=False)
    return Engine(load_model(f"{name}:{folder}"), looks=True, writes=True)


def questions(engine: Engine, pictures: list[Picture]) -> Iterator[Request]:
    """Without end: some to be ranked, some to be written, four about a picture."""
    for number in itertools.count():
        words = f"Where is number {number}?" if engine.writes else CAPTION_REQUEST
        parts = (pictures[number // 4 % len(pictures)], words)
        rank = engine.ranks and (number % 3 == 0 or not engine.writes)
        yield Request(f"q{number}", parts, OPTIONS, rank, max_new_tokens=2 + number % 2)


def test_it_says_who_it_is(engine: Engine) -> None:
    for said in (engine.model.identity, engine.model.facts):
        assert all(isinstance(name, str) and isinstance(value, str) for name, value in said.items())
    assert engine.model.identity["engine"]


def test_every_request_is_answered_once(engine: Engine, pictures: list[Picture]) -> None:
    asked = list(itertools.islice(questions(engine, pictures), 60))
    found = answers(engine.model, asked)
    for request in asked:
        reply = found[request.key]
        assert not reply.error
        if request.rank:
            assert reply.likelihoods is not None
            assert set(reply.likelihoods) == set(OPTIONS)
            assert all(one.total == one.total for one in reply.likelihoods.values())
            assert reply.text == ""
        else:
            assert reply.likelihoods is None
            assert reply.finish in (("stop", "length") if engine.tells else ("",))


def test_an_answer_hangs_on_its_question_alone(engine: Engine, pictures: list[Picture]) -> None:
    asked = list(itertools.islice(questions(engine, pictures), 24))
    found = answers(engine.model, asked)
    alone = answers(engine.model, asked[5:6])
    turned = answers(engine.model, asked[::-1])
    for request in asked:
        reply, other = found[request.key], turned[request.key]
        assert reply.text == other.text
        for label, one in (reply.likelihoods or {}).items():
            assert other.likelihoods is not None
            assert other.likelihoods[label].total == pytest.approx(one.total, abs=1e-3)
    assert alone[asked[5].key].text == found[asked[5].key].text


def test_faults_cost_only_themselves(
    engine: Engine, pictures: list[Picture], tmp_path: Path
) -> None:
    if not engine.looks:
        pytest.skip("it looks at nothing that could be wrong")
    torn = tmp_path / "torn.png"
    torn.write_bytes(pictures[0].path.read_bytes()[:300])
    bad = [
        Request("missing", (Picture(tmp_path / "no.png", "no.png"), "?"), OPTIONS, rank=True),
        Request("torn", (Picture(torn, "torn.png"), "?"), OPTIONS, rank=True),
        Request("empty", (pictures[0], "?"), {"A": ""}, rank=True),
    ]
    good = list(itertools.islice(questions(engine, pictures), 12))
    found = answers(engine.model, [*good[:6], *bad, *good[6:]])
    for request in bad:
        reply = found.pop(request.key)
        assert reply.error.endswith(".")
        assert (reply.text, reply.likelihoods) == ("", None)
    assert not any(reply.error for reply in found.values())


def test_nothing_is_answered_with_nothing(engine: Engine) -> None:
    assert list(engine.model.answer(iter(()))) == []


def test_requests_stream_and_closing_ends_it(engine: Engine, pictures: list[Picture]) -> None:
    """Nobody could hold all of them; and nothing goes on once nobody listens."""
    before = threads()
    responses: Any = engine.model.answer(questions(engine, pictures))
    keys = [response.key for response in itertools.islice(responses, 150)]
    assert len(set(keys)) == 150
    responses.close()
    assert threads() <= before
    assert len(answers(engine.model, list(itertools.islice(questions(engine, pictures), 3)))) == 3


def threads() -> int:
    """Threads but for those of the stand-in for a server."""
    return sum("process_request_thread" not in thread.name for thread in threading.enumerate())
