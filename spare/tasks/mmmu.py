"""MMMU: college questions of 30 subjects about figures of every kind (Yue et al., CVPR 2024)

Source    hub data set MMMU/MMMU (a folder per subject) and github.com/MMMU-Benchmark/MMMU
          (bb0b95a9: prompts, scorer, answer_dict_val.json). 150 dev, 900 validation (30 a subject:
          847 multiple choice, 53 open), 10,500 test questions. Test answers are not public:
          `mmmu_test` writes the file for EvalAI challenge 2179 and has no score.
Licence   Apache-2.0; the card points out that pictures may have other owners.
Layouts   MMMU/MMMU and its copy on ModelScope; lmms-lab/MMMU and HuggingFaceM4/MMMU (one file per
          split); VLMEvalKit's MMMU_DEV_VAL.tsv and MMMU_TEST.tsv. Reductions with other columns
          (mm-eval, zli12321, UQ4VLM) are refused: they lack questions, pictures or options.
Official  Micro average over all questions, and over those of the six disciplines. Options as
          "(A) ...", and a call for the letter or for a word or phrase. A reply in which the reader
          finds no letter gets an option drawn at random: Python's generator, seed 42, in the order
          of the files (the authors take subjects by the alphabet). An open question is
          right if a part of the reply holds the answer.
Ours      That is the default, prompt and rules `official`, because papers that report MMMU report
          this figure: `overall`. `overall_without_guesses` counts the drawn options as wrong; the
          two differ where a model answers in prose (48 draws for Qwen-VL's replies, 2 for
          LLaVA-1.5's). Every prompt shows each picture where its placeholder stands, in question
          and options, as often as it stands there; pictures come first if there is no placeholder.
          So does VLMEvalKit, and so does lm-eval, but it shows nothing without a placeholder. The
          authors' LLaVA runner shows picture 1 only and leaves placeholders in the text; lmms-eval
          swaps pictures and drops text if placeholders are out of order or repeated. We decode
          greedily; the authors sampled with five beams.
Others    `vlmevalkit` turns an open question into "A: the right answer, B: Other Answers" after the
          model has replied: "130" is right for 30, a bare "A" for nearly all, and an answer C for
          none. `lmms-eval` (75571cfe; mended since 2026-08-24) keeps one part of a reply to an open
          question and looks for the answer in its single characters: all 53 are wrong. `lm-eval`
          keeps a list of accepted answers as it is stored, as one text, which no reply holds. It
          draws in the order of its own groups, and lmms-eval from a generator that it shares, so
          their drawn options are other ones than here.
Figures   Validation, in per cent: random 22.1, most frequent letter 26.8 (paper); an even draw
          among the options 24.7; always A 27.1 (rules vlmevalkit: 32.6), B 25.7, C 22.1, D 16.6,
          no option drawn; human experts 88.6 (best). The authors' replies of LLaVA-1.5-13B score
          36.7 (330 of 900) and those of Qwen-VL 36.1 (325); the functions of lmms-eval make 36.3
          and 35.3 of them, those of VLMEvalKit 36.2 and 24.8.
Traps     Letters go up to I. `options` is a Python list in a text, and so is `answer` where several
          are accepted. A lone "None" is an option (validation_Geography_15, D), which pandas, and
          so VLMEvalKit, takes for a missing one. In VLMEvalKit's tables `category` is the
          discipline and `l2-category` the subject, the reverse of MMBench's; both are taken from
          the id here. "B. $7" and a letter before a line end are unread by the official reader.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from spare.images import Picture
from spare.tasks import mmmu_answers, multiple_choice
from spare.tasks.mmmu_files import LETTERS, PLACEHOLDER, TABLES, locate, questions
from spare.tasks.types import (
    Files,
    Judged,
    Metric,
    Part,
    Prompt,
    Reply,
    Rules,
    Sample,
    Source,
    Submission,
    Task,
    Verdict,
)

OPTION_COUNTS = {2: 28, 3: 111, 4: 606, 5: 91, 6: 5, 7: 2, 9: 4}
"""Options -> multiple-choice questions of the validation split that have so many."""

SPLITS = {"validation": 900, "dev": 150, "test": 10_500}


# Prompts

LETTER = "Answer with the option's letter from the given choices directly."
PHRASE = "Answer the question using a single word or phrase."


def _ask_official(question: str, options: Mapping[str, str]) -> str:
    """Two blank lines in the authors' YAML are one line end each, for YAML folds them."""
    if not options:
        return f"{question}\n{PHRASE}"
    shown = "".join(f"({label}) {text}\n" for label, text in options.items())
    return f"{question}\n{shown}\n{LETTER}"


def _ask_lm_eval(question: str, options: Mapping[str, str]) -> str:
    """The authors' YAML taken for Python, in which blank lines are blank lines."""
    if not options:
        return f"{question}\n\n{PHRASE}"
    shown = "\n".join(f"({label}) {text}" for label, text in options.items())
    return f"{question}\n\n{shown}\n\n{LETTER}"


