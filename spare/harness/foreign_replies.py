"""Replies that another harness saved, as a run of ours: `spare score --replies`.

Read are VLMEvalKit's prediction files (xlsx, tsv, csv, json), the sample logs of lmms-eval and
lm-eval (`--log_samples`, JSON Lines), MMMU's official output files (JSON, one or a folder of them),
MME's result folder (a txt file per sub-task), and runs of ours, to judge them by other files.

A reply is joined to a question only if there is no doubt about it: by the id where the file has
our ids, else by its place in the file; and in both cases what the file says of question and answer
must fit. Whatever is missing, doubled or left over is refused: nothing is scored on a guess.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spare import disk
from spare.errors import DataError, SpareError, counted
from spare.harness import run as runs
from spare.harness.asking import Evaluation, Event
from spare.harness.evaluate import choose, open_manifest, record, submit
from spare.harness.lines import ReplyLog, digest_json, read_log, reply_line
from spare.harness.run import Run
from spare.harness.scoring import score_evaluation
from spare.tasks import load_task
from spare.tasks.files import PANDAS_NA, read_table
from spare.tasks.types import Reply, Sample

CELL = 32_767
"""Characters that a spreadsheet's cell holds; longer texts were cut there."""

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


def score_replies(
    task: str,
    replies: str | Path,
    *,
    data: str | Path,
    out: str | Path,
    split: str = "",
    prompt: str = "",
    rules: str = "",
    on_event: Callable[[Event], None] = lambda event: None,
) -> Run:
    """Judge replies that another harness saved.

    Args:
        task: name of the benchmark that was asked.
        replies: the harness's file, or its folder.
        data: folder with the benchmark's published files, which have the right answers.
        out: run directory to keep the replies in.
        split: the task's default one if empty.
        prompt: way of asking that the harness used; its own if the task has it, else the default.
        rules: a rule set, or "all"; the prompt's default if empty.

    Raises:
        SpareError: the replies do not belong to these questions, one by one.
    """
    path = Path(replies)
    chosen = load_task(task)
    own = _own_log(path)
    if own:
        harness = "spare"
        split, prompt, found = _read_own(own, task, split, prompt)
    else:
        harness, found = read_replies(path)
        prompt = prompt or (harness if harness in chosen.prompts else "")
    evaluation = choose(chosen, Path(data), split, prompt, rules, None)
    with disk.locked(Path(out)):
        evaluation.count_samples()
        matched = match(found, evaluation)
        identity = {"engine": "replies", "harness": harness, "replies": _digest(path)}
        evaluation.fingerprint = digest_json(identity)
        manifest = open_manifest(Path(out), identity, [evaluation])
        record(manifest, evaluation, lazy_groups=False)
        disk.write_json(Path(out) / "manifest.json", manifest)
        with contextlib.closing(ReplyLog(Path(out) / "replies.jsonl")) as log:
            on_event(f"{chosen.name}: {counted(len(matched), 'reply')} of {harness}")
            if not any(reply.asked or reply.target for reply in found):
                on_event(
                    "The file has neither questions nor right answers: that these are replies to "
                    f"{chosen.name} and to no other benchmark, nothing but their ids can tell."
                )
            for number, sample in enumerate(evaluation.samples()):
                key, digests, _ = evaluation.key(sample)
                evaluation.keys[number] = key
                if key not in log:
                    reply = Reply(matched[sample.id].text or "")
                    log.append(reply_line(key, evaluation.place, sample, digests, reply))
            if chosen.submission:  # its answers are not public, so nothing can be scored
                submit(Path(out), manifest, evaluation, 0, log, on_event)
            else:
                score_evaluation(Path(out), evaluation, log)
    return runs.load_run(out)


# Joining replies and questions


def match(replies: Sequence[ForeignReply], evaluation: Evaluation) -> dict[str, ForeignReply]:
    """Sample id -> its reply. Raises SpareError unless every question has exactly one."""
    ids = [sample.id for sample in evaluation.samples()]
    replies = _of_split(replies, evaluation.split)
    column = _id_column(replies, set(ids))
    matched: dict[str, ForeignReply] = {}
    if column:
        for reply in replies:
            name = reply.names[column]
            if name in matched:
                raise reply.error(
                    f"{column} {name!r} stands in {_row(matched[name], reply)} already"
                )
            matched[name] = reply
    else:
        _require_order(replies)
        _require_places(replies, len(ids), evaluation)
        by_position = {reply.position: reply for reply in replies}
        matched = {name: by_position[position] for position, name in enumerate(ids)}
    missing = [name for name in ids if name not in matched]
    if missing:
        raise DataError(
            f"{len(missing):,} of the {len(ids):,} questions of {evaluation.task.name} have no "
            f"reply: {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}",
            replies[0].file,
            remedy="A part of a benchmark has no score; let the harness finish.",
        )
    known = set(ids)
    extra = [name for name in matched if name not in known]
    if extra:
        raise matched[extra[0]].error(
            f"{len(extra):,} replies are to questions that {evaluation.task.name} does not have, "
            f"{extra[0]!r} the first of them"
        )
    _check_contents(matched, evaluation)
    return matched


def _row(first: ForeignReply, second: ForeignReply) -> str:
    """Where the first of two replies stands, for a sentence about the second."""
    return f"row {first.number}" + ("" if first.file == second.file else f" of {first.file}")


def _of_split(replies: Sequence[ForeignReply], split: str) -> Sequence[ForeignReply]:
    """VLMEvalKit keeps two splits of MMMU in one file."""
    ours = [reply for reply in replies if reply.split == split]
    return ours if ours else replies


