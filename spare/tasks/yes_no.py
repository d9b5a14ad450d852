"""Judging yes/no questions, as several benchmarks share it."""

from __future__ import annotations

from collections.abc import Mapping

from spare.tasks import answers, multiple_choice, references
from spare.tasks.types import Reply, Sample, Verdict

OPTIONS: Mapping[str, str] = {"Yes": "Yes", "No": "No"}


def judge_spare(sample: Sample, reply: Reply) -> Verdict:
    """By our own reader; see `answers.read_yes_no`."""
    reading = answers.read_yes_no(reply.text)
    return Verdict(reading.answer, float(reading.answer == sample.target), reading.status)


def judge_vlmevalkit(sample: Sample, reply: Reply) -> Verdict:
    """VLMEvalKit's matching without a judge model: what it calls Unknown is wrong."""
    return multiple_choice.judge_letter(_vlmevalkit, sample, reply)


def _vlmevalkit(text: str) -> str:
    return references.vlmevalkit_yes_no(text).removeprefix("Unknown")
