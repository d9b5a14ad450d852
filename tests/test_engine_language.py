"""The engine `transformers` with a language model: text, shared beginnings, JSON of a shape."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from spare.demo.checkpoint import build_checkpoint
from spare.errors import ModelError
from spare.generation import llm
from spare.harness.models import load_model
from spare.harness.models.types import Request
from spare.images import Picture
from spare.tasks.types import Reply

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


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [llm.CLASSIFY, llm.ASK, llm.CANARY]
    return build_checkpoint(
        tmp_path_factory.mktemp("llm"), "qwen2", sentences=words, hidden=64, layers=2
    )


def requests(parts: int) -> list[Request]:
    """Captions behind one instruction, in one part or apart from it."""
    captions = [f"A mug is {number} steps left of a bowl." for number in range(5)]
    asked = []
    for number, caption in enumerate(captions):
        whole = (llm.CLASSIFY, caption) if parts == 2 else (llm.CLASSIFY + caption,)
        asked.append(Request(f"write {number}", whole, max_new_tokens=8))
        options = {"Yes": "Yes", "No": "No"}
        asked.append(Request(f"rank {number}", whole, options=options, rank=True))
        schema = json.dumps(SCHEMA)
        asked.append(Request(f"shape {number}", whole, max_new_tokens=200, schema=schema))
    return asked


def answers(checkpoint: Path, parts: int, share: bool) -> dict[str, Reply]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # it can share, so it must not say otherwise
        model = load_model(str(checkpoint), language=True, share=share)
    found = {response.key: response.reply for response in model.answer(requests(parts))}
    assert len(found) == 15
    return found


def test_a_shared_beginning_changes_no_reply(checkpoint: Path) -> None:
    plain = answers(checkpoint, parts=1, share=False)
    shared = answers(checkpoint, parts=2, share=True)
    for key, reply in plain.items():
        assert not reply.error
        other = shared[key]
        if reply.likelihoods:
            assert other.likelihoods
            for name, one in reply.likelihoods.items():
                assert other.likelihoods[name].total == pytest.approx(one.total, abs=1e-3)
        else:
            assert (other.text, other.finish) == (reply.text, reply.finish)


def test_replies_keep_to_a_schema(checkpoint: Path) -> None:
    """The weights are random, so nothing but the mask makes JSON of what they say."""
    replies = answers(checkpoint, parts=2, share=True)
    for number in range(5):
        assert replies[f"shape {number}"].finish == "stop"
        pairs = json.loads(replies[f"shape {number}"].text)
        assert 1 <= len(pairs) <= 2
        for pair in pairs:
            assert set(pair) == {"question", "answer"}
            assert 5 <= len(pair["question"]) <= 12
            assert 1 <= len(pair["answer"]) <= 12
        assert not replies[f"write {number}"].text.startswith("[{")


def test_a_language_model_is_no_vision_language_model(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="does not read pictures"):
        load_model(str(checkpoint))


def test_a_picture_is_an_error_of_its_own_request(checkpoint: Path, tmp_path: Path) -> None:
    import PIL.Image

    PIL.Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    model = load_model(str(checkpoint), language=True)
    asked = [
        Request("seen", (Picture(tmp_path / "a.png", "a"), "What is it?")),
        Request("read", ("What is it?",)),
    ]
    found = {response.key: response.reply for response in model.answer(asked)}
    assert "does not read pictures" in found["seen"].error
    assert not found["read"].error


def test_without_a_chat_template_it_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in checkpoint.iterdir():
        if file.name != "chat_template.jinja":
            (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match="has no chat template"):
        load_model(str(folder), language=True)
