"""Question-answer pairs of a data set, and where their pictures are.

The data set is a folder of parquet files, as `spare publish` writes it. Needed are the columns
`question` and `answer`, and the picture: as bytes in the shards (`picture`, or `image` as
`datasets` keeps it), below a folder (`image_kind` "path"), or in the store of `spare images`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.errors import DataError, SpareError, counted
from spare.harness.models.digests import digest_files
from spare.images import ParquetCell, Picture

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

CARD = "README.md"


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs in the order of their files.

    Attributes:
        name: the folder's.
        digest: SHA-256 of the shards; card: of what is told about them, or "".
        questions, answers: texts of all pairs, in Arrow's memory.
        weights: how often a pair is to come in an epoch; 1 where the data set has no weights.
        picture_of: pair -> number of its picture.
        pictures: where each is; a sentence about why it is not to be had.
        places: number of a shard's first pair -> how a person finds it.
    """

    name: str
    digest: str
    card: str
    questions: pyarrow.ChunkedArray
    answers: pyarrow.ChunkedArray
    weights: Sequence[float]
    picture_of: Sequence[int]
    pictures: Sequence[Picture | str]
    places: Sequence[tuple[int, Path]]

    def __len__(self) -> int:
        return len(self.picture_of)

    def texts(self, pair: int) -> tuple[str, str]:
        """Question and answer."""
        return self.questions[pair].as_py(), self.answers[pair].as_py()

    def place(self, pair: int) -> tuple[Path, int]:
        """File and 1-based row of a pair."""
        first, path = max((one for one in self.places if one[0] <= pair), key=lambda one: one[0])
        return path, pair - first + 1


def read_pairs(data: str | Path, *, pictures: str | Path = "", blobs: str | Path = "") -> Pairs:
    """The pairs of a data set.

    Args:
        data: folder of `spare publish`, or of any parquet files with the columns.
        pictures: folder that pictures with a path are below.
        blobs: store of `spare images`.

    Raises:
        DataError: there are no pairs, a column is missing or of another kind, or a row is empty.
    """
    import pyarrow

    folder = Path(data)
    if not folder.is_dir():
        raise DataError("there is no such folder", folder, remedy="`spare publish` writes one.")
    files = sorted(folder.glob("data/*.parquet")) or sorted(folder.glob("*.parquet"))
    if not files:
        raise DataError("holds no parquet files", folder, remedy="`spare publish` writes them.")
    finder = _Finder(pictures, blobs)
    texts: dict[str, list[Any]] = {"question": [], "answer": []}
    weights: list[float] = []
    picture_of: list[int] = []
    places = []
    for path in files:
        places.append((len(picture_of), path))
        for table, cells in _read(path):
            for name, found in texts.items():
                found += table.column(name).chunks
            weights += (
                table.column("weight").to_pylist()
                if "weight" in table.column_names
                else [1.0] * len(table)
            )
            picture_of += finder.numbers(path, table, cells, len(picture_of) - places[-1][0])
    if not picture_of:
        raise DataError("has no pairs", folder)
    card = folder / CARD
    columns = {
        name: pyarrow.chunked_array(found, pyarrow.string()) for name, found in texts.items()
    }
    return Pairs(
        name=folder.resolve().name,
        digest=digest_files(files),
        card=digest_files([card]) if card.is_file() else "",
        questions=columns["question"],
        answers=columns["answer"],
        weights=weights,
        picture_of=picture_of,
        pictures=finder.places,
        places=places,
    )


def refuse_lost(pairs: Pairs, allowed: float) -> None:
    """Raises SpareError if too many pictures are not to be had: what is known of that without
    opening one.

    Args:
        allowed: share of the pictures that may be bad.
    """
    lost = [number for number, one in enumerate(pairs.pictures) if isinstance(one, str)]
    if not _any_is_there(pairs):
        lost = list(range(len(pairs.pictures)))
    if not lost:
        return
    first = pairs.pictures[lost[0]]
    reason = first if isinstance(first, str) else f"{first.path} does not exist."
    path, row = pairs.place(pairs.picture_of.index(lost[0]))
    refuse_many(len(lost), pairs, allowed, f"{path}, row {row}: {reason}")


def refuse_many(bad: int, pairs: Pairs, allowed: float, reason: str) -> None:
    """Raises SpareError if too many pictures cannot be used, or all.

    Args:
        allowed: share of the pictures that may be bad.
        reason: the sentence about the first of them.
    """
    total, remedy = len(pairs.pictures), ""
    if bad <= allowed * total and bad < total:
        return
    if bad < total:
        above = math.ceil(100 * bad / total) / 100
        remedy = f" To train without their pairs: --set bad_pictures={above}."
    elif not _any_is_there(pairs) and not any(isinstance(one, str) for one in pairs.pictures):
        remedy = " --pictures DIR names the folder of pictures, --blobs DIR a store of them."
    raise SpareError(f"{counted(bad, 'picture')} of {total:,} cannot be used. {reason}{remedy}")


