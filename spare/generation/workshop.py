"""Bringing one shard up to date under neighbouring stages."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from spare.generation import shards
from spare.generation.models import Models
from spare.generation.stages import (
    Inputs,
    Options,
    Work,
    asks,
    load_stage,
    wanted,
)


def fingerprint(name: str, inputs: Inputs, options: Options) -> str:
    """What a stage's shard is made of if it is up to date: its settings, and what the shards are
    made of that it reads."""
    stage = load_stage(name)
    needs = [
        shards.contents_of(inputs.shard(need)) for need in stage.NEEDS if wanted(need, options)
    ]
    captions = shards.fingerprint_of(inputs.part.path)
    return shards.remade(name, [stage.VERSION, dict(stage.settings(options))], needs, captions)


def is_fresh(names: Sequence[str], inputs: Inputs, options: Options) -> bool:
    """Whether a shard is there and whole under every stage, made of what it would be made of
    now, or of more of which `cut` stops what is too much."""
    return all(
        shards.is_fresh(
            inputs.shard(name), fingerprint(name, inputs, _enough(name, inputs, options))
        )
        for name in names
    )


def _enough(name: str, inputs: Inputs, options: Options) -> Options:
    """The options, or those of a shard that is there if what it holds is enough for them."""
    says: Callable[[Inputs, Options], Options] | None = getattr(load_stage(name), "enough", None)
    return says(inputs, options) if says else options


class Workshop:
    """Stages, each opened when a shard first needs it."""

    def __init__(self, options: Options, models: Models) -> None:
        self._options, self._models = options, models
        self._open: dict[str, Work] = {}

    def process(self, names: Sequence[str], inputs: Inputs, on_row: Callable[[int], None]) -> None:
        """Bring a shard up to date under every stage, in their order."""
        text = not any(asks(name, self._options) for name in names)
        with _uncollected() if text else contextlib.nullcontext():
            self._process(names, inputs, on_row)

    def _process(self, names: Sequence[str], inputs: Inputs, on_row: Callable[[int], None]) -> None:
        for name in names:
            if is_fresh((name,), inputs, self._options):
                continue
            mark = fingerprint(name, inputs, self._options)
            if name not in self._open:
                self._open[name] = load_stage(name).open_stage(self._options, self._models)
            table = self._open[name](inputs, on_row if name == names[-1] else lambda rows: None)
            facts: dict[str, Any] = {"stage": name, "fingerprint": mark}
            facts["failed"] = _failed(name, table)
            if name == "generate" and asks(name, self._options):
                # A server may write other pairs about the same captions when it is asked again.
                facts["written"] = shards.remade(table.column("pairs").to_pylist())
            facts["settings"] = dict(load_stage(name).settings(self._options))
            shards.write(inputs.shard(name), table, facts)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Put off the collection of cyclic garbage. A shard's tokens are a hundred thousand lists, all
    needed until it is done: the collector would walk them again and again, a sixth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _failed(name: str, table: Any) -> str:
    """A digest of the rows whose question has no reply; "" if there are none."""
    # A picture that cannot be had is no failure of the model's: asking again does not help.
    if "error" not in table.column_names or name == "clipscore":
        return ""
    rows = [number for number, error in enumerate(table.column("error").to_pylist()) if error]
    return shards.remade(rows) if rows else ""
