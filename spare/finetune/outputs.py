"""The finished checkpoint: weights, processor, where it comes from, and its card.

Files are written beside the folder's others under a name of their own and moved into place;
`lineage.json` comes last, so a folder that has one is whole.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spare.disk import disk_error, replaced, write_json
from spare.errors import SpareError, counted
from spare.finetune.pairs import CARD, Pairs
from spare.finetune.recipes import Recipe
from spare.harness.environment import environment
from spare.harness.models.digests import PROCESSOR_FILES
from spare.harness.models.loading import LINEAGE, Checkpoint, quiet

CODE = ("spare-eval", "torch", "transformers", "trl", "peft", "accelerate")
BASE_FILES = (*PROCESSOR_FILES, "chat_template.jinja", "chat_template.json")
"""What training does not change: these are the base's, byte for byte, so a comparison with it is
of weights alone."""

PARTS = ".part"
"""Where files are until all of them are written."""

OF_WEIGHTS = ("config.json", "generation_config.json")


def lineage(
    checkpoint: Checkpoint, weights: str, data: Sequence[Pairs], recipe: Recipe, left_out: int
) -> dict[str, Any]:
    """Where a checkpoint comes from. Equal for two that differ in their seed alone, but for it.

    Args:
        weights: digest of the base's.
        data: the data set and, if there is one, the general one.
        recipe: as it was carried out here.
        left_out: pictures that were not to be had.
    """
    values = dataclasses.asdict(recipe)
    seed = values.pop("seed")
    del values["workers"]  # changes nothing of the outcome
    del values["base"]  # what the recipe is meant for; the true one stands beside it
    found: dict[str, Any] = {
        "base": {"name": _called(checkpoint), "weights": weights, "revision": checkpoint.revision},
        "data": _of_data(data[0]),
    }
    if len(data) > 1:
        found["general data"] = _of_data(data[1])
    revision = environment()["revision"]
    return found | {
        "pictures left out": left_out,
        "recipe": values,
        "seed": seed,
        "code": {
            # Without git it is not known.
            **({"revision": revision} if revision else {}),
            **{name: importlib.metadata.version(name) for name in CODE},
        },
    }


def _called(checkpoint: Checkpoint) -> str:
    return checkpoint.name if checkpoint.revision else checkpoint.folder.resolve().name


def _of_data(pairs: Pairs) -> dict[str, Any]:
    return {"name": pairs.name, "digest": pairs.digest, "card": pairs.card, "pairs": len(pairs)}


def save(
    network: Any, state: Mapping[str, Any], folder: Path, checkpoint: Checkpoint, adapter: bool
) -> None:
    """Write weights and processor into a folder; those of the base's files that stay the same are
    copied.

    Args:
        network: what was trained, without what devices put around it.
        state: its weights, all of them on this process.
        adapter: the weights are an adapter's.

    Raises:
        SpareError: the disk is full.
    """
    parts = folder / PARTS
    shutil.rmtree(parts, ignore_errors=True)
    try:
        parts.mkdir(parents=True)
        with quiet():
            network.save_pretrained(parts, state_dict=dict(state))
        (parts / CARD).unlink(missing_ok=True)  # PEFT's own
        for name in (*BASE_FILES, *(() if adapter else OF_WEIGHTS)):
            if (checkpoint.folder / name).is_file():
                shutil.copyfile(checkpoint.folder / name, parts / name)
        templates = checkpoint.folder / "additional_chat_templates"
        if templates.is_dir():
            shutil.copytree(templates, folder / templates.name, dirs_exist_ok=True)
        for path in sorted(parts.iterdir()):
            path.replace(folder / path.name)
        parts.rmdir()
    except OSError as error:
        raise disk_error(folder, error) from None


def cast(state: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    """Weights in the precision that the base's files have them in. Raises SpareError if one does
    not fit it."""
    import torch

    text = checkpoint.config.get("text_config") or {}
    name = checkpoint.config.get("dtype") or checkpoint.config.get("torch_dtype")
    name = name or text.get("dtype") or text.get("torch_dtype") or "float32"
    dtype = getattr(torch, str(name))
    made: dict[tuple[Any, ...], Any] = {}
    found = {}
    for key, value in state.items():
        # Weights that are tied stay one tensor, and are written once.
        same = (value.data_ptr(), value.dtype, value.shape, value.stride())
        if value.is_floating_point() and same not in made:
            made[same] = value.to(dtype)
            if value.isfinite().all() and not made[same].isfinite().all():
                raise SpareError(
                    f"{key} has grown too large for the base's precision, {name}, so no checkpoint "
                    "is written. Train with a lower lr, into another --out."
                )
        found[key] = made.get(same, value)
    return found


def finish(
    folder: Path, told: Mapping[str, Any], notes: Iterable[str], result: Mapping[str, Any]
) -> None:
    """Write the card and, last, the lineage."""
    with replaced(folder / CARD) as file:
        file.write(card(told, notes, result).encode())
    write_json(folder / LINEAGE, told)


def command(folder: Path, recipe: Recipe, base: str) -> str:
    """The command that evaluates what was written."""
    words = ["spare", "eval", "--model"]
    words += [base, "--adapter", str(folder)] if recipe.weights == "lora" else [str(folder)]
    words += ["--tasks", "spatial", "--data", "data", "--out", f"runs/{run_name(folder)}"]
    if recipe.max_pixels:
        words += ["--max-pixels", str(recipe.max_pixels)]
    return shlex.join(words)


def run_name(folder: Path) -> str:
    """What a run of a checkpoint is called: its folder, and of a seed the folder of all."""
    whole = folder.resolve()
    if whole.name in ("adapter", "merged"):
        whole = whole.parent
    return f"{whole.parent.name}-{whole.name}" if whole.name.startswith("seed-") else whole.name


def card(told: Mapping[str, Any], notes: Iterable[str], result: Mapping[str, Any]) -> str:
    """The card of a checkpoint as Markdown."""
    from huggingface_hub import ModelCardData

    recipe, base, data = told["recipe"], told["base"], told["data"]
    adapter = recipe["weights"] == "lora" and not told.get("merged")
    kind = "A LoRA adapter" if adapter else "All weights"
    if told.get("merged"):
        kind = "A LoRA adapter in the base's weights"
    head = ModelCardData(
        base_model=base["name"] if base["revision"] else None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="image-text-to-text",
        tags=["spatial-reasoning", *(["lora"] if adapter else [])],
        license="other",
    )
    steps = f"{result['steps']:,} steps"
    losses = f"Loss of the first step {result['first_loss']:.4f}"
    took = counted(round(result["seconds"]), "second")
    kept = result.get("kept_step", result["steps"])  # earlier versions did not say
    if kept != result["steps"]:
        steps = f"weights of step {kept:,} of {result['steps']:,}, each"
        losses += f", of step {kept:,} {result['kept_loss']:.4f}"
    lines = [
        f"---\n{head.to_yaml()}\n---",
        f"# {base['name']} trained on {data['name']}",
        f"{kind}, recipe `{recipe['name']}`, seed "
        f"{told['seed']}: {steps} of {recipe['batch']} question-answer pairs; "
        "loss on the answers' tokens alone.",
        "## Where it comes from",
        f"- Base: `{base['name']}`, weights SHA-256 `{base['weights']}`",
        *(
            f"- {what.capitalize()}: `{told[what]['name']}`, {told[what]['pairs']:,} pairs, "
            f"SHA-256 `{told[what]['digest']}`"
            for what in ("data", "general data")
            if what in told
        ),
        *([f"- Pictures left out: {told['pictures left out']}"] * bool(told["pictures left out"])),
        f"- Program: {', '.join(f'{name} {version}' for name, version in told['code'].items())}",
        "",
        "The data set's licences bind what is done with these weights; its card names them.",
        "## How it was trained",
        # A note that is indented goes on with the one before.
        *(note if note.startswith("  ") else f"- {note}" for note in notes),
        f"- {losses}, of the last {result['last_loss']:.4f}; {took}.",
        "",
        "```json",
        json.dumps(recipe, indent=2),
        "```",
        "## Scores",
        "Not in here: a score belongs to a run that says how it was asked.",
        "```",
        result["command"],
        "```",
    ]
    return "\n".join(lines) + "\n"
