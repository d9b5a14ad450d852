"""Reading published files: rows with their place for error messages, pictures as references.

Every reader streams, and every fault becomes a `DataError` that names the file and the row. No
reader skips, repairs or guesses.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spare.errors import DataError
from spare.images import MAX_CELL, ParquetCell, Picture, TableCell

PANDAS_NA = frozenset(
    [
        "",
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
    ]
)
"""Cells that pandas >= 2 reads as missing. Only rule sets that copy a pandas reader may use it;
exact and case-sensitive."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a published file.

    Attributes:
        file: where it stands, number: its 1-based row (the header not counted; JSON Lines: the
            line).
        values: column -> value as stored (text for TSV and CSV).
        cells: picture columns -> where the encoded picture lies. Their text is not in `values`.
    """

    file: Path
    number: int
    values: Mapping[str, Any]
    cells: Mapping[str, TableCell | ParquetCell]

    def error(self, problem: str, remedy: str = "") -> DataError:
        return DataError(problem, self.file, self.number, remedy)

    def text(self, column: str) -> str:
        """The column's text; a missing, null or non-text value is an error that names file, row and
        column."""
        value = self.values.get(column)
        if not isinstance(value, str):
            found = "missing" if column not in self.values else f"{type(value).__name__} {value!r}"
            raise self.error(f"column {column!r} should be text but is {found}")
        return value

    def picture(self, column: str, item: int = -1) -> Picture:
        """A reference to the picture in `column`."""
        cell = self.cells.get(column)
        if cell is None:
            raise self.error(f"there is no picture in column {column!r}")
        if isinstance(cell, ParquetCell) and item >= 0:
            cell = ParquetCell(cell.row_group, cell.row, cell.column, item)
        return Picture(self.file, f"{self.file.name} row {self.number}", cell)


def locate(data: Path, folders: Sequence[str], names: Sequence[str]) -> Path | None:
    """The first file or folder called one of `names` under `data`/one of `folders`; None if there
    is none.

    `folders` are tried in order, then `data` itself, so that a user may point `--data` at one
    benchmark's folder.
    """
    for folder in [*folders, "."]:
        for name in names:
            path = data / folder / name
            if path.exists():
                return path
    return None


def not_found(task: str, data: Path, folders: Sequence[str], names: Sequence[str]) -> DataError:
    """The error to raise when `locate` found nothing."""
    places = ", ".join(str(data / folder) for folder in [*folders, "."])
    return DataError(
        f"no files of {task} found: looked for {' or '.join(names)} in {places}",
        remedy=f"`spare tasks {task}` says which files are wanted; "
        f"`spare prepare {task} --data {data}` fetches what may be fetched.",
    )


def find_picture(folders: Sequence[Path], name: str, row: Row) -> Picture:
    """The picture called `name` in the first of `folders` that has it.

    A name that climbs out of its folder or is absolute is an error. A picture that is nowhere is
    still returned (in the first folder), so that it costs its own sample when it is opened, and no
    others.
    """
    if (
        not name
        or Path(name).is_absolute()
        or ".." in Path(name).parts
        or "\\" in name
        or "\0" in name
    ):
        raise row.error(f"picture name {name!r} leads out of the data folder")
    for folder in folders:
        path = folder / name
        if path.is_file():
            return Picture(path, name)
    if not folders:
        raise row.error(f"no picture folder was found for {name!r}")
    return Picture(folders[0] / name, name)


def read_json_lines(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a JSON Lines file; blank lines are passed over. Each must be an object with all of
    `columns`."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    value = json.loads(line)
                except ValueError as error:
                    raise DataError(f"not JSON ({error})", path, number, _TORN) from None
                yield _row(path, number, value, columns)


def read_json(path: Path, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of a JSON file that holds one list. Without `columns`, elements of any type come as
    values["value"]."""
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"not JSON ({error})", path, remedy=_TORN) from None
    if not isinstance(values, list):
        raise DataError(f"a list was expected, but the file holds a {type(values).__name__}", path)
    for number, value in enumerate(values, 1):
        yield _row(path, number, value if columns else {"value": value}, columns)


def _row(path: Path, number: int, value: Any, columns: Sequence[str]) -> Row:
    if not isinstance(value, dict):
        raise DataError(
            f"an object was expected, but this is a {type(value).__name__}", path, number
        )
    _require(path, columns, value, number)
    return Row(path, number, value, {})


def read_table(
    path: Path, columns: Sequence[str], pictures: Sequence[str] = (), delimiter: str = "\t"
) -> Iterator[Row]:
    """Rows of a TSV or CSV file with a header line; every cell is text, exactly as stored.

    Args:
        columns: columns that must be there.
        pictures: columns of base64 pictures (used if there); their cells become references.
    """
    csv.field_size_limit(MAX_CELL)
    with path.open("rb") as file:
        lines = _Lines(file, path)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            header = [name.removeprefix("\ufeff") for name in header]
            _require(path, columns, header)
            for number, start, cells in _records(reader, lines):
                if len(cells) != len(header):
                    raise DataError(
                        f"{len(cells)} cells where the header has {len(header)}",
                        path,
                        number,
                        _TORN,
                    )
                values = dict(zip(header, cells, strict=True))
                found: dict[str, TableCell | ParquetCell] = {}
                for name in pictures:
                    # 64 characters or fewer are not a picture but, in VLMEvalKit's files, another
                    # row's index.
                    if len(values.get(name, "")) > 64:
                        del values[name]
                        found[name] = TableCell(
                            start, lines.position - start, header.index(name), delimiter
                        )
                yield Row(path, number, values, found)
        except csv.Error as error:
            raise DataError(f"not a table ({error})", path, lines.number, _TORN) from None


class _Lines:
    """The lines of a binary file as text, with the byte position behind the last line handed
    out."""

    def __init__(self, file: Any, path: Path) -> None:
        self.file, self.path, self.position, self.number = file, path, 0, 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line: bytes = self.file.readline()
        if not line:
            raise StopIteration
        self.position += len(line)
        self.number += 1
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"not UTF-8 text ({error})", self.path, self.number, _TORN) from None


def _records(reader: Any, lines: _Lines) -> Iterator[tuple[int, int, list[str]]]:
    number = 0
    while True:
        start = lines.position
        cells = next(reader, None)
        if cells is None:
            return
        if cells:  # a blank line is no record
            number += 1
            yield number, start, cells


def read_parquet(
    paths: Sequence[Path], columns: Sequence[str], pictures: Sequence[str] = ()
) -> Iterator[Row]:
    """Rows of parquet shards in the order given. Picture columns become references and are not
    unpacked here."""
    import pyarrow
    import pyarrow.parquet

    for path in paths:
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                names = file.schema_arrow.names
                _require(path, columns, names)
                plain = [name for name in names if name not in pictures]
                number = 0
                for group in range(file.num_row_groups):
                    for index, values in enumerate(
                        file.read_row_group(group, columns=plain).to_pylist()
                    ):
                        number += 1
                        cells = {n: ParquetCell(group, index, n) for n in pictures if n in names}
                        yield Row(path, number, values, cells)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"not a whole parquet file ({error})", path, remedy=_TORN) from None


def _require(path: Path, columns: Sequence[str], found: Any, number: int | None = None) -> None:
    missing = [name for name in columns if name not in found]
    if missing:
        raise DataError(
            f"column{'s' * (len(missing) > 1)} {', '.join(missing)} missing; "
            f"wanted {', '.join(columns)}; found {', '.join(map(str, found)) or 'nothing'}",
            path,
            number,
        )


_TORN = "The file may have been cut off: fetch it again."
