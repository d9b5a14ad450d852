"""`spare tasks`: what can be scored."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from spare.leaderboards.screen import wrap
from spare.tasks import LISTED, SUITES, foreign_tasks, load_task, tasks

if TYPE_CHECKING:
    from spare.tasks.types import Prompt, Source, Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="a task, or custom:FILE; without it, all are listed"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    if arguments.name:
        task = load_task(arguments.name)
        print(json.dumps(_facts(task), indent=2) if arguments.json else "\n".join(_describe(task)))
    elif arguments.json:
        listed = {name: _facts(task) for name, task in tasks().items()}
        print(json.dumps({"tasks": listed, "suites": SUITES}, indent=2))
    else:
        print("\n".join(_list()))
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
        "figures": dict(task.figures),
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


def _list() -> list[str]:
    rows: list[tuple[str, int, float | None, str]] = [
        (name, row.questions, row.chance, row.about) for name, row in LISTED.items()
    ]
    for task in foreign_tasks().values():
        rows.append(
            (task.name, task.splits[task.split], task.chance.get(task.headline), task.about)
        )
    lines = [f"{'TASK':<18} {'QUESTIONS':>9}  {'CHANCE':>7}  ABOUT"]
    for name, questions, chance, about in rows:
        count = f"{questions:,}" if questions else "-"
        # Accuracies are per cent; what is more is MME's points.
        unit = "%" if chance is None or chance <= 100 else "pts"
        guess = "-" if chance is None else f"{chance:.{int(unit == '%')}f} {unit}"
        lines += wrap(about, first=f"{name:<18} {count:>9}  {guess:>7}  ", rest=" " * 38)
    lines += wrap("Your own questions; see docs/custom_tasks.md.", first=f"{'custom:FILE':<38}")
    lines += wrap("A text task of lm-eval; see docs/neighbours.md.", first=f"{'lm-eval:NAME':<38}")
    lines += ["", "Suites, names for several tasks at once"]
    lines += _rows((name, ", ".join(members)) for name, members in SUITES.items())
    lines += ["", "CHANCE is what guessing gets in the task's headline figure."]
    lines += wrap(
        "`spare tasks NAME` says what a task's figures are, which files it wants, how it asks and "
        "how it judges."
    )
    return lines


def _describe(task: Task) -> list[str]:
    splits = ", ".join(f"{name} ({size:,})" for name, size in task.splits.items())
    facts = [
        ("paper", task.paper),
        ("licence", task.licence),
        ("splits", f"{splits}; {task.split} by default"),
        (
            "headline",
            f"{task.headline}; `spare show --by` gives {', '.join((task.breakdown, *task.beside))}",
        ),
    ]
    lines = wrap(f"{task.name}, version {task.version}: {task.about}")
    lines += ["", *_rows(((name, text) for name, text in facts if text), indent="")]
    if task.figures:
        room = max(map(len, task.figures))
        lines += ["", "figures; the number is what guessing gets (chance)"]
        lines += _rows(
            (f"{name:<{room}}  {_chance(task, name):>6}", about)
            for name, about in task.figures.items()
        )
    if task.sources:
        lines += ["", "files, under the folder that --data names"]
        lines += _rows((f"{source.folder or '.'}/", _origin(source)) for source in task.sources)
    lines += ["", "prompts, for --prompt; the first is the default"]
    lines += _rows((prompt.name, _asked(prompt)) for prompt in task.prompts.values())
    lines += ["", "rules, for --rules; a prompt's first is its default"]
    lines += _rows(
        (rules.name, rules.about + (f" Copies {rules.source}." if rules.source else ""))
        for rules in task.rules.values()
    )
    return lines


def _chance(task: Task, name: str) -> str:
    return f"{task.chance[name]:.2f}" if name in task.chance else "-"


def _origin(source: Source) -> str:
    size = f", {source.size}" if source.size else ""
    where = source.repo and f"hub dataset {source.repo} ({', '.join(source.patterns) or 'all'})"
    return f"{source.about}{size}: {where or source.url}"


def _asked(prompt: Prompt) -> str:
    chance = ", ".join(f"{name} {value:.2f}" for name, value in prompt.chance.items())
    guess = f" Chance: {chance}." if chance else ""
    return f"{prompt.about}{guess} Rules: {', '.join(prompt.rules)}."


def _rows(rows: Iterable[tuple[str, str]], indent: str = "  ") -> list[str]:
    """Names, and texts in a column beside them."""
    rows = list(rows)
    room = max((len(name) for name, _ in rows), default=0)
    rest = " " * (len(indent) + room + 2)
    return [
        line
        for name, text in rows
        for line in wrap(text, first=f"{indent}{name:<{room}}  ", rest=rest)
    ]
