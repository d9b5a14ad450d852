"""Any engine in Ray actors, wherever in a cluster they are: `spare eval --engine ray --replicas N`.

Questions leave in batches, those about one picture together, and each batch is with one actor at a
time. When an actor dies, or its machine, the batches that it had go to those that live, and Ray
starts it anew where there is room. A batch at which actors die again and again is halved, down to
the question that kills them, which becomes an error. Replies come back to this process, which
alone writes them down: so none is lost, and none is there twice.

These are plain actors and no Ray Data: questions are a stream that hangs on the replies so far
(`--lazy-groups`), replies have to be on disk as soon as they are there, and a dead machine's batch
must not wait until Ray finds room for an actor that has it in its queue.

All machines must see the checkpoint and the pictures under the same paths, and have the same
packages.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from spare.errors import ModelError, SpareError, counted
from spare.harness.models import Options, load_model
from spare.harness.models.types import Request, Response
from spare.harness.models.windows import read_groups
from spare.ray_cluster import LONGEST, connect
from spare.tasks.types import Reply

SMALLEST, LARGEST = 4, 1024
"""Bounds on a batch's questions."""

FIRST = 4
"""Questions in the first batches. A few, since nobody knows yet how long the model takes."""

SHORT, LONG = 4.0, 16.0
"""Seconds: batches that take less grow, since a model warms up and runs dry in each; those that
take longer shrink, since a batch is what a dead machine costs, and what the end waits for."""

AHEAD = 2
"""Batches that an actor has, so that it need not wait for the next."""

DEATHS = 3
"""So often a batch may lose its actor before it is halved."""

HOPELESS = 24
"""So often, and once more for each actor, may actors die with nothing done in between, before the
run ends. More often than it takes to find the one question in a batch that kills them."""

PATIENCE = 60.0
"""Seconds without an actor, after which is said what is waited for, again and again."""


@dataclass(frozen=True, slots=True)
class Started:
    """What an actor says of its model; or `error`, why it has none."""

    identity: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    writes: bool = True
    lineage: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """What an actor made of a batch, and in how many seconds. `error` ends the run."""

    responses: Sequence[Response]
    seconds: float
    error: str = ""


class Worker:
    """What an actor is. What a user can mend comes back as a text and not as an exception, of which
    Ray would make one of its own."""

    def __init__(self, spec: str, options: Mapping[str, Any], folder: str) -> None:
        self._spec, self._options, self._folder = spec, options, folder
        self._model: Any = None

    def start(self) -> Started:
        """Load the model, unless it is there."""
        try:
            os.chdir(self._folder)  # so that paths mean what they mean to whoever gave them
        except OSError:
            return Started(
                error=f"The machine {socket.gethostname()} has no folder {self._folder}; all "
                "machines of a cluster must see the same folders under the same paths."
            )
        try:
            self._model = self._model or load_model(self._spec, **self._options)
        except SpareError as error:
            return Started(error=str(error))
        if hasattr(self._model, "study"):
            return Started(
                error="This model studies a benchmark before it is asked, which is not done on a "
                "cluster; leave out --engine ray."
            )
        return Started(
            dict(self._model.identity),
            dict(self._model.facts),
            getattr(self._model, "writes", True),
            dict(getattr(self._model, "lineage", {})),
        )

    def objection(self, request: Request) -> str:
        """Why the model can answer nothing of this kind; "" if it can."""
        objection = getattr(self._model, "objection", None)
        try:
            return str(objection(request)) if objection else ""
        except SpareError as error:
            return str(error)

    def answer(self, requests: Sequence[Request]) -> Answered:
        """Answer a batch."""
        began, responses, error = time.monotonic(), [], ""
        try:
            responses.extend(self._model.answer(iter(requests)))
        except SpareError as fault:
            error = str(fault)
        return Answered(responses, time.monotonic() - began, error)


@dataclass(slots=True)
class Batch:
    """Questions that travel together, and how often their actor has died."""

    requests: list[Request]
    deaths: int = 0


