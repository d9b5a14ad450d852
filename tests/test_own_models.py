"""A user's own model: named by module or by entry point, looked at before it is believed, and no
worse for the others when it fails at a question.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from engine_questions import OPTIONS, answers

from spare.cli import main
from spare.demo.world import write_world
from spare.errors import ModelError
from spare.harness.lines import read_log
from spare.harness.models import load_model, own
from spare.harness.models.cluster import Worker
from spare.harness.models.types import Request

DOCS = Path(__file__).parent.parent / "docs" / "models.md"


def ask(*words: str, rank: bool = False) -> list[Request]:
    return [
        Request(f"q{number}", (word,), OPTIONS, rank, max_new_tokens=8)
        for number, word in enumerate(words)
    ]


def test_the_example_of_the_docs_answers_a_benchmark(tmp_path: Path) -> None:
    """From a file that lies where the real command is called."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    (tmp_path / "my_models.py").write_text(code, "utf-8")
    write_world(tmp_path / "data", sets=1)
    script = Path(sys.executable).with_name("spare")
    command = [sys.executable, "-P", str(script)] if script.exists() else []
    command = command or [sys.executable, "-P", "-c", "import spare.cli as c; c.main()"]
    common = ["--tasks", "whatsup_a,vsr_zeroshot", "--prompt", "whatsup_a=captions"]
    common += ["--data", "data", "--out", "run", "--model", "my_models:Glow:w"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [*command, "eval", *common],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for _, line in read_log(tmp_path / "run" / "replies.jsonl")]
    assert {line.get("text") for line in lines} <= {"True", "False", None}
    assert any("likelihoods" in line for line in lines)


def test_it_gets_its_argument_and_the_options_of_the_call() -> None:
    model = load_model("own_models:Own:some/weights:v2", device="cuda:3")
    assert model.identity == {"engine": "own_models:Own", "weights": "some/weights:v2"}
    assert model.facts["device"] == "cuda:3"
    assert len(model.facts["code"]) == 64


