"""`spare tasks`: what can be scored."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from spare.tasks import LISTED, SUITES, foreign_tasks, load_task, tasks

if TYPE_CHECKING:
    from spare.tasks.types import Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="a task; without it, all are listed")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    if arguments.name:
        task = load_task(arguments.name)
        print(json.dumps(_facts(task), indent=2) if arguments.json else _describe(task))
    elif arguments.json:
        listed = {name: _facts(task) for name, task in tasks().items()}
        print(json.dumps({"tasks": listed, "suites": SUITES}, indent=2))
    else:
        print(_list())
    return 0


def _facts(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "version": task.version,
        "about": task.about,
        "paper": task.paper,
        "licence": task.licence,
        "splits": dict(task.splits),
        "split": task.split,
        "headline": task.headline,
        "breakdown": task.breakdown,
        "chance": dict(task.chance),
        "prompts": {
            prompt.name: {
                "about": prompt.about,
                "rules": prompt.rules,
                "method": "rank" if prompt.rank else "generate",
                "max_new_tokens": prompt.max_new_tokens,
                "chance": task.chance_for(prompt),
            }
            for prompt in task.prompts.values()
        },
        "rules": {
            rules.name: {"about": rules.about, "source": rules.source}
            for rules in task.rules.values()
        },
        "sources": [
            {
                "about": source.about,
                "repo": source.repo,
                "revision": source.revision,
                "patterns": source.patterns,
                "folder": source.folder,
                "url": source.url,
                "size": source.size,
            }
            for source in task.sources
        ],
    }


def _list() -> str:
    rows: list[tuple[str, int, float | None, str]] = [
        (name, row.questions, row.chance, row.about) for name, row in LISTED.items()
    ]
    for task in foreign_tasks().values():
        rows.append(
            (task.name, task.splits[task.split], task.chance.get(task.headline), task.about)
        )
    lines = [f"{'TASK':<18} {'QUESTIONS':>9}  {'CHANCE':>7}  ABOUT"]
    for name, questions, chance, about in rows:
        guess = "-" if chance is None else f"{chance:.1f} %"
        lines.append(f"{name:<18} {questions:>9,}  {guess:>7}  {about}")
    lines.append(f"{'custom:FILE':<38}your own questions; see docs/custom_tasks.md")
    lines.append("")
    lines += [f"suite {name}: {', '.join(members)}" for name, members in SUITES.items()]
    lines.append("")
    lines.append("`spare tasks NAME` says which files a task wants, how it asks and how it judges.")
    return "\n".join(lines)


def _describe(task: Task) -> str:
    chance = ", ".join(f"{name} {value:.2f}" for name, value in task.chance.items()) or "unknown"
    splits = ", ".join(f"{name} ({size:,})" for name, size in task.splits.items())
    lines = [
        f"{task.name}, version {task.version}: {task.about}",
        "",
        f"paper     {task.paper}",
        f"licence   {task.licence}",
        f"splits    {splits}; {task.split} by default",
        f"metrics   {task.headline} stands for the task; `show --by` gives {task.breakdown}",
        *_wrap("chance", chance, indent="", width=9),
        "",
        "files, under the folder that --data names",
    ]
    for source in task.sources:
        where = source.repo and f"hub dataset {source.repo} ({', '.join(source.patterns) or 'all'})"
        size = f", {source.size}" if source.size else ""
        lines += _wrap(f"{source.folder or '.'}/", f"{source.about}{size}: {where or source.url}")
    lines += ["", "prompts (the first is the default)"]
    for prompt in task.prompts.values():
        lines += _wrap(prompt.name, f"{prompt.about} Rules: {', '.join(prompt.rules)}.")
    lines += ["", "rules"]
    for rules in task.rules.values():
        source_note = f" Copies {rules.source}." if rules.source else ""
        lines += _wrap(rules.name, rules.about + source_note)
    return "\n".join(lines)


def _wrap(name: str, text: str, indent: str = "  ", width: int = 15) -> list[str]:
    import textwrap

    return textwrap.wrap(
        f"{name:<{width}} {text}",
        width=100,
        initial_indent=indent,
        subsequent_indent=" " * (len(indent) + width + 1),
        break_long_words=False,
        break_on_hyphens=False,
    )
