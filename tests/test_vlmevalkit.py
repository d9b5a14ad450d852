"""The engine vlmevalkit: its models answer our tasks, and nothing of it touches our process."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import ssl
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from chat_server import NAME, Answer, Asked, refuses, serving, well
from engine_questions import answers, draw_pictures

from spare.cli import main
from spare.demo.base import BASE
from spare.demo.world import write_objects, write_world
from spare.errors import ModelError, SpareError
from spare.harness.evaluate import evaluate
from spare.harness.models import load_model
from spare.harness.models.digests import digest_folder
from spare.harness.models.types import Model, Request
from spare.harness.models.vlmevalkit import VlmEvalKit, settings_of
from spare.images import Picture, open_picture

INSTALLED = importlib.util.find_spec("vlmeval") is not None
needs_vlmevalkit = pytest.mark.skipif(
    not INSTALLED, reason="VLMEvalKit is not installed; `make test-vlmevalkit` installs it"
)
MOODY = "vlmevalkit:vlmevalkit_moods:Moody"
TINY = f"vlmevalkit:vlmevalkit_models:Tiny,model_path={BASE}"


@pytest.fixture(scope="module")
def moody() -> VlmEvalKit:
    model: Any = load_model(f"{MOODY},interleave=true,level=0.5")
    return model


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    return draw_pictures(tmp_path_factory.mktemp("pictures"), 20)


def state() -> dict[str, Any]:
    """What VLMEvalKit changes in the process that imports it, and more."""
    import random

    import numpy
    import torch

    return {
        "certificates": ssl._create_default_https_context,
        "gradients": torch.is_grad_enabled(),
        "generators": (
            random.getstate(),
            numpy.random.get_state()[1].tolist(),
            torch.get_rng_state().tolist(),
        ),
        "logging": (logging.root.level, list(logging.root.handlers)),
        "warnings": list(warnings.filters),
        "environment": {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"},
        "folder": os.getcwd(),
        "path": list(sys.path),
        "pixels": PIL.Image.MAX_IMAGE_PIXELS,
        "modules": "vlmeval" in sys.modules,
    }


@dataclass(frozen=True)
class Guest:
    """A model of VLMEvalKit's, and what our process was before it was loaded."""

    model: Model
    before: Mapping[str, Any]


@pytest.fixture(scope="module")
def guest(pictures: list[Picture]) -> Guest:
    open_picture(pictures[0])  # Pillow's own warnings are turned off with the first one
    before = state()
    return Guest(load_model(TINY), before)


@needs_vlmevalkit
def test_nothing_of_it_touches_our_process(guest: Guest, pictures: list[Picture]) -> None:
    assert answers(guest.model, [Request("a", (pictures[0], "Where?"))])["a"].text
    after = state()
    assert [name for name in after if guest.before[name] != after[name]] == []
    assert not after["modules"]


IMPORTED = """
import sys
sys.path[:0] = {path!r}
import test_vlmevalkit as here
from spare.torchvision_repair import repair_torchvision
repair_torchvision()
before = here.state()
import vlmeval.vlm
after = here.state()
print(*sorted(name for name in before if before[name] != after[name]))
"""


@needs_vlmevalkit
def test_in_our_process_it_would() -> None:
    """What the process of its own is for; and the test above can fail."""
    code = IMPORTED.format(path=[str(Path(__file__).parent), *sys.path])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    changed = set(done.stdout.splitlines()[-1].split())
    assert {"certificates", "gradients", "generators", "pixels", "warnings"} <= changed


@needs_vlmevalkit
def test_its_models_answer_our_tasks_as_they_do_here(guest: Guest, tmp_path: Path) -> None:
    write_world(tmp_path / "data", sets=2)
    write_objects(tmp_path / "data", sets=2)
    tasks = f"vsr_zeroshot,whatsup_a,custom:{tmp_path / 'data' / 'objects.jsonl'}"
    theirs = evaluate(guest.model, tasks, data=tmp_path / "data", out=tmp_path / "theirs")
    ours = evaluate(str(BASE), tasks, data=tmp_path / "data", out=tmp_path / "ours")
    found, own = (
        {(line["task"], line["id"]): line["text"] for line in run.replies()}
        for run in (theirs, ours)
    )
    assert found == own
    assert len(set(own.values())) > 3
    assert [score.metrics for score in theirs.scores] == [score.metrics for score in ours.scores]
    assert theirs.manifest["model"]["model_path"] == digest_folder(BASE)
    assert theirs.manifest["model"]["engine"] == "vlmevalkit"


