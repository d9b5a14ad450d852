"""A user's own questions: `--tasks custom:FILE`, one file of JSON Lines, JSON, TSV or CSV.

A row is a question; `docs/custom_tasks.md` shows files to copy. Columns:

question     the question. Each `<image>` in it is the place of a picture; without any, the pictures
             come first.
answer       the right option's label or its text; Yes or No; True or False; or a short answer.
options      (JSON) a list of texts or an object label -> text. In tables, and as VLMEvalKit's files
             have it: one column per option, A to Z. An empty cell is no option; "None", "NA" and
             "nan" are texts like any other.
image        a picture file, relative to the questions' folder or to --data; in tables also base64,
             or the id of an earlier row that holds it. A list, or `images`, if there are several;
             `image_path` as in VLMEvalKit's files. None of them: a question without a picture.
id, index    unique; the row number if absent.
hint         put before the question.
group        rows that are right or wrong together: they give `group_accuracy` too.
cluster      rows that are not independent, for the intervals; the picture if absent.
any other    text (up to 200 characters), number or true/false: a tag that scores can be broken down
             by. `kind` is added if there is none: multiple choice, yes/no, true/false or short.

Each row decides its own kind: with options it is multiple choice; else its answer tells. Files of
multiple choice only can also be asked and read as VLMEvalKit does, unless they have an option that
it would lose.
"""

from __future__ import annotations

import ast
import math
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from spare.errors import DataError
from spare.images import Picture
from spare.tasks import answers, multiple_choice
from spare.tasks.files import (
    PANDAS_NA,
    Row,
    find_picture,
    read_json,
    read_json_lines,
    read_table,
)
from spare.tasks.types import (
    Files,
    Judged,
    Metric,
    Part,
    Prompt,
    Reply,
    Rules,
    Sample,
    Task,
    Verdict,
)

LAYOUTS = {".jsonl": "jsonl", ".json": "json", ".tsv": "tsv", ".csv": "csv"}
WANTED = ("question", "answer")
PICTURE_COLUMNS = ("image", "images", "image_path")
KNOWN = {"", *WANTED, *PICTURE_COLUMNS, "options", "id", "index", "hint", "group", "cluster"}
MAX_TAG = 200
"""Longer texts are explanations and the like; as tags they would only swell every verdict."""


def custom_task(file: str) -> Task:
    """The questions in `file` (a path as the shell sees it) as a task called `custom:<stem>`.

    The file is read once here, so its faults come out before anything else happens. Raises
    DataError with file and row.
    """
    path = Path(file).expanduser()
    files = _locate(path, path.parent, "all")
    chances, groups, for_vlmevalkit = [], dict[str, float](), True
    for sample in _read(files, "all", SPARE):
        chances.append(1 / len(sample.options) if sample.options else 0.0)
        if sample.group:
            groups[sample.group] = groups.get(sample.group, 1.0) * chances[-1]
        for_vlmevalkit &= _kind(sample.options) == "multiple choice"
        for_vlmevalkit &= PANDAS_NA.isdisjoint(sample.options.values())
        for_vlmevalkit &= "Z" not in sample.options  # to VLMEvalKit it means none of them
    if not chances:
        raise DataError("there are no questions in it", path)
    chance = {"accuracy": 100 * math.fsum(chances) / len(chances)}
    if groups:
        chance["group_accuracy"] = 100 * math.fsum(groups.values()) / len(groups)
    prompts = (SPARE_LETTERED, VLMEVALKIT) if for_vlmevalkit else (SPARE,)
    return Task(
        name=f"custom:{path.stem}",
        version=1,
        about=f"the questions in {path.name}",
        paper="",
        licence=f"whatever {path.name} came with",
        sources=(),
        splits={"all": len(chances)},
        split="all",
        chance=chance,
        headline="accuracy",
        breakdown="accuracy",
        prompts={prompt.name: prompt for prompt in prompts},
        rules={name: RULES[name] for name in prompts[0].rules},
        locate=partial(_locate, path),
        read=_read,
        summarise=summarise,
        figures=FIGURES,
    )


