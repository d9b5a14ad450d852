"""TextVQA: questions about photographs whose answers are written in them (Singh et al., CVPR 2019)

Source    textvqa.org, files under dl.fbaipublicfiles.com/textvqa: TextVQA_0.5.1_val.json and the
          folder train_images of train_val_images.zip. Also hub data sets lmms-lab/textvqa (now
          lmms-lab-encoder/textvqa) and facebook/textvqa, and VLMEvalKit's TextVQA_VAL.tsv.
Licence   CC BY 4.0; photographs of OpenImages under their authors' terms.
Rows      validation: 5,000 questions about 3,166 photographs, each with the answers of ten people.
          The answers to the test split are not public, and figures are of validation everywhere.
Official  MMF's evaluation: reply and answers are brought into a normal form, and a question scores
          0, 0.3, 0.6, 0.9 or 1 by how many of the ten gave the reply (`vqa_answers`). LLaVA and
          lmms-eval run the same code. "unanswerable" and "answering does not require reading text
          in the image" are answers like any other.
Prompts   `lmms-eval` shows no OCR tokens, nor does `vlmevalkit` (the same but for capital letters)
          or `vlmevalkit-qwen2-vl` (its wording for that family). `llava` shows the tokens that the
          authors' OCR system Rosetta found, as LLaVA-1.5 did in its paper. With them another task
          is scored, so the two never share a column. Both harnesses show none, hence our default.
          Tokens are in the parquet of lmms-lab or in TextVQA_Rosetta_OCR_v0.2_val.json, to be put
          beside the annotations (LLaVA issue 976); without them the prompt is refused.
Ours      `spare` counts everything that `official` counts but an empty normal form, and what a
          person would also accept: markdown, quotes and "The answer is" around the answer,
          `<answer>` and `\\boxed{}`, typographic apostrophes, decomposed accents, "red,blue" for
          "red, blue", "what's" for "whats".
          A question without a reply scores 0; MMF and LLaVA average over the replies supplied.
Figures   LLaVA-1.5-13B 61.3 with OCR tokens (paper), 48.73 without (lmms-eval); LLaVA-1.5-7B 58.2
          with. SpaRE (arXiv 2504.20648, by VLMEvalKit, no tokens): Qwen2-VL-2B 75.0 and 7B 81.7,
          SpaRE-2B 79.2 and 7B 80.5. VLMEvalKit did not take a full stop behind a digit for an error
          until 2025-05-12: rules `vlmevalkit-2024` are for figures from before.
Traps     `lmms-eval` capitalises: the first letter is made a capital and all others small, also
          those of names. VLMEvalKit keeps replies in a spreadsheet that pandas reads back, where
          "None", "N/A" and nothing become "nan", and a column of numbers turns 5 into 5.0; we do
          not imitate that. lmms-eval submits normal forms instead of replies, so that "A" is handed
          in as nothing. Rows of the TSV cannot be tied to question ids, so they have their own.
"""

from __future__ import annotations

import ast
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from spare.errors import DataError, PictureError
from spare.images import Picture, digest
from spare.tasks import answers, summaries, vqa_answers
from spare.tasks import files as published
from spare.tasks.files import Row
from spare.tasks.types import Files, Prompt, Reply, Rules, Sample, Source, Task, Verdict

QUESTIONS = 5000
PEOPLE = 10


# Files

FOLDERS = ("textvqa", "TextVQA", "LMUData", "LMMs-Eval-Lite", ".")
LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "parquet": (
        "data/validation-*.parquet",
        "validation-*.parquet",
        "default/validation/*.parquet",  # as the hub converts data sets
    ),
    "json": ("TextVQA_0.5.1_val.json", "data/TextVQA_0.5.1_val.json"),
    "vlmevalkit-tsv": ("TextVQA_VAL.tsv",),
    "lite-parquet": ("textvqa_val/lite-*.parquet",),  # 500 questions that lmms-eval drew
}
ROSETTA = "TextVQA_Rosetta_OCR_v0.2_val.json"
TRAIN_IMAGES = ("train_images", "train_val_images/train_images", "images/train_images")
"""The photographs of training and validation share a folder of that name."""


