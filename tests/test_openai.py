"""The engine `openai` against servers that behave well, and against all that do not."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from caption_world import write_docci
from chat_server import (
    NAME,
    PAIRS,
    Answer,
    Asked,
    Server,
    ranks,
    refuses,
    says,
    serving,
    well,
)
from test_generation import contents

from spare.cli import main
from spare.errors import DataError, ModelError, SpareError
from spare.generation import llm
from spare.generation.captions import captions
from spare.generation.models import Models
from spare.generation.pipeline import generate
from spare.generation.stages import Options
from spare.harness.models import load_model
from spare.harness.models.chat import is_version
from spare.harness.models.listing import read_listing
from spare.harness.models.openai import Served
from spare.harness.models.types import Request
from spare.harness.tokens import Prices, Tokens, read_prices
from spare.images import Picture, open_picture
from spare.tasks.types import Reply

KEY = "sk-test-0123456789-never-in-a-file"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def served(server: Server, key: str = KEY, **options: Any) -> Served:
    """A model behind a server, that waits for hundredths of seconds instead of minutes."""
    quick = {"timeout": 5.0, "first_wait": 0.01, "longest_wait": 0.05, "tries": 4}
    listing = read_listing(NAME, server.url, key)
    return Served(NAME, server.url, key, listing, **quick | options)


def questions(count: int, **more: Any) -> list[Request]:
    return [Request(f"k{number}", (f"question {number}",), **more) for number in range(count)]


def replies(model: Served, requests: list[Request]) -> dict[str, Reply]:
    """Replies by key; every request has exactly one."""
    found = list(model.answer(iter(requests)))
    assert sorted(one.key for one in found) == sorted(one.key for one in requests)
    return {one.key: one.reply for one in found}


def only(model: Served, request: Request) -> Reply:
    return replies(model, [request])[request.key]


YES_NO = {"Yes": "Yes", "No": "No"}
QUESTION = Request("q", ("Is the mug on the table?",), max_new_tokens=7)
RANKED = Request("q", ("Is the mug on the table?",), YES_NO, rank=True)
PAIR = llm.pairs_request("q", "A cup stands to the left of a plate.", 400)


# What is asked


def test_a_reply_has_its_text_its_end_and_its_tokens() -> None:
    with serving() as server:
        reply = only(served(server), QUESTION)
    assert reply == Reply(f"reply to {QUESTION.parts[0]}", None, "", "stop", 11, 3)
    body = server.asked[0].body
    assert body["model"] == NAME
    assert (body["temperature"], body["n"], body["max_tokens"]) == (0, 1, 7)
    assert "seed" in body
    assert "repetition_penalty" not in body  # OpenAI itself refuses it
    assert server.asked[0].key == KEY


def test_servers_that_apply_a_checkpoints_penalty_are_told_not_to() -> None:
    with serving() as server:
        server.listing = Answer({"data": [{"id": NAME, "owned_by": "vllm", "root": "Org/Tiny"}]})
        model = served(server)
        only(model, QUESTION)
    assert server.asked[0].body["repetition_penalty"] == 1.0
    assert model.identity["root"] == "Org/Tiny"


def test_pictures_are_sent_as_every_engine_sees_them(tmp_path: Path) -> None:
    image = PIL.Image.linear_gradient("L").resize((40, 20)).convert("RGB")
    image.putpixel((0, 0), (255, 0, 0))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.save(tmp_path / "plain.png")
    pictures = [Picture(tmp_path / name, name) for name in ("turned.jpg", "plain.png")]
    request = Request("q", (pictures[0], "and", pictures[1], "differ how?"))
    with serving() as server:
        only(served(server), request)
        only(served(server, max_pixels=200), request)
    whole, small = (one.body["messages"][0]["content"] for one in server.asked)
    assert [part["type"] for part in whole] == ["image_url", "text", "image_url", "text"]
    for part, picture in zip(whole[::2], pictures, strict=True):
        assert decoded(part).tobytes() == open_picture(picture).tobytes()
        assert decoded(part).format == "PNG"
    assert decoded(whole[0]).size == (20, 40)
    assert decoded(small[0]).size == (10, 20)


def decoded(part: dict[str, Any]) -> PIL.Image.Image:
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    return PIL.Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def test_a_picture_that_cannot_be_opened_costs_its_own_question(tmp_path: Path) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    requests = [Request("torn", (Picture(torn, "torn.png"), "what?")), QUESTION]
    requests.append(Request("half", ("\ud83d is half a character",)))
    with serving() as server:
        found = replies(served(server), requests)
    assert "torn.png" in found["torn"].error
    assert "surrogate" in found["half"].error
    assert found["q"].text
    assert len(server.asked) == 1


# A bounded number in flight


def test_no_more_are_in_flight_than_allowed_and_all_are_answered_once() -> None:
    together = threading.Barrier(5)

    def slowly(asked: Asked) -> Answer:
        if int(asked.text.split()[-1]) < 5:
            together.wait(60)  # the first five are there at the same time
        return Answer(well(asked).body, delay=0.001 * (hash(asked.text) % 20))

    with serving(slowly) as server:
        found = replies(served(server, concurrency=5), questions(60))
    assert server.most == 5
    assert {one.text for one in found.values()} == {f"reply to question {n}" for n in range(60)}
    assert set(server.answered.values()) == {1}


def test_requests_are_read_no_further_ahead_than_replies_are_taken() -> None:
    read: list[str] = []

    def reading() -> Iterator[Request]:
        for request in questions(1000):
            read.append(request.key)
            yield request

    with serving() as server:
        responses = served(server, concurrency=3).answer(reading())
        for taken in range(1, 5):
            next(responses)
            time.sleep(0.05)
            assert len(read) <= 6 + taken
        responses.close()
        time.sleep(0.1)  # what was sent just before may still be on its way
        asked = len(server.asked)
        time.sleep(0.1)
        assert len(server.asked) == asked <= 10
    assert threading.active_count() < 20


def test_closing_does_not_wait_for_a_server_that_hangs() -> None:
    release = threading.Event()

    def hanging(asked: Asked) -> Answer:
        if asked.text != "question 0":
            release.wait(30)
        return well(asked)

    with serving(hanging) as server:
        responses = served(server, timeout=60.0).answer(iter(questions(8)))
        next(responses)
        server.wait_for(7)
        responses.close()
        # Closed while seven questions still wait for their replies, which nothing has released.
        assert server.flying == 7
        assert not [one for one in threading.enumerate() if one.name == "in flight"]
        release.set()


def test_what_reading_raises_is_raised_after_what_was_under_way() -> None:
    def torn() -> Iterator[Request]:
        yield from questions(5)
        raise DataError("the file is torn")

    found = []
    with serving(lambda asked: Answer(well(asked).body, delay=0.05)) as server:
        responses = served(server).answer(torn())
        with pytest.raises(DataError):
            found.extend(responses)
    assert sorted(one.key for one in found) == [f"k{number}" for number in range(5)]


# Servers that fail for a while

HTML = b"<html><body>Bad gateway</body></html>"
FAULTS = {
    "429": refuses(429, "slow down", Retry_After="0"),
    "429 for days": refuses(429, "slow down", Retry_After="604800"),
    "429 until a date": refuses(429, "slow", Retry_After="Wed, 21 Oct 2099 07:28:00 GMT"),
    "429 without sense": refuses(429, "slow down", Retry_After="soon"),
    "500": refuses(500, "oh"),
    "502 as a page": Answer(HTML, 502, {"Content-Type": "text/html"}),
    "503": refuses(503, "overloaded"),
    "408": refuses(408, "late"),
    "409": refuses(409, "locked"),
    "closed": Answer(drop=True),
    "cut": Answer({"choices": [{"message": {"content": "x" * 500}}]}, cut=100),
    "cut, and called whole": Answer(b'{"choices": [{"message": {"content": "to the l'),
    "garbage": Answer(b"\x00\xff{]"),
    "a page": Answer(HTML, headers={"Content-Type": "text/html"}),
    "no choices": Answer({"model": NAME, "choices": []}),
    "a list": Answer([1, 2]),
    "no message": Answer({"choices": [{"text": "old"}]}),
    "an error as 200": Answer({"error": {"message": "upstream is busy", "code": 502}}),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_may_pass_is_tried_again(fault: Answer) -> None:
    def behave(asked: Asked) -> Answer:
        return fault if asked.before == 0 and asked.text != "question 0" else well(asked)

    with serving(behave) as server:
        found = replies(served(server, concurrency=4), questions(9))
    assert {key: one.text for key, one in found.items()} == {
        f"k{number}": f"reply to question {number}" for number in range(9)
    }
    assert len(server.asked) == 9 + 8
    assert server.most <= 4


def test_a_server_is_left_alone_for_as_long_as_it_asks() -> None:
    times: list[float] = []

    def behave(asked: Asked) -> Answer:
        times.append(time.monotonic())
        return well(asked) if asked.before else refuses(429, "slow down", Retry_After="1")

    with serving(behave) as server:
        assert only(served(server, longest_wait=60.0), QUESTION).text
    assert times[1] - times[0] >= 1.0


def test_whatever_happens_every_question_has_one_reply_and_none_is_paid_for_twice() -> None:
    chance, lock = random.Random(0), threading.Lock()
    good: list[str] = []

    def behave(asked: Asked) -> Answer:
        with lock:
            fault = chance.choice([*FAULTS.values()]) if chance.random() < 0.4 else None
            if fault is None:
                good.append(asked.text)
        return fault or well(asked)

    with serving(behave) as server:
        found = replies(served(server, concurrency=8, tries=3), questions(300))
    assert len(good) == len(set(good))
    for key, reply in found.items():
        question = f"question {key[1:]}"
        assert reply.error or reply.text == f"reply to {question}"
        assert bool(reply.error) is (question not in good)
    assert any(reply.error for reply in found.values())
    assert server.most <= 8


def test_a_slow_server_is_asked_again() -> None:
    def behave(asked: Asked) -> Answer:
        return Answer(well(asked).body, delay=0.0 if asked.before else 1.0)

    with serving(behave) as server:
        assert only(served(server, timeout=0.25), QUESTION).text.startswith("reply")
        assert len(server.asked) == 2


def test_a_body_that_drips_is_not_waited_for_for_ever() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening, serving() as server:

        def drip() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
                    try:
                        while True:
                            connection.sendall(b" ")
                            time.sleep(0.02)
                    except OSError:
                        pass

        threading.Thread(target=drip, daemon=True).start()
        listing = read_listing(NAME, server.url, KEY)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        model = Served(NAME, url, KEY, listing, timeout=0.3, tries=2, first_wait=0.01)
        assert "within 0.3 s" in only(model, QUESTION).error


def test_a_server_that_keeps_failing_gets_so_many_tries_and_then_a_sentence() -> None:
    def behave(asked: Asked) -> Answer:
        return refuses(503, f"no room for {asked.key}\nat all")

    with serving(behave) as server:
        reply = only(served(server), QUESTION)
    assert len(server.asked) == 4
    assert reply.error.startswith("The server failed 4 times, at last so: it answered 503")
    assert "no room for [key] at all" in reply.error
    assert KEY not in reply.error


def test_a_server_that_is_down_for_long_ends_the_run_and_keeps_what_came() -> None:
    def behave(asked: Asked) -> Answer:
        return well(asked) if int(asked.text.split()[1]) < 20 else refuses(500, "down")

    found = []
    with serving(behave) as server:
        model = served(server, concurrency=4, in_a_row=10)
        with pytest.raises(ModelError, match=r"failed at 1\d questions in a row"):
            found.extend(model.answer(iter(questions(1000))))
    assert sum(not one.reply.error for one in found) == 20
    assert len(server.asked) <= 20 + 4 * (10 + 4)


def test_failures_that_are_not_in_a_row_end_nothing() -> None:
    def behave(asked: Asked) -> Answer:
        return refuses(500, "oh") if int(asked.text.split()[1]) % 2 else well(asked)

    with serving(behave) as server:
        found = replies(served(server, concurrency=1, in_a_row=2, tries=2), questions(12))
    assert [bool(found[f"k{number}"].error) for number in range(12)] == [False, True] * 6


# What will not pass


def test_a_prompt_that_is_too_long_is_an_error_at_once() -> None:
    said = (
        "'max_tokens' or 'max_completion_tokens' is too large: 7. This model's maximum context "
        "length is 512 tokens and your request has 900 input tokens."
    )

    def behave(asked: Asked) -> Answer:
        return refuses(400, said) if asked.text == "question 1" else well(asked)

    with serving(behave) as server:
        found = replies(served(server), questions(3))
    assert "maximum context length is 512" in found["k1"].error
    assert found["k0"].text
    assert found["k2"].text
    assert len(server.asked) == 3


def test_a_server_that_refuses_everything_alike_ends_the_run() -> None:
    def behave(asked: Asked) -> Answer:
        return refuses(400, f"{NAME} is not a multimodal model")

    with serving(behave) as server:
        model = served(server, concurrency=2, in_a_row=6)
        with pytest.raises(ModelError, match=r"the same error: .*not a multimodal model"):
            list(model.answer(iter(questions(1000))))
    assert len(server.asked) < 10


@pytest.mark.parametrize(("status", "words"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"),
                                               (404, "--base-url")])  # fmt: skip
def test_a_refused_key_or_model_ends_the_run(status: int, words: str) -> None:
    with serving(lambda asked: refuses(status, f"not with {asked.key}")) as server:
        with pytest.raises(ModelError) as caught:
            list(served(server).answer(iter(questions(100))))
        assert len(server.asked) <= 16
    assert words in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_quota_that_is_used_up_is_not_waited_for() -> None:
    gone = Answer({"error": {"message": "no money", "code": "insufficient_quota"}}, 429)
    with serving(lambda asked: gone) as server, pytest.raises(ModelError, match="no money"):
        list(served(server).answer(iter(questions(100))))


# For which model


def test_a_server_that_answers_for_another_model_is_noticed() -> None:
    with (
        serving(lambda asked: says(asked, "left", model="other-model")) as server,
        pytest.raises(ModelError, match=f"asked for {NAME} and answers for other-model"),
    ):
        list(served(server).answer(iter(questions(3))))


def test_a_router_that_falls_back_for_once_is_asked_again() -> None:
    def behave(asked: Asked) -> Answer:
        other = asked.text == "question 1" and not asked.before
        return says(asked, asked.text, model="other-model" if other else NAME)

    with serving(behave) as server:
        found = replies(served(server, concurrency=1), questions(3))
    assert {one.text for one in found.values()} == {f"question {n}" for n in range(3)}
    assert len(server.asked) == 4


def test_a_server_that_goes_over_to_another_model_ends_the_run() -> None:
    """Each of its replies is paid for."""

    def behave(asked: Asked) -> Answer:
        return says(asked, asked.text, model=NAME if asked.text == "question 0" else "other-model")

    answered = []
    with serving(behave) as server:
        model = served(server, concurrency=1)
        with pytest.raises(ModelError, match="4 times in a row, and it answered for another model"):
            answered.extend(one.key for one in model.answer(iter(questions(50))))
    assert answered == ["k0"]
    assert len(server.asked) == 1 + 4


@pytest.mark.parametrize(
    ("asked", "said", "same"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", False),
        ("gpt-4", "gpt-4-0613", True),
        ("gpt-4", "gpt-4-32k", False),
        ("claude-x-latest", "claude-x-20250219", True),
        ("llava", "llava:latest", True),
        ("llava", "llava:7b", False),
        ("qwen2-vl", "qwen2-vl-72", False),
        ("models/gemini-2.0-flash", "gemini-2.0-flash", True),
        ("Qwen/Qwen2-VL-2B", "Qwen2-VL-2B", True),
        ("Qwen/Qwen2-VL-2B", "Qwen/Qwen2-VL-7B", False),
        ("a", "", False),
    ],
)
def test_versions_of_a_model_are_the_same_and_its_relatives_are_not(
    asked: str, said: str, same: bool
) -> None:
    assert is_version(asked, said) is same


def test_names_that_a_server_gives_to_the_same_weights_are_one_model() -> None:
    with serving(lambda asked: says(asked, "left", model="first-name")) as server:
        alike = [{"id": name, "root": "/w", "owned_by": "vllm"} for name in ("first-name", NAME)]
        server.listing = Answer({"data": alike})
        assert only(served(server), QUESTION).text == "left"


# The start


@pytest.mark.parametrize(
    ("name", "proxy", "said"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9", r"ALL_PROXY names a SOCKS proxy, .*socksio"),
        ("HTTP_PROXY", "nonsense:abc", "HTTP_PROXY names no proxy"),
        ("HTTP_PROXY", "ftp://me:secret@localhost", "HTTP_PROXY names no proxy"),
        ("HTTP_PROXY", "http://127.0.0.1:9", "asked through HTTP_PROXY; NO_PROXY"),
    ],
)
def test_a_proxy_that_is_no_use_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, proxy: str, said: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving() as server:
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv(name, proxy)
        if "socks" in proxy and importlib.util.find_spec("socksio"):
            pytest.skip("the package for SOCKS is there")
        with pytest.raises(ModelError, match=said) as caught:
            load_model(f"openai:{NAME}", base_url=server.url)
        assert "secret" not in str(caught.value)
        if proxy.endswith(":9") and "socks" not in proxy:
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            assert load_model(f"openai:{NAME}", base_url=server.url)


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_a_file_of_certificates_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    place = tmp_path / "certificates.pem"
    if text:
        place.write_text(text)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("SSL_CERT_FILE", str(place))
    with pytest.raises(ModelError, match=r"^SSL_CERT_FILE or SSL_CERT_DIR names no certificates"):
        load_model(f"openai:{NAME}", base_url="https://127.0.0.1:9/v1")


def test_mistakes_get_a_sentence_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str = f"openai:{NAME}", **options: Any) -> str:
        with pytest.raises(ModelError) as caught:
            load_model(name, **options)
        assert KEY not in str(caught.value)
        return str(caught.value)

    assert "OPENAI_API_KEY" in fails()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert "is no base URL" in fails(base_url="localhost:8000/v1")
    assert "is no base URL" in fails(base_url="http://localhost:80000/v1")
    assert "password" in fails(base_url=f"http://me:{KEY}@localhost/v1")
    assert "password" in fails(base_url=f"http://localhost:99999/v1?key={KEY}")
    assert "Name the model" in fails("openai:")
    assert "concurrency" in fails(concurrency=0)
    with serving() as server:
        url = server.url
        assert "adapter" in fails(base_url=url, adapter="adapter/")
        other = fails("openai:some-model", base_url=url)
        assert f"serves no some-model; it serves {NAME}." in other
        server.listing = refuses(401, f"Incorrect API key provided: {KEY}")
        assert "OPENAI_API_KEY" in fails(base_url=url)
        server.listing = Answer(HTML, headers={"Content-Type": "text/html"})
        assert "no list of models" in fails(base_url=url)
        monkeypatch.setenv("OPENAI_API_KEY", "two words")
        assert "characters" in fails(base_url=url)
    assert f"No server answers at {url}" in fails_at(url)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.delitem(sys.modules, "openai", raising=False)
    with pytest.raises(ModelError, match=r"pip install .*openai"):
        load_model(f"openai:{NAME}", base_url="http://127.0.0.1:1/v1")


def fails_at(url: str) -> str:
    with pytest.raises(ModelError) as caught:
        read_listing(NAME, url, KEY)
    return str(caught.value)


def test_a_local_server_wants_no_key_and_may_have_no_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving() as server:
        server.listing = refuses(404, "no such page")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        model = load_model(f"openai:{NAME}")
        assert [one.reply.text for one in model.answer([QUESTION])] == [
            f"reply to {QUESTION.parts[0]}"
        ]
        assert server.asked[0].key == "EMPTY"


def test_the_identity_is_the_model_and_not_where_it_runs() -> None:
    with serving() as one, serving() as other:
        for server in (one, other):
            entry = {"id": NAME, "owned_by": "vllm", "root": "Org/Tiny", "created": server.port}
            server.listing = Answer({"data": [entry]})
        first = load_model(f"openai:{NAME}", base_url=one.url, concurrency=3)
        second = load_model(f"openai:{NAME}", base_url=other.url)
        smaller = load_model(f"openai:{NAME}", base_url=other.url, max_pixels=100)
    assert first.identity == second.identity
    assert first.identity != smaller.identity
    assert str(one.port) not in json.dumps(dict(first.identity))
    assert first.facts["server"] == one.url


# Servers with less


def test_a_server_without_usage_gives_replies_without_token_counts() -> None:
    def behave(asked: Asked) -> Answer:
        body = well(asked).body
        return Answer({name: value for name, value in body.items() if name != "usage"})

    with serving(behave) as server:
        reply = only(served(server), QUESTION)
    assert (reply.input_tokens, reply.output_tokens) == (0, 0)
    assert reply.text


@pytest.mark.parametrize(
    ("finish", "ours"), [("length", "length"), ("stop", "stop"), ("tool_calls", "")]
)
def test_how_replies_end(finish: str, ours: str) -> None:
    with serving(lambda asked: says(asked, "to the l", finish=finish)) as server:
        assert only(served(server), QUESTION).finish == ours


def test_fields_that_a_server_refuses_are_left_out_from_then_on() -> None:
    def behave(asked: Asked) -> Answer:
        if "max_tokens" in asked.body:
            return refuses(400, "Unsupported parameter: 'max_tokens' is not supported with this "
                                "model. Use 'max_completion_tokens' instead.")  # fmt: skip
        if "seed" in asked.body:
            problem = {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "not permitted"}
            return Answer({"detail": [problem]}, 422)
        return well(asked)

    with serving(behave) as server:
        found = replies(served(server, concurrency=1), questions(4, max_new_tokens=9))
    assert all(one.text for one in found.values())
    assert len(server.asked) == 4 + 2
    assert server.asked[-1].body["max_completion_tokens"] == 9


def test_a_server_without_a_temperature_is_asked_and_a_warning_says_so() -> None:
    def behave(asked: Asked) -> Answer:
        if "temperature" in asked.body:
            return refuses(400, "Unsupported value: 'temperature' does not support 0 with this "
                                "model. Only the default (1) value is supported.")  # fmt: skip
        return well(asked)

    with serving(behave) as server, pytest.warns(UserWarning, match="not greedy"):
        assert only(served(server), QUESTION).text


# Schemas


def test_a_schema_goes_as_it_is_and_in_an_object_where_it_is_refused() -> None:
    strict = {"minItems", "maxItems", "minLength", "maxLength"}

    def behave(asked: Asked) -> Answer:
        schema = asked.body["response_format"]["json_schema"]["schema"]
        if schema["type"] != "object":
            return refuses(400, "Invalid schema for response_format 'reply': schema must be a JSON "
                                "Schema of 'type: \"object\"', got 'type: \"array\"'.")  # fmt: skip
        if any(word in json.dumps(schema) for word in strict):
            return refuses(400, "Invalid schema for response_format: not permitted")
        return says(asked, json.dumps({"pairs": PAIRS}))

    requests = [llm.pairs_request(f"k{n}", f"A cup, {n}.", 400) for n in range(5)]
    with serving(behave) as server:
        found = replies(served(server, concurrency=1), requests)
    assert [json.loads(one.text) for one in found.values()] == [PAIRS] * 5
    assert len(server.asked) == 5 + 1
    sent = server.asked[-1].body["response_format"]["json_schema"]
    assert sent["strict"]
    assert sent["schema"]["properties"]["pairs"]["items"]["required"] == ["question", "answer"]
    with serving() as plain:
        only(served(plain), PAIR)
    sent = plain.asked[0].body["response_format"]["json_schema"]["schema"]
    assert sent == json.loads(llm.SCHEMA)


def test_a_server_that_quietly_drops_the_schema_is_found_out() -> None:
    def behave(asked: Asked) -> Answer:
        return says(asked, "Sure! Here are some questions about the cup.")

    with serving(behave) as server:
        models = Models(Options(llm=f"openai:{NAME}"), {"base_url": server.url}, {})
        with pytest.raises(ModelError, match="does not keep to the JSON schema"):
            models.require_schema()
        server.behave = well
        models.require_schema()


def test_a_bound_that_the_context_cannot_hold_is_known_before_the_first_caption() -> None:
    with serving() as server:
        server.listing = Answer({"data": [{"id": NAME, "max_model_len": 2048}]})
        engine = {"base_url": server.url}
        with pytest.raises(ModelError, match=r"context of 2,048 .*leaves 2,037.*--max-new-tokens"):
            Models(Options(llm=f"openai:{NAME}"), engine, {}).require_schema()
        fits = Options(llm=f"openai:{NAME}", max_new_tokens=1024)
        Models(fits, engine, {}).require_schema()
        # What is no number is not counted with.
        server.listing = Answer({"data": [{"id": NAME, "max_model_len": "2k"}]})
        Models(Options(llm=f"openai:{NAME}"), engine, {}).require_schema()


# Ranking


def likelihoods(top: Any, options: dict[str, str]) -> Reply:
    request = Request("q", ("Which?",), options, rank=True)
    with serving(lambda asked: ranks(asked, top)) as server:
        reply = only(served(server), request)
        assert server.asked[0].body["top_logprobs"] == 20
        assert server.asked[0].body["max_tokens"] == 1
    return reply


def probabilities(reply: Reply) -> dict[str, float]:
    assert reply.likelihoods, reply.error
    return {name: math.exp(one.total) for name, one in reply.likelihoods.items()}


def test_variants_of_a_first_token_are_added_up() -> None:
    top = [("Yes", math.log(0.3)), (" Yes", math.log(0.2)), ("yes", math.log(0.1))]
    top += [("▁YES", math.log(0.05)), ("Yes", math.log(0.05)), ("Y", math.log(0.02))]
    top += [("No", math.log(0.1)), ("No,", math.log(0.05)), ("Not", math.log(0.04))]
    top += [("Nothing", math.log(0.03)), ("\n", math.log(0.02)), ("Yesterday", math.log(0.01))]
    reply = likelihoods(top, YES_NO)
    assert probabilities(reply) == pytest.approx({"Yes": 0.72, "No": 0.15})
    assert llm.probability(reply) == pytest.approx(0.72 / 0.87)
    assert reply.likelihoods
    assert reply.likelihoods["Yes"].characters == 3


def test_letters_are_told_apart_from_words() -> None:
    top = [("A", -1.0), ("a", -0.5), ("B.", -2.0), ("C)", -3.0), ("An", -0.2), ("(D", -4.0)]
    reply = likelihoods(top, {label: label for label in "ABCD"})
    assert reply.likelihoods
    assert {name: one.total for name, one in reply.likelihoods.items()} == pytest.approx(
        {"A": -1.0, "B": -2.0, "C": -3.0, "D": -4.0}
    )


def test_an_option_that_is_not_named_is_less_likely_than_all_that_are() -> None:
    reply = likelihoods({"True": -0.2, "Maybe": -4.0, "So": -6.0}, {"1": "True", "0": "False"})
    assert reply.likelihoods
    assert reply.likelihoods["1"].total == -0.2
    assert reply.likelihoods["0"].total < -6.0
    assert likelihoods({"Maybe": -0.1}, YES_NO).error.startswith("None of the options")


@pytest.mark.parametrize(
    "options",
    [
        {"A": "A mug on a table", "B": "A mug under a table"},
        {"A": "left", "B": "Left"},
        {"A": "left", "B": ""},
        {},
    ],
)
def test_options_that_a_token_cannot_tell_apart_cost_no_question(options: dict[str, str]) -> None:
    with serving() as server:
        reply = only(served(server), Request("q", ("Which?",), options, rank=True))
        assert not server.asked
    assert reply.error


def test_a_token_that_begins_several_options_decides_nothing() -> None:
    options = {"A": "behind", "B": "beside"}
    assert "single words" in likelihoods({"be": -0.1, "behind": -3.0}, options).error
    assert not likelihoods({"behind": -0.1, "be": -3.0}, options).error


def test_without_logprobs_there_is_a_sentence_and_no_guess() -> None:
    with serving(lambda asked: says(asked, "Yes")) as server:
        assert "answered in writing" in only(served(server), RANKED).error
    refusal = refuses(400, "logprobs are not supported")
    with serving(lambda asked: refusal) as server:
        assert "answered in writing" in only(served(server), RANKED).error


def test_a_server_that_names_few_tokens_is_asked_for_few() -> None:
    def behave(asked: Asked) -> Answer:
        if asked.body["top_logprobs"] > 5:
            return refuses(400, "Requested top_logprobs of 20 is greater than max allowed: 5")
        return well(asked)

    with serving(behave) as server:
        assert only(served(server), RANKED).likelihoods


# The key


def test_a_key_that_a_server_repeats_is_not_in_a_reply() -> None:
    with serving(lambda asked: says(asked, f"You sent {asked.key}")) as server:
        assert only(served(server), QUESTION).text == "You sent [key]"
        assert only(served(server, key="EMPTY"), QUESTION).text == "You sent EMPTY"


# The commands


def spare(server: Server, *arguments: object) -> subprocess.Popen[str]:
    """The real command, with a key in its environment."""
    return subprocess.Popen(
        [sys.executable, "-m", "spare", *map(str, arguments), "--base-url", server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENAI_API_KEY": KEY},
    )


def killed_and_resumed(server: Server, kill_at: int, *arguments: object) -> str:
    """Kill the command once the server was asked so often, run it again, and give back all that
    both said."""
    first = spare(server, *arguments)
    while len(server.asked) < kill_at and first.poll() is None:
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    said = "".join(first.communicate())
    assert first.returncode == -signal.SIGKILL
    second = spare(server, *arguments)
    said += "".join(second.communicate())
    assert second.returncode == 0, said
    return said


def slowly(asked: Asked) -> Answer:
    return Answer(well(asked).body, delay=0.03)


def has_key(folder: Path) -> bool:
    return any(KEY.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_eval_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    rows = []
    for number in range(40):
        PIL.Image.new("RGB", (16, 16), (number, 0, 9)).save(data / f"{number}.png")
        row = {"image": f"{number}.png", "question": f"Number {number}, where is the mug?"}
        rows.append(row | {"options": ["left", "right"], "answer": "B"})
    (data / "mugs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def behave(asked: Asked) -> Answer:
        return Answer(says(asked, "B").body, delay=0.03)

    with serving(behave) as server:
        said = killed_and_resumed(
            server, 20, "eval", "--model", f"openai:{NAME}", "--tasks",
            f"custom:{data / 'mugs.jsonl'}", "--data", data, "--out", out, "--concurrency", 4,
        )  # fmt: skip
    assert server.most <= 4 + 4  # what the killed one had in flight may still be answered
    lines = [json.loads(line) for line in (out / "replies.jsonl").open()]
    assert len(lines) == len({line["key"] for line in lines}) == 40
    assert not any("error" in line for line in lines)
    # No more was asked twice than was in flight, or had just come, when it was killed.
    assert len(server.asked) <= 40 + 8
    scores = json.loads((out / "scores.json").read_text())
    assert scores["scores"][0]["metrics"]["accuracy"]["value"] == 100.0
    assert not has_key(tmp_path)
    assert KEY not in said


def two_tasks(data: Path) -> str:
    """Two tasks of three questions each, without pictures that differ; as --tasks names them."""
    data.mkdir()
    PIL.Image.new("RGB", (16, 16)).save(data / "mug.png")
    names = []
    for name in ("cups", "mugs"):
        rows = [
            {"image": "mug.png", "question": f"{name} {number}, where?"}
            | {"options": ["left", "right"], "answer": "B"}
            for number in range(3)
        ]
        path = data / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        names.append(f"custom:{path}")
    return ",".join(names)


def token_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "okens" in line]


def test_a_call_says_what_it_has_read_and_written_and_what_that_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def behave(asked: Asked) -> Answer:
        if "mugs 1" in asked.text and asked.before == 0:
            return refuses(400, "this picture is not taken")
        return says(asked, "B")

    out = tmp_path / "run"
    with serving(behave) as server:
        call = ["eval", "--model", f"openai:{NAME}", "--tasks", two_tasks(tmp_path / "data")]
        call += ["--data", str(tmp_path / "data"), "--out", str(out), "--base-url", server.url]
        priced = [*call, "--token-prices", "20000,300000"]
        assert main(priced) == 1
        first = "Tokens of this call: 55 read, 15 written"
        assert token_lines(capsys) == [f"{first}, which is 5.60 at these prices."]
        assert main(call) == 0  # asks for the one that was refused, and pays for no other
        assert token_lines(capsys) == ["Tokens of this call: 11 read, 3 written."]
        assert main(priced) == 0  # asks for nothing
        assert token_lines(capsys) == []
    calls = json.loads((out / "manifest.json").read_text())["calls"]
    assert [(one["input_tokens"], one["output_tokens"]) for one in calls] == [
        (33, 9), (22, 6), (11, 3),
    ]  # fmt: skip
    assert [one.get("cost") for one in calls] == [3.36, 2.24, None]
    assert calls[0]["token_prices"] == {"read": 20000.0, "written": 300000.0}
    assert "token_prices" not in calls[2]


def test_a_call_that_ends_with_the_quota_says_what_it_has_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def behave(asked: Asked) -> Answer:
        if "mugs 2" not in asked.text:
            return says(asked, "B")
        used_up = refuses(429, "You exceeded your quota")
        used_up.body["error"]["code"] = "insufficient_quota"
        return used_up

    with serving(behave) as server:
        call = ["eval", "--model", f"openai:{NAME}", "--tasks", two_tasks(tmp_path / "data")]
        call += ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
        assert main([*call, "--base-url", server.url, "--concurrency", "1"]) == 2
    assert "Tokens of this call: 55 read, 15 written." in token_lines(capsys)


def test_a_server_that_tells_no_tokens_gets_no_line_and_no_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def behave(asked: Asked) -> Answer:
        answer = says(asked, "B")
        del answer.body["usage"]
        return answer

    out = tmp_path / "run"
    with serving(behave) as server:
        call = ["eval", "--model", f"openai:{NAME}", "--tasks", two_tasks(tmp_path / "data")]
        call += ["--data", str(tmp_path / "data"), "--out", str(out), "--base-url", server.url]
        assert main([*call, "--token-prices", "2.5,10"]) == 0
    assert token_lines(capsys) == []
    calls = json.loads((out / "manifest.json").read_text())["calls"]
    assert len(calls) == 2
    assert not any({"input_tokens", "cost"} & set(one) for one in calls)


@pytest.mark.parametrize(
    ("text", "model", "words"),
    [
        ("2.5", "openai:x", "two prices"),
        ("1,2,3", "openai:x", "two prices"),
        ("$1,2", "openai:x", "two prices"),
        ("-1,2", "openai:x", "two prices"),
        ("1,nan", "openai:x", "two prices"),
        ("1,inf", "openai:x", "two prices"),
        ("2.5,10", "random", "is none; leave them out"),
        ("2.5,10", "openai/clip-vit-base-patch32", "is none; leave them out"),
    ],
)
def test_prices_that_make_no_sense_are_refused(text: str, model: str, words: str) -> None:
    with pytest.raises(SpareError, match=words):
        read_prices(text, model)


@pytest.mark.parametrize(
    ("tokens", "prices", "cost"),
    [
        (Tokens(1_000_000, 0), Prices(2.5, 0), "2.50"),
        (Tokens(0, 2_000_000_000), Prices(0, 10), "20,000.00"),
        (Tokens(1, 1), Prices(2.5, 10), "less than 0.01"),
        (Tokens(5, 5), Prices(0, 0), "0.00"),
    ],
)
def test_a_cost_is_never_rounded_to_nothing(tokens: Tokens, prices: Prices, cost: str) -> None:
    assert tokens.line(prices).endswith(f"written, which is {cost} at these prices.")


@pytest.mark.parametrize(
    ("tokens", "which"), [(Tokens(1_000_000, 0), "written"), (Tokens(0, 1_000_000), "read")]
)
def test_half_a_bill_is_none(tokens: Tokens, which: str) -> None:
    """Some servers count one kind alone."""
    assert tokens.cost(Prices(2.5, 10)) is None
    assert tokens.line(Prices(2.5, 10)).endswith(f"since the server counts none {which}.")


def test_generate_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    write_docci(tmp_path / "docci", 30)
    captions, out = tmp_path / "captions", tmp_path / "qa"
    assert (
        main(["captions", "docci", "--data", f"{tmp_path / 'docci'}", "--out", f"{captions}"]) == 0
    )
    with serving(slowly) as server:
        said = killed_and_resumed(
            server, 45, "generate", captions, "--out", out, "--llm", f"openai:{NAME}",
            "--concurrency", 4,
        )  # fmt: skip
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["models"]["llm"]["model"] == NAME
    funnel = json.loads((out / "funnel.json").read_text())
    assert sum(funnel["pairs"].values()) == 30
    assert not funnel["replies"].get("error")
    # Said by the second call alone, of its own replies: fewer than both were sent.
    (read,) = re.findall(r"Tokens of this call: ([\d,]+) read", said)
    assert 0 < int(read.replace(",", "")) < 11 * len(server.asked)
    # Asked twice: the canary, and no more than was in flight, or had just come.
    twice = [text for text, count in server.answered.items() if count > 1 and "red cup" not in text]
    assert len(twice) <= 8
    assert not has_key(tmp_path)
    assert KEY not in said


def test_what_a_server_refused_comes_through_every_stage_with_the_next_call(
    tmp_path: Path,
) -> None:
    """However late in the run it was refused, the pairs are those of a server that never fails."""
    write_docci(tmp_path / "docci", 6)
    captions("docci", data=tmp_path / "docci", out=tmp_path / "captions")

    def generated(server: Server, out: Path) -> dict[str, Any]:
        name, engine = f"openai:{NAME}", {"base_url": server.url}
        return generate(tmp_path / "captions", out=out, llm=name, engine=engine, support=0.0)

    def refusing(kind: str, number: int) -> Callable[[Asked], Answer]:
        asked_so_far: list[str] = []

        def behave(asked: Asked) -> Answer:
            said = "write" if "response_format" in asked.body else "rank"
            if said == kind:
                asked_so_far.append(asked.text)
                if len(asked_so_far) == number:
                    return refuses(400, "this question is not liked")
            return well(asked)

        return behave

    with serving(well) as server:
        whole = generated(server, tmp_path / "whole")
    # The third caption of the pre-filter, the third to write about, the third pair to look at.
    for kind, number in (("rank", 3), ("write", 4), ("rank", 9)):
        out = tmp_path / f"{kind}-{number}"
        with serving(refusing(kind, number)) as server:
            first = generated(server, out)
            asked = len(server.asked)
            assert sum(first["unheard"].values()) == 1
            assert "this question is not liked" in first["first_error"]
            assert first["pairs"] != whole["pairs"]
            second = generated(server, out)
        assert second | {"seconds": 0} == whole | {"seconds": 0}
        assert contents(out) == contents(tmp_path / "whole")
        # The canary, the question itself, and what follows from its reply.
        assert len(server.asked) - asked <= 4


def test_ablate_asks_servers_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled = tmp_path / "labelled.jsonl"
    rows = [{"caption": f"Caption {number}.", "spatial": number < 6} for number in range(8)]
    labelled.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving() as server:
        arguments = ["--labelled", labelled, "--llm", f"openai:{NAME}", "--out", tmp_path / "out"]
        arguments += ["--base-url", server.url, "--concurrency", "2"]
        assert main(["ablate", *map(str, arguments)]) == 0
    assert server.most <= 2
    assert len(server.asked) == 8
    said = capsys.readouterr()
    assert "0.75" in said.out  # it says Yes to everything
    assert "Tokens of this call: 88 read, 24 written." in said.err
