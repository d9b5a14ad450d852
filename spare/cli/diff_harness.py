"""`spare diff-harness`: where and why another harness differs over one checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from spare.cli.eval import add_choices, choice, progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--task", required=True, metavar="NAME", help="task, or custom:FILE")
    add("--model", required=True, metavar="CKPT", help="path or hub id of a checkpoint")
    add(
        "--against",
        required=True,
        metavar="HARNESS",
        help="lm-eval; lmms-eval, or lmms-eval:NAME,SETTING=VALUE,... with one of its models; "
        "vlmevalkit:NAME,SETTING=VALUE,... with its wrapper",
    )
    add("--data", required=True, metavar="DIR", help="folder with the published files")
    add_choices(parser)
    add("--limit", type=int, metavar="N", help="only the first N questions")
    add("--out", metavar="FILE", help="write every question that differs to this CSV file")
    parser.epilog = "Exit code: 0 nothing differs; 1 something does; 2 one of them cannot ask it."


def run(arguments: argparse.Namespace) -> int:
    from spare.harness.neighbours.differences import diff_harness
    from spare.leaderboards.grids import check_place, show, write, written
    from spare.leaderboards.harnesses import questions, stages

    if arguments.out:
        check_place(Path(arguments.out))
    with progress() as on_event:
        found = diff_harness(
            arguments.task,
            arguments.model,
            against=arguments.against,
            data=arguments.data,
            split=choice("split", arguments.split),
            prompt=choice("prompt", arguments.prompt),
            rules=choice("rules", arguments.rules),
            limit=arguments.limit,
            on_event=on_event,
        )
    show([stages(found)])
    if found.differing:
        show([questions(found)])
    if arguments.out:
        write(Path(arguments.out), written([questions(found, shown=None)], "csv"))
        print(f"{arguments.out} is written.")
    return 1 if found.differing else 0
