"""Score, explain and fine-tune vision-language models on spatial understanding.

Everything that the command `spare` does is a function here of the same name and arguments
(`fine_tune`, since `spare.finetune` is the package).
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `typing`, whose import would be a third of the time to `--help`
if TYPE_CHECKING:
    from typing import Any

    from spare.errors import SpareError as SpareError
    from spare.finetune.cycle import cycle as cycle
    from spare.finetune.merging import merge as merge
    from spare.finetune.tuning import fine_tune as fine_tune
    from spare.generation.captions import captions as captions
    from spare.generation.pipeline import generate as generate
    from spare.generation.publish import publish as publish
    from spare.harness.comparison import compare as compare
    from spare.harness.doctor import doctor as doctor
    from spare.harness.evaluate import evaluate as evaluate
    from spare.harness.foreign_replies import score_replies as score_replies
    from spare.harness.models import load_model as load_model
    from spare.harness.neighbours import export_tasks as export_tasks
    from spare.harness.neighbours.differences import diff_harness as diff_harness
    from spare.harness.prepare import prepare as prepare
    from spare.harness.rescoring import rescore as rescore
    from spare.harness.run import Run as Run
    from spare.harness.run import load_run as load_run
    from spare.harness.validate import validate as validate
    from spare.leaderboards.leaderboard import leaderboard as leaderboard
    from spare.leaderboards.site import report as report
    from spare.tasks import load_task as load_task
    from spare.tasks.types import Sample as Sample
    from spare.tasks.types import Task as Task

__version__ = "0.1.0"

_HOMES = {
    "Run": "spare.harness.run",
    "Sample": "spare.tasks.types",
    "SpareError": "spare.errors",
    "Task": "spare.tasks.types",
    "captions": "spare.generation.captions",
    "compare": "spare.harness.comparison",
    "cycle": "spare.finetune.cycle",
    "diff_harness": "spare.harness.neighbours.differences",
    "doctor": "spare.harness.doctor",
    "evaluate": "spare.harness.evaluate",
    "export_tasks": "spare.harness.neighbours",
    "fine_tune": "spare.finetune.tuning",
    "generate": "spare.generation.pipeline",
    "leaderboard": "spare.leaderboards.leaderboard",
    "load_model": "spare.harness.models",
    "load_run": "spare.harness.run",
    "load_task": "spare.tasks",
    "merge": "spare.finetune.merging",
    "prepare": "spare.harness.prepare",
    "publish": "spare.generation.publish",
    "report": "spare.leaderboards.site",
    "rescore": "spare.harness.rescoring",
    "score_replies": "spare.harness.foreign_replies",
    "validate": "spare.harness.validate",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    # Lazy, so that `import spare` costs nothing and loads no torch.
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'spare' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
