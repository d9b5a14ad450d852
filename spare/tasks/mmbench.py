"""MMBench: 20 abilities by multiple choice, each question asked with all rotations of its options
(Liu et al., ECCV 2024)

Source    opencompass.openxlab.space/utils/benchmarks/MMBench/MMBench_DEV_EN.tsv and its like,
          which VLMEvalKit fetches (MD5 of DEV_EN b6caf113..., DEV_CN 08b8fc33..., DEV_EN_V11
          30c05be8..., DEV_CN_V11 593f9b5f...); hub data set lmms-lab/MMBench has V1.0 as parquet.
Licence   the benchmark's code is Apache-2.0; questions and pictures come from many public sets, so
          treat them as for research only.
Rows      index i is a question, i + r x 1,000,000 its r-th rotation: options moved on, `answer`
          with them. A question with N options has N rows. In VLMEvalKit's files a rotation's
          picture cell is the index of the row that holds the picture. Missing hints and options are
          blank, null, or the text "nan". Two of the six L2 names have brackets in them.
Official  CircularEval by VLMEvalKit: a question counts if all its rotations are right, micro
          average over questions, also per L2 and leaf ability. What its matching cannot resolve a
          GPT model judges; published scores are of various judges, and of prompts that hang on the
          model.
Ours      the same figure without a judge: what cannot be read is wrong, and counted as unread. By
          default we ask for the letter, as LLaVA's evaluation and VLMEvalKit's wrappers of LLaVA
          and InternVL do. A question that lacks a rotation is an error, where VLMEvalKit and
          lmms-eval let it pass untried. `vanilla` is the share of right rows. lmms-eval's rules are
          those of its mmbench_en_dev_static, which asks no judge either; its reader takes missing
          options for the text "nan", as its copy of the data has them.
Test      has no public answers: the replies to all rotations are written as the spreadsheet that
          the MMBench server took (columns of the benchmark but the picture, and `prediction`). The
          server tells V1.0 from V1.1 by the index, and English from Chinese by the question.
Figures   circular scores are 5 to 20 points below vanilla ones. Always the same letter gives 0.
          SpaRE paper: Qwen2-VL-2B 72.0, SpaRE-2B 71.6, Qwen2-VL-7B 79.9.
Traps     Chinese rows have the indices of the English ones. The first release (July 2023: 4,377
          rows of dev) held other questions: it is read as a layout of its own. How many rows V1.1's
          test files have is not published.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spare.errors import DataError
from spare.tasks import files as published
from spare.tasks import multiple_choice, references
from spare.tasks.files import Row
from spare.tasks.types import (
    Files,
    Judged,
    Metric,
    Prompt,
    Reply,
    Rules,
    Sample,
    Source,
    Submission,
    Task,
    Verdict,
)

ROTATION = 1_000_000
"""What each further rotation adds to the index of its question."""

SPLITS: Mapping[str, tuple[str, int]] = {
    "dev_en": ("MMBench_DEV_EN", 4329),
    "dev_cn": ("MMBench_DEV_CN", 4329),
    "test_en": ("MMBench_TEST_EN", 6666),
    "test_cn": ("MMBench_TEST_CN", 6666),
    "v11_dev_en": ("MMBench_DEV_EN_V11", 4876),
    "v11_dev_cn": ("MMBench_DEV_CN_V11", 4876),
    "v11_test_en": ("MMBench_TEST_EN_V11", 0),
    "v11_test_cn": ("MMBench_TEST_CN_V11", 0),
}
"""End of the task's name -> VLMEvalKit's name, and rows; 0 where it is not published."""

FOLDERS = ("mmbench", "MMBench", "LMUData", ".")
MISSING = frozenset({"", "nan"})
"""What stands for "none" besides null; "None" and "NA" would be texts."""


# Files


def _layouts(name: str) -> dict[str, tuple[str, ...]]:
    """Layout -> where its files are under one of `FOLDERS`."""
    kit, _ = SPLITS[name]
    layouts: dict[str, tuple[str, ...]] = {
        "vlmevalkit-tsv": (f"{kit}.tsv",),
        "legacy-tsv": (f"{kit}_legacy.tsv",),
    }
    if name.startswith("v11"):
        return {"vlmevalkit-tsv": layouts["vlmevalkit-tsv"]}
    split, language = name.split("_")
    layouts["lmms-eval-parquet"] = (f"{language}/{split}-*.parquet",)
    if language == "cn":
        layouts["lmms-lab-parquet"] = (f"MMBench_CN/data/{split}-*.parquet",)
    else:
        old = {"dev": "validation", "test": "test"}[split]
        layouts["huggingfacem4-parquet"] = (f"data/{old}-*.parquet",)
        layouts["first-release-parquet"] = (f"MMBench_EN/data/{split}-*.parquet",)
        if split == "dev":
            layouts["first-release-tsv"] = ("mmbench_dev_20230712.tsv",)
    return layouts


def _locate(name: str, data: Path, split: str) -> Files:
    layouts = _layouts(name)
    for layout, patterns in layouts.items():
        found = published.locate_shards(data, FOLDERS, patterns)
        if found:
            return Files(found, (), layout)
    wanted = [pattern for patterns in layouts.values() for pattern in patterns]
    raise published.not_found(f"mmbench_{name}", data, FOLDERS[:-1], wanted)


def _rows(files: Files) -> Iterator[Row]:
    columns = ["index", "question", "A", "B", "image"]
    if files.annotations[0].suffix == ".tsv":
        return published.read_table(files.annotations[0], columns, ("image",), index="index")
    return published.read_parquet(files.annotations, columns, pictures=("image",), base64=True)


# Questions


def _read(name: str, files: Files, split: str, prompt: Prompt) -> Iterator[Sample]:
    public = "test" not in name
    language = "cn" if name.endswith("cn") else "en"
    rotations: dict[int, int] = {}  # question -> bits of the rotations still missing
    for row in _rows(files):
        index = _index(row)
        question, rotation = index % ROTATION, index // ROTATION
        options = _options(row)
        if rotation >= len(options):
            raise row.error(f"there is no rotation {rotation} of {len(options)} options")
        missing = rotations.get(question, (1 << len(options)) - 1)
        if not missing >> rotation & 1:
            raise row.error(
                f"question {question} had rotation {rotation} or other options in a row before"
            )
        rotations[question] = missing & ~(1 << rotation)
        answer = _answer(row, options) if public else ""
        text = ASK[prompt.name](language, _text(row, "hint"), row.text("question"), options)
        yield Sample(
            id=str(index),
            parts=(row.picture("image"), text),
            target=answer,
            options=options,
            tags=_tags(row, len(options)),
            group=str(question),
            cluster=str(question),
        )
    lacking = [str(question) for question, missing in rotations.items() if missing]
    if lacking:
        raise DataError(
            f"{len(lacking):,} of {len(rotations):,} questions lack rotations, which would be "
            f"passed untried: {', '.join(lacking[:5])}",
            files.annotations[0],
            remedy="The file may have been cut off, or is a subset: fetch it again.",
        )


def _index(row: Row) -> int:
    """The number of a row; pandas makes it "7.0" where another row lacks one."""
    value = row.values.get("index")
    text = str(value)
    if not re.fullmatch(r"\d{1,9}(\.0)?", text) or isinstance(value, bool):
        raise row.error(f"index {text[:40]!r} is not a number")
    return int(text.partition(".")[0])


def _text(row: Row, column: str) -> str:
    """A cell's text, or "" if there is none."""
    value = row.values.get(column)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return "" if str(value).strip() in MISSING else str(value)


