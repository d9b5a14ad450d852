"""Hyper-detailed captions as every source's files are turned into them: one record, one schema.

    spare captions docci --data DIR --out captions

writes `captions/docci/00000.parquet` and so on, and `captions/docci/manifest.json` with what was
read and counted. The manifest is written last: a folder that has one is whole.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.disk import locked, write_json
from spare.errors import DataError, SpareError, counted
from spare.generation import shards

if TYPE_CHECKING:
    import pyarrow

SHARD = 2_000
"""Captions in a shard: what a kill can cost of the stages that no model takes part in."""

NOTED = 5
"""Faults of a kind that are told one by one; all are counted."""

Kind = str
"""Where a picture is: "path" (below the manifest's `data`), "tar" (archive!member, there), "url",
or "" if it must be asked for by a form and is not there."""


@dataclass(frozen=True, slots=True)
class Caption:
    """One person's description of one picture.

    Attributes:
        source: docci, localized-narratives or pixmo-cap; subset: the picture set inside it.
        split: as the file's name says it.
        image_key: what the source calls the picture; with source and subset it is unique.
        image_kind, image: where the picture is; see `Kind`.
        annotator: who described it, where several people did.
    """

    source: str
    subset: str
    split: str
    image_key: str
    image_kind: Kind
    image: str
    caption: str
    annotator: str = ""

    @property
    def id(self) -> str:
        """Identity: the same words by the same person about the same picture, 16 hex digits."""
        parts = (self.source, self.subset, self.split, self.image_key, self.annotator, self.caption)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Licence:
    """What binds a row: of its words and of its picture, and whether pixels may be passed on."""

    text: str
    image: str
    redistributable: bool


@dataclass(slots=True)
class Notes:
    """What was read and what was wrong with it, filled in while a source is read.

    Attributes:
        files: path -> SHA-256 of its bytes, of the files that were read to their end.
        counts: what -> how often.
        faults: sentences, the first few of each kind.
        on_event: receives a line about each file.
    """

    files: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    on_event: Callable[[str], None] = lambda event: None

    def read_whole(self, path: Path, digest: str) -> None:
        """Note a file that was read to its end, and say so."""
        self.files[str(path)] = digest
        self.on_event(f"{path}: {counted(self.counts['rows'], 'row')} so far")

    def fault(self, kind: str, sentence: str) -> None:
        """Count a row that gives no caption, and say why."""
        self.counts[kind] += 1
        if self.counts[kind] <= NOTED:
            self.faults.append(sentence)


SHARD_NAME = re.compile(r"\d{5}\.parquet")


@dataclass(frozen=True, slots=True)
class Source:
    """Where captions come from.

    Attributes:
        read: (folder with the published files, notes) -> captions. Raises DataError if there are
            none of its files.
        licences: subset -> what binds it.
    """

    name: str
    about: str
    read: Callable[[Path, Notes], Iterator[Caption]]
    licences: Mapping[str, Licence]


SCHEMA_FIELDS = (
    ("caption_id", "string"),
    ("source", "string"),
    ("subset", "string"),
    ("split", "string"),
    ("image_key", "string"),
    ("image_kind", "string"),
    ("image", "string"),
    ("annotator", "string"),
    ("caption", "string"),
    ("words", "int32"),
    ("text_license", "string"),
    ("image_license", "string"),
    ("image_redistributable", "bool_"),
)


def schema() -> pyarrow.Schema:
    """Columns of a shard of captions."""
    import pyarrow

    return pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in SCHEMA_FIELDS])


def captions(
    source: str,
    *,
    data: str | Path,
    out: str | Path,
    on_event: Callable[[str], None] = lambda event: None,
) -> dict[str, Any]:
    """Read a source's published files into shards of one schema, and return the manifest.

    Args:
        source: a name of `sources.SOURCES`.
        data: folder with the published files.
        out: folder for captions of any number of sources; this one gets a folder in it.
        on_event: receives a line about each file.

    Raises:
        SpareError: there is no such source, none of its files is there, or the disk is full.
    """
    from spare.generation.sources import load_source

    chosen = load_source(source)
    data, folder = Path(data), Path(out) / source
    if not data.is_dir():
        raise SpareError(f"There is no folder {data}; --data names the one with the files.")
    _require_ours(folder, data)
    with locked(folder):
        for old in folder.glob("*.parquet"):
            old.unlink()
        (folder / "manifest.json").unlink(missing_ok=True)
        notes = Notes(on_event=on_event)
        rows = _distinct(chosen.read(data, notes), notes)
        number = 0
        while part := list(islice(rows, SHARD)):
            table = _table(part, chosen.licences)
            mark = shards.remade([(row.id, row.image_kind, row.image) for row in part])
            shards.write(folder / f"{number:05d}.parquet", table, {"fingerprint": mark})
            number += 1
        if not number:
            told = " ".join(notes.faults)
            raise DataError(f"{chosen.name} has no caption in {data}. {told}".rstrip(". "))
        manifest = {
            "format": 1,
            "source": source,
            "data": str(data.resolve()),
            "files": notes.files,
            "counts": {**notes.counts, "captions": notes.counts["captions"]},
            "faults": notes.faults,
            "shards": number,
        }
        write_json(folder / "manifest.json", manifest)
    return manifest


def _require_ours(folder: Path, data: Path) -> None:
    """Raises SpareError if a folder for captions holds something else, which would be replaced."""
    strange = [
        path
        for path in folder.glob("*.parquet")
        if not (SHARD_NAME.fullmatch(path.name) and shards.is_ours(path))
    ]
    if folder.resolve() == data.resolve() or strange:
        what = "the source's own files" if not strange else f"{strange[0].name} of something else"
        raise SpareError(f"{folder} holds {what}; choose another --out.")


def _distinct(rows: Iterable[Caption], notes: Notes) -> Iterator[Caption]:
    """Captions that have words, each once."""
    seen: set[int] = set()
    for row in rows:
        if not row.caption.strip():
            notes.fault("empty", f"{row.subset} {row.split}, picture {row.image_key}: no caption.")
            continue
        identity = int(row.id, 16)  # 36 bytes; the text would take 65
        if identity in seen:
            notes.counts["duplicates"] += 1
            continue
        seen.add(identity)
        notes.counts["captions"] += 1
        notes.counts["without a picture"] += not row.image_kind
        yield row


def _table(rows: Iterable[Caption], licences: Mapping[str, Licence]) -> pyarrow.Table:
    import pyarrow

    lines = []
    for row in rows:
        licence = licences[row.subset]
        lines.append(
            {
                "caption_id": row.id,
                "source": row.source,
                "subset": row.subset,
                "split": row.split,
                "image_key": row.image_key,
                "image_kind": row.image_kind,
                "image": row.image,
                "annotator": row.annotator,
                "caption": row.caption,
                "words": len(row.caption.split()),
                "text_license": licence.text,
                "image_license": licence.image,
                "image_redistributable": licence.redistributable,
            }
        )
    return pyarrow.Table.from_pylist(lines, schema=schema())


@dataclass(frozen=True, slots=True)
class Part:
    """A shard of captions and the source that it belongs to.

    Attributes:
        name: "docci-00000", unique among the parts of one call.
        data: folder that its "path" and "tar" pictures lie in.
    """

    name: str
    path: Path
    data: Path


def find_parts(folder: str | Path) -> list[Part]:
    """The shards below a folder of captions, or of one source.

    Raises:
        SpareError: there are none, or a source was not read to its end.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SpareError(f"There is no folder {folder}; `spare captions` makes one.")
    manifests = sorted([*folder.glob("manifest.json"), *folder.glob("*/manifest.json")])
    halves = {path.parent for path in [*folder.glob("*.parquet"), *folder.glob("*/*.parquet")]}
    halves -= {path.parent for path in manifests}
    if halves:
        raise SpareError(f"{min(halves)} was not read to its end: run its `spare captions` again.")
    parts = []
    for path in manifests:
        manifest = read_manifest(path)
        there = len(list(path.parent.glob("*.parquet")))
        if there != manifest["shards"]:
            raise SpareError(
                f"{path.parent} has {there} of its {counted(manifest['shards'], 'shard')}: run its "
                "`spare captions` again."
            )
        parts += [
            Part(f"{manifest['source']}-{shard.stem}", shard, Path(manifest["data"]))
            for shard in sorted(path.parent.glob("*.parquet"))
        ]
    if not parts:
        raise SpareError(f"{folder} holds no captions; `spare captions` writes them.")
    return parts


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest of captions. Raises DataError if it is none."""
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise DataError("cannot be read", path, remedy="Run its `spare captions` again.") from None
    if not isinstance(manifest, dict) or {"source", "data", "shards"} - manifest.keys():
        raise DataError(
            "is no manifest of captions", path, remedy="Run its `spare captions` again."
        )
    return manifest
