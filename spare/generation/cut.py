"""Which pairs are dropped, and why: from the raw scores of all stages, without any model.

A pair is dropped for the first reason that it meets, in the paper's order of filters. Scores are
only there for pairs that the filters before let pass; where a lower threshold lets a pair pass that
has none, it is not guessed: the pair is dropped as "not scored", and the next `spare generate`
scores it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.generation import shards
from spare.generation.captions import Part
from spare.generation.stages import STAGES, Inputs, Options, wanted
from spare.generation.stages.support import supported

if TYPE_CHECKING:
    import pyarrow

REASONS = (
    *("repeat", "contradiction", "similar", "reference", "support", "in sentence"),
    *("no picture", "clipscore", "not spatial", "benchmark picture", "balance", "not scored"),
)
"""Why a pair may be dropped, in the order in which that is looked for."""


def earlier_reasons(inputs: Inputs, options: Options, before: str) -> list[str]:
    """Why each pair is dropped by the filters in front of a stage; "" if it is not."""
    reasons = [""] * len(inputs.pairs.ids)
    for stage in STAGES[STAGES.index("generate") + 1 : STAGES.index(before)]:
        if wanted(stage, options) and stage in _CUTS:
            for number, reason in enumerate(_CUTS[stage](inputs, options, reasons)):
                reasons[number] = reasons[number] or reason
    return reasons


def reasons_of(inputs: Inputs, options: Options) -> list[str]:
    """Why each pair is dropped by the filters; "" if it is kept."""
    reasons = earlier_reasons(inputs, options, "tags")
    if wanted("contamination", options):
        for number, reason in enumerate(_contamination(inputs, options, reasons)):
            reasons[number] = reasons[number] or reason
    return reasons


def _duplicates(inputs: Inputs, options: Options, reasons: Sequence[str]) -> list[str]:
    table = inputs.table("duplicates")
    repeat, contradiction, near = (
        table.column(name).to_pylist() for name in ("repeat", "contradiction", "near")
    )
    found = [
        "contradiction" if two else "repeat" if one else ""
        for one, two in zip(repeat, contradiction, strict=True)
    ]
    for numbers in inputs.pairs.by_caption():
        for number in numbers:
            if not found[number] and any(
                one["cosine"] >= options.similar
                and not (options.guard and one["guarded"])
                and not found[numbers.start + one["to"]]  # only what is kept has copies
                for one in near[number]
            ):
                found[number] = "similar"
    return found


def _reference(inputs: Inputs, options: Options, reasons: Sequence[str]) -> list[str]:
    return ["reference" if fault else "" for fault in inputs.column("reference", "reference")]


def _support(inputs: Inputs, options: Options, reasons: Sequence[str]) -> list[str]:
    table = inputs.table("support")
    verbatim, coverage, directions = (
        table.column(name).to_pylist() for name in ("verbatim", "coverage", "directions")
    )
    good = supported(verbatim, coverage, directions, options.support)
    together = table.column("in_sentence").to_pylist()
    return [
        "support" if not one else "in sentence" if options.in_sentence and not whole else ""
        for one, whole in zip(good, together, strict=True)
    ]


def _clipscore(inputs: Inputs, options: Options, reasons: Sequence[str]) -> list[str]:
    table = inputs.table("clipscore")
    least = options.clipscore / (2.5 if options.clip_scale == "w2.5" else 1.0)
    return [
        ("no picture" if error else "not scored")
        if cosine is None
        else "clipscore"
        if cosine < least
        else ""
        for cosine, error in zip(
            table.column("cosine").to_pylist(), table.column("error").to_pylist(), strict=True
        )
    ]


def _spatial(inputs: Inputs, options: Options, reasons: Sequence[str]) -> list[str]:
    return [
        "not scored" if found is None else "" if found >= options.spatial else "not spatial"
        for found in inputs.column("spatial", "probability")
    ]


def _contamination(inputs: Inputs, options: Options, reasons: Sequence[str]) -> list[str]:
    return [
        "benchmark picture" if name else "" for name in inputs.column("contamination", "benchmark")
    ]


_CUTS = {
    "duplicates": _duplicates,
    "reference": _reference,
    "support": _support,
    "clipscore": _clipscore,
    "spatial": _spatial,
}


# Balance


def cut(out: Path, parts: Sequence[Part], options: Options) -> dict[str, Any]:
    """Decide on every pair and write `cut/<shard>.parquet`: pair_id, reason ("" if it is kept),
    weight (for training). Returns the counts that the card shows.

    Two passes: how often each relation is kept has to be known before it can be capped.
    """
    natural: Counter[str] = Counter()
    spared = 0
    for part in parts:
        inputs = Inputs(out, part)
        reasons, relations = reasons_of(inputs, options), inputs.column("tags", "relation")
        natural.update(one for one, reason in zip(relations, reasons, strict=True) if not reason)
        spared += reasons.count("not spatial")
        shards.write(inputs.shard("cut"), _table(inputs.pairs.ids, reasons))
    total = sum(natural.values())
    keep = {relation: min(1.0, options.cap * total / count) for relation, count in natural.items()}
    # So many of the harmless pairs that they are the share asked for of all that is kept.
    kept = sum(count * keep[relation] for relation, count in natural.items())
    share = options.harmless
    harmless = min(1.0, share / (1 - share) * kept / spared) if spared and share < 1 else 0.0
    weights = _weights(natural, options.weights)
    counts: Counter[str] = Counter()
    by_relation: Counter[str] = Counter()
    for part in parts:
        inputs = Inputs(out, part)
        names, reasons = inputs.column("cut", "pair_id"), inputs.column("cut", "reason")
        relations = inputs.column("tags", "relation")
        if harmless or options.cap < 1:
            reasons = [
                _balanced(name, reason, harmless, keep.get(relation, 1.0))
                for name, reason, relation in zip(names, reasons, relations, strict=True)
            ]
        counts.update(reasons)
        by_relation.update(
            one for one, reason in zip(relations, reasons, strict=True) if not reason
        )
        of_pairs = [weights.get(relation, 1.0) for relation in relations]
        shards.write(inputs.shard("cut"), _table(names, reasons, of_pairs))
    counts["kept"] = counts.pop("", 0)
    return {"pairs": dict(counts), "relations": dict(by_relation)}


def _balanced(name: str, reason: str, harmless: float, keep: float) -> str:
    """Why a pair is dropped once the mix is balanced.

    Args:
        harmless, keep: shares of pairs that only the spatial check drops, and of pairs of its
            relation, that are kept.
    """
    if reason == "not spatial" and _draw(name) < harmless:
        return ""
    return "balance" if not reason and _draw(name) >= keep else reason


def _weights(natural: Mapping[str, int], wanted_shares: Mapping[str, float]) -> dict[str, float]:
    """Relation -> weight that turns the natural mix into the wanted one; within a factor of ten, so
    that a handful of pairs is not shown a hundred times. Relations that are not named keep 1."""
    total = sum(count for relation, count in natural.items() if relation in wanted_shares)
    whole = sum(wanted_shares.values())
    if not total or not whole:
        return {}
    return {
        relation: min(10.0, max(0.1, (share / whole) / (natural[relation] / total)))
        for relation, share in wanted_shares.items()
        if natural.get(relation)
    }


def _draw(name: str) -> float:
    """A number from 0 to 1 that belongs to a pair: the same one whatever else is there."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64


def _table(
    names: Sequence[str], reasons: Sequence[str], weights: Sequence[float] = ()
) -> pyarrow.Table:
    import pyarrow

    return pyarrow.table(
        {
            "pair_id": pyarrow.array(names, pyarrow.string()),
            "reason": pyarrow.array(reasons, pyarrow.string()),
            "weight": pyarrow.array(weights or [1.0] * len(names), pyarrow.float32()),
        }
    )