def _locate(data: Path, split: str) -> Files:
    for layout, patterns in LAYOUTS.items():
        found = published.locate_shards(data, FOLDERS, patterns)
        if not found:
            continue
        tokens = published.locate_shards(data, FOLDERS, (ROSETTA, f"data/{ROSETTA}"))
        if layout == "json":
            named = [data / folder / name for folder in FOLDERS for name in TRAIN_IMAGES]
            pictures = tuple(folder for folder in named if folder.is_dir())
            # Without any folder, each sample says that its picture is missing from the usual one.
            return Files((*found, *tokens), pictures or (named[0],), layout)
        return Files((*found, *tokens) if layout != "vlmevalkit-tsv" else found, (), layout)
    names = [pattern for patterns in LAYOUTS.values() for pattern in patterns]
    raise published.not_found("textvqa_val", data, FOLDERS[:-1], names)


# Questions

BRIEFLY = "Answer the question using a single word or phrase."
SHORT_WORDS = "Please try to answer the question with short words or phrases if possible."
ASK: Mapping[str, Callable[[str], str]] = {
    "lmms-eval": lambda question: f"{question.capitalize()}\n{BRIEFLY}",
    "vlmevalkit": lambda question: f"{question}\n{BRIEFLY}",
    "vlmevalkit-qwen2-vl": lambda question: f"{question}\n{SHORT_WORDS}",
}


def _ask_with_tokens(question: str, tokens: list[str]) -> str:
    """LLaVA's published questions, which are what lmms-eval makes with `ocr: true`."""
    return f"{question.capitalize()}\nReference OCR token: {', '.join(tokens)}\n{BRIEFLY}"


def _read(files: Files, split: str, prompt: Prompt) -> Iterator[Sample]:
    rosetta = next((path for path in files.annotations if path.name == ROSETTA), None)
    tokens = _rosetta(rosetta) if rosetta and prompt.name == "llava" else {}
    seen: dict[str, int] = {}
    for row in _rows(files):
        if files.layout == "vlmevalkit-tsv":
            sample = _sample_from_table(row, prompt)
        else:
            sample = _sample(row, files, prompt, tokens)
        if sample.id in seen:
            raise row.error(f"question {sample.id} stood in row {seen[sample.id]} already")
        seen[sample.id] = row.number
        yield sample


def _rows(files: Files) -> Iterator[Row]:
    if files.layout == "vlmevalkit-tsv":
        wanted = ("index", "image", "question", "answer")
        return published.read_table(files.annotations[0], wanted, ("image",), index="index")
    columns = ("question_id", "image_id", "question")  # and answers, but for the test split
    if files.layout == "json":
        return published.read_json(files.annotations[0], columns, under="data")
    shards = [path for path in files.annotations if path.suffix == ".parquet"]
    return published.read_parquet(shards, (*columns, "image"), ("image",))


def _sample(row: Row, files: Files, prompt: Prompt, rosetta: Mapping[str, list[str]]) -> Sample:
    number, image = row.values["question_id"], row.text("image_id")
    if type(number) is not int:
        raise row.error(f"question_id should be a whole number but is {number!r}")
    if row.values.get("set_name") in ("train", "test"):
        raise row.error(f"this question is of the {row.text('set_name')} split")
    if "image" in row.cells:
        picture = row.picture("image")
    else:
        picture = published.find_picture(files.pictures, f"{image}.jpg", row)
    question = row.text("question")
    if prompt.name == "llava":
        text = _ask_with_tokens(question, _tokens(row, image, rosetta))
    else:
        text = ASK[prompt.name](question)
    return _open_question(
        str(number), picture, text, _answers(row, row.values.get("answers")), image
    )


def _sample_from_table(row: Row, prompt: Prompt) -> Sample:
    if prompt.name == "llava":
        raise row.error("prompt llava shows OCR tokens, and VLMEvalKit's file has none", _NO_TOKENS)
    picture, answer = row.picture("image"), row.text("answer")
    try:
        people = ast.literal_eval(answer)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        people = answer
    try:
        cluster = digest(picture)
    except PictureError:  # it costs its own sample, when it is opened
        cluster = ""
    return _open_question(
        # The file has no question ids, so that its rows cannot be tied to those of other layouts.
        f"tsv-{row.text('index')}",
        picture,
        ASK[prompt.name](row.text("question")),
        _answers(row, people),
        cluster,
    )


