"""What a folder of pairs was asked for: its options, settled and checked, and its manifest."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spare.disk import write_json
from spare.errors import SpareError
from spare.generation import shards
from spare.generation.benchmarks import digest_of
from spare.generation.captions import Part, find_parts, read_manifest
from spare.generation.pictures import picture_table
from spare.generation.stages import (
    Options,
    shard_path,
    wanted,
)
from spare.harness.environment import environment
from spare.relations import relation_groups

FORMAT = 1
FUNNEL = "funnel.json"
WRITERS = ("transformers", "vllm", "openai")
"""Engines whose models can write pairs."""

CUTS = (
    *("prefilter", "similar", "guard", "support", "in_sentence", "clipscore", "clip_scale"),
    *("spatial", "cap", "harmless", "weights"),
)
"""Options that decide about what is there already."""


def settle(out: Path, given: Mapping[str, Any], rethreshold: bool) -> Options:
    """The options of a call. Raises SpareError if they would replace what another model made, or
    have one asked although none is to be."""
    before = known_manifest(out).get("options", {})
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


def known_manifest(out: Path) -> dict[str, Any]:
    """The manifest in a folder; {} if there is none that can be read."""
    try:
        found = json.loads((out / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    ours = isinstance(found, dict) and found.get("format") == FORMAT and "captions" in found
    return found if ours else {}


def check(options: Options) -> None:
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


def check_files(options: Options, out: Path, parts: Sequence[Part]) -> None:
    """What the last stages read must be there before the first ones begin: they may take days."""
    if options.blobs:
        picture_table(Path(options.blobs))
    if wanted("contamination", options):
        digest_of(options)
    stale = any(shards.facts(shard_path(out, "clipscore", part)) is None for part in parts)
    if options.clip and stale:
        from spare.harness.models.loading import find_checkpoint

        find_checkpoint(options.clip.removeprefix("clip:"))


def open_manifest(out: Path, captions: Path, options: Options, rethreshold: bool) -> dict[str, Any]:
    """The manifest of what is to be done; what is there already must be about the same captions."""
    sources = {}
    for path in sorted([*captions.glob("manifest.json"), *captions.glob("*/manifest.json")]):
        found = read_manifest(path)
        sources[found["source"]] = {"files": found["files"], "counts": found["counts"]}
    path = out / "manifest.json"
    old = known_manifest(out)
    if path.exists():
        if not old:
            raise SpareError(f"{path} is damaged or of another version; choose another --out.")
        if _contents(old["captions"]) != _contents(sources):
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


def _contents(sources: Mapping[str, Any]) -> dict[str, Any]:
    """What captions were made of, wherever that lies: a folder may be moved."""
    return {
        source: (sorted(told["files"].values()), told["counts"]) for source, told in sources.items()
    }


def _models_kept(old: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """The identities of models that are asked for under their old names."""
    before = old.get("options", {})
    kept = {}
    for role in ("llm", "clip"):
        if role in old.get("models", {}) and before.get(role) == getattr(options, role):
            kept[role] = old["models"][role]
    return kept


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
