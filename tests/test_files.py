"""Readers of published files: exact cells, pictures found where they lie, faults named with file
and row."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spare.errors import DataError
from spare.images import Picture
from spare.tasks.files import (
    Row,
    find_picture,
    locate,
    locate_shards,
    not_found,
    read_json,
    read_json_lines,
    read_parquet,
    read_table,
)

PICTURE = bytes(range(256))
OTHER = PICTURE[::-1]


def encoded(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def fault(rows: Iterator[Row]) -> str:
    """The sentence that a reader ends with."""
    with pytest.raises(DataError) as caught:
        list(rows)
    return str(caught.value)


# Tables

# The csv module does not quote a carriage return without a line feed; nobody reads that back.
PIECES = [
    "a",
    "b ",
    "\t",
    "\n",
    "\r\n",
    '"',
    ",",
    "é",
    "漢🙂",
    "\\",
    "\u2028",
    "\x0b",
    "\0",
    "\x85",
    "\ufeff",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.tuples(
            st.lists(TEXTS, min_size=width, max_size=width),
            st.one_of(st.none(), st.binary(min_size=49, max_size=300)),
        ),
        min_size=1,
        max_size=8,
    )
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    table=TABLES,
    delimiter=st.sampled_from("\t,"),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    mark=st.sampled_from(["", "\ufeff"]),
    last_line_end=st.booleans(),
    place=st.integers(0, 4),
)
def test_every_cell_and_picture_of_a_table_comes_back(
    tmp_path: Path,
    table: list[tuple[list[str], bytes | None]],
    delimiter: str,
    line_end: str,
    quoting: Any,
    mark: str,
    last_line_end: bool,
    place: int,
) -> None:
    """Whatever the csv module can write, quoted line ends and delimiters included."""
    width = len(table[0][0])
    place = min(place, width)
    header = [f"c{number}" for number in range(width)]
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerow([*header[:place], "image", *header[place:]])
    for cells, picture in table:
        cell = "" if picture is None else encoded(picture)
        writer.writerow([*cells[:place], cell, *cells[place:]])
    text = written.getvalue()
    if not last_line_end:
        text = text.removesuffix(line_end)
    path = tmp_path / "table"
    path.write_bytes((mark + text).encode())

    rows = list(read_table(path, header, ("image",), delimiter))

    assert [row.number for row in rows] == list(range(1, len(table) + 1))
    for row, (cells, picture) in zip(rows, table, strict=True):
        assert [row.values[name] for name in header] == cells
        if picture is None:
            assert row.values["image"] == ""
            assert not row.cells
        else:
            assert "image" not in row.values
            assert row.picture("image").read() == picture


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.text(st.sampled_from('ab\t\n\r"'), max_size=40).map(str.encode) | st.binary(max_size=60)
)
def test_any_bytes_are_a_table_or_a_sentence(tmp_path: Path, data: bytes) -> None:
    """The csv module itself is the judge of what a table is."""
    path = tmp_path / "table"
    path.write_bytes(b"a\tb\n" + data)
    try:
        # Lines end in a line feed here; the csv module sees to carriage returns itself.
        lines = [line.decode() for line in io.BytesIO(data)]
        cells = [cells for cells in csv.reader(lines, delimiter="\t", strict=True) if cells]
        torn = any(len(found) != 2 for found in cells)
    except (UnicodeDecodeError, csv.Error):
        torn = True
    if torn:
        assert str(path) in fault(read_table(path, ("a", "b")))
    else:
        rows = list(read_table(path, ("a", "b")))
        assert [[row.values["a"], row.values["b"]] for row in rows] == cells


def write_table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_blank_lines_are_no_records(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.tsv", "a\tb", "", "1\t2", "", "", "3\t4")
    assert [(row.number, row.values["a"]) for row in read_table(path, ("a",))] == [
        (1, "1"),
        (2, "3"),
    ]


def test_a_torn_table_is_named_with_its_row(tmp_path: Path) -> None:
    whole = f"index\timage\n1\t{encoded(PICTURE)}\n2\t{encoded(OTHER)}\n"
    path = tmp_path / "t.tsv"
    path.write_text(whole[: whole.rindex("2\t") + 1])
    assert fault(read_table(path, ("index",), ("image",))) == (
        f"{path}, row 2: 1 cells where the header has 2. "
        "The file may have been cut off: fetch it again."
    )
    path.write_text('index\tquestion\n1\tfine\n2\t"torn in the middle')
    assert f"{path}, row 2: not a table" in fault(read_table(path, ("index",)))
    path.write_bytes(b"index\tquestion\n1\tfine\n2\tna\xefve\n")
    assert f"{path}, row 2: not a table ('utf-8' codec" in fault(read_table(path, ("index",)))


def test_columns_wanted_and_found_are_named(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.tsv", "index\tprompt", "1\tWhich?")
    assert fault(read_table(path, ("index", "question", "answer"))) == (
        f"{path}: columns question, answer missing; wanted index, question, answer; "
        "found index, prompt."
    )
    (tmp_path / "empty.tsv").write_text("")
    assert "found nothing" in fault(read_table(tmp_path / "empty.tsv", ("index",)))
    path = write_table(tmp_path / "t.tsv", "index\tA\tA", "1\tx\ty")
    assert "the header has A more than once" in fault(read_table(path, ("index",)))


def test_what_is_no_file_is_a_sentence(tmp_path: Path) -> None:
    for read in (read_json, read_json_lines, read_table):
        assert str(tmp_path / "absent") in fault(read(tmp_path / "absent", ("a",)))
        assert "Is a directory" in fault(read(tmp_path, ("a",)))
    assert "absent" in fault(read_parquet([tmp_path / "absent"], ("a",)))


def test_short_picture_cells_name_the_row_with_the_picture(tmp_path: Path) -> None:
    """VLMEvalKit's form (`vlmeval/dataset/image_base.py`): 64 characters or fewer are an index, of
    an earlier row or of a later one."""
    path = write_table(
        tmp_path / "t.tsv",
        "index\timage",
        "7\t9",
        f"8\t{encoded(PICTURE)}",
        f"9\t{encoded(OTHER)}",
        "10\t8",
    )
    rows = list(read_table(path, ("index",), ("image",), index="index"))
    assert [row.picture("image").read() for row in rows] == [OTHER, PICTURE, OTHER, PICTURE]
    assert all("image" not in row.values for row in rows)
    assert rows[0].picture("image").name == "t.tsv row 1"
    # Without being told, nothing is taken for a reference.
    assert next(read_table(path, ("index",), ("image",))).values["image"] == "9"


@pytest.mark.parametrize("reference", ["11", "7", "no picture"])
def test_a_reference_to_no_picture_is_an_error(tmp_path: Path, reference: str) -> None:
    path = write_table(
        tmp_path / "t.tsv", "index\timage", f"8\t{encoded(PICTURE)}", f"7\t{reference}"
    )
    sentence = fault(read_table(path, ("index",), ("image",), index="index"))
    assert f"row 2: image {reference!r} is neither a picture nor the index of a row" in sentence


# JSON


def test_json_lines_with_their_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1}\n\n{"a": "é"}\n', encoding="utf-8")
    assert [(row.number, row.values["a"]) for row in read_json_lines(path, ("a",))] == [
        (1, 1),
        (3, "é"),
    ]
    for torn, sentence in (
        ('{"a": 1}\n{"a": ', "row 2: not JSON"),
        ('{"a": 1}\n[1]', "row 2: an object was expected, but this is a list"),
        ('{"a": 1}\n{"b": 1}', "row 2: column a missing; wanted a; found b"),
        ('{"a": 1}\n' + "[" * 100_000, "row 2: not JSON"),
        ('{"a": ' + "1" * 5000 + "}", "row 1: not JSON"),
    ):
        path.write_text(torn)
        assert f"{path}, {sentence}" in fault(read_json_lines(path, ("a",)))
    path.write_bytes(b'{"a": "\xff"}')
    assert "row 1: not JSON" in fault(read_json_lines(path, ("a",)))


def test_json_lists(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('[{"a": 1}, {"a": 2}]')
    assert [(row.number, row.values["a"]) for row in read_json(path, ("a",))] == [(1, 1), (2, 2)]
    path.write_text('["x", [1]]')
    assert [row.values["value"] for row in read_json(path)] == ["x", [1]]
    for torn, sentence in (
        ('[{"a": 1}, {"a', "not JSON"),
        ('{"a": 1}', "a list was expected, but the file holds a dict"),
        ('[{"a": 1}, 3]', "row 2: an object was expected, but this is a int"),
        ("[" * 100_000, "not JSON"),
    ):
        path.write_text(torn)
        assert sentence in fault(read_json(path, ("a",)))


# Parquet

STRUCT = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def test_parquet_in_row_groups_and_shards(tmp_path: Path) -> None:
    """Pictures as the hub stores them (a struct), as plain bytes, and as lists of structs."""
    pictures = [bytes([number]) * 5 for number in range(7)]
    paths = [tmp_path / "test-00000-of-00002.parquet", tmp_path / "test-00001-of-00002.parquet"]
    for path, part in zip(paths, (slice(0, 4), slice(4, 7)), strict=True):
        numbers = list(range(7))[part]
        table = pyarrow.table(
            {
                "id": pyarrow.array(numbers),
                "image": pyarrow.array(
                    [{"bytes": pictures[n], "path": f"{n}.webp"} for n in numbers], STRUCT
                ),
                "plain": pyarrow.array([pictures[n][::-1] for n in numbers], pyarrow.binary()),
                "many": pyarrow.array(
                    [[{"bytes": b"first"}, {"bytes": pictures[n]}] for n in numbers],
                    pyarrow.list_(STRUCT),
                ),
            }
        )
        pyarrow.parquet.write_table(table, path, row_group_size=3)
    rows = list(read_parquet(paths, ("id", "image"), ("image", "plain", "many", "absent")))
    assert [row.values["id"] for row in rows] == list(range(7))
    assert [row.number for row in rows] == [1, 2, 3, 4, 1, 2, 3]
    assert [row.picture("image").read() for row in rows] == pictures
    assert [row.picture("plain").read() for row in rows] == pictures
    assert [row.picture("many", 1).read() for row in rows] == pictures
    assert [row.values["image.path"] for row in rows] == [f"{n}.webp" for n in range(7)]
    assert "image" not in rows[0].values
    with pytest.raises(DataError, match="row 3: there is no picture in column 'absent'"):
        rows[6].picture("absent")


def test_parquet_columns_of_file_names_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for kind in (pyarrow.string(), pyarrow.large_string()):
        pyarrow.parquet.write_table(
            pyarrow.table({"image": pyarrow.array(["1.jpg", None], kind)}), path
        )
        rows = list(read_parquet([path], ("image",), ("image",)))
        assert [row.values["image"] for row in rows] == ["1.jpg", None]
        assert not rows[0].cells


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.integers(1, 10_000))
def test_a_cut_parquet_is_a_sentence(tmp_path: Path, cut: int) -> None:
    data = write_parquet()
    path = tmp_path / "t.parquet"
    path.write_bytes(data[: -min(cut, len(data))])
    assert f"{path}: not a whole parquet file" in fault(read_parquet([path], ("a",)))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(places=st.lists(st.integers(0, 10_000), min_size=1, max_size=3))
def test_a_damaged_parquet_is_a_sentence_or_rows(tmp_path: Path, places: list[int]) -> None:
    """Parquet has no checksums: damaged text may still be text. Nothing but a DataError escapes."""
    data = bytearray(write_parquet())
    for place in places:
        data[place % len(data)] ^= 0x55
    path = tmp_path / "t.parquet"
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        list(read_parquet([path], ("a",)))


def write_parquet() -> bytes:
    file = io.BytesIO()
    table = pyarrow.table({"a": ["x", "y", "z"] * 5, "b": list(range(15))})
    pyarrow.parquet.write_table(table, file, row_group_size=4)
    return file.getvalue()


def test_parquet_columns_wanted_and_found_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), path)
    assert f"{path}: column b missing; wanted a, b; found a." == fault(
        read_parquet([path], ("a", "b"))
    )


# Places


def write_all(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({}))


def test_shards_come_in_order_and_must_be_complete(tmp_path: Path) -> None:
    write_all(tmp_path / "b", ["test-00001-of-00002.parquet", "test-00000-of-00002.parquet"])
    found = locate_shards(tmp_path, ("a", "b"), ("absent", "test-*.parquet"))
    assert [path.name for path in found] == [
        "test-00000-of-00002.parquet",
        "test-00001-of-00002.parquet",
    ]
    assert locate_shards(tmp_path, ("a", "b"), ("absent",)) == ()
    (tmp_path / "b" / "test-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match="only these files are there: test-00000-of-00002"):
        locate_shards(tmp_path, ("b",), ("test-*.parquet",))


@pytest.mark.parametrize(
    "name", ["../x.jpg", "/etc/passwd", "a/../../x.jpg", "..", "", "a\\b", "a\0"]
)
def test_a_picture_name_cannot_leave_its_folder(tmp_path: Path, name: str) -> None:
    row = Row(tmp_path / "t.json", 3, {}, {})
    with pytest.raises(DataError, match=r"row 3: picture name .* leads out of the data folder"):
        find_picture([tmp_path], name, row)


def test_a_picture_is_looked_for_in_every_folder(tmp_path: Path) -> None:
    write_all(tmp_path, ["b/x.jpg"])
    row = Row(tmp_path / "t.json", 1, {}, {})
    folders = [tmp_path / "a", tmp_path / "b"]
    assert find_picture(folders, "x.jpg", row) == Picture(tmp_path / "b/x.jpg", "x.jpg")
    # One that is nowhere costs its own sample, when it is opened.
    assert find_picture(folders, "y.jpg", row).path == tmp_path / "a/y.jpg"


def test_nothing_found_is_a_list_with_a_line_per_place(tmp_path: Path) -> None:
    names = [f"test-{number}-*.parquet" for number in range(20)]
    sentence = str(not_found("bench", Path("data"), ["bench", "other", "."], names))
    lines = sentence.split("\n")
    assert lines[0].startswith("no files of bench found: looked for test-0-*.parquet or test-1")
    assert max(map(len, lines)) <= 93  # with what the command puts before it, 100
    for name in names:
        assert name in sentence
    assert lines[-5:-2] == ["    data/bench", "    data/other", "    data"]
    assert lines[-1].startswith("`spare prepare bench --data data` fetches")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_what_may_not_be_read_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    write_all(tmp_path, ["closed/t.json", "t.jsonl"])
    (tmp_path / "t.jsonl").chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        assert locate(tmp_path, ["closed"], ["t.json"]) is None
        assert locate_shards(tmp_path, ["closed"], ["t.json", "*.json"]) == ()
        assert "cannot be read (Permission denied)" in fault(
            read_json_lines(tmp_path / "t.jsonl", ())
        )
    finally:
        os.seteuid(0)


# A user's own files


def refuse(fault: DataError) -> None:
    raise fault


SPACE = st.sampled_from(["", " ", "  "])


@given(
    pictures=st.lists(st.binary(min_size=49, max_size=200), min_size=1, max_size=3),
    several=st.booleans(),
    before=st.text(max_size=9),
    space=SPACE,
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_base64_in_json_lines_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    pictures: list[bytes],
    several: bool,
    before: str,
    space: str,
    line_end: str,
) -> None:
    """However the JSON around it is spaced, and with the pictures in other columns too."""
    texts = [encoded(picture) for picture in pictures]
    value = texts if several else texts[0]
    row = {"before": before, "same": texts[0], "image": value, "after": texts[-1]}
    first = {"before": "é", "image": "1.png"}
    lines = [json.dumps(one, separators=(f",{space}", f":{space}")) for one in (first, row, first)]
    path = tmp_path_factory.mktemp("lines") / "q.jsonl"
    path.write_bytes(line_end.join(lines).encode("utf-8", "surrogatepass"))
    plain, found, _ = read_json_lines(path, ("before",), ("image", "absent"), refuse)
    assert (plain.values["image"], plain.cells) == ("1.png", {})
    assert "image" not in found.values
    read = [picture.read() for picture in found.pictures("image")]
    assert read == (pictures if several else pictures[:1])


def test_base64_with_escapes_is_refused(tmp_path: Path) -> None:
    """PHP writes "\\/" for a slash."""
    path = tmp_path / "q.jsonl"
    text = "/9j/" + "A" * 100
    for value in (text, [text], [text, "B" * 100]):
        path.write_text(json.dumps({"image": value}).replace("/", "\\/"))
        sentence = fault(read_json_lines(path, (), ("image",), refuse))
        assert "row 1: the base64 in image is written with escapes or tabs" in sentence
    path.write_text(json.dumps({"image": [text, text]}, separators=(",\t", ":\t")))
    assert "escapes or tabs" in fault(read_json_lines(path, (), ("image",), refuse))


def test_reading_goes_on_behind_a_faulty_row(tmp_path: Path) -> None:
    faults: list[DataError] = []
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1}\n{"a": \n[2]\n{"b": 3}\n\n{"a": 4}\n')
    rows = list(read_json_lines(path, ("a",), on_fault=faults.append))
    assert [(row.number, row.values["a"]) for row in rows] == [(1, 1), (6, 4)]
    path = tmp_path / "t.json"
    path.write_text('[{"a": 1}, 2, {"b": 3}, {"a": 4}]')
    rows = list(read_json(path, ("a",), on_fault=faults.append))
    assert [(row.number, row.values["a"]) for row in rows] == [(1, 1), (4, 4)]
    path = write_table(tmp_path / "t.tsv", "a\tb", "1\t1", "2", "3\t3\t3", "4\t4")
    rows = list(read_table(path, ("a",), on_fault=faults.append))
    assert [(row.number, row.values["a"]) for row in rows] == [(1, "1"), (4, "4")]
    places = [str(one).split(": ")[0].removeprefix(f"{tmp_path}/") for one in faults]
    assert places == [
        *("t.jsonl, row 2", "t.jsonl, row 3", "t.jsonl, row 4"),
        *("t.json, row 2", "t.json, row 3"),
        *("t.tsv, row 2", "t.tsv, row 3"),
    ]


def test_what_ails_the_first_row_ails_the_file(tmp_path: Path) -> None:
    """A list in a file of JSON Lines would be a fault per line."""
    path = tmp_path / "t.jsonl"
    path.write_text('[\n{"a": 1},\n{"a": 2}\n]')
    faults: list[DataError] = []
    assert "row 1: not JSON" in fault(read_json_lines(path, ("a",), on_fault=faults.append))
    assert not faults


def test_published_files_are_to_be_fetched_again(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for read, data in (
        (read_table, b"a\tb\n1\n"),
        (read_table, b"a\tb\n\xe9\t1\n"),
        (read_table, b'a\tb\n"1\t1\n'),
        (read_json_lines, b'{"a": 1'),
        (read_json_lines, b'{"a": "\xe9"}'),
        (read_json, b'[{"a": 1}'),
    ):
        path.write_bytes(data)
        assert fault(read(path, ("a",))).endswith("may have been cut off: fetch it again.")