def _open_question(
    name: str, picture: Picture, text: str, people: tuple[str, ...], cluster: str
) -> Sample:
    counts = Counter(people)
    favourite = min(counts, key=lambda answer: (-counts[answer], answer))
    return Sample(name, (picture, text), favourite, cluster=cluster or name, answers=people)


def _answers(row: Row, people: Any) -> tuple[str, ...]:
    if people is None or (isinstance(people, list) and not any(people)):
        raise row.error(
            "there are no answers", "Those of the test split are not public; score validation."
        )
    texts = isinstance(people, list) and all(isinstance(answer, str) for answer in people)
    if not texts or len(people) != PEOPLE:
        raise row.error(
            f"a list of {PEOPLE} answers was expected, but there is {str(people)[:120]!r}"
        )
    return tuple(people)


_NO_TOKENS = (
    f"Take lmms-lab/textvqa, or put {ROSETTA} beside the annotations; other prompts show no tokens."
)


def _tokens(row: Row, image: str, rosetta: Mapping[str, list[str]]) -> list[str]:
    """The OCR tokens of one photograph, from its own row or from Rosetta's file."""
    if "ocr_tokens" in row.values:
        return _texts(row, row.values["ocr_tokens"])
    if not rosetta:
        raise row.error("prompt llava shows OCR tokens, and these files have none", _NO_TOKENS)
    if image not in rosetta:
        raise row.error(f"{ROSETTA} has no entry for photograph {image}", "Fetch it again.")
    return rosetta[image]


def _rosetta(path: Path) -> dict[str, list[str]]:
    """Photograph -> its tokens. `data` is a list of entries; in some copies entries stand under
    the name of their photograph instead."""
    value = published.json_value(path)
    entries = value.get("data", value) if isinstance(value, dict) else value
    if isinstance(entries, dict):
        pairs = list(entries.items())
    elif isinstance(entries, list):
        pairs = [(isinstance(one, dict) and one.get("image_id"), one) for one in entries]
    else:
        raise DataError(f"a list of entries was expected, but {entries!r} is there", path)
    found = {}
    for number, (image, entry) in enumerate(pairs, 1):
        row = Row(path, number, entry if isinstance(entry, dict) else {}, {})
        if not isinstance(image, str) or "ocr_tokens" not in row.values:
            raise row.error("an entry with image_id and ocr_tokens was expected")
        found[image] = _texts(row, row.values["ocr_tokens"])
    return found


def _texts(row: Row, tokens: Any) -> list[str]:
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise row.error(f"ocr_tokens should be a list of texts but is {str(tokens)[:120]!r}")
    return tokens


# Judging


def _judge_by(normalise: Callable[[str], str], sample: Sample, reply: Reply) -> Verdict:
    """By a reference's normal form. An empty one may match: some people answered "a"."""
    said = normalise(reply.text)
    matches = _forms(sample.answers, normalise).count(said)
    score = vqa_answers.vote_score(matches, len(sample.answers))
    return Verdict(said, score, "ok" if reply.text.strip() else "empty")


def _judge_spare(sample: Sample, reply: Reply) -> Verdict:
    reading = answers.read_short(reply.text)
    said = vqa_answers.plain_answer(reading.answer)
    whole = vqa_answers.official_answer(reply.text)
    matches = sum(
        bool(said and plain == said) or bool(whole and official == whole)
        for plain, official in zip(
            _forms(sample.answers, _plain),
            _forms(sample.answers, vqa_answers.official_answer),
            strict=True,
        )
    )
    if matches and not said:
        said, reading = whole, answers.Reading(whole, "ok")
    return Verdict(said, vqa_answers.vote_score(matches, len(sample.answers)), reading.status)


def _plain(answer: str) -> str:
    """A person's answer, evened out as a reply is."""
    return vqa_answers.plain_answer(answers.read_short(answer).answer or answer)


