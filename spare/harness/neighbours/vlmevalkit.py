"""Our tasks as VLMEvalKit's: for each a table of questions (TSV) with its pictures beside it, laid
out as VLMEvalKit's data folder, and one JSON file from which `vlmeval.run --config` loads them all.

A picture is written as a PNG of what every engine of ours sees: upright, opaque, 8-bit RGB. The
table names it by its full path, because VLMEvalKit would write one that stood in the table anew.

VLMEvalKit has four classes that a table of one's own fits, and a task gets the first that makes the
prompt of `spare eval` of it, byte for byte:

- ImageMCQDataset: question and options A to Z, to which it adds words of its own. Ours are the same
  only under a prompt called vlmevalkit.
- ImageYORNDataset: the question as it stands, answered by Yes or No.
- ImageVQADataset: the question, and "Answer the question using a single word or phrase.".
- CustomVQADataset: the question as it stands. VLMEvalKit asks it and cannot score it.

What none of them can say is refused: pictures between or behind words, questions without a picture,
ranked options. Replies to all of them are judged by `spare score --replies`. What VLMEvalKit's own
`evaluate` gives for the first three is in docs/neighbours.md.
"""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import io
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spare import disk, images
from spare.errors import SpareError
from spare.harness.asking import Evaluation
from spare.harness.models.types import Request
from spare.harness.models.vlmevalkit import settings_of
from spare.harness.models.vlmevalkit_child import MISSING
from spare.harness.neighbours.differences import Observed, Seen, reading_of
from spare.harness.neighbours.processes import run_harness
from spare.images import Picture
from spare.tasks import multiple_choice
from spare.tasks.files import PANDAS_NA
from spare.tasks.types import Reply, Sample

CONFIG = "spare.json"

PLACEHOLDER = "<image>"
"""What stands for a picture where a message is spelt out."""

MODEL = "MODEL"
"""What stands in `CONFIG` for a model, until its user names one."""

OFFICIAL = {
    "vsr_zeroshot": "spare_VSR-zeroshot",
    "mme": "spare_MME",
    "hallusionbench": "spare_HallusionBench",
    "textvqa_val": "spare_TextVQA_VAL",
}
"""VLMEvalKit sums up by what a data set's name has in it; under these it gives the benchmark's own
figures."""

MEANINGFUL = (
    "MME", "Hallusion", "POPE", "AMBER", "VSR-zeroshot", "TextVQA", "ChartQA", "OCRVQA", "GQA",
    "DocVQA", "InfoVQA", "MMMU", "MMT", "MMSci", "MMVP", "BLINK",
)  # fmt: skip
MEANINGFUL_IN_ANY_CASE = ("mmbench", "ccbench", "circular", "mmcr", "video", "lego")
"""Words in a name that have VLMEvalKit judge or sum up in another way. Those of our own tasks are
meant."""

BRIEFLY = "\nAnswer the question using a single word or phrase."

ONE_CHUNK = 16_384
"""Rows that pandas surely reads in one piece. It guesses a column's type anew for each."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A question as far as all classes have it alike.

    Attributes:
        text: what is asked, whole.
        pictures: full paths of the pictures, which stand before it.
    """

    sample: Sample
    text: str
    pictures: tuple[str, ...]


_Cells = dict[str, str]


def write_task(evaluation: Evaluation, folder: Path) -> str:
    """See `Neighbour`."""
    task = evaluation.task
    if evaluation.prompt.rank:
        raise SpareError(
            f"The prompt {evaluation.prompt.name} of {task.name} ranks options by likelihood, and "
            "VLMEvalKit's models only write; choose another with --prompt."
        )
    name = _name(task.name)
    pictures = (folder / "images" / name).resolve()
    pictures.mkdir(parents=True, exist_ok=True)
    evaluation.count_samples()
    rows = [_row(task.name, sample, pictures) for sample in evaluation.samples()]
    kind, cells = _said(task.name, rows)
    number = not _survives([row.sample.id for row in rows], len(rows))
    for place, (row, line) in enumerate(zip(rows, cells, strict=True)):
        line["index"] = str(place) if number else row.sample.id
        line["image_path"] = row.pictures[0] if len(row.pictures) == 1 else repr(list(row.pictures))
        line.update(_tags(row.sample))
    _write_table(folder / f"{name}.tsv", cells)
    _write_config(folder / CONFIG, name, kind)
    return name


def command(folder: Path, names: Sequence[str]) -> str:
    """See `Neighbour`."""
    place = shlex.quote(str(folder.resolve()))
    return (
        f"LMUData={place} python -m vlmeval.run --config {place}/{CONFIG} --judge exact_matching\n"
        f"(name your model in {CONFIG}, in the place of {MODEL})"
    )


