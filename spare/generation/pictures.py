"""The pictures of captions: fetched ones in a store, the others where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spare.generation.stages import Inputs
from spare.images import Picture


class Pictures:
    """Finds pictures.

    Args:
        blobs: the store of `spare images`; "" if there is none.
    """

    def __init__(self, blobs: str) -> None:
        self._blobs = Path(blobs) if blobs else None
        self._columns: tuple[Path, list[dict[str, Any]]] | None = None
        self._fetched: dict[tuple[str, str], Any] = {}
        if self._blobs:
            from spare.generation.images import picture_table

            self._fetched = dict(picture_table(self._blobs))

    def of(self, inputs: Inputs, row: int) -> Picture | str:
        """The picture of a caption by its row, or a sentence about why there is none."""
        if self._columns is None or self._columns[0] != inputs.part.path:
            columns = inputs.captions.select(["image_kind", "image", "image_key"]).to_pylist()
            self._columns = inputs.part.path, columns
        one = self._columns[1][row]
        kind, image, name = one["image_kind"], one["image"], one["image_key"]
        fetched = self._fetched.get((kind, image))
        if fetched is not None:
            if fetched.status != "ok":
                return f"Picture {name} could not be had: {fetched.error}"
            return Picture(Path(fetched.path), name)
        if kind == "path":
            return Picture(inputs.part.data / image, name)
        if not kind:
            return f"Picture {name} is not there; its set is given out by request."
        return f"Picture {name} was not fetched; `spare images` does, and --blobs names its store."
