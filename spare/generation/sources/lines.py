"""JSON Lines files of captions: read once, line by line, with a digest of what was read."""

from __future__ import annotations

import hashlib
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spare.errors import DataError
from spare.generation.captions import Notes


def read_objects(
    path: Path, columns: Sequence[str], text: str, notes: Notes
) -> Iterator[dict[str, Any]]:
    """The objects of a file that have all the columns, each a text or a whole number, and `text` a
    text (or null, which is an empty caption); other lines are counted and told. A mark of byte
    order in front of the first line is passed over.

    Raises:
        DataError: the file cannot be read, or not one of its lines is what it should be.
    """
    import orjson

    digest = hashlib.sha256()
    good = number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                digest.update(line)
                if not line.strip():
                    continue
                notes.counts["rows"] += 1
                try:
                    value = orjson.loads(line.removeprefix(BOM_UTF8) if number == 1 else line)
                except orjson.JSONDecodeError:
                    notes.fault("bad JSON", f"{path}, line {number}: no JSON.")
                    continue
                missing = [
                    name for name in columns if not isinstance(value, dict) or name not in value
                ]
                if missing:
                    notes.fault(
                        "lines without a field", f"{path}, line {number}: {missing[0]} is missing."
                    )
                    continue
                if value[text] is None:
                    value[text] = ""
                if not isinstance(value[text], str):
                    told = f"{path}, line {number}: its {text} is no text."
                    notes.fault("captions that are no text", told)
                    continue
                strange = [name for name in columns if not isinstance(value[name], str | int)]
                if strange:
                    told = f"its {strange[0]} is no text and no whole number."
                    notes.fault("fields that are no text", f"{path}, line {number}: {told}")
                    continue
                good += 1
                yield value
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path) from None
    if number and not good:
        told = f"no line is an object with {', '.join(columns)}"
        raise DataError(told, path, remedy="Fetch it again.")
    notes.read_whole(path, digest.hexdigest())