def test_nothing_spreads_it() -> None:
    for spec in ("own_models:Own", "shuffled:own_models:Own"):
        with pytest.raises(ModelError, match=r"^own_models:Own is .* --tensor-parallel does not"):
            load_model(spec, tensor_parallel=2)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("own_models:Owm", r"own_models.py has no Owm. Did you mean Own\?"),
        ("own_models:NOTHING", "cannot be called. It is called with two things"),
        ("own_models:NoIdentity", "NoIdentity needs an attribute identity, names and texts"),
        ("own_models:EmptyIdentity", "The identity of own_models:EmptyIdentity is empty"),
        ("own_models:NoAnswer", r"has no method answer\(requests\)"),
        ("own_models:NoArguments", r"(?s)cannot be made: TypeError: .*called with two things"),
        ("own_models:NotToday", "(?s)OSError: the weights.*own_models.py, line .* in __init__"),
        ("own_modles:Own", "There is no engine 'own_modles', and no module of that name"),
        ("own models:Own", "There is no engine 'own models'; there are transformers"),
        ("own_models:", "There is no engine 'own_models'; there are transformers"),
        ("own_models.py:Own", r"by its module, without \.py: own_models:Own\."),
    ],
)
def test_what_is_missing_is_said_when_it_is_opened(spec: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_model(spec)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import nothing_like_it", "cannot be imported: ModuleNotFoundError: No module named"),
        ("def answer(:", r"cannot be imported: SyntaxError: invalid syntax \(broken.py, line 1\)"),
        ("1 / 0", "(?s)ZeroDivisionError: division by zero.*broken.py, line 1"),
    ],
)
def test_a_module_that_does_not_import(
    code: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    importlib.invalidate_caches()
    with pytest.raises(ModelError, match=words):
        load_model("broken:Model")


def test_a_failure_costs_its_own_question() -> None:
    """Also where six were under way."""
    words = [f"word {number}" for number in range(40)]
    words[7] = words[8] = words[39] = "some poison"
    asked = ask(*words)
    found = answers(load_model("own_models:Fragile"), asked)
    whole = answers(load_model("own_models:Own"), asked)
    for request in asked:
        reply = found[request.key]
        if "poison" in str(request.parts):
            assert reply.error.startswith("The model failed at the question: ZeroDivisionError")
            assert re.search(r"own_models.py line \d+ in look", reply.error)
        else:
            assert reply.text == whole[request.key].text


def test_one_that_wants_to_leave_costs_its_own_question() -> None:
    found = answers(load_model("own_models:Leaving"), ask("a", "leave", "b"))
    assert found["q1"].error.startswith("The model failed at the question: SystemExit: bye (own_mo")
    assert found["q0"].text
    assert found["q2"].text


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("Odd:study text", "The attribute study of own_models:Odd is 'all of it' and no method"),
        ("Odd:objection text", "The attribute objection of own_models:Odd is 'I object' and no m"),
        ("Odd:lineage text", "The attribute lineage of own_models:Odd is 'abc', which JSON cannot"),
        ("Odd:lineage object", "JSON cannot hold as an object .Object of type object is not JSON"),
        ("Odd:writes text", "The attribute writes of own_models:Odd is 'False'; it is True, or"),
        (
            "Lazy:",
            "(?s)attribute lineage of own_models:Lazy fails: OSError: the d.*, in lineage",
        ),
    ],
)
def test_what_it_need_not_have_is_looked_at_too(kind: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_model(f"own_models:{kind}")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("study raises", "method study of own_models:Odd fails: ValueError: no idea.\n"),
        ("objection raises", "method objection of own_models:Odd fails: ValueError: no idea.\n"),
        ("objection leaves", "method objection of own_models:Odd fails: SystemExit: bye.\n"),
        ("objection true", "The method objection of own_models:Odd gave True; it is to give a tex"),
        ("objection none", ""),
    ],
)
def test_methods_that_it_need_not_have_end_in_a_sentence(
    kind: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_world(tmp_path / "data", sets=1)
    command = ["eval", "--model", f"own_models:Odd:{kind}", "--tasks", "whatsup_a", "--data"]
    code = main([*command, str(tmp_path / "data"), "--out", str(tmp_path / "run")])
    assert (code, words in capsys.readouterr().err) == (2 if words else 0, True)


def test_an_objection_that_fails_in_an_actor_is_heard() -> None:
    worker = Worker("own_models:Odd:objection raises", {}, os.getcwd())
    assert not worker.start().error
    assert worker.objection(ask("a")[0]).startswith("The method objection of own_models:Odd fails")


def test_one_that_always_fails_ends_the_run_with_its_traceback() -> None:
    asked = ask(*(f"word {number}" for number in range(100)))
    given = []

    def run() -> None:
        given.extend(load_model("own_models:Hopeless").answer(iter(asked)))

    words = (
        r"(?s)64 questions in a row, at last at 'word 63': KeyError: 'head.weight'\.\n"
        r"  own_models.py, line \d+, in answer: .*in reply: raise KeyError"
    )
    with pytest.raises(ModelError, match=words):
        run()
    assert len(given) == 63
    with pytest.raises(ModelError, match=r"^The licence has run out\.$"):
        list(load_model("own_models:Deliberate").answer(iter(asked)))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text", r"gave 'A', which is no Response"),
        ("stranger", "answered 'nobody', which it was not asked"),
        ("twice", "answered 'q0', which it was not asked, or had answered already"),
        ("early", "ended before it had read all questions"),
        ("silent", "gave no reply to 3 questions, such as 'a'"),
        ("at once", r"(?s)own_models:Garbled fails: RuntimeError: not today\..*in answer"),
    ],
)
def test_what_is_no_answer_ends_the_run(kind: str, words: str) -> None:
    model = load_model(f"own_models:Garbled:{kind}")
    with pytest.raises(ModelError, match=words):
        list(model.answer(iter(ask("a", "b", "c"))))


def test_a_ranking_is_no_words() -> None:
    """It would be an empty reply, and wrong, without a word."""
    model = load_model("own_models:Ranks")
    (reply,) = answers(model, ask("?")).values()
    assert "text was asked for, and the reply has likelihoods" in reply.error


@pytest.mark.parametrize(
    ("kind", "rank", "words"),
    [
        ("numbers", True, r"is -1\.0, and no Likelihood\(total, tokens, characters\)"),
        ("counts", True, "of at least one token"),
        ("words", False, "its input_tokens and output_tokens are no numbers: 'x' and 0"),
    ],
)
def test_numbers_that_are_none_cost_their_question(kind: str, rank: bool, words: str) -> None:
    model = load_model(f"own_models:Bare:{kind}")
    (reply,) = answers(model, ask("?", rank=rank)).values()
    assert re.search(words, reply.error)


