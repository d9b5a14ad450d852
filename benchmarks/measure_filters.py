"""What each filter is worth on pairs that a person has labelled. Run:

    python benchmarks/measure_filters.py

Captions and pairs were written and labelled one by one (tests/data/labelled_pairs.jsonl), most of
them by hands that had not seen the filters. Filters were mended on the first part; the second part,
by another hand, was measured once and has changed nothing. A filter's positives are what it drops;
of the pre-filter and the spatial check, what they let pass. Language models and dual encoders are
not measured here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spare.generation.grammar import SENTENCE, read_facts
from spare.generation.mentions import find_mentions, normalised, stem, tokens
from spare.generation.stages import Options
from spare.generation.stages.duplicates import differ
from spare.generation.stages.reference import fault
from spare.generation.stages.support import Words, support, supported
from spare.generation.templates import ask

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
    if held_out:
        templates(rows)


def templates(rows: list[dict[str, Any]]) -> None:
    """How much of what captions say templates ask about, and how much of it is right."""
    sentences = [one.group() for row in rows for one in SENTENCE.finditer(row["caption"])]
    spatial = [one for one in sentences if find_mentions(tokens(one))]
    read = sum(any(read_facts(one)) for one in spatial)
    right: Counter[bool] = Counter()
    for row in rows:
        labels = {(one["question"], one["answer"]): one["right"] for one in row["templates"]}
        right.update(labels[pair[:2]] for pair in ask(row["caption"]) if pair[:2] in labels)
    print(
        f"\nTemplates read {read} of {len(spatial)} sentences that have a keyword. Of their "
        f"questions what is somewhere and where something is, {sum(right.values())} were labelled; "
        f"{right[True]} are right."
    )


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
    verbatim, coverage, directions, _ = scores(caption, pair)
    return supported([verbatim], [coverage], [directions], Options().support)[0]


def in_sentence(caption: str, pair: dict[str, Any]) -> bool:
    return scores(caption, pair)[3]


def scores(caption: str, pair: dict[str, Any]) -> tuple[bool, float, bool, bool]:
    return support(Words(caption), tokens(pair["question"]), tokens(pair["answer"]))


def repeats(rows: list[dict[str, Any]]) -> None:
    """What exact repeats find, and what the guard parts."""
    counts: Counter[str] = Counter()
    for row in rows:
        caption = frozenset(map(stem, tokens(row["caption"])))
        for number, one in enumerate(row["pairs"]):
            for earlier, other in enumerate(row["pairs"][:number]):
                questions = tokens(one["question"]), tokens(other["question"])
                if one["same_as"] not in (earlier, None):
                    continue
                kind = "another" if one["same_as"] is None else "same"
                counts[kind] += 1
                counts[f"{kind}, exact"] += normalised(one["question"]) == normalised(
                    other["question"]
                )
                if near(*questions):
                    counts[f"{kind}, near"] += 1
                    counts[f"{kind}, near, parted"] += differ(*questions, caption)
    print(
        f"\nOf {counts['same']} questions that say what an earlier one said, "
        f"{counts['same, exact']} have its words, and {counts['same, near']} share {ALIKE:.0%} of "
        f"them; of these the guard keeps {counts['same, near, parted']} apart for nothing. Of "
        f"{counts['another, near']} pairs of questions that share as many and mean another thing, "
        f"it keeps {counts['another, near, parted']} apart: so many an encoder that does not see "
        "order could have merged."
    )


def near(one: list[str], other: list[str]) -> bool:
    return len(set(one) & set(other)) >= ALIKE * len(set(one) | set(other))


if __name__ == "__main__":
    main()
