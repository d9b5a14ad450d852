"""A server on loopback that speaks OpenAI's chat protocol, well or as badly as a test wants it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "tiny-vlm"


@dataclass(frozen=True)
class Asked:
    """One request: its body, its last text, how often that was asked before, its key."""

    body: dict[str, Any]
    text: str
    before: int
    key: str


@dataclass(frozen=True)
class Answer:
    """What is sent back: `cut` ends the body after so many bytes, `delay` is in seconds before it,
    `drop` closes the connection instead."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    delay: float = 0.0
    drop: bool = False


def says(asked: Asked, text: str, model: str = NAME, finish: str = "stop") -> Answer:
    """A reply as vllm serve writes it, less what nobody reads."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    choices = [choice | {"finish_reason": finish, "logprobs": None}]
    return Answer({"id": "x", "object": "chat.completion", "model": model, "choices": choices}
                  | {"usage": usage})  # fmt: skip


def ranks(asked: Asked, top: dict[str, float] | list[tuple[str, float]]) -> Answer:
    """A reply with log-probabilities of the first token."""
    named = list(top.items()) if isinstance(top, dict) else top
    tokens = [{"token": token, "logprob": value, "bytes": None} for token, value in named]
    found = says(asked, named[0][0])
    found.body["choices"][0]["logprobs"] = {"content": [{**tokens[0], "top_logprobs": tokens}]}
    return found


def refuses(status: int, message: str, **headers: str) -> Answer:
    """An error as OpenAI writes it."""
    return Answer({"error": {"message": message, "type": "invalid", "code": status}}, status,
                  {name.replace("_", "-"): value for name, value in headers.items()})  # fmt: skip


PAIRS = [{"question": "Where does the cup stand?", "answer": "to the left of the plate"}]


def well(asked: Asked) -> Answer:
    """Yes to what is ranked, a pair under a schema, else the question again."""
    if asked.body.get("logprobs"):
        return ranks(asked, {"Yes": -0.1, "No": -2.5, "Well": -6.0})
    if "response_format" in asked.body:
        return says(asked, json.dumps(PAIRS))
    return says(asked, f"reply to {asked.text}")


class Server:
    """A server that answers as `behave` says, and knows what it was asked."""

    def __init__(self, behave: Callable[[Asked], Answer], port: int = 0) -> None:
        self.behave = behave
        self.listing: Answer = Answer({"object": "list", "data": [{"id": NAME, "owned_by": "me"}]})
        self.asked: list[Asked] = []
        self.answered: Counter[str] = Counter()
        self.flying = self.most = 0
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def take(self, body: dict[str, Any], key: str) -> tuple[Asked, Answer]:
        content = body["messages"][-1]["content"]
        text = [part["text"] for part in content if part["type"] == "text"][-1]
        with self._lock:
            before = sum(one.text == text for one in self.asked)
            asked = Asked(body, text, before, key)
            self.asked.append(asked)
            self.flying += 1
            self.most = max(self.most, self.flying)
        return asked, self.behave(asked)

    def landed(self, asked: Asked, answer: Answer) -> None:
        with self._lock:
            self.flying -= 1
            if answer.status == 200 and answer.cut is None and not answer.drop:
                kind = "rank" if asked.body.get("logprobs") else "write"
                self.answered[f"{kind} {asked.text}"] += 1

    def wait_for(self, flying: int) -> None:
        """Until so many requests wait for their answers."""
        while self.flying != flying:
            time.sleep(0.002)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(server.listing)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            data = self.rfile.read(length)
            if len(data) < length:  # the client was killed, or has hung up
                self.close_connection = True
                return
            body = json.loads(data)
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            asked, answer = server.take(body, key)
            time.sleep(answer.delay)
            server.landed(asked, answer)
            self._send(answer)

        def _send(self, answer: Answer) -> None:
            if answer.drop:
                self.close_connection = True
                return
            raw = isinstance(answer.body, bytes)
            data = answer.body if raw else json.dumps(answer.body).encode()
            headers = {"Content-Type": "application/json", **answer.headers}
            with contextlib.suppress(OSError):  # the client may have gone
                self.send_response(answer.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: answer.cut])
            if answer.cut is not None:
                self.close_connection = True

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


@contextlib.contextmanager
def serving(behave: Callable[[Asked], Answer] = well) -> Iterator[Server]:
    server = Server(behave)
    try:
        yield server
    finally:
        server.close()
