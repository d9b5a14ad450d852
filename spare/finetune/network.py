"""What is trained of a checkpoint: all weights, or an adapter on the language tower."""

from __future__ import annotations

import collections
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from spare.errors import ModelError, SpareError, counted, install
from spare.finetune.recipes import Recipe, near
from spare.harness.models import Options
from spare.harness.models.loading import (
    Checkpoint,
    check_kind,
    first_line,
    load_network,
    load_processor,
)
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


def check_reports(report_to: str) -> list[str]:
    """The names in a list by commas. Raises SpareError if one of them is not to be had here."""
    names = [name.strip() for name in report_to.split(",") if name.strip()]
    if not names:
        return []
    from transformers.integrations import integration_utils

    known = sorted(integration_utils.INTEGRATION_TO_CALLBACK)
    there = integration_utils.get_available_reporting_integrations()
    for name in names:
        if name not in known:
            raise SpareError(
                f"--report-to knows no {name}{near(name, known)}. It knows {', '.join(known)}."
            )
        if name not in there:
            # The others' packages are called as they are.
            hint = "" if name in ("azure_ml", "flyte", "kubeflow") else f": `pip install {name}`"
            raise SpareError(f"--report-to {name} needs a package that is not installed{hint}.")
    return names


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
    processor, preparer = _prompts(checkpoint, network.config, recipe)
    ends, _ = make_greedy(network, processor.tokenizer)
    network.config.use_cache = False
    if frozen:
        for sentence in _adapter(network, recipe):
            on_event(sentence)
    else:
        network.requires_grad_(True)
        on_event(_dropout(network, recipe.dropout))
    return network, processor, preparer, ends


def prompts_of(checkpoint: Checkpoint, recipe: Recipe) -> tuple[Any, Preparer]:
    """A checkpoint's own picture processor, and what prepares its prompts: no weights are read.

    Raises:
        ModelError: its files are missing or damaged.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(checkpoint.folder)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise checkpoint.error(f"has no config.json of use: {first_line(error)}") from None
    return _prompts(checkpoint, config, recipe)


def _prompts(checkpoint: Checkpoint, config: Any, recipe: Recipe) -> tuple[Any, Preparer]:
    processor = load_processor(checkpoint, Options())
    tokens = picture_tokens(config, processor)
    return processor, Preparer(processor, tokens, context_of(config), recipe.max_pixels or None)


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


def _adapter(network: Any, recipe: Recipe) -> Iterator[str]:
    """Sentences about the modules that an adapter goes on, and its dropout."""
    names = matched_modules(network, recipe.lora_modules)
    ends = collections.Counter(name.rpartition(".")[2] for name in names)
    by_count: dict[int, list[str]] = {}
    for end, count in ends.items():
        by_count.setdefault(count, []).append(end)
    tower = language_tower(network)
    where = next(name for name, module in network.named_modules() if module is tower)
    yield (
        f"LoRA of rank {recipe.lora_rank} on {counted(len(names), 'module')} in {where}, none "
        "outside it:"
    )
    parts = [f"{', '.join(found)} ({count} each)" for count, found in by_count.items()]
    yield f"  {', '.join(parts)}."
    if not recipe.dropout:
        yield "The adapter has no dropout."
    else:
        yield (
            f"Dropout {recipe.dropout} is on what goes into the adapter; the base's own stays "
            "as it is."
        )


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
        return f"Training all weights. Dropout {rate} does nothing: this architecture has none."
    where = [f"the attention of {counted(attention, 'layer')}"] if attention else []
    where += [counted(layers, "dropout layer")] if layers else []
    return (
        f"Training all weights. Dropout {rate} is on {' and '.join(where)} of the language tower "
        "alone."
    )


def reaches_all(network: Any, batch: Mapping[str, Any]) -> bool:
    """Whether every weight that is trained has a part in what the network says of a batch: what
    has none (layers of a picture encoder whose output is not looked at) gets no gradient."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    begin = network(**inputs, use_cache=False).logits.grad_fn
    found, seen, left = set(), {begin}, [begin]
    while left:
        node = left.pop()
        found.add(id(getattr(node, "variable", None)))  # where a gradient ends up
        new = {one for one, _ in node.next_functions if one is not None} - seen
        seen |= new
        left += new
    return all(id(weight) in found for weight in network.parameters() if weight.requires_grad)