@functools.lru_cache(maxsize=64)  # a sample is judged under several rule sets in a row
def _forms(people: tuple[str, ...], normalise: Callable[[str], str]) -> tuple[str, ...]:
    forms = {answer: normalise(answer) for answer in set(people)}  # most of them agree
    return tuple(forms[answer] for answer in people)


RULES = {
    "official": Rules(
        "official",
        "How many of ten people gave the reply, all in MMF's normal form.",
        functools.partial(_judge_by, vqa_answers.official_answer),
        source="MMF b0ffc7f, and LLaVA",
    ),
    "vlmevalkit": Rules(
        "vlmevalkit",
        "The same, but a full stop behind a digit stays, and commas are spaces.",
        functools.partial(_judge_by, vqa_answers.vlmevalkit_answer),
        source="VLMEvalKit since 2025-05-13",
    ),
    "vlmevalkit-2024": Rules(
        "vlmevalkit-2024",
        "The same as official, but commas are spaces.",
        functools.partial(_judge_by, vqa_answers.vlmevalkit_2024_answer),
        source="VLMEvalKit until 2025-05-12",
    ),
    "lmms-eval": Rules(
        "lmms-eval",
        "The same as official.",
        functools.partial(_judge_by, vqa_answers.official_answer),
        source="lmms-eval 75571cfe",
    ),
    "spare": Rules(
        "spare",
        "As official, and through quotes, markdown, announcements and other spellings of one "
        "answer; nothing is no answer.",
        _judge_spare,
    ),
}


# The task


def _prompt(name: str, about: str, first: str, max_new_tokens: int) -> Prompt:
    rules = (first, *(other for other in RULES if other != first))
    return Prompt(name, about, rules, max_new_tokens=max_new_tokens)


TASKS = (
    Task(
        name="textvqa_val",
        version=1,
        about="Questions about photographs whose answers are written in them.",
        paper="arXiv 1904.08920",
        licence="CC BY 4.0; photographs of OpenImages under their authors' terms",
        sources=(
            Source(
                about="questions, photographs and OCR tokens",
                repo="lmms-lab/textvqa",
                patterns=("data/validation-*.parquet",),
                folder="textvqa",
            ),
            Source(
                about="or the original files: questions",
                url="https://dl.fbaipublicfiles.com/textvqa/data/TextVQA_0.5.1_val.json",
                folder="textvqa",
                size="3.1 MB",
            ),
            Source(
                about="with their photographs (folder train_images)",
                url="https://dl.fbaipublicfiles.com/textvqa/images/train_val_images.zip",
                folder="textvqa",
            ),
            Source(
                about="and, for prompt llava, OCR tokens",
                url=f"https://dl.fbaipublicfiles.com/textvqa/data/{ROSETTA}",
                folder="textvqa",
                size="9.8 MB",
            ),
            Source(
                about="or VLMEvalKit's file (no OCR tokens, no question ids)",
                url="https://opencompass.openxlab.space/utils/VLMEval/TextVQA_VAL.tsv",
                folder="textvqa",
            ),
        ),
        splits={"validation": QUESTIONS},
        split="validation",
        # There are no options to draw from.
        chance={"accuracy": 0.0},
        headline="accuracy",
        breakdown="accuracy",
        prompts={
            # lmms-eval leaves the bound to each model's wrapper: 128 tokens for Qwen2-VL, 1,024
            # for LLaVA. An answer that counts never comes near it.
            "lmms-eval": _prompt(
                "lmms-eval", "The question and a call for a word or phrase.", "official", 128
            ),
            "llava": _prompt(
                "llava",
                "With the OCR tokens of the published files: what LLaVA-1.5's figures are of.",
                "official",
                128,
            ),
            "vlmevalkit": _prompt(
                "vlmevalkit", "The words of lmms-eval, the question as stored.", "vlmevalkit", 512
            ),
            "vlmevalkit-qwen2-vl": _prompt(
                "vlmevalkit-qwen2-vl",
                "VLMEvalKit's words for Qwen2-VL: short words or phrases if possible.",
                "vlmevalkit",
                512,
            ),
        },
        rules=RULES,
        locate=_locate,
        read=_read,
        summarise=summaries.accuracy,
        figures={"accuracy": "mean score of the questions, by the answers of ten people"},
    ),
)