def _id_column(replies: Sequence[ForeignReply], ids: set[str]) -> str:
    """The column that has our ids; "" if there is none."""
    for column in replies[0].names:
        known = sum(reply.names.get(column, "") in ids for reply in replies)
        # Most are enough to tell what the column means; the others are missing or left over.
        if 2 * known > len(replies) and all(column in reply.names for reply in replies):
            distinct = {reply.names[column] for reply in replies}
            if 2 * len(distinct) > len(replies):
                return column
    return ""


def _require_order(replies: Sequence[ForeignReply]) -> None:
    """VLMEvalKit numbers the rows of its tables. Where the numbers are not our ids they still tell
    of rows that were moved, doubled or taken away."""
    if not all("index" in reply.names for reply in replies):
        return
    seen: dict[str, ForeignReply] = {}
    numbered = all(reply.names["index"].isdecimal() for reply in replies)
    before = -1
    for reply in replies:
        name = reply.names["index"]
        if name in seen:
            raise reply.error(f"index {name} stands in {_row(seen[name], reply)} already")
        seen[name] = reply
        if numbered and int(name) < before:
            raise reply.error(
                f"index {name} stands behind index {before}, so the rows are not in the "
                "benchmark's order",
                "Sort the file by index.",
            )
        before = int(name) if numbered else before


def _require_places(
    replies: Sequence[ForeignReply], questions: int, evaluation: Evaluation
) -> None:
    seen: dict[int, ForeignReply] = {}
    for reply in replies:
        if reply.position in seen and seen[reply.position].file != reply.file:
            raise DataError(
                f"{reply.file.name} counts from 0 as others beside it do, and its ids, if it has "
                f"any, are not those of {evaluation.task.name}",
                reply.file.parent,
                remedy="The replies may belong to another benchmark, split or version of its "
                "files.",
            )
        if reply.position in seen:
            where = _row(seen[reply.position], reply)
            raise reply.error(f"question {reply.position} was answered in {where} too")
        if reply.position >= questions:
            raise reply.error(
                f"this is question {reply.position}, counted from 0, and {evaluation.task.name} "
                f"has {questions:,}",
                "The replies may belong to another benchmark, split or version of its files.",
            )
        seen[reply.position] = reply
    if len(replies) != questions:
        raise DataError(
            f"there are {len(replies):,} replies, and {evaluation.task.name} has {questions:,} "
            "questions",
            replies[0].file,
            remedy="The replies may belong to another benchmark, or are a part of one, which has "
            "no score.",
        )


def _check_contents(matched: Mapping[str, ForeignReply], evaluation: Evaluation) -> None:
    """Each reply must be to the question that it was joined to, as far as its file tells."""
    # Words that all prompts share (the instruction) tell nothing.
    common: set[str] = set.intersection(*(_words(sample) for sample in evaluation.samples()))
    for sample in evaluation.samples():
        reply = matched[sample.id]
        wrong = _contradiction(sample, reply, common)
        if wrong:
            raise reply.error(
                f"{wrong}, unlike question {sample.id} of {evaluation.task.name}",
                "The replies may belong to another benchmark, or to files with the questions in "
                "another order: name the files that the harness read with --data.",
            )
        text = reply.text
        if text is not None and reply.file.suffix == ".xlsx" and len(text) >= CELL:
            raise reply.error(
                f"the reply has {len(text):,} characters, as many as a spreadsheet's cell holds, "
                "so its end was cut off",
                "Let VLMEvalKit write TSV or JSON (PRED_FORMAT=tsv).",
            )
        if text is None and _may_be_lost(sample, evaluation):
            raise reply.error(
                "the reply is blank, and tables that pandas has read and written lose replies "
                'such as "None" and "NA", which may be an answer here',
                "Give the file as VLMEvalKit first wrote it, or as JSON.",
            )


def _may_be_lost(sample: Sample, evaluation: Evaluation) -> bool:
    """Whether a text that pandas takes for nothing would be judged otherwise than nothing, now or
    under other rules later: it may be an answer, or begin like one ("None" begins with "no")."""
    if not sample.options:
        return True

    task = evaluation.task
    rules = [name for name in evaluation.prompt.rules if not task.rules[name].question]

    def scores(text: str) -> list[float]:
        return [task.judge(sample, Reply(text), name).score for name in rules]

    nothing = scores("")
    return any(scores(text) != nothing for text in PANDAS_NA)


def _contradiction(sample: Sample, reply: ForeignReply, common: set[str]) -> str:
    ours = _words(sample) - common
    theirs = set(_WORD.findall(reply.asked.casefold())) - common
    if ours and theirs and 2 * len(ours & theirs) < min(len(ours), len(theirs)):
        return f"it asks {reply.asked[:80]!r}"
    labels = {label.casefold(): label for label in sample.options}
    answer = labels.get(reply.target.strip().casefold())
    if answer and sample.target and answer != sample.target:
        return f"its answer is {answer}, not {sample.target}"
    return ""


_WORD = re.compile(r"\w+")


def _words(sample: Sample) -> set[str]:
    text = "\n".join(part for part in sample.parts if isinstance(part, str))
    return set(_WORD.findall(text.casefold()))


# Reading


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


def _own_log(path: Path) -> Path | None:
    """The replies of a run of ours, if a path is one or its `replies.jsonl`."""
    path = path / "replies.jsonl" if (path / "manifest.json").exists() else path
    if path.name != "replies.jsonl" or not path.is_file():
        return None
    return path if next(read_log(path), None) else None


def _read_own(
    path: Path, task: str, split: str, prompt: str
) -> tuple[str, str, list[ForeignReply]]:
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


def _digest(path: Path) -> str:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()