def test_keys_stay_out_of_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-of-the-environment")
    model = load_model(MOODY)
    words = [f"{verb} sk-of-the-environment" for verb in ("say", "fail", "die")]
    found = answers(model, [Request(one, (one,)) for one in words[:2]])
    assert "say" in found[words[0]].text
    assert "fail" in found[words[1]].error
    with pytest.raises(ModelError, match="about to die") as fault:
        answers(model, [Request("a", (words[2],))])
    kept = str(
        [*found.values(), model.identity, model.facts, str(fault.value).partition("At last")[2]]
    )
    assert "sk-of" not in kept
    with pytest.raises(ModelError, match="so api_key has no place there"):
        load_model(f"{MOODY},api_key=sk-of-a-command")


def test_a_model_that_draws_says_the_same_in_any_order(moody: VlmEvalKit) -> None:
    asked = [Request("a", ("draw",)), Request("b", ("fail",)), Request("c", ("draw again",))]
    found, turned = answers(moody, asked), answers(moody, asked[::-1])
    assert {key: reply.text for key, reply in found.items()} == {
        key: reply.text for key, reply in turned.items()
    }
    assert float(found["a"].text) >= 0


def test_pictures_and_words_come_in_order_as_we_see_them(moody: VlmEvalKit, tmp_path: Path) -> None:
    turned = PIL.Image.linear_gradient("L").resize((40, 24)).convert("RGBA")
    turned.putalpha(100)
    turned.save(tmp_path / "a.png")
    one, two = Picture(tmp_path / "a.png", "a.png"), Picture(tmp_path / "b.jpg", "b.jpg")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    turned.convert("RGB").save(two.path, exif=exif)
    request = Request("a", ("Look:", one, "and\nthen", two, "What?"))
    parts = answers(moody, [request])["a"].text.split("|")
    assert parts[0] == "text:Look:"
    assert parts[2] == "text:and\nthen"
    assert parts[4:] == ["text:What?", "spare_openended"]
    for part, picture in ((parts[1], one), (parts[3], two)):
        shown = PIL.Image.open(part.removeprefix("image:"))
        ours = open_picture(picture)
        assert (shown.mode, shown.size, shown.tobytes()) == (ours.mode, ours.size, ours.tobytes())


def test_pictures_do_not_pile_up(moody: VlmEvalKit, pictures: list[Picture]) -> None:
    requests = [Request(str(n), (picture, "?")) for n, picture in enumerate(pictures * 2)]
    assert not any(reply.error for reply in answers(moody, requests).values())
    assert len(list(Path(moody._folder.name).glob("*.png"))) <= 16 < len(pictures)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fail", "ValueError: no."),
        ("exit", "SystemExit: 3."),
        ("nothing", "it gave no text but NoneType."),
        ("api", "it says 'Failed to obtain answer via API.'."),
    ],
)
def test_a_fault_costs_its_own_question(moody: VlmEvalKit, words: str, said: str) -> None:
    asked = [Request("a", ("before",)), Request("b", (words,)), Request("c", ("after",))]
    found = answers(moody, asked)
    assert found["b"].error.startswith("VLMEvalKit's wrapper failed at the question: ")
    assert found["b"].error.endswith(said)
    assert found["b"].text == ""
    assert (found["a"].text, found["c"].text) == (
        "text:before|spare_openended",
        "text:after|spare_openended",
    )


@needs_vlmevalkit
@pytest.mark.parametrize("words", ["https://example.org/a.png", __file__, "data:image/png;base64,"])
def test_words_are_not_opened(guest: Guest, words: str) -> None:
    found = answers(guest.model, [Request("a", (words,)), Request("b", ("Where?",))])
    assert found["a"].error.endswith("for a file or an address and not for words.")
    assert found["b"].text


