"""What a benchmark asks and how a reply is judged: one file per benchmark.

To add one: write `spare/tasks/<name>.py` with a `TASKS` tuple and add its line to `MODULES`. Other
packages add theirs by an entry point in the group `spare.tasks` that names a `Task`, a sequence of
them, or a function that returns either.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Mapping

from spare.errors import SpareError
from spare.tasks.types import Task

MODULES = ("whatsup", "vsr", "threedsrbench", "realworldqa")
"""Modules of this package with a `TASKS` tuple, in the order in which `spare tasks` lists them."""

SUITES: Mapping[str, tuple[str, ...]] = {
    "spatial": ("vsr_zeroshot", "vsr_random", "whatsup_a", "whatsup_b", "3dsrbench", "realworldqa"),
    "demo": ("whatsup_a", "vsr_zeroshot"),
}
"""Names for several tasks at once."""


@functools.cache
def tasks() -> Mapping[str, Task]:
    """All tasks by name: ours, then those of other packages."""
    found: dict[str, Task] = {}
    for module in MODULES:
        for task in importlib.import_module(f"spare.tasks.{module}").TASKS:
            found[task.name] = task
    for entry in importlib.metadata.entry_points(group="spare.tasks"):
        offered = entry.load()
        if callable(offered) and not isinstance(offered, Task):
            offered = offered()
        for task in (offered,) if isinstance(offered, Task) else offered:
            if task.name in found:
                raise SpareError(
                    f"The package behind entry point {entry.value!r} brings a second task called "
                    f"{task.name}; "
                    "uninstall it or rename its task."
                )
            found[task.name] = task
    return found


def load_task(name: str) -> Task:
    """The task called `name`; `custom:FILE` is the user's own questions in FILE."""
    if name.startswith("custom:"):
        from spare.tasks.custom import custom_task

        return custom_task(name.removeprefix("custom:"))
    if name not in tasks():
        import difflib

        near = difflib.get_close_matches(name, [*tasks(), *SUITES], n=1)
        raise SpareError(
            f"There is no task {name!r}."
            + (f" Did you mean {near[0]}?" if near else "")
            + " `spare tasks` lists them."
        )
    return tasks()[name]


def expand(names: str) -> list[str]:
    """Task names in a comma-separated list of tasks and suites, each once, in the order given."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise SpareError("No task was named. `spare tasks` lists them.")
    flat = [task for name in wanted for task in SUITES.get(name, (name,))]
    return list(dict.fromkeys(flat))
