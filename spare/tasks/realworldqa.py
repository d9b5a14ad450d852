"""RealWorldQA: plain questions about photographs, many of them taken from cars (xAI, April 2024)

Source    data.x.ai/realworldqa.zip, also hub data set xai-org/RealworldQA: 765 questions, one
          picture each. Announced with Grok-1.5 Vision (x.ai/blog/grok-1.5v).
Licence   CC BY-ND 4.0: no altered copies. Mirrors that say otherwise do not change it.
Two data  `mixed`, as xAI published it: the question, its options as lines, and one of two sentences
          that ask for a letter or for a word or number. `mcq-tsv`, VLMEvalKit's RealWorldQA.tsv:
          the sentence cut off, options in columns, open questions rewritten with options. Numbers
          of the two do not compare, and the layout stands beside every score. The TSV was mended:
          until December 2024 some questions had lost options (VLMEvalKit issue 677), so that rows
          could not be answered; the layout names the revision by the file's MD5.
Official  None published beyond "easily verifiable" answers. xAI announced 68.7 % for Grok-1.5V.
Ours      `spare` asks the published question unchanged; of the TSV it asks the question, options as
          lines, and the published sentence for letters. `lmms-eval` is its default prompt, the
          published question too, with its readers of today and of 2024 to April 2026: most figures
          published with lmms-eval are of the latter. `vlmevalkit` is its default prompt and matcher
          (without a judge), for the TSV only. A prompt that does not fit the files is refused.
Metrics   accuracy over all rows; for mixed data also `letter` and `open` by themselves.
Traps     Row order differs between mirrors (nielsr/realworldqa counts 0, 1, 10, 100, ...), so ids
          are picture numbers ("17" for 17.webp) where the files tell them, and "row-N" where they
          do not; the latter pair with nothing else. At least one option lacks its dot ("B Blue").
          Three pictures occur twice among the 765; each row is a cluster nevertheless.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from spare.errors import DataError
from spare.tasks import answers, multiple_choice, references
from spare.tasks import files as published
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
    Task,
    Verdict,
)

ROWS = 765

# Files

FOLDERS = ("realworldqa", "RealworldQA", "RealWorldQA", "LMUData", ".")
JSON = "annotations.json"
PARQUET = tuple(
    f"{folder}{split}-*.parquet"
    for split in ("test", "test_0412", "train")  # xai-org and lmms-lab, xai-org's first, nielsr
    for folder in ("data/", "")
)
TABLE = "RealWorldQA.tsv"
REVISIONS = {
    "b7fc0bee84d301627cf37581ef139035": "2024-04-16",
    "878cdd2999abd521ff17881a06d85730": "2024-04-23-878c",
    "92321028d2bc29040284b6674721e48f": "2024-04-23-9232",
    "4de008f55dc4fd008ca9e15321dc44b7": "2024-12-30",
}
"""MD5 of VLMEvalKit's file -> when it was published; the last one is current."""


def _locate(data: Path, split: str) -> Files:
    found = published.locate_shards(data, FOLDERS, (JSON, *PARQUET))
    if found:
        return Files(found, (found[0].parent / "images",), "mixed")
    found = published.locate_shards(data, FOLDERS, (TABLE,))
    if found:
        state = found[0].stat()
        md5 = _md5(found[0], state.st_mtime_ns, state.st_size)
        return Files(found, (), f"mcq-tsv-{REVISIONS.get(md5, md5[:8])}")
    raise published.not_found("realworldqa", data, FOLDERS[:-1], (JSON, *PARQUET, TABLE))


@functools.lru_cache
def _md5(path: Path, changed: int, size: int) -> str:
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: md5).hexdigest()


# Questions

LETTER = "Please answer directly with only the letter of the correct option and nothing else."
WORD = "Please answer directly with a single word or number."
"""One of the two ends every published question, and tells which kind it is."""

OPTION = re.compile(r"\(?([A-H])(?:\s*[.):]\s*|\s+)(\S.*)")
LEXICOGRAPHIC = sorted(map(str, range(ROWS)))
MADE_FOR = {"lmms-eval": "mixed", "vlmevalkit": "mcq-tsv"}


