"""What a model must beat: guessing, and always saying the most frequent answer. No torch needed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from spare.errors import ModelError
from spare.harness.models import Options
from spare.harness.models.types import Request, Response
from spare.tasks.types import Likelihood, Reply, Sample


def load_random(name: str, options: Options) -> Random:
    """The engine `random`."""
    _refuse("random", name, options)
    return Random(options.seed)


def load_majority(name: str, options: Options) -> Majority:
    """The engine `majority`."""
    _refuse("majority", name, options)
    return Majority()


class Random:
    """Says one of the options, each equally often; to a question without options, nothing.

    The choice hangs on the seed and the request's key alone, so it is the same whatever else is
    asked, and in whatever order.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.identity: Mapping[str, str] = {"engine": "random", "seed": str(seed)}
        self.facts: Mapping[str, str] = {}

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        """One response per request, in order."""
        for request in requests:
            if request.rank:
                # Likelihoods below 0 whose order is uniformly random; a tie takes 2^-53.
                likelihoods = {
                    label: _likelihood(self._draw(request.key, label) - 1.0)
                    for label in request.options
                }
                yield Response(request.key, Reply(likelihoods=likelihoods))
            elif request.options:
                labels = list(request.options)
                label = labels[int(self._draw(request.key, "") * len(labels))]
                yield Response(request.key, Reply(label, finish="stop"))
            else:
                yield Response(request.key, Reply(finish="stop"))

    def _draw(self, key: str, label: str) -> float:
        """A number in [0, 1) that looks random."""
        text = f"{self.seed}\0{key}\0{label}".encode()
        return (int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 11) / 2**53


class Majority:
    """Always gives the most frequent answer of the samples that it last studied.

    A written reply is the most frequent target. A ranking prefers the option whose *text* is most
    often the right one: options to be ranked are shown without their labels, and where a published
    file always puts the right one first (What's Up), its label would give it away. If no option has
    that text, all tie.
    """

    def __init__(self) -> None:
        self.identity: Mapping[str, str] = {"engine": "majority"}
        self.facts: Mapping[str, str] = {}
        self._written: str | None = None
        self._ranked: str | None = None

    def study(self, samples: Iterable[Sample]) -> str:
        """Count the targets of a benchmark, and return the favourites. To be called before its
        requests are answered.

        Of equally frequent ones the first in alphabetical order counts, so that the order of the
        samples does not matter.
        """
        written: Counter[str] = Counter()
        ranked: Counter[str] = Counter()
        for sample in samples:
            if sample.rank:
                ranked[sample.options[sample.target]] += 1
            else:
                written[sample.target] += 1
        self._written, self._ranked = _most_frequent(written), _most_frequent(ranked)
        return f"written {self._written!r}, ranked {self._ranked!r}"

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        """One response per request, in order. Raises ModelError if nothing was studied."""
        for request in requests:
            favourite = self._ranked if request.rank else self._written
            if favourite is None:
                raise ModelError("The engine majority must study a benchmark before it is asked.")
            if request.rank:
                likelihoods = {
                    label: _likelihood(0.0 if text == favourite else -1.0)
                    for label, text in request.options.items()
                }
                yield Response(request.key, Reply(likelihoods=likelihoods))
            else:
                yield Response(request.key, Reply(favourite, finish="stop"))


def _likelihood(total: float) -> Likelihood:
    """One that is the same by sum, per token and per character. A guess knows no lengths: divided
    by the real ones, long options would win more often than short ones."""
    return Likelihood(total, tokens=1, characters=1)


def _most_frequent(counts: Counter[str]) -> str | None:
    return min(counts, key=lambda text: (-counts[text], text), default=None)


def _refuse(engine: str, name: str, options: Options) -> None:
    if name:
        raise ModelError(f"The engine {engine} takes no name; leave out {name!r}.")
    if options.adapter:
        raise ModelError(f"The engine {engine} has no weights to put an adapter on.")
