"""`spare export-tasks`: write tasks down for another harness."""

from __future__ import annotations

import argparse

from spare.cli.eval import add_choices, choice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", metavar="DIR", help="folder to write them into; an export there is replaced")
    add("--to", required=True, metavar="HARNESS", help="lm-eval, lmms-eval or vlmevalkit")
    add("--data", required=True, metavar="DATA", help="folder with the published files")
    add("--tasks", default="", help="tasks and suites; by default all whose files are there")
    add_choices(parser)
    add("--limit", type=int, metavar="N", help="only the first N questions per task, for a try")
    parser.epilog = (
        "lm-eval and lmms-eval open the pictures in DATA and judge replies by this package, which "
        "they need beside them. For VLMEvalKit pictures are written into DIR; `spare score "
        "--replies` judges its result files."
    )


def run(arguments: argparse.Namespace) -> int:
    from spare.harness.neighbours import export_tasks

    export = export_tasks(
        arguments.to,
        arguments.folder,
        arguments.tasks,
        data=arguments.data,
        split=choice("split", arguments.split),
        prompt=choice("prompt", arguments.prompt),
        rules=choice("rules", arguments.rules),
        limit=arguments.limit,
    )
    for task, why in export.left_out.items():
        print(f"{task} is left out: {why}")
    for task, name in export.names.items():
        print(f"{task} is {name}")
    print(f"\n{export.command}")
    return 0
