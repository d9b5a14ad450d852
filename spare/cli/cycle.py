"""`spare cycle`: evaluate, train, evaluate, compare."""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spare.cli import eval as evaluating
from spare.cli import finetune as training


def add_arguments(parser: argparse.ArgumentParser) -> None:
    training.add_arguments(
        parser,
        recipe="spare-2b",
        out="folder of it all: runs/, and the checkpoint in checkpoint/; what is begun goes on",
    )
    group = parser.add_argument_group("evaluation, before and after")
    add = group.add_argument
    add("--tasks", required=True, help="tasks and suites, such as spatial,general")
    add(
        "--benchmarks",
        default="data",
        metavar="DIR",
        help="folder with the tasks' published files (data)",
    )
    for name, about in (("prompt", "way of asking"), ("rules", "way of reading replies")):
        add(f"--{name}", action="append", default=[], metavar="[TASK=]NAME", help=about)
    add("--limit", type=int, metavar="N", help="ask only the first N samples per task, for a try")
    add(
        "--max-drop",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="what a figure may fall by (1.0); see `spare compare`",
    )
    add("--by", default="", metavar="TAG", help="compare the parts by relation ..., too")
    parser.epilog = (
        "Every step goes on where it was stopped. Exit code as of `spare compare`: 0 no "
        "regression; 1 regression, of any seed; 2 the request cannot be met, or something could "
        "not be compared. On several devices train with `accelerate launch -m spare finetune ... "
        "--out DIR/checkpoint` in between; this goes on from there."
    )


def run(arguments: argparse.Namespace) -> int:
    from spare.finetune.cycle import cycle
    from spare.leaderboards import comparisons
    from spare.leaderboards.board_tables import grids
    from spare.leaderboards.grids import show
    from spare.leaderboards.leaderboard import leaderboard

    with progress() as on_event:
        found = cycle(
            tasks=arguments.tasks,
            benchmarks=arguments.benchmarks,
            prompt=evaluating.choice("prompt", arguments.prompt),
            rules=evaluating.choice("rules", arguments.rules),
            limit=arguments.limit,
            max_drop=arguments.max_drop,
            by=arguments.by.strip(),
            on_event=on_event,
            **training.requested(arguments, benchmarks=arguments.benchmarks),
        )
    for one in found.comparisons:
        show(comparisons.grids(one))
    runs = [found.base, *found.runs]
    show(grids(leaderboard([run.path for run in runs], base=found.base.path)))
    print(f"For pages: spare report {shlex.quote(str(Path(arguments.out) / 'runs'))}/* --out site")
    return found.exit_code


@contextlib.contextmanager
def progress() -> Iterator[Callable[[Any], None]]:
    """What shows events of either kind; a terminal has one live display at a time."""
    with contextlib.ExitStack() as stack:
        shown: dict[str, Callable[[Any], None]] = {}

        def show(event: Any) -> None:
            asks = hasattr(event, "task")
            kind = "ask" if asks else "train"
            if isinstance(event, str) and shown:
                next(iter(shown.values()))(event)
                return
            if kind not in shown:
                stack.pop_all().close()
                shown.clear()
                shown[kind] = stack.enter_context((evaluating if asks else training).progress())
            shown[kind](event)

        yield show
