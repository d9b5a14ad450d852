"""MMMU's published files: every layout as the same questions. What the benchmark is stands in
`mmmu.py`."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from spare.errors import DataError
from spare.images import Picture
from spare.tasks import files as published
from spare.tasks.files import Row
from spare.tasks.types import Files

DISCIPLINES: Mapping[str, tuple[str, ...]] = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science",
        "Clinical_Medicine",
        "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy",
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Psychology", "Sociology"),
    "Tech and Engineering": (
        "Agriculture",
        "Architecture_and_Engineering",
        "Computer_Science",
        "Electronics",
        "Energy_and_Power",
        "Materials",
        "Mechanical_Engineering",
    ),
}
DISCIPLINE = {subject: name for name, subjects in DISCIPLINES.items() for subject in subjects}
SUBJECTS = tuple(sorted(DISCIPLINE))
"""In the order in which the authors evaluate, which is the alphabet's."""

# Files

FOLDERS = ("mmmu", "MMMU", "LMUData", ".")
TABLES = {
    "validation": "MMMU_DEV_VAL.tsv",
    "dev": "MMMU_DEV_VAL.tsv",
    "test": "MMMU_TEST.tsv",
}


def locate(name: str, data: Path, split: str) -> Files:
    """A `Task.locate` for the task called `name`."""
    for folder in itertools.chain.from_iterable((at, f"{at}/data") for at in FOLDERS):
        by_subject = {
            subject: published.locate_shards(data, [f"{folder}/{subject}"], [f"{split}-*.parquet"])
            for subject in SUBJECTS
        }
        if any(by_subject.values()):
            lacking = [subject for subject, found in by_subject.items() if not found]
            if lacking:
                raise DataError(
                    f"{len(lacking)} of the 30 subjects have no {split}-*.parquet: "
                    f"{', '.join(lacking[:5])}{', ...' if len(lacking) > 5 else ''}",
                    data / folder,
                    remedy="The score is over all subjects: fetch those too.",
                )
            shards = itertools.chain.from_iterable(by_subject.values())
            return Files(tuple(shards), (), "subject-parquet")
    patterns = [f"data/{split}-*.parquet", f"{split}-*.parquet"]
    if found := published.locate_shards(data, FOLDERS, patterns):
        return Files(found, (), "parquet")
    if found := published.locate_shards(data, FOLDERS, [TABLES[split]]):
        return Files(found, (), "vlmevalkit-tsv")
    wanted = [f"Accounting/{split}-*.parquet and so on", *patterns, TABLES[split]]
    raise published.not_found(name, data, FOLDERS[:-1], wanted)


# Questions

ID = re.compile(r"(dev|validation|test)_(\w+)_[0-9]+")
PLACEHOLDER = re.compile(r"<image ([0-9]{1,3})>")
PICTURES = {number: f"image_{number}" for number in range(1, 8)}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MISSING = ("", "nan")
"""What stands for "no such option" in a table; "None" and "NA" are texts."""

LOST = {"validation_Geography_15": ("D", "None")}
"""Options that a table may have lost because pandas takes their text for a missing value."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question in whatever layout.

    Attributes:
        id: as published: "validation_Art_Theory_3".
        text: with placeholders for pictures, as the options have them.
        options: label -> text; empty for an open question.
        target: the right label, or the right text of an open question, and `answers` all accepted
            ones if they are a list; empty in the test split.
        pictures: by the numbers of their placeholders.
    """

    id: str
    text: str
    options: Mapping[str, str]
    target: str
    answers: tuple[str, ...]
    pictures: Mapping[int, Picture]
    tags: Mapping[str, str]


def questions(files: Files, split: str) -> Iterator[Question]:
    """The questions of a split, in the order of the files."""
    seen: dict[str, str] = {}
    for row in _rows(files, split):
        name = row.text("id")
        known = ID.fullmatch(name)
        if not known or known[2] not in DISCIPLINE:
            raise row.error(f"id {name!r} is not of the form {split}_Subject_number")
        if known[1] != split:
            if files.layout == "vlmevalkit-tsv":  # dev and validation share a table
                continue
            raise row.error(f"{name} is no question of the {split} split")
        if name in seen:
            raise row.error(f"{name} is in {seen[name]} already")
        seen[name] = f"{row.file.name}, row {row.number},"
        yield _question(row, name, known[2], answered=split != "test")


