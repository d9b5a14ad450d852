"""HallusionBench: does a model see, or believe? (Guan et al., CVPR 2024, arXiv 2310.14566)

Source    HallusionBench.json (431,987 bytes, MD5 6ea24532854cab043a6464cff8a194ad) of
          tianyi-lab/HallusionBench 744007c, pictures in hallusion_bench.zip (Google Drive) or hub
          data set rayguan/HallusionBench; as parquet lmms-lab/HallusionBench (lmms-eval now points
          at the copy lmms-lab-encoder/HallusionBench); as VLMEvalKit's HallusionBench.tsv (MD5
          0c23ac0dc9ef46832d7a24504f2a0c7c).
Licence   BSD-3-Clause (the authors' repository).
Rows      1,129 yes/no questions about 346 pictures: VD (591) cannot be answered without the
          picture, VS (538) can, by what one knows. Pictures are originals (447 rows) or edited so
          that the answer changes (504); 178 rows of VS ask without any picture.
Official  Over all 1,129 rows: aAcc, rows right; fAcc, pictures with all their questions right (the
          rows without one do not count); qAcc, questions that are right about every picture of
          their set, and without one. GPT-4 compares the reply with a reference sentence and says
          correct, incorrect or unclear; unclear is wrong, but right in the rows without a picture.
Ours      `hallusionbench` is the 951 rows with pictures, as VLMEvalKit, lmms-eval and leaderboards
          have it. Asked by default is the question alone, as by all three, read by VLMEvalKit's
          rules without a judge model. `hallusionbench_full` is the official 1,129 rows; those
          without a picture are put as text alone. Without a judge, a reply to such a row that says
          neither yes nor no counts as "unclear" and is right, though it stays counted as unread; an
          empty one is wrong. Rules `official` have a judge model decide, which you name; lmms-eval
          asks it the same. lmms-eval's judge-free variant is commented out there, and not here.
          VLMEvalKit's wrappers of many models add a request for yes or no: theirs of the Qwen
          family, as SpaRE's were tested, is the prompt `vlmevalkit-qwen`.
Figures   aAcc, fAcc, qAcc in per cent. 951 rows: always No 57.83, 12.14, 20.00; always Yes 42.17,
          7.23, 4.62; Qwen2-VL-7B 67.93, 37.86, 43.96 (VLMEvalKit issue 825). 1,129 rows: GPT-4V
          65.28, 39.88, 28.79 (README). Leaderboards that show one number mean aAcc, or like
          OpenCompass the mean of the three, our `average`. SpaRE does not say which.
Traps     aAcc and qAcc of the two tasks do not compare; fAcc has the same pictures in both. `ocr`
          is a sub-category of VD and of VS, with the same set numbers. Truth is more often No.
          "Easy" and "hard" are accuracies of questions over the pictures of that kind, not of rows.
          Some questions of VS_table are open ("which country"), which only a judge can settle.
          Question texts differ inside a question's group, and so do the answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from spare.errors import DataError, SpareError
from spare.images import Picture
from spare.tasks import files as published
from spare.tasks import yes_no
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

ROWS: Mapping[str, int] = {
    "VD_figure": 80,
    "VD_illusion": 144,
    "VD_math": 108,
    "VD_ocr": 89,
    "VD_video": 170,
    "VS_chart": 206,
    "VS_map": 96,
    "VS_ocr": 81,
    "VS_table": 155,
}
"""Sub-category -> its rows, those without a picture included."""

WITHOUT_PICTURE = 178
VISUAL: Mapping[str, str] = {"0": "none", "1": "original", "2": "edited"}


# Files

FOLDERS = ("hallusionbench", "HallusionBench", "LMUData", ".")
JSON = "HallusionBench.json"
PARQUET = ("data/image-*.parquet", "image-*.parquet")
TABLE = "HallusionBench.tsv"
ROOT = "hallusion_bench"
"""The folder that the archive of pictures unpacks to."""


def _locate(full: bool, data: Path, split: str) -> Files:
    questions = published.locate_shards(data, FOLDERS, (JSON,))
    place = questions[0].parent if questions else data
    roots = (place / ROOT, place / "data", place)
    pictures = tuple(root for root in roots if (root / "VD").is_dir() or (root / "VS").is_dir())
    if questions and pictures:
        return Files(questions, pictures, "json")
    found = published.locate_shards(data, FOLDERS, PARQUET)
    if found:
        bare = ("non_image-*.parquet",) if full else ()
        found += published.locate_shards(found[0].parent, (".",), bare)
        return Files(found, (), "parquet")
    if not full:
        found = published.locate_shards(data, FOLDERS, (TABLE,))
        if found:
            return Files(found, (), "vlmevalkit-tsv")
    if questions:  # each sample says that its picture is missing from the usual folder
        return Files(questions, (place / ROOT,), "json")
    wanted = (JSON, *PARQUET, *(() if full else (TABLE,)))
    name = "hallusionbench_full" if full else "hallusionbench"
    raise published.not_found(name, data, FOLDERS[:-1], wanted)


# Questions

PLEASE = " Please answer yes or no."


def _read(full: bool, files: Files, split: str, prompt: Prompt) -> Iterator[Sample]:
    seen: dict[str, int] = {}
    bare = 0  # rows without a picture
    make = _sample_from_table if files.layout == "vlmevalkit-tsv" else _sample
    for row in _rows(files):
        sample = make(row, files, prompt)
        place = f"{sample.tags['figure']} {sample.group}"
        if place in seen:
            raise row.error(f"{sample.id} asks what row {seen[place]} asks about the same picture")
        seen[place] = row.number
        if len(sample.parts) == 1:
            bare += 1
            if not full:
                continue
        yield sample
    if full and not bare:
        raise DataError(
            "there are no rows without a picture, and hallusionbench_full is about those too",
            files.annotations[-1],
            remedy="Fetch non_image-*.parquet too, or score hallusionbench.",
        )


def _rows(files: Files) -> Iterator[Row]:
    columns = ["question", "category"]
    if files.layout == "vlmevalkit-tsv":
        columns += ["index", "image", "answer", "l2-category"]
        return published.read_table(files.annotations[0], columns, ("image",), index="index")
    columns += ["subcategory", "visual_input", "set_id", "figure_id", "question_id"]
    columns += ["gt_answer", "gt_answer_details"]
    if files.layout == "parquet":
        return published.read_parquet(files.annotations, columns, ("image",))
    return published.read_json(files.annotations[0], [*columns, "filename"])


def _sample(row: Row, files: Files, prompt: Prompt) -> Sample:
    """A row of the authors' JSON or of the parquet, which has its columns."""
    visual, answer = _number(row, "visual_input"), _number(row, "gt_answer")
    if visual not in VISUAL:
        raise row.error(f"visual_input should be 0, 1 or 2 but is {visual}")
    if answer not in ("0", "1"):
        raise row.error(f"gt_answer should be 0 or 1 but is {answer}")
    picture: tuple[Picture, ...] = ()
    if visual != "0":
        picture = (_picture(row, files),)
    return _finished(
        row,
        prompt,
        picture,
        kind=(row.text("category"), row.text("subcategory"), visual),
        place=(_number(row, "set_id"), _number(row, "figure_id"), _number(row, "question_id")),
        target="Yes" if answer == "1" else "No",
        details=(row.text("gt_answer_details"),),
    )


