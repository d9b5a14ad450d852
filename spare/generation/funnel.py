"""How many captions and pairs came how far, counted from the shards: Table 1 of the paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

from spare.generation.benchmarks import BETWEEN
from spare.generation.captions import Part
from spare.generation.stages import Inputs, Options, wanted

ASKING = ("prefilter", "generate", "spatial", "tags")
"""Stages that may ask a language model."""

UNSCORED = frozenset(
    ("prefilter", "repeat", "contradiction", "similar", "reference", "support", "in sentence")
)
"""Reasons of filters in front of CLIPScore: it is not asked about what they drop."""


def funnel(out: Path, parts: Sequence[Part], options: Options) -> dict[str, Any]:
    """Counts over all shards that have been decided on, as `funnel.json` and the data set's card
    show them. What a stage has found out about captions and pairs that the options would not have
    let come to it is not counted, so they are those of a run that begins with these options.

    Keys: spatial (pairs with a keyword of Table 10), sources (source -> captions, passed, words,
    pairs), prefilter (what the gate and the model did), replies (how replies ended), unheard (stage
    -> questions that a language model gave no reply to), first_error (why the first of them has
    none; "" if all have one), guard, clipscore (drop rates on both scales, quantiles),
    contamination (benchmark -> pairs about its pictures, be they dropped for that or not), frames
    (frame of reference -> pairs).
    """
    sources: dict[str, Counter[str]] = {}
    gate: Counter[str] = Counter()
    replies: Counter[str] = Counter()
    guard = Counter({"merges blocked": 0, "merges": 0})
    benchmarks: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    unheard = Counter(dict.fromkeys(ASKING, 0))
    first: dict[str, str] = {}
    spatial = 0
    cosines: list[float] = []

    def note(stage: str, errors: Iterable[str]) -> None:
        for error in filter(None, errors):
            unheard[stage] += 1
            first.setdefault(stage, error)

    for part in parts:
        inputs = Inputs(out, part)
        passes = _captions(inputs, options, sources, gate, replies)
        reasons = inputs.column("cut", "reason")
        there = [reason != "prefilter" for reason in reasons]
        if not options.template:
            unscored = [reason == "not scored" for reason in reasons]
            note("prefilter", inputs.column("prefilter", "error"))
            note("generate", compress(inputs.column("generate", "error"), passes))
            note("spatial", compress(inputs.column("spatial", "error"), unscored))
            note("tags", compress(inputs.column("tags", "error"), there))
        for near in filter(None, compress(inputs.column("duplicates", "near"), there)):
            close = [one for one in near if one["cosine"] >= options.similar]
            guard["merges blocked"] += any(one["guarded"] for one in close)
            guard["merges"] += any(not one["guarded"] for one in close)
        if wanted("contamination", options):
            names = compress(inputs.column("contamination", "benchmark"), there)
            for tasks, count in Counter(filter(None, names)).items():
                benchmarks.update(dict.fromkeys(tasks.split(BETWEEN), count))
        if wanted("clipscore", options):
            scored = [reason not in UNSCORED for reason in reasons]
            some = compress(inputs.column("clipscore", "cosine"), scored)
            cosines += [one for one in some if one is not None]
        spatial += sum(map(bool, compress(inputs.column("tags", "relation"), there)))
        frames.update(compress(inputs.column("tags", "frame"), there))
    return {
        "spatial": spatial,
        "sources": {name: dict(counts) for name, counts in sources.items()},
        "prefilter": dict(gate),
        "replies": dict(replies),
        "unheard": {stage: count for stage, count in unheard.items() if count},
        "first_error": next((first[stage] for stage in ASKING if stage in first), ""),
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
) -> list[bool]:
    """Count the captions of a shard, and return which of them pairs were asked for."""
    import pyarrow.compute

    names = inputs.captions.column("source").to_pylist()
    words = inputs.captions.column("words").to_pylist()
    before, made = inputs.table("prefilter"), inputs.table("generate")
    columns = zip(
        names,
        words,
        before.column("gate").to_pylist(),
        before.column("probability").to_pylist(),
        made.column("asked").to_pylist(),
        pyarrow.compute.list_value_length(made.column("pairs")).to_pylist(),
        made.column("finish").to_pylist(),
        made.column("rejected").to_pylist(),
        made.column("error").to_pylist(),
        strict=True,
    )
    passes = []
    for name, count, passed, probability, asked, pairs, finish, rejected, error in columns:
        likely = probability is not None and probability >= options.prefilter
        passes.append(asked and likely)
        of_source = sources.setdefault(name, Counter())
        of_source["captions"] += 1
        of_source["words"] += count
        of_source["passed"] += passes[-1]
        of_source["pairs"] += pairs if passes[-1] else 0
        gate["stopped by the gate"] += not passed
        if not passed and probability is not None and not options.template:
            gate["spot checks"] += 1
            gate["spot checks about space"] += likely
        if passed and probability is not None:
            gate["let through by the gate"] += 1
            gate["let through by both"] += likely
        if passes[-1]:
            replies["error" if error else finish] += 1
            replies["objects that were no pairs"] += rejected
    return passes


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
