"""The scenes of `spare demo`, in the layouts of What's Up A and VSR, as tasks of their own.

Source    rendered by `spare demo` into its data folder, below `demo/`. Nothing is fetched.
Licence   as this program's.
Official  none. They are read and judged by the readers of `whatsup_a` and `vsr_zeroshot`.
Ours      What they ask is as many as they say, so a score of them is whole; and it never shares a
          column with one of the photographs. The first prompts are what a tiny model can answer:
          `answers` ranks the four places as replies to "Where is the mug?", `yes-no` asks whether
          a statement is right.
Figures   a guesser's: 25 of 100 places, 50 of 100 statements. docs/demo.md has those of the demo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from spare.errors import DataError
from spare.tasks import vsr, whatsup
from spare.tasks.types import Files, Prompt, Task

FOLDER = "demo"
"""Where the scenes are in the data folder: not where the photographs are looked for."""

STATEMENTS = Prompt("yes-no", "Is the statement right? Yes or No.", ("spare", "vlmevalkit"))


def _locate(task: Task, data: Path, split: str) -> Files:
    folder = data / FOLDER
    if not folder.is_dir():
        raise DataError(
            "the demo's scenes are not there",
            folder,
            remedy="`spare demo --out DIR` renders them into DIR/data.",
        )
    return task.locate(folder, split)


def _own(
    task: Task, name: str, about: str, splits: Mapping[str, int], prompts: tuple[Prompt, ...]
) -> Task:
    return replace(
        task,
        name=name,
        version=1,
        about=about,
        paper="",
        licence="Apache-2.0",
        sources=(),
        splits=splits,
        prompts={prompt.name: prompt for prompt in prompts},
        locate=partial(_locate, task),
    )


def _tasks() -> tuple[Task, ...]:
    places = next(task for task in whatsup.TASKS if task.name == "whatsup_a")
    statements = next(task for task in vsr.TASKS if task.name == "vsr_zeroshot")
    # As many of them are right as wrong.
    statements = replace(statements, chance=dict.fromkeys(statements.chance, 50.0))
    answers = places.prompts["answers"]
    return (
        _own(
            places,
            "demo_whatsup",
            "The demo's rendered scenes in What's Up's layout: where is the thing?",
            {"test": 144},
            (answers, *(one for one in places.prompts.values() if one is not answers)),
        ),
        _own(
            statements,
            "demo_vsr",
            "The demo's rendered scenes in VSR's layout: is a sentence about them true?",
            {"train": 1152, "dev": 72, "test": 288},
            (STATEMENTS, *statements.prompts.values()),
        ),
    )


TASKS = _tasks()
