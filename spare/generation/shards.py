"""Parquet shards: written whole or not at all, each with the fingerprint of what it was made of.

A shard is as new as its fingerprint: that of the settings and of the shards that it was made from.
So a stage that was stopped goes on with the first shard that is not there, one whose settings have
changed is done again, and so is everything behind it; nothing else is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.disk import replaced
from spare.errors import DataError

if TYPE_CHECKING:
    import pyarrow


MARK = b"spare"
"""Where a shard's own words stand in the metadata of its file."""


def write(
    path: Path,
    table: pyarrow.Table,
    facts: Mapping[str, Any] | None = None,
    row_group: int | None = None,
) -> None:
    """Write a shard and what it says about itself. Raises SpareError if the disk is full.

    Args:
        row_group: rows that have to be read together.
    """
    import pyarrow.parquet

    told = {MARK: json.dumps(dict(facts or {}), sort_keys=True).encode()}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **told})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as file:
        pyarrow.parquet.write_table(
            table, file, compression="zstd", write_page_checksum=True, row_group_size=row_group
        )


def facts(path: Path) -> dict[str, Any] | None:
    """What a shard says about itself; None if there is none, or a torn one."""
    import pyarrow
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_metadata(path).metadata or {}
        told: dict[str, Any] = json.loads(metadata.get(MARK, b"{}"))
    except (OSError, ValueError, pyarrow.ArrowException):
        return None
    return told


def fingerprint_of(path: Path) -> str | None:
    """What a shard was made of; None if there is none, or a torn one, or it is not whole in itself
    (questions without a reply, which the next call asks again)."""
    told = facts(path)
    return None if told is None or told.get("failed") else str(told.get("fingerprint", ""))


def contents_of(path: Path) -> str:
    """What a shard was made of, which of its questions have no reply, and a digest of what a model
    wrote, which may be something else the next time: the same for shards with the same rows. "" if
    there is none, or a torn one."""
    told = facts(path) or {}
    return "".join(str(told.get(name, "")) for name in ("fingerprint", "failed", "written"))


def is_fresh(path: Path, fingerprint: str) -> bool:
    """Whether a shard is there, made of just that, and whole: all of it is read and its checksums
    compared (4 s for the 3.4 million pairs of the paper). A damaged one is taken away."""
    if fingerprint_of(path) != fingerprint:
        return False
    try:
        read(path)
    except DataError:
        return False
    return True


def is_ours(path: Path) -> bool:
    """Whether a parquet file may be one of ours: it says so itself, or is torn and says nothing."""
    import pyarrow
    import pyarrow.parquet

    try:
        return MARK in (pyarrow.parquet.read_metadata(path).metadata or {})
    except (OSError, pyarrow.ArrowException):
        return True


def remade(*parts: Any) -> str:
    """A fingerprint of settings and of other fingerprints."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def read(
    path: Path, columns: Sequence[str] | None = None, writer: str = "spare generate"
) -> pyarrow.Table:
    """A shard's rows. `writer` is the command that writes it.

    Raises:
        DataError: it is not there or damaged; then it is taken away, so that it is made again.
    """
    import pyarrow.parquet

    wanted = None if columns is None else list(columns)
    with _whole(path, writer):
        return pyarrow.parquet.read_table(path, columns=wanted, page_checksum_verification=True)


def rows(path: Path, writer: str = "spare generate") -> int:
    """How many rows a shard has. Raises DataError as `read` does."""
    import pyarrow.parquet

    with _whole(path, writer):
        return int(pyarrow.parquet.read_metadata(path).num_rows)


@contextlib.contextmanager
def _whole(path: Path, writer: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except FileNotFoundError:
        raise DataError("is not there", path, remedy=f"Run `{writer}`, which writes it.") from None
    except (OSError, pyarrow.ArrowException):
        with contextlib.suppress(OSError):
            path.unlink()
        raise DataError(
            "was damaged and has been taken away",
            path,
            remedy=f"Run `{writer}` again, which writes it anew.",
        ) from None
