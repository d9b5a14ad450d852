"""What each filter is worth on pairs that a person has labelled. Run:

    python benchmarks/measure_filters.py

Captions and pairs were written and labelled by hand (tests/data/labelled_pairs.jsonl), by the
filters' author. The check of sentences was mended with the first part of them; the second part was
written afterwards and has changed nothing. A filter's positives are what it drops; of the
pre-filter and the spatial check, what they let pass. Language models and dual encoders are not
measured here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spare.generation.mentions import find_mentions, tokens
from spare.generation.stages import Options
from spare.generation.stages.duplicates import differ, normalised
from spare.generation.stages.reference import fault
from spare.generation.stages.support import Words, support, supported

LABELLED = Path(__file__).parent.parent / "tests" / "data" / "labelled_pairs.jsonl"
ALIKE = 0.6
"""Share of their words that two questions have in common, from which an encoder that sees words and
not their order may well take them for one."""


def main() -> None:
    rows = [json.loads(line) for line in LABELLED.read_text("utf-8").splitlines()]
    for held_out in (False, True):
        measure([row for row in rows if row["held_out"] == held_out], held_out)


def measure(rows: list[dict[str, Any]], held_out: bool) -> None:
    pairs = [(row, pair) for row in rows for pair in row["pairs"]]
    part = "Held out" if held_out else "Development"
    print(f"\n**{part}**: {len(rows)} captions, {len(pairs)} pairs.\n")
    print("| filter | finds | there are | found | right of those found | found of those there |")
    print("|---|---|---|---|---|---|")
    line(
        "prefilter, keywords",
        "captions about space",
        ((bool(find_mentions(tokens(row["caption"]))), row["spatial"]) for row in rows),
    )
    line(
        "reference",
        "talk about the text",
        ((bool(fault(one["question"], one["answer"])), one["reference"]) for _, one in pairs),
    )
    spoken = [(row, one) for row, one in pairs if not one["reference"]]
    line(
        "support",
        "unsupported answers",
        ((not is_supported(row["caption"], one), not one["supported"]) for row, one in spoken),
    )
    line(
        "in one sentence",
        "unsupported answers",
        ((not in_sentence(row["caption"], one), not one["supported"]) for row, one in spoken),
    )
    line(
        "spatial, keywords",
        "pairs about space",
        (
            (bool(find_mentions(tokens(f"{one['question']} {one['answer']}"))), one["spatial"])
            for _, one in spoken
        ),
    )
    repeats(rows)


def line(name: str, what: str, outcomes: Iterable[tuple[bool, bool]]) -> None:
    """Prints precision and recall of (found, is there)."""
    listed = list(outcomes)
    hits = sum(found and there for found, there in listed)
    found = sum(found for found, _ in listed)
    there = sum(there for _, there in listed)
    precision = f"{hits / found:.2f}" if found else "-"
    recall = f"{hits / there:.2f}" if there else "-"
    print(f"| {name} | {what} | {there} of {len(listed)} | {found} | {precision} | {recall} |")


def is_supported(caption: str, pair: dict[str, Any]) -> bool:
    verbatim, coverage, directions, _ = support(
        Words(caption), tokens(pair["question"]), tokens(pair["answer"])
    )
    return supported([verbatim], [coverage], [directions], Options().support)[0]


def in_sentence(caption: str, pair: dict[str, Any]) -> bool:
    return support(Words(caption), tokens(pair["question"]), tokens(pair["answer"]))[3]


def repeats(rows: list[dict[str, Any]]) -> None:
    """What exact repeats find, and what the guard parts."""
    same = exact = kept_apart = alike = parted = 0
    for row in rows:
        pairs = row["pairs"]
        for number, one in enumerate(pairs):
            for earlier, other in enumerate(pairs[:number]):
                if one["same_as"] == earlier:
                    same += 1
                    exact += normalised(one["question"]) == normalised(other["question"])
                    kept_apart += differ(one["question"], other["question"])
                elif one["same_as"] is None and near(one["question"], other["question"]):
                    alike += 1
                    parted += differ(one["question"], other["question"])
    print(
        f"\nOf {same} questions that say what an earlier one said, {exact} have its words, and "
        f"the guard would keep {kept_apart} apart. Of {alike} pairs of questions that share "
        f"{ALIKE:.0%} of their words and mean another thing, it keeps {parted} apart: so many of "
        "them an encoder that does not see order could have merged."
    )


def near(one: str, other: str) -> bool:
    first, second = set(tokens(one)), set(tokens(other))
    return len(first & second) >= ALIKE * len(first | second)


if __name__ == "__main__":
    main()
