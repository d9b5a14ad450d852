"""3DSRBench: where things are in three dimensions, on photographs (Ma et al., ICCV 2025)

Source    hub data set ccvl/3DSRBench. The scored file is 3dsrbench_v1_vlmevalkit_circular.tsv
          (843 MB, MD5 13a99f33164dc1b9faf0e8b8b01fd6f2): 11,686 rows of 5,157 questions.
Licence   CC BY 4.0 (CC BY-NC 4.0 until 2025-01-12); photographs of COCO under COCO's terms.
Rows      `qid` says how they belong together: BASE, BASE-n (options rotated n times: once for two
          options, three times for four), BASE-flip and BASE-flip-n (the same about the mirrored
          picture, question and answer adapted). Every row has its own letter as answer. Not all
          of them come in pairs.
Official  CircularEval: a question counts if all its rotations are right. BASE and BASE-flip are two
          questions. Micro average over the 5,157, and the same per type and per category. Prompt
          and matching were VLMEvalKit's of early 2025, with a GPT judge for replies that it could
          not resolve (data card's script; johnson111788/SpatialReasoner 339b29a4 has a copy).
Ours      `3dsrbench` is that figure. Rules `official` are VLMEvalKit's until 2025-08-03 with the
          judge left out: what it would have been asked is wrong, and counted as unread. By default
          we ask for the letter and read with our own rules; `--prompt vlmevalkit --rules official`
          is closest to the paper. `3dsrbench_single` asks every question once, for the files
          without rotations or for a quick look; no published figure is comparable with it.
          VLMEvalKit's and lmms-eval's further settings are here under their names: `vanilla`
          (rows), `flip` (both mirror images right), `flip_circular` (everything of a BASE right).
          lmms-eval's figures per category are of single rows, ours of questions, as the paper's.
Figures   overall and height / location / orientation / multi-object, in per cent: random 21.7 (the
          paper's 20.9 is the mean over the 12 types, our `macro`), human 95.7, GPT-4o 44.2: 53.2 /
          59.6 / 21.6 / 39.0, Gemini 2.0 51.1: 53.0 / 67.1 / 35.8 / 43.6, Qwen2.5-VL 48.4:
          44.1 / 62.7 / 40.6 / 40.5, SpatialReasoner 60.3: 52.5 / 75.2 / 55.2 / 51.8.
Traps     The `benchmark` parquet has no pictures, and COCO has no mirrored ones: its flip rows, if
          any, are refused. COCO's originals may not be the bytes that the TSV has. VLMEvalKit has
          hosted a 3DSRBench.tsv of its own since 2025-06-10 (MD5 610516a0...), possibly with
          other content; short picture cells in it name the row with the picture. The layout beside
          every score says which file it was.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from spare.errors import DataError
from spare.images import Picture
from spare.relations import RELATION_CLASS
from spare.tasks import files as published
from spare.tasks import multiple_choice, references
from spare.tasks.files import Row
from spare.tasks.types import Files, Judged, Metric, Prompt, Rules, Sample, Source, Task


class Type(NamedTuple):
    """A question type: its category, its number of options, its questions in the published
    files."""

    category: str
    options: int
    questions: int


TYPES: Mapping[str, Type] = {
    "height_higher": Type("height", 2, 690),
    "location_above": Type("location", 2, 692),
    "location_closer_to_camera": Type("location", 2, 678),
    "location_next_to": Type("location", 2, 339),
    "orientation_in_front_of": Type("orientation", 2, 344),
    "orientation_on_the_left": Type("orientation", 2, 349),
    "orientation_viewpoint": Type("orientation", 4, 343),
    "multi_object_closer_to": Type("multi_object", 2, 350),
    "multi_object_facing": Type("multi_object", 2, 346),
    "multi_object_viewpoint_towards_object": Type("multi_object", 4, 343),
    "multi_object_parallel": Type("multi_object", 2, 339),
    "multi_object_same_direction": Type("multi_object", 2, 344),
}
"""The counts are the denominators of published fractions per type; they reproduce the published
overall figures from the published ones per category."""

QUESTIONS = sum(kind.questions for kind in TYPES.values())
ROWS = sum(kind.questions * kind.options for kind in TYPES.values())


# Files

FOLDERS = ("3dsrbench", "3DSRBench", "LMUData", ".")
LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "flip-tsv": ("3dsrbench_v1_vlmevalkit.tsv",),
    "circular-tsv": ("3dsrbench_v1_vlmevalkit_circular.tsv",),
    "vlmevalkit-tsv": ("3DSRBench.tsv",),
    "lmms-eval-parquet": ("3dsr/*.parquet",),
    "lmms-eval-circular-parquet": ("3dsr_circular/*.parquet",),
    "benchmark-parquet": ("3dsrbench_v1-*.parquet",),
}
CIRCULAR = ("circular-tsv", "vlmevalkit-tsv", "lmms-eval-circular-parquet")
COCO = ("coco_images", "coco_images/train2017", "coco_images/val2017", "train2017", "val2017")


def _locate(name: str, layouts: Iterable[str], data: Path, split: str) -> Files:
    for layout in layouts:
        found = published.locate_shards(data, FOLDERS, LAYOUTS[layout])
        if found:
            if layout != "benchmark-parquet":
                return Files(found, (), layout)
            named = [data / place / folder for place in (*FOLDERS, "coco") for folder in COCO]
            pictures = tuple(folder for folder in named if folder.is_dir())
            # Without any folder, each sample says that its picture is missing from the usual one.
            return Files(found, pictures or (data / FOLDERS[0] / COCO[0],), layout)
    patterns = [pattern for layout in layouts for pattern in LAYOUTS[layout]]
    raise published.not_found(name, data, FOLDERS[:-1], patterns)


# Questions

QID = re.compile(r"(?P<question>[^-\s]{8}(?:-flip)?)(?:-(?P<rotation>[1-9]))?")
MISSING = frozenset({"", "nan"})
"""What stands for "no such option" besides null; "None" and "NA" would be texts."""

ASK: Mapping[str, Callable[[str, Mapping[str, str]], str]] = {
    "spare": multiple_choice.ask_spare,
    "vlmevalkit": multiple_choice.ask_vlmevalkit,
    "lmms-eval": multiple_choice.ask_vlmevalkit,
}


def _read(single: bool, files: Files, split: str, prompt: Prompt) -> Iterator[Sample]:
    rotations: dict[str, int] = {}  # question -> bits of the rotations still missing
    rotated = False
    for row in _rows(files):
        question, rotation = _qid(row)
        if single and rotation:
            continue
        options = _options(row)
        if rotation >= len(options):
            raise row.error(f"there is no rotation {rotation} of {len(options)} options")
        missing = rotations.get(question, 1 if single else (1 << len(options)) - 1)
        if not missing >> rotation & 1:
            raise row.error(f"{question} had rotation {rotation} or other options in a row before")
        rotations[question] = missing & ~(1 << rotation)
        rotated |= rotation > 0
        yield _sample(row, files, prompt, question, rotation, options)
    lacking = [question for question, missing in rotations.items() if missing]
    if lacking and not rotated:
        raise DataError(
            "every question stands here once, and circular scores need all its rotations",
            files.annotations[0],
            remedy=f"Fetch {LAYOUTS['circular-tsv'][0]}, or score the task 3dsrbench_single.",
        )
    if lacking:
        raise DataError(
            f"{len(lacking):,} of {len(rotations):,} questions lack rotations, "
            f"which would be passed untried: {', '.join(lacking[:5])}",
            files.annotations[0],
            remedy="The file may have been cut off: fetch it again.",
        )


def _rows(files: Files) -> Iterator[Row]:
    columns = ["index", "question", "A", "B", "answer", "category"]
    if files.annotations[0].suffix == ".tsv":
        columns += ["qid", "C", "D", "image"]
        return published.read_table(files.annotations[0], columns, ("image",), index="index")
    return published.read_parquet(files.annotations, columns, pictures=("image",))


def _qid(row: Row) -> tuple[str, int]:
    """The question and which rotation of it a row is."""
    column = "qid" if row.values.get("qid") is not None else "index"
    name = QID.fullmatch(row.text(column))
    if not name:
        raise row.error(f"{column} {row.text(column)!r} is not of the form XXXXXXXX[-flip][-n]")
    return name["question"], int(name["rotation"] or 0)


def _options(row: Row) -> dict[str, str]:
    options = {}
    for label in "ABCD":
        text = row.values.get(label)
        if text is None or (isinstance(text, float) and math.isnan(text)):
            continue
        if row.text(label).strip().lower() not in MISSING:
            options[label] = row.text(label)
    if len(options) < 2 or list(options) != list("ABCD"[: len(options)]):
        raise row.error(f"options A, B and perhaps more were expected, but there are {[*options]}")
    if row.text("answer") not in options:
        raise row.error(f"answer {row.text('answer')!r} is not among options {', '.join(options)}")
    return options


def _sample(
    row: Row, files: Files, prompt: Prompt, question: str, rotation: int, options: dict[str, str]
) -> Sample:
    kind = row.text("category")
    if kind not in TYPES:
        raise row.error(f"category {kind!r} is none of the {len(TYPES)} types: {', '.join(TYPES)}")
    url = row.values.get("image_url")
    photograph = PurePosixPath(url).name if isinstance(url, str) else ""
    return Sample(
        id=f"{question}-{rotation}" if rotation else question,
        parts=(
            _picture(row, files, question, photograph),
            ASK[prompt.name](row.text("question"), options),
        ),
        target=row.text("answer"),
        options=options,
        tags={
            "type": kind,
            "category": TYPES[kind].category,
            "relation": kind,
            "class": RELATION_CLASS[kind],
            "options": str(len(options)),
        },
        group=question,
        # A photograph, its mirror image and several questions may share one.
        cluster=PurePosixPath(photograph).stem or question[:8],
    )


def _picture(row: Row, files: Files, question: str, photograph: str) -> Picture:
    if files.layout != "benchmark-parquet":
        return row.picture("image")
    if not photograph:
        raise row.error("image_url names no picture")
    if question.endswith("-flip"):
        raise row.error(
            f"{question} asks about a mirrored picture, and {photograph} is COCO's original",
            f"Take {LAYOUTS['flip-tsv'][0]}, which holds the mirrored ones.",
        )
    return published.find_picture(files.pictures, photograph, row)


# Judging

RULES = {
    "spare": Rules("spare", "One option, by letter or text.", multiple_choice.judge_spare),
    "official": Rules(
        "official",
        "A letter as a word of its own, else exactly one option text; wrong where the authors "
        "asked a GPT judge.",
        partial(multiple_choice.judge_vlmevalkit, "g1"),
        source="VLMEvalKit until 2025-08-03, as the authors ran it",
    ),
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
        "The first of eight patterns for a letter; option texts are not read.",
        partial(multiple_choice.judge_letter, references.lmms_3dsrbench_letter),
        source="lmms-eval 75571cfe",
    ),
}


# Scores


@dataclass(slots=True)
class _Unit:
    """Rows that are right or wrong together."""

    type: str
    options: int
    cluster: str
    rows: int = 0
    score: float = 1.0  # of the rows that were asked
    skipped: bool = False

    @property
    def known(self) -> bool:
        """False if rows were skipped for a failure that these rules do not see: another rule set
        was in charge when the model was asked."""
        return not self.skipped or self.score < 1.0


def _summarise(single: bool, judged: Iterable[Judged], rules: str) -> list[Metric]:
    rows = Metric("vanilla")
    questions: dict[str, _Unit] = {}
    mirrored: dict[str, _Unit] = {}
    bases: dict[str, _Unit] = {}
    all_asked = True
    for one in judged:
        rows.add(one.verdict.score, cluster=one.cluster)
        asked = one.verdict.status != "skipped"
        all_asked &= asked
        for units, key in (
            (questions, one.group),
            (mirrored, one.id.replace("-flip", "")),
            (bases, one.id[:8]),
        ):
            unit = units.get(key)
            if unit is None:
                unit = _Unit(one.tags["type"], int(one.tags["options"]), one.cluster)
                units[key] = unit
            unit.rows += 1
            unit.skipped |= not asked
            unit.score *= one.verdict.score if asked else 1.0
    if single:
        macro = _mean("macro", questions.values(), by_type=True)
        return [rows, macro, _mean("flip", mirrored.values())]
    # With --limit the last question may be cut short: what was not asked is no pass.
    whole = [unit for unit in questions.values() if unit.rows == unit.options]
    of_bases = [unit for unit in bases.values() if unit.rows % unit.options == 0]
    metrics = [
        _mean("circular", whole),
        _mean("macro", whole, by_type=True),
        _mean("flip_circular", of_bases),
    ]
    # A question that has failed need not be asked on, but then its other rows have no score.
    return [*metrics, rows, _mean("flip", mirrored.values())] if all_asked else metrics


def _mean(name: str, units: Collection[_Unit], by_type: bool = False) -> Metric:
    """Share of units that are wholly right; empty if that is not known of all of them."""
    metric = Metric(name)
    if all(unit.known for unit in units):
        for unit in units:
            metric.add(unit.score, cluster=unit.cluster, stratum=unit.type if by_type else "")
    return metric


# The tasks


def _chance(single: bool) -> dict[str, float]:
    """A uniform guess per row, in per cent. Nothing for metrics over mirror pairs: how many
    questions have one is not published."""
    by_type = {
        name: kind.options ** -(1 if single else kind.options) for name, kind in TYPES.items()
    }
    micro = math.fsum(by_type[name] * kind.questions for name, kind in TYPES.items()) / QUESTIONS
    macro = math.fsum(by_type.values()) / len(by_type)
    if single:
        return {"vanilla": 100 * micro, "macro": 100 * macro}
    # Each question has as many rows as options, so it adds one right guess on average.
    return {"circular": 100 * micro, "macro": 100 * macro, "vanilla": 100 * QUESTIONS / ROWS}


def _figures(single: bool) -> dict[str, str]:
    if single:
        return {
            "vanilla": "questions answered right",
            "macro": "vanilla, averaged over the 12 types of question",
            "flip": "questions right, and right about the mirror image too, if there is one",
        }
    return {
        "circular": "questions right in every rotation of their options",
        "macro": "circular, averaged over the 12 types of question",
        "flip_circular": "circular, and right about the mirror image too, if there is one",
        "vanilla": "rows answered right; every rotation is a row",
        "flip": "rows right, and right about the mirror image too, if there is one",
    }


def _source(layout: str, about: str, size: str) -> Source:
    return Source(
        about=about,
        repo="ccvl/3DSRBench",
        patterns=LAYOUTS[layout],
        folder="3dsrbench",
        size=size,
    )


def _prompt(name: str, about: str, first: str, max_new_tokens: int) -> Prompt:
    rules = (first, *(other for other in RULES if other != first))
    return Prompt(name, about, rules, max_new_tokens=max_new_tokens)


def _task(name: str, about: str, source: Source, single: bool) -> Task:
    return Task(
        name=name,
        version=1,
        about=about,
        paper="arXiv 2412.07825",
        licence="CC BY 4.0; photographs under COCO's terms",
        sources=(source,),
        splits={"test": QUESTIONS if single else ROWS},
        split="test",
        chance=_chance(single),
        headline="vanilla" if single else "circular",
        breakdown="vanilla" if single else "circular",
        beside=() if single else ("vanilla",),
        prompts={
            "spare": _prompt(
                "spare", "The question, its options, and a call for the letter.", "spare", 16
            ),
            "vlmevalkit": _prompt(
                "vlmevalkit",
                "VLMEvalKit's default prompt, which the authors used; it names no form of answer.",
                "vlmevalkit",
                # VLMEvalKit leaves the bound to each model's wrapper.
                512,
            ),
            "lmms-eval": _prompt(
                "lmms-eval",
                "The same words as vlmevalkit, and room for 4,096 tokens.",
                "lmms-eval",
                4096,
            ),
        },
        rules=RULES,
        locate=partial(_locate, name, LAYOUTS if single else CIRCULAR),
        read=partial(_read, single),
        summarise=partial(_summarise, single),
        figures=_figures(single),
        all_or_nothing=not single,
    )


TASKS = (
    _task(
        "3dsrbench",
        "12 kinds of 3-D relations; a question counts if all rotations of its options are right.",
        _source("circular-tsv", "questions, rotated and mirrored, with pictures", "843 MB"),
        single=False,
    ),
    _task(
        "3dsrbench_single",
        "The questions of 3dsrbench, each asked once; not the published figure.",
        _source("flip-tsv", "questions, mirrored but not rotated, with pictures", "372 MB"),
        single=True,
    ),
)