def _read(files: Files, split: str, prompt: Prompt) -> Iterator[Sample]:
    wanted = MADE_FOR.get(prompt.name, "")
    if not files.layout.startswith(wanted):
        raise DataError(
            f"prompt {prompt.name} is made for the layout {wanted}, and this is {files.layout}",
            files.annotations[0],
            remedy=f"Use prompt spare, or point --data at files of {wanted}.",
        )
    seen: dict[str, int] = {}
    for position, row in enumerate(_rows(files), 1):
        make = _mixed if files.layout == "mixed" else _multiple_choice
        sample = make(row, position, files, prompt)
        if sample.id in seen:
            raise row.error(f"picture {sample.id} was asked about in row {seen[sample.id]} already")
        seen[sample.id] = position
        yield sample


def _rows(files: Files) -> Iterator[Row]:
    path, columns = files.annotations[0], ("image", "question", "answer")
    if path.suffix == ".json":
        return published.read_json(path, columns)
    if path.suffix == ".tsv":
        return published.read_table(path, (*columns, "index", "A", "B"), ("image",), index="index")
    return published.read_parquet(files.annotations, columns, ("image",))


def _mixed(row: Row, position: int, files: Files, prompt: Prompt) -> Sample:
    """A row as xAI published it; both prompts ask its question unchanged."""
    question, answer = row.text("question").strip(), row.text("answer").strip()
    if (LETTER in question) == (WORD in question):
        raise row.error(
            f"the question should end in {LETTER!r} or {WORD!r} but is {question[-120:]!r}"
        )
    options: dict[str, str] = {}
    tags = {"kind": "letter" if LETTER in question else "open"}
    if LETTER in question:
        if answer not in tuple("ABCD"):
            raise row.error(f"the question asks for a letter, but its answer is {answer!r}")
        options = options_in(question)
        if answer not in options:
            # The question is asked as it stands, so only replies in words are lost.
            options = {letter: letter for letter in "ABCD"}
            tags["options"] = "not understood"
    elif not answer:
        raise row.error("there is no answer")
    if "image" in row.cells:
        picture = row.picture("image")
    else:
        picture = published.find_picture(files.pictures, row.text("image"), row)
    number = _number(row, position, files)
    return Sample(number, (picture, question), answer, options, tags=tags, cluster=number)


def options_in(question: str) -> dict[str, str]:
    """The options that a published question ends in, label -> text; empty if it has none.

    A label may lack its dot ("B Blue"), so a line that begins with a capital letter may be the
    question's own: only the lines from the last "A" on count.
    """
    lines = [line.strip() for line in question.replace(LETTER, "").splitlines() if line.strip()]
    options: dict[str, str] = {}
    for line in reversed(lines):
        option = OPTION.fullmatch(line)
        if not option:
            return {}
        options = {option[1]: option[2], **options}
        if option[1] == "A":
            return options
    return {}


def _number(row: Row, position: int, files: Files) -> str:
    """The number of the row's picture, or its place in the file if the number cannot be known."""
    for column in ("image_path", "image.path", "image"):
        name = row.values.get(column)
        stem = PurePosixPath(name).stem if isinstance(name, str) else ""
        if stem.isascii() and stem.isdigit():
            return str(int(stem))
    if files.annotations[0].name.startswith("train-") and position <= ROWS:
        return LEXICOGRAPHIC[position - 1]
    return f"row-{position}"


def _multiple_choice(row: Row, position: int, files: Files, prompt: Prompt) -> Sample:
    """A row of VLMEvalKit's table."""
    question, answer, index = row.text("question"), row.text("answer"), row.text("index")
    options = {
        label: row.text(label)
        for label in "ABCD"
        if label in row.values and row.text(label).strip()
    }
    if answer not in options or len(options) < 2:
        raise row.error(
            f"answer {answer!r} is not among options {', '.join(options) or '(none)'}",
            "VLMEvalKit's file lacked options until December 2024 (its issue 677): fetch it again.",
        )
    if prompt.name == "vlmevalkit":
        text = multiple_choice.ask_vlmevalkit(question, options)
    else:
        text = f"{question}\n{multiple_choice.lettered(options)}\n{LETTER}"
    return Sample(
        id=index,
        parts=(row.picture("image"), text),
        target=answer,
        options=options,
        tags={"kind": "letter"},
        cluster=index,
    )


# Judging