def _ask_lmms_eval(question: str, options: Mapping[str, str]) -> str:
    if not options:
        return f"{question}\n\n{PHRASE}"
    return f"{question}\n{multiple_choice.lettered(options)}\n\n{LETTER}"


def _ask_lmms_eval_test(question: str, options: Mapping[str, str]) -> str:
    """For the test split lmms-eval configures no call for an answer."""
    return _ask_lmms_eval(question, options).removesuffix(LETTER if options else PHRASE)


def _ask_vlmevalkit(question: str, options: Mapping[str, str]) -> str:
    if not options:
        return f"Question: {question}\n"
    return multiple_choice.ask_vlmevalkit(question, options)


ASK: Mapping[str, Callable[[str, Mapping[str, str]], str]] = {
    "official": _ask_official,
    "vlmevalkit": _ask_vlmevalkit,
    "lmms-eval": _ask_lmms_eval,
    "lm-eval": _ask_lm_eval,
}


# Questions


def _read(files: Files, split: str, prompt: Prompt) -> Iterator[Sample]:
    ask = ASK[prompt.name]
    if split == "test" and prompt.name == "lmms-eval":
        ask = _ask_lmms_eval_test
    for question in questions(files, split):
        yield Sample(
            id=question.id,
            parts=_interleaved(ask(question.text, question.options), question.pictures),
            target=question.target,
            options=question.options,
            tags=question.tags,
            cluster=question.id,
            answers=question.answers,
        )


def _interleaved(text: str, pictures: Mapping[int, Picture]) -> tuple[Part, ...]:
    """Text and pictures, each picture wherever its placeholder stands, or first if none stands."""
    pieces = PLACEHOLDER.split(text)  # text, number, text, number, text
    if len(pieces) == 1:
        return (*pictures.values(), text)
    parts = (pictures[int(piece)] if place % 2 else piece for place, piece in enumerate(pieces))
    return tuple(part for part in parts if part != "")


# Judging


def _stored(sample: Sample) -> str:
    """The answer to an open question as it is stored: one text, even if it is a list."""
    return str(list(sample.answers)) if sample.answers else sample.target


def _judge_official(as_stored: bool, sample: Sample, reply: Reply) -> Verdict:
    if sample.options:
        read = partial(mmmu_answers.official_letter, options=sample.options)
        return multiple_choice.judge_letter(read, sample, reply)
    candidates = mmmu_answers.open_candidates(reply.text)
    accepted = (_stored(sample),) if as_stored else sample.answers or (sample.target,)
    right = mmmu_answers.official_open(candidates, accepted)
    return Verdict(" | ".join(map(str, candidates)), float(right), _open_status(reply))


def _judge_lmms_eval(sample: Sample, reply: Reply) -> Verdict:
    if sample.options:
        read = partial(mmmu_answers.lmms_mmmu_letter, options=sample.options)
        return multiple_choice.judge_letter(read, sample, reply)
    # It keeps one candidate (of a set of texts, so which one differs from run to run) and looks
    # for the answer, which has two characters at least with its space, in each of its characters.
    said = str(mmmu_answers.open_candidates(reply.text)[0])
    return Verdict(said, 0.0, _open_status(reply))


def _open_status(reply: Reply) -> Literal["ok", "empty"]:
    return "ok" if reply.text.strip() else "empty"


def _judge_vlmevalkit(generation: Literal["g2", "g3"], sample: Sample, reply: Reply) -> Verdict:
    if not sample.options:
        answer = _stored(sample)
        sample = replace(
            sample,
            options={"A": answer, "B": "Other Answers"},
            target=answer if answer in tuple(LETTERS) else "A",
        )
    return multiple_choice.judge_vlmevalkit(generation, sample, reply)


def _judge_spare(sample: Sample, reply: Reply) -> Verdict:
    if sample.options:
        return multiple_choice.judge_spare(sample, reply)
    reading, right = mmmu_answers.read_open(reply.text, sample.answers or (sample.target,))
    return Verdict(reading.answer, float(right), reading.status)


