"""Whatever goes wrong costs its own question and no other, and says so."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_questions import OPTIONS, answers, ask

from spare.errors import DataError
from spare.harness.models import load_model
from spare.harness.models.ahead import QUEUE
from spare.harness.models.types import Request
from spare.harness.models.windows import LARGEST, WINDOW
from spare.images import Picture


@pytest.fixture
def model(checkpoint: Path) -> Any:
    return load_model(str(checkpoint))


def before_forward(model: Any, act: Callable[[int], None]) -> None:
    """Call `act` with the number of rows before every pass through the network."""
    model.decoder.network.register_forward_pre_hook(
        lambda module, arguments, inputs: act(inputs["input_ids"].shape[0]), with_kwargs=True
    )


def saved(folder: Path, name: str, size: tuple[int, int]) -> Picture:
    from PIL import Image

    path = folder / name
    Image.new("RGB", size, "red").save(path)
    return Picture(path, name)


def test_bad_requests_cost_only_themselves(
    model: Any, pictures: list[Picture], tmp_path: Path
) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes(pictures[0].path.read_bytes()[:300])
    good = ask(pictures)
    bad = {
        "missing": (Request("missing", (Picture(tmp_path / "no.png", "no.png"), "?")), "no.png"),
        "torn": (Request("torn", (Picture(torn, "torn.png"), "?")), "torn.png is damaged"),
        "narrow": (
            Request("narrow", (saved(tmp_path, "narrow.png", (900, 3)), "?")),
            "aspect ratio must be smaller than 200",
        ),
        "long": (Request("long", (pictures[0], "left " * 5000)), "context of 4096"),
        "sign": (Request("sign", (pictures[0], "an <|image_pad|> is?")), "<|image_pad|>"),
        "empty": (Request("empty", (pictures[0], "?"), {"A": ""}, rank=True), "option A is empty"),
        "none": (Request("none", (pictures[0], "?"), rank=True), "there are no options"),
    }
    expected = answers(model, good)
    found = answers(model, [*good, *(request for request, _ in bad.values())])
    for key, (_, words) in bad.items():
        reply = found.pop(key)
        assert words in reply.error
        assert reply.error.endswith(".")
        assert reply.text == ""
        assert reply.likelihoods is None
    assert found == expected


def test_a_prompt_as_long_as_the_context_is_answered(model: Any) -> None:
    """The bound counts the prompt and what may be written after it, and not one token more."""
    tokens = answers(model, [Request("1", ("left",), max_new_tokens=1)])["1"].input_tokens
    more = " left" * (4096 - 1 - tokens)
    exact, over = (
        Request("=", ("left" + more,), max_new_tokens=1),
        Request(">", ("left" + more,), max_new_tokens=2),
    )
    found = answers(model, [exact, over])
    assert found["="].input_tokens == 4095
    assert not found["="].error
    assert "too long" in found[">"].error


@pytest.mark.parametrize("rank", [False, True], ids=["write", "rank"])
@pytest.mark.parametrize("share", [False, True], ids=["plain", "shared"])
def test_out_of_memory_halves_the_batch(
    checkpoint: Path, pictures: list[Picture], rank: bool, share: bool
) -> None:
    import torch

    requests = ask(pictures, rank=rank)
    expected = answers(load_model(str(checkpoint), share=share), requests)
    model: Any = load_model(str(checkpoint), share=share)
    sizes: list[int] = []

    def act(rows: int) -> None:
        sizes.append(rows)
        if rows > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    before_forward(model, act)
    found = answers(model, requests)
    if rank:
        for key, reply in found.items():
            assert reply.likelihoods is not None
            for label, likelihood in reply.likelihoods.items():
                others = expected[key].likelihoods
                assert others is not None
                assert likelihood.total == pytest.approx(others[label].total, abs=1e-3)
    else:
        assert found == expected
    # Having run out once, it does not run into the same wall with every batch.
    failures = [rows > 3 for rows in sizes]
    assert not any(failures[len(failures) // 2 :])


@pytest.mark.parametrize(
    "error",
    [
        lambda torch: torch.OutOfMemoryError("CUDA out of memory."),
        lambda torch: torch.empty(2**50),  # the real thing, as the processor's allocator words it
    ],
    ids=["accelerator", "processor"],
)
def test_a_question_that_never_fits_is_an_error(
    model: Any, pictures: list[Picture], error: Callable[[Any], Exception]
) -> None:
    import torch

    def act(rows: int) -> None:
        raise error(torch)

    before_forward(model, act)
    for reply in answers(model, ask(pictures[:3])).values():
        assert reply.error.startswith("Out of memory")


def test_a_question_that_the_model_chokes_on_is_an_error(
    model: Any, pictures: list[Picture]
) -> None:
    poison = poisoned(model)
    expected = answers(model, ask(pictures))

    def choke(module: Any, arguments: Any, inputs: dict[str, Any]) -> None:
        if (inputs["input_ids"] == poison).any():
            raise ValueError("no such thing")

    model.decoder.network.register_forward_pre_hook(choke, with_kwargs=True)
    found = answers(model, [*ask(pictures), Request("bad", (pictures[0], "see §"))])
    assert "ValueError: no such thing" in found.pop("bad").error
    assert found == expected


@pytest.mark.parametrize("rank", [False, True], ids=["write", "rank"])
@pytest.mark.parametrize("share", [False, True], ids=["plain", "shared"])
def test_not_a_number_is_an_error_of_its_row(
    checkpoint: Path, pictures: list[Picture], rank: bool, share: bool
) -> None:
    model: Any = load_model(str(checkpoint), share=share)
    poison = poisoned(model)
    requests = ask(pictures, rank=rank)

    def spoil(module: Any, arguments: Any, inputs: dict[str, Any], output: Any) -> None:
        output.logits[(inputs["input_ids"] == poison).any(dim=1)] = float("nan")

    model.decoder.network.register_forward_hook(spoil, with_kwargs=True)
    bad = Request("bad", (pictures[0], "see §"), OPTIONS if rank else {}, rank)
    found = answers(model, [*requests, bad])
    assert "not a number" in found.pop("bad").error
    assert not any(reply.error for reply in found.values())


def poisoned(model: Any) -> int:
    """The last token of "§", which no other question contains."""
    token: int = model.decoder.tokenizer("see §", add_special_tokens=False)["input_ids"][-1]
    return token


def test_what_reading_raises_is_raised_by_the_engine(model: Any, pictures: list[Picture]) -> None:
    def torn() -> Iterator[Request]:
        yield from ask(pictures[:3])
        raise DataError("not JSON", "questions.jsonl", 7)

    with pytest.raises(DataError, match=r"questions\.jsonl, row 7"):
        list(model.answer(torn()))
    assert no_threads()


def test_ctrl_c_stops_everything_at_once(model: Any, pictures: list[Picture]) -> None:
    passes = itertools.count()

    def act(rows: int) -> None:
        if next(passes) == 5:
            raise KeyboardInterrupt

    before_forward(model, act)
    with pytest.raises(KeyboardInterrupt):
        list(model.answer(endless(pictures)))
    assert no_threads()


def test_requests_are_not_read_further_ahead_than_promised(
    model: Any, pictures: list[Picture]
) -> None:
    read = itertools.count()

    def counted() -> Iterator[Request]:
        for request in endless(pictures):
            next(read)
            yield request

    responses = model.answer(counted())
    assert len(list(itertools.islice(responses, 100))) == 100
    time.sleep(0.5)  # time to run away, if it would
    responses.close()
    assert next(read) <= 100 + WINDOW + QUEUE * LARGEST
    assert no_threads()


def test_nothing_is_asked_of_nothing(model: Any) -> None:
    assert answers(model, []) == {}
    assert no_threads()


def endless(pictures: list[Picture]) -> Iterator[Request]:
    for number in itertools.count():
        picture = pictures[number // 4 % len(pictures)]
        yield Request(str(number), (picture, f"where is {number}?"), max_new_tokens=2)


def no_threads() -> bool:
    """Whether the engine's threads are gone."""
    return not any(
        thread.name.startswith(("read", "prepare", "digest")) for thread in threading.enumerate()
    )
