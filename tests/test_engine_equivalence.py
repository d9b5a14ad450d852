"""A reply does not depend on what else is asked: not on batches, order, or shared pictures."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path

import pytest
from engine_questions import Reference, answers, ask

from spare.demo.checkpoint import build_checkpoint
from spare.harness.models import load_model
from spare.harness.models.types import Request
from spare.images import Picture


@pytest.fixture(scope="module", params=["llava", "qwen2_vl", "qwen2_5_vl"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_checkpoint(tmp_path_factory.mktemp("checkpoint"), request.param)
    edit(
        folder / "generation_config.json",
        # A random model seldom ends its turn, so many tokens shall end it.
        eos_token_id=[2, *range(11, 2048, 5)],
        # What Qwen2-VL ships; replies must come out as if it did not.
        do_sample=True,
        temperature=0.1,
        top_p=0.001,
        repetition_penalty=1.05,
    )
    return folder


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Reference:
    return Reference(checkpoint)


def rows(count: int) -> int:
    """A bound on tokens that about `count` of the questions fill."""
    return 75 * count


@pytest.mark.parametrize("share", [True, False], ids=["shared", "plain"])
@pytest.mark.parametrize("batch_tokens", [1, rows(2), rows(7), None], ids=["1", "2", "7", "all"])
def test_written_replies_are_those_of_the_model_alone(
    checkpoint: Path,
    reference: Reference,
    pictures: list[Picture],
    share: bool,
    batch_tokens: int | None,
) -> None:
    model = load_model(str(checkpoint), share=share, batch_tokens=batch_tokens)
    requests = ask(pictures)
    found = answers(model, requests)
    assert not [reply.error for reply in found.values() if reply.error]
    assert {key: reply.text for key, reply in found.items()} == {
        request.key: reference.write(request) for request in requests
    }
    # The test would show little if the random model said the same to everything.
    assert len({reply.text for reply in found.values()}) > len(requests) / 3
    assert {reply.finish for reply in found.values()} == {"stop", "length"}


def test_order_does_not_matter(checkpoint: Path, pictures: list[Picture]) -> None:
    model = load_model(str(checkpoint), batch_tokens=rows(5))
    requests = ask(pictures)
    shuffled = requests.copy()
    random.Random(1).shuffle(shuffled)
    assert answers(model, requests) == answers(model, shuffled)


@pytest.mark.parametrize("share", [True, False], ids=["shared", "plain"])
@pytest.mark.parametrize("batch_tokens", [1, rows(7), None], ids=["1", "7", "all"])
def test_likelihoods_are_those_of_one_forward_pass(
    checkpoint: Path,
    reference: Reference,
    pictures: list[Picture],
    share: bool,
    batch_tokens: int | None,
) -> None:
    model = load_model(str(checkpoint), share=share, batch_tokens=batch_tokens)
    requests = ask(pictures[:4], rank=True)
    for key, reply in answers(model, requests).items():
        request = next(request for request in requests if request.key == key)
        assert reply.likelihoods is not None
        assert list(reply.likelihoods) == list(request.options)
        for label, likelihood in reply.likelihoods.items():
            expected = reference.likelihood(request, label)
            assert likelihood.total == pytest.approx(expected, abs=1e-3)
            assert likelihood.characters == len(request.options[label])


def test_threads_do_not_matter(
    checkpoint: Path, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread prepares pictures on two cores; machines with accelerators have more."""
    model = load_model(str(checkpoint))
    expected = answers(model, ask(pictures))
    monkeypatch.setattr("spare.harness.models.transformers.preparing_threads", lambda: 6)
    for seed in range(3):
        requests = ask(pictures)
        random.Random(seed).shuffle(requests)
        assert answers(model, requests) == expected


