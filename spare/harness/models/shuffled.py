"""What is left of a score without the right picture: any engine, shown the pictures of other
questions.

A model that answers from the words alone loses nothing by it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace

from spare.errors import ModelError
from spare.harness.models import Options, load_model
from spare.harness.models.types import Model, Request, Response
from spare.images import Picture
from spare.tasks.types import Sample

SEED = 0


def load(name: str, options: Options) -> Shuffled:
    """The engine `shuffled:MODEL`."""
    if not name:
        raise ModelError("Name the model that is to be shown other pictures: shuffled:MODEL.")
    if name.partition(":")[0] in ("random", "majority", "shuffled"):
        raise ModelError(f"{name} looks at no picture of its own, so there is none to shuffle.")
    return Shuffled(load_model(name, **asdict(options)))


class Shuffled:
    """A model whose pictures are those of other questions of the same benchmark.

    Every picture is replaced by one other, the same wherever it occurs, so questions about one
    picture stay together.
    """

    identity: Mapping[str, str]
    facts: Mapping[str, str]

    def __init__(self, model: Model) -> None:
        self.identity = {**model.identity, "pictures": f"of other questions, seed {SEED}"}
        self.facts = model.facts
        self.writes = getattr(model, "writes", True)
        self.lineage = getattr(model, "lineage", {})
        self.objection = getattr(model, "objection", None)
        self._model = model
        self._others: Mapping[Picture, Picture] = {}

    def study(self, samples: Iterable[Sample]) -> str:
        """Deal the benchmark's pictures out anew. Raises ModelError if there is one only."""
        pictures = list(
            dict.fromkeys(
                part for sample in samples for part in sample.parts if isinstance(part, Picture)
            )
        )
        if len(pictures) == 1:
            raise ModelError("All questions are about one picture, so there is no other to show.")
        dealt = list(pictures)
        draw = random.Random(SEED)
        # Sattolo's shuffle: one cycle, so no picture keeps its place.
        for last in range(len(dealt) - 1, 0, -1):
            place = draw.randrange(last)
            dealt[last], dealt[place] = dealt[place], dealt[last]
        self._others = dict(zip(pictures, dealt, strict=True))
        return f"{len(pictures)} pictures dealt out anew"

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        """One response per request, by the model inside."""
        return self._model.answer(map(self._misled, requests))

    def _misled(self, request: Request) -> Request:
        parts = (
            self._others[part] if isinstance(part, Picture) else part for part in request.parts
        )
        return replace(request, parts=tuple(parts))