def load_on_ray(spec: str, options: Options) -> Distributed:
    """The model in `options.replicas` actors. The first of them decides what it is.

    Raises:
        SpareError: Ray is not installed, or the model cannot be loaded.
    """
    engine = spec.partition(":")[0]
    if engine in ("random", "majority"):
        raise ModelError(f"The engine {engine} needs no cluster; leave out --engine ray.")
    if engine == "openai":
        raise ModelError(
            "The engine openai asks a server, which needs no cluster; leave out --engine ray, and "
            "raise --concurrency."
        )
    started_here = connect()
    import ray

    there = options.device == "auto" and ray.cluster_resources().get("GPU")
    # A GPU that is asked for by name is waited for: clusters that grow have none at first.
    accelerators = options.tensor_parallel if there or options.device.startswith("cuda") else 0
    if started_here and accelerators > ray.cluster_resources().get("GPU", 0):
        has = counted(int(ray.cluster_resources().get("GPU", 0)), "GPU")
        raise ModelError(
            f"A replica takes {counted(accelerators, 'GPU')}, this machine has {has}, and it is "
            "all of the cluster, which nobody will add to. Name a cluster that has them in "
            "RAY_ADDRESS, or leave out --device cuda."
        )
    local = asdict(replace(options, replicas=0))
    if engine == "vllm" and accelerators:
        local["device"] = "auto"  # it takes what it finds, and in an actor that is what Ray gave it
    make = ray.remote(Worker).options(
        num_cpus=1,
        num_gpus=accelerators,
        max_restarts=-1,
        max_task_retries=0,  # a batch goes to an actor that lives
        scheduling_strategy="SPREAD",
    )
    actors = [make.remote(spec, local, os.getcwd()) for _ in range(options.replicas)]
    return Distributed(ray, actors, counted(accelerators or 1, "GPU" if accelerators else "CPU"))


