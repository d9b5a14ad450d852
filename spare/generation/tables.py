"""What was built, as tables: the paper's Table 1, the funnel, and the mix of relations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spare.errors import counted
from spare.generation.cut import REASONS
from spare.generation.spatiality import Spatiality, gini, paper, top_share
from spare.generation.stages.tags import CLASS_OF_GROUP
from spare.leaderboards.grids import Column, Grid

ABOUT: Mapping[str, str] = {
    "prefilter": "its caption is not about space",
    "repeat": "the words of an earlier question about the caption",
    "contradiction": "one question with two answers; neither is kept",
    "similar": "nearly the meaning of an earlier question",
    "reference": "speaks of the description, or says nothing",
    "support": "the caption does not say what the answer says",
    "in sentence": "no sentence of the caption says all of it",
    "no picture": "its picture could not be had",
    "clipscore": "the question does not go with the picture",
    "not spatial": "not about space",
    "benchmark picture": "a benchmark asks about the picture",
    "excluded": "its picture is on the list of --exclude-images",
    "balance": "over the cap of its relation",
    "not scored": "a stage has no score of it",
}
"""Why a pair is dropped, for a person."""


def grids(found: Mapping[str, Any]) -> list[Grid]:
    """The funnel as tables."""
    return [_sources(found), _pairs(found), _relations(found)]


def _sources(found: Mapping[str, Any]) -> Grid:
    columns = [
        Column("source"),
        *(
            Column(name, numeric=True)
            for name in ("captions", "passed", "mean words", "pairs", "pairs per caption")
        ),
    ]
    rows = []
    totals = {"captions": 0, "passed": 0, "words": 0, "pairs": 0}
    for name, counts in found["sources"].items():
        rows.append(_source(name, counts))
        totals = {key: totals[key] + counts.get(key, 0) for key in totals}
    if len(rows) > 1:
        rows.append(_source("total", totals))
    return Grid("Captions, and the pairs made of them", columns, rows, list(_notes(found)))


def _source(name: str, counts: Mapping[str, int]) -> tuple[str, ...]:
    passed = counts.get("passed", 0)
    return (
        name,
        f"{counts['captions']:,}",
        f"{passed:,}",
        f"{counts['words'] / counts['captions']:.0f}",
        f"{counts.get('pairs', 0):,}",
        f"{counts.get('pairs', 0) / passed:.1f}" if passed else "-",
    )


def _notes(found: Mapping[str, Any]) -> Iterator[str]:
    gate = found["prefilter"]
    if gate.get("stopped by the gate"):
        stopped = gate["stopped by the gate"]
        told = f"Not asked about: {counted(stopped, 'caption')} without a keyword"
        checks = gate.get("spot checks", 0)
        if checks:
            missed, passed = gate["spot checks about space"], gate.get("let through by both", 0)
            there = passed + stopped * missed / checks
            recall = f"{passed / there:.1%}" if there else "not known"
            told += (
                f". Of {checks:,} of them that were all the same {missed:,} turned out to be about "
                f"space: the gate's recall is {recall}"
            )
        yield f"{told}."
    replies = found["replies"]
    endings = [f"{name} {count:,}" for name, count in replies.items() if count]
    if endings:
        yield f"How replies ended: {', '.join(endings)}."
    if replies.get("length", 0) > 0.01 * sum(replies.values()):
        yield "More than 1 % of the replies reached their bound: whole pairs in them were kept."
    for stage, count in found["unheard"].items():
        yield (
            f"The model gave no reply to {counted(count, 'question')} of the stage {stage}; the "
            "same command asks again."
        )
    if found.get("first_error"):
        yield f"The first error: {found['first_error']}{remedy(found['first_error'])}"
    guard = found["guard"]
    if guard.get("merges") or guard.get("merges blocked"):
        yield (
            f"{counted(guard['merges'], 'question')} merged with another; "
            f"{guard['merges blocked']:,} more were not, since their directions differ."
        )
    scale = found["clipscore"]
    if scale:
        yield (
            f"CLIPScore's cutoff drops {scale['dropped at raw']:,} of {scale['scored']:,} pairs on "
            f"the raw cosine, {scale['dropped at w2.5']:,} on 2.5 times that."
        )
    for name, count in found["contamination"].items():
        if name == "excluded":
            continue
        yield f"{counted(count, 'pair')} about pictures of {name}."
    listed = found.get("excluded", {})
    if listed.get("unmatched"):
        yield (
            f"Lines in --exclude-images that match no picture: {listed['unmatched']:,} of "
            f"{listed['lines']:,}, such as {listed['first']!r}."
        )
    elif listed and not listed["lines"]:
        yield "The file of --exclude-images is empty."


TOO_LONG = re.compile(r"too long|context length|context window|reduce the length", re.IGNORECASE)
"""How engines and servers say that a prompt does not go into the model."""


def remedy(error: str) -> str:
    """What helps against an error that asking again does not; "" of any other."""
    if not TOO_LONG.search(error):
        return ""
    return (
        " Where that is why, asking again is not enough: a smaller --max-new-tokens helps, for the "
        "reply has to find room too; or a model, or a server, with a longer context."
    )


def _pairs(found: Mapping[str, Any]) -> Grid:
    counts = found["pairs"]
    total = sum(counts.values())
    rows = [
        (reason, f"{counts[reason]:,}", f"{100 * counts[reason] / total:.1f} %", ABOUT[reason])
        for reason in REASONS
        if counts.get(reason)
    ]
    kept = counts.get("kept", 0)
    rows.append(("kept", f"{kept:,}", f"{100 * kept / total:.1f} %" if total else "-", ""))
    columns = [Column("dropped as"), Column("pairs", True), Column("share", True), Column("why")]
    return Grid(f"{total:,} pairs", columns, rows, strong=frozenset({len(rows) - 1}))


def _relations(found: Mapping[str, Any]) -> Grid:
    from spare.relations import relation_groups

    counts = {name: count for name, count in found["relations"].items() if count}
    total = sum(counts.values())
    groups = relation_groups()
    rows = [
        (
            name or "(none)",
            f"{count:,}",
            f"{100 * count / total:.2f} %",
            f"{groups[name].share:.2f} %" if name else "-",
        )
        for name, count in sorted(counts.items(), key=lambda one: -one[1])
    ]
    columns = [
        Column("relation"),
        Column("kept", True),
        Column("share", True),
        Column("paper", True),
    ]
    notes = [
        "paper: the relation's share of keywords in SpaRE's Table 10; `spare relations` counts as "
        "that table does."
    ]
    return Grid("What the pairs that were kept are about", columns, rows, notes)


SPREAD = ("texts", "no text", "spatial", "top 17 %", "Gini")


def spatiality(found: Sequence[Spatiality]) -> list[Grid]:
    """How spatial data sets are, side by side with Table 10."""
    reported = paper()
    names = [one.name for one in found]
    whole = Grid(
        "How spatial the texts are",
        [Column("data"), *(Column(name, True) for name in SPREAD)],
        [
            *(
                (
                    one.name,
                    f"{one.texts:,}",
                    f"{one.textless:,}",
                    f"{100 * one.spatial / one.texts:.1f} %",
                    f"{100 * one.top:.1f} %",
                    f"{one.gini:.2f}",
                )
                for one in found
            ),
            (
                "SpaRE's Table 10 (reported)",
                "-",
                "-",
                "-",
                f"{100 * top_share(list(reported.values())):.1f} %",
                f"{gini(list(reported.values())):.2f}",
            ),
        ],
        [
            "spatial: texts with a keyword of Table 10 that can be meant so. top 17 %: what the "
            "five most common of 29 relations hold of all keywords.",
            *(
                f"Of {one.name} {counted(one.textless, 'row')} without a text left out; the first "
                f"is {one.first}."
                for one in found
                if one.textless
            ),
        ],
    )
    by_relation = [one.relations for one in found]
    by_class = [one.classes for one in found]
    return [
        whole,
        _shares("relation", names, by_relation, reported),
        _shares("class", names, by_class, _classes(reported)),
    ]


def _shares(
    what: str,
    names: Sequence[str],
    counts: Sequence[Mapping[str, int]],
    reported: Mapping[str, float],
) -> Grid:
    columns = [Column(what), *(Column(name, True) for name in (*names, "Table 10"))]
    order = sorted(reported, key=lambda name: -sum(one.get(name, 0) for one in counts))
    rows = [
        (name, *(_share(one, name) for one in counts), f"{reported[name]:.2f} %") for name in order
    ]
    return Grid(f"Keywords by {what}, as Table 10 counts them", columns, rows)


def _classes(shares: Mapping[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for relation, share in shares.items():
        name = CLASS_OF_GROUP[relation]
        found[name] = found.get(name, 0.0) + share
    return found


def _share(counts: Mapping[str, int], name: str) -> str:
    total = sum(counts.values())
    return f"{100 * counts.get(name, 0) / total:.2f} %" if total else "-"