def _options(row: Row) -> dict[str, str]:
    options = {label: text for label in "ABCDE" if (text := _text(row, label))}
    if len(options) < 2 or list(options) != list("ABCDE"[: len(options)]):
        raise row.error(f"options A, B and perhaps more were expected, but there are {[*options]}")
    return options


def _answer(row: Row, options: Mapping[str, str]) -> str:
    if "answer" not in row.values:
        raise row.error("there is no column answer; this may be a test file, which has none")
    if row.text("answer") not in options:
        raise row.error(f"answer {row.text('answer')!r} is not among options {', '.join(options)}")
    return row.text("answer")


def _tags(row: Row, options: int) -> dict[str, str]:
    level_2 = _text(row, "l2-category") or _text(row, "L2-category")
    tags = {"category": _text(row, "category"), "ability": level_2, "source": _text(row, "source")}
    return {name: text for name, text in tags.items() if text} | {"options": str(options)}


# Prompts

Ask = Callable[[str, str, str, Mapping[str, str]], str]


def _ask_spare(language: str, hint: str, question: str, options: Mapping[str, str]) -> str:
    shown = f"{hint}\n{question}" if hint else question
    if language == "en":
        return multiple_choice.ask_spare(shown, options)
    return f"{shown}\n{multiple_choice.lettered(options)}\n请直接回答选项字母。"


