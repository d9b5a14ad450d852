"""The vocabulary covers what the benchmarks name, and keeps VSR's own categories with their quirks.

Figures: cambridgeltl/visual-spatial-reasoning, data/splits, counted from the published files.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from spare.relations import (
    CLASSES,
    OPPOSITES,
    RELATION_CLASS,
    VSR_CATEGORY,
    VSR_CATEGORY_LISTS,
)

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "vsr"
needs_vsr = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason=f"VSR's published annotations are not in {PUBLISHED}"
)

TYPES_OF_3DSRBENCH = [
    "height_higher",
    "location_above",
    "location_closer_to_camera",
    "location_next_to",
    "orientation_in_front_of",
    "orientation_on_the_left",
    "orientation_viewpoint",
    "multi_object_closer_to",
    "multi_object_facing",
    "multi_object_viewpoint_towards_object",
    "multi_object_parallel",
    "multi_object_same_direction",
]


def relations(name: str) -> Counter[str]:
    lines = (PUBLISHED / name).read_text().splitlines()
    return Counter(json.loads(line)["relation"] for line in lines)


def test_every_relation_has_one_known_class() -> None:
    assert set(RELATION_CLASS.values()) == set(CLASSES)
    listed = {relation for _, members in VSR_CATEGORY_LISTS for relation in members}
    whats_up = {"left of", "right of", "on", "under", "in front of", "behind", "above", "below"}
    whats_up |= {"left", "right", "top", "bottom", "front"}
    named = listed | whats_up | set(TYPES_OF_3DSRBENCH) | {"congruent"}
    assert named <= set(RELATION_CLASS)


@pytest.mark.parametrize(
    ("relation", "name"),
    [
        ("touching", "topological"),
        ("on top of", "topological"),
        ("above", "projective"),
        ("left of", "projective"),
        ("far away from", "metric"),
        ("facing away from", "orientation"),
        ("through", "path"),
        ("multi_object_closer_to", "metric"),
        ("orientation_on_the_left", "projective"),
        ("orientation_viewpoint", "orientation"),
    ],
)
def test_classes(relation: str, name: str) -> None:
    assert RELATION_CLASS[relation] == name


def test_opposites_go_both_ways_on_one_axis() -> None:
    for relation, other in OPPOSITES.items():
        assert OPPOSITES[other] == relation != other
        assert RELATION_CLASS[other] == RELATION_CLASS[relation]
    # Those that the official script of What's Up counts confusions between.
    for pair in (("left", "right"), ("above", "below"), ("top", "bottom")):
        assert OPPOSITES[pair[0]] == pair[1]


def test_vsr_lists_are_as_published() -> None:
    entries = [relation for _, members in VSR_CATEGORY_LISTS for relation in members]
    assert (len(entries), len(set(entries))) == (71, 70)
    assert {relation for relation, count in Counter(entries).items() if count > 1} == {"among"}
    assert {name: len(members) for name, members in VSR_CATEGORY_LISTS} == {
        "Adjacency": 10,
        "Directional": 16,
        "Orientation": 4,
        "Projective": 12,
        "Proximity": 5,
        "Topological": 18,
        "Unallocated": 6,
    }


def test_the_last_category_of_a_relation_wins() -> None:
    assert VSR_CATEGORY["among"] == "Unallocated"
    assert "congruent" not in VSR_CATEGORY


@needs_vsr
def test_vsr_names_66_relations_and_all_are_classed() -> None:
    found = relations("random/train.jsonl") + relations("random/dev.jsonl")
    found += relations("random/test.jsonl")
    assert (found.total(), len(found)) == (10972, 66)
    assert set(found) <= set(RELATION_CLASS)
    never = {"deep down", "up", "from", "to", "after"}
    assert set(VSR_CATEGORY) - set(found) == never
    assert set(found) - set(VSR_CATEGORY) == {"congruent"}
    totals: Counter[str] = Counter()
    for relation, count in found.items():
        totals[VSR_CATEGORY.get(relation, "")] += count
    assert totals == {
        "Adjacency": 1537,
        "Directional": 436,
        "Orientation": 647,
        "Projective": 4186,
        "Proximity": 632,
        "Topological": 3146,
        "Unallocated": 387,
        "": 1,
    }