def _sample_from_table(row: Row, files: Files, prompt: Prompt) -> Sample:
    """A row of VLMEvalKit's table, whose index ends in set, figure and question. What it begins
    with should be category, sub-category and kind of picture."""
    parts = row.text("index").split("_")
    if len(parts) != 6 or not all(part.isdigit() for part in parts[3:]):
        raise row.error(f"index {row.text('index')!r} does not end in three numbers behind three _")
    if row.text("answer") not in yes_no.OPTIONS:
        raise row.error(f"answer should be Yes or No but is {row.text('answer')!r}")
    category = row.text("category")
    return _finished(
        row,
        prompt,
        (row.picture("image"),),
        kind=(category, row.text("l2-category").removeprefix(f"{category}_"), parts[2]),
        place=(parts[3], parts[4], parts[5]),
        target=row.text("answer"),
        details=(),
    )


def _finished(
    row: Row,
    prompt: Prompt,
    picture: tuple[Picture, ...],
    *,
    kind: tuple[str, str, str],
    place: tuple[str, str, str],
    target: str,
    details: tuple[str, ...],
) -> Sample:
    category, subcategory, visual = kind
    name = f"{category}_{subcategory}"
    if name not in ROWS:
        raise row.error(f"{name} is none of the sub-categories {', '.join(ROWS)}")
    question = row.text("question")
    if not question.strip():
        raise row.error("question is empty")
    part, figure, number = place
    return Sample(
        id="_".join((*kind, *place)),
        parts=(*picture, question + PLEASE if prompt.name == "vlmevalkit-qwen" else question),
        target=target,
        options=yes_no.OPTIONS,
        tags={
            "category": category,
            "subcategory": name,
            "figure": f"{name}_{part}_{figure}",
            **({"visual_input": VISUAL[visual]} if visual in VISUAL else {}),
        },
        group=f"{name}_{part}_question_{number}",
        # A set is an original and what was made of it, with the same questions about each.
        cluster=f"{name}_{part}",
        answers=details,
    )


