"""Commands of ours that were begun by another process end with it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spare.children import Children
from spare.demo.world import write_world
from spare.disk import locked
from spare.errors import SpareError

SLOW = """
import time
from pathlib import Path


class Slow:
    def __init__(self, name, options):
        self.identity = {"weights": "1"}
        self.facts = {}

    def answer(self, requests):
        Path("asked").touch()
        time.sleep(120)
        yield from ()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `spare eval --model slow:Slow` does not end by itself."""
    write_world(tmp_path / "data", sets=1)
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.chdir(tmp_path)
    # Commands run where their tests do, and import what this one does.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    return tmp_path


ASK = ["eval", "--model", "slow:Slow", "--tasks", "whatsup_a", "--data", "data", "--out", "run"]


def wait_for(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not so():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.05)


def free(folder: Path) -> bool:
    """Nobody writes the folder any more."""
    with contextlib.suppress(SpareError), locked(folder):
        return True
    return False


def test_a_child_ends_with_a_parent_that_was_killed(place: Path) -> None:
    code = "from pathlib import Path; from spare.children import Children\n"
    code += f"with Children() as children: children.run({ASK!r}, Path('log'), {{}})"
    parent = subprocess.Popen([sys.executable, "-c", code])
    wait_for((place / "asked").exists)
    assert not free(place / "run")
    parent.kill()
    parent.wait()
    wait_for(lambda: free(place / "run"))


def test_where_one_fails_the_others_end(place: Path) -> None:
    failed: list[SpareError] = []

    def ask() -> None:
        try:
            children.run(ASK, Path("log"), {})
        except SpareError as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    with Children() as children:
        thread.start()
        wait_for((place / "asked").exists)
        with pytest.raises(SpareError, match=r"`spare tasks` failed: .*'nosuch'.*\(other\.log has"):
            children.run(["tasks", "nosuch"], Path("other.log"), {})
    thread.join(60)
    assert [str(one).startswith("`spare eval` failed: ") for one in failed] == [True]
    assert Path("log").read_text().startswith(f"$ spare {' '.join(ASK)}\n")
    with pytest.raises(SpareError, match="was not begun"):
        children.run(ASK, Path("log"), {})


def test_a_command_is_heard_of_as_it_was_given(place: Path) -> None:
    """What it is told about itself is what a user would type."""
    with Children() as children:
        children.run(["tasks"], Path("log"), {"COLUMNS": "60"})
    lines = Path("log").read_text().splitlines()
    assert lines[0] == "$ spare tasks"
    assert 1 < max(map(len, lines)) <= 60
