"""MME: two yes/no questions about each picture, in 14 sub-tasks (Fu et al., arXiv 2306.13394)

Source    MME_Benchmark_release_version.zip of hub data set darkyarding/MME; as parquet lmms-lab/MME
          (lmms-eval now points at the copy lmms-lab-encoder/MME); as VLMEvalKit's MME.tsv (MD5
          b36b43c3f09801f5d368627fb92187c3). Not MME-RealWorld, MME-Reasoning or Video-MME.
Licence   For academic research only (the authors' repository); the hub card says Apache-2.0.
          Pictures of COCO, Places365, films, artworks and landmarks: do not pass them on.
Rows      2,374 questions about 1,187 pictures: about each one whose answer is Yes and one whose
          answer is No. Ten sub-tasks of perception, four of cognition.
Official  Per sub-task: accuracy (per cent of questions) + accuracy+ (per cent of pictures with both
          questions right), 200 at most. Perception is the sum over its ten sub-tasks (2,000 at
          most), cognition over its four (800). The stored question is asked as it stands; the first
          four characters of the lower-case reply decide (`calculation.py` in eval_tool.zip,
          BradyFU/Awesome-Multimodal-Large-Language-Models, branch Evaluation, tools/).
Ours      The same points. Asked by default is the stored question, read by the official rules:
          papers report this, VLMEvalKit asks the same, and lmms-eval's reader differs in "Y", "N"
          and white space only. The official script takes a reply from one cell of a table, which
          holds no tabs and line ends: they count as the spaces that replace them, and as there,
          nothing is stripped (two blanks before "Yes" hide it). It pairs consecutive lines; we
          pair by picture, and a picture that lacks one of its questions, or a sub-task that is
          missing, is an error. `lmms-eval` (and LLaVA-1.5, whose converter puts the ending back
          for scoring) asks for a single word in place of "Please answer yes or no.". VLMEvalKit's
          wrappers of some models (InternVL) change the question; that is not asked here.
Figures   Perception / cognition in points: always Yes or always No 500 / 200, LaVIN's replies in
          the official tool 963.61 / 249.64 (without a judge model VLMEvalKit reads them as 963.61 /
          248.93). Reported for SpaRE (arXiv 2504.20648): Qwen2-VL-2B 1490.7 / 441.8, Qwen2-VL-7B
          1667.3 / 640.0. Leaderboards that show one number mean the sum, our `total`.
Traps     File names are not unique: 30 of them occur in two or four sub-tasks (0001.png in all of
          cognition; ten COCO pictures in two of existence, count, position, color), so pictures are
          told apart by sub-task and name. lmms-eval's prompt leaves a blank before the line end in
          the seven questions that have two spaces before "Please". Two questions end in a
          full-width question mark, three in none. The release keeps nine sub-tasks flat and splits
          five into images/ and questions_answers_YN/, some copies with translations beside them
          (*_zh), which are not MME. Rows of the mirrors are in another order than the release.
          "Not sure", "None" and "Now yes" are No officially, and "The answer is yes" is unread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from spare.errors import DataError
from spare.images import Picture
from spare.tasks import files as published
from spare.tasks import multiple_choice, yes_no
from spare.tasks.files import Row
from spare.tasks.types import Files, Judged, Metric, Prompt, Rules, Sample, Source, Task

PERCEPTION: Mapping[str, int] = {
    "existence": 30,
    "count": 30,
    "position": 30,
    "color": 30,
    "posters": 147,
    "celebrity": 170,
    "scene": 200,
    "landmark": 200,
    "artwork": 200,
    "OCR": 20,
}
COGNITION: Mapping[str, int] = {
    "commonsense_reasoning": 70,
    "numerical_calculation": 20,
    "text_translation": 20,
    "code_reasoning": 20,
}
PICTURES: Mapping[str, int] = {**PERCEPTION, **COGNITION}
"""Sub-task -> its pictures, in the official order."""

QUESTIONS = 2 * sum(PICTURES.values())


# Files

FOLDERS = ("mme", "MME", "LMUData", ".")
TREES = (
    "MME_Benchmark_release_version/MME_Benchmark",
    "MME_Benchmark_release_version",
    "MME_Benchmark",
    ".",
)
PARQUET = ("data/test-*.parquet", "test-*.parquet")
TABLE = "MME.tsv"


def _locate(data: Path, split: str) -> Files:
    for folder in FOLDERS:
        for name in TREES:
            tree = data / folder / name
            there = [task for task in PICTURES if (tree / task).is_dir()]
            # A folder called "count" may be anybody's; most of the fourteen are MME's.
            if len(there) > len(PICTURES) / 2:
                return Files(_texts(tree), (tree,), "release")
    for layout, names in (("parquet", PARQUET), ("vlmevalkit-tsv", (TABLE,))):
        found = published.locate_shards(data, FOLDERS, names)
        if found:
            return Files(found, (), layout)
    wanted = (f"{TREES[1]}/existence", *PARQUET, TABLE)
    raise published.not_found("mme", data, FOLDERS[:-1], wanted)


def _texts(tree: Path) -> tuple[Path, ...]:
    """The files with the questions, by sub-task and name."""
    texts: list[Path] = []
    for task in PICTURES:
        folder = tree / task / SPLIT_TEXTS if _is_split(tree / task) else tree / task
        found = {path.name: path for path in sorted(folder.glob("*.txt"))}
        texts += [path for path in found.values() if not _is_extra(path.name, found)]
    return tuple(texts)


SPLIT_TEXTS, SPLIT_PICTURES = "questions_answers_YN", "images"


def _is_split(folder: Path) -> bool:
    """Whether a sub-task keeps pictures and questions apart; copies of the release differ in
    which do."""
    return (folder / SPLIT_TEXTS).is_dir() and (folder / SPLIT_PICTURES).is_dir()


def _is_extra(name: str, names: Mapping[str, Path]) -> bool:
    """A translation, or what macOS leaves beside a file ("._0001.txt")."""
    translation = name.endswith("_zh.txt") and name.replace("_zh.txt", ".txt") in names
    return translation or name.startswith(".")


# Questions

ENDING = " Please answer yes or no."
ASK_LMMS_EVAL = "\nAnswer the question using a single word or phrase."
COCO_NUMBER = re.compile(r"\d{12}")


class _Question(NamedTuple):
    """A published question, whatever the layout.

    Attributes:
        task: the sub-task; name: the picture's file name; answer: "Yes" or "No".
    """

    row: Row
    task: str
    name: str
    picture: Picture
    text: str
    answer: str


def _read(files: Files, split: str, prompt: Prompt) -> Iterator[Sample]:
    rows: dict[str, int] = {}  # id -> row
    pictures: dict[str, int] = {}  # picture -> its questions
    found: set[str] = set()  # sub-tasks
    for question in (_release if files.layout == "release" else _mirror)(files):
        sample = _sample(question, prompt)
        if sample.id in rows:
            raise question.row.error(
                f"a second question about {sample.group} whose answer is {sample.target}; the "
                f"first stands in row {rows[sample.id]}"
            )
        rows[sample.id] = question.row.number
        pictures[sample.group] = pictures.get(sample.group, 0) + 1
        found.add(question.task)
        yield sample
    single = [picture for picture, questions in pictures.items() if questions != 2]
    if single:
        raise DataError(
            f"{len(single):,} of {len(pictures):,} pictures have only one of their two questions, "
            f"so that accuracy+ would be of something else: {', '.join(single[:5])}",
            files.annotations[0],
            remedy="The file may have been cut off: fetch it again.",
        )
    lacking = [task for task in PICTURES if task not in found]
    if lacking:
        raise DataError(
            f"there are no questions of {', '.join(lacking)}, and MME's score is the sum over all "
            f"{len(PICTURES)} sub-tasks",
            files.pictures[0] if files.pictures else files.annotations[0],
            remedy="Files may be missing: fetch them again.",
        )


def _sample(question: _Question, prompt: Prompt) -> Sample:
    group = f"{question.task}/{question.name}"
    stem = PurePosixPath(question.name).stem
    return Sample(
        id=f"{group}/{question.answer}",
        parts=(question.picture, _asked(question, prompt)),
        target=question.answer,
        options=yes_no.OPTIONS,
        tags={
            "subtask": question.task,
            "ability": "perception" if question.task in PERCEPTION else "cognition",
        },
        group=group,
        # COCO numbers its pictures once, and some are asked about in two sub-tasks.
        cluster=stem if COCO_NUMBER.fullmatch(stem) else group,
    )


def _asked(question: _Question, prompt: Prompt) -> str:
    if prompt.name == "lmms-eval":
        return question.text.strip().replace(ENDING, "") + ASK_LMMS_EVAL
    if prompt.name == "official" and not question.text.endswith(ENDING):
        raise question.row.error(
            f"the question does not end in {ENDING!r}, as all of the release do: "
            f"{question.text[-80:]!r}",
            "Ask it as it stands in the file, with the prompt vlmevalkit.",
        )
    return question.text


def _release(files: Files) -> Iterator[_Question]:
    """Text files of two lines, "question<TAB>Yes" and "question<TAB>No", named as the pictures."""
    tree = files.pictures[0]
    for path in files.annotations:
        task = path.relative_to(tree).parts[0]
        split = path.parent.name == SPLIT_TEXTS
        folder = tree / task / SPLIT_PICTURES if split else path.parent
        suffixes = (".jpg", ".png") if task in PERCEPTION else (".png", ".jpg")
        names = [path.stem + suffix for suffix in suffixes]
        name = next((name for name in names if (folder / name).is_file()), names[0])
        rows = list(_lines(path))
        answers = [row.values["answer"] for row in rows]
        if sorted(answers) != ["No", "Yes"]:
            raise DataError(
                "two questions were expected, one answered Yes and one No, but there are "
                f"{len(answers)}, answered {', '.join(answers) or 'nothing'}",
                path,
                remedy="The file may have been cut off: fetch it again.",
            )
        for row in rows:
            picture = published.find_picture((folder,), name, row)
            yield _Question(row, task, name, picture, row.text("question"), row.text("answer"))


def _lines(path: Path) -> Iterator[Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"it cannot be read as text ({error})", path) from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split("\t")]
        row = Row(path, number, {}, {})
        if len(fields) != 2:
            raise row.error(f"question, tab, answer were expected, but this is {line[:120]!r}")
        yield Row(path, number, {"question": fields[0], "answer": _answer(row, fields[1])}, {})


def _mirror(files: Files) -> Iterator[_Question]:
    """Rows of the parquet shards and of VLMEvalKit's table."""
    column = "question_id" if files.layout == "parquet" else "image_path"
    columns = [column, "image", "question", "answer", "category"]
    if files.layout == "parquet":
        rows = published.read_parquet(files.annotations, columns, ("image",))
    else:
        columns.append("index")
        rows = published.read_table(files.annotations[0], columns, ("image",), index="index")
    for row in rows:
        task, name = row.text("category"), PurePosixPath(row.text(column)).name
        if task not in PICTURES:
            raise row.error(f"category {task!r} is none of the sub-tasks {', '.join(PICTURES)}")
        if not name:
            raise row.error(f"{column} {row.text(column)!r} names no picture")
        answer = _answer(row, row.text("answer"))
        yield _Question(row, task, name, row.picture("image"), row.text("question"), answer)


