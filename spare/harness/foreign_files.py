"""Files in which other harnesses save replies.

Read are VLMEvalKit's prediction files (xlsx, tsv, csv, json), the sample logs of lmms-eval and
lm-eval (`--log_samples`, JSON Lines), MMMU's official output files (JSON, one or a folder of them),
MME's result folder (a txt file per sub-task), and runs of ours.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spare.errors import DataError, SpareError
from spare.harness.lines import read_log
from spare.tasks.files import read_table

ID_COLUMNS = ("id", "index", "qid", "question_id")
"""Columns in which other harnesses keep what we take for the id of a sample, best first."""


@dataclass(frozen=True, slots=True)
class ForeignReply:
    """A reply as another harness saved it.

    Attributes:
        file, number: where it stands; the row, line or element, counted from 1.
        position: its place among the benchmark's questions, counted from 0.
        names: column -> what may be the question's id.
        asked: the question, or the whole prompt; "" if the file does not have it.
        target: the right answer; "" if the file does not have it.
        split: the split that it belongs to; "" if the file does not say.
        text: the reply; None if the cell is blank, which may be an empty reply or a lost one.
    """

    file: Path
    number: int
    position: int
    text: str | None
    names: Mapping[str, str] = field(default_factory=dict)
    asked: str = ""
    target: str = ""
    split: str = ""

    def error(self, problem: str, remedy: str = "") -> DataError:
        return DataError(problem, self.file, self.number, remedy)


def read_replies(path: Path) -> tuple[str, list[ForeignReply]]:
    """The harness that wrote a file or folder, and the replies in it.

    Raises SpareError if it is no such file, or a part of it cannot be read.
    """
    if not path.exists():
        raise SpareError(f"There is no {path}.")
    if path.is_dir():
        return _read_folder(path)
    readers: Mapping[str, Callable[[Path], tuple[str, Iterator[ForeignReply]]]] = {
        ".xlsx": lambda path: ("vlmevalkit", _read_rows(path, _sheet(path))),
        ".tsv": lambda path: ("vlmevalkit", _read_rows(path, _table(path, "\t"))),
        ".csv": lambda path: ("vlmevalkit", _read_rows(path, _table(path, ","))),
        ".json": _read_json,
        ".jsonl": _read_samples,
        ".txt": lambda path: ("official", _read_mme(path)),
    }
    if path.suffix not in readers:
        raise SpareError(
            f"{path} has none of the formats that are read: {', '.join(readers)}, or a folder."
        )
    harness, replies = readers[path.suffix](path)
    found = list(replies)
    if not found:
        raise SpareError(f"{path} holds no replies.")
    return harness, found


def _read_folder(path: Path) -> tuple[str, list[ForeignReply]]:
    # lm-eval keeps results_*.json beside its sample logs, so the logs are looked for first.
    logs = sorted(file for file in path.glob("*.jsonl") if file.is_file())
    if logs:
        harness, _ = _read_samples(logs[0])
        return harness, list(itertools.chain.from_iterable(map(_sample_lines, logs)))
    for suffix, read in ((".txt", _read_mme), (".json", _read_mmmu)):
        files = sorted(file for file in path.glob(f"*{suffix}") if file.is_file())
        if files:
            replies = itertools.chain.from_iterable(map(read, files))
            return "official", list(replies)
    raise SpareError(
        f"{path} holds neither sample logs of lm-eval or lmms-eval (*.jsonl), nor MME's result "
        "files (*.txt), nor MMMU's official output (*.json)."
    )


Rows = Iterator[tuple[int, Mapping[str, Any]]]


def _read_rows(path: Path, rows: Rows) -> Iterator[ForeignReply]:
    """VLMEvalKit's table: the benchmark's own columns without the picture, and `prediction`."""
    for position, (number, row) in enumerate(rows):
        if "prediction" not in row:
            raise DataError(
                f"there is no column prediction among {', '.join(map(str, row))[:200]}", path
            )
        text = row["prediction"]
        yield ForeignReply(
            file=path,
            number=number,
            position=position,
            text=None if text is None or text == "" else str(text),
            names={name: _id(row[name]) for name in ID_COLUMNS if row.get(name) is not None},
            asked=str(row.get("question") or ""),
            target=str(row.get("answer") or ""),
            split=str(row.get("split") or ""),
        )


def _id(value: Any) -> str:
    """An index that pandas made a float is an integer again."""
    text = str(value)
    return text.removesuffix(".0") if re.fullmatch(r"\d+\.0", text) else text


def _table(path: Path, delimiter: str) -> Rows:
    for row in read_table(path, ("prediction",), delimiter=delimiter):
        yield row.number, row.values


def _sheet(path: Path) -> Rows:
    import zipfile

    import openpyxl

    try:
        book = openpyxl.load_workbook(path, read_only=True)
        rows = book.worksheets[0].iter_rows(values_only=True)
        header = [str(name) for name in next(rows, ())]
        for number, cells in enumerate(rows, 1):
            yield number, dict(zip(header, cells, strict=False))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise DataError(f"not a whole spreadsheet ({error})", path) from None


def _read_json(path: Path) -> tuple[str, Iterator[ForeignReply]]:
    values = _load_json(path)
    if isinstance(values, dict):
        return "official", _read_answers(path, values)
    if values and "prediction" in values[0]:
        return "vlmevalkit", _read_rows(path, enumerate(values, 1))
    return "official", _read_mmmu(path)


def _read_mmmu(path: Path) -> Iterator[ForeignReply]:
    """MMMU's official output: objects with `id` and `response`."""
    values = _load_json(path)
    if isinstance(values, dict):
        yield from _read_answers(path, values)
        return
    for number, value in enumerate(values, 1):
        if not isinstance(value.get("id"), str) or not isinstance(value.get("response"), str):
            raise DataError(
                "neither VLMEvalKit's `prediction` nor MMMU's `id` and `response` are here",
                path,
                number,
            )
        # The questions are not in it; the right answers are.
        yield ForeignReply(
            file=path,
            number=number,
            position=number - 1,
            text=value["response"],
            names={"id": value["id"]},
            target=str(value.get("answer") or ""),
        )


