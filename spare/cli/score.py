"""`spare score`: judge saved replies again, ours or another harness's."""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spare.cli.eval import progress
from spare.errors import SpareError, counted

if TYPE_CHECKING:
    from spare.harness.run import Run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("runs", nargs="*", metavar="RUN", help="run directories whose replies are judged again")
    add("--rules", default="all", metavar="NAME", help="rule set; all that fit otherwise")
    add("--judge", default="", metavar="MODEL", help="model for rules that have one decide")
    add("--task", default="", metavar="NAME", help="only this task; the task of --replies")
    add(
        "--differences",
        metavar="FILE",
        help="write every sample that the rule sets disagree on to this CSV file",
    )
    other = parser.add_argument_group(
        "replies of another harness",
        "VLMEvalKit's predictions (xlsx, tsv, csv, json), sample logs of lmms-eval and lm-eval "
        "(jsonl, or a folder of those of one task's parts), MMMU's official output (json or its "
        "folder), MME's result folder (txt)",
    )
    add = other.add_argument
    add("--replies", metavar="PATH", help="file or folder with the replies; wants --task, --data")
    add("--data", metavar="DIR", help="folder with the benchmark's published files")
    add("--split", default="", metavar="NAME", help="split; the task's default otherwise")
    add("--prompt", default="", metavar="NAME", help="way of asking; the harness's otherwise")
    add("--out", metavar="RUN", help="keep the replies as this run")


def run(arguments: argparse.Namespace) -> int:
    from spare.harness.rescoring import rescore
    from spare.leaderboards.rules import print_rules

    if bool(arguments.replies) == bool(arguments.runs):
        raise SpareError("Name either the runs to judge again, or another harness's --replies.")
    if arguments.replies:
        return _score_replies(arguments)
    tasks = [arguments.task] if arguments.task else []
    finished = []
    for path in arguments.runs:
        with progress() as on_event:
            one = rescore(
                path,
                tasks=tasks,
                rules=arguments.rules,
                judge=arguments.judge,
                on_event=on_event,
            )
        print_rules(one, tasks)
        finished.append(one)
    return _finish(finished, tasks, arguments.differences)


def _score_replies(arguments: argparse.Namespace) -> int:
    from spare.harness.foreign_replies import score_replies
    from spare.leaderboards.rules import print_rules

    if not arguments.task or not arguments.data:
        raise SpareError("--replies wants --task, and --data for the questions and right answers.")
    if arguments.judge:
        raise SpareError("Keep the replies as a run first (--out), then judge that with --judge.")
    with tempfile.TemporaryDirectory() as folder, progress() as on_event:
        finished = score_replies(
            arguments.task,
            arguments.replies,
            data=arguments.data,
            out=arguments.out or folder,
            split=arguments.split,
            prompt=arguments.prompt,
            rules=arguments.rules,
            on_event=on_event,
        )
        print_rules(finished, title=arguments.replies)
        return _finish([finished], [], arguments.differences)


def _finish(finished: Sequence[Run], tasks: Sequence[str], path: str | None) -> int:
    if path:
        _write_differences(finished, tasks, Path(path))
    return 1 if any(one.errors for one in finished) else 0


def _write_differences(finished: Sequence[Run], tasks: Sequence[str], path: Path) -> None:
    from spare.disk import disk_error
    from spare.harness.rescoring import differences

    count = 0
    columns = ("run", "task", "prompt", "id", "target", "reply", "rules", "read", "status", "score")
    try:
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for run in finished:
                for one in differences(run, tasks):
                    count += 1
                    asked = (run.path, one.task, one.prompt, one.id, one.target, one.reply)
                    writer.writerows(
                        (*asked, rules, *reading) for rules, reading in one.readings.items()
                    )
    except OSError as error:
        raise disk_error(path, error) from None
    print(f"{path}: {counted(count, 'sample')} that the rule sets score differently.")