RULES = {
    "official": Rules(
        "official",
        '"(B)", else B between spaces, else an option\'s text in a long reply, else one drawn at '
        "random; open answers anywhere in what a reply says.",
        partial(_judge_official, False),
        source="MMMU-Benchmark/MMMU bb0b95a9",
        guess_seed=42,
    ),
    "spare": Rules(
        "spare",
        "One option, by letter or text; an open answer but for units and rounding.",
        _judge_spare,
    ),
    "vlmevalkit": Rules(
        "vlmevalkit",
        'A letter among the last four words, or behind "answer is" (even inside a word), else '
        "exactly one option text in a short reply; open questions have the answer as option A.",
        partial(_judge_vlmevalkit, "g3"),
        source="VLMEvalKit since 2026-06-17 without a judge model",
    ),
    "vlmevalkit-2025": Rules(
        "vlmevalkit-2025",
        "A letter among the last four words, else exactly one option text in a short reply; open "
        "questions have the answer as option A.",
        partial(_judge_vlmevalkit, "g2"),
        source="VLMEvalKit from 2025-08-04 to 2026-06-16 without a judge model",
    ),
    "lmms-eval": Rules(
        "lmms-eval",
        'As official, but B needs a space behind it only, and "B." is read; open questions are '
        "always wrong.",
        _judge_lmms_eval,
        source="lmms-eval 75571cfe",
        guess_seed=0,
    ),
    "lm-eval": Rules(
        "lm-eval",
        "As official, but an open question with several accepted answers is always wrong.",
        partial(_judge_official, True),
        source="lm-evaluation-harness 4e7e0d47",
        guess_seed=42,
    ),
}


def _summarise(judged: Iterable[Judged], rules: str) -> list[Metric]:
    overall, unaided = Metric("overall"), Metric("overall_without_guesses")
    for one in judged:
        overall.add(one.verdict.score, cluster=one.cluster)
        unaided.add(one.verdict.score * (one.verdict.status == "ok"), cluster=one.cluster)
    return [overall] if RULES[rules].guess_seed is None else [overall, unaided]


# The submission


def _write_submission(
    files: Files, split: str, replies: Iterable[tuple[Sample, Reply]], path: Path
) -> None:
    """One JSON object, id -> prediction, as the authors' runner writes it: a letter, read by their
    reader and drawn (seed 42) where it finds none, or the whole reply to an open question."""
    guesses = random.Random(42)
    predictions: dict[str, str] = {}
    for sample, reply in replies:
        if sample.options:
            letter = mmmu_answers.official_letter(reply.text, sample.options)
            predictions[sample.id] = letter or guesses.choice(list(sample.options))
        else:
            predictions[sample.id] = reply.text
    path.write_text(json.dumps(predictions, indent=4) + "\n", encoding="utf-8")


# The tasks


def _chance(split: str) -> dict[str, float]:
    """An even draw among the options, open questions unanswered; the options of the other splits
    have not been counted."""
    if split != "validation":
        return {}
    right = sum(questions / options for options, questions in OPTION_COUNTS.items())
    chance = 100 * right / SPLITS[split]
    return {"overall": chance, "overall_without_guesses": chance}


def _prompt(name: str, about: str, max_new_tokens: int) -> Prompt:
    rules = (name, *(other for other in RULES if other != name))
    return Prompt(name, about, rules, max_new_tokens=max_new_tokens)


def _task(name: str, split: str, about: str) -> Task:
    return Task(
        name=name,
        version=1,
        about=about,
        paper="arXiv 2311.16502",
        licence="Apache-2.0; pictures may have other owners",
        sources=(
            Source(
                about="questions with pictures, a folder per subject",
                repo="MMMU/MMMU",
                patterns=(f"*/{split}-*.parquet",),
                folder="mmmu",
            ),
            Source(
                about="or VLMEvalKit's table",
                url=f"https://opencompass.openxlab.space/utils/VLMEval/{TABLES[split]}",
                folder="mmmu",
            ),
        ),
        splits={split: SPLITS[split]},
        split=split,
        chance=_chance(split),
        headline="overall",
        breakdown="overall",
        beside=("overall_without_guesses",),
        prompts={
            "official": _prompt(
                "official", "(A) ..., and a call for the letter, or for a word or phrase.", 128
            ),
            "vlmevalkit": _prompt(
                "vlmevalkit",
                "VLMEvalKit's default prompt; open questions are asked without a further word.",
                # VLMEvalKit leaves the bound to each model's wrapper.
                512,
            ),
            "lmms-eval": _prompt(
                "lmms-eval",
                "A. ..., and a call for the letter, or for a word or phrase"
                + ("; none for the test split." if split == "test" else "."),
                512 if split == "test" else 128,
            ),
            "lm-eval": _prompt("lm-eval", "As official with further blank lines.", 512),
        },
        rules=RULES,
        locate=partial(locate, name),
        read=_read,
        summarise=_summarise,
        submission=Submission(
            f"{name}_submission.json", "EvalAI scores them: challenge 2179.", _write_submission
        )
        if split == "test"
        else None,
        figures={
            "overall": "questions answered right",
            "overall_without_guesses": "overall, counting options drawn at random as wrong",
        },
    )


TASKS = (
    _task("mmmu_val", "validation", "College questions of 30 subjects about figures."),
    _task("mmmu_dev", "dev", "Five questions of each subject of mmmu_val, other ones."),
    _task(
        "mmmu_test", "test", "The full set of MMMU; its answers are not public, so it has no score."
    ),
)
