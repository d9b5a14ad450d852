"""How many captions and pairs came how far, counted from the shards: Table 1 of the paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spare.generation.captions import Part
from spare.generation.stages import Inputs, Options, wanted

ASKING = ("prefilter", "generate", "spatial", "tags")
"""Stages that may ask a language model."""


def funnel(out: Path, parts: Sequence[Part], options: Options) -> dict[str, Any]:
    """Counts over all shards, as `funnel.json` and the data set's card show them.

    Keys: spatial (pairs with a keyword of Table 10), sources (source -> captions, passed, words,
    pairs), prefilter (what the gate and the model did), replies (how replies ended), unheard (stage
    -> questions that a language model gave no reply to), guard, clipscore (drop rates on both
    scales, quantiles), contamination (benchmark -> pairs), frames (frame of reference -> pairs).
    """
    sources: dict[str, Counter[str]] = {}
    gate: Counter[str] = Counter()
    replies: Counter[str] = Counter()
    guard = Counter({"merges blocked": 0, "merges": 0})
    benchmarks: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    unheard: Counter[str] = Counter()
    spatial = 0
    cosines: list[float] = []
    for part in parts:
        inputs = Inputs(out, part)
        _captions(inputs, options, sources, gate, replies)
        for stage in () if options.template else ASKING:
            unheard[stage] += sum(map(bool, inputs.column(stage, "error")))
        for near in filter(None, inputs.column("duplicates", "near")):
            close = [one for one in near if one["cosine"] >= options.similar]
            guard["merges blocked"] += any(one["guarded"] for one in close)
            guard["merges"] += any(not one["guarded"] for one in close)
        if wanted("contamination", options):
            benchmarks.update(filter(None, inputs.column("contamination", "benchmark")))
        if wanted("clipscore", options):
            cosines += [one for one in inputs.column("clipscore", "cosine") if one is not None]
        spatial += sum(map(bool, inputs.column("tags", "relation")))
        frames.update(inputs.column("tags", "frame"))
    return {
        "spatial": spatial,
        "sources": {name: dict(counts) for name, counts in sources.items()},
        "prefilter": dict(gate),
        "replies": dict(replies),
        "unheard": {stage: count for stage, count in unheard.items() if count},
        "guard": dict(guard),
        "clipscore": _scale(cosines, options),
        "contamination": dict(benchmarks),
        "frames": dict(frames),
    }


def _captions(
    inputs: Inputs,
    options: Options,
    sources: dict[str, Counter[str]],
    gate: Counter[str],
    replies: Counter[str],
) -> None:
    names = inputs.captions.column("source").to_pylist()
    words = inputs.captions.column("words").to_pylist()
    before, made = inputs.table("prefilter"), inputs.table("generate")
    columns = zip(
        names,
        words,
        before.column("gate").to_pylist(),
        before.column("probability").to_pylist(),
        made.column("asked").to_pylist(),
        made.column("pairs").to_pylist(),
        made.column("finish").to_pylist(),
        made.column("rejected").to_pylist(),
        made.column("error").to_pylist(),
        strict=True,
    )
    for name, count, passed, probability, asked, pairs, finish, rejected, error in columns:
        of_source = sources.setdefault(name, Counter())
        of_source["captions"] += 1
        of_source["words"] += count
        of_source["passed"] += asked and probability >= options.prefilter
        of_source["pairs"] += len(pairs)
        gate["stopped by the gate"] += not passed
        if not passed and probability is not None and not options.template:
            gate["spot checks"] += 1
            gate["spot checks about space"] += probability >= options.prefilter
        if passed and probability is not None:
            gate["let through by the gate"] += 1
            gate["let through by both"] += probability >= options.prefilter
        if asked:
            replies["error" if error else finish] += 1
            replies["objects that were no pairs"] += rejected


def _scale(cosines: list[float], options: Options) -> dict[str, Any]:
    """What the cutoff drops on either scale, and quantiles of the raw cosine."""
    if not cosines:
        return {}
    ordered = sorted(cosines)
    return {
        "scored": len(ordered),
        "dropped at raw": sum(one < options.clipscore for one in ordered),
        "dropped at w2.5": sum(one < options.clipscore / 2.5 for one in ordered),
        "quantiles": {
            f"{share:.0%}": round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)
            for share in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
        },
    }
