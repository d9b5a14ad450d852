"""The three sources of captions, one file each, as their publishers lay them out."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from spare.errors import SpareError
from spare.generation.captions import Source

SOURCES: Mapping[str, str] = {
    "docci": "spare.generation.sources.docci",
    "localized-narratives": "spare.generation.sources.localized_narratives",
    "pixmo-cap": "spare.generation.sources.pixmo_cap",
}
"""Name -> module, which has a `SOURCE`."""


def load_source(name: str) -> Source:
    """A source by name. Raises SpareError if there is none."""
    if name not in SOURCES:
        raise SpareError(
            f"There is no source of captions {name!r}; there are {', '.join(SOURCES)}."
        )
    source: Source = importlib.import_module(SOURCES[name]).SOURCE
    return source
