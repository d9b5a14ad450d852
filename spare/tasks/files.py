"""Reading published files: rows with their place for error messages, pictures as references.

Every reader streams, and every fault becomes a `DataError` that names the file and the row. No
reader skips, repairs or guesses.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

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
        """A reference to the picture in `column`, or to the one at `item` of those it lists."""
        cell = self.cells.get(column)
        if cell is None:
            raise self.error(f"there is no picture in column {column!r}")
        if item >= 0:
            cell = replace(cell, item=item)
        return Picture(self.file, f"{self.file.name} row {self.number}", cell)

    def pictures(self, column: str) -> tuple[Picture, ...]:
        """References to all pictures in a table's `column`, which may list several."""
        cell = self.cells.get(column)
        listed = cell.items if isinstance(cell, TableCell) else 0
        if not listed:
            return (self.picture(column),)
        return tuple(self.picture(column, item) for item in range(listed))


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


def locate_shards(data: Path, folders: Sequence[str], patterns: Sequence[str]) -> tuple[Path, ...]:
    """The files in the first of `folders` (under `data`) that has any, by the first of the glob
    `patterns` that matches any, in the order of their names; empty if there are none.

    Raises DataError if names like "test-00000-of-00002.parquet" promise more files than are there.
    """
    for folder in folders:
        for pattern in patterns:
            found = tuple(sorted(path for path in (data / folder).glob(pattern) if path.is_file()))
            if found:
                _require_all_shards(found)
                return found
    return ()


def _require_all_shards(found: Sequence[Path]) -> None:
    numbers = [re.search(r"-(\d+)-of-(\d+)\.", path.name) for path in found]
    promised = {number[2] for number in numbers if number}
    if promised and (len(promised) > 1 or int(promised.pop()) != len(found)):
        raise DataError(
            f"only these files are there: {', '.join(path.name for path in found)}",
            found[0].parent,
            remedy="Their names promise others: fetch those too, and keep one revision only.",
        )


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
    climbs = name[:1] in ("", "/") or ".." in name.split("/")
    if climbs or "\\" in name or "\0" in name:
        raise row.error(f"picture name {name!r} leads out of the data folder")
    if any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in name.split("/")):
        raise row.error(
            f"picture {name[:60]!r} cannot be a file name (it is too long)",
            "Base64 pictures are read from the columns of TSV and CSV files.",
        )
    for folder in folders:
        path = folder / name
        if os.path.isfile(path):  # Path.is_file raises for odd names
            return Picture(path, name)
    if not folders:
        raise row.error(f"no picture folder was found for {name!r}")
    return Picture(folders[0] / name, name)