def _number(row: Row, column: str) -> str:
    """A whole number, which the authors store as text."""
    value = row.values.get(column)
    text = str(value) if type(value) is int else value
    if not (isinstance(text, str) and text.isascii() and text.isdigit()):
        raise row.error(f"{column} should be a whole number but is {value!r}")
    return str(int(text))


def _picture(row: Row, files: Files) -> Picture:
    if files.layout == "parquet":
        return row.picture("image")
    if row.values["filename"] is None:
        raise row.error("visual_input says that there is a picture, but filename is null")
    name = PurePosixPath(row.text("filename"))  # drops the leading "./"
    if name.parts[:1] == (ROOT,):
        name = name.relative_to(ROOT)
    return published.find_picture(files.pictures, str(name), row)


# Judging


def _lenient(judge: Callable[[Sample, Reply], Verdict], sample: Sample, reply: Reply) -> Verdict:
    """The official exception without a judge model: a question about a picture that is not there
    may be left open. Silence is no answer to it."""
    verdict = judge(sample, reply)
    if len(sample.parts) == 1 and verdict.status == "unparsed":
        return Verdict("", 1.0, "unparsed")
    return verdict


def judge_question(sample: Sample, reply: Reply) -> str:
    """What the authors ask GPT-4 about a reply: question, reference sentence, reply.

    Raises:
        SpareError: the sample comes from VLMEvalKit's table, which has no reference sentences.
    """
    if not sample.answers:
        raise SpareError(
            f"{TABLE} has no reference sentences to show a judge ({sample.id}); put {JSON} or the "
            "parquet of lmms-lab/HallusionBench in its place."
        )
    question = sample.parts[-1]
    return (
        "Imagine you are an intelligent teacher. Thoroughly read the question, reference answer "
        "and the prediction answer to ensure a clear understanding of the information provided. "
        "Assess the correctness of the predictions. If the prediction answer does not conflict "
        "with the reference answer, please generate “correct”. If the prediction answer conflict "
        "with the reference answer, please generate “incorrect”. If the prediction answer is "
        'unclear about the answer, please generate "unclear". \n\n'
        f" Question:{question}\nReference answer: {sample.answers[0]}\n"
        f"Prediction answer:{reply.text}\nOutput:"
    )


def judge_official(sample: Sample, reply: Reply) -> Verdict:
    """The verdict that a judge's reply means: "incorrect" anywhere in it is wrong, else "correct"
    anywhere in it right ("not correct" too), else it is unclear, which is right in the rows
    without a picture alone."""
    text = reply.text.lower()
    if "incorrect" in text:
        return Verdict("incorrect", 0.0, "ok")
    if "correct" in text:
        return Verdict("correct", 1.0, "ok")
    score = float(len(sample.parts) == 1)
    if "unclear" in text:
        return Verdict("unclear", score, "ok")
    return Verdict("", score, "unparsed" if text.strip() else "empty")


RULES = {
    "vlmevalkit": Rules(
        "vlmevalkit",
        "Exactly one of the words yes and no; bold, quoted or colon-joined ones are not read.",
        partial(_lenient, yes_no.judge_vlmevalkit),
        source="VLMEvalKit's Y/N matching without a judge model",
    ),
    "spare": Rules(
        "spare",
        "Yes or no, said once and not negated away; anything else is unread.",
        partial(_lenient, yes_no.judge_spare),
    ),
    "official": Rules(
        "official",
        "A judge model compares the reply with the reference sentence.",
        judge_official,
        source="the authors' utils.py, which asks GPT-4",
        question=judge_question,
    ),
}


# Scores


def _summarise(judged: Iterable[Judged], rules: str) -> list[Metric]:
    rows, average = Metric("aAcc"), Metric("average")
    units: dict[str, dict[tuple[str, str], float]] = {
        name: {} for name in ("fAcc", "qAcc", "easy", "hard")
    }
    known = True
    for one in judged:
        score, cluster = one.verdict.score, one.cluster
        rows.add(score, cluster=cluster)
        average.add(score, cluster=cluster, stratum="aAcc")
        visual = one.tags.get("visual_input", "")
        known &= bool(visual)
        counted = {
            "fAcc": "" if visual == "none" else one.tags["figure"],
            "qAcc": one.group,
            "hard" if visual == "edited" else "easy": one.group,
        }
        for name, unit in counted.items():
            if unit:
                key = unit, cluster
                units[name][key] = units[name].get(key, 1.0) * score
    metrics = {name: Metric(name) for name in units}
    for name, scores in units.items():
        for (_, cluster), score in scores.items():
            metrics[name].add(score, cluster=cluster)
            if name in ("fAcc", "qAcc"):
                average.add(score, cluster=cluster, stratum=name)
    kinds = [metrics["easy"], metrics["hard"]] if known else []
    return [rows, metrics["fAcc"], metrics["qAcc"], average, *kinds]


