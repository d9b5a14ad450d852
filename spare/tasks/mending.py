"""What is wrong with a user's own file of questions, and how to mend it.

Published files that cannot be read are to be fetched again (`spare.tasks.files` says so). A user's
file was saved like that, by a spreadsheet as a rule.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from spare.errors import DataError

OnFault = Callable[[DataError], None]
"""Receives what is wrong with one row of a user's own file. If it returns, reading goes on with the
next row."""

SEPARATORS: Mapping[str, tuple[str, str]] = {
    ",": ("a comma", "commas"),
    "\t": ("a tab", "tabs"),
    ";": ("a semicolon", "semicolons"),
    "|": ("a bar", "bars"),
}
"""What stands between the cells of tables, and what it is called."""

ENDINGS: Mapping[str, str] = {",": ".csv", "\t": ".tsv"}


def check_header(path: Path, columns: Sequence[str], delimiter: str) -> None:
    """Refuse a table in UTF-16, and one whose header has the columns with another separator only.

    Raises DataError, or OSError if there is no reading it.
    """
    with path.open("rb") as file:
        line = file.readline(2**16)
    if b"\0" in line:
        raise encoding_fault(path, None)
    header = line.decode("utf-8-sig", "replace").rstrip("\r\n")
    found = []
    for mark in SEPARATORS:
        with contextlib.suppress(csv.Error):  # the reader will say it
            names = next(csv.reader([header], delimiter=mark), [])
            if {name.strip().casefold() for name in names}.issuperset(columns):
                found.append(mark)
    if found and delimiter not in found:
        theirs, ours = SEPARATORS[found[0]][1], SEPARATORS[delimiter][1]
        ending = ENDINGS.get(found[0], "")
        raise DataError(
            f"its cells are separated by {theirs}, and those of a {ENDINGS[delimiter]} file are "
            f"by {ours}",
            path,
            remedy=f"Save it with {ours}" + (f", or let it end in {ending}." if ending else "."),
        )


def encoding_fault(path: Path, number: int | None) -> DataError:
    """The fault of a text file that is not UTF-8; `number`: the row that showed it."""
    excel = ' (Excel calls it "CSV UTF-8")' if path.suffix.lower() in ENDINGS.values() else ""
    remedy = f"Save it as UTF-8{excel}."
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in head:
        # UTF-32 begins like UTF-16.
        problem = "it is UTF-16, which Excel calls Unicode text, and should be UTF-8"
        return DataError(problem, path, remedy=remedy)
    problem = "this is not UTF-8, but perhaps Latin-1 or Windows-1252"
    return DataError(problem, path, number, remedy)


def cells(too_many: bool, delimiter: str) -> str:
    """What to do about a row with more or fewer cells than the header."""
    if too_many:
        return f'Put a cell that has {SEPARATORS[delimiter][0]} in it into double quotes (").'
    return "What has no value needs an empty cell."


def quotes(error: csv.Error) -> str:
    """What to do about a table that the csv module cannot take apart."""
    if "new-line character" in str(error):
        return "Save it with the line ends of Windows or Unix."
    return (
        'A cell that begins with a double quote (") ends with one, and every quote between them '
        "stands twice."
    )


def json_lines(by_line: bool) -> str:
    """What to do about text that is not JSON, in a file of JSON Lines or of JSON."""
    if by_line:
        return "In a .jsonl file each line is one object; a list of them goes into a .json file."
    return "A .json file is one list; objects line by line go into a .jsonl file."