def _rows(files: Files, split: str) -> Iterator[Row]:
    if files.layout == "vlmevalkit-tsv":
        columns = ["index", "id", "question", "A", "B", "image"]
        columns += ["answer"] if split != "test" else []
        return published.read_table(files.annotations[0], columns, ("image",), index="index")
    columns = ["id", "question", "options", "answer", "question_type", "image_1"]
    return published.read_parquet(files.annotations, columns, tuple(PICTURES.values()))


def _question(row: Row, name: str, subject: str, answered: bool) -> Question:
    options = _options(row, name)
    target, answers = _answers(row, name, options) if answered else ("", ())
    pictures = _pictures(row, name)
    for text in (row.text("question"), *options.values()):
        for number in PLACEHOLDER.findall(text):
            if int(number) not in pictures:
                raise row.error(
                    f"{name}: <image {number}> has no picture; there are pictures "
                    f"{', '.join(map(str, pictures))}"
                )
    tags = {
        "subject": subject,
        "discipline": DISCIPLINE[subject],
        "type": "multiple-choice" if options else "open",
    }
    for tag, column in (("difficulty", "topic_difficulty"), ("subfield", "subfield")):
        if row.values.get(column):
            tags[tag] = row.text(column)
    return Question(name, row.text("question"), options, target, answers, pictures, tags)


def _options(row: Row, name: str) -> dict[str, str]:
    """Empty for an open question."""
    listed = "options" in row.values
    options = _listed_options(row, name) if listed else _lettered_options(row, name)
    kind = row.values.get("question_type") or ("multiple-choice" if options else "open")
    if kind == "multiple-choice" and len(options) > 1:
        return options
    if kind in ("open", "short-answer"):
        return {}
    raise row.error(f"{name} is of type {kind!r} and has {len(options)} options")


def _listed_options(row: Row, name: str) -> dict[str, str]:
    texts = row.values["options"]
    texts = _list_of_texts(texts) if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        shown = repr(row.values["options"])[:120]
        raise row.error(f"{name}: options should be a list of texts but are {shown}")
    if len(texts) > len(LETTERS):
        raise row.error(f"{name} has {len(texts)} options, more than there are letters")
    return dict(zip(LETTERS, texts, strict=False))


def _lettered_options(row: Row, name: str) -> dict[str, str]:
    cells = {letter: row.values.get(letter, "") for letter in LETTERS}
    if name in LOST:
        letter, text = LOST[name]
        cells[letter] = cells[letter] or text
    options = {letter: text for letter, text in cells.items() if text not in MISSING}
    if "".join(options) != LETTERS[: len(options)]:
        raise row.error(f"{name} has options {', '.join(options)}, and one before them is missing")
    return options


def _answers(row: Row, name: str, options: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The right label, or the right text and, if it is a list, all accepted ones."""
    answer = row.text("answer").strip()
    if options:
        if answer.upper() not in options:
            raise row.error(f"{name}: answer {answer!r} is not among {', '.join(options)}")
        return answer.upper(), ()
    accepted = tuple(_list_of_texts(answer) or ())
    if not all(text.strip() for text in accepted or (answer,)):
        raise row.error(f"{name} has no answer")
    return (accepted[0], accepted) if accepted else (answer, ())


def _list_of_texts(text: str) -> list[str] | None:
    """The list of texts that `text` is a Python literal of, or None."""
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if all(isinstance(item, str) for item in value) else None


def _pictures(row: Row, name: str) -> dict[int, Picture]:
    if "image" in row.cells:
        return dict(enumerate(row.pictures("image"), 1))
    pictures = {
        number: row.picture(column)
        for number, column in PICTURES.items()
        if f"{column}.path" in row.values
    }
    if not pictures:
        raise row.error(f"{name} has no picture")
    return pictures
