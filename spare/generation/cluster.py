"""A stage on Ray Data: shards go to actors that hold the models, wherever in the cluster they are.

The same stages, the same shards, the same files: only who makes a shard is another process. All
machines must see the folders of captions and pairs under the same paths. An actor that dies takes
with it the shard that it was at, less the replies that are on disk; another one takes it up.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spare.errors import SpareError
from spare.generation import shards
from spare.generation.captions import Part
from spare.generation.models import Models
from spare.generation.stages import Inputs, Options, Work, load_stage, shard_path

MISSING = 'The engine ray needs Ray Data, which is not installed: run `pip install "ray[data]"`.'


class Worker:
    """What an actor is: one stage with its models. What a user can mend comes back as a row, and
    not as an exception, of which Ray would make one of its own."""

    def __init__(self, name: str, out: str, options: Mapping[str, Any], more: Mapping[str, Any]):
        self._name, self._out = name, Path(out)
        self._models = Models(Options(**options), more["engine"], dict(more["known"]))
        self._work: Work | None = None
        self._options = Options(**options)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make a shard, unless somebody has made it already."""
        try:
            self._make(row)
        except SpareError as error:
            return {"name": row["name"], "error": str(error), "models": "{}", "checked": "{}"}
        models = self._models
        told = {"models": json.dumps(models.known), "checked": json.dumps(models.checked)}
        return {"name": row["name"], "error": "", **told}

    def _make(self, row: Mapping[str, Any]) -> None:
        from spare.generation.pipeline import process

        part = Part(row["name"], Path(row["path"]), Path(row["data"]))
        if shards.fingerprint_of(shard_path(self._out, self._name, part)) == row["mark"]:
            return
        if self._work is None:
            self._work = load_stage(self._name).open_stage(self._options, self._models)
        inputs = Inputs(self._out, part)
        process(self._name, self._work, inputs, row["mark"], lambda rows: None)


def run_on_ray(
    name: str,
    out: Path,
    parts: Sequence[Part],
    marks: Mapping[str, str],
    options: Options,
    models: Models,
    replicas: int,
    on_part: Callable[[str], None],
) -> None:
    """Bring shards of a stage up to date with so many actors.

    Args:
        parts: the shards that are not; marks: part -> what its shard will be made of.
        models: what the actors know of the models is noted here.
        replicas: actors, each with models of its own.
        on_part: receives the name of each part that is done.

    Raises:
        SpareError: Ray is not installed, or a stage raised one on an actor.
    """
    if importlib.util.find_spec("ray") is None:
        raise SpareError(MISSING)
    import ray
    import ray.data

    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    rows = [
        {
            "name": part.name,
            "path": str(part.path.resolve()),
            "data": str(part.data),
            "mark": marks[part.name],
        }
        for part in parts
    ]
    import torch

    # Every actor has an accelerator of its own, where there are some and a model is asked.
    asks = name in ("prefilter", "generate", "spatial", "duplicates", "clipscore")
    accelerators = 1 if asks and torch.cuda.is_available() else 0
    made = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        Worker,
        fn_constructor_args=(
            name,
            str(out.resolve()),
            asdict(options),
            {"engine": models.engine, "known": models.known},
        ),
        concurrency=min(replicas, len(rows)),
        num_gpus=accelerators,
    )
    for row in made.iter_rows():
        if row["error"]:
            raise SpareError(row["error"])
        models.note(json.loads(row["models"]), json.loads(row["checked"]))
        on_part(row["name"])
