"""One row of a user's file, column by column: texts, options, the right answer, tags, pictures.

What each column may hold stands in `spare.tasks.custom`. Every fault is a `DataError` that names
file and row.
"""

from __future__ import annotations

import ast
import functools
import math
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spare.images import Picture
from spare.tasks.files import Row, find_picture

WANTED = ("question", "answer")
PICTURE_COLUMNS = ("image", "images", "image_path")
KNOWN = {"", *WANTED, *PICTURE_COLUMNS, "options", "id", "index", "hint", "group", "cluster"}
MAX_TAG = 200
"""Longer texts are explanations and the like; as tags they would only swell every verdict."""
PLACE = "\0"
"""Stands for `<image>` where it is the place of a picture; no text of a row may hold it."""


def text_of(row: Row, column: str) -> str:
    """The column as text without white space around it; "" if absent, null or NaN."""
    return _as_text(row, column, row.values.get(column))


def _as_text(row: Row, column: str, value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 3.0 is how pandas writes 3 into a column with empty cells
    endless = isinstance(value, float) and math.isinf(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or endless:
        raise row.error(f"{column} should be a text or a number but is {_describe(value)}")
    text = str(value).strip()
    if PLACE in text:
        raise row.error(f"{column} holds a NUL, which is no text: {text[:60]!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise row.error(f"{column} holds half a character (a lone surrogate): {text!a}") from None
    return text


def _describe(value: Any) -> str:
    names = {list: "a list", dict: "an object", bool: str(value).lower()}
    return names.get(type(value), repr(value))


def options_of(row: Row) -> dict[str, str]:
    """Label -> text. A blank option is none, and its label stays unused."""
    columns = {
        label: text_of(row, label) for label in string.ascii_uppercase if label in row.values
    }
    given = row.values.get("options")
    if given is None:
        options = columns
    elif any(columns.values()):
        raise row.error("there are both options and columns A, B, ...", "Keep one of them.")
    elif isinstance(given, list):
        if len(given) > len(string.ascii_uppercase):
            raise row.error(f"there are {len(given)} options; at most 26 can be lettered")
        options = {
            label: _as_text(row, f"option {label}", text)
            for label, text in zip(string.ascii_uppercase, given, strict=False)
        }
    elif isinstance(given, dict):
        options = {label.upper(): _as_text(row, f"option {label}", given[label]) for label in given}
        if not set(options) <= set(string.ascii_uppercase) or len(options) < len(given):
            raise row.error(
                f"the labels of options should be single letters but are {', '.join(given)}",
                "A list of texts needs no labels.",
            )
    else:
        raise row.error(
            f"options should be a list or an object but is {_describe(given)}",
            "In a table, give every option a column: A, B, C, ...",
        )
    options = {label: text for label, text in options.items() if text}
    if len(options) == 1 or (given and not options):
        raise row.error(f"{len(options) or 'none'} of the options has a text; there should be more")
    return options


def target_of(row: Row, options: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The right label or text, and the options, which an answer of Yes or True brings along."""
    value = row.values["answer"]
    answer = str(value) if isinstance(value, bool) else text_of(row, "answer")
    if not answer:
        raise row.error("there is no answer", "A question without one cannot be scored.")
    if not options:
        for words in (("Yes", "No"), ("True", "False")):
            if answer.capitalize() in words:
                return answer.capitalize(), {word: word for word in words}
        return answer, {}
    label = answer.upper() if answer.upper() in options else ""
    if label and "options" not in row.values:
        return label, options  # VLMEvalKit's columns: the answer always is the label
    # Elsewhere it may be the text, and one option's label may be another's text ("Which letter is
    # on the sign?").
    texts = [name for name, text in options.items() if text == answer]
    texts = texts or [name for name, text in options.items() if _same(text, answer)]
    fitting = sorted({label, *texts} - {""})
    if len(fitting) == 1:
        return fitting[0], options
    shown = ", ".join(f"{name}: {text}" for name, text in options.items())
    raise row.error(
        f"answer {answer!r} fits {' and '.join(fitting) or 'none'} of the options ({shown})",
        "Write the label or the text of exactly one.",
    )


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


LIKE_OPTIONS = re.compile(r"(options?|choices?)[a-z0-9]?")
LIKE_PICTURES = re.compile(
    r"(pictures?|images?|photos?|imgs?)((file|path|name|filename|url|link)s?)?|filenames?"
)


@functools.lru_cache(maxsize=64)
def misnamed(columns: tuple[str, ...]) -> tuple[str, str] | None:
    """What is wrong with the columns' names, and what to do: a column that is meant for one of ours
    but taken for a tag would cost the question its options or its pictures."""
    plain = {name: re.sub(r"[\s_-]", "", name).casefold() for name in columns}
    ours = {re.sub("_", "", name): name for name in KNOWN if name}
    for name, short in plain.items():
        if short in ours and name not in KNOWN:
            return f"there is a column {name!r}", f"Spell it {ours[short]!r}, or rename it."
    if "options" not in columns and not set(string.ascii_uppercase).intersection(columns):
        like = [name for name, short in plain.items() if LIKE_OPTIONS.fullmatch(short)]
        bare = {name.strip() for name in columns}
        for pair in (("A", "B"), ("a", "b"), ("1", "2"), ("0", "1")):
            like += pair if bare.issuperset(pair) else ()
        if like:
            return (
                f"there are no options, but there is {', '.join(like)}",
                "Options stand in columns A, B, ... or, in JSON, under options; rename what is a "
                "tag.",
            )
    if not set(PICTURE_COLUMNS).intersection(columns):
        like = [name for name, short in plain.items() if LIKE_PICTURES.fullmatch(short)]
        if like:
            return (
                f"there is no picture, but there is {', '.join(like)}",
                "Pictures stand under image, images or image_path; rename what is a tag.",
            )
    return None


def tags_of(row: Row) -> dict[str, str]:
    tags = {}
    for name, value in row.values.items():
        if name in KNOWN or name in set(string.ascii_uppercase):
            continue
        if isinstance(value, bool):
            tags[name] = str(value).lower()
        elif isinstance(value, str | int | float):
            text = _as_text(row, name, value)
            if text and len(text) <= MAX_TAG:
                tags[name] = text
    return tags


# Pictures


def pictures_of(
    row: Row, folders: Sequence[Path], embedded: Mapping[str, tuple[Picture, ...]]
) -> tuple[tuple[Picture, ...], str]:
    """The row's pictures, and a name that rows about the same pictures share ("" if it has
    none)."""
    names = {column: _names(row, column) for column in PICTURE_COLUMNS}
    given = [column for column in PICTURE_COLUMNS if names[column] or column in row.cells]
    if "image" in row.cells:  # VLMEvalKit's image_path only names the base64 picture then
        given = [column for column in given if column != "image_path"]
    if not given:
        return (), ""
    if len(given) > 1:
        raise row.error(f"there are both {' and '.join(given)}", "Keep one of them.")
    if given[0] in row.cells:
        pictures = row.pictures(given[0])
        return pictures, " | ".join(names["image_path"]) or pictures[0].name
    named = names[given[0]]
    if len(named) == 1 and named[0] in embedded:
        pictures = embedded[named[0]]
        return pictures, pictures[0].name
    return tuple(_find(row, folders, name) for name in named), " | ".join(named)


def _names(row: Row, column: str) -> list[str]:
    value = row.values.get(column)
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            value = ast.literal_eval(value)  # VLMEvalKit's form of several; literals only
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise row.error(f"{column} is not a list of picture files: {value[:60]!r}") from None
    names = value if isinstance(value, list) else [value]
    texts = [_as_text(row, column, name) for name in names]
    if isinstance(value, list) and not all(texts):
        raise row.error(f"{column} names a picture with an empty text")
    return [text for text in texts if text]


def _find(row: Row, folders: Sequence[Path], name: str) -> Picture:
    if "://" in name or name.startswith("data:"):
        raise row.error(
            f"picture {name[:60]!r} is not a file",
            "Save the picture beside the questions and name that file.",
        )
    return find_picture(folders, name, row)