def _ask_vlmevalkit(language: str, hint: str, question: str, options: Mapping[str, str]) -> str:
    # English words around Chinese questions, too.
    return (f"Hint: {hint}\n" if hint else "") + multiple_choice.ask_vlmevalkit(question, options)


LMMS_EVAL = {
    "en": "Answer with the option's letter from the given choices directly.",
    "cn": "请直接使用所提供的选项字母作为答案回答。",
}


def _ask_lmms_eval(language: str, hint: str, question: str, options: Mapping[str, str]) -> str:
    # Its Chinese module looks for a hint that is missing in another way than its data have it, and
    # sends the text "nan" to the model.
    before = hint or ("nan" if language == "cn" else "")
    asked = f"{before} {question}" if before else question
    # The lead-in is English there for Chinese, too.
    listed = f"There are several options:\n{multiple_choice.lettered(options)}".rstrip("\n")
    return f"{asked} {listed}\n\n{LMMS_EVAL[language]}"


ASK: Mapping[str, Ask] = {
    "spare": _ask_spare,
    "vlmevalkit": _ask_vlmevalkit,
    "lmms-eval": _ask_lmms_eval,
}


# Judging


def _judge_lmms_eval(sample: Sample, reply: Reply) -> Verdict:
    options = {label: sample.options.get(label, "nan") for label in "ABCD"}
    return multiple_choice.judge_letter(
        lambda text: references.lmms_mmbench_letter(text.strip(), options), sample, reply
    )


RULES = {
    "spare": Rules("spare", "One option, by letter or text.", multiple_choice.judge_spare),
    "vlmevalkit": Rules(
        "vlmevalkit",
        'A letter among the last four words, or behind "answer is" (even inside a word), else '
        "exactly one option text in a short reply.",
        partial(multiple_choice.judge_vlmevalkit, "g3"),
        source="VLMEvalKit since 2026-06-17 without a judge model",
    ),
    "vlmevalkit-2025": Rules(
        "vlmevalkit-2025",
        "A letter among the last four words, else exactly one option text in a short reply.",
        partial(multiple_choice.judge_vlmevalkit, "g2"),
        source="VLMEvalKit from 2025-08-04 to 2026-06-16 without a judge model",
    ),
    "lmms-eval": Rules(
        "lmms-eval",
        "A bare or decorated letter A to E, else exactly one option text, else the letter that "
        "twelve weaker patterns favour.",
        _judge_lmms_eval,
        source="lmms-eval 75571cfe, mmbench_en_dev_static",
    ),
}


# Scores


@dataclass(slots=True)
class _Question:
    """The rotations of a question."""

    options: int
    rows: int = 0
    score: float = 1.0  # of the rows that were asked
    skipped: bool = False


def _summarise(judged: Iterable[Judged], rules: str) -> list[Metric]:
    circular, vanilla = Metric("circular"), Metric("vanilla")
    questions: dict[str, _Question] = {}
    for one in judged:
        unit = questions.get(one.group)
        if unit is None:
            unit = questions[one.group] = _Question(int(one.tags["options"]))
        unit.rows += 1
        if one.verdict.status == "skipped":
            unit.skipped = True
        else:
            unit.score *= one.verdict.score
            vanilla.add(one.verdict.score, cluster=one.cluster)
    # With --limit the last question may be cut short: what was not asked is no pass.
    whole = {name: unit for name, unit in questions.items() if unit.rows == unit.options}
    # Rows may have been skipped for a failure that these rules do not see: another rule set was in
    # charge when the model was asked.
    known = all(not unit.skipped or unit.score < 1.0 for unit in whole.values())
    for name, unit in whole.items() if known else ():
        circular.add(unit.score, cluster=name)
    if any(unit.skipped for unit in questions.values()):
        return [circular]
    return [circular, vanilla]