# Files


def _locate(path: Path, data: Path, split: str) -> Files:
    layout = LAYOUTS.get(path.suffix.lower())
    if layout is None:
        raise DataError(
            f"questions come in files that end in {', '.join(LAYOUTS)}",
            path,
            remedy="Rename or convert it.",
        )
    if not path.is_file():
        raise DataError(
            "there is no such file",
            path,
            remedy="custom:FILE takes a path relative to the current folder.",
        )
    return Files((path,), (path.parent, data), layout)


def _read(files: Files, split: str, prompt: Prompt) -> Iterator[Sample]:
    seen: dict[str, int] = {}
    embedded: dict[str, Picture] = {}
    for row in _rows(files):
        sample = _sample(row, files.pictures, embedded, prompt)
        if sample.id in seen:
            raise row.error(
                f"id {sample.id!r} was used in row {seen[sample.id]} already",
                "Give every question an id of its own.",
            )
        seen[sample.id] = row.number
        yield sample


def _rows(files: Files) -> Iterator[Row]:
    path = files.annotations[0]
    if files.layout == "jsonl":
        return read_json_lines(path, WANTED)
    if files.layout == "json":
        return read_json(path, WANTED)
    delimiter = "\t" if files.layout == "tsv" else ","
    return read_table(path, WANTED, pictures=("image",), delimiter=delimiter)


# Rows


def _sample(
    row: Row, folders: Sequence[Path], embedded: dict[str, Picture], prompt: Prompt
) -> Sample:
    """One row as a question. `embedded`: row id -> its base64 picture, for later rows to share."""
    id_ = _text(row, "id") or _text(row, "index") or str(row.number)
    question = _text(row, "question")
    if not question:
        raise row.error("the question is empty")
    options = _options(row)
    target, options = _target(row, options)
    pictures, place = _pictures(row, folders, embedded)
    if "image" in row.cells:
        embedded[id_] = pictures[0]
    return Sample(
        id=id_,
        parts=_interleave(row, _ask(prompt, _text(row, "hint"), question, options), pictures),
        target=target,
        options=options,
        tags={"kind": _kind(options)} | _tags(row),
        group=_text(row, "group"),
        cluster=_text(row, "cluster") or place or id_,
    )


def _text(row: Row, column: str) -> str:
    """The column as text without white space around it; "" if absent, null or NaN."""
    return _as_text(row, column, row.values.get(column))


