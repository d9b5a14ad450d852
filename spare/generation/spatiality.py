"""How spatial a data set is: which relations its texts name, and how unevenly.

The paper's claim is that the most common 17 % of relations make up over 90 % of the spatial
examples that models are trained on. Counted is as its Table 10 counts: every keyword wherever it
stands, so the shares can be held against the table's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spare.errors import DataError, SpareError
from spare.generation.manifest import read_pipeline
from spare.generation.mentions import find_mentions, keyword_counts, tokens
from spare.generation.stages import Inputs
from spare.generation.stages.tags import CLASS_OF_GROUP
from spare.relations import CLASSES, relation_groups

TOP = 0.17
"""The share of relations that the paper speaks of."""

TEXTS = ("question", "answer", "caption", "statement", "sentence", "text")
"""Columns and keys that hold a text; and `conversations` or `messages`, which hold turns."""

TURNS = ("conversations", "messages")
BATCH = 4096
AGAIN = "Fetch it or write it again."


@dataclass(frozen=True, slots=True)
class Spatiality:
    """What was counted in one data set.

    Attributes:
        texts: rows with a text; spatial: those with a relation's keyword that can be meant
            spatially.
        keywords: (relation, keyword) -> how often it stands there.
        textless: rows without a text; first: where the first of them is ("FILE, row 3"), or "".
    """

    name: str
    texts: int
    spatial: int
    keywords: Mapping[tuple[str, str], int]
    textless: int = 0
    first: str = ""

    @property
    def relations(self) -> dict[str, int]:
        """Relation -> how often one of its keywords stands there, the most common first."""
        counts = Counter[str]()
        for (relation, _), count in self.keywords.items():
            counts[relation] += count
        return dict(counts.most_common())

    @property
    def classes(self) -> dict[str, int]:
        """Class -> the same."""
        counts = dict.fromkeys(CLASSES, 0)
        for relation, count in self.relations.items():
            counts[CLASS_OF_GROUP[relation]] += count
        return counts

    @property
    def top(self) -> float:
        """Share that the most common 17 % of all relations hold, from 0 to 1."""
        return top_share(list(self.relations.values()))

    @property
    def gini(self) -> float:
        """How uneven the relations are: 0 if all are as common, near 1 if one is everything."""
        return gini(list(self.relations.values()))


def top_share(counts: list[int] | list[float]) -> float:
    """Share of the most common 17 % (5 of 29, to the nearest); 0 of nothing."""
    ordered = sorted(counts, reverse=True)
    total = sum(ordered)
    return sum(ordered[: max(1, round(TOP * len(ordered)))]) / total if total else 0.0


def gini(counts: list[int] | list[float]) -> float:
    """The Gini coefficient; 0 of nothing."""
    ordered = sorted(counts)
    total, size = sum(ordered), len(ordered)
    if not total:
        return 0.0
    ranked = sum(rank * count for rank, count in enumerate(ordered, 1))
    return 2 * ranked / (size * total) - (size + 1) / size


def paper() -> dict[str, float]:
    """Relation -> its share in Table 10, in per cent."""
    return {name: group.share for name, group in relation_groups().items()}


def relations(paths: Iterable[str | Path]) -> list[Spatiality]:
    """Count the relations of data sets: pairs of `spare generate`, folders of parquet shards,
    or files (parquet, jsonl, json, csv, tsv) with texts in `TEXTS` or `TURNS`. A row that has none
    (null, or nothing but white space) is counted as such: of a million there may be one.

    Raises:
        SpareError: there is nothing of the kind, or a file is damaged.
    """
    return [_counted(Path(path)) for path in paths]


def _counted(path: Path) -> Spatiality:
    names = {
        (relation, keyword): 0
        for relation, group in relation_groups().items()
        for keyword in group.keywords
    }
    keywords = Counter(names)
    texts = spatial = textless = 0
    first = ""
    for where, text in _texts(path):
        if not text:
            textless += 1
            first = first or where
            continue
        texts += 1
        spatial += bool(find_mentions(tokens(text)))
        for name, count in keyword_counts([text]).items():
            if count:
                keywords[name] += count
    if not texts:
        raise DataError(
            f"has no text{' in any of its rows' if textless else ''}",
            path,
            remedy=f"Texts are read from {', '.join((*TEXTS, *TURNS))}: rename the column that "
            "holds them.",
        )
    return Spatiality(str(path), texts, spatial, dict(keywords), textless, first)


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """Where each row of a data set is, and its text; "" if it has none."""
    if (path / "manifest.json").exists() and (path / "prefilter").is_dir():
        parts, _, _ = read_pipeline(path)
        for part in parts:
            inputs = Inputs(path, part)
            reasons, pairs = inputs.column("cut", "reason"), inputs.pairs
            for question, answer, reason in zip(
                pairs.questions, pairs.answers, reasons, strict=True
            ):
                if not reason:
                    yield "", f"{question} {answer}"
        return
    for file in _files(path):
        for number, row in _rows(file):
            yield f"{file}, row {number}", _text(row)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise SpareError(f"There is no file or folder {path}.")
    found = sorted(path.rglob("*.parquet")) or sorted(path.glob("*.jsonl"))
    if not found:
        raise SpareError(f"{path} holds neither parquet nor jsonl files.")
    return found


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a file with their numbers, which are those of the lines in JSON Lines."""
    readers: Mapping[str, Callable[[Path], Iterator[tuple[int, Any]]]] = {
        ".parquet": _parquet,
        ".jsonl": _lines,
        ".json": _json,
        ".csv": lambda path: _table(path, ","),
        ".tsv": lambda path: _table(path, "\t"),
    }
    if path.suffix not in readers:
        raise SpareError(f"{path} has none of the formats that are read: {', '.join(readers)}.")
    yield from readers[path.suffix](path)


def _text(row: Any) -> str:
    """What a row says; "" if it says nothing."""
    if not isinstance(row, Mapping):
        return ""
    found = [row[name] for name in TEXTS if isinstance(row.get(name), str)]
    for name in TURNS:
        turns = row.get(name)
        for turn in turns if isinstance(turns, list) else ():
            if isinstance(turn, Mapping):
                said = turn.get("value", turn.get("content", ""))
                parts = said if isinstance(said, list) else [said]
                found += [
                    part if isinstance(part, str) else str(part.get("text") or "")
                    for part in parts
                    if isinstance(part, str | Mapping)
                ]
    return " ".join(found).strip()


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        columns = [name for name in (*TEXTS, *TURNS) if name in file.schema_arrow.names]
        batches = file.iter_batches(BATCH, columns=columns)
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
    except (OSError, pyarrow.ArrowException):
        raise DataError("cannot be read as a whole parquet file", path, remedy=AGAIN) from None


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except ValueError:
                        raise DataError("not JSON", path, number, AGAIN) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path) from None


def _json(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise DataError("not JSON", path, remedy=AGAIN) from None
    if not isinstance(values, list):
        raise DataError(
            "a list of objects was expected", path, remedy="Lines of them are read from .jsonl."
        )
    yield from enumerate(values, 1)


def _table(path: Path, delimiter: str) -> Iterator[tuple[int, Any]]:
    from spare.tasks.files import read_table

    for row in read_table(path, (), delimiter=delimiter):
        yield row.number, row.values
