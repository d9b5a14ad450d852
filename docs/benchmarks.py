"""Writes docs/benchmarks.md from the tasks themselves. Run: python docs/benchmarks.py"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from spare.tasks import LISTED, SUITES
from spare.tasks.types import Source, Task

PAGE = Path(__file__).with_suffix(".md")

TITLES = {
    "whatsup": "What's Up",
    "vsr": "VSR",
    "threedsrbench": "3DSRBench",
    "realworldqa": "RealWorldQA",
    "mmmu": "MMMU",
    "mmbench": "MMBench",
    "textvqa": "TextVQA",
    "mme": "MME",
    "hallusionbench": "HallusionBench",
}

REPRODUCED = (
    (
        "3DSRBench",
        "GPT-4o 44.2, Gemini 2.0 51.1, Qwen2.5-VL 48.4, SpatialReasoner 60.3 overall from their "
        "published figures per category, with our counts per type",
        "test_threedsrbench.py",
    ),
    (
        "MMMU",
        "LLaVA-1.5-13B's official replies: 330 of 900 (0.367) under `official`, disciplines .525 "
        ".227 .293 .387 .550 .310; always A 244, B 231, C 199, D 149",
        "test_mmmu.py",
    ),
    (
        "TextVQA",
        "0, 0.3, 0.6, 0.9, 1 for 0, 1, 2, 3, 4 and more of ten people; SHA-256 of the 120 "
        "contractions",
        "test_vqa_answers.py",
    ),
    (
        "MME",
        "LaVIN's official replies: perception 963.61, cognition 249.64 under `official` and "
        "`lmms-eval`, 248.93 under `vlmevalkit` (the test runs where the authors' eval tool is at "
        "hand); always Yes 500 / 200; echoing the truth 2000 / 800",
        "test_mme.py",
    ),
    (
        "HallusionBench",
        "on the authors' 1,129 rows: always Yes 42.17 / 7.23 / 4.62 (aAcc / fAcc / qAcc) on the "
        "951 with pictures, always No 57.83 / 12.14 / 20.0, every split of the even-length policy; "
        "the authors' worked set with their judge",
        "test_hallusionbench.py",
    ),
)
"""Benchmark, figures, and the test that they come out of."""


def page() -> str:
    """The page as it should be."""
    modules = dict.fromkeys(row.module for row in LISTED.values())
    lines = [
        "# Benchmarks",
        "",
        "Written by `python docs/benchmarks.py` from the tasks; a test holds it to them.",
        "A score belongs to its task, version, split, layout, prompt and rules, and is compared",
        "only with scores that agree in all six. The first prompt and its first rules are the",
        "defaults. What each official protocol is, and where we deviate, stands at the top of the",
        "benchmark's file in `spare/tasks/`. Figures of metrics: `spare tasks NAME`.",
        "",
        *(f"- suite `{name}`: {', '.join(members)}" for name, members in SUITES.items()),
        "",
        "## Tasks",
        "",
        *_table(("task", "source", "licence", "questions", "chance", "prompts"), _tasks(modules)),
        "",
        "Chance is what uniform guessing gets in the headline figure: per cent, and points in MME.",
        "",
        "## Rules",
        "",
        "A reply is read by named rules. Ours are `spare`: strict where a reference accepts by",
        "accident, tolerant where it rejects a plain answer, never a guess. The others copy their",
        "references, accidents included.",
        "",
        *_table(("benchmark", "rules", "what counts", "copies"), _rules(TITLES)),
        "",
        "## Reference numbers that come out",
        "",
        *_table(("benchmark", "figures", "test"), REPRODUCED),
        "",
    ]
    return "\n".join(lines)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines]


def _loaded(module: str) -> tuple[Task, ...]:
    found: tuple[Task, ...] = importlib.import_module(f"spare.tasks.{module}").TASKS
    return found


def _tasks(modules: Iterable[str]) -> Iterable[tuple[str, ...]]:
    for module in modules:
        for task in _loaded(module):
            questions = task.splits[task.split]
            chance = task.chance.get(task.headline)
            yield (
                f"`{task.name}`",
                "; ".join(dict.fromkeys(_origin(source) for source in task.sources))
                or "rendered by `spare demo`",
                task.licence,
                f"{questions:,}" if questions else "not published",
                "not public" if task.submission else "-" if chance is None else f"{chance:.1f}",
                ", ".join(task.prompts),
            )


def _origin(source: Source) -> str:
    return source.repo or source.url or source.about


def _rules(modules: Iterable[str]) -> Iterable[tuple[str, ...]]:
    for module in modules:
        seen = {}
        for task in _loaded(module):
            seen |= {(rules.name, rules.about): rules for rules in task.rules.values()}
        for rules in seen.values():
            luck = (
                f" What cannot be read gets a drawn option (seed {rules.guess_seed})."
                if rules.guess_seed is not None
                else ""
            )
            yield (
                TITLES[module],
                f"`{rules.name}`",
                f"{rules.about}{luck}",
                rules.source or "ours",
            )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
