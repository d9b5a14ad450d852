"""`spare finetune`: train a checkpoint on a data set."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.errors import SpareError

if TYPE_CHECKING:
    from spare.finetune.evaluations import Evaluations
    from spare.finetune.training import Event


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from spare.finetune.recipes import recipe_names

    add = parser.add_argument
    add(
        "--recipe",
        required=True,
        metavar="NAME",
        help=f"{', '.join(recipe_names())}, or a TOML file of yours",
    )
    add("--data", required=True, metavar="DIR", help="data set of `spare publish`")
    add("--model", default="", help="path or hub id of the base; by default the recipe's")
    add("--out", required=True, metavar="DIR", help="the checkpoint; one that is begun goes on")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a value of the recipe, such as lr=1e-5; repeat it",
    )
    add("--seed", type=int, metavar="N", help="seed of data order, adapter and dropout (0)")
    add(
        "--seeds", type=int, default=0, metavar="N", help="train N seeds, into DIR/seed-0 and so on"
    )
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
                print(f"  spare merge {one.folder} --out {one.folder.parent / 'merged'}")
    return 0


def requested(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `fine_tune` that a user gave. Raises SpareError if they make no sense."""
    if arguments.seeds < 0:
        raise SpareError("--seeds is a number from 1.")
    settings = dict(one.partition("=")[::2] for one in arguments.set)
    if "" in settings or not all("=" in one for one in arguments.set):
        raise SpareError("--set takes KEY=VALUE, such as lr=1e-5.")
    names = ("recipe", "data", "out", "model", "seed", "seeds", "pictures", "blobs", "general")
    given = {name: getattr(arguments, name) for name in (*names, "report_to")}
    return given | {"settings": settings, "evaluations": _evaluations(arguments)}


def _evaluations(arguments: argparse.Namespace) -> Evaluations | None:
    if not (arguments.eval_tasks or arguments.eval_general):
        return None
    if not (arguments.eval_tasks and arguments.eval_data):
        raise SpareError("Evaluations while training need --eval-tasks and --eval-data.")
    from spare.finetune.evaluations import Evaluations

    return Evaluations(
        Path(arguments.eval_data),
        arguments.eval_tasks,
        arguments.eval_general,
        arguments.eval_every,
        arguments.eval_limit,
    )


def _is_first() -> bool:
    """One of several processes speaks."""
    import os

    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def progress() -> Iterator[Callable[[Event], None]]:
    """What shows events: a live bar on a terminal, a line every half minute elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines().show
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TextColumn("steps, ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task("training", total=None, visible=False, state="")

        def show(event: Event) -> None:
            if isinstance(event, str):
                bar.console.print(event, highlight=False, markup=False)
                return
            bar.update(
                task,
                total=event.steps,
                completed=event.step,
                visible=event.step < event.steps,
                state=f"loss {event.loss:.3f}",
            )

        yield show


class _Lines:
    """Progress for logs: the messages, and where the training stands every half minute."""

    SECONDS = 30.0

    def __init__(self) -> None:
        self.printed = time.monotonic()

    def show(self, event: Event) -> None:
        # Whoever read our progress may have gone (`2>&1 | head`); the training goes on.
        with contextlib.suppress(BrokenPipeError):
            self._show(event)

    def _show(self, event: Event) -> None:
        if isinstance(event, str):
            print(event, file=sys.stderr, flush=True)
            return
        last = event.step >= event.steps
        if last or time.monotonic() - self.printed > self.SECONDS:
            self.printed = time.monotonic()
            left = (event.steps - event.step) / event.pace / 60 if event.pace else 0
            eta = "" if last else f", {left:.0f} min to go"
            print(
                f"step {event.step:,} of {event.steps:,}{eta}, loss {event.loss:.3f}, "
                f"{event.pace:.2f} steps/s",
                file=sys.stderr,
                flush=True,
            )