@pytest.mark.parametrize(("name", "told"), [("Thinking", True), ("Own", False)])
def test_replies_that_end_before_an_answer_are_told(
    name: str, told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_world(tmp_path / "data", sets=1)
    call = ["eval", "--tasks", "whatsup_a", "--data", str(tmp_path / "data")]
    assert main([*call, "--model", f"own_models:{name}", "--out", str(tmp_path / "run")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "4 replies of 4 could not be read; `spare show" in printed
    assert ("4 replies of all ended at the bound on their length" in printed) == told


def test_words_are_no_ranking() -> None:
    model = load_model("own_models:Wordy")
    (reply,) = answers(model, ask("?", rank=True)).values()
    assert "the options were to be ranked" in reply.error


def test_what_reading_the_questions_raises_is_not_the_models_fault() -> None:
    def questions() -> Any:
        yield from ask("a")
        raise LookupError("the disk is gone")

    model = load_model("own_models:Own")
    with pytest.raises(LookupError, match="the disk is gone"):
        list(model.answer(questions()))


def test_a_run_that_failed_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The failed samples are named; and once the class is mended, they alone are asked."""
    import own_models

    write_world(tmp_path / "data", sets=2)
    common = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    command = ["eval", "--model", "own_models:Fragile", "--tasks", "whatsup_a", *common]
    monkeypatch.setattr(own_models.Fragile, "WORD", "bed")
    assert main(command) == 1
    shown = capsys.readouterr().out
    assert "ZeroDivisionError" in " ".join(shown.split())
    first = [line["id"] for _, line in read_log(tmp_path / "run" / "replies.jsonl")]
    monkeypatch.setattr(own_models.Fragile, "WORD", "poison")
    assert main(command) == 0
    lines = [line for _, line in read_log(tmp_path / "run" / "replies.jsonl")]
    failed = {line["id"] for line in lines if "error" in line}
    assert failed
    assert {line["id"] for line in lines[len(first) :]} == failed


def install_name(folder: Path, package: str, name: str, value: str) -> None:
    """Put a package with an entry point into a folder."""
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[spare.models]\n{name} = {value}\n")
    importlib.invalidate_caches()


def test_entry_points_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    install_name(tmp_path, "mine", "hashing", "own_models:Own")
    install_name(tmp_path, "ours", "random", "own_models:Own")
    install_name(tmp_path, "bad", "bad", "own_models:Nobody")
    assert load_model("hashing:v3").identity == {"engine": "hashing", "weights": "v3"}
    assert load_model("hashing").identity == {"engine": "hashing", "weights": "v1"}
    assert load_model("shuffled:hashing").identity["engine"] == "hashing"
    assert load_model("hashing:").identity == {"engine": "hashing", "weights": "v1"}
    assert load_model("random").identity["engine"] == "random"
    for spec in ("bad:x", "bad"):
        with pytest.raises(ModelError, match=r"'own_models:Nobody' .* be loaded: AttributeError"):
            load_model(spec)
    with pytest.raises(ModelError, match=r"There is no engine 'warp'.* shuffled, bad, hashing"):
        load_model("warp:drive")
    install_name(tmp_path, "theirs", "hashing", "own_models:Wordy")
    with pytest.raises(ModelError, match="Two packages bring a model called hashing"):
        own.entry_points()


def test_what_lies_here_comes_before_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_name(tmp_path, "mine", "hashing", "own_models:Own")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hashing").mkdir()
    with pytest.raises(ModelError, match=r"^hashing is not a checkpoint"):
        load_model("hashing")


def test_a_module_without_its_class_is_half_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad_models.py").write_text("")
    for spec in ("bad_models", "shuffled:bad_models"):
        with pytest.raises(ModelError, match=r"^Name the class in bad_models.py, too: bad_models:"):
            load_model(spec)


def test_it_can_be_shown_the_pictures_of_others() -> None:
    model = load_model("shuffled:own_models:Own:v9")
    assert model.identity["engine"] == "own_models:Own"
