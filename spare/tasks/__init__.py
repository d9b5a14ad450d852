"""What a benchmark asks and how a reply is judged: one file per benchmark.

To add one: write `spare/tasks/<name>.py` with a `TASKS` tuple and add its line to `LISTED`. Other
packages add theirs by an entry point in the group `spare.tasks` that names a `Task`, a sequence of
them, or a function that returns either.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from spare.errors import SpareError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from spare.tasks.types import Judged, Metric, Task


class Listed(NamedTuple):
    """What `spare tasks` shows of a task without importing it, and where it is.

    Attributes:
        module: the module of this package that has the task in its `TASKS`.
        questions: samples in the default split, 0 if that is not published.
        chance: what guessing gets of the headline, in per cent (MME: in points), if it is known.
    """

    module: str
    questions: int
    chance: float | None
    about: str


LISTED: Mapping[str, Listed] = {
    "whatsup_a": Listed(
        "whatsup",
        412,
        25.0,
        "Sets of four photographs: an object on, under, left or right of furniture.",
    ),
    "whatsup_b": Listed(
        "whatsup",
        408,
        25.0,
        "Sets of four photographs: an object left, right, in front of or behind another.",
    ),
    "whatsup_coco_one": Listed("whatsup", 2247, 50.0, "Where in a COCO picture is the object?"),
    "whatsup_coco_two": Listed("whatsup", 440, 50.0, "How do two objects in a COCO picture lie?"),
    "whatsup_gqa_one": Listed("whatsup", 1160, 50.0, "Where in a GQA picture is the object?"),
    "whatsup_gqa_two": Listed("whatsup", 291, 50.0, "How do two objects in a GQA picture lie?"),
    "vsr_zeroshot": Listed(
        "vsr", 1222, 50.0, "Is a sentence about two objects true? Objects unseen in training."
    ),
    "vsr_random": Listed("vsr", 2195, 50.0, "Is a sentence about two objects true? Random split."),
    "3dsrbench": Listed(
        "threedsrbench",
        11686,
        21.73,
        "12 kinds of 3-D relations; a question counts if all rotations of its options are right.",
    ),
    "3dsrbench_single": Listed(
        "threedsrbench",
        5157,
        46.67,
        "The questions of 3dsrbench, each asked once; not the published figure.",
    ),
    "realworldqa": Listed(
        "realworldqa", 765, None, "Plain questions about photographs, many of them taken from cars."
    ),
    "mmmu_val": Listed("mmmu", 900, 24.70, "College questions of 30 subjects about figures."),
    "mmmu_dev": Listed(
        "mmmu", 150, None, "Five questions of each subject of mmmu_val, other ones."
    ),
    "mmmu_test": Listed(
        "mmmu", 10500, None, "The full set of MMMU; its answers are not public, so it has no score."
    ),
    "mmbench_dev_en": Listed(
        "mmbench",
        4329,
        None,
        "20 abilities by multiple choice, all rotations; V1.0 English.",
    ),
    "mmbench_dev_cn": Listed(
        "mmbench",
        4329,
        None,
        "20 abilities by multiple choice, all rotations; V1.0 Chinese.",
    ),
    "mmbench_test_en": Listed(
        "mmbench",
        6666,
        None,
        "20 abilities by multiple choice, all rotations; V1.0 English; answers not public.",
    ),
    "mmbench_test_cn": Listed(
        "mmbench",
        6666,
        None,
        "20 abilities by multiple choice, all rotations; V1.0 Chinese; answers not public.",
    ),
    "mmbench_v11_dev_en": Listed(
        "mmbench",
        4876,
        None,
        "20 abilities by multiple choice, all rotations; V1.1 English.",
    ),
    "mmbench_v11_dev_cn": Listed(
        "mmbench",
        4876,
        None,
        "20 abilities by multiple choice, all rotations; V1.1 Chinese.",
    ),
    "mmbench_v11_test_en": Listed(
        "mmbench",
        0,
        None,
        "20 abilities by multiple choice, all rotations; V1.1 English; answers not public.",
    ),
    "mmbench_v11_test_cn": Listed(
        "mmbench",
        0,
        None,
        "20 abilities by multiple choice, all rotations; V1.1 Chinese; answers not public.",
    ),
    "textvqa_val": Listed(
        "textvqa", 5000, 0.0, "Questions about photographs whose answers are written in them."
    ),
    "mme": Listed("mme", 2374, 750.0, "Two yes/no questions about each picture, in 14 sub-tasks."),
    "hallusionbench": Listed(
        "hallusionbench",
        951,
        50.0,
        "Yes/no questions about pictures, some edited so that the answer changes.",
    ),
    "hallusionbench_full": Listed(
        "hallusionbench",
        1129,
        50.0,
        "The questions of hallusionbench, and those that have no picture.",
    ),
    "demo_whatsup": Listed(
        "demo",
        144,
        25.0,
        "The demo's rendered scenes in What's Up's layout: where is the thing?",
    ),
    "demo_vsr": Listed(
        "demo",
        288,
        50.0,
        "The demo's rendered scenes in VSR's layout: is a sentence about them true?",
    ),
}
"""Our tasks, in the order in which they are listed."""

SUITES: Mapping[str, tuple[str, ...]] = {
    "spatial": ("vsr_zeroshot", "vsr_random", "whatsup_a", "whatsup_b", "3dsrbench", "realworldqa"),
    "general": ("mmmu_val", "mmbench_dev_en", "textvqa_val", "mme", "hallusionbench"),
    # The columns of Table 3 of the SpaRE paper (arXiv 2504.20648).
    "spare-paper": (
        *("vsr_zeroshot", "whatsup_a", "whatsup_b", "3dsrbench", "realworldqa"),
        *("mmmu_val", "mmbench_dev_en", "hallusionbench", "textvqa_val", "mme"),
    ),
    "demo": ("demo_whatsup", "demo_vsr"),
}
"""Names for several tasks at once."""


def tasks() -> dict[str, Task]:
    """All tasks by name: ours, then those of other packages. Imports them all."""
    return {**{name: _listed_task(name) for name in LISTED}, **foreign_tasks()}


def _listed_task(name: str) -> Task:
    module = importlib.import_module(f"spare.tasks.{LISTED[name].module}")
    found: Task = next(task for task in module.TASKS if task.name == name)
    return found


@functools.cache
def foreign_tasks() -> Mapping[str, Task]:
    """Tasks of other packages, by name."""
    found: dict[str, Task] = {}
    entries = _entry_points()
    if not entries:
        return found
    from spare.tasks.types import Task

    for entry in entries:
        try:
            offered = entry.load()
        except (ImportError, AttributeError, SyntaxError) as error:
            raise SpareError(
                f"The entry point {entry.value!r} of a package that brings tasks cannot be loaded "
                f"({error}); mend or uninstall that package."
            ) from error
        if callable(offered) and not isinstance(offered, Task):
            offered = offered()
        for task in (offered,) if isinstance(offered, Task) else offered:
            if task.name in found or task.name in LISTED:
                raise SpareError(
                    f"The package behind entry point {entry.value!r} brings a second task called "
                    f"{task.name}; uninstall it or rename its task."
                )
            found[task.name] = task
    return found


def _entry_points() -> Collection[EntryPoint]:
    """Entry points of other packages. Nearly always there is none, and a look at the files tells
    so in a tenth of the time that importing `importlib.metadata` takes."""
    group = b"[spare.tasks]"
    if not any(
        group in path.read_bytes()
        for folder in sys.path
        for pattern in ("*.dist-info/entry_points.txt", "*.egg-info/entry_points.txt")
        for path in Path(folder).glob(pattern)
    ):
        return ()
    import importlib.metadata

    return importlib.metadata.entry_points(group="spare.tasks")


def load_task(name: str) -> Task:
    """The task called `name`; `custom:FILE` is the user's own questions in FILE, `lm-eval:NAME` a
    text task of lm-eval."""
    if name.startswith("custom:"):
        from spare.tasks.custom import custom_task

        return custom_task(name.removeprefix("custom:"))
    if name.startswith("lm-eval:"):
        from spare.tasks.lm_eval import lm_eval_task

        return lm_eval_task(name.removeprefix("lm-eval:"))
    if name in LISTED:
        return _listed_task(name)
    if name in foreign_tasks():
        return foreign_tasks()[name]
    if name == "custom":
        raise SpareError("Name the file of your own questions, too: custom:FILE.")
    if name in SUITES:
        raise SpareError(f"{name} is a suite, of the tasks {', '.join(SUITES[name])}.")
    import difflib

    near = difflib.get_close_matches(name, [*LISTED, *foreign_tasks(), *SUITES], n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise SpareError(f"There is no task {name!r}.{hint} `spare tasks` lists them.")


def is_borrowed(name: str) -> bool:
    """Whether a task's questions come from outside: finished runs must do without the task."""
    return name.startswith(("custom:", "lm-eval:"))


