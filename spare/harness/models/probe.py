"""A few seconds of self-examination after loading: may this checkpoint's rows be batched, and may
they branch from a shared prefix?

Not every family can. Where attention slides, is linear, or looks both ways, a prefix is not the
same without what follows it; and a family may simply have a fault. So the answer is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spare.harness.models.decoding import Decoder, Row
from spare.harness.models.loading import Checkpoint, first_line
from spare.harness.models.prompts import REFUSALS, Preparer, Prompt
from spare.harness.models.types import Request
from spare.images import Picture

if TYPE_CHECKING:
    import PIL.Image
    import torch

FAULTS = (*REFUSALS, TypeError, KeyError, AttributeError)
"""What a family may raise where it cannot do something. Only this module lets them pass."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found.

    Attributes:
        batches: rows may be computed together.
        ranks: the likelihood of an option can be computed.
        shares: why rows may not branch from a common prefix, or "" if they may.
        pixel_tokens: how many tokens a picture's pixel makes; 0 if every picture makes the same
            number.
    """

    batches: bool
    ranks: bool
    shares: str
    pixel_tokens: float


def probe(checkpoint: Checkpoint, decoder: Decoder, preparer: Preparer) -> Findings:
    """Ask about two pictures in several ways, or after two beginnings if the model reads text only,
    and compare what the network foretells.

    Raises:
        ModelError: the checkpoint fails at the plainest question.
    """
    import torch

    sees = preparer.sees
    try:
        if sees:
            asked = ("Is this left?", "What is on its right?")
            one, two = _prompts(preparer, sample_picture(112, 0), *asked)
            (three,) = _prompts(preparer, sample_picture(224, 180), asked[0])
        else:
            one, two = _texts(
                preparer, "A mug is left of a bowl. ", "Where is it?", "What is right?"
            )
            (three,) = _texts(preparer, "A cat lies under a chair. ", "Where is it?")
        alone = {prompt: decoder.foretell([Row(prompt)], False)[0] for prompt in (one, two, three)}
    except FAULTS as error:
        raise checkpoint.error(
            f"fails at a plain question{' about a picture' if sees else ''}: {first_line(error)}"
        ) from error
    if any(odds.isnan().any() for odds in alone.values()):
        raise checkpoint.error(
            f"computes something that is not a number (NaN) as {decoder.network.dtype}; "
            "try another --dtype."
        )
    if sees and torch.equal(alone[one], alone[three]):
        raise checkpoint.error("does not look at pictures: it says the same under any two.")

    def agrees(prompts: Sequence[Prompt], share: bool) -> bool:
        expected = torch.stack([alone[prompt] for prompt in prompts])
        try:
            found = decoder.foretell([Row(prompt) for prompt in prompts], share)
        except FAULTS:
            return False
        return _distance(found, expected) <= _tolerance(decoder)

    # Some families make tensors of other shapes of other pictures; those never meet in a batch.
    together = [prompt for prompt in alone if prompt.kind == one.kind]
    batches = agrees(together, False)
    if not batches:
        shares = "this model answers otherwise when questions are batched, so none are"
    elif sees and one.last_picture < 0:
        shares = "it is not known which tokens stand for pictures"
    elif one.seen != two.seen or not _has_plain_cache(decoder):
        shares = "this family's cache cannot branch"
    elif not agrees(together, True):
        shares = "this model answers otherwise when questions branch from a shared picture"
    else:
        shares = ""
    # Where each token has a mask over pictures, an option's tokens would lack it.
    ranks = one.seen == two.seen and _is_causal(decoder, one, alone[one])
    pixel_tokens = (three.tokens - one.tokens) / (224 * 224 - 112 * 112) if sees else 0.0
    return Findings(batches, ranks, shares, pixel_tokens)


def _distance(left: torch.Tensor, right: torch.Tensor) -> float:
    """Root of the mean square of differences."""
    return (left - right).square().mean().sqrt().item()


def _tolerance(decoder: Decoder) -> float:
    """The largest distance between log-probabilities that rounding explains. Where something is
    wrong, they are further apart by orders of magnitude."""
    return 1e-3 if str(decoder.network.dtype) == "torch.float32" else 0.1


def _is_causal(decoder: Decoder, prompt: Prompt, expected: torch.Tensor) -> bool:
    """Whether what follows a prompt is foretold alike when a reply stands there already. It is not
    where texts are read in both directions, and an option would foretell itself."""
    option = prompt.aligned["input_ids"][0, -3:]
    asked = replace(prompt.request, options={"A": "any"}, rank=True)
    row = Row(replace(prompt, request=asked, options={"A": option}), "A")
    try:
        found = decoder.foretell([row], False)[0]
    except FAULTS:
        return False
    return _distance(found, expected) <= _tolerance(decoder)


def _has_plain_cache(decoder: Decoder) -> bool:
    """Whether every layer keeps keys and values of all tokens, and nothing else."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    layers = DynamicCache(config=decoder.network.config.get_text_config(decoder=True)).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def _prompts(preparer: Preparer, image: PIL.Image.Image, *questions: str) -> list[Prompt]:
    picture = Picture(Path("probe"), "probe")  # stands for `image`, and is never opened
    requests = [Request(question, (picture, question)) for question in questions]
    return _sound(preparer.prompts(requests, [image]))


def _sound(prompts: list[Prompt]) -> list[Prompt]:
    for prompt in prompts:
        if prompt.error:
            raise ValueError(prompt.error)
    return prompts


def _texts(preparer: Preparer, beginning: str, *questions: str) -> list[Prompt]:
    requests = [Request(question, (beginning, question)) for question in questions]
    return _sound(preparer.prompts(requests, []))


def sample_picture(side: int, turn: int) -> PIL.Image.Image:
    """A square of colours that differ from place to place, turned by so many degrees."""
    import PIL.Image

    ramp = PIL.Image.linear_gradient("L").resize((side, side))
    disc = PIL.Image.radial_gradient("L").resize((side, side))
    return PIL.Image.merge("RGB", (ramp, ramp.rotate(90), disc)).rotate(turn)
