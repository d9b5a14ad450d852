"""The engine `lm-eval:`: its replies are those of the same checkpoint here, and what it cannot do
is said."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from engine_questions import OPTIONS, answers, ask
from lm_eval_tasks import NEEDS_LM_EVAL

from spare.demo.base import BASE
from spare.demo.checkpoint import build_checkpoint
from spare.demo.world import sentences, write_world
from spare.errors import ModelError, SpareError
from spare.harness.evaluate import evaluate
from spare.harness.models import Options, load_model
from spare.harness.models.lm_eval import _arguments, _identity
from spare.harness.models.types import Model, Request
from spare.harness.run import load_run
from spare.images import Picture

pytestmark = NEEDS_LM_EVAL


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_world(folder, sets=2)
    return folder


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(f"lm-eval:hf-multimodal,pretrained={BASE},batch_size=8")


def test_replies_are_those_of_the_engine_transformers(
    model: Model, pictures: list[Picture]
) -> None:
    """Pictures before, between and after words, several of them, or none."""
    requests = ask(pictures)
    ours = answers(load_model(str(BASE)), requests)
    theirs = answers(model, requests)
    assert {key: reply.text for key, reply in theirs.items()} == {
        key: reply.text for key, reply in ours.items()
    }
    assert len({reply.text for reply in theirs.values()}) > 3


def test_settings_that_a_checkpoint_ships_are_not_obeyed(
    model: Model, pictures: list[Picture], tmp_path: Path
) -> None:
    shutil.copytree(BASE, tmp_path / "model")
    path = tmp_path / "model" / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "no_repeat_ngram_size": 1}))
    other = load_model(f"lm-eval:hf-multimodal,pretrained={tmp_path / 'model'},batch_size=8")
    requests = [
        Request(str(number), (picture, "What is there?")) for number, picture in enumerate(pictures)
    ]
    assert answers(other, requests) == answers(model, requests)


def test_qwen_too(tmp_path: Path, pictures: list[Picture], data: Path) -> None:
    build_checkpoint(tmp_path, "qwen2_vl", sentences=sentences(data))
    requests = ask(pictures[:3])
    ours = answers(load_model(str(tmp_path)), requests)
    theirs = answers(
        load_model(f"lm-eval:hf-multimodal,pretrained={tmp_path},batch_size=4"), requests
    )
    assert {key: reply.text for key, reply in theirs.items()} == {
        key: reply.text for key, reply in ours.items()
    }


def test_texts_are_ranked_as_by_the_engine_transformers(model: Model) -> None:
    """But for the template's last line break, which lm-eval counts to every option."""
    request = Request("q", ("Where is the mug?",), OPTIONS, rank=True)
    ours = answers(load_model(str(BASE)), [request])["q"].likelihoods
    theirs = answers(model, [request])["q"].likelihoods
    assert ours is not None
    assert theirs is not None
    breaks = [ours[label].total - theirs[label].total for label in OPTIONS]
    assert breaks == pytest.approx([breaks[0]] * 3, abs=1e-3)
    assert [(one.tokens, one.characters) for one in theirs.values()] == [
        (one.tokens, one.characters) for one in ours.values()
    ]


def test_scores_are_those_of_the_engine_transformers(
    model: Model, data: Path, tmp_path: Path
) -> None:
    prompt = {"whatsup_a": "words"}
    runs = [
        evaluate(one, "whatsup_a", data=data, out=tmp_path / name, prompt=prompt)
        for name, one in (("theirs", model), ("ours", str(BASE)))
    ]
    theirs, ours = (run.scores[0] for run in runs)
    assert theirs.metrics == ours.metrics
    assert theirs.errors == 0
    assert load_run(tmp_path / "theirs").manifest["model"]["engine"] == "lm-eval"


