"""A user's own questions: `--tasks custom:FILE`, one file of JSON Lines, JSON, TSV or CSV.

A row is a question; `docs/custom_tasks.md` shows files to copy. Columns:

question     the question. Each `<image>` in it is the place of a picture; without any, the pictures
             come first. In hints and options it is plain text.
answer       the right option's label or its text; Yes or No; True or False; or a short answer.
options      (JSON) a list of texts or an object label -> text. In tables, and as VLMEvalKit's files
             have it: one column per option, A to Z. An empty cell is no option; "None", "NA" and
             "nan" are texts like any other.
image        a picture file, relative to the questions' folder or to --data; in tables and JSON
             Lines also base64, or the id of an earlier row that holds it. A list (in a table
             spelled "['1.jpg', '2.jpg']"), or `images`, if there are several; `image_path` as in
             VLMEvalKit's files. None of them: a question without a picture.
id, index    unique; the row number if absent.
hint         put before the question.
group        rows that are right or wrong together: they give `group_accuracy` too.
cluster      rows that are not independent, for the intervals; the picture if absent.
any other    text (up to 200 characters), number or true/false: a tag that scores can be broken down
             by. `kind` is added if there is none: multiple choice, yes/no, true/false or short.

Each row decides its own kind: with options it is multiple choice; else its answer tells. Files of
multiple choice only can also be asked and read as VLMEvalKit does, unless they have an option that
it would lose. A column that is probably meant for one of these (`choices`, `Image`) is refused: as
a tag it would leave the question without its options or pictures.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

from spare.errors import DataError
from spare.images import Picture
from spare.tasks import answers, multiple_choice
from spare.tasks.custom_rows import (
    PICTURE_COLUMNS,
    PLACE,
    WANTED,
    misnamed,
    options_of,
    pictures_of,
    tags_of,
    target_of,
    text_of,
)
from spare.tasks.files import PANDAS_NA, Row, read_json, read_json_lines, read_table
from spare.tasks.mending import OnFault
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
SHOWN = 20
"""Faulty rows that are quoted; all are counted."""


def custom_task(file: str) -> Task:
    """The questions in `file` (a path as the shell sees it) as a task called `custom:<stem>`.

    The file is read once here, so its faults come out before anything else happens. Raises
    DataError with file and row; if several rows are faulty, with a line for each of the first 20.
    """
    if not file:
        raise DataError("custom: is followed by no file", remedy="docs/custom_tasks.md shows some.")
    path = Path(os.path.expanduser(file))
    files = _locate(path, path.parent, "all")
    chances, groups, for_vlmevalkit = [], dict[str, float](), True
    for sample in _without_faults(files):
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


def _without_faults(files: Files) -> Iterator[Sample]:
    """The questions of a file. Raises at the end what is wrong with all its rows."""
    faults: list[DataError] = []
    count = 0

    def on_fault(fault: DataError) -> None:
        nonlocal count
        count += 1
        if count <= SHOWN:
            faults.append(fault)

    try:
        yield from _questions(files, SPARE, on_fault)
    except DataError as fault:  # of the whole file
        on_fault(fault)
    if count == 1:
        raise faults[0]
    if faults:
        path = files.annotations[0]
        lines = [str(fault).removeprefix(f"{path}, ") for fault in faults]
        more = [f"and {count - SHOWN:,} more"] if count > SHOWN else []
        shown = "\n  ".join([f"{count:,} rows are faulty", *lines, *more])
        raise DataError(shown.removesuffix("."), path)


def _locate(path: Path, data: Path, split: str) -> Files:
    layout = LAYOUTS.get(path.suffix.lower())
    if layout is None:
        raise DataError(
            f"questions come in files that end in {', '.join(LAYOUTS)}",
            path,
            remedy="Rename or convert it.",
        )
    if os.path.isdir(path):
        raise DataError("this is a folder, and custom:FILE takes one file", path)
    if not os.path.exists(path):
        raise DataError(
            "there is no such file",
            path,
            remedy="custom:FILE takes a path relative to the current folder.",
        )
    if not os.path.isfile(path):  # a pipe can be read once only
        raise DataError("this is no ordinary file", path, remedy="Save the questions in one.")
    return Files((path,), (path.parent, data), layout)


def _read(files: Files, split: str, prompt: Prompt) -> Iterator[Sample]:
    def stop(fault: DataError) -> None:
        raise fault

    return _questions(files, prompt, stop)


def _questions(files: Files, prompt: Prompt, on_fault: OnFault) -> Iterator[Sample]:
    seen: dict[str, int] = {}
    embedded: dict[str, tuple[Picture, ...]] = {}
    for row in _rows(files, on_fault):
        try:
            sample = _sample(row, files.pictures, embedded, prompt)
            if sample.id in seen:
                raise row.error(
                    f"id {sample.id!r} was used in row {seen[sample.id]} already",
                    "Give every question an id of its own.",
                )
        except DataError as fault:
            on_fault(fault)
            continue
        seen[sample.id] = row.number
        yield sample


def _rows(files: Files, on_fault: OnFault) -> Iterator[Row]:
    path = files.annotations[0]
    if files.layout == "jsonl":
        return read_json_lines(path, WANTED, PICTURE_COLUMNS, on_fault)
    if files.layout == "json":
        return read_json(path, WANTED, on_fault=on_fault)
    delimiter = "\t" if files.layout == "tsv" else ","
    return read_table(path, WANTED, ("image", "images"), delimiter, on_fault=on_fault)


# Rows


def _sample(
    row: Row, folders: Sequence[Path], embedded: dict[str, tuple[Picture, ...]], prompt: Prompt
) -> Sample:
    """One row as a question. `embedded`: row id -> its base64 pictures, for later rows to share."""
    if problem := misnamed((*row.values, *row.cells)):
        raise row.error(*problem)
    id_ = text_of(row, "id") or text_of(row, "index") or str(row.number)
    question = text_of(row, "question")
    if not question:
        raise row.error("the question is empty")
    options = options_of(row)
    target, options = target_of(row, options)
    pictures, place = pictures_of(row, folders, embedded)
    if row.cells:
        embedded[id_] = pictures
    places = question.count("<image>")
    if places not in (0, len(pictures)):
        are = "is 1 picture" if len(pictures) == 1 else f"are {len(pictures)} pictures"
        raise row.error(
            f"<image> stands {places} times in the question, and there {are}",
            "Each marks the place of one picture; leave all out to have the pictures first.",
        )
    asked = _ask(prompt, text_of(row, "hint"), question.replace("<image>", PLACE), options)
    return Sample(
        id=id_,
        parts=_interleave(asked, pictures),
        target=target,
        options=options,
        tags={"kind": _kind(options)} | tags_of(row),
        group=text_of(row, "group"),
        cluster=text_of(row, "cluster") or place or id_,
    )


def _interleave(text: str, pictures: Sequence[Picture]) -> tuple[Part, ...]:
    pieces = text.split(PLACE)
    if len(pieces) == 1:
        return (*pictures, text)
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
