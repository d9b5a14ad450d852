"""What a user sees of long work: while a server keeps it waiting, above all."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from caption_world import write_docci
from chat_server import NAME, Answer, Asked, serving, well

from spare.cli import eval as evaluating
from spare.cli import generate, main, progress
from spare.demo.world import write_world
from spare.generation.captions import captions


class Stream(io.StringIO):
    """What stands for the standard error; a terminal or none."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def wait_for(self, words: str) -> None:
        """Until somebody has written them; a test that waits in vain fails in the end."""
        give_up = time.monotonic() + 30
        while words not in self.getvalue() and time.monotonic() < give_up:
            time.sleep(0.01)


def watched(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> Stream:
    """What a user sees, who is told ten times a second."""
    stream = Stream(terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(progress, "SECONDS", 0.1)
    return stream


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four captions, read."""
    write_docci(tmp_path / "data", 4)
    captions("docci", data=tmp_path / "data", out=tmp_path / "captions")
    return tmp_path


@pytest.mark.parametrize("terminal", [True, False])
def test_a_server_that_hangs_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """First at the made-up caption, then at the captions: each waits until the user was told."""
    stream = watched(monkeypatch, terminal)
    monkeypatch.setattr(generate, "PATIENCE", 0.05)

    def slow(asked: Asked) -> Answer:
        ranked = asked.body.get("logprobs")
        stream.wait_for(f"waiting for {'4 replies' if ranked else '1 reply'}, none for 0 s")
        return well(asked)

    with serving(slow) as server:
        common = ["generate", str(folder / "captions"), "--out", str(folder / "qa")]
        common += ["--llm", f"openai:{NAME}", "--base-url", server.url, "--stages", "prefilter"]
        assert main(common) == 0
    told = stream.getvalue()
    assert "prefilter" in told.split("waiting for 1 reply, none for 0 s")[0].split("\n")[-1]
    assert "waiting for 4 replies, none for 0 s" in told
    assert "waiting" not in told.rstrip().split("\n")[-1]  # at the end nothing is


@pytest.mark.parametrize("terminal", [True, False])
def test_an_evaluation_whose_server_hangs_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    stream = watched(monkeypatch, terminal)
    monkeypatch.setattr(evaluating, "PATIENCE", 0.05)

    def slow(asked: Asked) -> Answer:
        stream.wait_for("no reply for 0 s")
        return well(asked)

    write_world(tmp_path / "data", sets=1)
    with serving(slow) as server:
        line = ["eval", "--model", f"openai:{NAME}", "--base-url", server.url, "--tasks"]
        line += ["whatsup_a", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
        assert main(line) == 0
    told = stream.getvalue()
    assert "no reply for 0 s" in told
    assert "no reply" not in told.rstrip().split("\n")[-1]


def test_a_line_is_told_once_where_nothing_has_to_be_waited_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end that is told again, and whatever comes between two lines, is no line."""
    look: progress.Look[list[int]] = progress.Look(
        lambda event: progress.Bar("counting", event[0], 3), lambda event: f"{event[0]} of 3"
    )
    count = [0]
    with progress.shown(look) as show:
        for number in (0, 1, 2, 3, 3):
            count[0] = number
            show(count)
        show("over")
    assert capsys.readouterr().err == "3 of 3\nover\n"
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    with progress.shown(look) as show:
        show([1])
        show([2])
    assert capsys.readouterr().err.startswith("1 of 3\n2 of 3\n")


def test_bars_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts stand above the bars; a thing has one bar with its state; what does not stay goes."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    kept = _last_lines(monkeypatch, stays=True)
    assert "[red] is no colour" in kept
    assert "a ━━━━━━━━━━━━ 3/3 ETA 0:00:00 state 3" in kept
    assert "a ━" not in _last_lines(monkeypatch, stays=False)


def _last_lines(monkeypatch: pytest.MonkeyPatch, stays: bool) -> str:
    stream = Stream(terminal=True)
    monkeypatch.setattr("sys.stderr", stream)
    look: progress.Look[int] = progress.Look(
        lambda event: progress.Bar("a", event, 3), str, lambda event: f"state {event}", stays=stays
    )
    with progress.shown(look) as show:
        show("[red] is no colour")
        show(1)
        show(3)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    return "\n".join(line.split("\r")[-1] for line in plain.replace("\r\n", "\n").split("\n"))