class Distributed:
    """A model in actors. See `Model` for what the attributes mean; they are those of the model in
    one process, so that a run begun there goes on here.

    Args:
        ray: the module, connected.
        actors: handles of `Worker`s.
        each: what each of them takes of the cluster, for a sentence.
    """

    identity: Mapping[str, str]
    facts: Mapping[str, str]

    def __init__(self, ray: Any, actors: Sequence[Any], each: str) -> None:
        self._ray, self._actors, self._each = ray, actors, each
        self._starting: dict[Any, int] = {}  # reference -> number of the actor
        self._ready: set[int] = set()
        self._size = FIRST
        self._in_vain = 0  # deaths since a batch was done
        self._known: Started | None = None
        for number in range(len(actors)):
            self._start(number)
        while self._known is None:
            self._wait([])
        self.identity = self._known.identity
        self.facts = {
            **self._known.facts,
            "replicas": str(len(actors)),
            "ray": importlib.metadata.version("ray"),
        }
        self.writes, self.lineage = self._known.writes, self._known.lineage

    def objection(self, request: Request) -> str:
        """Why the model can answer nothing of this kind; "" if it can, or if no actor lives to
        say."""
        try:
            actor = self._actors[min(self._ready)]
            return str(self._ray.get(actor.objection.remote(request)))
        except (ValueError, self._ray.exceptions.RayError):
            return ""

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        """One response per request, batch by batch, as they come.

        Raises:
            ModelError: a model cannot be loaded, or is another one, on one of the machines; it
                raised one itself; or actors die and nothing gets done.
        """
        closed = threading.Event()
        batches = self._batches(requests, closed)
        again: deque[Batch] = deque()  # those whose actors have died
        flight: dict[Any, tuple[int, Batch]] = {}
        try:
            while True:
                # A batch that may have killed its actor is given out alone, or it would bring
                # others into suspicion.
                while (actor := self._free(flight, 1 if again else AHEAD)) is not None:
                    batch = again.popleft() if again else next(batches, None)
                    if batch is None:
                        break
                    reference = self._actors[actor].answer.remote(batch.requests)
                    flight[reference] = (actor, batch)
                if actor is not None and not flight:
                    return
                for reference in self._wait(flight):
                    actor, batch = flight.pop(reference)
                    try:
                        answered = self._ray.get(reference)
                    except self._ray.exceptions.RayError as error:
                        self._lost(actor, error)
                        rest = _again(batch)
                        again.extend(rest)
                        if not rest:
                            yield Response(batch.requests[0].key, Reply(error=_blamed(error)))
                        continue
                    self._in_vain = 0
                    self._resize(len(batch.requests), answered.seconds)
                    yield from answered.responses
                    if answered.error:
                        raise ModelError(answered.error)
        finally:
            closed.set()
            for reference in flight:
                self._ray.cancel(reference)

    def _batches(self, requests: Iterable[Request], closed: threading.Event) -> Iterator[Batch]:
        """Groups of questions about one picture, as many as are to travel together now."""
        waiting: list[Request] = []
        for groups in read_groups(requests, lambda request: 0.0, closed):
            for group in groups:
                if waiting and len(waiting) + len(group.requests) > self._size:
                    yield Batch(waiting)
                    waiting = []
                waiting = [*waiting, *group.requests]
        if waiting:
            yield Batch(waiting)

    def _resize(self, questions: int, seconds: float) -> None:
        if seconds < SHORT and questions > self._size // 2:
            self._size = min(2 * self._size, LARGEST)
        elif seconds > LONG:
            self._size = max(self._size // 2, SMALLEST)

    def _free(self, flight: Mapping[Any, tuple[int, Batch]], room: int) -> int | None:
        """The actor with the least to do, if that is less than so many batches."""
        load = dict.fromkeys(sorted(self._ready), 0)
        for busy, batch in flight.values():
            if busy in load:
                load[busy] += AHEAD if batch.deaths else 1
        actor = min(load, key=lambda one: load[one], default=None)
        return actor if actor is not None and load[actor] < room else None

    def _wait(self, flight: Iterable[Any]) -> list[Any]:
        """Those batches that are done or lost, of which there is one soon; actors that have started
        in the meantime are welcomed."""
        began = time.monotonic()
        found, _ = self._ray.wait([*flight, *self._starting], num_returns=1, timeout=PATIENCE)
        if not found and not self._ready and time.monotonic() - began >= PATIENCE:
            there = self._ray.cluster_resources()
            has = [counted(int(there.get(name, 0)), name) for name in ("CPU", "GPU")]
            _say(
                f"Waiting for room on the cluster: no replica is ready. Each takes {self._each}, "
                f"and the cluster has {' and '.join(has)}. (Large models take minutes to load.)"
            )
        for reference in found:
            if reference in self._starting:
                self._welcome(reference)
        return [reference for reference in found if reference in flight]

    def _start(self, actor: int) -> None:
        # Ray tries this one again by itself until the actor is there, wherever there is room.
        reference = self._actors[actor].start.options(max_task_retries=-1).remote()
        self._starting[reference] = actor

    def _welcome(self, reference: Any) -> None:
        """An actor has its model, or will have none."""
        actor = self._starting.pop(reference)
        try:
            started: Started = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._lost(actor, error)
            return
        if started.error:
            raise ModelError(started.error)
        if self._known is None:
            self._known = started
        elif started.identity != self._known.identity:
            ours, theirs = self._known.identity, started.identity
            names = sorted(
                name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)
            )
            raise ModelError(
                f"The machines of the cluster hold different models (in {', '.join(names)}); give "
                "all of them the same files."
            )
        self._ready.add(actor)

    def _lost(self, actor: int, error: Exception) -> None:
        """An actor is no more, or in no state to go on."""
        if actor in self._starting.values():  # the second of its batches says the same
            return
        self._ready.discard(actor)
        self._in_vain += 1
        if self._in_vain >= HOPELESS + len(self._actors):
            raise ModelError(
                f"The model's processes on the cluster have died {self._in_vain} times and done "
                f"nothing in between, at last so: {_words(error)}. Every reply so far is kept; the "
                "same command goes on."
            )
        if isinstance(error, self._ray.exceptions.RayTaskError):
            # What it raised is nothing that an engine lets pass: a device may be in a bad state.
            self._ray.kill(self._actors[actor], no_restart=False)
        self._start(actor)


def _say(line: str) -> None:
    # Models are loaded before anything can show events.
    with contextlib.suppress(BrokenPipeError):  # whoever read it may have gone
        print(line, file=sys.stderr, flush=True)


def _again(batch: Batch) -> list[Batch]:
    """What is to be tried again of a batch whose actor has died: nothing, if it is one question
    that must be what kills it."""
    deaths = batch.deaths + 1
    if deaths < DEATHS:
        return [Batch(batch.requests, deaths)]
    middle = len(batch.requests) // 2
    if not middle:
        return []
    halves = batch.requests[:middle], batch.requests[middle:]
    return [Batch(half, DEATHS - 1) for half in halves]


def _blamed(error: Exception) -> str:
    cause = getattr(error, "cause", None)
    how = f", at last by {_words(error)}" if isinstance(cause, Exception) else ""
    return f"The model's process ends whenever it is asked this{how}."


def _words(error: Exception) -> str:
    """What happened to an actor, in one line."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:LONGEST].rstrip(". ")
    return " ".join(str(error).split())[:LONGEST].rstrip(". ")
