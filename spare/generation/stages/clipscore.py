"""How well a question goes with its picture, by CLIPScore (Hessel et al. 2021).

The text is "A photo depicts " and the question, as the reference code (jmhessel/clipscore) puts it
in front of captions. Kept is the raw cosine: the reference scales it by 2.5 and cuts at 0, and
which of the two the paper's 0.25 is meant on it does not say. 2.5 times 0.10 is 0.25, and hardly
any pair lies below; so the cutoff is on the raw cosine unless `clip_scale` says otherwise, and both
drop rates are told.

The score says whether the things in a question are in the picture. It does not see direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from spare.generation.models import Models
from spare.generation.pictures import Pictures
from spare.generation.stages import Inputs, Options, Work
from spare.harness.models.types import Request

if TYPE_CHECKING:
    import pyarrow

VERSION = 1
NEEDS = ("generate", "duplicates", "reference", "support")

PREFIX = "A photo depicts "
SCALE = 2.5
"""The reference's w."""


def wanted(options: Options) -> bool:
    """Only with a dual encoder."""
    return bool(options.clip)


def asks(options: Options) -> bool:
    """A dual encoder."""
    return True


def settings(options: Options) -> Mapping[str, Any]:
    """What the output depends on."""
    cuts = {"similar": options.similar, "guard": options.guard, "support": options.support}
    cuts["in_sentence"] = options.in_sentence
    return {"clip": options.clip, "prefix": PREFIX, "blobs": options.blobs, **cuts}


def open_stage(options: Options, models: Models) -> Work:
    """What does a shard: pair_id, cosine (null where a filter before has dropped the pair, or where
    there is no score), error (why there is none)."""
    from spare.generation.cut import earlier_reasons

    pictures = Pictures(options.blobs)

    def work(inputs: Inputs, on_row: Callable[[int], None]) -> pyarrow.Table:
        import pyarrow

        pairs = inputs.pairs
        reasons = earlier_reasons(inputs, options, "clipscore")
        found: list[float | None] = [None] * len(pairs.ids)
        errors = [""] * len(pairs.ids)
        requests = []
        for number, reason in enumerate(reasons):
            if reason:
                continue
            picture = pictures.of(inputs, pairs.rows[number])
            if isinstance(picture, str):
                errors[number] = picture
                continue
            text = f"{PREFIX}{pairs.questions[number]}"
            requests.append(Request(str(number), (picture,), options={"": text}, rank=True))
        for response in models.clip.answer(requests):
            number = int(response.key)
            if response.reply.likelihoods:
                found[number] = response.reply.likelihoods[""].total
            else:
                errors[number] = response.reply.error
            on_row(pairs.rows[number] + 1)
        return pyarrow.table(
            {
                "pair_id": pyarrow.array(pairs.ids, pyarrow.string()),
                "cosine": pyarrow.array(found, pyarrow.float32()),
                "error": pyarrow.array(errors, pyarrow.string()),
            }
        )

    return work
