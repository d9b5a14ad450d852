"""Models as users write them, good ones and bad ones. Tests name them `own_models:Class`."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from spare.errors import ModelError
from spare.harness.models.types import Request, Response
from spare.images import Picture, open_picture
from spare.tasks.types import Likelihood, Reply


class Own:
    """Answers from a hash of what it sees, one question at a time."""

    def __init__(self, name: str, options: Any) -> None:
        self.identity = {"weights": name or "v1"}
        self.facts: dict[str, str] = {"device": options.device}

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        for request in requests:
            yield Response(request.key, self.reply(request))

    def reply(self, request: Request) -> Reply:
        seen = [
            open_picture(part).tobytes() if isinstance(part, Picture) else part.encode()
            for part in request.parts
        ]
        digest = hashlib.sha256(b"".join(seen)).hexdigest()
        if not request.rank:
            return Reply(digest[: request.max_new_tokens])
        if not all(request.options.values()):
            raise ValueError("an option is empty")
        return Reply(
            likelihoods={
                label: Likelihood(-float(int(digest[:4], 16) % len(text)), 1, len(text))
                for label, text in request.options.items()
            }
        )


class Fragile(Own):
    """Answers six at a time, and fails at questions with a certain word."""

    WORD = "poison"

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        for batch in _batches(requests, 6):
            replies = [self.look(request) for request in batch]
            for request, reply in zip(reversed(batch), reversed(replies), strict=True):
                yield Response(request.key, reply)

    def look(self, request: Request) -> Reply:
        if any(self.WORD in part for part in request.parts if isinstance(part, str)):
            raise ZeroDivisionError("that word")
        return self.reply(request)


def _batches(requests: Iterable[Request], size: int) -> Iterator[list[Request]]:
    rest = iter(requests)
    while batch := list(itertools.islice(rest, size)):
        yield batch


class Hopeless(Own):
    def reply(self, request: Request) -> Reply:
        raise KeyError("head.weight")


class Deliberate(Own):
    def reply(self, request: Request) -> Reply:
        raise ModelError("The licence has run out.")


class Wordy(Own):
    """Writes where it should rank."""

    def reply(self, request: Request) -> Reply:
        return Reply("A")


class Ranks(Own):
    """Ranks where it should write."""

    def reply(self, request: Request) -> Reply:
        return Reply(likelihoods={label: Likelihood(-1.0, 1, 1) for label in request.options})


class Thinking(Own):
    """Is not done with thinking when its tokens are used up."""

    def reply(self, request: Request) -> Reply:
        return Reply("<think> The mug is, let me see,", finish="length")


class Bare(Own):
    """Ranks by numbers that say nothing of tokens, or counts what cannot be."""

    def reply(self, request: Request) -> Reply:
        kind = self.identity["weights"]
        if kind == "words":
            return Reply("A", input_tokens="x")  # type: ignore[arg-type]
        one: Any = -1.0 if kind == "numbers" else Likelihood(-1.0, 0, 4)
        return Reply(likelihoods=dict.fromkeys(request.options, one))


class Garbled(Own):
    """Gives what is no answer, as its name says."""

    def answer(self, requests: Iterable[Request]) -> Iterator[Any]:
        kind = self.identity["weights"]
        if kind == "at once":
            raise RuntimeError("not today")
        for request in requests:
            if kind == "text":
                yield "A"
            elif kind == "stranger":
                yield Response("nobody", Reply("A"))
            elif kind == "twice":
                yield Response(request.key, Reply("A"))
                yield Response(request.key, Reply("A"))
            elif kind == "early":
                yield Response(request.key, Reply("A"))
                return


class Deadly(Own):
    """Dies with its whole process at questions with a certain word."""

    def reply(self, request: Request) -> Reply:
        if "deadly" in str(request.parts):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().reply(request)


class Restless(Own):
    """Another model in every process."""

    def __init__(self, name: str, options: Any) -> None:
        super().__init__(str(os.getpid()), options)


class Studious(Own):
    def study(self, samples: Iterable[Any]) -> str:
        return str(len(list(samples)))


class Marked(Own):
    """Leaves a file behind for every question that it is asked, and takes a while."""

    def __init__(self, name: str, options: Any) -> None:
        super().__init__("v1", options)
        self.folder = Path(name)

    def reply(self, request: Request) -> Reply:
        time.sleep(0.05)
        with (self.folder / f"{os.getpid()}").open("a") as file:
            file.write(f"{request.key}\n")
        return super().reply(request)


class Odd(Own):
    """Has one attribute, which its name tells, that is not what it should be."""

    def __init__(self, name: str, options: Any) -> None:
        super().__init__(name, options)
        odd: dict[str, tuple[str, Any]] = {
            "study raises": ("study", self.fail),
            "study text": ("study", "all of it"),
            "objection raises": ("objection", self.fail),
            "objection leaves": ("objection", lambda request: exit("bye")),
            "objection text": ("objection", "I object"),
            "objection true": ("objection", lambda request: True),
            "objection none": ("objection", lambda request: None),
            "lineage text": ("lineage", "abc"),
            "lineage object": ("lineage", {"base": object()}),
            "writes text": ("writes", "False"),
        }
        setattr(self, *odd[name])

    def fail(self, given: Any) -> str:
        raise ValueError("no idea")


class Lazy(Own):
    """Has an attribute that is found out when it is asked for, and cannot be."""

    @property
    def lineage(self) -> dict[str, str]:
        raise OSError("the disk is gone")


class Leaving(Own):
    """Wants to end the process at questions with a certain word."""

    def reply(self, request: Request) -> Reply:
        if "leave" in str(request.parts):
            raise SystemExit("bye")
        return super().reply(request)


class NoIdentity:
    def __init__(self, name: str, options: Any) -> None: ...

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        yield from ()


class EmptyIdentity(NoIdentity):
    identity: dict[str, str] = {}  # noqa: RUF012
    facts: dict[str, str] = {}  # noqa: RUF012


class NoAnswer:
    def __init__(self, name: str, options: Any) -> None:
        self.identity = {"weights": "v1"}
        self.facts: dict[str, str] = {}


class NoArguments:
    pass


class NotToday:
    def __init__(self, name: str, options: Any) -> None:
        raise OSError("the weights are on another disk")


NOTHING = None
