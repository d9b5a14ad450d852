"""A few seconds of self-examination after loading: may this checkpoint's rows be batched, and may
they branch from a shared prefix?

Not every family can. Where attention slides, is linear, or looks both ways, a prefix is not the
same without what follows it; and a family may simply have a fault. So the answer is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.errors import ModelError
from spare.harness.models.decoding import Decoder, Row
from spare.harness.models.prompts import REFUSALS, Preparer, Prompt
from spare.harness.models.types import Request
from spare.images import Picture
from spare.tasks.types import Likelihood

if TYPE_CHECKING:
    import PIL.Image

FAULTS = (*REFUSALS, TypeError, KeyError, AttributeError)
"""What a family may raise where it cannot do something. Only this module lets them pass."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found.

    Attributes:
        batches: rows may be computed together.
        shares: rows may branch from a common prefix.
        note: one phrase for a person.
        pixel_tokens: how many tokens a picture's pixel makes; 0 if every picture makes the same
            number.
    """

    batches: bool
    shares: bool
    note: str
    pixel_tokens: float


def probe(decoder: Decoder, preparer: Preparer) -> Findings:
    """Ask about two pictures in several ways and compare the likelihoods.

    Raises:
        ModelError: the checkpoint fails at the plainest question about a picture.
    """
    small, large = _picture(112), _picture(224)
    try:
        one, two = _prompts(preparer, small, ("Is this left?", "What is on the right of it?"))
        (three,) = _prompts(preparer, large, ("Is this left?",))
        if not one.pictures:
            raise ModelError("The chat template leaves pictures out; a text-only one was saved.")
        rows = [Row(prompt, "A") for prompt in (one, two, three)]
        alone = [_likelihood(decoder, [row], False)[0] for row in rows]
    except FAULTS as error:
        raise ModelError(f"The model fails at a plain question about a picture: {error}") from error
    pixel_tokens = (three.tokens - one.tokens) / (224 * 224 - 112 * 112)
    tolerance = 1e-3 if str(decoder.network.dtype) == "torch.float32" else 0.1
    if not _agrees(decoder, rows, False, alone, tolerance):
        note = "no: this model answers otherwise when questions are batched, so none are"
        return Findings(False, False, note, pixel_tokens)
    if one.last_picture < 0:
        return Findings(True, False, "no: it is not known which tokens are pictures", pixel_tokens)
    if not _has_plain_cache(decoder):
        return Findings(True, False, "no: this family's cache cannot branch", pixel_tokens)
    if not _agrees(decoder, rows, True, alone, tolerance):
        note = "no: this model answers otherwise when it branches from a shared picture"
        return Findings(True, False, note, pixel_tokens)
    return Findings(True, True, "yes", pixel_tokens)


def _agrees(
    decoder: Decoder, rows: Sequence[Row], share: bool, expected: list[float], tolerance: float
) -> bool:
    try:
        found = _likelihood(decoder, rows, share)
    except FAULTS:
        return False
    return all(abs(a - b) <= tolerance for a, b in zip(found, expected, strict=True))


def _likelihood(decoder: Decoder, rows: Sequence[Row], share: bool) -> list[float]:
    """Log-likelihood per token of every row's option."""
    outcomes = decoder.run(rows, share)
    return [
        outcome.by("mean") if isinstance(outcome, Likelihood) else float("nan")
        for outcome in outcomes
    ]


def _has_plain_cache(decoder: Decoder) -> bool:
    """Whether every layer keeps keys and values of all tokens, and nothing else."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    config = decoder.network.config
    if config.is_encoder_decoder:
        return False
    layers = DynamicCache(config=config.get_text_config(decoder=True)).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def _prompts(preparer: Preparer, image: PIL.Image.Image, questions: Sequence[str]) -> list[Prompt]:
    picture = Picture(Path("probe"), "probe")  # stands for `image`, and is never opened
    prompts = preparer.prompts(
        [
            Request(str(number), (picture, question), {"A": "It is on the left."}, rank=True)
            for number, question in enumerate(questions)
        ],
        [image],
    )
    for prompt in prompts:
        if prompt.error:
            raise ModelError(f"The model cannot be asked about a picture. {prompt.error}")
    return prompts


def _picture(side: int) -> PIL.Image.Image:
    """Colours that differ from place to place."""
    import PIL.Image

    ramp = PIL.Image.linear_gradient("L").resize((side, side))
    turned = ramp.transpose(PIL.Image.Transpose.ROTATE_90)
    return PIL.Image.merge(
        "RGB", (ramp, turned, PIL.Image.radial_gradient("L").resize((side, side)))
    )
