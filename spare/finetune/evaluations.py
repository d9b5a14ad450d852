"""Evaluations that hang on a training: a slice of spatial tasks every so many steps, and of general
ones, so that the best weights are kept and a model that forgets is stopped.

They are the harness' own: each leaves a run, which `spare show` and `spare compare` read.

    training/evaluations/0-spatial       a run of the base, before the first step
    training/evaluations/500-spatial     and so on
    training/evaluations.jsonl           step, score, regressions, what was said of it
    training/best-500/                   the weights of the best step so far
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spare.disk import replaced
from spare.errors import SpareError

FOLDER, JOURNAL = "evaluations", "evaluations.jsonl"

POINTS = "A task that counts points has no mean with accuracies: leave MME out of --eval-tasks."


@dataclass(frozen=True, slots=True)
class Evaluations:
    """What is evaluated while a model is trained.

    Attributes:
        data: folder with the benchmarks' published files.
        spatial: tasks whose mean accuracy says which weights are best.
        general: tasks that must not get worse; "" for none.
        prompt: task -> way of asking; by default each task's first.
        every: steps from one evaluation to the next; the last step has one in any case.
        limit: samples of each task.
        max_drop: what a general task may fall by, in per cent of its full range, before a
            significant fall ends the training.
    """

    data: Path
    spatial: str
    general: str = ""
    every: int = 500
    limit: int = 200
    max_drop: float = 1.0
    prompt: Mapping[str, str] = field(default_factory=dict)


def check(asked: Evaluations) -> None:
    """Raises SpareError if these evaluations cannot be made: known before the first picture is
    opened, and not after the first hour."""
    from spare.harness.choosing import choose, require_folder
    from spare.tasks import expand, load_task

    if asked.every < 1 or asked.limit < 1:
        raise SpareError(
            "Evaluations while training need at least 1 step (--eval-every) and 1 sample "
            "(--eval-limit)."
        )
    spatial, general = (
        [load_task(name) for name in expand(tasks)] if tasks else []
        for tasks in (asked.spatial, asked.general)
    )
    if not spatial:
        raise SpareError("Evaluations while training need a spatial task: --eval-tasks names it.")
    if any(max(task.chance.values(), default=0.0) > 100 for task in spatial):
        raise SpareError(POINTS)
    require_folder(asked.data, "--eval-data")
    for task in (*spatial, *general):
        if task.submission:
            raise SpareError(f"{task.name} has no scores to go by: its answers are not public.")
        choose(task, asked.data, "", asked.prompt, "", asked.limit).count_samples()


def read(training: Path) -> list[dict[str, Any]]:
    """The evaluations so far; [] if there are none."""
    path = training / JOURNAL
    if not path.exists():
        return []
    found = []
    for line in path.read_text("utf-8").splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def write(training: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Replace the evaluations so far."""
    with replaced(training / JOURNAL) as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines).encode())


def best_step(lines: Sequence[Mapping[str, Any]]) -> int:
    """The step of the best weights; the last of equals, and never one after which general tasks
    were worse. 0 if there is none."""
    fit = [line for line in lines if line["step"] and not line["regressions"]]
    return int(max(fit, key=lambda line: (line["spatial"], line["step"]))["step"]) if fit else 0


def best_folder(training: Path, step: int) -> Path:
    """Where the weights of a step are that was the best."""
    return training / f"best-{step}"


def keep_best(training: Path, saved: int) -> None:
    """Take away all weights but those of the best step, and of the best of those up to `saved`: a
    training that is killed goes on from there."""
    lines = read(training)
    steps = {best_step(lines), best_step([line for line in lines if line["step"] <= saved])}
    for folder in set(training.glob("best-*")) - {best_folder(training, step) for step in steps}:
        shutil.rmtree(folder)
