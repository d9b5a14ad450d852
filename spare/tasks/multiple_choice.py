"""Asking and judging multiple choice, as several benchmarks share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from spare.tasks import answers, references
from spare.tasks.files import PANDAS_NA
from spare.tasks.types import Reply, Sample, Verdict


def lettered(options: Mapping[str, str]) -> str:
    """The options, a line each: "A. left", "B. right"."""
    return "\n".join(f"{label}. {text}" for label, text in options.items())


def ask_spare(question: str, options: Mapping[str, str]) -> str:
    """Question, options and the instruction of LLaVA-1.5's evaluation, which most checkpoints have
    met in training: it is also what VLMEvalKit's own wrappers of LLaVA and InternVL send."""
    instruction = "Answer with the option's letter from the given choices directly."
    return f"{question}\n{lettered(options)}\n{instruction}"


def ask_vlmevalkit(question: str, options: Mapping[str, str]) -> str:
    """VLMEvalKit's default prompt (`ImageMCQDataset.build_prompt`), byte for byte: there is a space
    before the last line end."""
    shown = lettered(_seen_by_pandas(options))
    request = "Please select the correct answer from the options above. \n"
    return f"Question: {question}\nOptions:\n{shown}\n{request}"


def judge_spare(sample: Sample, reply: Reply) -> Verdict:
    """By letter or by the option's text; see `answers.read_option`."""
    reading = answers.read_option(reply.text, sample.options)
    return Verdict(reading.answer, float(reading.answer == sample.target), reading.status)


def judge_vlmevalkit(
    generation: Literal["g1", "g2", "g3"], sample: Sample, reply: Reply
) -> Verdict:
    """VLMEvalKit's matching without a judge model: what it cannot resolve, or takes for a refusal
    ("Z"), is wrong."""

    def read(text: str) -> str:
        options = _seen_by_pandas(sample.options)
        return references.vlmevalkit_option(text, options, generation).removeprefix("Z")

    return judge_letter(read, sample, reply)


def judge_letter(read: Callable[[str], str], sample: Sample, reply: Reply) -> Verdict:
    """By a reference's reader that gives a label, or "" if it finds none."""
    label = read(reply.text)
    if not label:
        return Verdict("", 0.0, "unparsed" if reply.text.strip() else "empty")
    return Verdict(label, float(label == sample.target), "ok")


def _seen_by_pandas(options: Mapping[str, str]) -> dict[str, str]:
    # VLMEvalKit reads its tables with pandas, to which an option spelled "None" or "NA" is missing.
    return {label: text for label, text in options.items() if text not in PANDAS_NA}
