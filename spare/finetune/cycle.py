"""The whole loop: a base is evaluated, trained, evaluated again, and held against what it was.

    cycle/runs/base          the base's run
    cycle/checkpoint/        what `spare finetune` wrote; with --seeds, `seed-0` and so on
    cycle/runs/tuned         its run; with --seeds, `seed-0` and so on

Each of these goes on where it was stopped, so the loop does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.errors import SpareError
from spare.finetune.checks import check_training
from spare.finetune.job import FineTuned
from spare.finetune.recipes import Recipe
from spare.finetune.tuning import fine_tune, free_memory, look_ahead
from spare.harness.choosing import Choice, plan_evaluations, require_folder
from spare.harness.comparison import Comparison, check_max_drop, compare, require_tag
from spare.harness.evaluate import evaluate
from spare.harness.run import Run

if TYPE_CHECKING:
    from spare.finetune.training import Event as TrainingEvent
    from spare.harness.asking import Event as AskingEvent


@dataclass(frozen=True, slots=True)
class Cycle:
    """What a loop came to.

    Attributes:
        base: the base's run.
        tuned: the trained checkpoints, one for each seed.
        runs: theirs; comparisons: of each with the base.
    """

    base: Run
    tuned: Sequence[FineTuned]
    runs: Sequence[Run]
    comparisons: Sequence[Comparison]

    @property
    def exit_code(self) -> int:
        """The worst of the comparisons': a regression of one seed is one."""
        return max(one.exit_code for one in self.comparisons)


def cycle(
    recipe: str | Recipe,
    *,
    data: str | Path,
    tasks: str,
    benchmarks: str | Path,
    out: str | Path,
    model: str = "",
    prompt: Choice = "",
    rules: Choice = "",
    limit: int | None = None,
    max_drop: float = 1.0,
    by: str = "",
    settings: Mapping[str, Any] | None = None,
    on_event: Callable[[TrainingEvent | AskingEvent], None] = lambda event: None,
    **training: Any,
) -> Cycle:
    """Evaluate a base, train it, evaluate what comes of it, and compare.

    Args:
        recipe, data, model, settings: as for `fine_tune`.
        tasks, prompt, rules, limit: as for `evaluate`; the same for the base and all seeds.
        benchmarks: folder with the tasks' published files.
        out: folder of all of it; what is there already is not done again.
        max_drop, by: as for `compare`.
        on_event: receives sentences, and the Progress of evaluations and of trainings.
        training: further arguments of `fine_tune`.

    Raises:
        SpareError: one of the steps cannot be done.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SpareError(
            "The loop is one process. Train with accelerate launch -m spare finetune ... --out "
            f"{Path(out) / 'checkpoint'}, then run this command without it: it goes on from there."
        )
    require_folder(Path(benchmarks), "--benchmarks")
    check_max_drop(max_drop)
    # The base is evaluated for hours; what speaks against its training is told before.
    ready = check_training(recipe, data=data, model=model, settings=settings, **training)
    recipe, out = ready.recipe, Path(out)
    base = model or recipe.base
    plan_evaluations(tasks, benchmarks, prompt=prompt, rules=rules, limit=limit)
    look_ahead(ready, out / "checkpoint", on_event)
    # Both are shown what the trained one is trained on: no larger pictures.
    asking: dict[str, Any] = {"data": benchmarks, "prompt": prompt, "rules": rules}
    asking |= {"limit": limit, "max_pixels": recipe.max_pixels or None, "on_event": on_event}
    before = evaluate(base, tasks, out=out / "runs" / "base", **asking)
    if by:
        require_tag(before, by)
    free_memory()
    tuned = fine_tune(
        recipe, data=data, out=out / "checkpoint", model=base, on_event=on_event, **training
    )
    runs = []
    for one in tuned:
        name = f"seed-{one.seed}" if ready.seeds else "tuned"
        trained, adapter = (base, str(one.folder)) if one.adapter else (str(one.folder), "")
        run = evaluate(trained, tasks, out=out / "runs" / name, adapter=adapter, **asking)
        runs.append(run)
        free_memory()
    found = [compare(before, one, max_drop=max_drop, by=by) for one in runs]
    return Cycle(before, tuned, runs, found)