@needs_vlmevalkit
def test_a_wrapper_of_its_zoo_asks_a_server(
    pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most others want a GPU. A reply that it makes up for none is no reply."""

    def behave(asked: Asked) -> Answer:
        return refuses(400, "not this one") if "bad" in asked.text else well(asked)

    with serving(behave) as server:
        settings = f"model={NAME},api_base={server.url}/chat/completions,retry=1,wait=0"
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-123")
        model = load_model(f"vlmevalkit:vlmeval.api:GPT4V,{settings}")
        found = answers(
            model, [Request(text, (pictures[0], text)) for text in ("Where?", "bad", "What?")]
        )
        (asked,) = [one for one in server.asked if one.text == "Where?"]
    assert asked.key == "sk-secret-123"
    assert [part["type"] for part in asked.body["messages"][-1]["content"]] == ["image_url", "text"]
    assert found["Where?"].text == "reply to Where?"
    assert found["What?"].text == "reply to What?"
    assert "Failed to obtain answer" in found["bad"].error
    assert "sk-secret-123" not in str([model.identity, model.facts])
    assert model.identity["wrapper"] == "GPT4V"


@needs_vlmevalkit
def test_a_name_that_it_does_not_have_is_said() -> None:
    with pytest.raises(ModelError, match="no model Qwen2-VL-2B in its list; near it are Qwen2-VL-"):
        load_model("vlmevalkit:Qwen2-VL-2B")


def test_what_it_cannot_do_is_said(tmp_path: Path, pictures: list[Picture]) -> None:
    model = load_model(MOODY)
    found = answers(
        model,
        [
            Request("two", (pictures[0], pictures[1], "?")),
            Request("one", (pictures[0], "?")),
            Request("rank", (pictures[0], "?"), {"A": "x"}, rank=True),
            Request("schema", (pictures[0], "?"), schema="{}"),
        ],
    )
    assert "looks at the first picture only" in found["two"].error
    assert found["one"].text
    assert "rank no options" in found["rank"].error
    assert "JSON schema" in found["schema"].error
    write_world(tmp_path, sets=1)
    with pytest.raises(SpareError, match="whatsup_a cannot be asked: VLMEvalKit's models only"):
        evaluate(model, "whatsup_a", data=tmp_path, out=tmp_path / "run", prompt="captions")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vlmevalkit_moods:Nobody", "AttributeError"),
        ("nowhere_at_all:Moody", "No module named 'nowhere_at_all'"),
        ("json:JSONDecoder", "is no wrapper"),
        ("vlmevalkit_moods:Moody,colour=red", "unexpected keyword argument 'colour'"),
        ("vlmevalkit_moods:Moody,level=-1", r"AssertionError: `assert level >= 0` \(.*, line \d+"),
    ],
)
def test_what_it_cannot_load_is_said(name: str, said: str) -> None:
    with pytest.raises(ModelError, match=said) as fault:
        load_model(f"vlmevalkit:{name}")
    assert str(fault.value).startswith("VLMEvalKit cannot load ")


def test_a_process_that_dies_is_a_sentence_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_world(tmp_path / "data", sets=2)
    line = ["eval", "--model", "vlmevalkit:vlmevalkit_moods:Mortal,after=3"]
    line += ["--tasks", "whatsup_a", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "r")]
    assert main(line) == 2
    printed = capsys.readouterr().err
    assert "VLMEvalKit's process was killed by signal 9 while it was asked" in printed
    assert "At last it said: about to die." in printed
    kept = (tmp_path / "r" / "replies.jsonl").read_text().splitlines()
    assert len(kept) == 3
    monkeypatch.setenv("IMMORTAL", "1")
    assert main(line) == 0
    after = (tmp_path / "r" / "replies.jsonl").read_text().splitlines()
    assert after[:3] == kept
    assert len(after) == 8


def test_what_it_said_at_its_start_is_no_last_word() -> None:
    words = "vanish as soon as you have read this question, whose beginning is shown by an error"
    with pytest.raises(ModelError) as fault:
        answers(load_model(MOODY), [Request("a", (words,))])
    shown = "vanish as soon as you have read this question, whose beginning is shown by an…"
    assert f"while it was asked '{shown}'. It said nothing. Every reply" in str(fault.value)


def test_what_a_wrapper_writes_does_not_make_it_another_model(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("beams: 1")
    settings = f"log={tmp_path / 'log'},folder={tmp_path / 'out'},config={config}"
    first, second = (load_model(f"vlmevalkit:vlmevalkit_moods:Writer,{settings}") for _ in "ab")
    assert answers(first, [Request("a", ("hello",))])["a"].text
    assert (tmp_path / "log").read_text() == (tmp_path / "out" / "saved.txt").read_text()
    later = load_model(f"vlmevalkit:vlmevalkit_moods:Writer,{settings}")
    assert first.identity == second.identity == later.identity
    config.write_text("beams: 5")
    changed = load_model(f"vlmevalkit:vlmevalkit_moods:Writer,{settings}")
    assert {
        name for name in changed.identity if changed.identity[name] != first.identity[name]
    } == {"config"}


def gone(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{number}/stat").read_text().split(")")[1].split()[0] == "Z"


def wait_for(come: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not come():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


ASKING = """
import sys
sys.path[:0] = {path!r}
from spare.harness.models import load_model
from spare.harness.models.types import Model, Request
model = load_model({name!r})
print(model._process.pid, model._folder.name, flush=True)
list(model.answer([Request("a", ("wait",))]))
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_us(end: signal.Signals) -> None:
    """Also in the midst of a question, and however we end."""
    code = ASKING.format(path=[str(Path(__file__).parent), *sys.path], name=MOODY)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as ours:
        assert ours.stdout is not None
        number, folder = ours.stdout.readline().split(maxsplit=1)
        time.sleep(0.5)
        ours.send_signal(end)
        ours.wait(30)
    if end == signal.SIGINT:
        assert gone(int(number))
        assert not Path(folder.strip()).exists()
    else:
        wait_for(lambda: gone(int(number)) and not Path(folder.strip()).exists())


def test_an_answer_that_was_given_up_is_no_other_questions_answer(moody: VlmEvalKit) -> None:
    moody._asked += 1
    moody._send({"number": moody._asked, "message": [{"type": "text", "value": "old"}]})
    assert answers(moody, [Request("a", ("new",))])["a"].text == "text:new|spare_openended"


# What needs no VLMEvalKit


@pytest.mark.skipif(INSTALLED, reason="VLMEvalKit is installed")
def test_without_it_it_says_what_is_missing() -> None:
    with pytest.raises(ModelError, match=r"VLMEvalKit \(ms-vlmeval\) is not installed"):
        load_model("vlmevalkit:Qwen2-VL-2B-Instruct")


def testsettings_of_are_json_or_words() -> None:
    text = "path=/a b/c,bound=16,top=0.5,deep=true,wide=False,none=None,name=x=y"
    assert settings_of(text) == {
        "path": "/a b/c",
        "bound": 16,
        "top": 0.5,
        "deep": True,
        "wide": False,
        "none": None,
        "name": "x=y",
    }
    with pytest.raises(ModelError, match="'deep' is no SETTING=VALUE"):
        settings_of("deep")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"adapter": "x"}, "--adapter does nothing here"),
        ({"max_pixels": 9}, "--max-pixels does nothing here"),
        ({"attention": "sdpa"}, "--attn does nothing here"),
    ],
)
def test_options_that_it_would_not_hear_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        load_model(MOODY, **options)


def test_a_folder_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    (tmp_path / "config.json").write_text('{"_name_or_path": "a", "layers": 2}')
    first = digest_folder(tmp_path)
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "config.json").write_text('{"_name_or_path": "b", "layers": 2}')
    assert digest_folder(tmp_path) == first
    digests = {first}
    for name, content in (("pytorch_model.bin", "other"), ("modeling.py", "x = 1")):
        (tmp_path / name).write_text(content)
        digests.add(digest_folder(tmp_path))
    assert len(digests) == 3