def _answer(row: Row, text: str) -> str:
    answer = text.strip().capitalize()
    if answer not in yes_no.OPTIONS:
        raise row.error(f"the answer should be Yes or No but is {text!r}")
    return answer


# Judging


def _official(text: str) -> str:
    """The official tool's reader: what the first four characters contain, "yes" before "no".

    Accidents to expect: "Not sure", "None", "know" and "**No**" are No, "**Yes**" and two blanks
    before "Yes" are unread, "Yesterday" and "eyes" are Yes, an answer further on is not seen.
    """
    return _prefix(text[:4].lower())


def _lmms_eval(text: str) -> str:
    """lmms-eval's reader: the official one on the reply without surrounding white space and full
    stops; "y" and "n" by themselves count."""
    text = text.lower().strip().replace(".", "")
    return {"y": "Yes", "n": "No"}.get(text) or _prefix(text)


def _prefix(text: str) -> str:
    start = text[:4]
    return "Yes" if "yes" in start else "No" if "no" in start else ""


RULES = {
    "official": Rules(
        "official",
        "The first four characters of the reply, as they are, contain yes, or else no.",
        partial(multiple_choice.judge_letter, _official),
        source="the authors' calculation.py",
    ),
    "lmms-eval": Rules(
        "lmms-eval",
        "As official, after white space and full stops are gone; Y and N alone count too.",
        partial(multiple_choice.judge_letter, _lmms_eval),
        source="lmms-eval 75571cfe",
    ),
    "vlmevalkit": Rules(
        "vlmevalkit",
        "Exactly one of the words yes and no, anywhere in the reply.",
        yes_no.judge_vlmevalkit,
        source="VLMEvalKit's Y/N matching without a judge model",
    ),
    "spare": Rules(
        "spare",
        "Yes or no, said once and not negated away; anything else is unread.",
        yes_no.judge_spare,
    ),
}


