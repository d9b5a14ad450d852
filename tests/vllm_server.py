"""A real `vllm serve` on loopback, in a process group of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START = 300.0
"""Seconds until a server must be ready. It takes most of a minute, several the very first time."""


@dataclass(frozen=True)
class Server:
    """A server and where it is."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def kill(self) -> None:
        """End it and all that it has started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextlib.contextmanager
def vllm_serve(checkpoint: Path, name: str, log: Path, port: int = 0) -> Iterator[Server]:
    """Serve a checkpoint as `name`; what the server says goes to `log`.

    `vllm serve` itself asks for a package called vllm, which a build under another name is not; the
    module that it runs asks for nothing.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", checkpoint]
    command += ["--served-model-name", name, "--host", "127.0.0.1", "--port", port]
    command += ["--dtype", "float32", "--enforce-eager", "--max-model-len", 2048]
    command += ["--max-num-seqs", 8, "--limit-mm-per-prompt", '{"image": 2, "video": 0}']
    white = '{"backend": "xgrammar", "disable_any_whitespace": true}'
    command += ["--structured-outputs-config", white]
    calm = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as said:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, **calm},
            start_new_session=True,
        )
        server = Server(process, port)
        try:
            _wait(server, log)
            yield server
        finally:
            server.kill()


def _wait(server: Server, log: Path) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until and server.process.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/health", timeout=5).close()
            return
        time.sleep(0.5)
    end = log.read_text(errors="replace")[-3000:]
    raise AssertionError(f"vllm serve is not ready (exit code {server.process.poll()}):\n{end}")