def _any_is_there(pairs: Pairs) -> bool:
    """Whether there is a file for any picture."""
    return any(isinstance(one, Picture) and one.path.exists() for one in pairs.pictures)


KEYS = ("source", "subset", "image_key")
"""What names a picture."""


def _read(path: Path) -> Iterator[tuple[pyarrow.Table, list[ParquetCell | None]]]:
    """Row group by row group: the columns of text, and where the bytes of pictures lie."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            for name in ("question", "answer"):
                if name not in schema.names:
                    raise DataError(f"has no column {name}", path)
            held = next(
                (
                    name
                    for name in ("picture", "image")
                    if name in schema.names and pyarrow.types.is_struct(schema.field(name).type)
                ),
                "",
            )
            wanted = [*KEYS, "question", "answer", "weight", "image_kind"]
            wanted += ["image"] * (held != "image")
            names = [name for name in wanted if name in schema.names]
            before = 0
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=names)
                cells: list[ParquetCell | None] = [None] * len(table)
                if held:
                    # Of the pictures themselves only whether they are there.
                    there = file.read_row_group(group, columns=[f"{held}.path"]).column(0)
                    cells = [
                        ParquetCell(group, row, held) if one.is_valid else None
                        for row, one in enumerate(there)
                    ]
                yield _checked(path, table, before), cells
                before += len(table)
    except (OSError, pyarrow.ArrowException):
        raise DataError(
            "cannot be read as a whole parquet file", path, remedy="Publish it again."
        ) from None


def _checked(path: Path, table: pyarrow.Table, before: int) -> pyarrow.Table:
    """A row group, of whose file `before` rows come before, if all its texts and weights are."""
    import pyarrow
    import pyarrow.compute

    for name in ("question", "answer"):
        column = table.column(name).cast(pyarrow.string())
        trimmed = pyarrow.compute.utf8_trim_whitespace(column.fill_null(""))
        found = pyarrow.compute.index(trimmed, "").as_py()
        if found >= 0:
            row = before + found + 1
            raise DataError(f"its {name} is empty", path, row, "Leave the row out.")
        table = table.set_column(table.column_names.index(name), name, column)
    if "weight" in table.column_names:
        for number, weight in enumerate(table.column("weight").to_pylist()):
            if weight is None or not 0 <= weight < float("inf"):
                row = before + number + 1
                raise DataError("its weight is no number from 0", path, row)
    return table


class _Finder:
    """Numbers pictures as they come, and knows where each is."""

    def __init__(self, pictures: str | Path, blobs: str | Path) -> None:
        from spare.generation.pictures import picture_table

        self.folder = Path(pictures) if pictures else None
        self.fetched = picture_table(Path(blobs)) if blobs else {}
        self.places: list[Picture | str] = []
        self._numbers: dict[bytes, int] = {}

    def numbers(
        self, path: Path, table: pyarrow.Table, cells: Sequence[ParquetCell | None], before: int
    ) -> list[int]:
        """The pictures of a row group's rows, of which `before` rows of the file come before."""
        names = [name for name in (*KEYS, "image_kind", "image") if name in table.column_names]
        rows = table.select(names).to_pylist() if names else [{}] * len(table)
        return [
            self._number(path, row, cell, before + number + 1)
            for number, (row, cell) in enumerate(zip(rows, cells, strict=True))
        ]

    def _number(self, path: Path, row: dict[str, Any], cell: ParquetCell | None, line: int) -> int:
        named = [str(row[key]) for key in KEYS if row.get(key)]
        if not row.get("image_key"):
            named = [str(row.get("image") or "")] if row.get("image") else [str(path), str(line)]
        key = hashlib.sha256("\0".join(named).encode("utf-8", "surrogatepass")).digest()[:16]
        number = self._numbers.setdefault(key, len(self.places))
        if number == len(self.places):
            self.places.append(self._find(path, row, cell, line))
        elif cell and isinstance(self.places[number], str):
            self.places[number] = Picture(path, f"{path.name} row {line}", cell)
        return number

    def _find(
        self, path: Path, row: dict[str, Any], cell: ParquetCell | None, line: int
    ) -> Picture | str:
        name = row.get("image_key") or f"{path.name} row {line}"
        if cell:
            return Picture(path, f"{path.name} row {line}", cell)
        kind, image = row.get("image_kind") or "", row.get("image") or ""
        fetched = self.fetched.get((kind, image))
        if fetched is not None:
            if fetched.status == "ok":
                return Picture(Path(fetched.path), name)
            return f"Picture {name} could not be had: {fetched.error}"
        if image and kind in ("path", ""):
            if self.folder is not None:
                return Picture(self.folder / image, name)
            return f"Picture {name} is not in {path.name}; --pictures DIR names its folder."
        if image:
            return f"Picture {name} is not in {path.name}; --blobs DIR names the store of it."
        return f"Picture {name} is not in {path.name}, which does not say where it is."