def read_json_lines(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a JSON Lines file; blank lines are passed over. Each must be an object with all of
    `columns`."""
    with _reading(path), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(f"not JSON ({error})", path, number, _TORN) from None
                yield _row(path, number, value, columns)


def json_value(path: Path) -> Any:
    """What a JSON file holds."""
    try:
        with _reading(path):
            return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})", path, remedy=_TORN) from None


def read_json(path: Path, columns: Sequence[str] = (), under: str = "") -> Iterator[Row]:
    """Rows of a JSON file that holds one list, or an object with the list under the name `under`.
    Without `columns`, elements of any type come as values["value"]."""
    values = json_value(path)
    if under:
        if not isinstance(values, dict) or under not in values:
            found = ", ".join([*values][:9]) if isinstance(values, dict) else type(values).__name__
            raise DataError(f"an object with {under!r} was expected, but it holds {found}", path)
        values = values[under]
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
    path: Path,
    columns: Sequence[str],
    pictures: Sequence[str] = (),
    delimiter: str = "\t",
    index: str = "",
) -> Iterator[Row]:
    """Rows of a TSV or CSV file with a header line; every cell is text, exactly as stored.

    Args:
        columns: columns that must be there.
        pictures: columns of base64 pictures (used if there); their cells become references.
        index: column that names the rows. If given, a short picture cell is taken as VLMEvalKit
            takes it: as the name of the row that holds the picture, wherever that row stands.
            Without it, a short cell stays among the values.
    """
    csv.field_size_limit(MAX_CELL)
    number = -1  # of the last whole record; the header is record 0
    shared: dict[str, Mapping[str, TableCell | ParquetCell]] = {}
    with _reading(path), path.open("rb", buffering=2**20) as file:
        lines = _Lines(file)
        records = _records(lines, delimiter)
        try:
            header = next(records, (0, []))[1]
            _require(path, columns, header)
            _require_distinct(path, header)
            number = 0
            for start, cells in records:
                if len(cells) != len(header):
                    problem = f"{len(cells)} cells where the header has {len(header)}"
                    raise DataError(problem, path, number + 1, _TORN)
                number += 1
                row = Row(path, number, dict(zip(header, cells, strict=True)), {})
                length = lines.position - start
                for name in pictures:
                    text = row.values.get(name, "")
                    # Base64 has no dot; the end of a long file name has.
                    if len(text) > LONGEST_REFERENCE and "." not in text[-6:]:
                        items = text.count(",") + 1 if text.startswith("[") else 0
                        cell = TableCell(start, length, header.index(name), delimiter, items)
                        row = _with_cell(row, name, cell)
                    elif text and index:
                        if name not in shared:
                            shared[name] = _picture_cells(path, name, delimiter, index)
                        if text not in shared[name]:
                            raise row.error(
                                f"{name} {text!r} is neither a picture nor the {index} of a row "
                                "with one",
                                _TORN,
                            )
                        row = _with_cell(row, name, shared[name][text])
                yield row
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"not a table ({error})", path, number + 1 or None, _TORN) from None


LONGEST_REFERENCE = 64
"""Characters in a cell that VLMEvalKit takes as another row's index; a longer one is a picture."""


def _with_cell(row: Row, name: str, cell: TableCell | ParquetCell) -> Row:
    values = {column: value for column, value in row.values.items() if column != name}
    return Row(row.file, row.number, values, {**row.cells, name: cell})


def _picture_cells(
    path: Path, name: str, delimiter: str, index: str
) -> Mapping[str, TableCell | ParquetCell]:
    cells: dict[str, TableCell | ParquetCell] = {}
    for row in read_table(path, (index, name), (name,), delimiter):
        if name in row.cells:
            if row.text(index) in cells:
                raise row.error(f"{index} {row.text(index)!r} is that of an earlier row too")
            cells[row.text(index)] = row.cells[name]
    return cells


class _Lines:
    """The lines of a UTF-8 file, with the byte position behind the last one handed out."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.position = file, 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self.file.readline()
        if not line:
            raise StopIteration
        self.position += len(line)
        return line.decode("utf-8")


def _records(lines: _Lines, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Byte position and cells of every record; a blank line is none."""
    while True:
        start = lines.position
        line = next(lines, None)
        if line is None:
            return
        if start == 0:
            line = line.removeprefix("\ufeff")  # the mark that Excel puts first
        bare = line.rstrip("\r\n")
        if '"' in bare or "\r" in bare:
            # Quoted cells may go on over line ends: the csv module takes the lines that it needs.
            whole = itertools.chain([line], lines)
            yield start, next(csv.reader(whole, delimiter=delimiter, strict=True))
        elif bare:
            # Nothing to interpret, so nothing to look at character by character: this is what
            # makes gigabytes of base64 pass at the speed of memory.
            yield start, bare.split(delimiter)


def read_parquet(
    paths: Sequence[Path],
    columns: Sequence[str],
    pictures: Sequence[str] = (),
    base64: bool = False,
) -> Iterator[Row]:
    """Rows of parquet shards in the order given. Picture columns become references and are not
    unpacked here; one that holds text (a file name) is a column like any other, unless the text is
    said to be `base64`. The `path` that the
    hub's picture columns carry beside the bytes is the value "<column>.path"; a row without that
    value has no picture there."""
    import pyarrow
    import pyarrow.parquet

    for path in paths:
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                schema = file.schema_arrow
                _require(path, columns, schema.names)
                _require_distinct(path, schema.names)
                types = {name: schema.field(name).type for name in schema.names}
                stored = [
                    name
                    for name in pictures
                    if name in types and (base64 or not _is_text(types[name]))
                ]
                named = [name for name in stored if _has_path(types[name])]
                plain = [name for name in schema.names if name not in stored]
                number = 0
                for group in range(file.num_row_groups):
                    wanted = [*plain, *(f"{name}.path" for name in named)]
                    for index, values in enumerate(
                        file.read_row_group(group, columns=wanted).to_pylist()
                    ):
                        number += 1
                        for name in named:
                            if (beside := values.pop(name)) is not None:
                                values[f"{name}.path"] = beside.get("path")
                        cells = {name: ParquetCell(group, index, name) for name in stored}
                        yield Row(path, number, values, cells)
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"not a whole parquet file ({error})", path, remedy=_TORN) from None


def _is_text(kind: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))


def _has_path(kind: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_struct(kind)) and kind.get_field_index("path") >= 0


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror})", path) from None


def _require_distinct(path: Path, header: Sequence[str]) -> None:
    doubled = {name for name in header if name and header.count(name) > 1}
    if doubled:
        problem = f"the header has {', '.join(sorted(doubled))} more than once"
        raise DataError(problem, path, remedy="Rename or remove one.")


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
