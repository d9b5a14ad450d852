"""Running the stages over the shards of captions: `spare generate`.

    qa/manifest.json            what was asked for, of which models, over which captions
    qa/<stage>/<shard>.parquet  what each stage has found out
    qa/cut/<shard>.parquet      which pairs are kept, and why the others are not
    qa/funnel.json              how many came how far

Stage by stage, so that a model is loaded once; shard by shard, so that a kill costs no more than
the rows under way (the replies of language models are on disk one by one).
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spare.disk import locked, write_json
from spare.errors import SpareError
from spare.generation import shards
from spare.generation.benchmarks import digest_of, listed
from spare.generation.captions import Part, find_parts, read_manifest
from spare.generation.cut import check_cap, cut
from spare.generation.funnel import funnel
from spare.generation.models import Awaited, Models
from spare.generation.pictures import picture_table
from spare.generation.stages import (
    STAGES,
    Inputs,
    Options,
    Work,
    asks,
    groups,
    load_stage,
    require_wanted,
    shard_path,
    wanted,
)
from spare.harness.environment import environment
from spare.relations import relation_groups

FORMAT = 1
FUNNEL = "funnel.json"
WRITERS = ("transformers", "vllm", "openai")
"""Engines whose models can write pairs."""


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
    chosen = _settled(out, options, rethreshold)
    _check(chosen)
    folder = Path(captions).resolve()
    above = [folder.parent] if (folder / "manifest.json").exists() else []  # of one source
    if out.resolve() in (folder, *above):
        raise SpareError(f"{out} holds the captions themselves; choose another --out.")
    parts = find_parts(captions)
    require_wanted(stages, chosen)
    if not rethreshold:
        _check_files(chosen, out, parts)
    with locked(out):
        if rethreshold and not _missing(out, parts, chosen):
            check_cap(out, parts, chosen)  # before what is there is given up
        manifest = _open_manifest(out, Path(captions), chosen, rethreshold)
        (out / FUNNEL).unlink(missing_ok=True)  # written last: what has one is decided whole
        known: dict[str, Mapping[str, str]] = manifest["models"]
        models = Models(chosen, engine or {}, known, on_event)
        counts = [shards.rows(part.path, "spare captions") for part in parts]
        todo = [name for name in STAGES if wanted(name, chosen) and name in (stages or STAGES)]
        for names in () if rethreshold else groups(todo, chosen):
            started = time.monotonic()
            if _run(names, out, parts, counts, chosen, models, replicas, on_event):
                manifest["seconds"] += time.monotonic() - started
            manifest["facts"] |= models.facts
            manifest["benchmarks"] = models.checked or manifest["benchmarks"]
            write_json(out / "manifest.json", manifest)
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


CUTS = (
    *("prefilter", "similar", "guard", "support", "in_sentence", "clipscore", "clip_scale"),
    *("spatial", "cap", "harmless", "weights"),
)
"""Options that decide about what is there already."""


def _settled(out: Path, given: Mapping[str, Any], rethreshold: bool) -> Options:
    """The options of a call. Raises SpareError if they would replace what another model made, or
    have one asked although none is to be."""
    before = _manifest(out).get("options", {})
    if not rethreshold:
        chosen = Options(**given)
        if before.get("llm", chosen.llm) != chosen.llm and any(out.glob("generate/*.parquet")):
            raise SpareError(
                f"{out} holds pairs by {before['llm']}, and --llm {chosen.llm} would replace them; "
                "name that model, or choose another --out."
            )
        return chosen
    names = [field.name for field in fields(Options) if field.name in before]
    known = asdict(Options(**{name: before[name] for name in names}))
    for name, value in given.items():
        if name not in CUTS and value != known[name]:
            raise SpareError(
                f"--rethreshold decides about what is there; with another {name.replace('_', '-')} "
                "something else would be: leave out --rethreshold."
            )
    return Options(**{**known, **given})


def _manifest(out: Path) -> dict[str, Any]:
    """The manifest in a folder; {} if there is none that can be read."""
    try:
        found = json.loads((out / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    ours = isinstance(found, dict) and found.get("format") == FORMAT and "captions" in found
    return found if ours else {}


def _check(options: Options) -> None:
    for name in ("prefilter", "spatial", "similar", "support", "cap", "harmless"):
        value = getattr(options, name)
        if not 0 <= value <= 1:
            raise SpareError(f"--{name} is a share between 0 and 1, not {value:g}.")
    most = len(relation_groups()) + 1
    if options.cap * most < 1:
        raise SpareError(
            f"--cap {options.cap:g} cannot be kept: one of {most} relations (none is one, too) has "
            f"at least {1 / most:.3g} of all pairs."
        )
    if not math.isfinite(options.clipscore):
        raise SpareError(f"--clipscore is a number, not {options.clipscore:g}.")
    if options.clip_scale not in ("raw", "w2.5"):
        raise SpareError("--clip-scale is raw (the cosine) or w2.5 (2.5 times that).")
    if options.max_new_tokens < 1:
        raise SpareError("--max-new-tokens must be at least 1.")
    engine, colon, name = options.llm.partition(":")
    if engine == "template" and name:
        raise SpareError("--llm template: takes nothing behind its colon.")
    if colon and engine not in (*WRITERS, "template") and not Path(options.llm).exists():
        raise SpareError(
            f"--llm is {', '.join(f'{one}:NAME' for one in WRITERS)} or template:, and not "
            f"{options.llm}."
        )


def _check_files(options: Options, out: Path, parts: Sequence[Part]) -> None:
    """What the last stages read must be there before the first ones begin: they may take days."""
    if options.blobs:
        picture_table(Path(options.blobs))
    if wanted("contamination", options):
        digest_of(options)
    stale = any(shards.facts(shard_path(out, "clipscore", part)) is None for part in parts)
    if options.clip and stale:
        from spare.harness.models.loading import find_checkpoint

        find_checkpoint(options.clip.removeprefix("clip:"))


def _open_manifest(
    out: Path, captions: Path, options: Options, rethreshold: bool
) -> dict[str, Any]:
    """The manifest of what is to be done; what is there already must be about the same captions."""
    sources = {}
    for path in sorted([*captions.glob("manifest.json"), *captions.glob("*/manifest.json")]):
        found = read_manifest(path)
        sources[found["source"]] = {"files": found["files"], "counts": found["counts"]}
    path = out / "manifest.json"
    old = _manifest(out)
    if path.exists():
        if not old:
            raise SpareError(f"{path} is damaged or of another version; choose another --out.")
        if old["captions"] != sources:
            raise SpareError(
                f"{out} was made from other captions than {captions} holds; choose another --out."
            )
    elif rethreshold:
        raise SpareError(f"{out} holds no pairs yet; leave out --rethreshold.")
    elif any(out.glob("*/*.parquet")):
        raise SpareError(f"{out} holds shards and no manifest.json; choose another --out.")
    manifest = {
        "format": FORMAT,
        "started": old.get("started", datetime.now(UTC).isoformat(timespec="seconds")),
        "options": asdict(options),
        "captions": sources,
        "folder": str(captions.resolve()),
        "models": _models_kept(old, options),
        "facts": old.get("facts", {}),
        "benchmarks": old.get("benchmarks", {}),
        "excluded": old.get("excluded", {}),
        "seconds": old.get("seconds", 0.0),
        "environment": environment(),
    }
    write_json(path, manifest)
    return manifest


def _models_kept(old: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """The identities of models that are asked for under their old names."""
    before = old.get("options", {})
    kept = {}
    for role in ("llm", "clip"):
        if role in old.get("models", {}) and before.get(role) == getattr(options, role):
            kept[role] = old["models"][role]
    return kept


def fingerprint(name: str, inputs: Inputs, options: Options) -> str:
    """What a stage's shard is made of if it is up to date: its settings, and what the shards are
    made of that it reads."""
    stage = load_stage(name)
    needs = [
        shards.contents_of(inputs.shard(need)) for need in stage.NEEDS if wanted(need, options)
    ]
    captions = shards.fingerprint_of(inputs.part.path)
    return shards.remade(name, [stage.VERSION, dict(stage.settings(options))], needs, captions)


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


def is_fresh(names: Sequence[str], inputs: Inputs, options: Options) -> bool:
    """Whether a shard is there and whole under every stage, made of what it would be made of
    now."""
    return all(
        shards.is_fresh(inputs.shard(name), fingerprint(name, inputs, options)) for name in names
    )


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
            mark = fingerprint(name, inputs, self._options)
            if shards.is_fresh(inputs.shard(name), mark):
                continue
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


def read_pipeline(out: str | Path) -> tuple[list[Part], Options, dict[str, Any]]:
    """The shards, options and manifest of pairs that have been decided on.

    Raises:
        SpareError: there are none in the folder.
    """
    out = Path(out)
    try:
        manifest = json.loads((out / "manifest.json").read_text("utf-8"))
        options = Options(**manifest["options"])
        parts = find_parts(manifest["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        raise SpareError(f"{out} holds no pairs; `spare generate` writes them.") from None
    if not (out / FUNNEL).is_file():
        raise SpareError(
            f"{out} is not finished: it is not decided yet which pairs are kept. The same "
            "`spare generate` goes on with it."
        )
    return parts, replace(options), manifest
