"""Trainings from their recipe to the finished checkpoints: `spare finetune`."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.errors import SpareError, counted
from spare.finetune.checks import Ready, check_training
from spare.finetune.evaluations import Evaluations
from spare.finetune.faults import LostError
from spare.finetune.folders import refuse_single
from spare.finetune.job import FineTuned, Job
from spare.finetune.recipes import Recipe

if TYPE_CHECKING:
    from spare.finetune.training import Event


def fine_tune(
    recipe: str | Recipe,
    *,
    data: str | Path,
    out: str | Path,
    model: str = "",
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    seeds: int = 0,
    pictures: str | Path = "",
    blobs: str | Path = "",
    general: str | Path = "",
    report_to: str = "",
    evaluations: Evaluations | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> list[FineTuned]:
    """Train a checkpoint on a data set; the same call goes on where it was stopped.

    Args:
        recipe: name of one of ours, path of a TOML file, or a recipe.
        data: folder of `spare publish`.
        out: folder of the checkpoint; of several seeds, `seed-0` and so on are in it. An adapter is
            in `adapter` below it.
        model: path or hub id of the base; by default the recipe's.
        settings: values of the recipe to set otherwise.
        seed: the recipe's seed, set otherwise. seeds: train so many, from `seed` on.
        pictures: folder that pictures with a path are below. blobs: store of `spare images`.
        general: another data set, of which the recipe's `general_share` is mixed in.
        report_to: where curves go beside `losses.jsonl`: tensorboard, wandb ...; by commas.
        evaluations: tasks to evaluate while training: the weights that are best at them are kept
            instead of the last, and a fall in general ones ends the training.
        on_event: receives sentences and `Progress`.

    Returns:
        One for each seed.

    Raises:
        SpareError: the request cannot be met, or the training cannot go on; what is whole stays.
    """
    ready = check_training(
        recipe,
        data=data,
        model=model,
        settings=settings,
        seed=seed,
        seeds=seeds,
        pictures=pictures,
        blobs=blobs,
        general=general,
        report_to=report_to,
        evaluations=evaluations,
    )
    found, lost = [], []
    for job in _jobs(ready, Path(out), on_event):
        try:
            found.append(job.run())
        except LostError as error:
            if not seeds:
                raise
            lost.append(str(error))  # which says nothing of the other seeds
            job.say(f"{job.out}: {error}")
        free_memory()
    if lost:
        whole = f" Whole are {', '.join(str(one.folder) for one in found)}." if found else ""
        raise SpareError(
            f"{counted(len(lost), 'seed')} of {seeds} came to nothing; the first: {lost[0]}{whole}"
        )
    return found


def free_memory() -> None:
    """Give back the memory of a model before the next one is loaded: trainers hold each other."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def look_ahead(ready: Ready, out: Path, on_event: Callable[[Event], None]) -> None:
    """Agree on the folder, open every picture and read every text, before something slow that
    comes before the training.

    Raises:
        SpareError: the folder is of something else, or a picture or a text cannot be used.
    """
    for number, job in enumerate(_jobs(ready, out, on_event)):
        job.look(data=not number)  # which seeds have in common


def _jobs(ready: Ready, out: Path, on_event: Callable[[Event], None]) -> Iterator[Job]:
    """One for each seed."""
    if ready.seeds:
        refuse_single(out)
    for number in range(max(1, ready.seeds)):
        recipe = dataclasses.replace(ready.recipe, seed=ready.recipe.seed + number)
        folder = out / f"seed-{recipe.seed}" if ready.seeds else out
        yield Job(ready, recipe, folder, out, on_event)
