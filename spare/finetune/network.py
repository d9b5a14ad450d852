"""What is trained of a checkpoint: all weights, or an adapter on the language tower."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from typing import Any

from spare.errors import ModelError, SpareError, counted, install
from spare.finetune.recipes import Recipe
from spare.harness.models import Options
from spare.harness.models.loading import Checkpoint, check_kind, load_network, load_processor
from spare.harness.models.prompts import Preparer, context_of
from spare.harness.models.transformers import make_greedy, picture_tokens
from spare.torchvision_repair import repair_torchvision

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")

OPTIMISERS = {"adamw": "adamw_torch", "adamw-8bit": "adamw_bnb_8bit"}
"""The recipe's name -> the trainer's."""


def require_packages() -> None:
    """Make what trains ready to be imported. Raises SpareError if it is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SpareError(
            f"Fine-tuning needs {', '.join(missing)}, which cannot be imported: run "
            f"{install('finetune')}."
        )
    repair_torchvision()


def check_optimiser(recipe: Recipe) -> None:
    """Raises SpareError if the recipe's optimiser is not to be had here."""
    if recipe.optimiser == "adamw-8bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise SpareError(
            "8-bit AdamW is bitsandbytes', which is not installed: run `pip install bitsandbytes`, "
            "or take AdamW in 32 bits, which needs 6 more bytes for each weight: "
            "--set optimiser=adamw."
        )


def computes_in_bf16(recipe: Recipe, on_event: Callable[[str], None]) -> bool:
    """Whether the recipe's precision is to be had here; says so if it is not."""
    import torch

    if recipe.precision != "bf16":
        return False
    if torch.cuda.is_available() and torch.cuda.is_bf16_supported():
        return True
    where = "this GPU computes no bf16" if torch.cuda.is_available() else "there is no GPU"
    on_event(f"Computing in float32: {where}.")
    return False


def load_for_training(
    checkpoint: Checkpoint, recipe: Recipe, bf16: bool, on_event: Callable[[str], None]
) -> tuple[Any, Any, Preparer, list[int]]:
    """A checkpoint's network on the processor with what the recipe trains, its own picture
    processor, what prepares its prompts, and the tokens that end its replies.

    Weights that are trained are float32, whatever is computed in: bf16 has no digits for a step of
    1e-5 of a weight.

    Raises:
        ModelError: it cannot be loaded, or is no vision-language model; SpareError: the recipe does
            not fit it.
    """
    check_kind(checkpoint, False)
    frozen = recipe.weights == "lora"
    dtype = "bfloat16" if bf16 and frozen else "float32"
    network = load_network(checkpoint, Options(dtype=dtype, device="cpu"))
    processor = load_processor(checkpoint, Options())
    ends, _ = make_greedy(network, processor.tokenizer)
    preparer = Preparer(
        processor,
        picture_tokens(network, processor),
        context_of(network.config),
        recipe.max_pixels or None,
    )
    network.config.use_cache = False
    if frozen:
        on_event(_trainable(network, recipe))
    else:
        network.requires_grad_(True)
        on_event(_dropout(network, recipe.dropout))
    return network, processor, preparer, ends


def language_tower(network: Any) -> Any:
    """The part that reads and writes text."""
    tower = network.get_decoder()
    if tower is None or tower is network:
        raise ModelError("It is not known which part of this model is its language tower.")
    return tower


def matched_modules(network: Any, pattern: str) -> list[str]:
    """Whole names of the modules that an adapter goes on, in order.

    Raises:
        SpareError: the pattern matches nothing, or anything outside the language tower.
    """
    import torch

    tower = {id(module) for module in language_tower(network).modules()}
    names, outside = [], []
    for name, module in network.named_modules():
        if re.fullmatch(pattern, name) and isinstance(module, torch.nn.Linear):
            names.append(name)
            if id(module) not in tower:
                outside.append(name)
    if outside:
        raise SpareError(
            f"lora_modules matches {counted(len(outside), 'module')} outside the language tower, "
            f"{outside[0]} among them; name the tower in it."
        )
    if not names:
        linear = [
            name
            for name, module in network.named_modules()
            if isinstance(module, torch.nn.Linear) and id(module) in tower
        ]
        raise SpareError(
            f"lora_modules matches no module of this model; its language tower has {linear[0]}, "
            "for one. Give a regular expression over whole names: --set lora_modules=..."
        )
    return names


def lora_config(network: Any, recipe: Recipe) -> Any:
    """PEFT's settings of the adapter."""
    import peft

    matched_modules(network, recipe.lora_modules)
    return peft.LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.dropout,
        target_modules=recipe.lora_modules,
        bias="none",
    )


def _trainable(network: Any, recipe: Recipe) -> str:
    return f"LoRA of rank {recipe.lora_rank} on {told_modules(network, recipe)}."


def told_modules(network: Any, recipe: Recipe) -> str:
    """The modules that an adapter goes on, for a person: layers as one."""
    found: dict[str, int] = {}
    for name in matched_modules(network, recipe.lora_modules):
        short = re.sub(r"\.\d+\.", ".*.", name)
        found[short] = found.get(short, 0) + 1
    return ", ".join(f"{name} ({count})" for name, count in found.items())


def _dropout(network: Any, rate: float) -> str:
    """Set dropout where the language tower has a knob for it; the sentence about where that is.

    Set in the modules and not in the configuration, which is saved: a checkpoint's evaluation
    never sees it.
    """
    import torch

    if not rate:
        return "Training all weights, without dropout."
    attention, layers = 0, 0
    for module in language_tower(network).modules():
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = rate
            attention += 1
        if isinstance(module, torch.nn.Dropout):
            module.p = rate
            layers += 1
    if not attention + layers:
        return f"Training all weights. Dropout {rate} has no effect: this architecture has none."
    where = [f"the attention of {counted(attention, 'layer')}"] if attention else []
    where += [counted(layers, "dropout layer")] if layers else []
    return (
        f"Training all weights. Dropout {rate} is on {' and '.join(where)} of the language tower; "
        "the architecture has it nowhere else there."
    )