# The tasks

FIGURE_SIZES = {1: 20, 2: 148, 3: 97, 4: 73, 6: 6, 8: 2}
QUESTION_SIZES = {1: 25, 2: 364, 3: 66}
FULL_QUESTION_SIZES = {1: 3, 2: 256, 3: 170, 4: 26}
"""Rows of a picture, of a question, and of a question with the row without a picture -> how many
pictures or questions have as many."""


def _chance(full: bool) -> dict[str, float]:
    """A fair coin in every row, in per cent."""
    chance = {"aAcc": 50.0}
    questions = FULL_QUESTION_SIZES if full else QUESTION_SIZES
    for name, sizes in (("fAcc", FIGURE_SIZES), ("qAcc", questions)):
        right = math.fsum(units * 0.5**size for size, units in sizes.items())
        chance[name] = 100.0 * right / sum(sizes.values())
    return {**chance, "average": math.fsum(chance.values()) / len(chance)}


FIGURES: Mapping[str, str] = {
    "aAcc": "rows answered right",
    "fAcc": "pictures with all their questions answered right",
    "qAcc": "questions answered right about every picture of their set",
    "average": "mean of aAcc, fAcc and qAcc",
    "easy": "qAcc over the original pictures alone, and over the rows without one",
    "hard": "qAcc over the edited pictures alone",
}


LEFT_OPEN = "one that has no picture may be left open"

ALONE = "The question alone."
PROMPTS = {
    # VLMEvalKit leaves the bound to each model's wrapper, and the authors name none.
    "vlmevalkit": Prompt("vlmevalkit", ALONE, tuple(RULES), max_new_tokens=512),
    "vlmevalkit-qwen": Prompt(
        "vlmevalkit-qwen",
        f'The question and "{PLEASE.strip()}", as VLMEvalKit asks Qwen2-VL and its like.',
        # A judge would be shown the request for yes or no as a part of the question.
        ("vlmevalkit", "spare"),
        max_new_tokens=512,
    ),
    "lmms-eval": Prompt("lmms-eval", ALONE, tuple(RULES), max_new_tokens=128),
}
FULL_PROMPTS = {"official": Prompt("official", ALONE, tuple(RULES), max_new_tokens=512)}


def _task(full: bool, name: str, about: str) -> Task:
    table = Source(
        about="or VLMEvalKit's table of questions with pictures",
        url="https://opencompass.openxlab.space/utils/VLMEval/HallusionBench.tsv",
        folder="hallusionbench",
    )
    return Task(
        name=name,
        version=1,
        about=about,
        paper="arXiv 2310.14566",
        licence="BSD-3-Clause",
        sources=(
            Source(
                about="questions with pictures",
                repo="lmms-lab/HallusionBench",
                patterns=("data/image-*.parquet", *(("data/non_image-*.parquet",) * full)),
                folder="hallusionbench",
                size="147 MB",
            ),
            Source(
                about=f"or the authors' {JSON}",
                url="https://github.com/tianyi-lab/HallusionBench",
                folder="hallusionbench",
                size="432 kB",
            ),
            Source(
                about="and their pictures, hallusion_bench.zip (link in the README), unpacked",
                url="https://github.com/tianyi-lab/HallusionBench",
                folder="hallusionbench",
            ),
            *((table,) * (not full)),
        ),
        splits={"test": sum(ROWS.values()) - (0 if full else WITHOUT_PICTURE)},
        split="test",
        chance=_chance(full),
        headline="aAcc",
        breakdown="aAcc",
        beside=("fAcc", "qAcc"),
        prompts=FULL_PROMPTS if full else PROMPTS,
        rules=RULES,
        locate=partial(_locate, full),
        read=partial(_read, full),
        summarise=_summarise,
        figures={**FIGURES, "aAcc": f"{FIGURES['aAcc']}; {LEFT_OPEN}"} if full else FIGURES,
    )


TASKS = (
    _task(
        False,
        "hallusionbench",
        "Yes/no questions about pictures, some edited so that the answer changes.",
    ),
    _task(
        True,
        "hallusionbench_full",
        "The questions of hallusionbench, and those that have no picture.",
    ),
)