def test_what_it_cannot_rank_is_refused_before_anything_is_asked(
    model: Model, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(SpareError, match=r"whatsup_a cannot be asked: .* no log-likelihoods"):
        evaluate(
            model, "whatsup_a", data=data, out=tmp_path / "run", prompt={"whatsup_a": "captions"}
        )
    assert not (tmp_path / "run" / "replies.jsonl").exists()
    assert model.facts["ranks beside pictures"] == "no"


def test_a_type_that_reads_no_pictures_says_so(
    tmp_path: Path, data: Path, pictures: list[Picture]
) -> None:
    build_checkpoint(tmp_path / "text", "qwen2")
    model = load_model(f"lm-eval:hf,pretrained={tmp_path / 'text'}")
    with pytest.raises(SpareError, match="lm-eval's type hf reads no pictures"):
        evaluate(model, "whatsup_a", data=data, out=tmp_path / "run")
    found = answers(
        model,
        [
            Request("seen", (pictures[0], "?")),
            Request("written", ("Where is the mug?",), max_new_tokens=3),
            Request("ranked", ("Where is the mug?",), OPTIONS, rank=True),
            Request("long", ("mug " * 5000,), max_new_tokens=3),
            Request("held", ("?",), schema='{"type": "object"}'),
        ],
    )
    assert "reads no pictures" in found["seen"].error
    assert not found["written"].error
    assert set(found["ranked"].likelihoods or ()) == set(OPTIONS)
    assert "too long" in found["long"].error
    assert "JSON schema" in found["held"].error


def test_faults_of_a_question_are_its_own(model: Model, pictures: list[Picture]) -> None:
    found = answers(
        model,
        [
            Request("good", (pictures[0], "Where is the mug?")),
            Request("long", (pictures[0], "mug " * 5000)),
            Request("sign", (pictures[0], "What does <image> mean?")),
            Request("end", (pictures[0], "What does <|im_end|> mean?")),
            Request("other", (pictures[1], "Where is the mug?")),
        ],
    )
    assert not found["good"].error
    assert not found["other"].error
    assert "too long" in found["long"].error
    assert "spells out <image>" in found["sign"].error
    assert "spells out <|im_end|>" in found["end"].error


def test_who_it_is_hangs_on_content_alone(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(BASE, copy)
    first = load_model(f"lm-eval:hf-multimodal,pretrained={copy},batch_size=8")
    same = load_model(f"lm-eval:hf-multimodal,pretrained={BASE}")
    assert first.identity == same.identity
    other = load_model(f"lm-eval:hf-multimodal,pretrained={BASE},max_images=1")
    assert other.identity != same.identity
    shutil.rmtree(copy)
    build_checkpoint(copy, "llava")
    assert load_model(f"lm-eval:hf-multimodal,pretrained={copy}").identity != same.identity


def test_loading_changes_nothing_here() -> None:
    import torch

    before = dict(os.environ), random.getstate(), torch.get_num_threads(), torch.get_rng_state()
    load_model(f"lm-eval:hf-multimodal,pretrained={BASE}")
    after = dict(os.environ), random.getstate(), torch.get_num_threads(), torch.get_rng_state()
    assert before[:3] == after[:3]
    assert torch.equal(before[3], after[3])


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("", {}, "Name a type of lm-eval"),
        ("no-such-type,pretrained=x", {}, "has no working type no-such-type"),
        ("hf-multimodal,pretrained=/no/such/folder", {}, "There is no folder /no/such/folder"),
        (f"hf-multimodal,{BASE}", {}, "is no NAME=VALUE"),
        (f"hf-multimodal,pretrained={BASE},dtype=float32", {"dtype": "float32"}, "both set dtype"),
        (f"hf-multimodal,pretrained={BASE},no_such=1", {}, "cannot load hf-multimodal"),
        (f"hf-multimodal,pretrained={BASE}", {"batch_tokens": 4}, "batch_size=N"),
    ],
)
def test_what_cannot_be_loaded_is_said(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said) as raised:
        load_model(f"lm-eval:{name}", **options)
    assert str(raised.value).endswith(".")


def test_a_key_in_a_command_is_refused_and_a_token_of_a_text_is_none() -> None:
    for secret in ("api_key=s3cret", "token=hf_s3cret"):
        with pytest.raises(ModelError, match="no place there") as raised:
            load_model(f"lm-eval:local-chat-completions,model=m,{secret}")
        assert "s3cret" not in str(raised.value)
    settings = _arguments("model=m,add_bos_token=True,eos_token=x", Options())
    assert _identity("local-completions", settings)["add_bos_token"] == "True"


def test_without_lm_eval_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ModelError, match=r"run `pip install -e '\.\[lm-eval\]'` in .* repository\.$"
    ):
        load_model("lm-eval:hf-multimodal,pretrained=x")
