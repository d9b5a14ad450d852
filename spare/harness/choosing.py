"""What is to be asked: tasks by their names, and the split, prompt and rules of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from spare.errors import SpareError
from spare.harness.asking import Evaluation
from spare.tasks import expand, load_task
from spare.tasks.lm_eval import PREFIX
from spare.tasks.types import Task

Choice = str | Mapping[str, str]
"""A name for all tasks, or task -> name for some of them ("" and absent mean the task's
default)."""


def _names(tasks: str | Sequence[str | Task]) -> Sequence[str | Task]:
    if isinstance(tasks, str):
        return expand(tasks)
    return [name for task in tasks for name in (expand(task) if isinstance(task, str) else [task])]


def plan_evaluations(
    tasks: str | Sequence[str | Task],
    data: str | Path,
    *,
    split: Choice = "",
    prompt: Choice = "",
    rules: Choice = "",
    limit: int | None = None,
) -> list[Evaluation]:
    """What is to be asked of tasks. Arguments and errors are those of `evaluate`; no question is
    read."""
    if limit is not None and limit < 1:
        raise SpareError("--limit must be at least 1.")
    chosen = [load_task(name) if isinstance(name, str) else name for name in _names(tasks)]
    if not chosen:
        raise SpareError("No task was named. `spare tasks` lists them.")
    check_choices(chosen, split=split, prompt=prompt, rules=rules)
    wanting = [task.name for task in chosen if not task.name.startswith(PREFIX)]
    if wanting and not str(data):
        raise SpareError(f"The files of {wanting[0]} are in a folder that --data names; name it.")
    return [choose(task, Path(data), split, prompt, rules, limit) for task in chosen]


def check_choices(tasks: Sequence[Task], **choices: Choice) -> None:
    """Raises SpareError if two tasks have one name, or a choice is for a task that is none of
    them."""
    names = {task.name for task in tasks}
    for name in names:
        if sum(task.name == name for task in tasks) > 1:
            raise SpareError(
                f"Two of the tasks are called {name}, and a run could not keep them apart; "
                "rename a file, or use two runs."
            )
    for option, choice in choices.items():
        unknown = set(choice) - names if not isinstance(choice, str) else set()
        if unknown:
            raise SpareError(
                f"--{option} names {', '.join(sorted(unknown))}, which is not among the tasks "
                f"({', '.join(sorted(names))})."
            )


def require_folder(data: Path, option: str = "--data") -> None:
    """Raises SpareError if there is no folder of published files where an option says."""
    if not data.is_dir():
        raise SpareError(f"The data folder {data} does not exist; {option} names it.")


def choose(
    task: Task, data: Path, split: Choice, prompt: Choice, rules: Choice, limit: int | None
) -> Evaluation:
    """What is to be asked of one task. Raises SpareError if it has no such split, prompt or rules,
    or its files are not there."""

    def pick(choice: Choice) -> str:
        return choice if isinstance(choice, str) else choice.get(task.name, "")

    chosen_split = task.check_split(pick(split))
    chosen_prompt = task.prompt(pick(prompt))
    wanted = pick(rules)
    names = chosen_prompt.rules if wanted == "all" else (wanted,)
    chosen_rules = [task.rules_for(chosen_prompt, name) for name in names]
    if wanted == "all":
        chosen_rules = [one for one in chosen_rules if not one.question]
    elif chosen_rules[0].question:
        raise SpareError(
            f"The rules {wanted} of {task.name} have a model decide about every reply; evaluate "
            f"with others first, then run `spare score RUN --rules {wanted} --judge MODEL`."
        )
    require_folder(data)
    files = task.locate(data, chosen_split)
    return Evaluation(task, files, chosen_split, chosen_prompt, tuple(chosen_rules), limit)