FIGURES = {
    "circular": "questions with all rotations of their options right, in per cent",
    "vanilla": "rows right, each rotation by itself, in per cent",
}


# Handing in

LONGEST_CELL = 32_767
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no spreadsheet can hold, half a surrogate pair among them."""


def _write(files: Files, split: str, replies: Iterable[tuple[Sample, Reply]], path: Path) -> None:
    """The benchmark's own columns but the picture, and the replies, as VLMEvalKit writes them."""
    import openpyxl
    from openpyxl.cell.cell import WriteOnlyCell

    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    header: list[str] = []
    for row, (sample, reply) in zip(_rows(files), replies, strict=True):
        if not header:
            header = [name for name in row.values if name not in ("image", "image.path")]
            sheet.append([*header, "prediction"])
        if len(reply.text) > LONGEST_CELL:
            raise DataError(
                f"the reply to {sample.id} has {len(reply.text):,} characters, and a spreadsheet's "
                f"cell holds {LONGEST_CELL:,}",
                path,
                remedy="Its end would be cut off; ask for shorter replies.",
            )
        cells = []
        for value in (*(row.values[name] for name in header), reply.text):
            text = NOT_XML.sub("\ufffd", value) if isinstance(value, str) else value
            cell = WriteOnlyCell(sheet, text)
            if isinstance(text, str):
                cell.data_type = "s"  # a reply that begins with "=" is no formula
            cells.append(cell)
        sheet.append(cells)
    book.save(path)


# The tasks


def _prompt(name: str, about: str, first: str, max_new_tokens: int) -> Prompt:
    rules = (first, *(other for other in RULES if other != first))
    return Prompt(name, about, rules, max_new_tokens=max_new_tokens)


def _task(name: str) -> Task:
    kit, rows = SPLITS[name]
    language = "Chinese" if name.endswith("cn") else "English"
    version = "V1.1" if name.startswith("v11") else "V1.0"
    public = "test" not in name
    about = f"20 abilities by multiple choice, all rotations; {version} {language}"
    sources = [
        Source(
            about="questions with pictures, VLMEvalKit's table",
            url=f"opencompass.openxlab.space/utils/benchmarks/MMBench/{kit}.tsv",
            folder="mmbench",
        )
    ]
    if version == "V1.0":
        split, short = name.split("_")
        sources.insert(
            0,
            Source(
                about="questions with pictures",
                repo="lmms-lab/MMBench",
                patterns=(f"{short}/{split}-*.parquet",),
                folder="mmbench",
            ),
        )
    return Task(
        name=f"mmbench_{name}",
        version=1,
        about=f"{about}." if public else f"{about}; answers not public.",
        paper="arXiv 2307.06281",
        licence="not stated for the data; research use",
        sources=tuple(sources),
        splits={"dev" if public else "test": rows},
        split="dev" if public else "test",
        # How many questions have how many options is not published: between 1.3 and 3.8 % for dev.
        chance={},
        headline="circular",
        breakdown="circular",
        beside=("vanilla",),
        prompts={
            "spare": _prompt(
                "spare", "Hint, question, options, and a call for the letter.", "spare", 16
            ),
            "vlmevalkit": _prompt(
                "vlmevalkit",
                "VLMEvalKit's default prompt, which names no form of answer.",
                "vlmevalkit",
                # VLMEvalKit leaves the bound to each model's wrapper.
                512,
            ),
            "lmms-eval": _prompt(
                "lmms-eval",
                "lmms-eval's words: all in a row, then a call for the letter.",
                "lmms-eval",
                256 if language == "Chinese" else 1024,
            ),
        },
        rules=RULES,
        locate=partial(_locate, name),
        read=partial(_read, name),
        summarise=_summarise,
        all_or_nothing=True,
        figures=FIGURES,
        submission=None
        if public
        else Submission(
            f"{kit}.xlsx",
            "MMBench's server took such files (mmbench.opencompass.org.cn); it is reported closed.",
            _write,
        ),
    )


TASKS = tuple(_task(name) for name in SPLITS)
