"""Which pairs are dropped, and why: from the raw scores of all stages, without any model.

A pair is dropped for the first reason that it meets, in the paper's order of filters. Scores are
only there for pairs that the filters before let pass; where a lower threshold lets a pair pass that
has none, it is not guessed: the pair is dropped as "not scored", and the next `spare generate`
scores it.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.errors import SpareError, counted
from spare.generation import shards
from spare.generation.captions import Part
from spare.generation.pictures import Pictures
from spare.generation.stages import STAGES, Inputs, Options, wanted
from spare.generation.stages.support import supported

if TYPE_CHECKING:
    import pyarrow

REASONS = (
    *("prefilter", "repeat", "contradiction", "similar", "reference", "support", "in sentence"),
    *("no picture", "clipscore", "not spatial", "benchmark picture", "excluded", "balance"),
    "not scored",
)
"""Why a pair may be dropped, in the order in which that is looked for."""


def earlier_reasons(inputs: Inputs, options: Options, before: str) -> list[str]:
    """Why each pair is dropped by the filters in front of a stage; "" if it is not."""
    reasons = _prefilter(inputs, options)
    for stage in STAGES[STAGES.index("generate") + 1 : STAGES.index(before)]:
        if wanted(stage, options) and stage in _CUTS:
            for number, reason in enumerate(_CUTS[stage](inputs, options, reasons)):
                reasons[number] = reasons[number] or reason
    return reasons


def reasons_of(inputs: Inputs, options: Options) -> list[str]:
    """Why each pair is dropped by the filters; "" if it is kept.

    Where harmless pairs are to be kept, "not spatial" is said of those alone that nothing else
    drops.
    """
    reasons = earlier_reasons(inputs, options, "tags")
    weak = ("", "not spatial") if options.harmless else ("",)
    if options.blobs and not options.clip:
        pictures = Pictures(options.blobs)
        gone = {row: isinstance(pictures.of(inputs, row), str) for row in set(inputs.pairs.rows)}
        for number, row in enumerate(inputs.pairs.rows):
            if gone[row] and reasons[number] in weak:
                reasons[number] = "no picture"
    if wanted("contamination", options):
        for number, reason in enumerate(_contamination(inputs, options, reasons)):
            if reason and reasons[number] in weak:
                reasons[number] = reason
    return reasons


def _prefilter(inputs: Inputs, options: Options) -> list[str]:
    """Captions that a higher threshold would not have let pass."""
    found = inputs.column("prefilter", "probability")
    passes = [one is not None and one >= options.prefilter for one in found]
    return ["" if passes[row] else "prefilter" for row in inputs.pairs.rows]


def _duplicates(inputs: Inputs, options: Options, reasons: Sequence[str]) -> list[str]:
    table = inputs.table("duplicates")
    repeat, contradiction, near = (
        table.column(name).to_pylist() for name in ("repeat", "contradiction", "near")
    )
    found = [
        "contradiction" if two else "repeat" if one else ""
        for one, two in zip(repeat, contradiction, strict=True)
    ]
    for numbers in inputs.pairs.by_caption() if any(near) else ():
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
        "excluded" if name == "excluded" else "benchmark picture" if name else ""
        for name in inputs.column("contamination", "benchmark")
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

    Where the mix is to be balanced there is a second pass: how often each relation is kept has to
    be known before it can be capped.

    Raises:
        SpareError: there are too few relations for such a cap.
    """
    natural: Counter[str] = Counter()
    before: Counter[str] = Counter()
    draws: dict[str, array[float]] = {}
    for part in parts:
        inputs = Inputs(out, part)
        reasons, relations = reasons_of(inputs, options), inputs.column("tags", "relation")
        names = inputs.pairs.ids
        natural.update(one for one, reason in zip(relations, reasons, strict=True) if not reason)
        before.update(reasons)
        if options.cap < 1:
            for name, relation, reason in zip(names, relations, reasons, strict=True):
                if not reason:
                    draws.setdefault(relation, array("d")).append(_draw(name))
        shards.write(inputs.shard("cut"), _table(names, reasons))
    kept = capped(natural, options.cap)
    # Those with the smallest numbers are a random draw of as many as may stay.
    bounds = {name: sorted(found)[kept[name] - 1] for name, found in draws.items()}
    # So many of the harmless pairs that they are the share asked for of all that is kept.
    share, spared = options.harmless, before["not spatial"]
    wanted = share / (1 - share) * sum(kept.values()) if share < 1 else math.inf
    harmless = min(1.0, wanted / spared) if spared else 0.0
    weights = _weights(kept, options.weights)
    if not (harmless or bounds or weights):
        return _counts(before, natural)
    counts: Counter[str] = Counter()
    by_relation: Counter[str] = Counter()
    for part in parts:
        inputs = Inputs(out, part)
        names, relations = inputs.column("cut", "pair_id"), inputs.column("tags", "relation")
        reasons = [
            _balanced(name, reason, harmless, bounds.get(relation, 1.0))
            for name, reason, relation in zip(
                names, inputs.column("cut", "reason"), relations, strict=True
            )
        ]
        counts.update(reasons)
        by_relation.update(
            one for one, reason in zip(relations, reasons, strict=True) if not reason
        )
        of_pairs = [weights.get(relation, 1.0) for relation in relations]
        shards.write(inputs.shard("cut"), _table(names, reasons, of_pairs))
    return _counts(counts, by_relation)


def _counts(reasons: Counter[str], relations: Mapping[str, int]) -> dict[str, Any]:
    pairs = dict(reasons)
    pairs["kept"] = pairs.pop("", 0)
    return {"pairs": pairs, "relations": dict(relations)}


def check_cap(out: Path, parts: Sequence[Part], options: Options) -> None:
    """Raises SpareError if there are too few relations for the cap. Writes nothing."""
    natural: Counter[str] = Counter()
    for part in parts if options.cap < 1 else ():
        inputs = Inputs(out, part)
        for relation, reason in zip(
            inputs.column("tags", "relation"), reasons_of(inputs, options), strict=True
        ):
            natural[relation] += not reason
    capped(natural, options.cap)


def capped(natural: Mapping[str, int], cap: float) -> dict[str, int]:
    """How many pairs of each relation stay, so that none has a larger share of them all than `cap`.
    Raises SpareError if there are too few relations for that."""
    kept = {relation: count for relation, count in natural.items() if count}
    if cap >= 1 or not kept:
        return kept
    if cap * len(kept) < 1:
        raise SpareError(
            f"--cap {cap:g} cannot be kept: the pairs are about {counted(len(kept), 'relation')}, "
            f"one of which has at least {1 / len(kept):.3g} of them; give a larger one."
        )
    while True:  # a smaller whole lowers what a share of it is
        most = int(cap * sum(kept.values()))
        if max(kept.values()) <= most or most < 1:
            return kept
        kept = {relation: min(count, most) for relation, count in kept.items()}


def _balanced(name: str, reason: str, harmless: float, bound: float) -> str:
    """Why a pair is dropped once the mix is balanced.

    Args:
        harmless: share of the pairs that only the spatial check drops and that are kept.
        bound: largest number of a pair of its relation that stays.
    """
    if reason == "not spatial" and _draw(name) < harmless:
        return ""
    return "balance" if not reason and _draw(name) > bound else reason


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
