"""Running the stages over the shards of captions: `spare generate`.

    qa/manifest.json            what was asked for, of which models, over which captions
    qa/<stage>/<shard>.parquet  what each stage has found out
    qa/cut/<shard>.parquet      which pairs are kept, and why the others are not
    qa/funnel.json              how many came how far

Stage by stage, so that a model is loaded once; shard by shard, so that a kill costs no more than
the rows under way (the replies of language models are on disk one by one).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spare.disk import locked, write_json
from spare.errors import SpareError
from spare.generation import shards
from spare.generation.benchmarks import listed
from spare.generation.captions import Part, find_parts
from spare.generation.cut import check_cap, cut
from spare.generation.funnel import funnel
from spare.generation.manifest import FUNNEL, check, check_files, open_manifest, settle
from spare.generation.models import Awaited, Models
from spare.generation.stages import (
    STAGES,
    Inputs,
    Options,
    groups,
    load_stage,
    require_wanted,
    shard_path,
    wanted,
)
from spare.generation.workshop import Workshop, is_fresh


@dataclass(slots=True)
class Progress:
    """Where a stage stands; handed to `on_event` as rows are done.

    Attributes:
        stage: its name, or of neighbours the first and the last.
        total: captions in all shards; before: how many were done at first.
        awaited: what the language model owes.
    """

    stage: str
    total: int
    before: int = 0
    done: int = 0
    started: float = 0.0
    awaited: Awaited = field(default_factory=Awaited)

    @property
    def pace(self) -> float:
        """Captions per second since the stage began."""
        seconds = time.monotonic() - self.started
        return (self.done - self.before) / seconds if self.started and seconds > 0 else 0.0


Event = str | Progress


def generate(
    captions: str | Path,
    *,
    out: str | Path,
    stages: Sequence[str] = (),
    rethreshold: bool = False,
    replicas: int = 0,
    on_event: Callable[[Event], None] = lambda event: None,
    engine: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Build question-answer pairs from captions, or go on with it, and return the funnel.

    Args:
        captions: folder of `spare captions`, of all sources or of one.
        out: folder to write to; what is in it and still true is not done again.
        stages: run only these, of `STAGES`; pairs are decided on once all have run.
        rethreshold: run no stage; decide again from the scores that are there, by the thresholds
            that are given, and else by those of the last time.
        replicas: actors on a Ray cluster that make shards side by side; 0 makes them here.
        on_event: receives a line before each stage, and Progress within it.
        engine: how models are loaded: fields of `spare.harness.models.Options`.
        options: fields of `spare.generation.stages.Options`.

    Raises:
        SpareError: there are no captions, a stage lacks what it reads, a model cannot be loaded or
            is not the one that made what is there, or the disk is full.
    """
    out = Path(out)
    chosen = settle(out, options, rethreshold)
    check(chosen)
    folder = Path(captions).resolve()
    above = [folder.parent] if (folder / "manifest.json").exists() else []  # of one source
    if out.resolve() in (folder, *above):
        raise SpareError(f"{out} holds the captions themselves; choose another --out.")
    parts = find_parts(captions)
    require_wanted(stages, chosen)
    if not rethreshold:
        check_files(chosen, out, parts)
    with locked(out):
        if rethreshold and not _missing(out, parts, chosen):
            check_cap(out, parts, chosen)  # before what is there is given up
        manifest = open_manifest(out, Path(captions), chosen, rethreshold)
        (out / FUNNEL).unlink(missing_ok=True)  # written last: what has one is decided whole
        known: dict[str, Mapping[str, str]] = manifest["models"]
        models = Models(chosen, engine or {}, known, on_event)
        counts = [shards.rows(part.path, "spare captions") for part in parts]
        todo = [name for name in STAGES if wanted(name, chosen) and name in (stages or STAGES)]
        try:
            for names in () if rethreshold else groups(todo, chosen):
                started = time.monotonic()
                if _run(names, out, parts, counts, chosen, models, replicas, on_event):
                    manifest["seconds"] += time.monotonic() - started
                manifest["facts"] |= models.facts
                manifest["benchmarks"] = models.checked or manifest["benchmarks"]
                write_json(out / "manifest.json", manifest)
        finally:  # what a call that breaks off has asked for is paid, too
            if models.tokens.told:
                on_event(models.tokens.line())
        missing = _missing(out, parts, chosen)
        if missing:
            if rethreshold:
                raise SpareError(
                    f"{out} has not been through {missing[0]} yet; leave out --rethreshold."
                )
            on_event(f"Nothing is decided yet. Still to be run:\n  {', '.join(missing)}")
            return {}
        if not rethreshold:
            manifest["excluded"] = listed(out, parts, chosen) if chosen.exclude else {}
            write_json(out / "manifest.json", manifest)
        on_event("Deciding which pairs are kept ...")
        started = time.monotonic()
        decided = cut(out, parts, chosen)
        # A run that begins with these options has no pairs of captions that they stop.
        decided["pairs"].pop("prefilter", None)
        found = funnel(out, parts, chosen) | decided
        found |= {name: manifest[name] for name in ("benchmarks", "excluded")}
        found["seconds"] = round(manifest["seconds"] + time.monotonic() - started, 3)
        write_json(out / FUNNEL, found)
        if not found["unheard"] and not rethreshold:
            # Until then they are kept, for shards are made again for one question of theirs.
            for log in out.glob("*/*.replies.jsonl"):
                log.unlink()
    return found


def _run(
    names: Sequence[str],
    out: Path,
    parts: Sequence[Part],
    counts: Sequence[int],
    options: Options,
    models: Models,
    replicas: int,
    on_event: Callable[[Event], None],
) -> bool:
    """Bring every shard of neighbouring stages up to date. Returns whether there was any to do."""
    stale = [not is_fresh(names, Inputs(out, part), options) for part in parts]
    progress = Progress(names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}", sum(counts))
    progress.before = progress.done = sum(
        count for count, again in zip(counts, stale, strict=True) if not again
    )
    progress.awaited = models.awaited
    if not any(stale):
        on_event(progress)
        return False
    _require(names, out, parts, options)
    progress.started = time.monotonic()
    if replicas:
        from spare.generation.cluster import run_on_ray

        size = dict(zip((part.name for part in parts), counts, strict=True))
        todo = [part for part, again in zip(parts, stale, strict=True) if again]

        def on_part(part: str) -> None:
            progress.done += size[part]
            on_event(progress)

        run_on_ray(names, out, todo, options, models, replicas, on_part)
        return True
    work = Workshop(options, models)
    on_event(progress)
    for part, count, again in zip(parts, counts, stale, strict=True):
        if again:
            at = progress.done

            def on_row(rows: int, at: int = at) -> None:
                progress.done = at + rows
                on_event(progress)

            # Rows are counted while the last stage is at them; those before it take no longer.
            work.process(names, Inputs(out, part), on_row)
            progress.done = at + count
            on_event(progress)
    return True


def _require(names: Sequence[str], out: Path, parts: Sequence[Part], options: Options) -> None:
    for name in names:
        for need in load_stage(name).NEEDS:
            if need in names or not wanted(need, options):
                continue
            if any(shards.facts(shard_path(out, need, part)) is None for part in parts):
                raise SpareError(f"The stage {name} reads what {need} writes; run {need} first.")


def _missing(out: Path, parts: Sequence[Part], options: Options) -> list[str]:
    """Stages that have not run over every shard."""
    return [
        name
        for name in STAGES
        if wanted(name, options)
        and any(shards.facts(shard_path(out, name, part)) is None for part in parts)
    ]
