"""Pairs about pictures that a benchmark asks about: no model may be trained on those.

Localized Narratives describes nearly every picture of COCO, and VSR, parts of What's Up and
3DSRBench ask about COCO pictures. A picture is known by its COCO number, by the SHA-256 of its
bytes, and by a perceptual hash, which also finds a copy that was scaled or saved again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from spare.generation.models import Models
from spare.generation.stages import Inputs, Options, Work

if TYPE_CHECKING:
    import pyarrow

VERSION = 3
NEEDS = ("generate",)


def wanted(options: Options) -> bool:
    """Unless it is switched off, and the user names no pictures."""
    return options.benchmarks != "none" or bool(options.exclude)


def settings(options: Options) -> Mapping[str, Any]:
    """What the output depends on."""
    from spare.generation.benchmarks import digest_of

    return {"benchmarks": digest_of(options), "blobs": options.blobs}


def open_stage(options: Options, models: Models) -> Work:
    """What does a shard: pair_id, benchmark (the tasks whose picture it is, with commas; before
    them "excluded" if the user's list has it; "" if none), by (how the first is known: "coco id",
    "sha256", "perceptual hash", or the list's line)."""
    from spare.generation.benchmarks import Known

    known = Known(options)
    models.checked = {name: known.checked[name] for name in sorted(known.checked)}

    def work(inputs: Inputs, on_row: Callable[[int], None]) -> pyarrow.Table:
        import pyarrow

        pairs = inputs.pairs
        by_row: dict[int, tuple[str, str]] = {}
        for row in dict.fromkeys(pairs.rows):
            by_row[row] = known.find(inputs, row)
            on_row(row + 1)
        found = [by_row[row] for row in pairs.rows]
        text = pyarrow.string()
        return pyarrow.table(
            {
                "pair_id": pyarrow.array(pairs.ids, text),
                "benchmark": pyarrow.array([name for name, _ in found], text),
                "by": pyarrow.array([how for _, how in found], text),
            }
        )

    return work
