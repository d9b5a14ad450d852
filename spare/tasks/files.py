"""Reading published files: rows with their place for error messages, pictures as references.

Every reader streams, and every fault becomes a `DataError` that names the file and the row. No
reader skips, repairs or guesses. Published files are to be fetched again then; a user's own (those
read with `on_fault`) are to be mended, and their faults say how.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import re
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from spare.errors import DataError
from spare.images import MAX_CELL, ParquetCell, Picture, TableCell
from spare.tasks import mending
from spare.tasks.mending import OnFault

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
            if os.path.exists(path):  # Path.exists raises where a folder may not be searched
                return path
    return None


def locate_shards(data: Path, folders: Sequence[str], patterns: Sequence[str]) -> tuple[Path, ...]:
    """The files in the first of `folders` (under `data`) that has any, by the first of the glob
    `patterns` that matches any, in the order of their names; empty if there are none.

    Raises DataError if names like "test-00000-of-00002.parquet" promise more files than are there.
    """
    for folder in folders:
        if not os.path.isdir(data / folder):  # Path.glob raises where a folder may not be searched
            continue
        for pattern in patterns:
            found = tuple(sorted(filter(os.path.isfile, (data / folder).glob(pattern))))
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
    """The error to raise when `locate` found nothing: a line per place, none of them too long."""
    looked_for = f"no files of {task} found: looked for {' or '.join(names)} in"
    lines = textwrap.wrap(
        looked_for, 90, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    lines += [f"    {data / folder}" for folder in dict.fromkeys([*folders, "."])]
    lines += [
        f"`spare tasks {task}` says which files are wanted;",
        f"`spare prepare {task} --data {data}` fetches what may be fetched",
    ]
    return DataError("\n".join(lines))


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
            "Base64 pictures are read from TSV, CSV and JSONL files.",
        )
    for folder in folders:
        path = folder / name
        if os.path.isfile(path):  # Path.is_file raises for odd names
            return Picture(path, name)
    if not folders:
        raise row.error(f"no picture folder was found for {name!r}")
    return Picture(folders[0] / name, name)


def read_json_lines(
    path: Path,
    columns: Sequence[str],
    pictures: Sequence[str] = (),
    on_fault: OnFault | None = None,
) -> Iterator[Row]:
    """Rows of a JSON Lines file; blank lines are passed over. Each must be an object with all of
    `columns`.

    Args:
        pictures: columns that may hold base64 pictures or lists of them; those become references.
        on_fault: see `OnFault`. A first row that cannot be read is a fault of the whole file, and
            raised.
    """
    start, first = 0, True
    with _reading(path), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    value = _parse(line, path, number, own=on_fault is not None)
                    row = _row(path, number, value, columns, own=on_fault is not None)
                    row = _with_listed_pictures(row, line, start, pictures)
                except DataError as fault:
                    if on_fault is None or first:
                        raise
                    on_fault(fault)
                else:
                    yield row
                first = False
            start += len(line)


def json_value(path: Path) -> Any:
    """What a JSON file holds."""
    with _reading(path):
        return _parse(path.read_bytes(), path)


def read_json(
    path: Path, columns: Sequence[str] = (), under: str = "", on_fault: OnFault | None = None
) -> Iterator[Row]:
    """Rows of a JSON file that holds one list, or an object with the list under the name `under`.
    Without `columns`, elements of any type come as values["value"]. `on_fault`: as in
    `read_json_lines`."""
    own = on_fault is not None
    with _reading(path):
        values = _parse(path.read_bytes(), path, own=own)
    if under:
        if not isinstance(values, dict) or under not in values:
            found = ", ".join([*values][:9]) if isinstance(values, dict) else type(values).__name__
            raise DataError(f"an object with {under!r} was expected, but it holds {found}", path)
        values = values[under]
    if not isinstance(values, list):
        problem = f"a list was expected, but the file holds a {type(values).__name__}"
        raise DataError(problem, path, remedy="Put [ ] around the rows." if own else "")
    for number, value in enumerate(values, 1):
        try:
            row = _row(path, number, value if columns else {"value": value}, columns, own)
        except DataError as fault:
            if on_fault is None or number == 1:
                raise
            on_fault(fault)
        else:
            yield row


def _parse(data: bytes, path: Path, number: int | None = None, own: bool = False) -> Any:
    """What a JSON text says. Of a name that an object has twice, a user's file must not hide one;
    in published files the last one counts, as everywhere."""
    try:
        return json.loads(data, object_pairs_hook=_distinct if own else None)
    except UnicodeDecodeError as error:
        if own:
            raise mending.encoding_fault(path, number) from None
        raise DataError(f"not JSON ({error})", path, number, _TORN) from None
    except (ValueError, RecursionError) as error:
        remedy = mending.json_lines(number is not None) if own else _TORN
        raise DataError(f"not JSON ({error})", path, number, remedy) from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has {doubled!r} more than once")
    return values


def _row(path: Path, number: int, value: Any, columns: Sequence[str], own: bool = False) -> Row:
    if not isinstance(value, dict):
        remedy = ""
        if own and isinstance(value, list):
            remedy = "A file that holds one list of objects should end in .json."
        problem = f"an object was expected, but this is a {type(value).__name__}"
        raise DataError(problem, path, number, remedy)
    _require(path, columns, value, number)
    return Row(path, number, value, {})


def _with_listed_pictures(row: Row, line: bytes, start: int, pictures: Sequence[str]) -> Row:
    """The row of a JSON line with its base64 pictures as references. `start`: where the line begins
    in the file."""
    for name in pictures:
        value = row.values.get(name)
        texts: list[Any] = value if isinstance(value, list) else [value]
        encoded = [isinstance(text, str) and _is_base64(text) for text in texts]
        if not any(encoded):
            continue
        if not all(encoded):
            raise row.error(
                f"{name} lists both base64 pictures and other things", "Keep to one of them."
            )
        place = _place(line, name, value)
        if place is None:
            raise row.error(
                f"the base64 in {name} is written with escapes or tabs", "Write it plainly."
            )
        # One column: the separator is a character that JSON does not have.
        items = len(texts) if value is texts else 0
        cell = TableCell(start + place.start, place.stop - place.start, 0, "\x1f", items)
        row = _with_cell(row, name, cell)
    return row


def _place(line: bytes, name: str, value: Any) -> slice | None:
    """Where in a JSON line the base64 text, or the list of them, stands behind its name; None if it
    does not stand there as it is (JSON may spell a slash "\\/")."""
    for key in re.finditer(rb'"%s"\s*:\s*' % name.encode(), line):
        if isinstance(value, str):
            place = slice(key.end() + 1, key.end() + 1 + len(value))
            if line[place] == value.encode():
                return place
        else:
            place = slice(key.end(), line.find(b"]", key.end()) + 1)
            # What reads the list later takes it apart at commas, quotes and spaces.
            plain = not re.search(rb"[\\\t]", line[place])
            with contextlib.suppress(ValueError):
                if plain and json.loads(line[place]) == value:
                    return place
    return None


def _is_base64(text: str) -> bool:
    """Whether a picture cell holds pictures and not the name of a file or row: base64 has no dot,
    and the end of a long file name (in a list, of its last) has."""
    return (
        len(text) > LONGEST_REFERENCE
        and text.isascii()
        and "." not in text.rstrip("]'\" ")[-6:]
        and not text.startswith("data:")
    )


def read_table(
    path: Path,
    columns: Sequence[str],
    pictures: Sequence[str] = (),
    delimiter: str = "\t",
    index: str = "",
    on_fault: OnFault | None = None,
) -> Iterator[Row]:
    """Rows of a TSV or CSV file with a header line; every cell is text, exactly as stored.

    Args:
        columns: columns that must be there.
        pictures: columns of base64 pictures (used if there); their cells become references.
        index: column that names the rows. If given, a short picture cell is taken as VLMEvalKit
            takes it: as the name of the row that holds the picture, wherever that row stands.
            Without it, a short cell stays among the values.
        on_fault: see `OnFault`. What makes the rows behind it doubtful too (another encoding, an
            open quote) is raised.
    """
    csv.field_size_limit(MAX_CELL)
    own = on_fault is not None
    number = -1  # of the last whole record; the header is record 0
    shared: dict[str, Mapping[str, TableCell | ParquetCell]] = {}
    if own:
        with _reading(path):
            mending.check_header(path, columns, delimiter)
    with _reading(path), path.open("rb", buffering=2**20) as file:
        lines = _Lines(file)
        records = _records(lines, delimiter)
        try:
            header = next(records, (0, []))[1]
            _require(path, columns, header)
            _require_distinct(path, header)
            number = 0
            for start, cells in records:
                number += 1
                if len(cells) != len(header):
                    problem = f"{len(cells)} cells where the header has {len(header)}"
                    if on_fault is None:
                        raise DataError(problem, path, number, _TORN)
                    remedy = mending.cells(len(cells) > len(header), delimiter)
                    on_fault(DataError(problem, path, number, remedy))
                    continue
                row = Row(path, number, dict(zip(header, cells, strict=True)), {})
                length = lines.position - start
                for name in pictures:
                    text = row.values.get(name, "")
                    if _is_base64(text):
                        items = text.count(",") + 1 if text.startswith("[") else 0
                        cell = TableCell(start, length, header.index(name), delimiter, items)
                        row = _with_cell(row, name, cell)
                    elif text and index:
                        if name not in shared:
                            shared[name] = _picture_cells(path, name, delimiter, index)
                        # pandas makes floats of a column of numbers that has a gap
                        key = text if text in shared[name] else f"{text}.0"
                        if key not in shared[name]:
                            raise row.error(
                                f"{name} {text!r} is neither a picture nor the {index} of a row "
                                "with one",
                                _TORN,
                            )
                        row = _with_cell(row, name, shared[name][key])
                yield row
        except UnicodeDecodeError as error:
            if own:
                raise mending.encoding_fault(path, number + 1 or None) from None
            raise DataError(f"not a table ({error})", path, number + 1 or None, _TORN) from None
        except csv.Error as error:
            remedy = mending.quotes(error) if own else _TORN
            raise DataError(f"not a table ({error})", path, number + 1 or None, remedy) from None


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


def _require(
    path: Path, columns: Sequence[str], found: Collection[str], number: int | None = None
) -> None:
    missing = [name for name in columns if name not in found]
    if missing:
        raise DataError(
            f"column{'s' * (len(missing) > 1)} {', '.join(missing)} missing; "
            f"wanted {', '.join(columns)}; found {_listed(found)}",
            path,
            number,
        )


def _listed(names: Iterable[str]) -> str:
    # Where there is no header, its place is taken by a question and perhaps by a picture.
    shown = [f"{name[:40]}..." if len(name) > 40 else name for name in names]
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return (", ".join(shown[:20]) or "nothing") + more


_TORN = "The file may have been cut off: fetch it again."