# Scores


def _summarise(judged: Iterable[Judged], rules: str) -> list[Metric]:
    accuracy, both = Metric("accuracy"), Metric("accuracy_plus")
    sums = {name: Metric(name, total=True) for name in ("perception", "cognition", "total")}
    parts = {task: Metric(task, total=True) for task in PICTURES}
    pairs: dict[str, list[Judged]] = {}

    def points(one: Judged) -> tuple[Metric, ...]:
        return sums[one.tags["ability"]], sums["total"], parts[one.tags["subtask"]]

    for one in judged:
        score, cluster = one.verdict.score, one.cluster
        accuracy.add(score, cluster=cluster)
        for metric in points(one):
            metric.add(score, cluster=cluster, stratum=f"{one.tags['subtask']} accuracy")
        pairs.setdefault(one.group, []).append(one)
    for pair in pairs.values():
        if len(pair) != 2:  # the other was cut off by --limit, and is no pass untried
            continue
        score, cluster = pair[0].verdict.score * pair[1].verdict.score, pair[0].cluster
        both.add(score, cluster=cluster)
        for metric in points(pair[0]):
            metric.add(score, cluster=cluster, stratum=f"{pair[0].tags['subtask']} accuracy+")
    return [*sums.values(), accuracy, both, *parts.values()]