def observe(evaluation: Evaluation, checkpoint: str, folder: Path, settings: str = "") -> Observed:
    """See `Neighbour`. `settings` is a wrapper as the engine vlmevalkit has it; the checkpoint is
    given to it as `model_path`."""
    wrapper, _, rest = settings.partition(",")
    if not wrapper:
        raise SpareError(
            "VLMEvalKit has a wrapper for each family of models; name the one for this checkpoint: "
            "--against vlmevalkit:Qwen2-VL-2B-Instruct, or vlmevalkit:MODULE:CLASS."
        )
    if importlib.util.find_spec("vlmeval") is None:
        raise SpareError(f"{MISSING}.")
    name = write_task(evaluation, folder)
    made = json.dumps([wrapper, {"model_path": checkpoint, **settings_of(rest)}])
    lines_of = run_harness(
        "VLMEvalKit",
        evaluation.task.name,
        "vlmevalkit_run",
        [str(folder.resolve()), name, made],
        folder / "seen.jsonl",
    )
    return Observed(
        [
            _seen(evaluation, sample, line)
            for sample, line in zip(evaluation.samples(), lines_of, strict=True)
        ]
    )


def _seen(evaluation: Evaluation, sample: Sample, line: dict[str, Any]) -> Seen:
    verdict = evaluation.task.judge(sample, Reply(line["reply"]), evaluation.rules[0].name)
    ours = {"reading": reading_of(verdict), "score": verdict.score}
    return Seen(**{"id": sample.id, **ours, **line})


def spell(model: object, request: Request) -> str:
    """See `Neighbour`: the message that a wrapper is given. What it makes of that is not seen."""
    return "\n".join(part if isinstance(part, str) else PLACEHOLDER for part in request.parts)


def name_and_version() -> str:
    """See `Neighbour`."""
    return f"VLMEvalKit {importlib.metadata.version('ms-vlmeval')}"


def _name(task: str) -> str:
    name = f"spare_{task.removeprefix('custom:')}"
    if task in OFFICIAL:
        return OFFICIAL[task]
    if task.startswith("custom:"):
        found = [one for one in MEANINGFUL if one in name]
        found += [one for one in MEANINGFUL_IN_ANY_CASE if one in name.lower()]
        if found:
            raise SpareError(
                f"VLMEvalKit would take {name} for a data set of its own, since its name has "
                f"{found[0]} in it; rename the file."
            )
    return name


def _row(task: str, sample: Sample, folder: Path) -> _Row:
    *shown, text = sample.parts
    pictures = [part for part in shown if isinstance(part, Picture)]
    if not isinstance(text, str) or len(pictures) < len(shown):
        raise SpareError(
            f"Question {sample.id} of {task} has words before or between its pictures, and tables "
            "for VLMEvalKit have all pictures first; choose another prompt, or leave the task out."
        )
    if not pictures:
        raise SpareError(
            f"Question {sample.id} of {task} has no picture, and VLMEvalKit leaves such rows out; "
            "leave the task out."
        )
    return _Row(sample, text, tuple(_written(picture, folder) for picture in pictures))


def _written(picture: Picture, folder: Path) -> str:
    """The full path of a picture's PNG, which is written if it is not there."""
    path = folder / f"{images.digest(picture)[:32]}.png"
    if not path.exists():
        image = images.open_picture(picture)
        with disk.replaced(path) as file:
            image.save(file, "PNG", compress_level=1)
    return str(path)


# What can be said in which class


def _said(task: str, rows: Sequence[_Row]) -> tuple[str, list[_Cells]]:
    """The first class that asks what we ask, and its cells of every row."""
    ways: Mapping[str, Callable[[_Row], _Cells | None]] = {
        "ImageMCQDataset": _as_choice,
        "ImageYORNDataset": _as_yes_or_no,
        "ImageVQADataset": _as_brief,
        "CustomVQADataset": _as_it_stands,
    }
    for kind, way in ways.items():
        cells = _all(way, rows)
        if cells is not None and all(
            _survives([line.get(column, "") for line in cells], len(rows), column)
            for column in {column: None for line in cells for column in line}
        ):
            return kind, cells
    raise SpareError(
        f"VLMEvalKit reads its tables with pandas, which would spoil the questions of {task} "
        "(one looks like nothing, all look like numbers, or one has a zero byte in it); choose "
        "another prompt, or leave the task out."
    )