def test_token_counts(checkpoint: Path, reference: Reference, pictures: list[Picture]) -> None:
    model = load_model(str(checkpoint))
    requests = ask(pictures[:3])
    for key, reply in answers(model, requests).items():
        request = next(request for request in requests if request.key == key)
        assert reply.input_tokens == reference.inputs(request.parts)["input_ids"].shape[1]
        assert 1 <= reply.output_tokens <= request.max_new_tokens
        if reply.finish == "length":
            assert reply.output_tokens == request.max_new_tokens


def test_bounds_are_never_mixed(checkpoint: Path, pictures: list[Picture]) -> None:
    model = load_model(str(checkpoint))
    requests = [
        Request(f"{bound}", (pictures[0], "where is it?"), max_new_tokens=bound)
        for bound in (1, 2, 5, 9)
    ]
    for key, reply in answers(model, requests).items():
        assert reply.output_tokens <= int(key)


def test_equal_pictures_in_two_files_are_one_picture(
    checkpoint: Path, pictures: list[Picture], tmp_path: Path
) -> None:
    """Tables repeat a picture's bytes for every question about it."""
    copy = tmp_path / "copy.png"
    copy.write_bytes(pictures[0].path.read_bytes())
    model = load_model(str(checkpoint))
    opened = count_processed(model)
    answers(
        model,
        [
            Request("1", (pictures[0], "where is it?")),
            Request("2", (Picture(copy, "copy"), "what is it?")),
            Request("3", (pictures[1], "where is it?")),
        ],
    )
    assert len(opened) == 2


def test_a_shared_picture_is_processed_and_encoded_once(
    checkpoint: Path, pictures: list[Picture]
) -> None:
    model = load_model(str(checkpoint))
    processed = count_processed(model)
    base = model.decoder.network.model  # type: ignore[attr-defined]
    encoder = base.visual if hasattr(base, "visual") else base.vision_tower
    encoded: list[object] = []
    encoder.register_forward_hook(lambda module, pixels, output: encoded.append(pixels))
    answers(model, [Request(str(n), (pictures[0], f"where is {n}?")) for n in range(5)])
    assert len(processed) == 1
    assert len(encoded) == 1


def count_processed(model: object) -> list[object]:
    """A list that grows by one with every call of the model's own picture processor."""
    processor = model._preparer.processor.image_processor._processor  # type: ignore[attr-defined]
    preprocess, calls = processor.preprocess, []

    def counting(images: object, *arguments: object, **settings: object) -> object:
        calls.append(images)
        return preprocess(images, *arguments, **settings)

    processor.preprocess = counting
    return calls


def test_a_family_that_cannot_branch_says_so_and_is_still_right(
    tmp_path: Path, pictures: list[Picture]
) -> None:
    """Under sliding attention, the cache forgets, so branches could not share it."""
    folder = build_checkpoint(tmp_path / "sliding", "qwen2_vl")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {
        "use_sliding_window": True,
        "sliding_window": 24,
        "max_window_layers": 0,
        "layer_types": ["sliding_attention"] * config["text_config"]["num_hidden_layers"],
    }
    edit(folder / "config.json", **config)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = load_model(str(folder))
    assert "cannot branch" in model.facts["shared pictures"]
    assert sum("cannot branch" in str(warning.message) for warning in said) == 1
    reference = Reference(folder)
    requests = ask(pictures)
    assert {key: reply.text for key, reply in answers(model, requests).items()} == {
        request.key: reference.write(request) for request in requests
    }


def test_wrong_branching_would_be_found_out(checkpoint: Path) -> None:
    """The self-examination after loading sees a family whose branches go wrong."""
    from spare.harness.models.decoding import Decoder

    def forgetful(self: Decoder, branchings: object) -> dict[str, object]:
        inputs = branch(self, branchings)  # type: ignore[arg-type]
        inputs["attention_mask"][:] = 1  # padding is seen, and shifts positions
        return inputs

    branch = Decoder._branch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Decoder, "_branch", forgetful)
        with pytest.warns(UserWarning, match="answers otherwise"):
            model = load_model(str(checkpoint))
    assert model.facts["shared pictures"].startswith("no")
