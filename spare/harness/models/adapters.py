"""PEFT adapters: where one comes from, and how it gets into a network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from spare.errors import ModelError
from spare.harness.models.loading import Checkpoint, first_line, read_lineage


def adapter_lineage(adapter: Path, checkpoint: Checkpoint, weights: str) -> dict[str, Any]:
    """Where an adapter comes from; see `read_lineage`.

    Args:
        weights: digest of the checkpoint's.

    Raises:
        ModelError: it was trained on another checkpoint.
    """
    lineage = read_lineage(adapter.expanduser())
    if lineage.get("base", {}).get("weights", weights) != weights:
        raise ModelError(
            f"Checkpoint {checkpoint.name} is not the one that {adapter} was trained on "
            f"({lineage['base'].get('name')}): its weights have another digest. Name that one as "
            "the model."
        )
    return lineage


def apply_adapter(network: Any, adapter: str) -> tuple[Any, Path]:
    """The network with a PEFT adapter merged into its weights, and the adapter's weight file.

    Merged, it runs as fast as its base and takes the same paths. In half precision, merging rounds
    once more than keeping the adapter apart would.

    Raises:
        ModelError: there is no such adapter, or it was made for another model.
    """
    folder = Path(adapter).expanduser()
    if not (folder / "adapter_config.json").is_file():
        raise ModelError(f"{adapter} is no adapter: it has no adapter_config.json.")
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise ModelError(f"Adapter {adapter} is not whole: {weights.name} is missing.")
    if importlib.util.find_spec("peft") is None:
        raise ModelError("An adapter needs peft, which is not installed: run `pip install peft`.")
    import peft
    from safetensors import SafetensorError

    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
        wrapped = peft.PeftModel(network, config)
        result = wrapped.load_adapter(str(folder), "default")
    except (ValueError, RuntimeError, TypeError, KeyError, OSError, SafetensorError) as error:
        raise ModelError(f"Adapter {adapter} does not fit the model: {first_line(error)}") from None
    strange = [*result.missing_keys, *result.unexpected_keys]
    if strange:
        raise ModelError(
            f"Adapter {adapter} was made for another model: {len(strange)} of its weights have no "
            f"counterpart, {strange[0]} among them."
        )
    if not hasattr(wrapped.base_model, "merge_and_unload"):
        raise ModelError(
            f"Adapter {adapter} is of the kind {config.peft_type.value}, which cannot be merged "
            "into a model's weights; use LoRA or one of its relatives."
        )
    return wrapped.base_model.merge_and_unload(), weights
