"""The human check: a sheet of pairs drawn at random, and error rates from what a person set.

How many to look at follows from how sure one wants to be: by the formula for finite populations
(proportion 0.5, 95 %, within 5 points) 384 of the paper's 455,494, which it rounds up to 400.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import nsmallest
from itertools import compress
from pathlib import Path
from typing import Any

from spare.errors import DataError, PictureError, SpareError, counted
from spare.generation.manifest import read_pipeline
from spare.generation.pictures import Pictures
from spare.generation.stages import Inputs
from spare.images import digest
from spare.leaderboards.failures import Look, thumbnail
from spare.leaderboards.pages import render

LABELS = (
    "right",
    "relation is wrong",
    "object is not there",
    "not about space",
    "about the description",
    "ambiguous: whose left?",
    "other fault",
)
"""What a person may call a pair; the digits 1 to 7 set them."""

GOOD = ("right",)
Z = 1.96
ERROR = 0.05


def sample_size(population: int, error: float = ERROR) -> int:
    """How many of a population to look at to know a share of it within `error`, at 95 %."""
    infinite = Z**2 * 0.25 / error**2
    return math.ceil(infinite / (1 + (infinite - 1) / population)) if population else 0


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a person set a label: a share with its 95 % interval (Wilson), in per cent."""

    label: str
    count: int
    of: int
    share: float
    low: float
    high: float


def sheet(pairs: str | Path, number: int = 0, seed: int = 0) -> tuple[str, int, int]:
    """A page with pairs to check, how many are on it, and how many were kept in all.

    Args:
        number: how many; by the formula if 0.
        seed: which ones; the same seed draws the same pairs.

    Raises:
        SpareError: nothing is decided on yet, or nothing was kept.
    """
    parts, options, _ = read_pipeline(pairs)
    drawn: list[tuple[bytes, str, int]] = []
    total = 0
    for place, part in enumerate(parts):
        inputs = Inputs(Path(pairs), part)
        reasons, ids = inputs.column("cut", "reason"), inputs.column("cut", "pair_id")
        kept = [name for name, reason in zip(ids, reasons, strict=True) if not reason]
        total += len(kept)
        # Those whose digests are smallest are a random draw, and need no list of all.
        candidates = [(_drawn(name, seed), name, place) for name in kept]
        drawn = nsmallest(number or 400, [*drawn, *candidates])
    if not total:
        raise SpareError(f"{pairs} has no pair that was kept.")
    drawn = drawn[: number or sample_size(total)]
    pictures = Pictures(options.blobs)
    rows: list[dict[str, Any]] = []
    for place, part in enumerate(parts):
        chosen = {name for _, name, at in drawn if at == place}
        if chosen:
            rows += _rows(Inputs(Path(pairs), part), chosen, pictures)
    order = {name: number for number, (_, name, _) in enumerate(drawn)}
    rows.sort(key=lambda row: order[row["id"]])
    shown = {"folder": str(pairs), "rows": rows, "labels": LABELS, "total": total}
    page = render("review.html", title="Pairs to check", **shown)
    return page, len(rows), total


def _drawn(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def _rows(inputs: Inputs, chosen: set[str], pictures: Pictures) -> list[dict[str, Any]]:
    pairs = inputs.pairs
    tags = inputs.table("tags").select(["relation", "frame"]).to_pylist()
    sources = inputs.captions.column("source").to_pylist()
    return [
        {
            "id": name,
            "source": sources[pairs.rows[number]],
            "question": pairs.questions[number],
            "answer": pairs.answers[number],
            "caption": pairs.captions[pairs.rows[number]],
            **tags[number],
            "picture": _picture(pictures, inputs, pairs.rows[number]),
        }
        for number, name in enumerate(pairs.ids)
        if name in chosen
    ]


def _picture(pictures: Pictures, inputs: Inputs, row: int) -> Mapping[str, str]:
    """A picture as the page has it inside: a source, or why there is none."""
    found = pictures.of(inputs, row)
    if isinstance(found, str):
        return {"source": "", "problem": found}
    try:
        data, problem = thumbnail(Look(found.name, digest(found), found))
    except PictureError as error:
        return {"source": "", "problem": str(error)}
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" if data else ""
    return {"source": source, "problem": problem}


def rates(path: str | Path, pairs: str | Path = "") -> tuple[list[Rate], int]:
    """The share of each label in a CSV file that the page saved, and of all that are not right; and
    how many labelled pairs it leaves out, since they are not kept any more: rates are of pairs that
    are in the data set.

    Args:
        pairs: folder of `spare generate` that the labelled pairs are of.

    Raises:
        SpareError: it is no such file, has a label that is none, or one of another data set's
            pairs, or nothing that is kept is labelled.
    """
    from statsmodels.stats.proportion import proportion_confint

    of_pairs = _labels(Path(path))
    dropped = _dropped(of_pairs, pairs) if pairs else set()
    labels = [label for name, label in of_pairs.items() if name not in dropped]
    if not labels:
        raise SpareError(
            f"None of the {counted(len(dropped), 'labelled pair')} is kept any more in {pairs}; "
            f"`spare review {pairs}` draws others."
        )
    counts = Counter(labels)
    found = []
    wrong = sum(count for label, count in counts.items() if label not in GOOD)
    for label, count in (*((label, counts[label]) for label in LABELS), ("all faults", wrong)):
        low, high = proportion_confint(count, len(labels), method="wilson")
        share = 100 * count / len(labels)
        found.append(Rate(label, count, len(labels), share, 100 * float(low), 100 * float(high)))
    return found, len(dropped)


def _dropped(labels: Mapping[str, str], pairs: str | Path) -> set[str]:
    """Labelled pairs that are dropped. Raises SpareError if one is of another data set."""
    parts, _, _ = read_pipeline(pairs)
    left, dropped = set(labels), set()
    for part in parts:
        inputs = Inputs(Path(pairs), part)
        names, reasons = inputs.column("cut", "pair_id"), inputs.column("cut", "reason")
        dropped |= left.intersection(compress(names, reasons))
        left.difference_update(names)
    if left:
        raise SpareError(
            f"{min(left)!r} and {len(left) - 1} more of the labelled pairs are not in {pairs}: the "
            "labels are of other pairs."
            if len(left) > 1
            else f"The labelled pair {min(left)!r} is not in {pairs}."
        )
    return dropped


def _labels(path: Path) -> Mapping[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), set(reader.fieldnames or ())
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path) from None
    except (UnicodeDecodeError, csv.Error):
        raise DataError("is no CSV file; the page saves such a file", path) from None
    if {"id", "label"} - columns:
        raise DataError("has no columns id and label; the page saves such a file", path)
    labels: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        label = (row["label"] or "").strip()
        if not label:
            continue
        if label not in LABELS:
            raise DataError(f"{label!r} is none of {', '.join(LABELS)}", path, number)
        if labels.setdefault(row["id"], label) != label:
            raise DataError(f"{row['id']} has two labels", path, number)
    if not labels:
        raise DataError("no pair in it has a label", path)
    return labels