def _judge_spare(sample: Sample, reply: Reply) -> Verdict:
    if sample.options:
        return multiple_choice.judge_spare(sample, reply)
    reading = answers.read_short(reply.text)
    right = answers.same_short(reply.text, sample.target)
    return Verdict(reading.answer, float(right), reading.status)


def _judge_lmms_eval(sample: Sample, reply: Reply) -> Verdict:
    if sample.options:
        read = functools.partial(references.lmms_letter, letters="ABCD")
        return multiple_choice.judge_letter(read, sample, reply)
    said = reply.text.lower().strip().rstrip(".")
    return Verdict(said, float(said == sample.target.lower()), "ok" if said else "empty")


def _judge_lmms_eval_2025(sample: Sample, reply: Reply) -> Verdict:
    question = next(part for part in sample.parts if isinstance(part, str))
    said = references.lmms_2025_realworldqa(reply.text, question)
    right = references.lmms_exact_match(said, sample.target)
    return Verdict(said, float(right), "ok" if said.strip() else "empty")


def _summarise(judged: Iterable[Judged], rules: str) -> list[Metric]:
    every, letter, free = Metric("accuracy"), Metric("letter"), Metric("open")
    for one in judged:
        kind = letter if one.tags["kind"] == "letter" else free
        for metric in (every, kind):
            metric.add(one.verdict.score, cluster=one.cluster)
    return [every, letter, free] if letter.n and free.n else [every]


TASKS = (
    Task(
        name="realworldqa",
        version=1,
        about="Plain questions about photographs, many of them taken from cars.",
        paper="x.ai/blog/grok-1.5v",
        licence="CC BY-ND 4.0",
        sources=(
            Source(
                about="mixed data: questions with pictures",
                repo="xai-org/RealworldQA",
                patterns=("data/test-*.parquet",),
                folder="realworldqa",
                size="678 MB",
            ),
            Source(
                about="the same in the original archive (annotations.json and images), whose ids "
                "pair with those of other files",
                url="https://data.x.ai/realworldqa.zip",
                folder="realworldqa",
                size="677 MB",
            ),
            Source(
                about="or VLMEvalKit's data, all multiple choice; mixed data go first if both are "
                "there",
                url="https://opencompass.openxlab.space/utils/VLMEval/RealWorldQA.tsv",
                folder="realworldqa",
            ),
        ),
        splits={"test": ROWS},
        split="test",
        # How many rows have how many options is not published, and open rows cannot be guessed.
        chance={},
        headline="accuracy",
        breakdown="accuracy",
        prompts={
            "spare": Prompt(
                "spare",
                "The published question; of the all-MCQ data, put together in the same form.",
                ("spare",),
            ),
            "lmms-eval": Prompt(
                "lmms-eval",
                "The published question, mixed data only.",
                ("lmms-eval", "lmms-eval-2025", "spare"),
            ),
            "vlmevalkit": Prompt(
                "vlmevalkit",
                "VLMEvalKit's default prompt, all-MCQ data only.",
                ("vlmevalkit", "spare"),
                # VLMEvalKit leaves the bound to each model's wrapper.
                max_new_tokens=512,
            ),
        },
        rules={
            "spare": Rules(
                "spare",
                "One option, by letter or text; open answers evened out (case, number words, "
                "punctuation).",
                _judge_spare,
            ),
            "lmms-eval": Rules(
                "lmms-eval",
                "A capital letter by place and phrase; open answers but for case and a full stop.",
                _judge_lmms_eval,
                source="lmms-eval since 2026-04-11 (9ca4445d)",
            ),
            "lmms-eval-2025": Rules(
                "lmms-eval-2025",
                "An option's text counts as its letter; then equality but for case and "
                "punctuation.",
                _judge_lmms_eval_2025,
                source='lmms-eval\'s filter "flexible-extract", 2024 to April 2026',
            ),
            "vlmevalkit": Rules(
                "vlmevalkit",
                'A letter among the last four words, or behind "answer is" (even inside a word), '
                "else exactly one option text in a short reply.",
                functools.partial(multiple_choice.judge_vlmevalkit, "g3"),
                source="VLMEvalKit since 2026-06-17 without a judge model",
            ),
        },
        locate=_locate,
        read=_read,
        summarise=_summarise,
        figures={
            "accuracy": "questions answered right",
            "letter": "accuracy over the questions that ask for a letter",
            "open": "accuracy over the questions that ask for a word or a number",
        },
    ),
)
