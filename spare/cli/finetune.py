"""`spare finetune`: train a checkpoint on a data set."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.cli.eval import choice
from spare.cli.progress import Bar, Look, shown
from spare.errors import SpareError

if TYPE_CHECKING:
    from spare.finetune.evaluations import Evaluations
    from spare.finetune.training import Event, Progress


def add_arguments(
    parser: argparse.ArgumentParser,
    recipe: str = "",
    out: str = "the checkpoint; one that is begun goes on",
) -> None:
    """Add the arguments of a training.

    Args:
        recipe: the default; "" where one must be named.
        out: what is told of --out.
    """
    from spare.finetune.recipes import recipe_names

    add = parser.add_argument
    add(
        "--recipe",
        required=not recipe,
        default=recipe,
        metavar="NAME",
        help=f"{', '.join(recipe_names())}, or a TOML file of yours"
        + (f" ({recipe})" if recipe else ""),
    )
    add("--data", required=True, metavar="DIR", help="data set of `spare publish`")
    add("--model", default="", help="path or hub id of the base; by default the recipe's")
    add("--out", required=True, metavar="DIR", help=out)
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a value of the recipe, such as lr=1e-5; repeat it",
    )
    add("--seed", type=int, metavar="N", help="seed of data order, adapter and dropout (0)")
    add("--seeds", type=int, metavar="N", help="train N seeds, into DIR/seed-0 and so on")
    add("--pictures", default="", metavar="DIR", help="folder of pictures that have a path")
    add("--blobs", default="", metavar="DIR", help="store of `spare images`")
    add(
        "--general",
        default="",
        metavar="DIR",
        help="another data set, of which the recipe's general_share is mixed in",
    )
    add(
        "--report-to",
        default="",
        metavar="NAME",
        help="curves to tensorboard, wandb ... too; losses.jsonl has them in any case",
    )
    while_training = parser.add_argument_group("evaluations while training")
    add = while_training.add_argument
    add(
        "--eval-tasks",
        default="",
        metavar="TASKS",
        help="keep the weights that are best at these instead of the last ones",
    )
    add(
        "--eval-general",
        default="",
        metavar="TASKS",
        help="end the training when these get significantly worse than before it",
    )
    add(
        "--eval-prompt",
        action="append",
        default=[],
        metavar="TASK=NAME",
        help="way of asking one of them; by default each task's first",
    )
    add("--eval-data", default="", metavar="DIR", help="folder with the tasks' published files")
    add("--eval-every", type=int, default=500, metavar="N", help="steps between (%(default)s)")
    add("--eval-limit", type=int, default=200, metavar="N", help="samples a task (%(default)s)")
    parser.epilog = (
        "Several GPUs or machines: accelerate launch -m spare finetune ... The steps are the same, "
        "whatever the number of devices."
    )


def run(arguments: argparse.Namespace) -> int:
    from spare.finetune.tuning import fine_tune

    with progress() as on_event:
        found = fine_tune(on_event=on_event, **requested(arguments))
    if _is_first():
        for one in found:
            first, last = one.result["first_loss"], one.result["last_loss"]
            print(f"{one.folder}: {one.result['steps']:,} steps, loss {first:.3f} to {last:.3f}")
        print("To score it:")
        for one in found:
            print(f"  {one.command}")
        if found[0].adapter:
            print("To make a checkpoint of it:")
            for one in found:
                words = [str(one.folder), "--out", str(one.folder.parent / "merged")]
                print(f"  spare merge {shlex.join(words)}")
    return 0


def requested(arguments: argparse.Namespace, benchmarks: str = "") -> dict[str, Any]:
    """The arguments of `fine_tune` that a user gave. Raises SpareError if they make no sense.

    Args:
        benchmarks: folder of the tasks' files, where --eval-data names none.
    """
    arguments.eval_data = arguments.eval_data or benchmarks
    if arguments.seeds is not None and arguments.seeds < 1:
        raise SpareError("--seeds is a number from 1.")
    settings = dict(one.partition("=")[::2] for one in arguments.set)
    if "" in settings or not all("=" in one for one in arguments.set):
        raise SpareError("--set takes KEY=VALUE, such as lr=1e-5.")
    names = ("recipe", "data", "out", "model", "seed", "seeds", "pictures", "blobs", "general")
    given = {name: getattr(arguments, name) for name in (*names, "report_to")}
    given["seeds"] = arguments.seeds or 0
    return given | {"settings": settings, "evaluations": _evaluations(arguments, benchmarks)}


def _evaluations(arguments: argparse.Namespace, benchmarks: str) -> Evaluations | None:
    if not (arguments.eval_tasks or arguments.eval_general):
        if arguments.eval_prompt:
            raise SpareError("--eval-prompt says how --eval-tasks are asked; name these, too.")
        if arguments.eval_data and not benchmarks:
            raise SpareError("--eval-data is where the files of --eval-tasks are; name these, too.")
        return None
    if not (arguments.eval_tasks and arguments.eval_data):
        raise SpareError("Evaluations while training need --eval-tasks and --eval-data.")
    from spare.finetune.evaluations import Evaluations

    prompt = choice("eval-prompt", arguments.eval_prompt)
    if isinstance(prompt, str) and prompt:
        raise SpareError("--eval-prompt takes TASK=NAME, such as whatsup_a=captions.")
    from spare.tasks import expand, load_task

    tasks = [load_task(name).name for name in expand(_named(arguments))]
    strange = [name for name in prompt or () if name not in tasks]
    if strange:
        raise SpareError(f"--eval-prompt is for {', '.join(tasks)}, and not {strange[0]}.")
    return Evaluations(
        Path(arguments.eval_data),
        arguments.eval_tasks,
        arguments.eval_general,
        arguments.eval_every,
        arguments.eval_limit,
        prompt=dict(prompt or {}),
    )


def _named(arguments: argparse.Namespace) -> str:
    return ",".join(filter(None, (arguments.eval_tasks, arguments.eval_general)))


def _is_first() -> bool:
    """One of several processes speaks."""
    import os

    return os.environ.get("RANK", "0") == "0"


def progress() -> AbstractContextManager[Callable[[Event], None]]:
    """What shows events."""
    return shown(Look(_bar, _line, _state, left="steps, ETA", stays=False))


def _bar(event: Progress) -> Bar:
    return Bar("training", event.step, event.steps)


def _line(event: Progress) -> str:
    left = (event.steps - event.step) / event.pace / 60 if event.pace else 0
    eta = f", {left:.0f} min to go" if event.step < event.steps else ""
    return f"step {event.step:,} of {event.steps:,}{eta}, {_state(event)}, {event.pace:.2f} steps/s"


def _state(event: Progress) -> str:
    return f"loss {event.loss:.3f}"
