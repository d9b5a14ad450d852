"""Recipes: every number that decides what a training comes to, as data.

A recipe is a TOML file whose keys are the fields of `Recipe`. Ours lie in `recipes/`; a path to one
of your own does as well. Any value can be set for one call: `--set lr=1e-5`.
"""

from __future__ import annotations

import difflib
import math
import re
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from spare.errors import SpareError

FOLDER = Path(__file__).parent / "recipes"

CHOICES: Mapping[str, tuple[str, ...]] = {
    "weights": ("all", "lora"),
    "optimiser": ("adamw", "adamw-8bit"),
    "schedule": ("cosine", "linear", "constant"),
    "precision": ("bf16", "float32"),
    "layout": ("shared", "pairs"),
}

ALIASES: Mapping[str, str] = {
    "adam_beta2": "beta2",
    "batch_size": "batch",
    "bf16": "precision",
    "dtype": "precision",
    "gradient_accumulation_steps": "batch",
    "learning_rate": "lr",
    "lora_r": "lora_rank",
    "max_grad_norm": "clip",
    "max_length": "batch_tokens",
    "max_seq_length": "batch_tokens",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch",
    "r": "lora_rank",
    "target_modules": "lora_modules",
    "train_batch_size": "batch",
    "warmup_ratio": "warmup_steps",
    "wd": "weight_decay",
}
"""What others (transformers, PEFT, TRL) call it, or what comes nearest to theirs."""

LANGUAGE_TOWER = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""Projections of the language tower. Qwen2.5-VL's picture encoder has some of the same names, so
the tower is named, too."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a checkpoint is trained.

    Attributes:
        name: what it is called.
        base: checkpoint that it is meant for; `--model` names another.
        weights: "all", or "lora" for a low-rank adapter on the language tower.
        lr: learning rate at its highest.
        batch: pairs in a step of the optimiser, whatever the number of devices.
        epochs: how often the data is gone through; a pair of weight 2 comes twice in each.
        max_steps: stop after so many steps; 0 goes by `epochs`.
        optimiser: "adamw" or "adamw-8bit" (needs bitsandbytes).
        beta2: how much of its mean of squared gradients AdamW keeps from one step to the next; less
            than the usual 0.999 suits trainings of a few hundred steps.
        schedule: what the learning rate does after `warmup_steps`.
        dropout: of the language tower's attention; of the adapter, if that is what is trained.
        clip: largest norm of a step's gradient.
        precision: "bf16" computes in it and keeps weights that are trained in float32.
        layout: "shared" puts a picture's pairs into one sequence, in which none sees another;
            "pairs" has a sequence for each.
        balanced: draw pairs by the data set's `weight`.
        general_share: share of general pairs among all, if a general data set is given.
        batch_tokens: most tokens, padding included, that a device computes at once.
        max_pixels: larger pictures are scaled down to this many; 0 leaves it to the processor.
        bad_pictures: share of the pictures that may be missing or damaged. Their pairs are left
            out and counted.
        gradient_checkpointing: compute activations a second time instead of keeping them.
        lora_modules: regular expression over whole names of modules.
        save_steps: steps from one state to go on from to the next.
        workers: processes that prepare batches ahead; 0 prepares them between steps.
        seed: of the order of the data, the adapter's first weights and dropout.
    """

    name: str
    weights: str
    lr: float
    batch: int
    epochs: float
    optimiser: str
    warmup_steps: int
    schedule: str
    dropout: float
    clip: float
    precision: str
    base: str = ""
    max_steps: int = 0
    weight_decay: float = 0.0
    beta2: float = 0.999
    layout: str = "shared"
    balanced: bool = True
    general_share: float = 0.2
    batch_tokens: int = 8192
    max_pixels: int = 0
    bad_pictures: float = 0.0
    gradient_checkpointing: bool = False
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_modules: str = LANGUAGE_TOWER
    save_steps: int = 500
    workers: int = 2
    seed: int = 0


TYPES = {field.name: str(field.type) for field in fields(Recipe)}
POSITIVE = (
    "lr",
    "batch",
    "epochs",
    "clip",
    "batch_tokens",
    "lora_rank",
    "lora_alpha",
    "save_steps",
)


def recipe_names() -> list[str]:
    """Names of the recipes that come with us."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(name: str, settings: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of this name, or in the file of this path, with some values set otherwise.

    Args:
        settings: key -> value; texts are read as what the key takes.

    Raises:
        SpareError: there is no such recipe or key, or a value does not fit.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        raise SpareError(
            f"There is no recipe {name}{near(name, recipe_names())}; there are "
            f"{', '.join(recipe_names())}, or give the path of a .toml file."
        )
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SpareError(f"Recipe {path} cannot be read: {error}.") from None
    values = {"name": path.stem, **told, **(settings or {})}
    for key in values:
        if key not in TYPES:
            hint = near(ALIASES.get(key, key), TYPES)
            more = "" if hint else "\n" + textwrap.fill(f"It has {', '.join(TYPES)}.", 98)
            raise SpareError(f"A recipe has no {key!r}{hint}.{more}")
    values = {key: _read(key, value) for key, value in values.items()}
    absent = [one.name for one in fields(Recipe) if one.default is MISSING]
    absent = [key for key in absent if key not in values]
    if absent:
        raise SpareError(f"Recipe {path} does not say {absent[0]!r}.")
    recipe = Recipe(**values)
    _check(recipe)
    return recipe


def near(name: str, names: Iterable[str]) -> str:
    """The one of some names that is most like this one, for a sentence; "" if none is."""
    found = difflib.get_close_matches(name, list(names), 1, 0.5)
    return f" (did you mean {found[0]}?)" if found else ""


def _read(key: str, value: Any) -> Any:
    """A value as its key takes it."""
    kind, text = TYPES[key], str(value).strip()
    try:
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        if kind == "int" and not isinstance(value, float):
            return int(text)
        if kind == "float":
            return float(text)
        if kind == "str" and isinstance(value, str):
            return value
    except (ValueError, KeyError):
        pass
    takes = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "a text"}
    raise SpareError(f"{key} of a recipe takes {takes[kind]}, and not {value!r}.")


def _check(recipe: Recipe) -> None:
    for key, allowed in CHOICES.items():
        value = getattr(recipe, key)
        if value not in allowed:
            raise SpareError(
                f"{key} of a recipe is {' or '.join(allowed)}, and not {value!r}"
                f"{near(value, allowed)}."
            )
    for key, kind in TYPES.items():
        if kind not in ("int", "float"):
            continue
        value = getattr(recipe, key)
        # What does not fit 32 bits is infinite where it is used.
        finite = math.isfinite(value) and value < 2.0**127
        if not finite or value < 0 or (key in POSITIVE and not value):
            raise SpareError(f"{key} of a recipe cannot be {value}.")
    for key in ("dropout", "general_share", "beta2"):
        if getattr(recipe, key) >= 1:
            raise SpareError(
                f"{key} of a recipe is a share below 1, and not {getattr(recipe, key)}."
            )
    if recipe.bad_pictures > 1:
        raise SpareError(
            f"bad_pictures of a recipe is a share up to 1, and not {recipe.bad_pictures}."
        )
    try:
        re.compile(recipe.lora_modules)
    except re.error as error:
        raise SpareError(f"lora_modules of a recipe is no regular expression: {error}.") from None
