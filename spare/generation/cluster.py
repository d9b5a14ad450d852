"""A stage on Ray Data: shards go to actors that hold the models, wherever in the cluster they are.

The same stages, the same shards, the same files: only who makes a shard is another process. All
machines must see the folders of captions and pairs under the same paths. An actor that dies takes
with it the shard that it was at, less the replies that are on disk; another one takes it up.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spare.errors import SpareError
from spare.generation.captions import Part
from spare.generation.models import Models
from spare.generation.stages import Inputs, Options, asks
from spare.generation.workshop import Workshop
from spare.harness.tokens import Tokens
from spare.ray_cluster import connect


class Worker:
    """What an actor is: neighbouring stages with their models. What a user can mend comes back as a
    row, and not as an exception, of which Ray would make one of its own."""

    def __init__(
        self, names: Sequence[str], out: str, options: Mapping[str, Any], more: Mapping[str, Any]
    ):
        self._names, self._out = names, Path(out)
        self._options = Options(**options)
        self._models = Models(self._options, more["engine"], dict(more["known"]))
        self._work = Workshop(self._options, self._models)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make a shard, unless somebody has made it already."""
        part = Part(row["name"], Path(row["path"]), Path(row["data"]))
        models, error = self._models, ""
        try:
            self._work.process(self._names, Inputs(self._out, part), lambda rows: None)
        except SpareError as failure:
            error = str(failure)
        tokens = models.tokens.take()
        return {
            "name": row["name"],
            "error": error,
            "models": json.dumps(models.known),
            "checked": json.dumps(models.checked),
            "read": tokens.read,
            "written": tokens.written,
        }


def run_on_ray(
    names: Sequence[str],
    out: Path,
    parts: Sequence[Part],
    options: Options,
    models: Models,
    replicas: int,
    on_part: Callable[[str], None],
) -> None:
    """Bring shards of neighbouring stages up to date with so many actors.

    Args:
        parts: the shards that are not.
        models: what the actors know of the models is noted here, and their tokens are counted.
        replicas: actors, each with models of its own.
        on_part: receives the name of each part that is done.

    Raises:
        SpareError: Ray is not installed, or a stage raised one on an actor.
    """
    # Else Ray doubts the actors that it makes itself: github.com/ray-project/ray/issues/53727.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    connect()
    import ray
    import ray.data

    # Ours is the progress that is shown.
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = [
        {
            "name": part.name,
            "path": str(part.path.resolve()),
            "data": str(part.data),
        }
        for part in parts
    ]
    # Every actor has an accelerator of its own, where there are some and a model is asked.
    asking = any(asks(name, options) for name in names)
    accelerators = 1 if asking and ray.cluster_resources().get("GPU") else 0
    made = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        Worker,
        fn_constructor_args=(
            tuple(names),
            str(out.resolve()),
            asdict(options),
            {"engine": models.engine, "known": models.known},
        ),
        compute=ray.data.ActorPoolStrategy(size=min(replicas, len(rows))),
        num_gpus=accelerators,
    )
    for row in made.iter_rows():
        models.tokens.add(Tokens(row["read"], row["written"]))
        if row["error"]:
            raise SpareError(row["error"])
        models.note(json.loads(row["models"]), json.loads(row["checked"]))
        on_part(row["name"])
