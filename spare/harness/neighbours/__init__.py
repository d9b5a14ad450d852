"""Other harnesses: our tasks written down for them, and what they do with a task beside what we do.

To add one: write `spare/harness/neighbours/<name>.py` with the functions of `Neighbour`, and add
its line to `NEIGHBOURS`.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from spare.errors import DataError, SpareError
from spare.harness.asking import Evaluation
from spare.harness.choosing import Choice, check_choices, choose
from spare.harness.models.types import Request
from spare.tasks import LISTED, expand, load_task
from spare.tasks.types import Task

if TYPE_CHECKING:
    from spare.harness.neighbours.differences import Observed

NEIGHBOURS: Mapping[str, str] = {
    "lm-eval": "spare.harness.neighbours.lm_eval",
    "lmms-eval": "spare.harness.neighbours.lmms_eval",
    "vlmevalkit": "spare.harness.neighbours.vlmevalkit",
}
"""Harness -> the module that knows it. Importing the module does not import the harness."""


class Neighbour(Protocol):
    """What a module of `NEIGHBOURS` offers."""

    def write_task(self, evaluation: Evaluation, folder: Path) -> str:
        """Write a task into `folder` as the harness wants it, and return its name there. Raises
        SpareError if the harness could not ask it."""
        ...

    def observe(
        self, evaluation: Evaluation, checkpoint: str, folder: Path, settings: str
    ) -> Observed:
        """What the harness makes of the questions and of a checkpoint's replies; `folder` is for
        its files, `settings` is what the user wrote behind the harness's name. Raises SpareError if
        it fails."""
        ...

    def spell(self, model: Any, request: Request) -> str:
        """Our prompt, by a model of ours, in the form in which `observe` gives the harness's."""
        ...

    def name_and_version(self) -> str:
        """The harness that is installed, for a person."""
        ...

    def command(self, folder: Path, names: Sequence[str]) -> str:
        """The command that asks the tasks in `folder`."""
        ...


@dataclass(frozen=True, slots=True)
class Export:
    """What was written.

    Attributes:
        names: our task -> its name in the other harness.
        left_out: our task -> why it was not written, though its files are there.
        command: what asks them there.
    """

    names: Mapping[str, str]
    left_out: Mapping[str, str]
    command: str


def load_neighbour(name: str) -> Neighbour:
    """The module that knows a harness. Raises SpareError if there is none."""
    if name not in NEIGHBOURS:
        raise SpareError(f"There is no harness {name!r} here; there are {', '.join(NEIGHBOURS)}.")
    return cast(Neighbour, importlib.import_module(NEIGHBOURS[name]))


def export_tasks(
    to: str,
    folder: str | Path,
    tasks: str | Sequence[str] = (),
    *,
    data: str | Path,
    split: Choice = "",
    prompt: Choice = "",
    rules: Choice = "",
    limit: int | None = None,
) -> Export:
    """Write our tasks down as tasks of another harness, which then asks the same questions with the
    same pictures.

    Args:
        to: the harness ("lm-eval", "lmms-eval", "vlmevalkit").
        folder: where they are written; what is there of the same name is replaced.
        tasks: names of tasks and suites; all whose files are in `data` if empty.
        data: folder with the published files. For lm-eval and lmms-eval pictures stay there.
        split, prompt, rules: a name for all tasks, or task -> name.
        limit: only the first so many questions of each task.

    Raises:
        SpareError: a task that was named cannot be written, or none can, or `folder` holds the
            files of a benchmark. (A folder of its own inside `data` is nobody's.)
    """
    neighbour = load_neighbour(to)
    folder, data = Path(folder), Path(data)
    if limit is not None and limit < 1:
        raise SpareError("--limit must be at least 1.")
    if not data.is_dir():
        raise SpareError(f"The data folder {data} does not exist; --data names it.")
    named = [tasks] if isinstance(tasks, str) and tasks else tasks
    chosen = [name for one in named for name in expand(one)]
    refuse_theirs(chosen)
    known = [load_task(name) for name in chosen or LISTED]
    check_choices(known, split=split, prompt=prompt, rules=rules)
    _check_apart(folder, data, known)
    names: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for task in known:
        try:
            evaluation = choose(task, data, split, prompt, rules, limit)
        except SpareError as error:
            if chosen:
                raise
            if not isinstance(error, DataError):  # else its files are not there
                left_out[task.name] = str(error)
            continue
        try:
            names[task.name] = neighbour.write_task(evaluation, folder)
        except SpareError as error:
            if chosen:
                raise
            left_out[task.name] = str(error)
    if not names:
        raise SpareError(
            f"{data} holds the files of no task that {to} could ask; name one with --tasks to hear "
            "what is missing."
        )
    return Export(names, left_out, neighbour.command(folder, list(names.values())))


def refuse_theirs(tasks: Iterable[str]) -> None:
    """Raises SpareError if a task is lm-eval's own: loading it would load its data."""
    for name in tasks:
        if name.startswith("lm-eval:"):
            raise SpareError(f"{name} is lm-eval's own task; name one of ours.")


def _check_apart(folder: Path, data: Path, tasks: Iterable[Task]) -> None:
    """Raises SpareError if `folder` is the data folder, or one in it that holds a benchmark's
    files: an export's tables and `images/` would lie where readers look for theirs."""
    place, root = folder.resolve(), data.resolve()
    if not place.is_relative_to(root):
        return
    held = [root]
    for task in (*tasks, *map(load_task, LISTED)):
        with contextlib.suppress(DataError):  # its files are not there
            files = task.locate(data, task.split)
            held += [path.resolve() for path in (*files.annotations, *files.pictures)]
    if any(path.is_relative_to(place) for path in held):
        raise SpareError(f"{folder} holds the benchmarks' files (--data); name another folder.")
