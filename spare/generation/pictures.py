"""The pictures of captions: fetched ones in a store, the others where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from spare.errors import DataError
from spare.generation import shards
from spare.generation.stages import Inputs
from spare.images import Picture

TABLE = "pictures.parquet"
"""What `spare images` writes beside the pictures: what became of each."""


class Fetched(NamedTuple):
    """What became of a picture that was to be had.

    Attributes:
        status: "ok", or why it is not there; error: the same as a sentence.
        path: where its bytes are now.
        sha256: of its bytes; perceptual_hash: 16 hex digits; "" if it is not there.
    """

    status: str
    path: str
    sha256: str
    perceptual_hash: str
    error: str


def picture_table(blobs: Path) -> dict[tuple[str, str], Fetched]:
    """(kind, where) -> what became of it, for all pictures of a store. Raises DataError if it is
    none."""
    path = blobs / TABLE
    if not path.is_file():
        raise DataError("is not there", path, remedy="`spare images` writes it.")
    columns = ["image_kind", "image", *Fetched._fields]
    table = shards.read(path, columns, "spare images")
    names = [table.column(name).to_pylist() for name in columns]
    return {
        # One in the store is named from there, so that the store can be moved.
        (kind, image): Fetched(status, str(blobs / place) if place else "", *rest)
        for kind, image, status, place, *rest in zip(*names, strict=True)
    }


class Pictures:
    """Finds pictures.

    Args:
        blobs: the store of `spare images`; "" if there is none.
    """

    def __init__(self, blobs: str) -> None:
        self._columns: tuple[Path, list[dict[str, Any]]] | None = None
        self._fetched = picture_table(Path(blobs)) if blobs else {}

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
            return f"Picture {name} is not below the folder that its captions were read from."
        return f"Picture {name} was not fetched; `spare images` does, and --blobs names its store."
