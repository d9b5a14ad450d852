"""An adapter in its base's weights, as a checkpoint of its own: `spare merge`."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spare.disk import locked, write_json
from spare.errors import ModelError, SpareError
from spare.finetune import outputs
from spare.finetune.branches import TOLERANCE
from spare.finetune.network import require_packages
from spare.harness.models import Options
from spare.harness.models.adapters import adapter_lineage
from spare.harness.models.digests import digest_files
from spare.harness.models.loading import (
    LINEAGE,
    check_kind,
    find_checkpoint,
    first_line,
    load_network,
    load_processor,
)
from spare.harness.models.prompts import Preparer, context_of
from spare.harness.models.transformers import picture_tokens
from spare.harness.models.types import Request
from spare.images import Picture


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge came to.

    Attributes:
        folder: of the checkpoint.
        changed: tensors that differ from the base's, of all `weights`.
        distance: root mean square of differences of log-probabilities from the unmerged model's;
            tolerance: what rounding explains.
        command: evaluates it.
    """

    folder: Path
    changed: int
    weights: int
    distance: float
    tolerance: float
    command: str


def merge(adapter: str | Path, *, out: str | Path, model: str = "") -> Merged:
    """Put an adapter into its base's weights and write the checkpoint, if it is the same model.

    Args:
        adapter: folder of an adapter.
        out: folder of the checkpoint.
        model: path or hub id of the base; by default what the adapter says.

    Raises:
        SpareError: the adapter or its base is not there or does not fit, or the merged model says
            something else than the unmerged one; nothing is written then.
    """
    require_packages()
    import peft
    import torch
    from safetensors import SafetensorError

    adapter, out = Path(adapter), Path(out)
    if not (adapter / "adapter_config.json").is_file():
        inside = adapter / "adapter"
        hint = f" {inside} is one." if (inside / "adapter_config.json").is_file() else ""
        raise ModelError(f"{adapter} is no adapter: it has no adapter_config.json.{hint}")
    settings = json.loads((adapter / "adapter_config.json").read_bytes())
    named = str(settings.get("base_model_name_or_path") or "")
    try:
        checkpoint = find_checkpoint(model or named)
    except ModelError as error:
        if model:
            raise
        raise ModelError(f"{error} If the base lies elsewhere now, --model names it.") from None
    check_kind(checkpoint, False)
    lineage = adapter_lineage(adapter, checkpoint, digest_files(checkpoint.weights))
    there = {path.name for path in out.iterdir()} if out.exists() else set()
    if there - {".lock"} and outputs.PARTS not in there:  # which a kill has left
        raise SpareError(f"{out} is not empty; choose another --out.")
    network = load_network(checkpoint, Options(device="cpu"))
    processor = load_processor(checkpoint, Options())
    preparer = Preparer(
        processor, picture_tokens(network.config, processor), context_of(network.config), None
    )
    before = {name: _checksum(value) for name, value in network.state_dict().items()}
    try:
        wrapped = peft.PeftModel.from_pretrained(network, str(adapter)).eval()
    except (ValueError, RuntimeError, TypeError, KeyError, OSError, SafetensorError) as error:
        raise ModelError(f"Adapter {adapter} does not fit the model: {first_line(error)}") from None
    with torch.no_grad():
        asked = _asked(preparer)
        apart = _said(wrapped, asked)
        try:
            merged = wrapped.merge_and_unload(safe_merge=True)
        except ValueError as error:  # some of them are no numbers then
            raise ModelError(
                f"The weights of adapter {adapter} cannot be merged: {first_line(error)}"
            ) from None
        together = _said(merged, asked)
    after = merged.state_dict()
    changed = sum(_checksum(value) != before.get(name) for name, value in after.items())
    distance = (apart - together).square().mean().sqrt().item()
    tolerance = TOLERANCE.get(str(merged.dtype).removeprefix("torch."), 0.1)
    if not changed:
        raise ModelError(f"Adapter {adapter} changes no weight: it was not trained, or not kept.")
    if not distance <= tolerance:
        raise ModelError(
            f"Merged, the model says something else than with {adapter} beside it: its "
            f"log-probabilities differ by {distance:.2g}. Evaluate it with --adapter instead."
        )
    words = ["spare", "eval", "--model", str(out), "--tasks", "spatial", "--data", "data"]
    if pixels := dict(lineage.get("recipe", {})).get("max_pixels"):
        words += ["--max-pixels", str(pixels)]
    # A run of its own: the adapter's is of other weights.
    command = shlex.join([*words, "--out", f"runs/{outputs.run_name(out)}-merged"])
    with locked(out):
        outputs.save(merged, after, out, checkpoint, False)
        _tell(adapter, out, {**lineage, "merged": True}, command)
    return Merged(out, changed, len(after), distance, tolerance, command)


def _tell(adapter: Path, out: Path, lineage: dict[str, Any], command: str) -> None:
    """Where the weights come from; and a card, if the adapter's training is still beside it."""
    told = adapter.parent / "training" / "training.json"
    if lineage.keys() == {"merged"} or not told.is_file():
        write_json(out / LINEAGE, lineage)
        return
    result = json.loads(told.read_bytes())
    outputs.finish(out, lineage, result["notes"], {**result, "command": command})


def _checksum(value: Any) -> tuple[float, float]:
    """Two sums that a changed tensor does not keep both."""
    flat = value.detach().double().flatten()
    return flat.sum().item(), flat.abs().sum().item()


def _asked(preparer: Preparer) -> dict[str, Any]:
    """A question about a picture, as tensors."""
    import PIL.Image

    image = PIL.Image.effect_noise((224, 224), 64).convert("RGB")
    request = Request("merge", (Picture(Path(), ""), "Where is the mug in relation to the table?"))
    (prompt,) = preparer.prompts([request], [image])
    return {**prompt.aligned, **prompt.pictures}


def _said(network: Any, asked: dict[str, Any]) -> Any:
    """Log-probabilities after every token."""
    return network(**asked, use_cache=False).logits.float().log_softmax(-1)