def _read_answers(path: Path, values: Mapping[str, Any]) -> Iterator[ForeignReply]:
    """MMMU's `total_val_output.json`: id -> what was answered."""
    for position, (name, answer) in enumerate(values.items()):
        if not isinstance(answer, str):
            raise DataError(f"the answer to {name} is no text", path, position + 1)
        yield ForeignReply(
            file=path, number=position + 1, position=position, text=answer, names={"id": name}
        )


def _load_json(path: Path) -> list[dict[str, Any]] | dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})", path) from None
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror})", path) from None
    if isinstance(values, dict) and values:
        return values
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DataError(
            "neither VLMEvalKit's predictions nor MMMU's official output, which are lists of "
            "objects",
            path,
        )
    return values


def _read_samples(path: Path) -> tuple[str, Iterator[ForeignReply]]:
    """The sample log of lm-eval or of lmms-eval."""
    with path.open("rb") as file:
        first = file.readline()
    # Both have kept hashes of prompts; only lm-eval keeps the arguments of its calls.
    return "lm-eval" if b'"arguments"' in first else "lmms-eval", _sample_lines(path)


def own_log(path: Path) -> Path | None:
    """The replies of a run of ours, if a path is one or its `replies.jsonl`."""
    path = path / "replies.jsonl" if (path / "manifest.json").exists() else path
    if path.name != "replies.jsonl" or not path.is_file():
        return None
    return path if next(read_log(path), None) else None


def read_own(path: Path, task: str, split: str, prompt: str) -> tuple[str, str, list[ForeignReply]]:
    """Split, prompt and replies of one task in a run of ours: to each question the last one."""
    found: dict[tuple[str, str], dict[str, ForeignReply]] = {}
    for number, (_, line) in enumerate(read_log(path), 1):
        place = line["split"], line["prompt"]
        asked_for = line["task"] == task and split in ("", place[0]) and prompt in ("", place[1])
        if not asked_for or "error" in line:
            continue
        if "likelihoods" in line:
            raise DataError("a written reply was expected, and not likelihoods", path, number)
        replies = found.setdefault(place, {})
        replies[line["id"]] = ForeignReply(
            file=path,
            number=number,
            position=len(replies),
            text=line["text"],
            names={"id": line["id"]},
            asked="\n".join(part for part in line["parts"] if isinstance(part, str)),
            target=line["target"],
        )
    if not found:
        raise SpareError(f"{path} has no replies to {' '.join((task, split, prompt)).strip()}.")
    if len(found) > 1:
        several = " and ".join(" ".join(place) for place in found)
        raise SpareError(
            f"{path} has replies to {task} by {several}; choose with --prompt, --split."
        )
    ((split, prompt), replies), *_ = found.items()
    return split, prompt, list(replies.values())


def _sample_lines(path: Path) -> Iterator[ForeignReply]:
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            try:
                line = json.loads(data)
            except ValueError as error:
                raise DataError(f"not JSON ({error})", path, number) from None
            place = line.get("doc_id") if isinstance(line, dict) else None
            if type(place) is not int or place < 0:
                raise DataError("a sample log of lmms-eval or lm-eval was expected", path, number)
            text = _only(line.get("resps", line.get("filtered_resps")))
            if text is None:
                raise DataError(
                    "one written reply was expected in resps or filtered_resps", path, number
                )
            yield ForeignReply(
                file=path,
                number=number,
                position=place,
                text=text,
                names=_sample_names(line),
                asked=_asked(line),
                target=str(line.get("target") or ""),
            )


def _only(value: Any) -> str | None:
    """The one text in nested lists of one element."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else None


def _asked(line: Mapping[str, Any]) -> str:
    asked = line.get("input") or line.get("arguments") or ""
    while isinstance(asked, Mapping):  # lm-eval: {"gen_args_0": {"arg_0": prompt}}
        asked = next(iter(asked.values()), "")
    return asked if isinstance(asked, str) else ""


def _sample_names(line: Mapping[str, Any]) -> dict[str, str]:
    """Ids in a sample's own record, or in what its metrics carry along."""
    holders = [line.get("doc"), *line.values()]
    return {
        name: str(holder[name])
        for holder in holders
        if isinstance(holder, Mapping)
        for name in ID_COLUMNS
        if isinstance(holder.get(name), str | int)
    }


def _read_mme(path: Path) -> Iterator[ForeignReply]:
    """A file of MME's result folder: picture, question, answer and reply between tabs."""
    seen: dict[str, int] = {}
    text = path.read_bytes().decode("utf-8", "replace")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != 4:
            raise DataError(
                f"picture, question, answer and reply were expected between tabs, but there are "
                f"{len(cells)} cells",
                path,
                number,
                "Tabs and line ends inside a reply must be replaced by spaces.",
            )
        picture, question, answer, reply = cells
        seen[picture] = seen.get(picture, 0) + 1
        yield ForeignReply(
            file=path,
            number=number,
            position=number - 1,
            text=reply,
            names={"picture": f"{path.stem}/{picture}", "id": f"{path.stem}/{picture}/{answer}"},
            asked=question,
            target=answer,
        )
