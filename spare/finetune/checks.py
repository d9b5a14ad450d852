"""What can be known of a training before anything slow is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spare.errors import SpareError
from spare.finetune.evaluations import Evaluations, check
from spare.finetune.network import check_optimiser, check_reports, require_packages
from spare.finetune.pairs import Pairs, read_pairs, refuse_lost
from spare.finetune.recipes import Recipe, load_recipe
from spare.harness.models.loading import Checkpoint, check_kind, find_checkpoint

SEEDS = 2**32
"""numpy's generators take no larger ones."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A training that nothing is known to speak against.

    Attributes:
        recipe: with the settings and the seed that were asked for.
        base: the checkpoint to train.
        reports: names of what curves go to.
        sets: the data set and, if there is one, the general one.
        seeds: how many to train; 0 for one that has no folder of its own.
        evaluations: made while training; None for none.
    """

    recipe: Recipe
    base: Checkpoint
    reports: Sequence[str]
    sets: Sequence[Pairs]
    seeds: int
    evaluations: Evaluations | None


def check_training(
    recipe: str | Recipe,
    *,
    data: str | Path,
    model: str = "",
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    seeds: int = 0,
    pictures: str | Path = "",
    blobs: str | Path = "",
    general: str | Path = "",
    report_to: str = "",
    evaluations: Evaluations | None = None,
) -> Ready:
    """Look at everything that a training needs; no network is loaded and no picture opened.

    Args: as of `fine_tune`.

    Raises:
        SpareError: the request makes no sense, or something that it needs is not to be had here.
    """
    if isinstance(recipe, str):
        recipe = load_recipe(recipe, settings)
    if seed is not None:
        if seed < 0:
            raise SpareError("--seed is a whole number from 0.")
        recipe = dataclasses.replace(recipe, seed=seed)
    if seeds < 0:
        raise SpareError("--seeds is a number from 1.")
    if recipe.seed + max(1, seeds) > SEEDS:
        raise SpareError(f"A seed is a whole number below {SEEDS:,}; lower --seed.")
    if not (model or recipe.base):
        raise SpareError(f"Recipe {recipe.name} names no base; give one with --model.")
    require_packages()
    check_optimiser(recipe)
    if evaluations is not None:
        check(evaluations)
    reports = check_reports(report_to)
    sets = [read_pairs(one, pictures=pictures, blobs=blobs) for one in (data, general) if str(one)]
    for pairs in sets:
        refuse_lost(pairs, recipe.bad_pictures)
    base = find_checkpoint(model or recipe.base)
    check_kind(base, False)
    return Ready(recipe, base, reports, sets, seeds, evaluations)
