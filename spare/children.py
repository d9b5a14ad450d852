"""Our own commands in processes that end with the one that started them.

A process that is killed outright tells nobody. So each child holds the reading end of a pipe, its
standard input, and only its parent has the writing end: when the parent is gone, however it went,
the pipe ends, and so does the child.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from spare.errors import SpareError


class Children:
    """Commands of ours that are under way; where the block ends, none is."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._over = False
        self._lock = threading.Lock()

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._over = True
            for process in self._running:
                _let_go(process)

    def run(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        """Run `spare` with these arguments. May be called from several threads at once.

        Args:
            log: the command and what it prints are added to this file.
            environment: values of variables that are set otherwise.

        Raises:
            SpareError: it failed, with its last line; or the block has ended.
        """
        with log.open("ab") as file:
            with self._lock:
                if self._over:
                    raise SpareError(f"`spare {arguments[0]}` was not begun: another one failed.")
                file.write(f"$ spare {' '.join(arguments)}\n".encode())
                file.flush()
                process = subprocess.Popen(  # noqa: S603 (our own command)
                    [sys.executable, "-m", "spare.children", *arguments],
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **environment},
                )
                self._running.add(process)
            code = process.wait()
        with self._lock:
            self._running.remove(process)
        _let_go(process)
        if code:
            last = (log.read_text("utf-8").strip().splitlines() or [""])[-1]
            raise SpareError(f"`spare {arguments[0]}` failed: {last} ({log} has all of it.)")


def _let_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()


def _end_with_the_parent() -> None:
    while os.read(0, 1):
        pass
    # Workers that read data notice only after seconds, and hold what is locked until then.
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(1)  # whatever other threads are at: what is written stays whole, as after any kill


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_parent, name="parent", daemon=True).start()
    runpy.run_module("spare", run_name="__main__", alter_sys=True)
