"""Models of a user's own: `module:Class`, and what packages bring under the entry point
`spare.models`.

    spare eval --model my_models:MyModel ...          a class in my_models.py, here or installed
    spare eval --model my_models:MyModel:weights/ ... and what it is to load
    spare eval --model NAME ...                       the entry point NAME of an installed package
    spare eval --model NAME:weights/ ...              and what it is to load

Either is called with what follows its name and the `Options` of the call, and is to be a `Model`.
It is code that nobody here has seen, so what it gives is looked at before it is believed, and what
it raises costs the question that it was at: that one becomes an error, and the others are asked.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.metadata
import inspect
import math
import os
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from spare.errors import ModelError, PictureError, SpareError, counted
from spare.harness.models import ENGINES, Options
from spare.harness.models.own_checks import RAISED, About, look_at, short, told, told_in_a_line
from spare.harness.models.types import Request, Response
from spare.images import Picture
from spare.tasks.types import Likelihood, Reply

GROUP = "spare.models"

IN_A_ROW = 64
"""So many questions that fail one after another, with no reply in between, end the run."""

CALL = "It is called with two things: what follows its name, and the options of the call."


def load(spec: str, options: Options) -> Own:
    """The model behind `module:Class`, `module:Class:ARG`, `NAME` or `NAME:ARG`.

    Raises:
        ModelError: there is none, it cannot be imported or made, or it lacks something that a
            model has.
    """
    name, _, rest = spec.partition(":")
    entries = entry_points()
    if name in entries:
        kind, argument = _load_entry(entries[name]), rest
    else:
        kind, name, argument = _import(name, rest, entries)
    if not callable(kind):
        raise ModelError(f"{name} is {kind!r}, which cannot be called. {CALL}")
    try:
        model = kind(argument, options)
    except SpareError:
        raise
    except RAISED as error:
        raise ModelError(f"{name} cannot be made: {told(error)}\n{CALL}") from error
    return Own(look_at(model, name), {"model": argument, "code": _code(kind)})


def entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    """The models that installed packages bring, by name.

    Raises:
        ModelError: two of them have one name.
    """
    found: dict[str, importlib.metadata.EntryPoint] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        # A package that is on the path twice (an editable install) is still one.
        if found.setdefault(entry.name, entry).value != entry.value:
            raise ModelError(
                f"Two packages bring a model called {entry.name} ({found[entry.name].value} and "
                f"{entry.value}); uninstall one of them."
            )
    return {name: entry for name, entry in found.items() if name not in ENGINES}


def taken() -> list[importlib.metadata.EntryPoint]:
    """Models that packages bring under the name of an engine of ours, which is what it means."""
    found = importlib.metadata.entry_points(group=GROUP)
    return list({entry.value: entry for entry in found if entry.name in ENGINES}.values())


def _load_entry(entry: importlib.metadata.EntryPoint) -> Any:
    try:
        return entry.load()
    except RAISED as error:
        raise ModelError(
            f"The entry point {entry.value!r} of a package that brings the model {entry.name} "
            f"cannot be loaded: {told(error)}"
        ) from error


def _import(
    module: str, rest: str, entries: Mapping[str, importlib.metadata.EntryPoint]
) -> tuple[Any, str, str]:
    """The class, its name and the argument behind `module:Class[:ARG]`."""
    attribute, _, argument = rest.partition(":")
    engines = ", ".join([*ENGINES, *sorted(entries)])
    if module.endswith(".py"):
        raise ModelError(
            f"A class of your own is named by its module, without .py: {module[:-3]}:{rest}."
        )
    if not all(word.isidentifier() for word in [*module.split("."), attribute]):
        raise ModelError(
            f"There is no engine {module!r}; there are {engines}; and module:Class is a class of "
            "your own."
        )
    # Behind all that is installed: a file that happens to lie here must not stand in for it.
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())
    try:
        found = importlib.import_module(module)
    except RAISED as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise ModelError(
                f"There is no engine {module!r}, and no module of that name, here or installed; "
                f"there are the engines {engines}."
            ) from None
        raise ModelError(f"The module {module} cannot be imported: {told(error)}") from error
    if not hasattr(found, attribute):
        near = difflib.get_close_matches(attribute, dir(found), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ModelError(f"{_file(found)} has no {attribute}.{hint}")
    return getattr(found, attribute), f"{module}:{attribute}", argument


def _file(module: Any) -> str:
    return str(getattr(module, "__file__", None) or f"The module {module.__name__}")


def _code(kind: Any) -> str:
    """The digest of the file that a class is in. A fact and no identity: who has mended it wants to
    go on with the run."""
    with contextlib.suppress(OSError, TypeError):
        source = inspect.getsourcefile(kind)
        return hashlib.sha256(Path(source or "").read_bytes()).hexdigest()
    return ""


class Own:
    """A user's model, watched. See `Model` for what the attributes mean.

    Args:
        about: what it is and has, looked at.
        facts: what is known of it beyond what it says.
    """

    identity: Mapping[str, str]
    facts: Mapping[str, str]

    def __init__(self, about: About, facts: Mapping[str, str]) -> None:
        self.identity = {"engine": about.name, **about.identity}
        self.facts = {**facts, **about.facts}
        self.writes, self.lineage = about.writes, about.lineage
        for optional in ("study", "objection"):
            if getattr(about, optional):
                setattr(self, optional, getattr(about, optional))
        self._model, self._name = about.model, about.name
        self._failed = 0  # questions in a row that it raised at

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        """One response per request. A question at which the model raises gets an error; where
        several were under way, they are asked again one by one to see which it was.

        Raises:
            ModelError: the model gave something that is no answer, or none at all, or it raised at
                too many questions in a row.
        """
        rest = iter(requests)
        while not (yield from self._round(rest)):
            pass

    def _round(self, requests: Iterator[Request]) -> Generator[Response, None, bool]:
        """Responses until the requests run out, or until the model raises: then False."""
        asked = _Asked(requests)
        fault: BaseException | None = None
        given: Any = None
        try:
            given = iter(self._model.answer(asked))
            for found in given:
                yield self._checked(found, asked)
        except RAISED as error:
            fault = error
        finally:
            asked.close()
            if hasattr(given, "close"):
                given.close()
        if asked.fault:
            raise asked.fault  # it came through their code, but it is not theirs
        waiting = list(asked.waiting.values())
        if fault is None:
            if waiting or not asked.ended:
                raise ModelError(self._left(waiting))
            return True
        if isinstance(fault, SpareError) and not isinstance(fault, PictureError):
            raise fault
        if not waiting:
            raise ModelError(f"{self._name} fails: {told(fault)}") from fault
        if len(waiting) == 1:
            yield Response(waiting[0].key, self._noted(waiting[0], fault))
        else:
            for request in waiting:
                yield from self._round(iter([request]))
        return False

    def _left(self, waiting: list[Request]) -> str:
        if waiting:
            return (
                f"{self._name} gave no reply to {counted(len(waiting), 'question')}, such as "
                f"{_about(waiting[0])}; its method answer is to give one Response for each."
            )
        return f"{self._name} ended before it had read all questions."

    def _noted(self, request: Request, fault: BaseException) -> Reply:
        """The error that a question gets. Raises ModelError if there were too many in a row."""
        if isinstance(fault, PictureError):
            return Reply(error=str(fault))
        self._failed += 1
        if self._failed >= IN_A_ROW:
            raise ModelError(
                f"{self._name} has failed at {self._failed} questions in a row, at last at "
                f"{_about(request)}: {told(fault)}\nEvery reply so far is kept; mend it, and run "
                "the same command."
            ) from fault
        return Reply(error=f"The model failed at the question: {told_in_a_line(fault)}")

    def _checked(self, found: Any, asked: _Asked) -> Response:
        """A response, if it is one. Raises ModelError otherwise."""
        if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Reply)):
            raise ModelError(
                f"{self._name} gave {short(found)}, which is no Response(request.key, Reply(...))."
            )
        key, reply = found
        request = asked.take(key)
        if request is None:
            raise ModelError(
                f"{self._name} answered {key!r}, which it was not asked, or had answered already."
            )
        try:
            reply = _plain(reply, request)
        except (TypeError, ValueError) as error:
            return Response(key, self._noted(request, error))
        self._failed = 0
        return Response(key, reply)


class _Asked:
    """Requests on their way to the model, which may read them in a thread of its own.

    Attributes:
        waiting: those that were read and have no reply, by key.
        ended: there are no more.
        fault: what reading them raised.
    """

    def __init__(self, requests: Iterator[Request]) -> None:
        self._requests = requests
        self._lock = threading.Lock()
        self._closed = False
        self.waiting: dict[str, Request] = {}
        self.ended = False
        self.fault: BaseException | None = None

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        with self._lock:
            if self._closed:
                raise StopIteration
            try:
                request = next(self._requests)
            except StopIteration:
                self.ended = self._closed = True
                raise
            except BaseException as error:
                self.fault = error
                self._closed = True
                raise
            self.waiting[request.key] = request
            return request

    def take(self, key: object) -> Request | None:
        """The request that is answered now; None if nobody asked."""
        with self._lock:
            return self.waiting.pop(key, None) if isinstance(key, str) else None

    def close(self) -> None:
        """Give out no more. A thread that is at it has then finished."""
        with self._lock:
            self._closed = True


def _plain(reply: Reply, request: Request) -> Reply:
    """A reply whose numbers are Python's own. Raises TypeError or ValueError if it does not fit the
    question."""
    if not isinstance(reply.text, str) or not isinstance(reply.error, str):
        raise TypeError(f"the reply is no text but {short(reply.error or reply.text)}")
    try:
        tokens = int(reply.input_tokens), int(reply.output_tokens)
    except (TypeError, ValueError):
        raise ValueError(
            "its input_tokens and output_tokens are no numbers: "
            f"{short(reply.input_tokens)} and {short(reply.output_tokens)}"
        ) from None
    if reply.error:
        return Reply(error=reply.error)
    if not request.rank:
        if reply.likelihoods is not None and not reply.text:
            raise ValueError("text was asked for, and the reply has likelihoods (Reply(text))")
        finish: Literal["stop", "length", ""] = "length" if reply.finish == "length" else "stop"
        return Reply(reply.text, None, "", finish, *tokens)
    if reply.likelihoods is None or set(reply.likelihoods) != set(request.options):
        raise ValueError(
            "the options were to be ranked, and the reply has no likelihood of each of them "
            "(Reply(likelihoods={label: Likelihood(...)}))"
        )
    for label, one in reply.likelihoods.items():
        if not isinstance(one, Likelihood) or one.tokens < 1 or one.characters < 0:
            raise ValueError(
                f"the likelihood of {label} is {short(one)}, and no Likelihood(total, tokens, "
                "characters) of at least one token"
            )
    likelihoods = {
        label: Likelihood(float(one.total), int(one.tokens), int(one.characters))
        for label, one in ((label, reply.likelihoods[label]) for label in request.options)
    }
    if not all(math.isfinite(one.total) for one in likelihoods.values()):
        raise ValueError("a likelihood is no finite number")
    return Reply("", likelihoods, "", "", *tokens)


def _about(request: Request) -> str:
    """How a question is called in a sentence."""
    words = " ".join(part for part in request.parts if isinstance(part, str))
    seen = [part.name for part in request.parts if isinstance(part, Picture)]
    return f"{short(words)}{' about ' if seen else ''}{', '.join(seen)}"
