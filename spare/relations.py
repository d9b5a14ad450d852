"""The spatial vocabulary: every relation that our benchmarks name, its class, and its opposite.

Scores are broken down by relation, and relations by class, because a model fails by class: it can
know that a cup is *in* a sink and not which side of the sink the cup is on. The classes are those
of the spatial reasoning literature:

topological  contact, containment, support, part: true from every side, whatever the distance
projective   a direction from one object to the other: needs a frame of reference, or gravity
metric       distance or size: needs a scale
orientation  which way an object's own front or axis points
path         movement, or a line that is followed or crossed

A word can straddle two classes. Support counts before height ("on top of" is topological, "above"
is not), lateral words without a side ("beside") are projective as in VSR's own categories, and
"between" is projective (Clementini, Di Felice and Hernandez 1997) where VSR has it as topological.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

CLASSES = ("topological", "projective", "metric", "orientation", "path")

_MEMBERS: Mapping[str, tuple[str, ...]] = {
    "topological": (
        # VSR and What's Up
        *("touching", "on", "on top of", "in", "inside", "within", "outside", "out of", "off"),
        *("contains", "part of", "has as a part", "consists of", "with", "at", "among"),
        *("connected to", "attached to", "detached from", "against", "at the edge of"),
        *("surrounding", "enclosed by", "in the middle of"),
    ),
    "projective": (
        # VSR, What's Up between two objects
        *("left of", "right of", "at the left side of", "at the right side of"),
        *("in front of", "behind", "at the back of", "ahead of", "beyond", "after"),
        *("above", "below", "over", "under", "beneath", "up", "down from"),
        *("beside", "at the side of", "between"),
        # What's Up with one object: a place in the picture, seen by the viewer
        *("left", "right", "top", "bottom", "front"),
        # 3DSRBench
        *("height_higher", "location_above", "orientation_in_front_of", "orientation_on_the_left"),
    ),
    "metric": (
        *("near", "close to", "by", "next to", "adjacent to", "alongside"),
        *("far from", "far away from", "congruent"),
        # 3DSRBench
        *("location_closer_to_camera", "location_next_to", "multi_object_closer_to"),
    ),
    "orientation": (
        *("facing", "facing away from", "parallel to", "perpendicular to"),
        *("opposite to", "across from"),
        # 3DSRBench
        *("orientation_viewpoint", "multi_object_facing", "multi_object_viewpoint_towards_object"),
        *("multi_object_parallel", "multi_object_same_direction"),
    ),
    "path": (
        *("toward", "away from", "into", "from", "to", "through", "across", "along", "around"),
        *("past", "down", "deep down"),
    ),
}

RELATION_CLASS: Mapping[str, str] = {
    relation: name for name, members in _MEMBERS.items() for relation in members
}
"""Relation -> one of `CLASSES`: VSR's 70 listed relations and its unlisted "congruent", What's Up's
relations under VSR's spellings, and 3DSRBench's 12 question types."""

_OPPOSITE_PAIRS = (
    ("left of", "right of"),
    ("at the left side of", "at the right side of"),
    ("left", "right"),
    ("top", "bottom"),
    ("above", "below"),
    ("over", "under"),
    ("in front of", "behind"),
    ("ahead of", "at the back of"),
    ("near", "far from"),
    ("close to", "far away from"),
    ("on", "off"),
    ("in", "out of"),
    ("inside", "outside"),
    ("attached to", "detached from"),
    ("contains", "within"),
    ("has as a part", "part of"),
    ("surrounding", "enclosed by"),
    ("facing", "facing away from"),
    ("parallel to", "perpendicular to"),
    ("toward", "away from"),
    ("to", "from"),
)

OPPOSITES: Mapping[str, str] = {
    one: other for pair in _OPPOSITE_PAIRS for one, other in (pair, pair[::-1])
}
"""Relation -> the one at the other end of its axis, both ways. A model that mixes them up sees the
axis and misses its direction."""

VSR_CATEGORY_LISTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Adjacency",
        (
            *("adjacent to", "alongside", "at the side of", "at the right side of"),
            *("at the left side of", "attached to", "at the back of", "ahead of", "against"),
            "at the edge of",
        ),
    ),
    (
        "Directional",
        (
            *("off", "past", "toward", "down", "deep down", "up", "away from", "along", "around"),
            *("from", "into", "to", "across", "across from", "through", "down from"),
        ),
    ),
    ("Orientation", ("facing", "facing away from", "parallel to", "perpendicular to")),
    (
        "Projective",
        (
            *("on top of", "beneath", "beside", "behind", "left of", "right of", "under"),
            *("in front of", "below", "above", "over", "in the middle of"),
        ),
    ),
    ("Proximity", ("by", "close to", "near", "far from", "far away from")),
    (
        "Topological",
        (
            *("connected to", "detached from", "has as a part", "part of", "contains", "within"),
            *("at", "on", "in", "with", "surrounding", "among", "consists of", "out of"),
            *("between", "inside", "outside", "touching"),
        ),
    ),
    ("Unallocated", ("beyond", "next to", "opposite to", "after", "among", "enclosed by")),
)
"""VSR's meta-categories as published (cambridgeltl/visual-spatial-reasoning,
`analysis_scripts/rel_meta_category_dict.txt`, 71 entries)."""

VSR_CATEGORY: Mapping[str, str] = {
    relation: category for category, relations in VSR_CATEGORY_LISTS for relation in relations
}
"""Relation -> VSR's meta-category. "among" stands in two lists and the last wins (Unallocated), as
in the official script; "congruent" stands in none, and has no category there either."""


@dataclass(frozen=True, slots=True)
class RelationGroup:
    """A relation of SpaRE's Table 10, as training data is counted and generated by.

    Attributes:
        share: how much of the authors' generated data is about it, in per cent.
        keywords: the words that stand for it -> their own share, in per cent.
    """

    name: str
    share: float
    keywords: Mapping[str, float]


@lru_cache(maxsize=1)
def relation_groups() -> Mapping[str, RelationGroup]:
    """The 29 relations of SpaRE's Table 10 (arXiv 2504.20648) by name, in its order."""
    from importlib import resources

    text = (resources.files("spare") / "relation_groups.tsv").read_text("utf-8")
    shares: dict[str, float] = {}
    keywords: dict[str, dict[str, float]] = {}
    for line in text.splitlines()[2:]:
        name, keyword, share, whole = line.split("\t")
        if whole:
            shares[name] = float(whole)
        keywords.setdefault(name, {})[keyword] = float(share)
    return {name: RelationGroup(name, shares[name], words) for name, words in keywords.items()}


_GROUP_OF_OTHERS: Mapping[str, str] = {
    # What the benchmarks name in words that Table 10 has not.
    "top": "above",
    "bottom": "below",
    "deep down": "below",
    "ahead of": "front",
    "contains": "inside_within",
    "across from": "opposite",
    "across": "movement_along",
    "facing away from": "facing",
    # 3DSRBench's question types
    "height_higher": "above",
    "location_above": "above",
    "orientation_in_front_of": "front",
    "orientation_on_the_left": "left",
    "location_closer_to_camera": "near_close",
    "location_next_to": "next_to_beside_adjacent",
    "multi_object_closer_to": "near_close",
    "orientation_viewpoint": "facing",
    "multi_object_facing": "facing",
    "multi_object_viewpoint_towards_object": "facing",
    "multi_object_parallel": "parallel_to",
    "multi_object_same_direction": "parallel_to",
}


@lru_cache
def relation_group(relation: str) -> str:
    """The relation of Table 10 that one of ours belongs to; "" if it has none (touching, off ...).

    A keyword that stands under two relations counts for the first.
    """
    for group in relation_groups().values():
        if relation in group.keywords:
            return group.name
    return _GROUP_OF_OTHERS.get(relation, "")