def _all(way: Callable[[_Row], _Cells | None], rows: Sequence[_Row]) -> list[_Cells] | None:
    found = []
    for row in rows:
        cells = way(row)
        if cells is None:
            return None
        found.append(cells)
    return found


def _as_choice(row: _Row) -> _Cells | None:
    options = row.sample.options
    if not {"A", "B"} <= set(options) or not all(_is_letter(label) for label in options):
        return None
    hint, mark, rest = row.text.partition("Question: ")
    if not mark or (hint and not (hint.startswith("Hint: ") and hint.endswith("\n"))):
        return None
    question = rest.partition("\nOptions:\n")[0]
    if row.text != hint + multiple_choice.ask_vlmevalkit(question, options):
        return None
    cells = {"question": question, **options}
    if hint:
        cells["hint"] = hint.removeprefix("Hint: ").removesuffix("\n")
    return _with_answer(cells, row.sample.target)


def _is_letter(label: str) -> bool:
    return len(label) == 1 and "A" <= label <= "Y"  # Z is none of them


def _as_yes_or_no(row: _Row) -> _Cells | None:
    if set(row.sample.options) != {"Yes", "No"}:
        return None
    return _with_answer({"question": row.text}, row.sample.target)


def _as_brief(row: _Row) -> _Cells | None:
    answers = row.sample.answers
    if not answers or not row.text.endswith(BRIEFLY):
        return None
    return {"question": row.text.removesuffix(BRIEFLY), "answer": repr(list(answers))}


def _as_it_stands(row: _Row) -> _Cells | None:
    # VLMEvalKit scores none of it, so an answer that pandas would lose is left out.
    answer = row.sample.target
    return _with_answer({"question": row.text}, "" if answer in PANDAS_NA else answer)


def _with_answer(cells: _Cells, answer: str) -> _Cells:
    return {**cells, "answer": answer} if answer else cells


def _survives(cells: Sequence[str], rows: int, column: str = "index") -> bool:
    """Whether pandas gives back the texts of a column. "" is a cell that is not there."""
    if column == "answer" and not any(_is_letter(cell) for cell in cells if cell):
        return True  # nothing but our own reader looks at it
    there = [cell for cell in cells if cell]
    if any(cell in PANDAS_NA or "\0" in cell for cell in there):
        return False
    if column in ("question", "index") and len(there) < len(cells):
        return False
    odd = [cell for cell in there if _is_number(cell) or cell.lower() in ("true", "false")]
    if not odd or (len(odd) < len(there) and rows <= ONE_CHUNK):
        return True  # one text among them makes all of them texts
    if column == "question":  # it is handed on as it is, and a number has no words
        return False
    return len(there) == len(cells) and all(
        cell in ("True", "False") or (len(cell) < 18 and cell == _integer(cell)) for cell in odd
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _integer(cell: str) -> str:
    try:
        return str(int(cell))
    except ValueError:
        return ""


def _tags(sample: Sample) -> _Cells:
    """VLMEvalKit breaks its figures down by `category` and `l2-category`."""
    tags = sample.tags
    category = tags.get("subtask") or tags.get("category") or tags.get("relation") or ""
    finer = tags.get("subcategory") or (tags.get("relation") if tags.get("category") else "") or ""
    found = {"category": category, "l2-category": finer}
    return {name: value for name, value in found.items() if value and value not in PANDAS_NA}


# Files


def _write_table(path: Path, cells: Sequence[_Cells]) -> None:
    found = list(dict.fromkeys(name for line in cells for name in line))
    first = ["index", "hint", "question", *map(chr, range(ord("A"), ord("Z")))]
    columns = sorted(found, key=lambda name: first.index(name) if name in first else len(first))
    text = io.StringIO(newline="")
    table = csv.DictWriter(
        text, columns, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n", restval=""
    )
    table.writeheader()
    table.writerows(cells)
    try:
        content = text.getvalue().encode()
    except UnicodeEncodeError:
        raise SpareError(
            f"A question for {path} holds half a character (a lone surrogate); change the data."
        ) from None
    with disk.replaced(path) as file:
        file.write(content)


def _write_config(path: Path, name: str, kind: str) -> None:
    """Add a task to what is there. Models that were named stay."""
    config: dict[str, Any] = {"model": {MODEL: {}}, "data": {}}
    if path.exists():
        try:
            found = json.loads(path.read_bytes())
            config = {"model": dict(found["model"]), "data": dict(found["data"])}
        except (ValueError, KeyError, TypeError):
            raise SpareError(
                f"{path} is no configuration of VLMEvalKit; move it away, or mend it."
            ) from None
    config["data"][name] = {"class": kind, "dataset": name}
    disk.write_json(path, config)