def _as_text(row: Row, column: str, value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 3.0 is how pandas writes 3 into a column with empty cells
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise row.error(f"{column} should be a text or a number but is {_describe(value)}")
    text = str(value).strip()
    try:
        text.encode()
    except UnicodeEncodeError:
        raise row.error(f"{column} holds half a character (a lone surrogate): {text!a}") from None
    return text


def _describe(value: Any) -> str:
    names = {list: "a list", dict: "an object", bool: str(value).lower()}
    return names.get(type(value), repr(value))


def _options(row: Row) -> dict[str, str]:
    """Label -> text. A blank option is none, and its label stays unused."""
    columns = {label: _text(row, label) for label in string.ascii_uppercase if label in row.values}
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


def _target(row: Row, options: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The right label or text, and the options, which an answer of Yes or True brings along."""
    value = row.values["answer"]
    answer = str(value) if isinstance(value, bool) else _text(row, "answer")
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


def _tags(row: Row) -> dict[str, str]:
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


def _pictures(
    row: Row, folders: Sequence[Path], embedded: Mapping[str, Picture]
) -> tuple[tuple[Picture, ...], str]:
    """The row's pictures, and a name that rows about the same pictures share ("" if it has
    none)."""
    names = {column: _names(row, column) for column in PICTURE_COLUMNS}
    if "image" in row.cells:
        # VLMEvalKit's image_path only names the base64 picture then.
        picture = row.picture("image")
        return (picture,), " | ".join(names["image_path"]) or picture.name
    given = [column for column in PICTURE_COLUMNS if names[column]]
    if not given:
        return (), ""
    if len(given) > 1:
        raise row.error(f"there are both {' and '.join(given)}", "Keep one of them.")
    if len(names[given[0]]) == 1 and names[given[0]][0] in embedded:
        picture = embedded[names[given[0]][0]]
        return (picture,), picture.name
    pictures = tuple(_find(row, folders, name) for name in names[given[0]])
    return pictures, " | ".join(names[given[0]])


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


def _interleave(row: Row, text: str, pictures: Sequence[Picture]) -> tuple[Part, ...]:
    pieces = text.split("<image>")
    if len(pieces) == 1:
        return (*pictures, text)
    if len(pieces) != len(pictures) + 1:
        raise row.error(
            f"<image> stands {len(pieces) - 1} times in the question, "
            f"which has {len(pictures)} pictures"
        )
    parts: list[Part] = []
    for piece, picture in zip_longest(pieces, pictures):
        if piece.strip():
            parts.append(piece.strip("\n"))
        if picture is not None:
            parts.append(picture)
    return tuple(parts)


# Prompts and rules

INSTRUCTIONS = {
    "yes/no": "Please answer yes or no.",  # MME's
    "true/false": "Please answer true or false.",
    "short": "Answer the question using a single word or phrase.",  # LLaVA-1.5's for VQAv2
}

SPARE = Prompt(
    "spare", "The question, its options if any, and a line that says how to answer.", ("spare",)
)
SPARE_LETTERED = Prompt(SPARE.name, SPARE.about, ("spare", "vlmevalkit"))
VLMEVALKIT = Prompt(
    "vlmevalkit", "VLMEvalKit's default multiple-choice prompt.", ("vlmevalkit", "spare")
)


def _kind(options: Mapping[str, str]) -> str:
    """What is asked for, and so which instruction and which reader serve."""
    if not options:
        return "short"
    first = next(iter(options))
    return {"Yes": "yes/no", "True": "true/false"}.get(first, "multiple choice")


def _ask(prompt: Prompt, hint: str, question: str, options: Mapping[str, str]) -> str:
    kind = _kind(options)
    if prompt.name == "vlmevalkit":
        return (f"Hint: {hint}\n" if hint else "") + multiple_choice.ask_vlmevalkit(
            question, options
        )
    question = f"{hint}\n{question}" if hint else question
    if kind == "multiple choice":
        return multiple_choice.ask_spare(question, options)
    return f"{question}\n{INSTRUCTIONS[kind]}"


def _judge(sample: Sample, reply: Reply) -> Verdict:
    kind = _kind(sample.options)
    if kind == "multiple choice":
        return multiple_choice.judge_spare(sample, reply)
    if kind == "short":
        reading = answers.read_short(reply.text)
        right = answers.same_short(reply.text, sample.target)
    else:
        read = answers.read_yes_no if kind == "yes/no" else answers.read_true_false
        reading = read(reply.text)
        right = reading.answer == sample.target
    return Verdict(reading.answer, float(right), reading.status)


RULES = {
    "spare": Rules(
        "spare",
        "A letter or an option's text; yes or no; true or false; or the short answer itself.",
        _judge,
    ),
    "vlmevalkit": Rules(
        "vlmevalkit",
        "VLMEvalKit's matching of letters and option texts, without a judge model.",
        partial(multiple_choice.judge_vlmevalkit, "g3"),
        source="VLMEvalKit e8e78f05, can_infer",
    ),
}


FIGURES: Mapping[str, str] = {
    "accuracy": "questions answered right",
    "group_accuracy": "groups whose questions are all right",
}


def summarise(judged: Iterable[Judged], rules: str) -> list[Metric]:
    accuracy, whole = Metric("accuracy"), Metric("group_accuracy")
    groups: dict[str, tuple[float, str]] = {}
    for one in judged:
        accuracy.add(one.verdict.score, cluster=one.cluster)
        if one.group:
            score, cluster = groups.get(one.group, (1.0, one.cluster))
            groups[one.group] = (min(score, one.verdict.score), cluster)
    for score, cluster in groups.values():
        whole.add(score, cluster=cluster)
    return [accuracy, whole] if groups else [accuracy]
