"""How far the place of one object in the picture alone gives the relation away.

Whoever learns "things at the left edge are left of something" has not learnt where things are. So
the demo says what the best such rule scores: for every cell of a grid it answers with the relation
that is most frequent there in training.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Literal

from spare.demo.scenes import RELATIONS, Scene

CELL = 10.0
"""Side of a cell, in hundredths of the picture's side."""


def place_alone(
    training: Iterable[Scene], asked: Iterable[Scene], of: Literal["thing", "furniture"]
) -> float:
    """Accuracy in per cent, on `asked`, of what the place of the thing (or of the furniture) says
    most often in `training`."""
    seen: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for scene in training:
        seen[_cell(scene, of)][scene.relation] += 1
    right = total = 0
    for scene in asked:
        found = seen.get(_cell(scene, of))
        right += (found.most_common(1)[0][0] if found else RELATIONS[0]) == scene.relation
        total += 1
    if not total:
        raise ValueError("no scene is asked about")
    return 100.0 * right / total


def _cell(scene: Scene, of: Literal["thing", "furniture"]) -> tuple[int, int]:
    x, y = scene.thing_at if of == "thing" else scene.furniture_at
    return int(x // CELL), int(y // CELL)