def load_summary(name: str) -> Callable[[Iterable[Judged], str], list[Metric]]:
    """How the verdicts on the task called `name` become metrics.

    Finished runs need no more of a task, and the file behind a custom one may be gone by then.
    """
    if name.startswith("custom:"):
        from spare.tasks.custom import summarise

        return summarise
    if name.startswith("lm-eval:"):
        from spare.tasks import lm_eval

        return lm_eval.summarise
    return load_task(name).summarise


def load_figures(name: str) -> Mapping[str, str]:
    """What the metrics of the task called `name` are; see `Task.figures` and `load_summary`."""
    if name.startswith("custom:"):
        from spare.tasks.custom import FIGURES

        return FIGURES
    if is_borrowed(name):
        return {}
    return load_task(name).figures


def expand(names: str) -> list[str]:
    """Task names in a comma-separated list of tasks and suites, each once, in the order given.

    The file behind `custom:` may have commas in its path if it exists.
    """
    pieces = names.split(",")
    wanted = []
    while pieces:
        length = 1
        if pieces[0].strip().startswith("custom:"):
            length = next(filter(partial(_is_custom, pieces), range(1, len(pieces) + 1)), 1)
        wanted.append(",".join(pieces[:length]).strip())
        del pieces[:length]
    flat = [task for name in wanted if name for task in SUITES.get(name, (name,))]
    if not flat:
        raise SpareError("No task was named. `spare tasks` lists them.")
    return list(dict.fromkeys(flat))


def _is_custom(pieces: Sequence[str], length: int) -> bool:
    """Whether the first `length` pieces, which commas have cut, name a user's file."""
    file = ",".join(pieces[:length]).strip().removeprefix("custom:")
    return os.path.isfile(os.path.expanduser(file))
