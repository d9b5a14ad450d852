"""Many pairs about one picture in one sequence, none of which sees another.

A branch sees the beginning (everything up to the picture's last token) and itself, and its tokens
stand at the positions that they would have without the other branches. So what a model says, and
the gradient of it, is that of each pair in a sequence of its own; but the picture is encoded and
the beginning computed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spare.finetune.pairs import Pairs
from spare.finetune.plan import Material
from spare.finetune.sequences import IGNORED, PADDING, Encoder, collate
from spare.harness.models.prompts import REFUSALS

if TYPE_CHECKING:
    import torch

BRANCHES, SHIFTS = "branches", "shifts"

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.1}
"""The largest root mean square of differences of log-probabilities that rounding explains."""


def see_branches(network: Any) -> None:
    """Let a network take batches that have `branches` and `shifts`; see `sequences.collate`."""

    def translate(module: Any, positional: Any, inputs: dict[str, Any]) -> tuple[Any, Any]:
        branches, shifts = inputs.pop(BRANCHES, None), inputs.pop(SHIFTS, None)
        if branches is not None:
            inputs["position_ids"] = _positions(network, inputs) - shifts
            inputs["attention_mask"] = _mask(network, branches)
        return positional, inputs

    network.register_forward_pre_hook(translate, with_kwargs=True)


def _positions(network: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
    """Positions as the network gives them to the tokens if nothing is branched: of shape (rows,
    tokens), or (3, rows, tokens) where time, height and width have their own."""
    mask = inputs["attention_mask"]
    if not hasattr(network.base_model, "get_rope_index"):
        positions: torch.Tensor = (mask.long().cumsum(-1) - 1).clamp(min=0)
        return positions
    names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    positions, _ = network.base_model.get_rope_index(
        **{name: inputs[name] for name in names if name in inputs}
    )
    return positions


def _mask(network: Any, branches: torch.Tensor) -> torch.Tensor:
    """What sees what, of shape (rows, 1, tokens, tokens); in the form that the network's attention
    takes."""
    import torch

    size = branches.shape[1]
    order = torch.arange(size, device=branches.device)
    seen = (branches[:, None, :] == 0) | (branches[:, None, :] == branches[:, :, None])
    seen &= branches[:, None, :] != PADDING
    seen &= order[None, :] <= order[:, None]
    # What fills a row up sees itself: the mean over nothing is not a number.
    seen |= torch.eye(size, dtype=torch.bool, device=branches.device)
    seen = seen[:, None]
    if network.config._attn_implementation != "eager":
        return seen
    lowest = torch.finfo(network.dtype).min
    return torch.zeros_like(seen, dtype=network.dtype).masked_fill(~seen, lowest)


Batch = Mapping[str, Any]


def refuses_branches(network: Any, shared: Batch, alone: Batch) -> str:
    """Why a network cannot be trained on branches; "" if it can.

    Tried, not known by name: some families let a picture's tokens see each other in both
    directions, look at a window, or do not attend at all.

    Args:
        shared: a batch of pairs about one picture in one sequence.
        alone: a batch of the same pairs, a sequence for each, in the same order.
    """
    import torch

    try:
        with torch.no_grad():
            expected, found = _said(network, alone), _said(network, shared)
    except REFUSALS as error:
        return f"it fails at such a sequence ({(str(error).splitlines() or [''])[0]})"
    if expected.shape != found.shape:
        return "its sequences have other answers in them"
    distance = (expected - found).square().mean().sqrt().item()
    dtype = str(network.dtype).removeprefix("torch.")
    if not distance <= TOLERANCE.get(dtype, 0.1):
        return f"its answers' log-probabilities differ by {distance:.2g} from those asked alone"
    return ""


def refuses_pictures(network: Any, encoder: Encoder, pairs: Pairs, material: Material) -> str:
    """`refuses_branches` of a picture that has several pairs; "" if there is none."""
    found = _several(pairs, material)
    if found is None:
        return ""
    picture, texts = found
    together = collate(encoder.encode(picture, texts, True), 0, True)
    alone = collate(encoder.encode(picture, texts, False), 0, False)
    return refuses_branches(network, together, alone)


def _said(network: Any, batch: Batch) -> torch.Tensor:
    """Log-probabilities of all tokens that are learnt, in their order."""
    inputs = {name: value.to(network.device) for name, value in batch.items() if name != "labels"}
    labels = batch["labels"].to(network.device)
    odds = network(**inputs, use_cache=False).logits[:, :-1].float().log_softmax(-1)
    learnt = labels[:, 1:] != IGNORED
    said: torch.Tensor = odds[learnt].gather(-1, labels[:, 1:][learnt][:, None])[:, 0]
    return said


def _several(
    pairs: Pairs, material: Material, most: int = 3
) -> tuple[Any, list[tuple[str, str]]] | None:
    """A picture with two or three of its pairs."""
    found: dict[int, list[int]] = {}
    for pair, picture in enumerate(material.picture_of):
        if picture < 0:
            continue
        mine = found.setdefault(picture, [])
        mine.append(pair)
        if len(mine) == most:
            break
    best = max(found.values(), key=len, default=[])
    if len(best) < 2:
        return None
    return pairs.pictures[material.picture_of[best[0]]], [pairs.texts(one) for one in best]