# The task

CHANCE: Mapping[str, float] = {
    # A fair coin gets 50 + 25 points in every sub-task.
    "perception": 75.0 * len(PERCEPTION),
    "cognition": 75.0 * len(COGNITION),
    "total": 75.0 * len(PICTURES),
    "accuracy": 50.0,
    "accuracy_plus": 25.0,
    **dict.fromkeys(PICTURES, 75.0),
}
FIGURES: Mapping[str, str] = {
    "perception": "points of 2,000: accuracy + accuracy+, summed over the ten sub-tasks",
    "cognition": "points of 800: the same over the other four; VLMEvalKit's reasoning",
    "total": "points of 2,800: perception + cognition",
    "accuracy": "questions answered right, in per cent",
    "accuracy_plus": "pictures with both questions right, in per cent",
    **{task: f"points of 200, {pictures} pictures" for task, pictures in PICTURES.items()},
}


def _prompt(name: str, about: str, max_new_tokens: int) -> Prompt:
    rules = (name, *(other for other in RULES if other != name))
    return Prompt(name, about, rules, max_new_tokens=max_new_tokens)


TASKS = (
    Task(
        name="mme",
        version=1,
        about="Two yes/no questions about each picture, in 14 sub-tasks.",
        paper="arXiv 2306.13394",
        licence="academic research only (hub card: Apache-2.0); pictures of several owners",
        sources=(
            Source(
                about="questions with pictures",
                repo="lmms-lab/MME",
                patterns=("data/test-*.parquet",),
                folder="mme",
                size="865 MB",
            ),
            Source(
                about="or the authors' release, MME_Benchmark_release_version.zip",
                url="https://huggingface.co/datasets/darkyarding/MME",
                folder="mme",
                size="200 MB",
            ),
            Source(
                about="or VLMEvalKit's table",
                url="https://opencompass.openxlab.space/utils/VLMEval/MME.tsv",
                folder="mme",
            ),
        ),
        splits={"test": QUESTIONS},
        split="test",
        chance=CHANCE,
        headline="perception",
        breakdown="accuracy",
        beside=("accuracy_plus",),
        prompts={
            "official": _prompt("official", 'The stored question: "... yes or no."', 128),
            "lmms-eval": _prompt("lmms-eval", 'Its end replaced: "... single word or phrase."', 16),
            "vlmevalkit": _prompt(
                "vlmevalkit",
                "The question as the file has it, and room for a long reply.",
                512,  # VLMEvalKit leaves the bound to each model's wrapper.
            ),
        },
        rules=RULES,
        locate=_locate,
        read=_read,
        summarise=_summarise,
        figures=FIGURES,
    ),
)
